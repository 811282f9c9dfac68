//! `builder activate`: members take tasks again.

use std::io::{self, Write};

use clap::Args;
use cluster::wire::{Availability, SwarmEntry};

use super::member::{self, Member, MemberError};
use crate::cli::Globals;
use crate::error::Failure;
use crate::pki;
use crate::project::{self, Project};
use crate::remote::{Address, Manager};

/// Have nodes take tasks again that were drained
///
/// What runs elsewhere stays there: the swarm starts only new tasks on them.
#[derive(Debug, Args)]
pub struct ActivateArgs {
    /// Nodes, ranges such as 'red[02-03]', or Swarm node ids
    #[arg(value_name = "NODE", required = true)]
    nodes: Vec<String>,
    /// Where the manager is: an address or a name, and a port if not 8377
    ///
    /// Without it: the address in the cluster file, the last one that was good, mDNS, the name server.
    #[arg(long, value_name = "ADDRESS")]
    manager: Option<Address>,
}

/// Runs the command.
pub fn run(globals: &Globals, args: &ActivateArgs) -> Result<(), Failure> {
    activate(&project::load(&globals.file)?, args, globals.json, &mut io::stdout())
}

/// Makes the members active; with `json`, prints their entries in the node list.
///
/// # Errors
/// [`Kind::Usage`](crate::error::Kind::Usage) for a word that means no member; nothing has changed then.
pub fn activate(
    project: &Project,
    args: &ActivateArgs,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let identities = pki::existing(project)?;
    let mut manager = Manager::new(project, &identities, args.manager.clone())?;
    let members = member::find(&args.nodes, &manager.swarm()?)?;
    let mut entries: Vec<SwarmEntry> = Vec::new();
    for Member { name, id } in &members {
        entries.push(manager.set_availability(id, Availability::Active)?);
        if !json {
            writeln!(out, "{name}: takes tasks").map_err(MemberError::Print)?;
        }
    }
    if json {
        let text = crate::json::line(&entries).map_err(MemberError::Json)?;
        writeln!(out, "{text}").map_err(MemberError::Print)?;
    }
    Ok(())
}
