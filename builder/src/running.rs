//! Pis that already run: what they are, whether they can become nodes, and how the agent gets onto them over SSH.
//!
//! Data flows one way: the file's hosts are asked ([`probe`]), what they answer is judged ([`check`]) and becomes a plan
//! ([`plan`]), and the plan is delivered ([`deliver`]). The machines need nothing but an SSH server, sudo and what every Debian has.

pub mod check;
pub mod deliver;
pub mod engine;
pub mod plan;
pub mod probe;
