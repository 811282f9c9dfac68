//! `builder flash`, `verify` and `devices`: cards that fail, and real block devices, which need root.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "these are tests and their helpers")]

mod bench;
mod cards;
mod exchanged;
mod faults;
#[expect(dead_code, reason = "the fixture is shared; these tests need one release of it")]
#[path = "../fixture/image.rs"]
mod fixture;
mod guards;
mod medium;
mod sudo;
mod verify;
mod walk;
