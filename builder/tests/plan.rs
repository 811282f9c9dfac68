//! Cards computed from images of every supported release: laid over a copy and read back by independent programs;
//! what is refused; what is shown.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot set up its fixture has to stop"
)]

#[path = "fixture/bench.rs"]
mod bench;
#[path = "plan/cards.rs"]
mod cards;
#[path = "fixture/image.rs"]
mod fixture;
#[path = "plan/names.rs"]
mod names;
#[path = "plan/ports.rs"]
mod ports;
#[path = "plan/refusals.rs"]
mod refusals;
#[path = "plan/repository.rs"]
mod repository;
#[path = "plan/shown.rs"]
mod shown;
