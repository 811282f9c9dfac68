//! Images from a server that behaves, and from servers that do not: the library, and the real program.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot set up has to stop")]

#[path = "download/bench.rs"]
mod bench;
#[path = "download/commands.rs"]
mod commands;
#[path = "download/deaths.rs"]
mod deaths;
#[path = "download/hosts.rs"]
mod hosts;
#[path = "download/lists.rs"]
mod lists;
#[path = "download/manners.rs"]
mod manners;
#[path = "download/resumed.rs"]
mod resumed;
#[path = "download/server.rs"]
mod server;
