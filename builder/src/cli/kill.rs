//! `builder kill`: everybody leaves the swarm and stays out, workers first, managers last.
//!
//! The managers are told, and do the rest by themselves; the board is watched to see who has left. Who is off leaves when
//! it is back on. May be repeated.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use cluster::host::Host;
use cluster::identity::Role;
use cluster::name::{ClusterName, Hostname};
use cluster::secret::Secret;
use cluster::text::printable;
use cluster::wire::{Board, BoardNode};
use serde::Serialize;
use serde_json::{Value, json};
use thiserror::Error;

use super::ask::{self, AskError};
use super::password;
use super::removal::{self, Reach};
use super::revoke::Desk;
use super::status::table::ago;
use super::status::{INTERVAL, Screen, Style};
use crate::cli::Globals;
use crate::error::{Failure, Kind, again, builder, hint, one_line};
use crate::hosts::Hosts;
use crate::interrupt::Interrupt;
use crate::pki::{self, Running};
use crate::project::{self, Project, ProjectKind};
use crate::remote::{Address, Manager, Told, Untold};
use crate::report::Progress;
use crate::ssh::Ssh;
use crate::ssh::trouble::Around;

/// Who was not heard from for so long is not waited for. Nodes that are well report four times as often.
const SILENT: Duration = Duration::from_secs(60);

/// End the swarm: every node leaves it and stays out
///
/// Workers leave first, managers last. Services, networks, secrets and the join
/// tokens are gone then; volumes and images stay on the nodes. A node that is off
/// leaves when it is back on. `builder up` forms a new swarm.
#[derive(Debug, Args)]
pub struct KillArgs {
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// How long to wait until all have left, such as 90s or 5m
    #[arg(long, value_name = "TIME", default_value = "3m", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
    /// Also remove our software from the nodes over SSH, and Docker where it came with it
    ///
    /// Images and volumes stay. `builder up` cannot form the swarm again then; `builder config` can.
    #[arg(long)]
    pub purge: bool,
    /// Who logs in for --purge, where nothing else says so
    #[arg(short, long, value_name = "NAME", requires = "purge", value_parser = super::exec::user)]
    pub user: Option<String>,
    /// Ask once for the password that sudo wants on the nodes, for --purge
    #[arg(long, requires = "purge")]
    pub ask_sudo: bool,
    /// An ssh configuration for --purge to read instead of ~/.ssh/config and the system's
    #[arg(short = 'F', long, value_name = "FILE", requires = "purge")]
    pub ssh_config: Option<PathBuf>,
    /// Where the manager is: an address or a name, and a port if not 8377
    ///
    /// Without it: the address in the cluster file, the last one that was good, mDNS, the name server.
    #[arg(long, value_name = "ADDRESS")]
    pub manager: Option<Address>,
}

/// Why the end is not complete.
#[derive(Debug, Error)]
enum KillError {
    #[error("{cluster} is dissolved, but {} not left: {}", have(nodes.len()), nodes.join(", "))]
    Remaining { cluster: ClusterName, nodes: Vec<String> },
    #[error("{cluster} is dissolved, but not every manager knows: {}", managers.join(", "))]
    Untold { cluster: ClusterName, managers: Vec<String> },
    #[error("{0} is dissolved, but our software was not removed from its nodes")]
    NotPurged(ClusterName),
    #[error("cannot listen for signals")]
    Signals(#[source] std::io::Error),
}

fn have(nodes: usize) -> String {
    if nodes == 1 { "1 node has".to_owned() } else { format!("{nodes} nodes have") }
}

/// Runs the command.
pub fn run(globals: &Globals, args: &KillArgs) -> Result<(), Failure> {
    let project = project::load(&globals.file)?;
    let style = Style { json: globals.json, quiet: globals.quiet, terminal: false };
    // Before anything ends: without a password the rest could not be done. At a terminal it is asked for when it is needed.
    let piped = if args.ask_sudo { password::piped(&globals.file)? } else { None };
    let killed = ask::at_desk(|desk| kill(&project, args, style, desk));
    let (mut document, is_dissolved) = match killed {
        Ok(document) => (document, is_managed(&project)),
        // Without the managers the nodes can still be freed of it; but not against an answer, nor by halves.
        Err(failure) if args.purge && matches!(failure.kind(), Kind::NotAsWanted | Kind::Unreachable) => {
            let is_dissolved = failure.kind() == Kind::NotAsWanted;
            (failure.found(), is_dissolved)
        }
        Err(failure) => return Err(failure),
    };
    if args.purge {
        // Who has no agent any more has left, whatever was seen before.
        let purged = purge(globals, &project, args, piped)
            .and_then(|purged| purged.ok_or_else(|| not_purged(&project, is_dissolved)))
            .map_err(|failure| failure.with(document.clone()))?;
        if let Value::Object(document) = &mut document {
            document.insert("cluster".to_owned(), json!(project.cluster.name));
            document.insert("purged".to_owned(), json!(purged));
        }
    }
    if globals.json {
        ask::at_desk(|desk| ask::print(desk, &(crate::json::value_line(&document) + "\n")))?;
    }
    Ok(())
}

/// What an answer of no, or Ctrl-C, before the removal makes of the command.
fn not_purged(project: &Project, is_dissolved: bool) -> Failure {
    if !is_dissolved {
        return AskError::Declined.into();
    }
    Failure::new(Kind::Failed, KillError::NotPurged(project.cluster.name.clone()))
        .hint(hint!["to remove it: ", again(["kill", "--purge"])])
}

/// Removes our software from the nodes and returns their names; `None` after an answer of no, or Ctrl-C.
fn purge(
    globals: &Globals,
    project: &Project,
    args: &KillArgs,
    piped: Option<Secret<String>>,
) -> Result<Option<Vec<Hostname>>, Failure> {
    let own = args.ssh_config.as_deref();
    let progress = Progress::new(globals.quiet, globals.json);
    progress.say("removing our software from the nodes");
    let running = pki::running(&project.secrets_folder())?.filter(|_| project.kind == ProjectKind::Adopted);
    // Machines that ran before us are reached as the user's own ssh does.
    let list = project.cluster.nodes.iter().map(|node| {
        let own = running.as_ref().and_then(|running| running.host(&node.name));
        own.unwrap_or_else(|| Host::named(node.name.to_string()))
    });
    let hosts = Hosts { list: list.collect(), project: running.is_none().then(|| project.clone()) };
    let ssh = Ssh::prepare(&hosts, args.user.clone(), own)?;
    let ours = project.secrets_folder().join("ssh_config");
    let ours = running.is_none().then_some(ours.as_path());
    let cluster = pki::existing(project)?.cluster_id;
    let nodes = project.cluster.nodes.iter().map(|node| node.name.clone()).collect();
    let interrupt =
        Interrupt::listen().map_err(|source| Failure::new(Kind::Failed, KillError::Signals(source)))?;
    let password = if piped.is_some() {
        piped
    } else if args.ask_sudo {
        let Some(password) = password::ask("password for sudo on the nodes", &interrupt)? else {
            return Ok(None);
        };
        Some(password)
    } else {
        None
    };
    let ssh = Arc::new(ssh);
    let reach =
        Reach { ssh, own, user: args.user.clone(), ours, cluster, nodes, password: password.as_ref() };
    let going = removal::preview(&reach, &interrupt)?;
    if interrupt.asked() {
        return Ok(None);
    }
    if args.yes {
        going.iter().for_each(|line| progress.say(line));
    } else if !going.is_empty() {
        // Who has said yes to the end has not seen these lists.
        let what = format!("{}\nOur agent and these packages are removed.", going.join("\n"));
        match ask::confirm_or_interrupt(&what, again(["kill", "--purge"]).with(["--yes"]), &interrupt) {
            Err(AskError::Declined) => return Ok(None),
            confirmed => confirmed?,
        }
    }
    let removed = removal::remove(reach, true, progress)?;
    if let Some(running) = running {
        forget(project, running, &removed.nodes)?;
    }
    progress.say(&removed.verdict.map_err(|failure| failure.with(json!({ "purged": removed.nodes })))?);
    Ok(Some(removed.nodes))
}

/// Removes the nodes from the record of adopted hosts, and sets their keys aside: the next `config` makes new ones.
fn forget(project: &Project, mut running: Running, nodes: &[Hostname]) -> Result<(), Failure> {
    for node in nodes {
        pki::set_aside(project, node)?;
    }
    running.hosts.retain(|host| !nodes.contains(&host.name));
    pki::remember_running(&project::of_running(&project.file, &running), &running)
}

/// Whether any node can take an order: a --purge that failed halfway may have removed the managers already.
fn is_managed(project: &Project) -> bool {
    project.cluster.nodes.iter().any(|node| node.role == Role::Manager)
}

/// Asks, tells the managers, waits, and says who has left. Returns that as JSON, which is not printed.
///
/// # Errors
/// [`Kind::Usage`] when there is nobody to ask, [`Kind::Unreachable`] when no manager answers: nothing has changed then.
/// [`Kind::NotAsWanted`] when some have not left.
pub fn kill(project: &Project, args: &KillArgs, style: Style, desk: &mut Desk<'_>) -> Result<Value, Failure> {
    let cluster = &project.cluster.name;
    if !args.yes {
        let mut what = format!(
            "All {} nodes of {cluster} leave the swarm. Its services, networks, secrets and join tokens are lost; volumes and \
             images stay on the nodes.",
            project.cluster.nodes.len()
        );
        if args.purge {
            what.push_str(
                " Our agent and all its keys are removed from them over SSH, and Docker where it came with the agent, with \
                 every container.",
            );
        }
        let typed = ["kill"].into_iter().chain(args.purge.then_some("--purge"));
        ask::confirm(desk, &what, again(typed).with(["--yes"]))?;
    }
    if args.purge && !is_managed(project) {
        return Ok(json!({}));
    }
    let identities = pki::existing(project)?;
    let mut manager = Manager::new(project, &identities, args.manager.clone())?;
    let before = manager.board()?;
    let told = manager.kill()?;
    let end =
        wait(&mut manager, before, &told, args.timeout, &mut Screen::new(style, false, desk.out, desk.talk));
    if !style.json {
        ask::print(desk, &end.to_text(project))?;
    }
    let document = end.to_json(project)?;
    end.verdict(cluster).map_err(|failure| failure.with(document.clone()))?;
    Ok(document)
}

/// How things stand at the end.
struct End<'a> {
    board: Board,
    remaining: Vec<BoardNode>,
    untold: &'a [Untold],
}

/// Asks for the board until all have left, or nobody is there any more who could.
fn wait<'a>(
    manager: &mut Manager<'_>,
    before: Board,
    told: &'a Told,
    timeout: Duration,
    screen: &mut Screen<'_>,
) -> End<'a> {
    let started = Instant::now();
    let strangers = strangers(&before);
    let mut board = before;
    loop {
        // A manager that does not answer now may do so in a moment; the last board stands.
        if let Ok(now) = manager.board() {
            board = now;
        }
        let has_left = |node: &BoardNode| {
            let left = node.report.as_ref().and_then(|report| report.left);
            left.is_some_and(|number| number >= told.number)
                || (node.report.is_none() && strangers.iter().any(|name| *name == node.name.as_str()))
        };
        let remaining: Vec<_> = board.nodes.iter().filter(|node| !has_left(node)).cloned().collect();
        // A manager that has only just started has heard of nobody yet.
        let is_silent = |node: &BoardNode| silence(node).unwrap_or(started.elapsed()) > SILENT;
        if remaining.iter().all(is_silent) || started.elapsed() >= timeout {
            return End { board, remaining, untold: &told.untold };
        }
        let names: Vec<_> = remaining.iter().map(|node| node.name.as_str()).collect();
        screen.say(&format!("waiting for {} to leave", names.join(", ")));
        std::thread::sleep(INTERVAL.min(timeout.saturating_sub(started.elapsed())));
    }
}

/// Nodes that were never heard from and are not in the list: they are in no swarm that would have to be left.
fn strangers(before: &Board) -> Vec<String> {
    if before.nodes.iter().all(|node| node.swarm.is_none()) {
        return Vec::new();
    }
    let unknown = before.nodes.iter().filter(|node| node.report.is_none() && node.swarm.is_none());
    unknown.map(|node| node.name.to_string()).collect()
}

fn silence(node: &BoardNode) -> Option<Duration> {
    node.last_heard_ms.map(Duration::from_millis)
}

#[derive(Serialize)]
struct Json<'a> {
    cluster: &'a str,
    left: Vec<&'a str>,
    remaining: Vec<JsonRemaining<'a>>,
    untold: Vec<JsonUntold<'a>>,
}

#[derive(Serialize)]
struct JsonRemaining<'a> {
    node: &'a str,
    /// Seconds.
    last_heard: Option<f64>,
    error: Option<&'a str>,
    command: String,
}

#[derive(Serialize)]
struct JsonUntold<'a> {
    manager: &'a str,
    error: String,
}

/// What ends a node's membership at once, whatever its agent does.
fn command(project: &Project, node: &BoardNode) -> String {
    let running = pki::running(&project.secrets_folder()).ok().flatten();
    let planned = project.cluster.nodes.iter().find(|planned| planned.name == node.name);
    let own = planned.and_then(|planned| pki::own_host(project, running.as_ref()?, planned));
    // Machines that ran before us are reached as the user's own ssh does.
    let ours = own.is_none().then(|| project.secrets_folder().join("ssh_config"));
    let host = own.unwrap_or_else(|| Host::named(node.name.to_string()));
    let ssh = Around { ours, ..Around::default() }.ssh("", &host);
    format!("{ssh} sudo docker swarm leave --force")
}

fn error(node: &BoardNode) -> Option<&str> {
    Some(&node.report.as_ref()?.error.as_ref()?.message)
}

impl End<'_> {
    fn left(&self) -> impl Iterator<Item = &BoardNode> {
        self.board.nodes.iter().filter(|node| self.remaining.iter().all(|other| other.name != node.name))
    }

    fn to_text(&self, project: &Project) -> String {
        let (left, all) = (self.left().count(), self.board.nodes.len());
        let mut text =
            format!("{} is dissolved: {left} of {all} nodes are in no swarm\n", self.board.cluster);
        for node in &self.remaining {
            let heard = node
                .last_heard_ms
                .map_or_else(|| "never heard from".to_owned(), |age| format!("last heard from {}", ago(age)));
            let trouble = error(node).map(|error| format!(": {}", printable(error))).unwrap_or_default();
            let gave_up = node
                .report
                .as_ref()
                .and_then(|report| report.error.as_ref())
                .is_some_and(|error| error.permanent);
            let next = match (silence(node).is_none_or(|age| age > SILENT), gave_up) {
                (_, true) => "it does not leave by itself; type",
                (true, false) => "it leaves by itself when it is back on; or type",
                (false, false) => "it goes on trying; or type",
            };
            text.push_str(&format!(
                "{} has not left ({heard}{trouble})\n  {next}: {}\n",
                node.name,
                command(project, node)
            ));
        }
        for Untold { manager, .. } in self.untold {
            let told = format!(
                "could not reach {manager}: until another manager tells it, it would let nodes in again\n  \
                 when it is on, type again: "
            );
            text.push_str(&hint![told, again(["kill"]), "\n"].text(&project.file));
        }
        text
    }

    fn to_json(&self, project: &Project) -> Result<Value, AskError> {
        let remaining = self.remaining.iter().map(|node| JsonRemaining {
            node: node.name.as_str(),
            last_heard: node.last_heard_ms.map(|millis| millis as f64 / 1000.0),
            error: error(node),
            command: command(project, node),
        });
        let untold = self
            .untold
            .iter()
            .map(|untold| JsonUntold { manager: untold.manager.as_str(), error: one_line(&untold.error) });
        let json = Json {
            cluster: self.board.cluster.as_str(),
            left: self.left().map(|node| node.name.as_str()).collect(),
            remaining: remaining.collect(),
            untold: untold.collect(),
        };
        serde_json::to_value(&json).map_err(AskError::Json)
    }

    fn verdict(&self, cluster: &ClusterName) -> Result<(), Failure> {
        let cluster = cluster.clone();
        let nodes: Vec<_> = self.remaining.iter().map(|node| node.name.to_string()).collect();
        let managers: Vec<_> = self.untold.iter().map(|untold| untold.manager.to_string()).collect();
        let error = match (nodes.is_empty(), managers.is_empty()) {
            (true, true) => return Ok(()),
            (false, _) => KillError::Remaining { cluster, nodes },
            (true, false) => KillError::Untold { cluster, managers },
        };
        Err(Failure::new(Kind::NotAsWanted, error)
            .hint(hint!["to see later whether all have left: ", builder(["status"])]))
    }
}

#[cfg(test)]
mod tests;
