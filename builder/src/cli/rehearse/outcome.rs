//! How a rehearsal ends that did not end well.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use cluster::name::Hostname;
use humantime::FormattedDuration;
use thiserror::Error;

use super::stage::Stage;
use crate::cli::status::table;
use crate::cli::status::view::{View, is_ready};
use crate::error::{Failure, Kind, again, hint};
use crate::remote::RemoteError;

/// Why there is no formed swarm.
#[derive(Debug, Error)]
pub(super) enum RehearsalError {
    #[error("there is no card for {} in {}", .0.join(", "), .1.display())]
    NoCard(Vec<String>, PathBuf),
    #[error("{0} is not among the nodes to rehearse, and without its manager no swarm is formed")]
    NoManager(String),
    #[error("{0} is not among the nodes to rehearse")]
    NotCast(String),
    #[error("the cards lie in {}, which a rehearsal clears", .0.display())]
    InOwnFolder(PathBuf),
    #[error("cannot wait for Ctrl-C")]
    Signals(#[source] io::Error),
    #[error("stopped before the swarm was formed")]
    Stopped,
    #[error("the manager {manager} was not reached within {timeout}: {why}")]
    Unreached { manager: Hostname, timeout: FormattedDuration, why: String },
    #[error("the swarm was not formed within {timeout}: waiting for {}", missing.join(", "))]
    Late { timeout: FormattedDuration, missing: Vec<String> },
    #[error("QEMU, which was {0}, has ended")]
    Died(Hostname),
    #[error("QEMU, which was the network, has ended")]
    NoNetwork,
    #[error("{0} switched itself off, and a Pi would stay off")]
    Off(Hostname),
}

/// What was seen so far.
#[derive(Debug)]
pub(super) struct Outcome {
    manager: Hostname,
    folder: PathBuf,
    timeout: Duration,
    /// The last board.
    pub(super) seen: Option<View>,
    /// Why there was no board the last time.
    pub(super) trouble: Option<RemoteError>,
}

impl Outcome {
    pub(super) fn new(stage: &Stage, timeout: Duration) -> Self {
        Self {
            manager: stage.manager_name().clone(),
            folder: stage.folder().to_owned(),
            timeout,
            seen: None,
            trouble: None,
        }
    }

    /// By Ctrl-C.
    pub(super) fn stopped(&self) -> Failure {
        let failure = Failure::new(Kind::NotAsWanted, RehearsalError::Stopped);
        failure.hint(format!("logs of the machines: {}", self.folder.display()))
    }

    /// By time.
    pub(super) fn too_late(&self) -> Failure {
        let timeout = humantime::format_duration(self.timeout);
        let failure = match &self.seen {
            Some(view) => {
                let missing = table::missing(view);
                let silent = view.board.nodes.iter().filter(|node| !is_ready(node)).map(|node| &node.name);
                let failure = Failure::new(Kind::NotAsWanted, RehearsalError::Late { timeout, missing });
                silent.fold(failure, |failure, name| failure.hint(self.log(name)))
            }
            None => {
                let why = match &self.trouble {
                    Some(error) => error.to_string(),
                    None => "it never had an address on the network".to_owned(),
                };
                let manager = self.manager.clone();
                let error = RehearsalError::Unreached { manager, timeout, why };
                Failure::new(Kind::Unreachable, error).hint(self.log(&self.manager))
            }
        };
        failure.hint(hint!["to wait longer: ", again(["rehearse"]).with_value("--timeout", "1h")])
    }

    fn log(&self, name: &Hostname) -> String {
        log_hint(&self.folder, name)
    }
}

/// Where to read what a machine did.
pub(super) fn log_hint(folder: &std::path::Path, name: &Hostname) -> String {
    format!("what {name} wrote on its console: {}", folder.join(format!("{name}.log")).display())
}
