//! Cards boot from their own bytes on machines of the Pi's architecture: kernel, initramfs, vfat, ext4, systemd, apt and
//! Docker, in QEMU, driven by nothing but what is on the FAT partition.
//!
//! The ignored tests take an hour together; `cargo xtask test --all` runs them, too. They need root for looking into a
//! card's root partition afterwards, and what `cargo xtask test` makes.
#![expect(clippy::unwrap_used, reason = "these are tests: a panic is how they fail")]

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cluster::wire::{Board, Stage};
use images::Release;
use tests::desk::Desk;
use tests::emulator::{Emulator, LOOK};
use tests::product::Product;
use tests::wait;

/// Two machines emulated on two shared cores install Docker in about six minutes.
const PATIENCE: Duration = Duration::from_secs(25 * 60);

/// One emulation at a time: each is as fast as the cores allow.
static CORES: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    CORES.lock().unwrap_or_else(PoisonError::into_inner)
}
