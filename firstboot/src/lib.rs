//! The Pi's side. One static binary with two lives: the *seed stage*, run once from the FAT partition without a
//! network, and the *agent*, a systemd service that installs Docker and forms or joins the swarm. On a Pi that already runs,
//! [`adopt`] takes the seed stage's place.

pub mod adopt;
pub mod agent;
pub mod election;
pub mod engine;
pub mod host;
pub mod journal;
pub mod memory_cgroup;
pub mod orders;
mod proof;
pub mod remove;
pub mod resolve;
pub mod retry;
pub mod seed;
pub mod serve;
pub mod steps;
mod tally;
pub mod tls;
pub mod window;
