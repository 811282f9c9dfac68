//! The laptop's side: one cluster file and one OS image become a card image per node, and the swarm that forms
//! from them is watched. Data flows one way: cluster file, plan, card, Pi, board.

pub mod agent;
mod aligned;
pub mod build;
pub mod cache;
pub mod catalog;
pub mod cli;
pub mod device;
pub mod dir;
pub mod elf;
pub mod error;
pub mod fetch;
pub mod flash;
mod home;
pub mod host_key;
pub mod hosts;
pub mod image;
pub mod interrupt;
mod json;
pub mod lock;
pub mod manual;
mod marker;
pub mod pki;
pub mod plan;
mod privilege;
pub mod project;
mod regular;
pub mod rehearse;
pub mod remote;
pub mod report;
pub mod running;
pub mod scratch;
pub mod spread;
pub mod ssh;
pub mod trusted_hosts;
pub mod why;
