//! Recipes that make Pi OS-like images from Debian packages, for tests and the demo.
//!
//! A recipe is a folder of `recipes/`; what it imitates, and what it cannot, is in this crate's README. Nothing here
//! ends up on a real Pi.

pub mod apt;
mod binfmt;
mod bootstrap;
mod download;
mod firmware;
mod layout;
mod pios;
mod recipe;
mod tools;

pub use download::download;
pub use pios::{bootable, host_architecture, pios, set_up_digest};
pub use recipe::Release;
pub use tools::{capture, install_missing, require, require_root, run};
