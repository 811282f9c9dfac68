//! Progress for people and for programs.
