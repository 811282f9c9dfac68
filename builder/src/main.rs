//! Parses the command line, runs the command, shows its failure.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match builder::cli::run(builder::cli::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
