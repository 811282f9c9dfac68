//! What the laptop and the Pi share: the cluster file, the payload on a card, the messages on the wire and
//! the names in certificates.
//!
//! This crate does no input or output, reads no clock and is not async: text and bytes in, values out.

pub mod card;
pub mod delivery;
pub mod discovery;
pub mod history;
pub mod hook;
pub mod host;
pub mod identity;
pub mod label;
pub mod name;
pub mod orders;
pub mod peer;
pub mod proxy;
pub mod range;
pub mod secret;
pub mod spec;
pub mod text;
pub mod wire;
