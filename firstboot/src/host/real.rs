//! The machine itself, or a directory tree standing in for its root.
