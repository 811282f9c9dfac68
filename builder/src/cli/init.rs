//! `builder init`.

use clap::Args;

use crate::cli::Globals;
use crate::error::Failure;

/// Write a commented starter cluster file
#[derive(Debug, Args)]
pub struct InitArgs {}

/// Runs the command.
pub fn run(_globals: &Globals, _args: &InitArgs) -> Result<(), Failure> {
    Ok(())
}
