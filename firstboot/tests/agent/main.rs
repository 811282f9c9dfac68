//! The agent as a whole: real TLS on loopback, the real loops, and beside it a machine in memory and an engine that
//! answers as Docker was measured to answer.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "these are tests and their helpers"
)]

mod adopting;
mod api;
mod clock;
mod crash;
mod engine;
mod forming;
mod fuzz;
mod hostile;
mod identity;
mod impostors;
mod installing;
mod life;
mod managers;
mod members;
#[path = "../../../cluster/tests/fuzz/mutate.rs"]
mod mutate;
mod neighbours;
mod purging;
mod removing;
mod returning;
mod revoking;
mod telling;
mod trouble;
mod upkeep;
mod world;
