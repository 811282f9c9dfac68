//! `builder drain`: members take no tasks any more, and what they have is started elsewhere. All are told before any
//! is waited for.

use std::io::{self, Write};
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Args;
use cluster::wire::{Availability, NodeTasks};
use humantime::FormattedDuration;
use thiserror::Error;

use super::member::{self, Member, MemberError};
use crate::cli::Globals;
use crate::cli::status::INTERVAL;
use crate::error::{Failure, Kind, again, hint};
use crate::pki;
use crate::project::{self, Project};
use crate::remote::{Address, Manager};

/// Keep the swarm's tasks off nodes, and wait until what ran there has ended
///
/// Tasks of services are started on other nodes; containers that were started
/// by hand go on. It lasts, over restarts, too, until `builder activate`. A
/// node that joins anew, with a new card say, is as its role is: workers take
/// tasks.
#[derive(Debug, Args)]
pub struct DrainArgs {
    /// Nodes, ranges such as 'red[02-03]', or Swarm node ids
    #[arg(value_name = "NODE", required = true)]
    nodes: Vec<String>,
    /// Do not wait
    #[arg(long)]
    no_wait: bool,
    /// How long to wait, such as 90s or 1h; exit code 6 if that takes too long
    #[arg(
        long,
        value_name = "TIME",
        default_value = "5m",
        conflicts_with = "no_wait",
        value_parser = humantime::parse_duration
    )]
    timeout: Duration,
    /// Where the manager is: an address or a name, and a port if not 8377
    ///
    /// Without it: the address in the cluster file, the last one that was good, mDNS, the name server.
    #[arg(long, value_name = "ADDRESS")]
    manager: Option<Address>,
}

/// What went on for too long, or was undone.
#[derive(Debug, Error)]
enum DrainError {
    #[error("tasks did not end within {timeout}: {}", left.join(", "))]
    Left { timeout: FormattedDuration, left: Vec<String> },
    #[error("{name} is not drained any more: somebody made it {availability} meanwhile")]
    Undone { name: String, availability: String },
}

/// Where the output goes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Style {
    /// The members' entries and tasks as JSON, at the end.
    pub json: bool,
    /// No talk.
    pub quiet: bool,
}

/// Runs the command.
pub fn run(globals: &Globals, args: &DrainArgs) -> Result<(), Failure> {
    let style = Style { json: globals.json, quiet: globals.quiet };
    drain(&project::load(&globals.file)?, args, style, &mut io::stdout(), &mut io::stderr())
}

/// Drains the members and waits.
///
/// # Errors
/// [`Kind::Usage`] for a word that means no member; nothing has changed then. [`Kind::NotAsWanted`] when tasks are
/// left after the time; the members stay drained.
pub fn drain(
    project: &Project,
    args: &DrainArgs,
    style: Style,
    out: &mut dyn Write,
    talk: &mut dyn Write,
) -> Result<(), Failure> {
    let identities = pki::existing(project)?;
    let mut manager = Manager::new(project, &identities, args.manager.clone())?;
    let members = member::find(&args.nodes, &manager.swarm()?)?;
    for Member { id, .. } in &members {
        manager.set_availability(id, Availability::Drain)?;
    }
    let started = Instant::now();
    let mut said = String::new();
    loop {
        let mut seen = Vec::new();
        for member in &members {
            seen.push((member, look(&mut manager, member)?));
        }
        let left: Vec<_> = seen.iter().filter(|(_, tasks)| is_busy(tasks)).map(told_left).collect();
        let over = started.elapsed() >= args.timeout;
        if args.no_wait || left.is_empty() || over {
            show(&seen, style.json, out)?;
            return if args.no_wait || left.is_empty() { Ok(()) } else { Err(late(args, left)) };
        }
        let line = format!("waiting until tasks have ended: {}", left.join(", "));
        if line != said && !style.quiet {
            writeln!(talk, "{line}").map_err(MemberError::Print)?;
            said = line;
        }
        sleep(INTERVAL.min(args.timeout.saturating_sub(started.elapsed())));
    }
}

fn look(manager: &mut Manager<'_>, member: &Member) -> Result<NodeTasks, Failure> {
    let tasks = manager.tasks(&member.id)?;
    if tasks.swarm.availability != Availability::Drain.as_str() {
        let availability = cluster::text::printable(&tasks.swarm.availability);
        let error = DrainError::Undone { name: member.name.clone(), availability };
        return Err(Failure::new(Kind::NotAsWanted, error));
    }
    Ok(tasks)
}

/// Nobody hears of the end of a task on a node that is down; the swarm has started it elsewhere.
fn is_busy(tasks: &NodeTasks) -> bool {
    tasks.running > 0 && tasks.swarm.state != "down"
}

fn told_left((member, tasks): &(&Member, NodeTasks)) -> String {
    let s = if tasks.running == 1 { "" } else { "s" };
    format!("{} task{s} on {}", tasks.running, member.name)
}

fn late(args: &DrainArgs, left: Vec<String>) -> Failure {
    let timeout = humantime::format_duration(args.timeout);
    let again = again(["drain"].into_iter().chain(args.nodes.iter().map(String::as_str)));
    let again = hint!["to wait longer: ", again.with_value("--timeout", "1h")];
    Failure::new(Kind::NotAsWanted, DrainError::Left { timeout, left }).hint(again)
}

fn show(seen: &[(&Member, NodeTasks)], json: bool, out: &mut dyn Write) -> Result<(), MemberError> {
    if json {
        let all: Vec<_> = seen.iter().map(|(_, tasks)| tasks).collect();
        let text = crate::json::line(&all).map_err(MemberError::Json)?;
        return writeln!(out, "{text}").map_err(MemberError::Print);
    }
    for (member, tasks) in seen {
        let rest = match (tasks.running, is_busy(tasks)) {
            (0, _) => "nothing of the swarm runs on it",
            (_, true) => "what runs on it is being started elsewhere",
            (_, false) => "it is down, and what ran on it is started elsewhere",
        };
        writeln!(out, "{}: takes no tasks; {rest}", member.name).map_err(MemberError::Print)?;
    }
    Ok(())
}
