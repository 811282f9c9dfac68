//! `builder build`.

use clap::Args;

use crate::cli::Globals;
use crate::error::Failure;

/// Make a card image per node
#[derive(Debug, Args)]
pub struct BuildArgs {}

/// Runs the command.
pub fn run(_globals: &Globals, _args: &BuildArgs) -> Result<(), Failure> {
    Ok(())
}
