//! The few fields of the engine's answers that are used.

use std::collections::BTreeMap;

use cluster::identity::Role;
use cluster::secret::Secret;
use cluster::text;
use cluster::wire::SwarmEntry;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::Refusal;
use crate::agent::status::without_tokens;

/// `GET /version`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Version {
    /// Such as `29.10.0`.
    pub version: String,
}

/// `GET /info`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Info {
    /// The swarm as this engine sees it.
    pub swarm: SwarmInfo,
    /// Where the engine keeps its data.
    pub docker_root_dir: String,
}

/// This engine's part in a swarm.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SwarmInfo {
    /// This node's id; empty outside a swarm.
    #[serde(rename = "NodeID")]
    pub node_id: String,
    /// The address this node advertises.
    pub node_addr: String,
    /// What it is in.
    pub local_node_state: LocalState,
    /// Whether this is a manager that works.
    pub control_available: bool,
    /// Why the state is `error`.
    #[serde(deserialize_with = "clean")]
    pub error: String,
    /// The managers this node knows.
    #[serde(deserialize_with = "null_is_empty")]
    pub remote_managers: Vec<Peer>,
    /// How many managers the swarm has; zero on a worker.
    pub managers: Option<u64>,
}

impl SwarmInfo {
    /// Whether this manager knows that nobody leads the managers. For 13 s and more it serves the last node list all the
    /// same, with everybody ready (20.10.24, 26.1.5, 28.5.2).
    pub fn is_leaderless(&self) -> bool {
        Refusal::classify(500, &self.error) == Refusal::NoQuorum
    }
}

/// The engine's words, without tokens that it may quote.
fn clean<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    String::deserialize(input).map(|text| without_tokens(&text))
}

/// What another member says of itself, such as its host name. Swarm passes it on as it is. Harmful characters are replaced, not
/// left out: the name of a stranger must not become that of a planned node.
fn printable<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    String::deserialize(input).map(|text| text::printable(&text))
}

/// A manager as another node knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Peer {
    /// Address and port.
    pub addr: String,
}

/// A node's own state. `Active` on a worker does not mean that the manager knows of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LocalState {
    /// In no swarm.
    #[default]
    Inactive,
    /// The engine keeps trying to join.
    Pending,
    /// In a swarm.
    Active,
    /// In a swarm that does not work.
    Error,
    /// In a swarm that a human has to unlock.
    Locked,
    /// A word this agent does not know.
    #[serde(other)]
    Other,
}

/// The version of an object, for changing it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ObjectVersion {
    /// Counts changes.
    pub index: u64,
}

/// `GET /swarm`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Swarm {
    /// For changing it.
    #[serde(default)]
    pub version: ObjectVersion,
    /// Handed back whole on a change.
    #[serde(default)]
    pub spec: Value,
    /// Whether nodes are still getting certificates of a new root.
    #[serde(default)]
    pub root_rotation_in_progress: bool,
    /// What admits new nodes.
    pub join_tokens: JoinTokens,
    /// Whose certificates its nodes have.
    #[serde(default, rename = "TLSInfo")]
    pub tls_info: TlsInfo,
}

/// Whose certificates a swarm's nodes have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TlsInfo {
    /// The root in PEM; several while it changes.
    pub trust_root: String,
}

impl Swarm {
    /// How many times a new root was asked for.
    pub fn root_rotations(&self) -> u64 {
        self.spec.pointer("/CAConfig/ForceRotate").and_then(Value::as_u64).unwrap_or_default()
    }
}

/// What admits new nodes.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct JoinTokens {
    /// Admits workers.
    pub worker: Secret<String>,
    /// Admits managers.
    pub manager: Secret<String>,
}

/// One entry of `GET /nodes`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Node {
    /// The only safe name: host names may be there twice.
    #[serde(rename = "ID")]
    pub id: String,
    /// For changing it.
    pub version: ObjectVersion,
    /// Handed back whole on a change.
    pub spec: Value,
    /// What the node said of itself.
    pub description: Description,
    /// What the managers see.
    pub status: Status,
    /// For managers only.
    pub manager_status: Option<ManagerStatus>,
}

/// What a node said of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Description {
    /// Its host name.
    #[serde(deserialize_with = "printable")]
    pub hostname: String,
    /// Its engine.
    pub engine: EngineDescription,
    /// What it runs on.
    pub platform: Platform,
    /// What it has for tasks.
    pub resources: Resources,
}

/// What a node runs on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Platform {
    /// Such as `aarch64`.
    #[serde(deserialize_with = "printable")]
    pub architecture: String,
    /// Such as `linux`.
    #[serde(rename = "OS", deserialize_with = "printable")]
    pub os: String,
}

/// What a node has for tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Resources {
    /// Thousand-millionths of a processor.
    #[serde(rename = "NanoCPUs")]
    pub nano_cpus: u64,
    /// Bytes.
    pub memory_bytes: u64,
}

/// A node's engine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct EngineDescription {
    /// Its version.
    #[serde(deserialize_with = "printable")]
    pub engine_version: String,
}

/// What the managers see of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Status {
    /// `ready`, `down`, `unknown` or `disconnected`.
    pub state: String,
    /// The address it connects from.
    #[serde(deserialize_with = "printable")]
    pub addr: String,
}

/// A manager among managers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ManagerStatus {
    /// Whether it leads.
    pub leader: bool,
    /// `reachable`, `unreachable` or `unknown`.
    pub reachability: String,
    /// Address and port.
    pub addr: String,
}

/// The parts of a node's specification that are read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NodeSpec {
    /// `active`, `pause` or `drain`.
    pub availability: String,
    /// Labels.
    #[serde(deserialize_with = "null_is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl Node {
    /// Whether the managers see it at work.
    pub fn is_ready(&self) -> bool {
        self.status.state == "ready"
    }

    /// Whether the managers have given it up.
    pub fn is_down(&self) -> bool {
        self.status.state == "down"
    }

    /// Whether it does what was planned for it.
    pub fn has_role(&self, role: Role) -> bool {
        match &self.manager_status {
            Some(manager) => role == Role::Manager && manager.reachability == "reachable",
            None => role == Role::Worker,
        }
    }

    /// The parts of the specification that are read.
    pub fn read_spec(&self) -> NodeSpec {
        serde_json::from_value(self.spec.clone()).unwrap_or_default()
    }

    /// The entry as it travels.
    pub fn to_entry(&self) -> SwarmEntry {
        let manager = self.manager_status.as_ref();
        // A manager sees itself at 0.0.0.0.
        let address = match manager.and_then(|manager| manager.addr.rsplit_once(':')) {
            Some((address, _)) if self.status.addr.is_empty() || self.status.addr == "0.0.0.0" => address,
            _ => &self.status.addr,
        };
        SwarmEntry {
            id: self.id.clone(),
            state: self.status.state.clone(),
            availability: self.read_spec().availability,
            leader: manager.is_some_and(|manager| manager.leader),
            reachability: manager.map(|manager| manager.reachability.clone()),
            engine: some(&self.description.engine.engine_version),
            address: some(address),
        }
    }
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// Go writes an empty list or map as `null`.
pub(super) fn null_is_empty<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(
    from: D,
) -> Result<T, D::Error> {
    Option::<T>::deserialize(from).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_an_engine_outside_a_swarm_and_words_it_does_not_know() {
        let info: Info = serde_json::from_str(
            r#"{"ID":"x","Swarm":{"NodeID":"","NodeAddr":"","LocalNodeState":"inactive","ControlAvailable":false,"Error":"","RemoteManagers":null}}"#,
        )
        .unwrap();
        assert_eq!(info.swarm.local_node_state, LocalState::Inactive);
        let info: Info = serde_json::from_str(r#"{"Swarm":{"LocalNodeState":"dreaming"}}"#).unwrap();
        assert_eq!(info.swarm.local_node_state, LocalState::Other);
    }

    #[test]
    fn a_manager_that_sees_itself_at_no_address_shows_the_advertised_one() {
        let node: Node = serde_json::from_str(
            r#"{"ID":"a","Version":{"Index":9},"Spec":{"Labels":null,"Role":"manager","Availability":"drain"},
               "Description":{"Hostname":"red00","Engine":{"EngineVersion":"26.1.5"}},"Status":{"State":"ready","Addr":"0.0.0.0"},
               "ManagerStatus":{"Leader":true,"Reachability":"reachable","Addr":"10.77.0.10:2377"}}"#,
        )
        .unwrap();
        let entry = node.to_entry();
        assert_eq!(entry.address.as_deref(), Some("10.77.0.10"));
        assert!(entry.leader && entry.availability == "drain" && node.is_ready());
    }

    #[test]
    fn names_of_members_are_harmless_and_stay_strange() {
        let json = serde_json::json!({"ID": "a", "Status": {"State": "ready", "Addr": "10.0.0.2\u{85}"}, "Description": {
            "Hostname": "red\u{9b}01\u{202e}", "Engine": {"EngineVersion": "26\u{1b}[2J"},
            "Platform": {"Architecture": "\u{2066}", "OS": "\u{7f}"}}});
        let node: Node = serde_json::from_value(json).unwrap();
        assert_eq!(node.description.hostname, "red\u{fffd}01\u{fffd}");
        let Description { engine, platform, .. } = &node.description;
        for said in [&engine.engine_version, &platform.architecture, &platform.os, &node.status.addr] {
            assert!(said.contains('\u{fffd}') && !said.contains(text::is_harmful), "{said:?}");
        }
    }

    #[test]
    fn tokens_do_not_reach_debug_output() {
        let swarm: Swarm = serde_json::from_str(
            r#"{"Version":{"Index":1},"Spec":{},"JoinTokens":{"Worker":"SWMTKN-1-w","Manager":"SWMTKN-1-m"}}"#,
        )
        .unwrap();
        assert!(!format!("{swarm:?}").contains("SWMTKN"));
    }
}
