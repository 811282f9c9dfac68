//! `cargo xtask reference`: `docs/reference.md`, from builder's commands as they are in this tree.

use anyhow::{Context, Result};
use builder::cli::Cli;
use builder::manual::reference;
use clap::CommandFactory;

use crate::setup;

/// Writes the file. A test of builder's fails when it is not what this would write.
pub(crate) fn run() -> Result<()> {
    let path = setup::workspace().join("docs/reference.md");
    std::fs::write(&path, reference::render(Cli::command()))
        .with_context(|| format!("cannot write {}", path.display()))?;
    setup::say(&format!("wrote {}", path.display()));
    Ok(())
}
