//! `builder token`: the command that joins a machine by hand. It is printed and nothing else: not kept, not run.

use std::io::{self, Write};
use std::net::SocketAddrV4;

use clap::{Args, ValueEnum};
use cluster::identity::Role;
use cluster::secret::Secret;
use serde::Serialize;
use thiserror::Error;

use super::member::MemberError;
use crate::cli::Globals;
use crate::error::{Failure, Kind, builder, hint};
use crate::pki;
use crate::project::{self, Project};
use crate::remote::{Address, Manager};

/// Print the command that joins another machine to the swarm
///
/// Our nodes need no token, they join by themselves. A machine that joins by
/// hand is shown by `builder ls` as one that is not in the cluster file.
#[derive(Debug, Args)]
pub struct TokenArgs {
    /// What the machine is to be
    #[arg(value_enum, default_value_t = For::Worker)]
    role: For,
    /// Change both tokens first, so that those that were given before are worth nothing
    #[arg(long)]
    rotate: bool,
    /// Where the manager is: an address or a name, and a port if not 8377
    ///
    /// Without it: the address in the cluster file, the last one that was good, mDNS, the name server.
    #[arg(long, value_name = "ADDRESS")]
    manager: Option<Address>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum For {
    /// Runs tasks
    Worker,
    /// Keeps the swarm's state, and may do everything
    Manager,
}

/// Why there is nothing to print.
#[derive(Debug, Error)]
#[error("the manager does not know its own address yet")]
struct NoAddress;

/// For programs.
#[derive(Serialize)]
struct Json<'a> {
    role: Role,
    token: &'a Secret<String>,
    managers: &'a [SocketAddrV4],
}

/// Runs the command.
pub fn run(globals: &Globals, args: &TokenArgs) -> Result<(), Failure> {
    let project = project::load(&globals.file)?;
    let talk: &mut dyn Write = if globals.quiet { &mut io::sink() } else { &mut io::stderr() };
    print(&project, args, globals.json, &mut io::stdout(), talk)
}

/// Asks and prints. The token goes to `out` only.
///
/// # Errors
/// [`Kind::Unreachable`] when no manager answers, [`Kind::NotAsWanted`] when there is no swarm to join.
pub fn print(
    project: &Project,
    args: &TokenArgs,
    json: bool,
    out: &mut dyn Write,
    talk: &mut dyn Write,
) -> Result<(), Failure> {
    let role = match args.role {
        For::Worker => Role::Worker,
        For::Manager => Role::Manager,
    };
    let identities = pki::existing(project)?;
    let mut manager = Manager::new(project, &identities, args.manager.clone())?;
    if args.rotate {
        manager.rotate_tokens()?;
        writeln!(talk, "the join tokens were changed").map_err(MemberError::Print)?;
    }
    let reply = manager.token(role)?;
    let Some(address) = reply.managers.first() else {
        return Err(Failure::new(Kind::NotAsWanted, NoAddress)
            .hint(hint![builder(["status"]), " shows what it waits for"]));
    };
    let line = if json {
        crate::json::line(&Json { role, token: &reply.token, managers: &reply.managers })
            .map_err(MemberError::Json)?
    } else {
        format!("docker swarm join --token {} {address}", reply.token.expose())
    };
    writeln!(out, "{line}").map_err(MemberError::Print)?;
    let sentence = format!(
        "whoever has this can join the swarm as a {}, until the tokens change: when the join window closes, when a node \
         is revoked, or now: ",
        role.as_str()
    );
    let sentence = hint![sentence, builder(["token", "--rotate"])];
    writeln!(talk, "{}", sentence.text(&project.file)).map_err(MemberError::Print)?;
    Ok(())
}
