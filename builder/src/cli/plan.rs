//! `builder plan`.

use clap::Args;

use crate::cli::Globals;
use crate::error::Failure;

/// Show what each card would get, writing nothing
#[derive(Debug, Args)]
pub struct PlanArgs {}

/// Runs the command.
pub fn run(_globals: &Globals, _args: &PlanArgs) -> Result<(), Failure> {
    Ok(())
}
