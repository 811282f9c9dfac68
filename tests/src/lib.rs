//! What crosses crates: the rack of virtual Pis, cards, fixtures and their generators.

pub mod product;
pub mod rack;
pub mod shelf;
pub mod repo;
pub mod wait;
