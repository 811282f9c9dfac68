//! Boots copies of built cards as virtual machines, with one network between them, before anybody flashes a card.
//!
//! Everything runs as the user: a QEMU of its own is the network's router ([`Lan`]), the switch is ours ([`switch`]), and
//! one more QEMU per card is a Pi ([`Machine`]). What the Pi's firmware does, we do: kernel, initramfs and command line are read out of the card's
//! FAT ([`boot`]) at each power-on and at each reboot.
//!
//! No QEMU outlives us, however we end: each has a guard that kills it when our end of a pipe closes ([`process`]).
//! Cards are opened for reading only; a machine gets a copy ([`card`]).

pub mod boot;
pub mod card;
mod console;
mod error;
mod firmware;
mod folder;
mod lan;
mod machine;
mod monitor;
mod network;
mod process;
mod qemu;
mod switch;
mod watch;

pub use error::RehearseError;
pub use folder::Folder;
pub use lan::Lan;
pub use machine::{End, Machine, MachineSpec, mac};
pub use network::{Network, NetworkError};
pub use qemu::{Accelerator, Qemu};
pub use watch::Mac;
