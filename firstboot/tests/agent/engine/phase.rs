//! Engines that are stopped and started again, and what a member is until a manager leads.

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::response::Response;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{DEADLINE, Engine, LEADERLESS, Swarm, refuse};
use crate::world::eventually;

/// Whether an engine runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Phase {
    #[default]
    On,
    Off,
    /// A member since before: it looks so many times for a manager that leads before it finds one that is there.
    Waking(u8),
}

/// How long a manager serves the last node list after the leader is lost: 13 s and more, here more, so that a busy
/// machine does not miss it.
const STALE: Duration = Duration::from_secs(30);
/// How long the first call takes that it gives up afterwards.
const GIVES_UP: Duration = Duration::from_secs(20);

/// What the managers know of their leader. As measured with Docker 20.10.24, 26.1.5 and 28.5.2.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Leader {
    /// There is one, as far as anybody knows.
    #[default]
    There,
    /// There is none since then, and the last list is served.
    Lost(Instant),
    /// A call has ended without an answer; the next ones are refused at once.
    Missed,
}

impl Swarm {
    /// The managers lost their leader long ago, although they all run.
    pub(crate) fn lose_leader(&mut self) {
        (self.is_torn, self.leader) = (true, Leader::Missed);
    }

    /// More than half of the managers run.
    pub(super) fn has_leader(&self) -> bool {
        let managers = self.nodes.iter().filter(|node| !node["ManagerStatus"].is_null());
        let ids: Vec<_> = managers.map(|node| node["ID"].as_str().unwrap()).collect();
        !self.is_torn && ids.iter().filter(|id| !self.off.contains(**id)).count() * 2 > ids.len()
    }

    /// What the managers see of a member, itself running or not.
    fn see(&mut self, id: &str, runs: bool) {
        for node in self.nodes.iter_mut().filter(|node| node["ID"] == id) {
            node["Status"]["State"] = json!(if runs { "ready" } else { "down" });
            if !node["ManagerStatus"].is_null() {
                node["ManagerStatus"]["Reachability"] = json!(if runs { "reachable" } else { "unreachable" });
            }
        }
    }
}

impl Engine {
    /// Asks the leader something; the refusal if there is none to ask.
    pub(super) async fn ask_leader(&self) -> Option<Response> {
        let leader = {
            let mut swarm = self.swarm.lock().unwrap();
            swarm.leader = match swarm.leader {
                _ if swarm.has_leader() => Leader::There,
                Leader::There => Leader::Lost(Instant::now()),
                other => other,
            };
            let leader = swarm.leader;
            if matches!(leader, Leader::Lost(since) if since.elapsed() >= STALE) {
                swarm.leader = Leader::Missed;
            }
            leader
        };
        match leader {
            Leader::There => None,
            Leader::Lost(since) if since.elapsed() < STALE => None,
            Leader::Lost(_) => {
                sleep(GIVES_UP).await;
                Some(refuse(500, DEADLINE))
            }
            Leader::Missed => Some(refuse(500, LEADERLESS)),
        }
    }

    /// Ends it. From then on it does not answer.
    pub(crate) fn stop(&self) {
        *self.phase.lock().unwrap() = Phase::Off;
        let node = self.node.lock().unwrap().clone();
        let mut swarm = self.swarm.lock().unwrap();
        if let Some(id) = node {
            swarm.see(&id, false);
            swarm.off.insert(id);
        }
    }

    /// Starts it again. It is `pending` until it has found a manager that leads.
    pub(crate) fn start_again(&self) {
        let node = self.node.lock().unwrap().clone();
        *self.phase.lock().unwrap() = if node.is_some() { Phase::Waking(12) } else { Phase::On };
        self.swarm.lock().unwrap().off.retain(|id| Some(id) != node.as_ref());
    }

    /// Waits until it was looked at so many times.
    pub(crate) async fn wait_until_seen(&self, times: u32) {
        let before = self.looks.load(Ordering::Relaxed);
        eventually(async || self.looks.load(Ordering::Relaxed) >= before + times).await;
    }

    pub(super) fn note_look(&self) {
        self.looks.fetch_add(1, Ordering::Relaxed);
    }

    /// What a member says that it is in, after another look for a manager that leads.
    pub(super) fn state(&self, id: &str) -> &'static str {
        let mut phase = self.phase.lock().unwrap();
        let mut swarm = self.swarm.lock().unwrap();
        match *phase {
            Phase::On => return "active",
            Phase::Waking(0) if swarm.has_leader() => {
                *phase = Phase::On;
                swarm.see(id, true);
                return "active";
            }
            Phase::Waking(looks) if swarm.has_leader() => *phase = Phase::Waking(looks - 1),
            _ => {}
        }
        "pending"
    }
}
