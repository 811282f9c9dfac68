//! The manager's API.
