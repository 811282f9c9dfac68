//! `builder status`.

use clap::Args;

use crate::cli::Globals;
use crate::error::Failure;

/// Show the manager's node list and what every planned node is doing
#[derive(Debug, Args)]
pub struct StatusArgs {}

/// Runs the command.
pub fn run(_globals: &Globals, _args: &StatusArgs) -> Result<(), Failure> {
    Ok(())
}
