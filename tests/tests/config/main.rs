//! `builder config`: Pis that already run become a swarm, with the lesson's file and nobody logging in.
//!
//! Real systemd, sshd, apt, Docker Engine and network, in the rack. Needs root and what `cargo xtask test` makes.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "these are tests and their helpers: a panic is how they fail"
)]

mod bench;
mod cluster_file;
mod faults;
mod identity;
mod life;
mod sudo;
mod upkeep;
