//! Messages between nodes, manager and operator: JSON over mutually authenticated HTTPS.
//!
//! | request | who may | body | answer |
//! |---|---|---|---|
//! | `PUT /v1/nodes/{name}` | that node | [`Report`] | [`ReportReply`] |
//! | `POST /v1/join` | planned nodes | none | [`JoinReply`], or 403/409/503 with [`Problem`] |
//! | `POST /v1/founder` | managers | [`Ballot`] | [`Vote`] |
//! | `GET /v1/reports` | managers | none | [`Told`], a list |
//! | `GET /v1/orders` | managers, operator | none | [`Orders`] |
//! | `GET /v1/cluster` | operator | none | [`Board`] |
//! | `GET /v1/nodes/{name}/history` | operator | none | [`History`] |
//! | `POST /v1/nodes/{name}/revoke` | operator | [`Revoke`] | [`Revoked`] |
//! | `POST /v1/tokens/rotate` | operator | none | 204 |
//! | `POST /v1/leave` | operator | [`Order`] or none | 202 with [`Orders`] |
//! | `POST /v1/up` | operator | [`Order`] or none | 202 with [`Orders`] |
//! | `POST /v1/window` | operator | none | [`JoinWindow`] |
//! | `POST /v1/nodes/{name}/remove` | operator | [`Order`] or none | [`Removal`], or 404/409 with [`Problem`] |
//! | `POST /v1/token` | operator | [`TokenFor`] | [`JoinReply`], or 409/503 with [`Problem`] |
//! | `GET /v1/swarm` | operator | none | [`SwarmDetail`], or 503 with [`Problem`] |
//! | `GET /v1/nodes/{name or id}/tasks` | operator | none | [`NodeTasks`] |
//! | `POST /v1/nodes/{name or id}/availability` | operator | [`SetAvailability`] | [`SwarmEntry`] |
//! | `POST /v1/nodes/{name or id}/labels` | operator | [`SetLabels`] | [`Labels`] |
//!
//! [`Order`]: crate::orders::Order
//!
//! Fields may be added, so readers ignore what they do not know; none is renamed or changes its meaning within `/v1`.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4};

use serde::{Deserialize, Serialize};

use crate::history::Event;
use crate::identity::Role;
use crate::name::{ClusterId, ClusterName, Hostname, KeyId};
use crate::orders::Orders;
use crate::secret::Secret;

mod cause;
mod upkeep;

pub(crate) use cause::lenient;
pub use cause::{Cause, ProblemCode};
pub use upkeep::{
    Availability, DetailNode, DetailPort, DetailService, Labels, NodeTasks, SetAvailability, SetLabels,
    Stranger, SwarmDetail, TokenFor,
};

/// TCP port of the manager's API.
pub const PORT: u16 = 8377;
/// Largest request body, in bytes.
pub const BODY_LIMIT: usize = 64 * 1024;

/// What a node is at. The order is the order of a node's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// The first, networkless run from the FAT partition.
    Seed,
    /// Waiting for an IPv4 address.
    Network,
    /// Waiting for a believable clock.
    Clock,
    /// Installing and starting Docker.
    Docker,
    /// Starting or joining the swarm.
    Swarm,
    /// A member that the manager's node list calls ready.
    Ready,
}

impl Stage {
    /// All of them, in order.
    pub const ALL: [Self; 6] =
        [Self::Seed, Self::Network, Self::Clock, Self::Docker, Self::Swarm, Self::Ready];

    /// The word used on the wire and in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Seed => "seed",
            Self::Network => "network",
            Self::Clock => "clock",
            Self::Docker => "docker",
            Self::Swarm => "swarm",
            Self::Ready => "ready",
        }
    }
}

/// When a stage was finished (for [`Stage::Ready`]: reached).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The stage.
    pub stage: Stage,
    /// The node's own clock then, milliseconds since 1970. It may have been wrong.
    pub unix_ms: u64,
    /// Time since the kernel started, milliseconds.
    pub uptime_ms: u64,
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What it is at.
    pub stage: Stage,
    /// One sentence for people.
    pub word: String,
    /// What keeps it from going on.
    pub error: Option<NodeError>,
    /// Its IPv4 address.
    pub address: Option<Ipv4Addr>,
    /// Its Swarm node id, once it has one.
    pub swarm_node: Option<String>,
    /// What it is made of.
    #[serde(default)]
    pub facts: Facts,
    /// Stages behind it.
    #[serde(default)]
    pub marks: Vec<Mark>,
    /// What its seed stage could not do, a sentence each. No secrets.
    #[serde(default)]
    pub seed_problems: Vec<String>,
    /// While it is out of the swarm because the operator said so: the number of the last order that it has followed.
    #[serde(default)]
    pub left: Option<u64>,
    /// Faults that do not keep the node from working, a sentence each, such as a package source that could not be read.
    /// No secrets.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Whether the agent proves its Swarm id when the manager asks for it. Agents that do not know how say nothing.
    #[serde(default)]
    pub proves: bool,
    /// The proof that [`Report::swarm_node`] is this node's, if the manager asked for it. Managers do not pass it on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
}

/// What proves that an entry of Swarm's node list is the reporting node's: see [`ReportReply::nonce`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// Swarm's certificate of the node in PEM, with the intermediates.
    pub certificate: String,
    /// The signature of that certificate's key, ECDSA P-256 with SHA-256 in DER, Base64.
    pub signature: String,
}

/// What keeps a node from going on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeError {
    /// The whole chain of causes in one line. No secrets.
    pub message: String,
    /// Whether the node has stopped trying.
    pub permanent: bool,
    /// The same for programs, where the agent knows a code for it.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
}

/// What a node is made of. Everything is optional: virtual machines lack most of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// Such as `Raspberry Pi 4 Model B Rev 1.4`.
    pub model: Option<String>,
    /// The board's serial number.
    pub serial: Option<String>,
    /// Of the processor, in thousandths of a degree Celsius.
    pub temperature_millicelsius: Option<i32>,
    /// Total memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Free bytes on the root file system.
    pub disk_free_bytes: Option<u64>,
    /// Docker Engine's version.
    pub engine: Option<String>,
    /// The kernel's boot id: another with every start, and on every machine.
    pub boot: Option<String>,
    /// Whether the clock was set from the network; not said before that is settled.
    pub clock_synced: Option<bool>,
    /// Time since the kernel started, milliseconds.
    pub uptime_ms: Option<u64>,
    /// Whether the kernel has the memory cgroup on, so that memory limits of services hold. Raspberry Pi kernels have it off
    /// unless their command line says otherwise.
    pub memory_cgroup: Option<bool>,
}

/// The answer to a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportReply {
    /// The manager's clock, milliseconds since 1970.
    pub unix_ms: u64,
    /// Whether the manager's own clock is known to be right.
    pub clock_synced: bool,
    /// What is wanted of the node.
    pub want: Want,
    /// What the manager's node list says of it; `None` while there is no swarm or no entry.
    pub swarm: Option<SwarmEntry>,
    /// Whether the manager could read its node list. One that could not has no say in who is a member.
    #[serde(default)]
    pub reads_list: bool,
    /// What the operator has ordered of this node, as far as the manager knows.
    #[serde(default)]
    pub orders: Orders,
    /// Set if the manager wants a proof of the node's Swarm id in the next report: what to sign, beside the names and ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
}

/// What is wanted of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Want {
    /// Be a member.
    Run,
    /// Leave the swarm and stay out.
    Leave,
}

/// What a node needs to join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinReply {
    /// The join token for the role in the asker's certificate.
    pub token: Secret<String>,
    /// Managers to join at, port included, best first.
    pub managers: Vec<SocketAddrV4>,
    /// The number of the order to come in that this swarm follows ([`Orders::up`]).
    #[serde(default)]
    pub up: u64,
}

/// Part of an agreement between several managers on which of them starts the swarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ballot {
    /// Of this attempt; higher ones win. Zero only asks how things stand.
    pub number: u64,
    /// Whom to accept as founder. Without it, only a promise is asked for: to heed no lower number.
    pub founder: Option<Hostname>,
    /// The number of the order to come in ([`Orders::up`]): every one has an agreement of its own.
    #[serde(default)]
    pub up: u64,
}

/// A manager's answer to a [`Ballot`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// Whether it promised, or accepted.
    pub granted: bool,
    /// The highest number it has promised to heed.
    pub promised: u64,
    /// What it accepted last.
    pub accepted: Option<Accepted>,
    /// Who is agreed on, if it knows.
    pub agreed: Option<Hostname>,
    /// Whether it is in a swarm, so that there is nothing left to agree on.
    pub member: bool,
}

/// A founder that a manager has accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// In which attempt.
    pub number: u64,
    /// Whom.
    pub founder: Hostname,
}

/// What a manager has heard of a node, for another manager's board.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The node.
    pub name: Hostname,
    /// Its last report.
    pub report: Report,
    /// Milliseconds since then, by the manager's monotonic clock.
    pub age_ms: u64,
    /// The Swarm ids that the node has proved to that manager, oldest first.
    #[serde(default)]
    pub entries: Vec<String>,
}

/// What a node said and met lately, as far as the manager heard of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// Oldest first.
    pub events: Vec<Event>,
}

/// Which of a node's keys are not to be let in any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoke {
    /// All that the node ever had and that are revoked, so that a manager that forgot some learns them again.
    pub keys: BTreeSet<KeyId>,
}

/// What a revocation came to. The keys are refused from now on in any case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    /// Swarm ids under which the node was a member.
    pub members: Vec<String>,
    /// Why removing them or changing the tokens is not finished; the manager goes on trying by itself.
    pub unfinished: Option<String>,
    /// Why the manager could not write the revocation to its disk: it is in force, and a restart of the manager before there is
    /// room would forget it. The manager goes on trying by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsaved: Option<String>,
}

/// The join window, after it was opened again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinWindow {
    /// How long it is open from now on, in seconds of the time that the manager is on.
    pub seconds: u64,
}

/// What the removal of a node has come to. The managers go on by themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// The entries under its name that are still in the node list.
    pub entries: Vec<SwarmEntry>,
    /// Whether the manager could read its node list.
    pub reads_list: bool,
    /// The node is not planned: nobody tells it to leave.
    pub stranger: bool,
}

/// Why a request was not granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// A sentence for people.
    pub message: String,
    /// The same for programs, where there is a code for it.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
}

/// A node as the manager's node list has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwarmEntry {
    /// Swarm node id.
    pub id: String,
    /// `ready`, `down`, `unknown` or `disconnected`.
    pub state: String,
    /// `active`, `pause` or `drain`.
    pub availability: String,
    /// Whether it leads the managers.
    pub leader: bool,
    /// `reachable`, `unreachable` or `unknown` for a manager.
    pub reachability: Option<String>,
    /// Docker Engine's version.
    pub engine: Option<String>,
    /// The address Swarm sees.
    pub address: Option<String>,
}

/// What every planned node is doing now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Board {
    /// The cluster's name.
    pub cluster: ClusterName,
    /// Its identity.
    pub cluster_id: ClusterId,
    /// The manager's clock, milliseconds since 1970.
    pub unix_ms: u64,
    /// Whether every planned node that is to be there is in the node list exactly once, in its role, and ready.
    pub formed: bool,
    /// Whether this manager is one of several of which too few can be reached for the swarm to be managed.
    #[serde(default)]
    pub quorum_lost: bool,
    /// Whether the operator has ended the swarm.
    #[serde(default)]
    pub dissolved: bool,
    /// The planned nodes, in the cluster file's order.
    pub nodes: Vec<BoardNode>,
    /// Entries of the manager's node list that belong to no planned node, by name. Older managers do not name them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub strangers: Vec<Stranger>,
}

/// One planned node on the board.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoardNode {
    /// Its name.
    pub name: Hostname,
    /// Its role.
    pub role: Role,
    /// Its last report; `None` when it was never heard from.
    pub report: Option<Report>,
    /// Milliseconds since that report, by the manager's monotonic clock.
    pub last_heard_ms: Option<u64>,
    /// Its entry in the manager's node list.
    pub swarm: Option<SwarmEntry>,
    /// Whether the operator has removed it: it is not to be in the swarm.
    #[serde(default)]
    pub dismissed: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_ignores_fields_it_does_not_know() {
        let json =
            r#"{"stage":"docker","word":"x","error":null,"address":"10.0.0.2","swarm_node":null,"future":1}"#;
        let report: Report = serde_json::from_str(json).unwrap();
        assert_eq!(report.stage, Stage::Docker);
    }

    #[test]
    fn strangers_are_optional_on_the_board() {
        let older = r#"{"cluster":"red","cluster_id":"0123456789abcdef","unix_ms":1,"formed":true,"quorum_lost":false,"dissolved":false,"nodes":[]}"#;
        let mut board: Board = serde_json::from_str(older).unwrap();
        assert_eq!(board.strangers, []);
        assert_eq!(serde_json::to_string(&board).unwrap(), older);
        let stranger = r#"{"id":"a","name":"kitchen","state":"ready"}"#;
        board.strangers.push(serde_json::from_str(stranger).unwrap());
        assert!(serde_json::to_string(&board).unwrap().ends_with(&format!(r#""strangers":[{stranger}]}}"#)));
    }
}
