//! `builder rm`: nodes leave the swarm for good, and their entries go. Their cards and certificates stay good.
//!
//! The managers are told, and do the rest by themselves; the board is watched to see it done. May be repeated.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use clap::Args;
use cluster::range;
use cluster::wire::{Board, BoardNode};
use serde::Serialize;
use thiserror::Error;

use super::ask::{self, AskError};
use super::revoke::Desk;
use super::status::view::has_left;
use super::status::{INTERVAL, Screen, Style};
use crate::cli::Globals;
use crate::error::{Failure, Kind, again, builder, hint};
use crate::pki;
use crate::project::{self, Project};
use crate::remote::{Address, Manager, RemoteError};

/// Take nodes out of the swarm; their cards stay good
///
/// What runs there is started elsewhere, the node leaves and stays out, and its
/// entry in the node list goes. `builder up` has it back. A node whose card is
/// lost needs `builder revoke` instead.
#[derive(Debug, Args)]
pub struct RmArgs {
    /// Nodes or ranges such as 'red[02-03]'; of nodes that are not planned the name or id in the node list
    #[arg(value_name = "NODE", required = true)]
    pub nodes: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// How long to wait until they are gone, such as 90s or 5m
    #[arg(long, value_name = "TIME", default_value = "3m", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
    /// Where the manager is: an address or a name, and a port if not 8377
    ///
    /// Without it: the address in the cluster file, the last one that was good, mDNS, the name server.
    #[arg(long, value_name = "ADDRESS")]
    pub manager: Option<Address>,
}

/// Why a node was not removed.
#[derive(Debug, Error)]
enum RmError {
    #[error("{text:?} {source}")]
    Range { text: String, source: range::RangeError },
    #[error("{0:?} is no name or id of a node")]
    NoName(String),
    #[error("{} not removed: {}", were(nodes.len()), nodes.join("; "))]
    Refused { nodes: Vec<String> },
    #[error("{} still in the swarm: {}", are(nodes.len()), nodes.join(", "))]
    Remaining { nodes: Vec<String> },
}

fn were(nodes: usize) -> String {
    if nodes == 1 { "1 node was".to_owned() } else { format!("{nodes} nodes were") }
}

fn are(nodes: usize) -> String {
    if nodes == 1 { "1 node is".to_owned() } else { format!("{nodes} nodes are") }
}

/// Runs the command.
pub fn run(globals: &Globals, args: &RmArgs) -> Result<(), Failure> {
    let project = project::load(&globals.file)?;
    let style = Style { json: globals.json, quiet: globals.quiet, terminal: false };
    ask::at_desk(|desk| rm(&project, args, style, desk))
}

/// Tells the managers to have nodes gone, and waits until they are, or nobody wants to wait any more.
///
/// # Errors
/// When no manager answers.
pub(super) fn take_out(
    manager: &mut Manager<'_>,
    names: Vec<String>,
    timeout: Duration,
    screen: &mut Screen<'_>,
    stop: &dyn Fn() -> bool,
) -> Result<BTreeMap<String, Fate>, RemoteError> {
    let mut fates = BTreeMap::new();
    for name in names {
        let fate = match manager.remove_node(&name) {
            Ok(_) => Fate::Going,
            // One manager may not know yet of a node that the others have.
            Err(RemoteError::Answer { status: 404, .. }) if is_planned(manager, &name) => Fate::Going,
            Err(RemoteError::Answer { status: 404, message }) => Fate::Unknown(message),
            Err(RemoteError::Answer { status: 409, message }) => Fate::Refused(message),
            Err(error) => return Err(error),
        };
        fates.insert(name, fate);
    }
    wait(manager, &mut fates, timeout, screen, stop);
    Ok(fates)
}

/// What became of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Fate {
    /// It is out, and its entry is gone.
    Gone,
    /// It is on its way.
    Going,
    /// No manager knows of it; in its words.
    Unknown(String),
    /// A manager will not have it, for this reason.
    Refused(String),
}

/// Asks, tells the managers, waits, and says who is gone.
///
/// # Errors
/// [`Kind::Usage`] for what is no name and when there is nobody to ask, [`Kind::Unreachable`] when no manager answers;
/// [`Kind::Failed`] when a manager refuses, [`Kind::NotAsWanted`] when some are not gone in time.
pub fn rm(project: &Project, args: &RmArgs, style: Style, desk: &mut Desk<'_>) -> Result<(), Failure> {
    let names = names(&args.nodes)?;
    if !args.yes {
        let what = format!(
            "{}: what runs there is started elsewhere, the node leaves the swarm and stays out until `",
            names.join(", ")
        );
        let what = hint![what, builder(["up"]), "`."].text(&project.file);
        let again = again(["rm"].into_iter().chain(args.nodes.iter().map(String::as_str)));
        ask::confirm(desk, &what, again.with(["--yes"]))?;
    }
    let identities = pki::existing(project)?;
    let mut manager = Manager::new(project, &identities, args.manager.clone())?;
    let screen = &mut Screen::new(style, false, desk.out, desk.talk);
    let fates = take_out(&mut manager, names, args.timeout, screen, &|| false)?;
    let text = if style.json { to_json(&fates)? } else { to_text(&fates, &project.file) };
    ask::print(desk, &text)?;
    verdict(&fates)
}

/// Every name that is meant. Node ids are letters and digits, host names may have dots and hyphens.
fn names(words: &[String]) -> Result<Vec<String>, Failure> {
    let mut names = Vec::new();
    for word in words {
        let usage = |error| Failure::new(Kind::Usage, error);
        let texts = range::expand(word).map_err(|source| {
            let advice = source.advice();
            usage(RmError::Range { text: word.clone(), source }).hint(advice)
        })?;
        for text in texts {
            let part_of_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
            if text.is_empty() || text.starts_with('.') || !text.chars().all(part_of_name) {
                return Err(usage(RmError::NoName(text))
                    .hint(hint!["the names and ids are in: ", builder(["status"])]));
            }
            if !names.contains(&text) {
                names.push(text);
            }
        }
    }
    Ok(names)
}

fn is_planned(manager: &mut Manager<'_>, name: &str) -> bool {
    manager.board().is_ok_and(|board| board.nodes.iter().any(|node| node.name.as_str() == name))
}

fn wait(
    manager: &mut Manager<'_>,
    fates: &mut BTreeMap<String, Fate>,
    timeout: Duration,
    screen: &mut Screen<'_>,
    stop: &dyn Fn() -> bool,
) {
    let started = Instant::now();
    loop {
        // Whoever does not answer now may do so in a moment.
        let board = manager.board().ok();
        for (name, fate) in fates.iter_mut().filter(|(_, fate)| **fate == Fate::Going) {
            let Some(board) = &board else { continue };
            // Who is planned is on the managers' board. Our file may have nodes less by now.
            let planned = board.nodes.iter().find(|node| node.name.as_str() == name);
            let is_gone = match planned {
                Some(node) => is_gone(board, node),
                None => matches!(manager.removal(name), Ok(None)),
            };
            if is_gone {
                *fate = Fate::Gone;
            }
        }
        let going = with(fates, |fate| *fate == Fate::Going);
        if going.is_empty() || started.elapsed() >= timeout || stop() {
            return;
        }
        screen.say(&format!("waiting for {} to go", going.join(", ")));
        std::thread::sleep(INTERVAL.min(timeout.saturating_sub(started.elapsed())));
    }
}

/// A list that cannot be read has nobody in it; then the node itself has to say that it has left.
fn is_gone(board: &Board, node: &BoardNode) -> bool {
    let is_readable = board.nodes.iter().any(|node| node.swarm.is_some());
    node.dismissed && node.swarm.is_none() && (is_readable || has_left(node))
}

fn with(fates: &BTreeMap<String, Fate>, wanted: impl Fn(&Fate) -> bool) -> Vec<String> {
    fates.iter().filter(|(_, fate)| wanted(fate)).map(|(name, _)| name.clone()).collect()
}

fn to_text(fates: &BTreeMap<String, Fate>, file: &Path) -> String {
    let line = |(name, fate): (&String, &Fate)| match fate {
        Fate::Gone => {
            hint![format!("{name} is out of the swarm; to have it back: "), builder(["up"]), "\n"].text(file)
        }
        Fate::Going => {
            format!("{name} is still there: the managers go on, and it stays out once it has left\n")
        }
        Fate::Refused(why) | Fate::Unknown(why) => format!("{name} was not removed: {why}\n"),
    };
    fates.iter().map(line).collect()
}

fn to_json(fates: &BTreeMap<String, Fate>) -> Result<String, AskError> {
    #[derive(Serialize)]
    struct Json<'a> {
        node: &'a str,
        gone: bool,
        refused: Option<&'a str>,
    }
    let json = fates.iter().map(|(node, fate)| Json {
        node,
        gone: *fate == Fate::Gone,
        refused: if let Fate::Refused(why) | Fate::Unknown(why) = fate { Some(why) } else { None },
    });
    Ok(crate::json::line(&json.collect::<Vec<_>>()).map_err(AskError::Json)? + "\n")
}

fn verdict(fates: &BTreeMap<String, Fate>) -> Result<(), Failure> {
    let nodes = with(fates, |fate| matches!(fate, Fate::Refused(_) | Fate::Unknown(_)));
    if !nodes.is_empty() {
        let is_refused = fates.values().any(|fate| matches!(fate, Fate::Refused(_)));
        let failure = Failure::new(Kind::Failed, RmError::Refused { nodes });
        return Err(match is_refused {
            true => failure.hint(hint!["to end the whole swarm instead: ", builder(["kill"])]),
            false => failure,
        });
    }
    let nodes = with(fates, |fate| *fate == Fate::Going);
    if nodes.is_empty() {
        return Ok(());
    }
    let failure = Failure::new(Kind::NotAsWanted, RmError::Remaining { nodes });
    Err(failure.hint(hint![
        "to see whether they are gone: ",
        builder(["status"]),
        ", or the same command again"
    ]))
}
