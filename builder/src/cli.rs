//! The command line. One file per command in `cli/`: its arguments and its run.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::error::{CLUSTER_FILE, Failure, default_cluster_file, remember_typed, report_usage};
use crate::privilege;

pub mod activate;
mod ask;
pub mod build;
pub mod check;
mod columns;
pub mod completions;
pub mod config;
mod consent;
pub mod devices;
pub mod drain;
pub mod exec;
mod first_use;
pub mod flash;
pub mod images;
pub mod init;
pub mod kill;
pub mod label;
pub mod ls;
pub mod man;
mod member;
mod password;
pub mod plan;
pub mod rehearse;
mod removal;
pub mod revoke;
pub mod rm;
mod size;
pub mod status;
pub mod token;
pub mod up;
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
    /// The cluster file, or the hostnames.yaml of a swarm made by config
    ///
    /// Without it, and without a cluster.yaml, a hostnames.yaml that is there.
    #[arg(short, long, global = true, value_name = "FILE", default_value = CLUSTER_FILE)]
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
    Ls(ls::LsArgs),
    Exec(exec::ExecArgs),
    Config(config::ConfigArgs),
    Why(why::WhyArgs),
    Token(token::TokenArgs),
    Drain(drain::DrainArgs),
    Activate(activate::ActivateArgs),
    Label(label::LabelArgs),
    Revoke(revoke::RevokeArgs),
    Kill(kill::KillArgs),
    Up(up::UpArgs),
    Rm(rm::RmArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

/// Reads the command line, runs the command, reports its failure.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing is known of a command line that could not be read.
            let mut words = std::env::args_os().take_while(|word| word != "--");
            return report_usage(&error, words.any(|word| word == "--json"));
        }
    };
    let json = cli.globals.json;
    // First of all: there are no threads yet, and nothing was opened as root.
    let dropped = match cli.command {
        // Manuals may be for everybody, in a folder of root's; nothing of the user's is read or written.
        Command::Man(_) => Ok(()),
        _ => privilege::drop_to_invoking_user().map_err(Failure::from),
    };
    remember_typed(std::env::args_os().skip(1), privilege::invoking_user().is_some());
    match dropped.and_then(|()| run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(json),
    }
}

/// Runs a parsed command line.
pub fn run(cli: Cli) -> Result<(), Failure> {
    let mut globals = cli.globals;
    match &cli.command {
        // A new cluster file is nobody's list of hosts.
        Command::Init(_) => {}
        Command::Config(config::ConfigArgs { hosts: Some(hosts), .. }) => globals.file.clone_from(hosts),
        _ if globals.file == Path::new(CLUSTER_FILE) => globals.file = default_cluster_file().to_owned(),
        _ => {}
    }
    let globals = &globals;
    let ran = match cli.command {
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
        Command::Ls(args) => ls::run(globals, &args),
        Command::Exec(args) => exec::run(globals, &args),
        Command::Config(args) => config::run(globals, &args),
        Command::Why(args) => why::run(globals, &args),
        Command::Token(args) => token::run(globals, &args),
        Command::Drain(args) => drain::run(globals, &args),
        Command::Activate(args) => activate::run(globals, &args),
        Command::Label(args) => label::run(globals, &args),
        Command::Revoke(args) => revoke::run(globals, &args),
        Command::Kill(args) => kill::run(globals, &args),
        Command::Up(args) => up::run(globals, &args),
        Command::Rm(args) => rm::run(globals, &args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(globals, &args),
    };
    ran.map_err(|failure| privilege::advise(failure).about(&globals.file))
}
