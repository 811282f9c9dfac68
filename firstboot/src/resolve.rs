//! Finding the manager's address.
