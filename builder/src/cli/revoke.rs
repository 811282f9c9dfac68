//! `builder revoke`: a node's certificate is worth nothing from now on; its next card gets a new one.
//!
//! The managers are told first, the secrets folder follows as soon as one of them was: the next card gets another key then.
//! A run that ends in between, or that could not tell all managers, can be repeated: they take the same keys twice.

use std::collections::BTreeSet;
use std::io::{self, BufRead, IsTerminal, Write};

use clap::Args;
use cluster::identity::Role;
use cluster::name::Hostname;
use cluster::text::printable;
use cluster::wire::{Revoke, Revoked};
use serde::Serialize;
use thiserror::Error;

use crate::cli::Globals;
use crate::cli::ask::{self, AskError};
use crate::error::{Command, Failure, Kind, again, builder, hint, one_line};
use crate::project::{self, Project, ProjectKind};
use crate::remote::{Address, Manager, Untold};
use crate::{pki, plan};

/// Turn a node away for good: its card was lost, copied or stolen
///
/// The manager refuses its certificate from now on, removes it from the swarm
/// and changes the join tokens. Other nodes are not affected. The next
/// `builder build` makes a card with a new certificate for it.
#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// Nodes or ranges such as 'red[02-03]'
    #[arg(value_name = "NODE", required = true)]
    nodes: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Where the manager is: an address or a name, and a port if not 8377
    ///
    /// Without it: the address in the cluster file, the last one that was good, mDNS, the name server.
    #[arg(long, value_name = "ADDRESS")]
    manager: Option<Address>,
}

/// Why nothing was revoked.
#[derive(Debug, Error)]
enum RevokeError {
    #[error("{0} is a manager, and is what would have to turn itself away")]
    IsManager(Hostname),
    #[error("{0} has no identity that could be revoked")]
    NoIdentity(Hostname),
    #[error("{} not revoked everywhere: could not reach {}", are(nodes), managers.join(", "))]
    Untold { nodes: Vec<String>, managers: Vec<String> },
    #[error("{} refused from now on, but only until a manager restarts: {why}", are(nodes))]
    Unsaved { nodes: Vec<String>, why: String },
    #[error("cannot talk to you")]
    Talk(#[source] io::Error),
    #[error("cannot make JSON of the result")]
    Json(#[source] serde_json::Error),
}

fn again_for(nodes: &[String]) -> Command {
    again(["revoke"].into_iter().chain(nodes.iter().map(String::as_str)))
}

fn are(nodes: &[String]) -> String {
    format!("{} {}", nodes.join(", "), if nodes.len() == 1 { "is" } else { "are" })
}

impl From<RevokeError> for Failure {
    fn from(error: RevokeError) -> Self {
        let (kind, hint) = match &error {
            RevokeError::IsManager(_) => (
                Kind::Usage,
                "a manager in wrong hands has the whole swarm: begin anew with a new secrets folder and new cards"
                    .into(),
            ),
            RevokeError::NoIdentity(name) => (Kind::Failed, hint!["make its card first: ", builder(["build", name.as_str()])]),
            RevokeError::Untold { nodes, managers } => {
                let managers = managers.join(", ");
                // Later it would revoke the new cards, too, of all nodes that were named.
                let text = format!("once {managers} can be reached, and before new cards are made, type again: ");
                let again = hint![text, again_for(nodes)];
                return Self::new(Kind::NotAsWanted, error)
                    .hint(again)
                    .hint(format!("a new card for {managers} knows of it by itself"));
            }
            RevokeError::Unsaved { nodes, .. } => {
                let again = again_for(nodes);
                return Self::new(Kind::NotAsWanted, error).hint(hint!["make room on the manager's disk, then: ", again]);
            }
            RevokeError::Talk(_) | RevokeError::Json(_) => {
                return Self::new(Kind::Failed, error);
            }
        };
        Self::new(kind, error).hint(hint)
    }
}

/// Where questions are asked and answers read.
pub struct Desk<'a> {
    /// What the person types; `None` when nobody sits there.
    pub input: Option<&'a mut dyn BufRead>,
    /// Results.
    pub out: &'a mut dyn Write,
    /// Questions.
    pub talk: &'a mut dyn Write,
}

impl std::fmt::Debug for Desk<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("attended", &self.input.is_some()).finish_non_exhaustive()
    }
}

/// Runs the command.
pub fn run(globals: &Globals, args: &RevokeArgs) -> Result<(), Failure> {
    let project = project::load(&globals.file)?;
    let mut stdin = io::stdin().lock();
    let input = if stdin.is_terminal() { Some(&mut stdin as &mut dyn BufRead) } else { None };
    let mut desk = Desk { input, out: &mut io::stdout(), talk: &mut io::stderr() };
    revoke(&project, args, globals.json, &mut desk)
}

/// A node that was revoked, for programs.
#[derive(Serialize)]
struct Done<'a> {
    node: &'a str,
    members: &'a [String],
    unfinished: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unsaved: Option<&'a str>,
    untold: Vec<JsonUntold<'a>>,
}

#[derive(Serialize)]
struct JsonUntold<'a> {
    manager: &'a str,
    error: String,
}

/// A node that at least one manager turns away.
struct Away {
    name: Hostname,
    revoked: Revoked,
    untold: Vec<Untold>,
}

/// Asks, tells the managers, sets the identity aside.
///
/// # Errors
/// [`Kind::Usage`] for a manager, and when there is nobody to ask; [`Kind::Unreachable`] when no manager answers: the node's
/// identity is as it was then. [`Kind::NotAsWanted`] when some were not told.
pub fn revoke(project: &Project, args: &RevokeArgs, json: bool, desk: &mut Desk<'_>) -> Result<(), Failure> {
    let names = plan::select(&project.cluster, &args.nodes)?;
    let mut wanted = Vec::new();
    for name in names {
        let is_manager = |node: &&cluster::spec::Node| node.name == name && node.role == Role::Manager;
        if project.cluster.nodes.iter().any(|node| is_manager(&node)) {
            return Err(RevokeError::IsManager(name).into());
        }
        let pki::Keys { present, former } = pki::keys(project, &name)?;
        let keys: BTreeSet<_> = former.into_iter().chain(present).collect();
        if keys.is_empty() {
            return Err(RevokeError::NoIdentity(name).into());
        }
        wanted.push((name, Revoke { keys }));
    }
    if !args.yes {
        confirm(&wanted, desk)?;
    }
    let identities = pki::existing(project)?;
    let mut manager = Manager::new(project, &identities, args.manager.clone())?;
    let mut done = Vec::new();
    for (name, keys) in wanted {
        let (revoked, untold) = manager.revoke(&name, &keys)?;
        pki::set_aside(project, &name)?;
        let away = Away { name, revoked, untold };
        if !json {
            write!(desk.out, "{}", told(&away)).map_err(RevokeError::Talk)?;
        }
        done.push(away);
    }
    if json {
        let text = crate::json::line(&done.iter().map(to_json).collect::<Vec<_>>());
        writeln!(desk.out, "{}", text.map_err(RevokeError::Json)?).map_err(RevokeError::Talk)?;
    }
    verdict(&done)?;
    if !json {
        let names: Vec<_> = done.iter().map(|away| away.name.as_str()).collect();
        let next = match project.kind {
            ProjectKind::Adopted => hint!["next, for new certificates: ", builder(["config"])],
            ProjectKind::Planned => {
                let (card, image) = (builder(["flash"]), builder(["build", "--force"]));
                let (card, image) = (card.args(names.clone()), image.args(names));
                hint!["next, for a new card: ", card, ", or its image: ", image]
            }
        };
        writeln!(desk.talk, "{}", next.text(&project.file)).map_err(RevokeError::Talk)?;
    }
    Ok(())
}

fn to_json(Away { name, revoked, untold }: &Away) -> Done<'_> {
    let untold = untold
        .iter()
        .map(|untold| JsonUntold { manager: untold.manager.as_str(), error: one_line(&untold.error) });
    Done {
        node: name.as_str(),
        members: &revoked.members,
        unfinished: revoked.unfinished.as_deref(),
        unsaved: revoked.unsaved.as_deref(),
        untold: untold.collect(),
    }
}

fn verdict(done: &[Away]) -> Result<(), RevokeError> {
    let nodes = done.iter().filter(|away| !away.untold.is_empty());
    let nodes: Vec<_> = nodes.map(|away| away.name.to_string()).collect();
    let managers: BTreeSet<_> =
        done.iter().flat_map(|away| &away.untold).map(|untold| untold.manager.to_string()).collect();
    if managers.is_empty() {
        let unsaved =
            done.iter().filter_map(|away| Some((away.name.to_string(), away.revoked.unsaved.as_ref()?)));
        let (nodes, whys): (Vec<_>, Vec<_>) = unsaved.unzip();
        return match whys.first() {
            Some(why) => Err(RevokeError::Unsaved { nodes, why: printable(why) }),
            None => Ok(()),
        };
    }
    Err(RevokeError::Untold { nodes, managers: managers.into_iter().collect() })
}

fn confirm(wanted: &[(Hostname, Revoke)], desk: &mut Desk<'_>) -> Result<(), AskError> {
    let names: Vec<_> = wanted.iter().map(|(name, _)| name.as_str()).collect();
    let what = format!(
        "{}: the card's certificate is refused from now on, what runs there is started elsewhere, and the node \
         comes back only with a new certificate.",
        names.join(", ")
    );
    let again = again(["revoke"].into_iter().chain(names));
    ask::confirm(desk, &what, again.with(["--yes"]))
}

/// What happened, in words.
fn told(Away { name, revoked, untold }: &Away) -> String {
    let mut text = format!("{name}: the manager refuses its certificate from now on\n");
    let line = match (&revoked.unfinished, revoked.members.is_empty()) {
        (Some(why), _) => format!("not finished yet, the manager goes on by itself: {}", printable(why)),
        (None, true) => "it was no member of the swarm".to_owned(),
        (None, false) => "it was removed from the swarm, and the join tokens were changed".to_owned(),
    };
    text.push_str(&format!("{name}: {line}\n"));
    for Untold { manager, error } in untold {
        // Where else it was looked for is no news here.
        let error = error.to_string();
        let why = error.lines().next().unwrap_or_default();
        text.push_str(&format!("{name}: could not reach {manager}, which would let it in: {why}\n"));
    }
    text
}
