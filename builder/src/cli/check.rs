//! `builder check`.

use clap::Args;

use crate::cli::Globals;
use crate::error::Failure;

/// Check the cluster file
#[derive(Debug, Args)]
pub struct CheckArgs {}

/// Runs the command.
pub fn run(_globals: &Globals, _args: &CheckArgs) -> Result<(), Failure> {
    Ok(())
}
