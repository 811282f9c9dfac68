//! The agent's steps, one file each. A step looks at the world first (`probe`), changes it only if needed (`apply`),
//! and is looked at again: a power cut at any point is followed by the same probe.

use cluster::wire::{Cause, ProblemCode, Stage};
use thiserror::Error;
use tokio::time::sleep;

use crate::agent::link::LinkError;
use crate::agent::status::{Status, chain};
use crate::engine::EngineError;
use crate::host::HostError;
use crate::journal::JournalError;
use crate::retry::{Backoff, Policy};

pub mod clock;
pub mod docker;
pub mod network;
pub mod swarm;

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Probe<T> {
    /// The step's aim is reached, with this.
    Done(T),
    /// It is not, and this is what there is to do or wait for.
    Needed(String),
}

/// One step.
pub(crate) trait Step {
    /// What later steps need of it.
    type Outcome;
    /// How the board calls it.
    const STAGE: Stage;
    /// When to try again.
    const RETRY: Policy;
    /// Looks at the world; changes nothing.
    async fn probe(&self) -> Result<Probe<Self::Outcome>, StepError>;
    /// Brings the world nearer to the aim, or waits a little for somebody who does.
    async fn apply(&self) -> Result<(), StepError>;
}

/// What went wrong in a step.
#[derive(Debug, Error)]
pub enum StepError {
    /// The machine.
    #[error("cannot {doing}")]
    Host {
        /// What was tried.
        doing: &'static str,
        /// Why not.
        #[source]
        source: HostError,
    },
    /// Docker.
    #[error("{doing} failed")]
    Engine {
        /// What was tried.
        doing: &'static str,
        /// Why not.
        #[source]
        source: EngineError,
    },
    /// The manager.
    #[error("asking the manager failed")]
    Link(#[source] LinkError),
    /// The journal.
    #[error("cannot record progress")]
    Journal(#[source] JournalError),
    /// Not now.
    #[error("{0}")]
    Later(String),
    /// Not ever, unless somebody changes something.
    #[error("{0}")]
    Never(String),
    /// A problem that this node finds out itself.
    #[error("{message}")]
    Known {
        /// What it is, for programs.
        cause: Cause,
        /// The same for people.
        message: String,
        /// Whether it stays until somebody changes something.
        permanent: bool,
    },
}

impl StepError {
    /// Whether trying again may help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Host { .. } | Self::Link(_) | Self::Journal(_) | Self::Later(_) => true,
            Self::Engine { source, .. } => source.is_transient(),
            Self::Never(_) => false,
            Self::Known { permanent, .. } => !permanent,
        }
    }

    /// A problem that stays until somebody changes something.
    pub(crate) fn stop(code: ProblemCode, message: String) -> Self {
        Self::Known { cause: code.into(), message, permanent: true }
    }

    /// What a person can do something about.
    pub fn cause(&self) -> Option<Cause> {
        match self {
            Self::Host { source: HostError::Exit { stderr, .. }, .. } => docker::apt_words::classify(stderr),
            Self::Host { source, .. } => source.cause(),
            Self::Engine { source, .. } => source.cause(),
            Self::Link(source) => source.cause(),
            Self::Journal(source) => source.cause(),
            Self::Known { cause, .. } => Some(cause.clone()),
            Self::Later(_) | Self::Never(_) => None,
        }
    }
}

/// Drives a step to its aim. Returns early only with an error that trying again cannot cure.
pub(crate) async fn drive<S: Step>(step: &S, status: &Status) -> Result<S::Outcome, StepError> {
    status.enter(S::STAGE);
    let mut backoff = Backoff::new(S::RETRY);
    loop {
        let error = match step.probe().await {
            Ok(Probe::Done(outcome)) => return Ok(outcome),
            Ok(Probe::Needed(why)) => {
                // The error of the last attempt stays on the board until an attempt goes through.
                if status.report().error.is_none() {
                    status.say(&why);
                }
                step.apply().await.err()
            }
            Err(error) => Some(error),
        };
        let Some(error) = error else {
            status.change(|report| report.error = None);
            backoff.succeeded();
            continue;
        };
        if !error.is_transient() {
            return Err(error);
        }
        let (line, pause) = (chain(&error), backoff.failed());
        if backoff.is_loud() {
            tracing::warn!("{line}; trying again");
        } else {
            tracing::debug!("{line}; trying again");
        }
        status.fail(line, error.cause(), false);
        sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::retry::PACKAGES;

    /// Fails `failures` times, then needs one application.
    #[derive(Default)]
    struct Scripted {
        failures: u32,
        permanent: bool,
        probes: AtomicU32,
        applied: AtomicU32,
    }

    impl Step for Scripted {
        type Outcome = u32;
        const STAGE: Stage = Stage::Docker;
        const RETRY: Policy = PACKAGES;

        async fn probe(&self) -> Result<Probe<u32>, StepError> {
            self.probes.fetch_add(1, Ordering::Relaxed);
            let applied = self.applied.load(Ordering::Relaxed);
            Ok(if applied > self.failures { Probe::Done(applied) } else { Probe::Needed("work".into()) })
        }

        async fn apply(&self) -> Result<(), StepError> {
            match self.applied.fetch_add(1, Ordering::Relaxed) {
                _ if self.permanent => Err(StepError::Never("no such thing".into())),
                n if n < self.failures => Err(StepError::Later("mirror away".into())),
                _ => Ok(()),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn tries_again_after_transient_errors_and_probes_after_applying() {
        let (step, status) =
            (Scripted { failures: 5, ..Scripted::default() }, Status::new(Vec::new(), Vec::new()));
        assert_eq!(drive(&step, &status).await.unwrap(), 6);
        assert_eq!(step.probes.load(Ordering::Relaxed), 7);
        assert_eq!(status.report().error, None);
        assert_eq!(status.report().stage, Stage::Docker);
    }

    /// A step's error has the cause of what it came from.
    #[test]
    fn errors_of_steps_have_the_cause_of_their_source() {
        let full = || HostError::File {
            verb: "write",
            path: "/var/lib/firstboot/journal.json".into(),
            source: std::io::ErrorKind::StorageFull.into(),
        };
        let disk = Cause::new(ProblemCode::DiskFull).about("/var/lib/firstboot/journal.json");
        let exit = |stderr: &str| HostError::Exit {
            line: "apt-get update".to_owned(),
            status: "exit status: 100".to_owned(),
            stderr: stderr.to_owned(),
        };
        let host = |source| StepError::Host { doing: "read package lists", source };
        for (error, cause) in [
            (host(full()), Some(disk.clone())),
            (StepError::Journal(JournalError::Write(full())), Some(disk.clone())),
            (StepError::Journal(JournalError::Read(full())), Some(disk)),
            (
                host(exit("E: Failed to fetch http://d/  Could not resolve 'd'")),
                Some(Cause::new(ProblemCode::NoNameServer).about("d")),
            ),
            (host(exit("Segmentation fault")), None),
            (
                StepError::Link(LinkError::NotFound("red00, red01".to_owned())),
                Some(Cause::new(ProblemCode::ManagerNotFound).about("red00, red01")),
            ),
            (
                StepError::stop(ProblemCode::SwarmLocked, "the swarm is locked".to_owned()),
                Some(ProblemCode::SwarmLocked.into()),
            ),
            (StepError::Later("work was aborted".to_owned()), None),
        ] {
            assert_eq!(error.cause(), cause, "{error}");
        }
        assert!(!StepError::stop(ProblemCode::SwarmLocked, String::new()).is_transient());
    }

    #[tokio::test(start_paused = true)]
    async fn stops_at_a_permanent_error() {
        let (step, status) =
            (Scripted { permanent: true, ..Scripted::default() }, Status::new(Vec::new(), Vec::new()));
        assert!(!drive(&step, &status).await.unwrap_err().is_transient());
        assert_eq!(step.applied.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_board_shows_what_keeps_a_node_from_going_on() {
        let (step, status) =
            (Scripted { failures: u32::MAX, ..Scripted::default() }, Status::new(Vec::new(), Vec::new()));
        let driving = tokio::time::timeout(std::time::Duration::from_secs(600), drive(&step, &status)).await;
        assert!(driving.is_err());
        let error = status.report().error.unwrap();
        assert_eq!((error.message.as_str(), error.permanent), ("mirror away", false));
    }
}
