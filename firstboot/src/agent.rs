//! The driver: steps in order, reports on the way, and then a heartbeat that mends what breaks.
//!
//! A manager's API is up before anything else happens, and every node reports from its first second with an address,
//! so the board shows all of them while Docker is being installed everywhere at once.
//!
//! Transient trouble is retried for ever and shown on the board. Permanent trouble is reported, then the process ends
//! with [`EXIT_PERMANENT`], with which the unit is not restarted.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cluster::card::{self, Card, CardError};
use cluster::identity::Role;
use cluster::name::KeyId;
use cluster::wire::{Cause, Facts, Mark, ProblemCode, Report, Stage};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::engine::{Engine, EngineError};
use crate::host::{Host, HostError, Program};
use crate::journal::{JournalError, JournalFile};
use crate::retry::{Backoff, LOCAL, MANAGER};
use crate::seed;
use crate::serve::{Api, Server};
use crate::steps::clock::Clock;
use crate::steps::docker::Docker;
use crate::steps::network::{Local, Network};
use crate::steps::swarm::Member;
use crate::steps::swarm::table::Move;
use crate::steps::{StepError, drive};
use crate::tls::{Credentials, TlsError};

pub(crate) mod announce;
mod clock_steps;
mod diary;
pub(crate) mod door;
mod facts;
mod farewell;
mod housekeeping;
pub(crate) mod life;
pub mod link;
pub(crate) mod log;
mod overlay;
pub(crate) mod removal;
mod reporter;
pub mod status;

use link::Link;
use status::{Status, chain};

/// Exit code for trouble that a restart cannot cure: `EX_CONFIG` of sysexits(3).
pub const EXIT_PERMANENT: u8 = 78;
/// Where the seed stage puts what the agent needs.
pub const STATE: &str = "/var/lib/firstboot";
/// A mark the seed stage left, in the state folder.
const SEED_MARK: &str = "seed.json";

/// How long permanent trouble waits to be heard of before the agent ends.
const FAREWELL: Duration = Duration::from_secs(15 * 60);
/// How often a member looks whether it still is one.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Where things are; other than the defaults only in tests.
#[derive(Debug, Clone)]
pub struct Options {
    /// Payload, identity and journal.
    pub state: PathBuf,
    /// Docker's socket.
    pub docker_socket: PathBuf,
    /// Where the manager's API listens.
    pub listen: Ipv4Addr,
    /// TCP port of the manager's API, on all managers.
    pub port: u16,
}

/// What ends the agent: trouble that a restart cannot cure.
#[derive(Debug, Error)]
pub enum AgentError {
    /// The payload cannot be read.
    #[error("cannot read the payload")]
    Read(#[source] HostError),
    /// There is none.
    #[error("{0} is missing: the seed stage has not run")]
    Missing(PathBuf),
    /// It cannot be used.
    #[error("cannot use the payload")]
    Card(#[source] CardError),
    /// The identity cannot be used.
    #[error("cannot use the node's identity")]
    Identity(#[source] TlsError),
    /// Progress cannot be remembered.
    #[error("cannot keep a journal")]
    Journal(#[source] JournalError),
    /// The client for Docker could not be made.
    #[error("cannot talk to Docker")]
    Engine(#[source] EngineError),
    /// A step gave up.
    #[error("this node cannot go on")]
    Step(#[source] StepError),
}

impl AgentError {
    fn is_transient(&self) -> bool {
        matches!(self, Self::Journal(error) if error.is_transient())
    }

    /// What a person can do something about.
    fn cause(&self) -> Option<Cause> {
        match self {
            Self::Read(source) => source.cause(),
            Self::Missing(_) | Self::Card(_) => Some(ProblemCode::PayloadDamaged.into()),
            Self::Identity(source) => source.cause(),
            Self::Journal(source) => source.cause(),
            Self::Engine(source) => source.cause(),
            Self::Step(source) => source.cause(),
        }
    }
}

/// Everything a step needs of this node.
#[derive(Debug)]
pub struct Pi {
    pub(crate) host: Arc<dyn Host>,
    pub(crate) card: Arc<Card>,
    pub(crate) engine: Engine,
    pub(crate) journal: Arc<JournalFile>,
    pub(crate) status: Arc<Status>,
    pub(crate) link: Link,
    /// Of this node's certificate.
    pub(crate) key: KeyId,
    adopt_clock: AtomicBool,
}

impl Pi {
    /// Whether there are managers other than this node.
    pub(crate) fn has_peers(&self) -> bool {
        self.card.managers().any(|manager| manager.name != self.card.node)
    }

    /// Runs something that blocks, away from the loop that serves the API.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Host) -> T + Send + 'static,
    ) -> Result<T, StepError> {
        let host = Arc::clone(&self.host);
        let done = tokio::task::spawn_blocking(move || work(host.as_ref())).await;
        done.map_err(|_| StepError::Later("work was aborted".to_owned()))
    }

    /// Runs a program.
    pub(crate) async fn run(&self, doing: &'static str, program: Program) -> Result<Vec<u8>, StepError> {
        self.blocking(move |host| host.run(&program))
            .await?
            .map_err(|source| StepError::Host { doing, source })
    }

    /// Notes that a stage was finished, if it is the first time.
    pub(crate) fn mark(&self, stage: Stage) {
        let mark = facts::mark(self.host.as_ref(), stage);
        if self.status.mark(mark.clone())
            && let Err(error) = self.journal.update(|journal| journal.marks.push(mark))
        {
            tracing::warn!("{}", chain(&error));
        }
    }

    /// The report, with the facts of this moment.
    pub(crate) fn report(&self) -> Report {
        let facts = facts::read(self.host.as_ref());
        let synced = self.status.is_clock_synced();
        let clock_synced = (synced || self.status.stage() > Stage::Clock).then_some(synced);
        let left = self.journal.look(|journal| journal.has_left(&self.card.node).then_some(journal.settled));
        self.status.change(|report| {
            report.left = left;
            report.facts = Facts { engine: report.facts.engine.take(), clock_synced, ..facts };
        });
        self.status.report()
    }

    pub(crate) fn may_adopt_clock(&self) -> bool {
        self.adopt_clock.load(Ordering::Relaxed)
    }

    pub(crate) fn allow_clock_adoption(&self) {
        self.adopt_clock.store(true, Ordering::Relaxed);
    }
}

/// Runs the agent. Returns only with trouble that a restart cannot cure.
pub async fn run(host: Arc<dyn Host>, options: Options) -> Result<std::convert::Infallible, AgentError> {
    let (pi, credentials) = begin(&host, &options).await?;
    let pi = Arc::new(pi);
    tracing::info!("{} of cluster {}, {}", pi.card.node, pi.card.cluster, pi.card.role.as_str());
    // They end with the agent.
    let mut beside = JoinSet::new();
    if !announce::settle(&pi).await {
        beside.spawn(announce::retry(Arc::clone(&pi)));
    }
    if pi.card.role == Role::Manager {
        let api = Arc::new(Api::new(Arc::clone(&pi)));
        let tls = credentials.server().map_err(AgentError::Identity)?;
        beside.spawn(listen(Server::new(Arc::clone(&api), tls), (options.listen, options.port)));
        beside.spawn(housekeeping::run(Arc::clone(&pi), api));
    }
    beside.spawn(diary::run(Arc::clone(&pi)));
    beside.spawn(clock_steps::run(Arc::clone(&pi)));
    if pi.has_peers() {
        beside.spawn(reporter::run(Arc::clone(&pi)));
    }
    if pi.card.role == Role::Manager && pi.has_peers() {
        beside.spawn(life::exchange(Arc::clone(&pi)));
    }
    let Err(error) = live(&pi).await;
    let error = AgentError::Step(error);
    tracing::error!("{}", chain(&error));
    pi.status.fail(chain(&error), error.cause(), true);
    if timeout(FAREWELL, pi.status.wait_until_told()).await.is_err() {
        tracing::warn!("nobody could be told");
    }
    drop(beside);
    diary::close(&pi).await;
    Err(error)
}

/// Opens what the agent needs, and waits for what may come right by itself: a disk that is full gets room.
async fn begin(host: &Arc<dyn Host>, options: &Options) -> Result<(Pi, Credentials), AgentError> {
    let (mut backoff, mut last) = (Backoff::new(MANAGER), String::new());
    loop {
        let error = match open(Arc::clone(host), options) {
            Ok(opened) => return Ok(opened),
            Err(error) => error,
        };
        let line = chain(&error);
        if !error.is_transient() {
            tracing::error!("{line}");
            farewell::tell(host, options, &error).await;
            return Err(error);
        }
        let pause = backoff.failed();
        if line != last {
            tracing::warn!("{line}; trying again");
        }
        farewell::mention(host, options, &error, line != last).await;
        last = line;
        sleep(pause).await;
    }
}

fn open(host: Arc<dyn Host>, options: &Options) -> Result<(Pi, Credentials), AgentError> {
    let path = options.state.join(card::CARD);
    let json = host.read(&path).map_err(AgentError::Read)?.ok_or(AgentError::Missing(path))?;
    let card = Arc::new(Card::from_json(&json).map_err(AgentError::Card)?);
    let credentials = Credentials::load(host.as_ref(), &options.state).map_err(AgentError::Identity)?;
    let credentials = credentials.refusing(card.revoked.clone());
    let journal = JournalFile::open(Arc::clone(&host), &options.state).map_err(AgentError::Journal)?;
    let journal = Arc::new(journal);
    let mut marks = journal.get().marks;
    // The seed's mark is a nicety: without it the rest is no less true.
    let seed = host.read(&options.state.join(SEED_MARK)).ok().flatten();
    if let Some(mark) = seed.and_then(|json| serde_json::from_slice::<Mark>(&json).ok()) {
        marks.insert(0, mark);
    }
    let link = Link::new(
        Arc::clone(&card),
        Arc::clone(&host),
        Some(Arc::clone(&journal)),
        credentials.client().map_err(AgentError::Identity)?,
        options.port,
    );
    let pi = Pi {
        engine: Engine::new(&options.docker_socket).map_err(AgentError::Engine)?,
        status: Arc::new(Status::new(marks, seed_problems(host.as_ref(), &options.state))),
        adopt_clock: AtomicBool::new(false),
        host,
        card,
        journal,
        link,
        key: credentials.key_id().map_err(AgentError::Identity)?,
    };
    Ok((pi, credentials))
}

/// What the seed stage has left for the board. Without it the rest is no less true.
fn seed_problems(host: &dyn Host, state: &Path) -> Vec<String> {
    let json = host.read(&state.join(seed::PROBLEMS)).ok().flatten();
    json.and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default()
}

/// Opens the API's port. Somebody else may hold it for a while.
async fn listen(server: Server, at: (Ipv4Addr, u16)) {
    let mut backoff = Backoff::new(LOCAL);
    let listener = loop {
        match TcpListener::bind(at).await {
            Ok(listener) => break listener,
            Err(error) => {
                let pause = backoff.failed();
                if backoff.is_loud() {
                    tracing::warn!("cannot listen on port {}: {error}", at.1);
                }
                sleep(pause).await;
            }
        }
    };
    tracing::info!("the API listens on port {}", at.1);
    server.run(listener).await;
}

/// The node's life, in the swarm and out of it. Ends only with a permanent error.
async fn live(pi: &Arc<Pi>) -> Result<std::convert::Infallible, StepError> {
    let mut local = drive(&Network::new(Arc::clone(pi)), &pi.status).await?;
    settle_address(pi, local);
    pi.mark(Stage::Network);
    let synced = drive(&Clock::new(Arc::clone(pi)), &pi.status).await?;
    pi.mark(Stage::Clock);
    let docker = Docker::new(Arc::clone(pi), local);
    loop {
        life::follow(pi).await;
        if pi.card.role == Role::Manager
            && let Err(error) = door::count(pi, synced)
        {
            tracing::warn!("{}", chain(&error));
        }
        tokio::select! {
            ended = work(pi, local, &docker) => return ended,
            () = life::ordered_out(pi) => {}
        }
        local = drive_quietly(pi, local).await;
        settle_address(pi, local);
    }
}

/// Comes in and stays in.
async fn work(pi: &Arc<Pi>, local: Local, docker: &Docker) -> Result<std::convert::Infallible, StepError> {
    let member = Member::new(Arc::clone(pi), local);
    join(pi, docker, &member).await?;
    // The rest of the installation, if any, while the node is at work already.
    let (_, beating) = tokio::join!(docker.finish(), beat(pi, local, docker, member));
    beating
}

fn settle_address(pi: &Pi, local: Local) {
    tracing::info!("address {}/{}", local.ip, local.prefix);
    pi.status.change(|report| report.address = Some(local.ip));
    pi.status.news.notify_one();
}

/// Docker, then the swarm, until the manager's list calls this node ready.
async fn join(pi: &Arc<Pi>, docker: &Docker, member: &Member) -> Result<(), StepError> {
    let version = drive(docker, &pi.status).await?;
    pi.status.change(|report| report.facts.engine = Some(version));
    pi.mark(Stage::Docker);
    let id = drive(member, &pi.status).await?;
    pi.mark(Stage::Ready);
    pi.status.say(&format!("member {id}"));
    pi.status.enter(Stage::Ready);
    Ok(())
}

/// Looks now and then, and goes back to the steps when something broke.
async fn beat(
    pi: &Arc<Pi>,
    mut local: Local,
    docker: &Docker,
    mut member: Member,
) -> Result<std::convert::Infallible, StepError> {
    let mut overlay = overlay::Watch::default();
    loop {
        overlay.look(pi).await;
        sleep(HEARTBEAT.mul_f64(rand::random_range(0.8..1.2))).await;
        let now = drive_quietly(pi, local).await;
        if now != local {
            tracing::warn!("the address changed from {} to {}", local.ip, now.ip);
            local = now;
            settle_address(pi, local);
            member = Member::new(Arc::clone(pi), local);
        }
        match member.outlook().await {
            // The manager may rest, or the engine be busy with it: nothing this node could do.
            Ok(Move::Done(_) | Move::Wait(_)) => {}
            Ok(Move::Stop(code, why)) => return Err(StepError::stop(code, why)),
            Ok(_) | Err(_) => join(pi, docker, &member).await?,
        }
    }
}

/// The address now; the last one while there is none.
async fn drive_quietly(pi: &Arc<Pi>, last: Local) -> Local {
    use crate::steps::{Probe, Step};
    let network = Network::new(Arc::clone(pi));
    for _ in 0..2 {
        if let Ok(Probe::Done(local)) = network.probe().await {
            return local;
        }
    }
    last
}

/// This node's clock, milliseconds since 1970.
pub(crate) fn clock_now(pi: &Pi) -> u64 {
    facts::unix_ms(pi.host.as_ref())
}
