//! `builder exec` against a real sshd on loopback addresses, each of which plays a machine.
#![expect(clippy::unwrap_used, reason = "these are tests and their helpers")]

mod bench;
mod cards;
mod config;
mod endings;
mod faults;
mod forwarding;
mod identity;
mod many;
mod purge;
mod ways;
