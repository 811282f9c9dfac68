//! `builder status`: asks the manager for its board and shows it, once, for ever, or until the swarm is formed.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use clap::Args;
use cluster::name::ClusterName;
use humantime::FormattedDuration;
use thiserror::Error;

use crate::cli::Globals;
use crate::error::{Failure, Kind, builder, hint};
use crate::pki;
use crate::project::{self, Project};
use crate::remote::{Address, Manager, RemoteError};

mod screen;
pub(in crate::cli) mod table;
pub(in crate::cli) mod view;

pub(in crate::cli) use screen::Screen;
pub use screen::Style;
use view::View;

/// How often the manager is asked. It allows about one request a second.
pub(in crate::cli) const INTERVAL: Duration = Duration::from_secs(2);

/// How long is looked for a manager at least, however little is left of the time to wait.
const LEAST_LOOK: Duration = Duration::from_secs(1);

/// Show the manager's node list and what every planned node is doing
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Stay, and show every change
    #[arg(long)]
    pub watch: bool,
    /// Wait until every planned node is ready; exit code 6 if that takes too long
    #[arg(long)]
    pub wait: bool,
    /// How long to wait, such as 90s, 15m or 1h
    #[arg(
        long,
        value_name = "TIME",
        default_value = "15m",
        requires = "wait",
        value_parser = humantime::parse_duration
    )]
    pub timeout: Duration,
    /// Where the manager is: an address or a name, and a port if not 8377
    ///
    /// Without it: the address in the cluster file, the last one that was good, mDNS, the name server.
    #[arg(long, value_name = "ADDRESS")]
    pub manager: Option<Address>,
}

/// Runs the command.
pub fn run(globals: &Globals, args: &StatusArgs) -> Result<(), Failure> {
    let project = project::load(&globals.file)?;
    let mut out = io::stdout();
    let style = Style { json: globals.json, quiet: globals.quiet, terminal: out.is_terminal() };
    show(&project, args, style, &mut out, &mut io::stderr())
}

/// Why the status could not be shown, or is not as wanted.
#[derive(Debug, Error)]
enum StatusError {
    #[error("{cluster} was not formed within {timeout}: waiting for {}", missing.join(", "))]
    Missing { cluster: ClusterName, timeout: FormattedDuration, missing: Vec<String> },
    #[error("{cluster} was not formed within {timeout}: no manager answered")]
    Unanswered {
        cluster: ClusterName,
        timeout: FormattedDuration,
        #[source]
        source: RemoteError,
    },
    #[error(
        "{cluster} was not formed within {timeout}: every planned node is ready, but the manager's node list has \
         one of them twice"
    )]
    Twice { cluster: ClusterName, timeout: FormattedDuration },
}

/// Asks and shows. `out` gets the data, `talk` what is said while waiting.
///
/// # Errors
/// [`Kind::Unreachable`] when no manager answers and nobody waits, [`Kind::NotAsWanted`] after the time to wait.
pub fn show(
    project: &Project,
    args: &StatusArgs,
    style: Style,
    out: &mut dyn Write,
    talk: &mut dyn Write,
) -> Result<(), Failure> {
    let identities = pki::existing(project)?;
    let mut manager = Manager::new(project, &identities, args.manager.clone())?;
    let mut screen = Screen::new(style, args.watch, out, talk);
    let started = Instant::now();
    let mut last = None;
    loop {
        if args.wait {
            // The last look has its time, too.
            manager.end_by((started + args.timeout).max(Instant::now() + LEAST_LOOK));
        }
        let answer = manager.board();
        let over = args.wait && started.elapsed() >= args.timeout;
        let stays = args.watch || args.wait;
        let mut trouble = None;
        match answer {
            Ok(board) => {
                let view = View::new(board, project).met(manager.foreign());
                if args.watch {
                    screen.show_change(&view)?;
                } else if args.wait {
                    screen.say(&table::waiting_for(&view));
                }
                let done = if args.wait { view.board.formed } else { !args.watch };
                if done {
                    return screen.finish(&view);
                }
                last = Some(view);
            }
            Err(error) if !stays || !error.is_transient() => return Err(error.into()),
            Err(error) if over && last.is_none() => {
                return Err(unanswered(&project.cluster.name, args.timeout, error));
            }
            Err(error) => {
                screen.say(&format!("{} does not answer yet: trying again", manager.name()));
                trouble = Some(error);
            }
        }
        if over && let Some(view) = last {
            let failure = not_formed(&view, args, trouble);
            // One object for programs, unless they get a line per change.
            if style.json && !args.watch {
                return Err(failure.with(view.to_value()?));
            }
            screen.finish(&view)?;
            return Err(failure);
        }
        let left = args.timeout.saturating_sub(started.elapsed());
        std::thread::sleep(if args.wait { INTERVAL.min(left) } else { INTERVAL });
    }
}

/// The time is over, and nothing was ever seen.
fn unanswered(cluster: &ClusterName, timeout: Duration, source: RemoteError) -> Failure {
    let (cluster, timeout) = (cluster.clone(), humantime::format_duration(timeout));
    let hints = source.hints();
    let error = StatusError::Unanswered { cluster, timeout, source };
    hints.into_iter().fold(Failure::new(Kind::NotAsWanted, error), Failure::hint)
}

fn not_formed(view: &View, args: &StatusArgs, trouble: Option<RemoteError>) -> Failure {
    let cluster = view.board.cluster.clone();
    let timeout = humantime::format_duration(args.timeout);
    let missing = table::missing(view);
    let error = if missing.is_empty() {
        StatusError::Twice { cluster, timeout }
    } else {
        StatusError::Missing { cluster, timeout, missing }
    };
    let mut failure = Failure::new(Kind::NotAsWanted, error);
    if let Some(trouble) = trouble {
        failure = failure.hint(format!("this is the last that was seen: {trouble}"));
    }
    let silent = view.board.nodes.iter().filter(|node| node.report.is_none() && node.swarm.is_none());
    let silent: Vec<_> = silent.map(|node| node.name.to_string()).collect();
    if !silent.is_empty() {
        let names = silent.join(", ");
        failure = failure.hint(format!("is {names} powered on, with its own card, on the same network?"));
    }
    // Not the command that was typed: that may be `up`, which does more than wait.
    let longer = builder(["status", "--wait", "--timeout", "1h"]);
    let manager = args.manager.iter().flat_map(|address| ["--manager".to_owned(), address.to_string()]);
    failure.hint(hint!["to wait longer: ", longer.args(manager)])
}
