//! The board as the laptop sees it: the manager's plan and the cluster file's, and its JSON form.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use cluster::identity::{Holder, Role};
use cluster::name::Hostname;
use cluster::wire::{Board, BoardNode, Stage, Stranger};
use serde::Serialize;
use thiserror::Error;

use crate::error::{Failure, Kind};
use crate::project::Project;
use crate::remote::{Foreign, address};

/// A board, completed by nodes that only the cluster file knows.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::cli) struct View {
    pub(in crate::cli) board: Board,
    /// Nodes of the cluster file that the manager's card does not plan.
    pub(in crate::cli) unplanned: BTreeSet<Hostname>,
    /// The cluster file.
    pub(in crate::cli) file: PathBuf,
    /// Other clusters' machines that answered in the manager's place.
    pub(in crate::cli) foreign: Vec<Foreign>,
}

impl View {
    /// Nodes that the manager does not plan are shown, too, and without them nothing counts as formed.
    pub(in crate::cli) fn new(mut board: Board, project: &Project) -> Self {
        let known: BTreeSet<_> = board.nodes.iter().map(|node| node.name.clone()).collect();
        let mut unplanned = BTreeSet::new();
        for node in project.cluster.nodes.iter().filter(|node| !known.contains(&node.name)) {
            unplanned.insert(node.name.clone());
            let (name, role) = (node.name.clone(), node.role);
            board.nodes.push(BoardNode {
                name,
                role,
                report: None,
                last_heard_ms: None,
                swarm: None,
                dismissed: false,
            });
        }
        board.formed &= unplanned.is_empty();
        Self { board, unplanned, file: project.file.clone(), foreign: Vec::new() }
    }

    /// The same with those who answered in the manager's place on the way to it.
    pub(in crate::cli) fn met(self, foreign: &[Foreign]) -> Self {
        Self { foreign: foreign.to_vec(), ..self }
    }

    /// The same for some of the nodes, as if there were no others.
    pub(in crate::cli) fn only(mut self, chosen: &[Hostname]) -> Self {
        if self.board.nodes.iter().all(|node| chosen.contains(&node.name)) {
            return self;
        }
        self.board.nodes.retain(|node| chosen.contains(&node.name));
        self.unplanned.retain(|name| chosen.contains(name));
        self.board.formed = self.unplanned.is_empty() && self.board.nodes.iter().all(is_as_wanted);
        self
    }

    /// What is worth showing again: everything but what changes by itself.
    pub(super) fn essence(&self) -> Self {
        let mut essence = self.clone();
        essence.board.unix_ms = 0;
        for node in &mut essence.board.nodes {
            node.last_heard_ms = None;
            if let Some(report) = &mut node.report {
                report.facts.temperature_millicelsius = None;
                report.facts.memory_bytes = None;
                report.facts.disk_free_bytes = None;
                report.facts.uptime_ms = None;
            }
        }
        essence
    }

    /// The nodes that are ready, and how many there should be.
    pub(super) fn count(&self) -> (usize, usize) {
        let wanted = || self.board.nodes.iter().filter(|node| !node.dismissed);
        (wanted().filter(|node| is_ready(node)).count(), wanted().count())
    }

    /// The form for programs; its keys are documented and stay.
    pub(super) fn to_json(&self) -> Result<String, Failure> {
        crate::json::line(&self.json()).map_err(no_json)
    }

    /// As [`Self::to_json`], to become a part of another object.
    pub(super) fn to_value(&self) -> Result<serde_json::Value, Failure> {
        serde_json::to_value(self.json()).map_err(no_json)
    }

    fn json(&self) -> Json<'_> {
        Json {
            cluster: self.board.cluster.as_str(),
            formed: self.board.formed,
            quorum_lost: self.board.quorum_lost,
            dissolved: self.board.dissolved,
            nodes: self.board.nodes.iter().map(JsonNode::new).collect(),
            other_clusters: self.foreign.iter().map(JsonForeign::new).collect(),
            strangers: &self.board.strangers,
        }
    }
}

fn no_json(error: serde_json::Error) -> Failure {
    Failure::new(Kind::Failed, NoJson(error))
}

#[derive(Debug, Error)]
#[error("cannot make JSON of the status")]
struct NoJson(#[source] serde_json::Error);

/// Whether the manager's node list calls it ready.
pub(in crate::cli) fn is_ready(node: &BoardNode) -> bool {
    node.swarm.as_ref().is_some_and(|entry| entry.state == "ready")
}

/// Whether it says that it is out of the swarm because the operator said so.
pub(in crate::cli) fn has_left(node: &BoardNode) -> bool {
    node.report.as_ref().is_some_and(|report| report.left.is_some())
}

/// Whether it is ready, or is not to be there.
pub(in crate::cli) fn is_as_wanted(node: &BoardNode) -> bool {
    node.dismissed || is_ready(node)
}

#[derive(Serialize)]
struct Json<'a> {
    cluster: &'a str,
    formed: bool,
    quorum_lost: bool,
    dissolved: bool,
    nodes: Vec<JsonNode<'a>>,
    /// Machines of other clusters that answered in the manager's place.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    other_clusters: Vec<JsonForeign<'a>>,
    /// Entries of the manager's node list that belong to no planned node.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    strangers: &'a [Stranger],
}

#[derive(Serialize)]
struct JsonForeign<'a> {
    at: &'a str,
    cluster_id: &'a str,
    /// The node that its certificate names.
    name: Option<&'a str>,
}

impl<'a> JsonForeign<'a> {
    fn new(foreign: &'a Foreign) -> Self {
        let name = match &foreign.holder.holder {
            Holder::Node { name, .. } => Some(name.as_str()),
            Holder::Operator => None,
        };
        Self { at: &foreign.at, cluster_id: foreign.holder.cluster.as_str(), name }
    }
}

#[derive(Serialize)]
struct JsonNode<'a> {
    name: &'a str,
    role: Role,
    stage: Option<Stage>,
    /// Seconds.
    last_heard: Option<f64>,
    error: Option<&'a str>,
    address: Option<Ipv4Addr>,
    swarm: Option<JsonSwarm<'a>>,
    /// It left because the operator said so.
    left: bool,
    /// It is not to be in the swarm.
    removed: bool,
}

#[derive(Serialize)]
struct JsonSwarm<'a> {
    id: &'a str,
    state: &'a str,
    availability: &'a str,
    leader: bool,
    engine: Option<&'a str>,
}

impl<'a> JsonNode<'a> {
    fn new(node: &'a BoardNode) -> Self {
        let error = node.report.as_ref().and_then(|report| report.error.as_ref());
        Self {
            name: node.name.as_str(),
            role: node.role,
            stage: node.report.as_ref().map(|report| report.stage),
            last_heard: node.last_heard_ms.map(|millis| millis as f64 / 1000.0),
            error: error.map(|error| error.message.as_str()),
            address: address(node),
            swarm: node.swarm.as_ref().map(|entry| JsonSwarm {
                id: &entry.id,
                state: &entry.state,
                availability: &entry.availability,
                leader: entry.leader,
                engine: entry.engine.as_deref(),
            }),
            left: has_left(node),
            removed: node.dismissed,
        }
    }
}
