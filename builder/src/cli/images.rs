//! `builder images`: which OS images there are by name, bringing one into the cache, reading the cache again, and the hosts
//! that images may come from.

use std::io::{self, Write};
use std::path::Path;

use clap::{Args, Subcommand};
use thiserror::Error;

use crate::cli::Globals;
use crate::error::{Failure, Kind};
use crate::project::{self, Project, ProjectError};

mod known;
mod list;
mod pull;
mod trust;
mod verify;

/// Know the OS images: list, pull, verify, trust
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub struct ImagesArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(list::ListArgs),
    Pull(pull::PullArgs),
    Verify(verify::VerifyArgs),
    Trust(trust::TrustArgs),
}

/// Runs the command.
///
/// # Errors
/// [`Kind::Usage`] for names that mean nothing and a damaged lock, [`Kind::VerificationFailed`] for an image that is not
/// what it was, [`Kind::Failed`] otherwise.
pub fn run(globals: &Globals, args: &ImagesArgs) -> Result<(), Failure> {
    match &args.command {
        Command::List(args) => list::run(globals, args),
        Command::Pull(args) => pull::run(globals, args),
        Command::Verify(args) => verify::run(globals, args),
        Command::Trust(args) => trust::run(globals, args),
    }
}

/// The cluster file, if there is one: images are known without, too.
fn project_if_any(file: &Path) -> Result<Option<Project>, Failure> {
    match project::read(file) {
        Ok(project) => Ok(Some(project)),
        // Only a file that was named has to be there.
        Err(ProjectError::Absent(path)) if path.as_os_str() == "cluster.yaml" => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[derive(Debug, Error)]
#[error("cannot print the answer")]
struct PrintError(#[source] io::Error);

fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        // Whoever reads it has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::new(Kind::Failed, PrintError(error))),
        Ok(()) => Ok(()),
    }
}
