//! What crosses crates: the rack of virtual Pis, cards, fixtures and their generators.

pub mod desk;
pub mod emulator;
pub mod inspect;
pub mod product;
pub mod rack;
pub mod repo;
pub mod running;
pub mod shelf;
pub mod soak;
pub mod wait;
