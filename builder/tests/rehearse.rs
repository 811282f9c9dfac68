//! Rehearsals with a real QEMU, and guests of a dozen instructions.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot set up its fixture has to stop"
)]

use std::path::{Path, PathBuf};

#[path = "rehearse/command.rs"]
mod command;
#[expect(dead_code, reason = "the fixture is shared; these tests need little of it")]
#[path = "fixture/image.rs"]
mod fixture;
#[path = "fixture/guest.rs"]
mod guest;
#[path = "rehearse/machines.rs"]
mod machines;

/// A card, or an image to make cards from, that boots a kernel of ours.
fn card(folder: &Path, name: &str, kernel: Vec<u8>) -> PathBuf {
    let mut recipe = fixture::Recipe::trixie();
    recipe.remove("kernel8.img");
    recipe.boot.push(("kernel8.img".to_owned(), kernel));
    recipe.make(folder, name)
}
