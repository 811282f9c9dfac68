//! The board, live, until the nodes that were brought in are ready.

use std::io;
use std::time::{Duration, Instant};

use cluster::name::{ClusterName, Hostname};
use cluster::wire::Board;
use humantime::FormattedDuration;
use thiserror::Error;

use crate::cli::status::view::{View, has_left, is_ready};
use crate::cli::status::{INTERVAL, Screen, table};
use crate::error::{Failure, Kind, builder, hint};
use crate::interrupt::Interrupt;
use crate::pki::Identities;
use crate::project::Project;
use crate::remote::{Manager, RemoteError};

/// How often it is asked whether Ctrl-C was pressed meanwhile.
const LOOK: Duration = Duration::from_millis(100);
/// How long is looked for nodes that are out, where nobody waits for them to be ready. Such a node reports every few seconds.
const CALL: Duration = Duration::from_secs(60);

/// Why the nodes are not ready.
#[derive(Debug, Error)]
enum WaitError {
    #[error("stopped before {0} was formed; the Pis go on by themselves")]
    Stopped(ClusterName),
    #[error("{cluster} was not formed within {timeout}: waiting for {}", missing.join(", "))]
    Late { cluster: ClusterName, timeout: FormattedDuration, missing: Vec<String> },
    #[error("{cluster} was not formed within {timeout}: no manager answered")]
    Unanswered {
        cluster: ClusterName,
        timeout: FormattedDuration,
        #[source]
        source: RemoteError,
    },
    #[error("{cluster} cannot be formed: {}", missing.join(", "))]
    Stuck { cluster: ClusterName, missing: Vec<String> },
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
}

/// Takes Ctrl-C.
pub(super) fn listen() -> Result<Interrupt, Failure> {
    Interrupt::listen().map_err(|source| Failure::new(Kind::Failed, WaitError::Signals(source)))
}

/// Shows the board until these nodes are ready.
///
/// # Errors
/// [`Kind::NotAsWanted`] when that takes too long, cannot be, or was interrupted.
pub(super) fn until_ready(
    (project, identities): (&Project, &Identities),
    nodes: &[Hostname],
    timeout: Duration,
    interrupt: &Interrupt,
    screen: &mut Screen<'_>,
) -> Result<(), Failure> {
    let mut manager = Manager::new(project, identities, None)?;
    let (started, mut seen, mut trouble, mut called) = (Instant::now(), None, None, false);
    let cluster = || project.cluster.name.clone();
    loop {
        match manager.board() {
            // Who was told to leave before is wanted again.
            Ok(board) if !called && is_out(&board, nodes) => match manager.up() {
                Ok(_) => called = true,
                Err(error) if error.is_transient() => trouble = Some(error),
                Err(error) => return Err(error.into()),
            },
            Ok(board) => {
                let view = View::new(board, project).only(nodes);
                screen.show_change(&view)?;
                if view.board.formed {
                    return Ok(());
                }
                if is_stuck(&view) {
                    let error = WaitError::Stuck { cluster: cluster(), missing: table::missing(&view) };
                    let stuck = view.board.nodes.iter().find(|node| !is_ready(node));
                    let why = builder(["why"]).args(stuck.map(|node| node.name.to_string()));
                    return Err(Failure::new(Kind::NotAsWanted, error)
                        .hint(hint![why, " says more; then run the same command again"]));
                }
                seen = Some(view);
            }
            Err(error) if error.is_transient() => trouble = Some(error),
            Err(error) => return Err(error.into()),
        }
        if !pause(interrupt) {
            return Err(Failure::new(Kind::NotAsWanted, WaitError::Stopped(cluster()))
                .hint(hint![builder(["status", "--watch"]), " shows how far they are"]));
        }
        if started.elapsed() >= timeout {
            return Err(late(cluster(), timeout, seen.as_ref(), trouble));
        }
    }
}

/// Has these nodes come in again if they were told to leave before. Waits no longer than managers and nodes need that have
/// only just started; whether it was seen who is out.
///
/// # Errors
/// When a manager answers something that is no answer.
pub(super) fn call_in(
    (project, identities): (&Project, &Identities),
    nodes: &[Hostname],
    interrupt: &Interrupt,
) -> Result<bool, Failure> {
    let mut manager = Manager::new(project, identities, None)?;
    let started = Instant::now();
    loop {
        let called = manager.board().and_then(|board| match is_out(&board, nodes) {
            true => manager.up().map(|_| true),
            false => Ok(is_heard(&board, nodes)),
        });
        match called {
            Ok(true) => return Ok(true),
            Err(error) if !error.is_transient() => return Err(error.into()),
            Ok(false) | Err(_) => {}
        }
        if started.elapsed() >= CALL || !pause(interrupt) {
            return Ok(false);
        }
    }
}

/// Waits until it is worth asking again; `false` after Ctrl-C.
fn pause(interrupt: &Interrupt) -> bool {
    let next = Instant::now() + INTERVAL;
    while Instant::now() < next {
        if interrupt.asked() {
            return false;
        }
        std::thread::sleep(LOOK);
    }
    true
}

/// Whether any of these nodes is out of the swarm because the operator said so. A manager that came later does not know it;
/// then the nodes do.
fn is_out(board: &Board, nodes: &[Hostname]) -> bool {
    let mut wanted = board.nodes.iter().filter(|node| nodes.contains(&node.name));
    board.dissolved || wanted.any(|node| node.dismissed || has_left(node))
}

/// Whether all of these nodes have said how they are.
fn is_heard(board: &Board, nodes: &[Hostname]) -> bool {
    let has_said =
        |name: &Hostname| board.nodes.iter().any(|node| node.name == *name && node.report.is_some());
    nodes.iter().all(has_said)
}

/// Whether all that is still to come has given up.
fn is_stuck(view: &View) -> bool {
    let gave_up = |report: &cluster::wire::Report| report.error.as_ref().is_some_and(|error| error.permanent);
    let mut missing = view.board.nodes.iter().filter(|node| !is_ready(node)).peekable();
    missing.peek().is_some() && missing.all(|node| node.report.as_ref().is_some_and(gave_up))
}

fn late(
    cluster: ClusterName,
    timeout: Duration,
    seen: Option<&View>,
    trouble: Option<RemoteError>,
) -> Failure {
    let timeout = humantime::format_duration(timeout);
    match (seen, trouble) {
        (Some(view), _) => {
            let error = WaitError::Late { cluster, timeout, missing: table::missing(view) };
            Failure::new(Kind::NotAsWanted, error).hint(hint![
                "they go on by themselves; to wait longer: ",
                builder(["status", "--wait", "--timeout", "1h"])
            ])
        }
        (None, Some(source)) => {
            let hints = source.hints();
            let failure = Failure::new(Kind::NotAsWanted, WaitError::Unanswered { cluster, timeout, source });
            hints.into_iter().fold(failure, Failure::hint)
        }
        (None, None) => {
            Failure::new(Kind::NotAsWanted, WaitError::Late { cluster, timeout, missing: Vec::new() })
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// red00 and red01, of whom red01 says this of itself.
    fn board(dismissed: bool, report: Option<serde_json::Value>) -> Board {
        let said = json!({"stage": "swarm", "word": "a word", "left": null});
        let node = |name: &str, dismissed: bool, report| {
            json!({"name": name, "role": "worker", "report": report, "last_heard_ms": 1, "swarm": null,
                "dismissed": dismissed})
        };
        let nodes = [node("red00", false, Some(said)), node("red01", dismissed, report)];
        let board = json!({"cluster": "red", "cluster_id": "0123456789abcdef", "unix_ms": 1, "formed": false,
            "nodes": nodes});
        serde_json::from_value(board).unwrap()
    }

    #[test]
    fn who_is_out_is_known_by_the_manager_or_by_the_node_itself() {
        let names = ["red00", "red01"].map(|name| Hostname::try_from(name).unwrap());
        let said = |left: Option<u64>| Some(json!({"stage": "swarm", "word": "a word", "left": left}));
        assert!(!is_out(&board(false, said(None)), &names));
        assert!(is_out(&board(true, said(None)), &names));
        assert!(is_out(&board(false, said(Some(7))), &names), "a manager with a new card knows of no order");
        assert!(!is_out(&board(true, said(Some(7))), &names[..1]), "nobody wants red01");
        assert!(is_out(&Board { dissolved: true, ..board(false, None) }, &names));
        assert!(is_heard(&board(false, said(None)), &names));
        assert!(!is_heard(&board(false, None), &names), "red01 may be out, and has not said so yet");
    }
}
