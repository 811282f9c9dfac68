//! `builder status`: asks the manager for its board and shows it, once, for ever, or until the swarm is formed.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use clap::Args;
use cluster::name::ClusterName;
use humantime::FormattedDuration;
use thiserror::Error;

use crate::cli::Globals;
use crate::error::{Failure, Kind};
use crate::pki;
use crate::project::{self, Project};
use crate::remote::{Address, Manager, RemoteError};

mod table;
mod view;

use view::View;

/// How often the manager is asked. It allows about one request a second.
const INTERVAL: Duration = Duration::from_secs(2);

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

/// How the output looks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Style {
    /// JSON instead of a table; with `--watch` one object per line.
    pub json: bool,
    /// No talk.
    pub quiet: bool,
    /// `--watch` redraws instead of going on below.
    pub terminal: bool,
}

/// Why the status could not be shown, or is not as wanted.
#[derive(Debug, Error)]
enum StatusError {
    #[error("{cluster} was not formed within {timeout}: waiting for {}", missing.join(", "))]
    Missing { cluster: ClusterName, timeout: FormattedDuration, missing: Vec<String> },
    #[error(
        "{cluster} was not formed within {timeout}: every planned node is ready, but the manager's node list has \
         one of them twice"
    )]
    Twice { cluster: ClusterName, timeout: FormattedDuration },
    #[error("cannot print the status")]
    Print(#[source] io::Error),
    #[error("cannot make JSON of the status")]
    Json(#[source] serde_json::Error),
}

/// Asks and shows. `out` gets the data, `talk` what is said while waiting.
///
/// # Errors
/// [`Kind::Unreachable`] when the manager never answered, [`Kind::NotAsWanted`] when waiting was in vain.
pub fn show(
    project: &Project,
    args: &StatusArgs,
    style: Style,
    out: &mut dyn Write,
    talk: &mut dyn Write,
) -> Result<(), Failure> {
    let identities = pki::existing(project)?;
    let mut manager = Manager::new(project, &identities, args.manager.clone())?;
    let mut screen = Screen { style, watch: args.watch, out, talk, shown: None, said: String::new() };
    let started = Instant::now();
    let mut last = None;
    loop {
        let answer = manager.board();
        let over = args.wait && started.elapsed() >= args.timeout;
        let stays = (args.watch || args.wait) && !(over && last.is_none());
        let mut trouble = None;
        match answer {
            Ok(board) => {
                let view = View::new(board, project);
                if args.watch {
                    screen.show_change(&view)?;
                } else if args.wait {
                    screen.say(&waiting_for(&view));
                }
                let done = if args.wait { view.board.formed } else { !args.watch };
                if done {
                    return screen.finish(&view);
                }
                last = Some(view);
            }
            Err(error) if !stays || !error.is_transient() => return Err(error.into()),
            Err(error) => {
                screen.say(&format!("{} does not answer yet: trying again", manager.name()));
                trouble = Some(error);
            }
        }
        if over && let Some(view) = last {
            screen.finish(&view)?;
            return Err(not_formed(&view, args.timeout, trouble));
        }
        let left = args.timeout.saturating_sub(started.elapsed());
        std::thread::sleep(if args.wait { INTERVAL.min(left) } else { INTERVAL });
    }
}

fn waiting_for(view: &View) -> String {
    let missing = table::missing(view);
    let rest =
        if missing.is_empty() { String::new() } else { format!("; waiting for {}", missing.join(", ")) };
    table::summary(view) + &rest
}

/// Where the board is shown, and what is already there.
struct Screen<'a> {
    style: Style,
    watch: bool,
    out: &'a mut dyn Write,
    talk: &'a mut dyn Write,
    /// What was shown last, without what changes by itself.
    shown: Option<View>,
    said: String,
}

impl Screen<'_> {
    /// Shows the board if there is something new. A terminal is redrawn at every look, for the ages go on.
    fn show_change(&mut self, view: &View) -> Result<(), Failure> {
        let essence = view.essence();
        let redraw = self.style.terminal && !self.style.json;
        if self.shown.as_ref() == Some(&essence) && !redraw {
            return Ok(());
        }
        if redraw {
            // Cursor home, and the rest of the screen cleared: ECMA-48 CUP and ED.
            self.print("\x1b[H\x1b[J")?;
        } else if self.shown.is_some() && !self.style.json {
            self.print("\n")?;
        }
        self.print_board(view)?;
        self.shown = Some(essence);
        Ok(())
    }

    /// Shows the board unless it is what was shown last.
    fn finish(&mut self, view: &View) -> Result<(), Failure> {
        if self.watch { self.show_change(view) } else { self.print_board(view) }
    }

    fn print_board(&mut self, view: &View) -> Result<(), Failure> {
        let text = if self.style.json {
            let json = view.to_json();
            json.map_err(|error| Failure::new(Kind::Failed, StatusError::Json(error)))? + "\n"
        } else {
            table::render(view)
        };
        self.print(&text)
    }

    fn print(&mut self, text: &str) -> Result<(), Failure> {
        let printed = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
        printed.map_err(|error| Failure::new(Kind::Failed, StatusError::Print(error)))
    }

    /// Says something new to whoever waits.
    fn say(&mut self, text: &str) {
        if self.style.quiet || self.said == text {
            return;
        }
        text.clone_into(&mut self.said);
        // Nobody is left to be told that standard error is closed.
        let _unsaid = writeln!(self.talk, "{text}");
    }
}

fn not_formed(view: &View, timeout: Duration, trouble: Option<RemoteError>) -> Failure {
    let cluster = view.board.cluster.clone();
    let timeout = humantime::format_duration(timeout);
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
    failure.hint("to wait longer: builder status --wait --timeout 1h")
}
