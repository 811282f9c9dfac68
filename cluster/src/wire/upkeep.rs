//! Messages about a swarm that runs: what it is made of, what runs on it, and small changes to its members.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::SwarmEntry;
use crate::identity::Role;
use crate::name::ClusterName;

/// The swarm in detail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwarmDetail {
    /// The cluster's name.
    pub cluster: ClusterName,
    /// Every entry of the managers' node list and every planned node without one: those of the plan in the cluster
    /// file's order, then the others.
    pub nodes: Vec<DetailNode>,
    /// By name.
    pub services: Vec<DetailService>,
}

/// A member of the swarm, or a planned node that is none. What only its agent knows is `None` for strangers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetailNode {
    /// The host name as Swarm has it, else as planned. Two entries may have the same.
    pub name: String,
    /// What it is in the swarm; while it is no member, what it is planned to be.
    pub role: Role,
    /// Whether a node of this name is planned.
    pub planned: bool,
    /// Its entry in the managers' node list.
    pub swarm: Option<SwarmEntry>,
    /// Where the node says it is, else where Swarm sees it.
    pub address: Option<Ipv4Addr>,
    /// Operating system, such as `linux`.
    pub os: Option<String>,
    /// Of the engine, as Go's or the kernel's word for it: `aarch64`, `arm64`, `x86_64`.
    pub architecture: Option<String>,
    /// Processors, in thousand-millionths: four are 4000000000.
    pub nano_cpus: Option<u64>,
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Labels of the node, for placement constraints.
    pub labels: BTreeMap<String, String>,
    /// Names of the tasks that run there, such as `web.1`; of a global service, the service's own.
    pub tasks: Vec<String>,
    /// Such as `Raspberry Pi 4 Model B Rev 1.4`.
    pub model: Option<String>,
    /// Of the processor, in thousandths of a degree Celsius, when it was last heard from.
    pub temperature_millicelsius: Option<i32>,
    /// Time since its kernel started, milliseconds, when it was last heard from.
    pub uptime_ms: Option<u64>,
    /// Milliseconds since its agent's last report, by a manager's monotonic clock.
    pub last_heard_ms: Option<u64>,
}

/// An entry of the manager's node list that belongs to no planned node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stranger {
    /// Its Swarm node id.
    pub id: String,
    /// What its machine calls itself. Nobody has proved that.
    pub name: String,
    /// `ready`, `down`, `unknown` or `disconnected`.
    pub state: String,
}

/// A service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetailService {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `replicated`, `global`, `replicated-job` or `global-job`.
    pub mode: String,
    /// The image of its containers, without the digest that Docker adds.
    pub image: Option<String>,
    /// Tasks that run.
    pub running: u64,
    /// Tasks that should run; of a job, at the same time.
    pub desired: u64,
    /// Tasks of a job that have ended well.
    pub completed: Option<u64>,
    /// Ports that lead to it.
    pub ports: Vec<DetailPort>,
}

/// A port that leads to a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetailPort {
    /// On the nodes; `None` where each node chooses one.
    pub published: Option<u16>,
    /// In the container.
    pub target: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// `ingress`: at every node; `host`: where a task runs.
    pub mode: String,
}

/// Which join token is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenFor {
    /// What it admits to.
    pub role: Role,
}

/// Whether a member takes tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Availability {
    /// It does.
    Active,
    /// It keeps those it has and takes no others.
    Pause,
    /// It takes none, and those it has are started elsewhere.
    Drain,
}

impl Availability {
    /// Docker's word for it, on the wire, too.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Pause => "pause",
            Self::Drain => "drain",
        }
    }
}

/// What a member's availability is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetAvailability {
    /// From now on.
    pub availability: Availability,
}

/// Changes to a member's labels. Both parts keep the rules of [`crate::label`]; no label is in both.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SetLabels {
    /// Labels to have, with these values.
    pub set: BTreeMap<String, String>,
    /// Labels not to have.
    pub unset: BTreeSet<String>,
}

/// A member's labels after a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Labels {
    /// Its Swarm node id.
    pub id: String,
    /// All of them.
    pub labels: BTreeMap<String, String>,
}

/// What a member still has to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeTasks {
    /// Its entry in the managers' node list.
    pub swarm: SwarmEntry,
    /// Tasks on it that have begun and not ended, those that are being stopped included.
    pub running: u64,
}
