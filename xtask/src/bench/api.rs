//! `bench api`: the manager's API with many nodes that report and join at once, then the same with a crowd of silent
//! connections at the door. The measurement itself is `firstboot`'s bench of that name, which has the server's parts.

use std::process::Command;

use anyhow::Result;

use crate::setup;

/// What to measure with.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ApiOptions {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Nodes beside the manager, 1 to 800
    #[arg(long, value_name = "N", default_value_t = 500)]
    nodes: u16,
    /// How long they report, in seconds, twice
    #[arg(long, value_name = "N", default_value_t = 10)]
    seconds: u64,
}

/// Builds the bench and runs it; its output is this command's.
pub(crate) fn api(options: &ApiOptions) -> Result<()> {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(setup::workspace());
    cargo.args(["bench", "--quiet", "--locked", "--package", "firstboot", "--bench", "api", "--"]);
    cargo.args(["--nodes", &options.nodes.to_string(), "--seconds", &options.seconds.to_string()]);
    if options.json {
        cargo.arg("--json");
    }
    setup::run(&mut cargo)
}
