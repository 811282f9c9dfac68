//! What crosses crates: the rack of virtual Pis, cards, fixtures and their generators.
