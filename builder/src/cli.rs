//! The command line. One file per command in `cli/`: its arguments and its run.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::error::Failure;

pub mod build;
pub mod check;
pub mod completions;
pub mod devices;
pub mod exec;
pub mod flash;
pub mod images;
pub mod init;
pub mod man;
pub mod plan;
pub mod rehearse;
pub mod revoke;
mod size;
pub mod status;
pub mod verify;
pub mod why;

/// Make a card per Raspberry Pi from one cluster file, and watch the swarm form
#[derive(Debug, Parser)]
#[command(name = "builder", version, arg_required_else_help = true, max_term_width = 80)]
pub struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct Globals {
    /// The cluster file
    #[arg(short, long, global = true, value_name = "FILE", default_value = "cluster.yaml")]
    pub file: PathBuf,
    /// Where downloaded and decompressed images are kept
    ///
    /// Without it: the platform's cache folder.
    #[arg(long, global = true, value_name = "DIR")]
    pub cache: Option<PathBuf>,
    /// Print JSON for programs
    #[arg(long, global = true)]
    pub json: bool,
    /// Print only results and errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::InitArgs),
    Check(check::CheckArgs),
    Images(images::ImagesArgs),
    Plan(plan::PlanArgs),
    Devices(devices::DevicesArgs),
    Flash(flash::FlashArgs),
    Verify(verify::VerifyArgs),
    Build(build::BuildArgs),
    Rehearse(rehearse::RehearseArgs),
    Status(status::StatusArgs),
    Exec(exec::ExecArgs),
    Why(why::WhyArgs),
    Revoke(revoke::RevokeArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

/// Runs a parsed command line.
pub fn run(cli: Cli) -> Result<(), Failure> {
    let globals = &cli.globals;
    match cli.command {
        Command::Init(args) => init::run(globals, &args),
        Command::Check(args) => check::run(globals, &args),
        Command::Images(args) => images::run(globals, &args),
        Command::Plan(args) => plan::run(globals, &args),
        Command::Devices(args) => devices::run(globals, &args),
        Command::Flash(args) => flash::run(globals, &args),
        Command::Verify(args) => verify::run(globals, &args),
        Command::Build(args) => build::run(globals, &args),
        Command::Rehearse(args) => rehearse::run(globals, &args),
        Command::Status(args) => status::run(globals, &args),
        Command::Exec(args) => exec::run(globals, &args),
        Command::Why(args) => why::run(globals, &args),
        Command::Revoke(args) => revoke::run(globals, &args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(globals, &args),
    }
}
