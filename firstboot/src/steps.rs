//! The agent's steps, one file each.
