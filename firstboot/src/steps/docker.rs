//! Docker Engine: its settings first, then its packages from a signed repository.
//!
//! The step is done as soon as the engine answers: what is left of the installation (man pages, triggers) goes on
//! beside the swarm step. Settings are in place before the first start, so the engine never has to be restarted.
//!
//! Power lost here: the journal says that an installation was begun; the next run lets dpkg finish what it had begun
//! and installs the packages again over whatever was not flushed.
//!
//! A Docker that was there before us is started if it does not answer, and never replaced.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cluster::wire::{ProblemCode, Stage};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::network::Local;
use super::{Probe, Step, StepError};
use crate::agent::Pi;
use crate::agent::status::chain;
use crate::journal::Progress;
use crate::retry::{Backoff, PACKAGES, Policy};

pub mod apt;
pub(crate) mod apt_words;
pub mod install;
mod key;
pub(crate) mod owners;
mod pins;
pub mod plan;
mod preferences;
pub mod proxy;
mod reload;
pub(crate) mod repository;
pub mod settings;
mod sources;

/// How often the engine is asked whether it is up.
const LOOK: Duration = Duration::from_millis(250);
/// How long an installed engine may take to answer before it is looked into.
const START: Duration = Duration::from_secs(60);

type Installation = JoinHandle<Result<(), StepError>>;

/// Installs Docker and waits for the engine.
#[derive(Debug)]
pub(crate) struct Docker {
    pi: Arc<Pi>,
    local: Local,
    /// The part of the installation that outlives the step, and whoever waits for it.
    running: Mutex<Option<Installation>>,
}

impl Docker {
    pub(crate) fn new(pi: Arc<Pi>, local: Local) -> Self {
        Self { pi, local, running: Mutex::new(None) }
    }

    fn begin(&self) -> Installation {
        let (pi, local) = (Arc::clone(&self.pi), self.local);
        tokio::task::spawn_blocking(move || install::run(&pi, local))
    }

    fn put(&self, installation: Option<Installation>) -> Option<Installation> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut running, installation)
    }

    /// Waits for the rest of the installation, and repeats it until it succeeds; then systemd reads the new units. The node works
    /// meanwhile.
    pub(crate) async fn finish(&self) {
        let mut backoff = Backoff::new(PACKAGES);
        loop {
            let installation = match self.put(None) {
                Some(installation) => installation,
                None if self.pi.journal.get().install == Progress::Started => self.begin(),
                None => break,
            };
            let mut waiting = Waiting { docker: self, installation: Some(installation) };
            if let Err(error) = waiting.wait().await {
                let pause = backoff.failed();
                tracing::warn!("Docker runs, but its installation did not end well: {}", chain(&error));
                sleep(pause).await;
            }
        }
        let failed = |source| StepError::Host { doing: "have systemd read the new units", source };
        let ended = self.pi.blocking(reload::end).await.and_then(|ended| ended.map_err(failed));
        if let Err(error) = ended {
            tracing::warn!("{}", chain(&error));
        }
    }
}

/// Waits for an installation. Who is called away leaves it to whoever comes next: it goes on, and must not be begun twice.
struct Waiting<'a> {
    docker: &'a Docker,
    installation: Option<Installation>,
}

impl Waiting<'_> {
    /// May be given up and asked again, until it has answered.
    async fn wait(&mut self) -> Result<(), StepError> {
        let Some(installation) = &mut self.installation else { return Ok(()) };
        let ended = installation.await;
        self.installation = None;
        joined(ended)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(installation) = self.installation.take() {
            self.docker.put(Some(installation));
        }
    }
}

fn joined(ended: Result<Result<(), StepError>, tokio::task::JoinError>) -> Result<(), StepError> {
    ended.unwrap_or_else(|_| Err(StepError::Later("the installation was aborted".to_owned())))
}

impl Step for Docker {
    /// The engine's version.
    type Outcome = String;
    const STAGE: Stage = Stage::Docker;
    const RETRY: Policy = PACKAGES;

    async fn probe(&self) -> Result<Probe<String>, StepError> {
        let interrupted = self.pi.journal.get().install == Progress::Started;
        // An interrupted installation is begun again before the engine counts, unless it is this run's own.
        if interrupted && self.running.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
            return Ok(Probe::Needed("finishing an interrupted installation".to_owned()));
        }
        let is_ours = self.pi.journal.get().install == Progress::Completed;
        if is_ours && !proxy::is_settled(&self.pi, self.local)? {
            return Ok(Probe::Needed("setting the proxy".to_owned()));
        }
        match self.pi.engine.version().await {
            Ok(version) => Ok(Probe::Done(version.version)),
            Err(_) => Ok(Probe::Needed("preparing the installation of Docker".to_owned())),
        }
    }

    async fn apply(&self) -> Result<(), StepError> {
        let installation = self.put(None).unwrap_or_else(|| self.begin());
        let mut waiting = Waiting { docker: self, installation: Some(installation) };
        loop {
            tokio::select! {
                ended = waiting.wait() => {
                    ended?;
                    break;
                }
                () = sleep(LOOK) => {
                    // Only an engine of packages that are being installed counts: an older one may be on its way out.
                    if self.pi.journal.get().install == Progress::Started && self.pi.engine.version().await.is_ok() {
                        return Ok(());
                    }
                }
            }
        }
        self.pi.status.say("waiting for Docker to answer");
        let patience = tokio::time::timeout(START, async {
            while self.pi.engine.version().await.is_err() {
                sleep(LOOK).await;
            }
        });
        patience.await.map_err(|_| StepError::Known {
            cause: ProblemCode::DockerSilent.into(),
            message: "Docker is installed but does not answer".to_owned(),
            permanent: false,
        })
    }
}
