//! The swarm: one manager starts it, everybody else joins. What to do follows from a table ([`decide`]) of what
//! the engine says of itself and what the manager's node list says of this node; only the latter proves membership.
//!
//! Power lost here: the journal says "started" before `swarm init` and "completed" after; after a restart the engine's
//! state decides, and a journal that cannot be read forbids a second init. Joining twice is refused by the engine.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cluster::identity::Role;
use cluster::wire::{JoinReply, Stage, SwarmEntry};
use tokio::time::{Instant, sleep};

use super::docker::settings::overlay_pool;
use super::network::Local;
use super::{Probe, Step, StepError};
use crate::agent::Pi;
use crate::agent::link::LinkError;
use crate::engine::{EngineError, Init, LocalState, Refusal, Swarm, SwarmInfo};
use crate::journal::Progress;
use crate::retry::{Policy, SWARM};

mod certificate;
mod founding;
pub mod table;

pub(crate) use founding::vote;

use founding::Founding;
use table::{Condition, Founder, Move, Outlook, condition, decide};

/// Between two looks while something is on its way.
const LOOK: Duration = Duration::from_millis(250);
/// How long to wait for the manager before looking again what there is to do.
const FIND: Duration = Duration::from_secs(5);
/// What another manager said longer ago may have been before this node was one.
const RECENT: Duration = Duration::from_secs(60);
/// How long renewed certificates may take to be there, before they are renewed again.
const RENEWAL: Duration = Duration::from_secs(10 * 60);
/// Between two requests for the token while there is no swarm yet.
const ASK: Duration = Duration::from_secs(1);
/// How long the certificates of a swarm's first minutes live whatever was asked for, in seconds (SwarmKit,
/// ca/certificates.go, DefaultNodeCertExpiration).
const FIRST_EXPIRY: u64 = 90 * 86_400;

/// Starts or joins the swarm.
#[derive(Debug)]
pub(crate) struct Member {
    pi: Arc<Pi>,
    local: Local,
    /// What the node is in, and since when.
    since: Mutex<(Condition, Instant)>,
    founding: Founding,
    /// When Swarm's certificates were last renewed by force.
    renewed: Mutex<Option<Instant>>,
}

impl Member {
    pub(crate) fn new(pi: Arc<Pi>, local: Local) -> Self {
        let since = Mutex::new((Condition::Outside, Instant::now()));
        Self { pi, local, since, founding: Founding::default(), renewed: Mutex::default() }
    }

    /// What is to be done now.
    pub(crate) async fn outlook(&self) -> Result<Move, StepError> {
        let info = engine("reading Docker's state", self.pi.engine.info().await)?.swarm;
        let entry = self.entry(&info).await;
        let told = self.pi.link.heard().filter(|heard| heard.at.elapsed() < RECENT);
        let list_read = told.as_ref().is_some_and(|heard| heard.reply.reads_list);
        let told = told.and_then(|heard| heard.reply.swarm);
        let out_of_date = !self.is_renewing() && self.pi.blocking(certificate::is_out_of_date).await?;
        let outlook = Outlook {
            role: self.pi.card.role,
            founder: self.founder(&info).await?,
            peers: self.pi.has_peers(),
            info: &info,
            entry: entry.as_ref(),
            told: told.as_ref(),
            list_read,
            init: self.pi.journal.get().init,
            out_of_date,
            address: self.local.ip,
            manager: self.pi.link.heard().map(|heard| heard.address),
        };
        let condition = condition(&outlook);
        let (before, lasted) = {
            let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
            let before = since.0;
            if before != condition {
                *since = (condition, Instant::now());
            }
            (before, since.1.elapsed())
        };
        self.pi.status.change(|report| {
            report.swarm_node = (!info.node_id.is_empty()).then(|| info.node_id.clone());
        });
        self.tell_of_promotion(before, condition, &info);
        Ok(decide(&outlook, condition, lasted))
    }

    /// The managers' number is the plan's affair, but only a human should undo what a human did.
    fn tell_of_promotion(&self, before: Condition, now: Condition, info: &SwarmInfo) {
        let word = match (before, now) {
            // What keeps it from going on comes first.
            (_, Condition::Promoted) if self.pi.status.report().error.is_some() => return,
            (_, Condition::Promoted) => format!(
                "member, but a manager although it is planned as a worker; on a manager, type: docker node demote {}",
                self.pi.card.node
            ),
            (_, Condition::Ready) if before != now && self.pi.status.stage() == Stage::Ready => {
                format!("member {}", info.node_id)
            }
            _ => return,
        };
        self.pi.status.say(&word);
        if before != now {
            self.pi.status.news.notify_one();
        }
    }

    /// Who starts the swarm. Asked only while this node is in none.
    async fn founder(&self, info: &SwarmInfo) -> Result<Founder, StepError> {
        if self.pi.card.role == Role::Worker || info.local_node_state != LocalState::Inactive {
            return Ok(Founder::Another);
        }
        if !self.pi.has_peers() {
            return Ok(Founder::Us);
        }
        self.founding.ask(&self.pi).await
    }

    /// This node in the managers' list: a manager reads it, a worker is told.
    async fn entry(&self, info: &SwarmInfo) -> Option<SwarmEntry> {
        if info.control_available {
            let nodes = self.pi.engine.nodes().await.ok()?;
            return nodes.iter().find(|node| node.id == info.node_id).map(crate::engine::Node::to_entry);
        }
        self.pi.link.heard()?.reply.swarm
    }

    async fn start(&self) -> Result<(), StepError> {
        let started = |journal: &mut crate::journal::Journal| journal.init = Progress::Started;
        self.pi.journal.update(started).map_err(StepError::Journal)?;
        self.pi.status.say("starting the swarm");
        self.init(false).await
    }

    /// The same swarm from its own state, as a quorum of one: with this address, and new certificates.
    async fn start_anew(&self, why: &str) -> Result<(), StepError> {
        tracing::warn!("{why}");
        self.pi.status.say(why);
        self.init(true).await?;
        *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        Ok(())
    }

    fn is_renewing(&self) -> bool {
        let renewed = self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        renewed.is_some_and(|at| at.elapsed() < RENEWAL)
    }

    async fn init(&self, force: bool) -> Result<(), StepError> {
        let swarm = &self.pi.card.swarm;
        // One that is there already keeps its root: to make another takes all members, who do not know the way just now.
        let present = if force { self.pi.engine.swarm().await.ok() } else { None };
        let init = Init {
            address: self.local.ip,
            drain: !swarm.managers_run_tasks,
            pool: overlay_pool(self.local, swarm.address_pool.as_deref()),
            cert_expiry: Duration::from_secs(swarm.cert_expiry_seconds),
            root_rotations: present.map(|swarm| swarm.root_rotations()).unwrap_or_default(),
            force,
        };
        match self.pi.engine.init(&init).await {
            Ok(id) => {
                tracing::info!("swarm started, this node is {id}");
                Ok(())
            }
            Err(error) if error.refusal() == Some(Refusal::AlreadyMember) => Ok(()),
            Err(error) => engine("starting the swarm", Err(error)),
        }
    }

    /// Whether the swarm that this node has started still needs something before others may come in.
    async fn unfinished(&self) -> Result<Option<Swarm>, StepError> {
        if self.pi.journal.get().init != Progress::Started {
            return Ok(None);
        }
        let swarm = engine("reading the swarm", self.pi.engine.swarm().await)?;
        let asked = self.pi.card.swarm.cert_expiry_seconds == FIRST_EXPIRY || swarm.root_rotations() > 0;
        Ok((!asked || swarm.root_rotation_in_progress).then_some(swarm))
    }

    /// Has Swarm's certificates made anew, with the life that the cluster file says. Docker knows that life from the start, and
    /// yet gives [`FIRST_EXPIRY`] until there is another root.
    async fn finish(&self) -> Result<(), StepError> {
        match self.unfinished().await? {
            Some(swarm) if !swarm.root_rotation_in_progress && swarm.root_rotations() == 0 => {
                let expiry = Duration::from_secs(self.pi.card.swarm.cert_expiry_seconds);
                engine("making Swarm's certificates anew", self.pi.engine.rotate_root(swarm, expiry).await)
            }
            _ => {
                sleep(LOOK).await;
                Ok(())
            }
        }
    }

    fn completed(&self) -> Result<(), StepError> {
        self.pi.journal.settle(|journal| journal.init = Progress::Completed).map_err(StepError::Journal)
    }

    /// Asks for a token; `None` while the manager is not ready to give one.
    async fn ask(&self) -> Result<Option<JoinReply>, StepError> {
        // The reporter looks for the manager, too: two searches find it no sooner.
        if !self.pi.link.is_found(FIND).await {
            self.pi.status.say("waiting for the manager to answer");
            return Ok(None);
        }
        match self.pi.link.join().await {
            Ok(reply) if self.is_of_the_past(&reply) => {
                self.pi.status.say("this manager has not heard that a new swarm is wanted: trying another");
                self.pi.link.look_elsewhere();
                sleep(ASK).await;
                Ok(None)
            }
            Ok(reply) => Ok(Some(reply)),
            Err(LinkError::Refused { status: 409 | 429 | 503, message, .. }) => {
                self.pi.status.say(&message);
                sleep(ASK.mul_f64(rand::random_range(0.7..1.1))).await;
                Ok(None)
            }
            Err(error) => Err(StepError::Link(error)),
        }
    }

    /// Whether a token is of a swarm that the operator has ended, from a manager that was off then. The only manager cannot
    /// be that: it may have a new card, and know nothing of former orders.
    fn is_of_the_past(&self, reply: &JoinReply) -> bool {
        let up = self.pi.journal.look(|journal| journal.orders.up);
        self.pi.card.managers().nth(1).is_some() && reply.up < up
    }

    async fn join(&self) -> Result<(), StepError> {
        let Some(reply) = self.ask().await? else { return Ok(()) };
        self.join_with(&reply).await
    }

    /// The manager does not count this node as a member, so the swarm the engine believes in is given up first.
    async fn rejoin(&self) -> Result<(), StepError> {
        let Some(reply) = self.ask().await? else { return Ok(()) };
        leave(&self.pi).await?;
        self.join_with(&reply).await
    }

    async fn join_with(&self, reply: &JoinReply) -> Result<(), StepError> {
        self.pi.status.say("joining the swarm");
        let drain = self.pi.card.role == Role::Manager && !self.pi.card.swarm.managers_run_tasks;
        let mut last = Err(StepError::Later("the manager named no address to join at".to_owned()));
        // The engine tries only the first address it is given.
        for manager in &reply.managers {
            match self.pi.engine.join(&reply.token, *manager, self.local.ip, drain).await {
                Ok(()) => {
                    // What was missing so far was another entry: the managers need a moment to hear of this one.
                    *self.since.lock().unwrap_or_else(PoisonError::into_inner) =
                        (Condition::Outside, Instant::now());
                    self.pi.mark(Stage::Swarm);
                    self.pi.status.say("joined, waiting to be seen ready");
                    self.pi.status.news.notify_one();
                    return Ok(());
                }
                // The engine goes on by itself: the next look shows how.
                Err(error)
                    if matches!(error.refusal(), Some(Refusal::AlreadyMember | Refusal::StillJoining)) =>
                {
                    return Ok(());
                }
                Err(error) => last = engine("joining the swarm", Err(error)),
            }
        }
        last
    }
}

impl Step for Member {
    /// The node's id.
    type Outcome = String;
    const STAGE: Stage = Stage::Swarm;
    const RETRY: Policy = SWARM;

    async fn probe(&self) -> Result<Probe<String>, StepError> {
        Ok(match self.outlook().await? {
            Move::Done(id) => {
                if self.unfinished().await?.is_some() {
                    return Ok(Probe::Needed(
                        "giving Swarm's certificates the life that the cluster file says".to_owned(),
                    ));
                }
                if self.pi.journal.get().init == Progress::Started {
                    self.completed()?;
                }
                self.pi.mark(Stage::Swarm);
                Probe::Done(id)
            }
            Move::Wait(why) | Move::Leave(why) | Move::Rejoin(why) => Probe::Needed(why),
            Move::Init => Probe::Needed("starting the swarm".to_owned()),
            Move::Announce(why) => Probe::Needed(why),
            Move::Join => Probe::Needed("asking the manager to be let in".to_owned()),
            Move::Stop(code, why) => return Err(StepError::stop(code, why)),
        })
    }

    async fn apply(&self) -> Result<(), StepError> {
        match self.outlook().await? {
            Move::Done(_) => self.finish().await,
            Move::Wait(_) => {
                sleep(LOOK).await;
                Ok(())
            }
            Move::Init => self.start().await,
            Move::Announce(why) => self.start_anew(&why).await,
            Move::Join => self.join().await,
            Move::Rejoin(why) => {
                tracing::warn!("{why}: joining anew");
                self.rejoin().await
            }
            Move::Leave(why) => {
                tracing::warn!("{why}: leaving, to join anew");
                leave(&self.pi).await
            }
            Move::Stop(code, why) => Err(StepError::stop(code, why)),
        }
    }
}

/// Leaves the swarm, whatever it was; none is no error.
pub(crate) async fn leave(pi: &Pi) -> Result<(), StepError> {
    match pi.engine.leave().await {
        Err(error) if error.refusal() == Some(Refusal::NotMember) => Ok(()),
        result => engine("leaving the swarm", result),
    }
}

fn engine<T>(doing: &'static str, result: Result<T, EngineError>) -> Result<T, StepError> {
    result.map_err(|source| StepError::Engine { doing, source })
}
