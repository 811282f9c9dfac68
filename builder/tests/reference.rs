//! What commands say of themselves: `--help`, `docs/reference.md`, man pages, completions.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot set up has to stop")]

#[path = "reference/bench.rs"]
mod bench;
#[path = "reference/completions.rs"]
mod completions;
#[path = "reference/documents.rs"]
mod documents;
#[path = "reference/drift.rs"]
mod drift;
#[path = "reference/help.rs"]
mod help;
#[path = "reference/man.rs"]
mod man;
