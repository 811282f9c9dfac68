//! Talking to the manager.
