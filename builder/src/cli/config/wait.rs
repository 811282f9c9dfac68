//! The board, live, until the nodes that were brought in are ready.

use std::io;
use std::time::{Duration, Instant};

use cluster::name::{ClusterName, Hostname};
use cluster::wire::Board;
use humantime::FormattedDuration;
use thiserror::Error;

use crate::cli::status::view::{View, is_ready};
use crate::cli::status::{INTERVAL, Screen, table};
use crate::error::{Failure, Kind};
use crate::interrupt::Interrupt;
use crate::pki::Identities;
use crate::project::Project;
use crate::remote::{Manager, RemoteError};

/// How often it is asked whether Ctrl-C was pressed meanwhile.
const LOOK: Duration = Duration::from_millis(100);

/// Why the nodes are not ready.
#[derive(Debug, Error)]
enum WaitError {
    #[error("stopped before {0} was formed; the Pis go on by themselves")]
    Stopped(ClusterName),
    #[error("{cluster} was not formed within {timeout}: waiting for {}", missing.join(", "))]
    Late { cluster: ClusterName, timeout: FormattedDuration, missing: Vec<String> },
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
/// [`Kind::NotAsWanted`] when that takes too long, cannot be, or was interrupted; [`Kind::Unreachable`] when no manager ever
/// answered.
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
                    return Err(Failure::new(Kind::NotAsWanted, error)
                        .hint("builder why NODE says more; then run the same command again"));
                }
                seen = Some(view);
            }
            Err(error) if error.is_transient() => trouble = Some(error),
            Err(error) => return Err(error.into()),
        }
        let next = Instant::now() + INTERVAL;
        while Instant::now() < next {
            if interrupt.asked() {
                return Err(Failure::new(Kind::NotAsWanted, WaitError::Stopped(cluster()))
                    .hint("builder status --watch shows how far they are"));
            }
            std::thread::sleep(LOOK);
        }
        if started.elapsed() >= timeout {
            return Err(late(cluster(), timeout, seen.as_ref(), trouble));
        }
    }
}

fn is_out(board: &Board, nodes: &[Hostname]) -> bool {
    let mut wanted = board.nodes.iter().filter(|node| nodes.contains(&node.name));
    board.dissolved || wanted.any(|node| node.dismissed)
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
            Failure::new(Kind::NotAsWanted, error)
                .hint("they go on by themselves; to wait longer: builder status --wait --timeout 1h")
        }
        (None, Some(error)) => error.into(),
        (None, None) => {
            Failure::new(Kind::NotAsWanted, WaitError::Late { cluster, timeout, missing: Vec::new() })
        }
    }
}
