//! Work around the code: demo, test, ci, bench, dist.

use clap::{Parser, Subcommand};

mod bench;

#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure `builder build` against the shell pipeline it replaces
    Bench(bench::build::BuildOptions),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Bench(options) => bench::build::build(&options),
    }
}
