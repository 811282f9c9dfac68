//! `builder up`: whoever is out of the swarm because of `builder kill` or `builder rm` comes in again, and with `--reopen`
//! whoever came too late.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::ask::AskError;
use super::status::{self, StatusArgs, Style};
use crate::cli::Globals;
use crate::error::{Failure, builder, hint};
use crate::pki;
use crate::project::{self, Project};
use crate::remote::{Address, Manager, Untold};

/// Form the swarm again after `builder kill`, and have removed nodes back
///
/// Cards, names and certificates stay as they are; revoked ones stay revoked.
#[derive(Debug, Args)]
pub struct UpArgs {
    /// Open the join window again, for planned nodes that were never members
    ///
    /// It is open for as long as it was in the beginning (swarm.join_window in the cluster file).
    #[arg(long)]
    pub reopen: bool,
    /// How long to wait until the swarm is formed, such as 90s, 15m or 1h
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
    /// Do not wait
    #[arg(long, conflicts_with = "timeout")]
    pub no_wait: bool,
    /// Where the manager is: an address or a name, and a port if not 8377
    ///
    /// Without it: the address in the cluster file, the last one that was good, mDNS, the name server.
    #[arg(long, value_name = "ADDRESS")]
    pub manager: Option<Address>,
}

/// Runs the command.
pub fn run(globals: &Globals, args: &UpArgs) -> Result<(), Failure> {
    let project = project::load(&globals.file)?;
    let mut out = io::stdout();
    let style = Style { json: globals.json, quiet: globals.quiet, terminal: out.is_terminal() };
    up(&project, args, style, &mut out, &mut io::stderr())
}

#[derive(Serialize)]
struct Json<'a> {
    cluster: &'a str,
    changed: bool,
    untold: Vec<&'a str>,
    /// How long the join window is open from now on, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    join_window: Option<u64>,
}

/// Tells the managers and shows the board until the swarm is formed.
///
/// # Errors
/// [`crate::error::Kind::Unreachable`] when no manager answers, [`crate::error::Kind::NotAsWanted`] when waiting was in vain.
pub fn up(
    project: &Project,
    args: &UpArgs,
    style: Style,
    out: &mut dyn Write,
    talk: &mut dyn Write,
) -> Result<(), Failure> {
    let cluster = &project.cluster.name;
    let identities = pki::existing(project)?;
    let mut manager = Manager::new(project, &identities, args.manager.clone())?;
    let mut say = |line: String| {
        if style.quiet { Ok(()) } else { writeln!(talk, "{line}").map_err(AskError::Talk) }
    };
    let mut join_window = None;
    if args.reopen {
        let (time, untold) = manager.reopen()?;
        join_window = Some(time.as_secs());
        say(format!("the join window is open for {}", humantime::format_duration(time)))?;
        for Untold { manager, error } in untold {
            // Where else it was looked for is no news here.
            let why = error.to_string();
            say(format!("not at {manager}: {}", why.lines().next().unwrap_or_default()))?;
        }
    }
    let told = manager.up()?;
    let changed = told.is_some() || args.reopen;
    let is_forming = told.is_some();
    let untold = told.map(|told| told.untold).unwrap_or_default();
    for Untold { manager, .. } in &untold {
        say(format!("could not reach {manager}: when it is back on, the other managers tell it"))?;
    }
    if changed && !args.no_wait {
        if is_forming {
            say(format!("{cluster} is being formed"))?;
        }
        let args = StatusArgs {
            watch: style.terminal,
            wait: true,
            timeout: args.timeout,
            manager: args.manager.clone(),
        };
        return status::show(project, &args, style, out, talk);
    }
    let text = if style.json {
        let untold = untold.iter().map(|untold| untold.manager.as_str()).collect();
        let json = Json { cluster: cluster.as_str(), changed, untold, join_window };
        crate::json::line(&json).map_err(AskError::Json)? + "\n"
    } else if args.reopen && !is_forming {
        hint!["to see who comes in: ", builder(["status", "--wait"]), "\n"].text(&project.file)
    } else if changed {
        let see =
            hint![format!("{cluster} is being formed; to see it: "), builder(["status", "--wait"]), "\n"];
        see.text(&project.file)
    } else {
        format!("{cluster} is not dissolved and no node was removed: nothing to do\n")
    };
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(AskError::Talk)?;
    Ok(())
}
