//! Taking over a Pi that already runs: what the seed stage does from a card, from a [`Delivery`] on standard input, and no more
//! of it than the agent needs. Name, user, network and SSH of the machine stay as they are.
//!
//! Power or connection lost here: every file is old or new, the agent is started last, and the next delivery finds what
//! differs. What is left for the new swarm (`take_over`) is left first: until then the machine is what it was. On an error the
//! agent that was stopped for it goes on.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use cluster::card::{self, Card};
use cluster::delivery::{Delivery, DeliveryError};
use cluster::identity::{Holder, Identity, Role};
use cluster::name::Hostname;
use cluster::proxy::{self, Proxy};
use cluster::secret::Secret;
use cluster::wire::{Mark, Stage};
use thiserror::Error;
use tokio::time::{Instant, sleep};

use crate::agent::status::chain;
use crate::engine::{Engine, EngineError, LocalState, Refusal};
use crate::host::{Host, HostError, Program};
use crate::journal::{self, Journal, JournalError, JournalFile};
use crate::memory_cgroup;
use crate::seed::{BINARY, MARK, STATE};
use crate::tls;

/// The agent's unit.
pub const UNIT: &str = "firstboot.service";
/// Its text.
pub const UNIT_TEXT: &str = include_str!("units/firstboot.service");
/// Where an administrator's units lie.
const UNITS: &str = "/etc/systemd/system";
/// What has it started at boot.
const WANTS: &str = "/etc/systemd/system/multi-user.target.wants";

/// Docker's unit.
const DOCKER: &str = "docker.service";
/// There while Docker is in a swarm (moby, daemon/cluster/utils.go).
const SWARM: &str = "/var/lib/docker/swarm/docker-state.json";
/// How long a Docker that was started may take to answer.
const ENGINE: Duration = Duration::from_secs(60);
/// Between two questions to it.
const LOOK: Duration = Duration::from_millis(250);

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was there already, and the agent runs.
    Unchanged,
    /// The agent was started with it.
    Adopted,
}

impl Outcome {
    /// The word that builder reads.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Adopted => "adopted",
        }
    }
}

/// Why a machine was not taken over.
#[derive(Debug, Error)]
pub enum AdoptError {
    /// The delivery.
    #[error("cannot use the delivery")]
    Delivery(#[from] DeliveryError),
    /// The certificate is another node's.
    #[error("the certificate is not that of {0}")]
    NotOurs(String),
    /// The machine.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// It is a node of another cluster.
    #[error("this machine belongs to the cluster {0} already")]
    OtherCluster(String),
    /// It is in a swarm that no cluster of ours has made.
    #[error("this machine is in a swarm already")]
    InSwarm,
    /// Nobody can say whether it could be left.
    #[error(
        "this machine is in a swarm, and Docker does not answer: nothing was changed; see: sudo systemctl status docker"
    )]
    Silent(#[source] EngineError),
    /// Docker did not let it go.
    #[error("cannot leave the swarm that this machine is in")]
    Leave(#[source] EngineError),
}

/// Takes over the machine for the delivery's cluster.
///
/// # Errors
/// See [`AdoptError`]; another cluster's or swarm's machine is left alone unless the delivery says to take it over.
pub async fn adopt(host: Arc<dyn Host>, engine: &Engine, json: &[u8]) -> Result<Outcome, AdoptError> {
    let delivery = Delivery::from_json(json)?;
    check(&delivery)?;
    let machine = Machine { host: host.as_ref(), delivery: &delivery };
    let before = machine.card()?;
    let is_ours = before.as_ref().is_some_and(|card| card.cluster_id == delivery.card.cluster_id);
    // What belongs to nobody's agent may be in a swarm by hand; what was ours is brought in by the agent.
    let in_swarm = !is_ours && machine.is_in_swarm(engine).await?;
    match &before {
        _ if delivery.take_over => {}
        Some(card) if !is_ours => return Err(AdoptError::OtherCluster(card.cluster.to_string())),
        _ if in_swarm => return Err(AdoptError::InSwarm),
        _ => {}
    }
    if is_ours && machine.is_as_wanted()? {
        return Ok(Outcome::Unchanged);
    }
    let had_agent = machine.stop()?;
    let changed = change(&host, engine, &machine, before, in_swarm).await;
    if changed.is_err() && had_agent {
        machine.start_again();
    }
    changed.map(|()| Outcome::Adopted)
}

/// What is done while no agent runs.
async fn change(
    host: &Arc<dyn Host>,
    engine: &Engine,
    machine: &Machine<'_>,
    before: Option<Card>,
    in_swarm: bool,
) -> Result<(), AdoptError> {
    let now = &machine.delivery.card;
    let is_ours = before.as_ref().is_some_and(|card| card.cluster_id == now.cluster_id);
    if in_swarm {
        leave(engine).await?;
    }
    if before.is_some() && !is_ours {
        // The other cluster's: who has joined, where its managers were, that a swarm was begun.
        machine.host.remove(&Path::new(STATE).join(journal::FILE))?;
    }
    if let Some(before) = before.filter(|_| is_ours) {
        reopen(host, &before, now)?;
    }
    machine.place()?;
    machine.start()
}

/// Whether certificate and card say the same, before anything is changed.
fn check(delivery: &Delivery) -> Result<(), AdoptError> {
    let card = &delivery.card;
    let holder = Holder::Node { role: card.role, name: card.node.clone() };
    let wanted = Identity { cluster: card.cluster_id.clone(), holder };
    match tls::holder_of_pem(delivery.cert_pem.as_bytes()) {
        Some(found) if found == wanted => Ok(()),
        _ => Err(AdoptError::NotOurs(card.node.to_string())),
    }
}

pub(crate) async fn leave(engine: &Engine) -> Result<(), AdoptError> {
    match engine.leave().await {
        Err(error) if error.refusal() == Some(Refusal::NotMember) => Ok(()),
        result => result.map_err(AdoptError::Leave),
    }
}

/// Nodes that are new in the plan come by the operator's wish: they are let in, whenever the swarm was formed.
fn reopen(host: &Arc<dyn Host>, before: &Card, now: &Card) -> Result<(), AdoptError> {
    let is_new = |name: &Hostname| before.nodes.iter().all(|planned| planned.name != *name);
    if now.role != Role::Manager || !now.nodes.iter().any(|planned| is_new(&planned.name)) {
        return Ok(());
    }
    let journal = JournalFile::open(Arc::clone(host), Path::new(STATE))?;
    Ok(journal.settle(Journal::reopen_window)?)
}

/// The machine and what it is to get.
struct Machine<'a> {
    host: &'a dyn Host,
    delivery: &'a Delivery,
}

impl Machine<'_> {
    /// The payload that is there. One that cannot be read counts as none: it is about to be replaced.
    fn card(&self) -> Result<Option<Card>, AdoptError> {
        let json = self.host.read(&Path::new(STATE).join(card::CARD))?;
        Ok(json.and_then(|json| Card::from_json(&json).ok()))
    }

    /// What the agent reads, the key before the certificate that goes with it, and the plan last.
    fn files(&self) -> [(&'static str, Vec<u8>); 4] {
        let delivery = self.delivery;
        // Strings, numbers and lists of them always serialise.
        let mut card = serde_json::to_vec_pretty(&delivery.card).unwrap_or_default();
        card.push(b'\n');
        [
            (card::NODE_KEY, delivery.key_pem.expose().clone().into_bytes()),
            (card::NODE_CERT, delivery.cert_pem.clone().into_bytes()),
            (card::CA, delivery.ca_pem.clone().into_bytes()),
            (card::CARD, card),
        ]
    }

    /// The proxy's file; without a proxy there is none.
    fn proxy(&self) -> (PathBuf, Option<Secret<Vec<u8>>>) {
        (Path::new(STATE).join(proxy::FILE), self.delivery.proxy.as_ref().map(Proxy::to_json))
    }

    fn is_as_wanted(&self) -> Result<bool, AdoptError> {
        let (path, wanted) = self.proxy();
        if self.host.read(&path)?.as_ref() != wanted.as_ref().map(Secret::expose) {
            return Ok(false);
        }
        for (name, bytes) in self.files() {
            if self.host.read(&Path::new(STATE).join(name))?.as_deref() != Some(&bytes) {
                return Ok(false);
            }
        }
        let unit = self.host.read(&Path::new(UNITS).join(UNIT))?;
        let is_enabled = self.host.list(Path::new(WANTS))?.iter().any(|name| name == UNIT);
        Ok(unit.as_deref() == Some(UNIT_TEXT.as_bytes()) && is_enabled && self.runs_this_binary())
    }

    /// Whether the agent runs, and is the one that is installed: what was replaced under a process is `(deleted)` (proc(5)).
    fn runs_this_binary(&self) -> bool {
        let show = Program::new("systemctl", ["show", "--property=MainPID", "--value", UNIT]);
        let Ok(pid) = self.host.run(&show) else { return false };
        let pid = String::from_utf8_lossy(&pid).trim().to_owned();
        let exe = Program::new("readlink", [&format!("/proc/{pid}/exe")]);
        self.host.run(&exe).is_ok_and(|path| String::from_utf8_lossy(&path).trim() == BINARY)
    }

    /// Whether Docker is in a swarm. Where it does not answer, what it keeps on the disk says so, and what is to be left has to
    /// run first.
    async fn is_in_swarm(&self, engine: &Engine) -> Result<bool, AdoptError> {
        let mut answer = engine.info().await;
        if answer.is_err() {
            if self.host.read(Path::new(SWARM))?.is_none() {
                return Ok(false);
            }
            if !self.delivery.take_over {
                return Ok(true);
            }
            // Its unit would wait for it without end.
            self.host.run(&Program::new("systemctl", ["start", "--no-block", DOCKER]))?;
            let deadline = Instant::now() + ENGINE;
            answer = engine.info().await;
            while answer.is_err() && Instant::now() < deadline {
                sleep(LOOK).await;
                answer = engine.info().await;
            }
        }
        let info = answer.map_err(AdoptError::Silent)?;
        Ok(info.swarm.local_node_state != LocalState::Inactive)
    }

    /// The agent must not write its journal while that is changed. Says whether there is one.
    fn stop(&self) -> Result<bool, AdoptError> {
        let is_there = self.host.read(&Path::new(UNITS).join(UNIT))?.is_some();
        if is_there {
            self.host.run(&Program::new("systemctl", ["stop", UNIT]))?;
        }
        Ok(is_there)
    }

    /// What it was stopped for went wrong, and that is what there is to say.
    fn start_again(&self) {
        if let Err(error) = self.host.run(&Program::new("systemctl", ["start", UNIT])) {
            tracing::warn!("cannot start the agent again: {}", chain(&error));
        }
    }

    fn place(&self) -> Result<(), AdoptError> {
        let state = Path::new(STATE);
        self.host.make_folder(state, 0o700, None)?;
        // Before the payload, which says that it is there.
        match self.proxy() {
            (path, Some(json)) => self.host.write(&path, json.expose(), 0o600, None)?,
            (path, None) => self.host.remove(&path)?,
        }
        for (name, bytes) in self.files() {
            self.host.write(&state.join(name), &bytes, 0o600, None)?;
        }
        if self.host.read(&state.join(MARK))?.is_none() {
            self.host.write(&state.join(MARK), &self.mark(), 0o600, None)?;
        }
        Ok(self.host.write(&Path::new(UNITS).join(UNIT), UNIT_TEXT.as_bytes(), 0o644, None)?)
    }

    /// For the board: when this node's life began. A machine that runs has an uptime that says nothing of it.
    fn mark(&self) -> Vec<u8> {
        let unix = self.host.now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let mark =
            Mark { stage: Stage::Seed, unix_ms: u64::try_from(unix).unwrap_or(u64::MAX), uptime_ms: 0 };
        serde_json::to_vec(&mark).unwrap_or_default()
    }

    fn start(&self) -> Result<(), AdoptError> {
        let unit = Path::new(UNITS).join(UNIT);
        // A node without it works, and its agent reports what is missing.
        if let Err(error) = memory_cgroup::turn_on(self.host) {
            tracing::warn!("cannot turn the memory cgroup on: {}", chain(&error));
        }
        self.host.make_folder(Path::new(WANTS), 0o755, None)?;
        self.host.link(&unit, &Path::new(WANTS).join(UNIT))?;
        self.host.sync();
        self.host.run(&Program::new("systemctl", ["daemon-reload"]))?;
        self.host.run(&Program::new("systemctl", ["restart", UNIT]))?;
        Ok(())
    }
}
