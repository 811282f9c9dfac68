//! `builder ls`: the swarm in detail.

use std::io::{self, Write};

use clap::Args;

use super::member::MemberError;
use crate::cli::Globals;
use crate::error::Failure;
use crate::pki;
use crate::project::{self, Project};
use crate::remote::{Address, Manager};

mod table;

/// Show the swarm's nodes with what runs on them, and its services
///
/// Every member is shown, those too that are not in the cluster file, and
/// every node of the cluster file that is no member. What only our agent
/// knows (temperature, uptime) is as it said last.
#[derive(Debug, Args)]
pub struct LsArgs {
    /// Where the manager is: an address or a name, and a port if not 8377
    ///
    /// Without it: the address in the cluster file, the last one that was good, mDNS, the name server.
    #[arg(long, value_name = "ADDRESS")]
    pub manager: Option<Address>,
}

/// Runs the command.
pub fn run(globals: &Globals, args: &LsArgs) -> Result<(), Failure> {
    show(&project::load(&globals.file)?, args, globals.json, &mut io::stdout())
}

/// Asks and shows; with `json`, what the manager answered.
///
/// # Errors
/// [`Kind::Unreachable`](crate::error::Kind::Unreachable) when no manager answers,
/// [`Kind::NotAsWanted`](crate::error::Kind::NotAsWanted) when there is no swarm to show.
pub fn show(project: &Project, args: &LsArgs, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let identities = pki::existing(project)?;
    let swarm = Manager::new(project, &identities, args.manager.clone())?.swarm()?;
    let text = if json {
        crate::json::line(&swarm).map_err(MemberError::Json)? + "\n"
    } else {
        table::render(&swarm, &project.file)
    };
    out.write_all(text.as_bytes()).map_err(MemberError::Print)?;
    Ok(())
}
