//! Chooses the life: without a command, beside a `card.json`, the seed stage; `agent` the service.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The Pi's side of a cluster made by builder
#[derive(Debug, Parser)]
#[command(name = "firstboot", version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Take the payload beside this binary onto the root partition (also without a command)
    Seed {
        /// The root file system
        #[arg(long, default_value = "/")]
        root: PathBuf,
        /// The payload's folder; that of this binary without it
        #[arg(long)]
        payload: Option<PathBuf>,
    },
    /// Install Docker, then form or join the swarm, and stay
    Agent,
}

fn main() -> ExitCode {
    let _cli = Cli::parse();
    ExitCode::SUCCESS
}
