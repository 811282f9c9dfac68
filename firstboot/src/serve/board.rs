//! `GET /v1/cluster`: what every planned node is doing, from its reports and the managers' node list.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use cluster::card::Planned;
use cluster::identity::Holder;
use cluster::name::Hostname;
use cluster::wire::{Board, BoardNode, Report, SwarmEntry};
use tokio::sync::Mutex;

use super::reports::Heard;
use super::{Api, Peer, operator_only};
use crate::agent::clock_now;
use crate::engine::{Engine, Node};

/// How old the node list may be: all nodes' reports of a moment share one look.
const FRESH: Duration = Duration::from_millis(300);

/// The node list, read at most a few times a second.
#[derive(Debug, Default)]
pub(super) struct NodeList {
    last: Mutex<Option<(Instant, Arc<Vec<Node>>)>>,
}

impl NodeList {
    /// The list; empty while there is no swarm.
    pub(super) async fn read(&self, engine: &Engine) -> Arc<Vec<Node>> {
        let mut last = self.last.lock().await;
        if let Some((at, nodes)) = last.as_ref()
            && at.elapsed() < FRESH
        {
            return Arc::clone(nodes);
        }
        let nodes = Arc::new(engine.nodes().await.unwrap_or_default());
        *last = Some((Instant::now(), Arc::clone(&nodes)));
        nodes
    }
}

pub(super) async fn get(State(api): State<Arc<Api>>, Extension(peer): Extension<Peer>) -> Response {
    if peer.identity.holder != Holder::Operator {
        return operator_only();
    }
    let board = api.board().await;
    // The operator has seen this node's own state.
    api.pi.status.tell();
    Json(board).into_response()
}

pub(super) async fn board(api: &Api) -> Board {
    let nodes = api.nodes.read(&api.pi.engine).await;
    let mut heard = api.lock_reports().clone();
    // The manager's own report needs no network.
    let own = Heard { report: api.pi.report(), at: Instant::now() };
    heard.insert(api.pi.card.node.clone(), own);
    let rows =
        api.pi.card.nodes.iter().map(|planned| (row(planned, heard.remove(&planned.name), &nodes), planned));
    let (rows, members): (Vec<_>, Vec<_>) = rows
        .map(|(row, planned)| {
            let member = is_member(&planned.name, row.report.as_ref(), &nodes);
            (row, member)
        })
        .unzip();
    Board {
        cluster: api.pi.card.cluster.clone(),
        cluster_id: api.pi.card.cluster_id.clone(),
        unix_ms: clock_now(&api.pi),
        formed: members.into_iter().all(|member| member),
        nodes: rows,
    }
}

fn row(planned: &Planned, heard: Option<Heard>, nodes: &[Node]) -> BoardNode {
    let own_id = heard.as_ref().and_then(|heard| heard.report.swarm_node.as_deref());
    let swarm = best(&planned.name, own_id, nodes).map(Node::to_entry);
    let last_heard_ms =
        heard.as_ref().map(|heard| u64::try_from(heard.at.elapsed().as_millis()).unwrap_or(u64::MAX));
    BoardNode {
        name: planned.name.clone(),
        role: planned.role,
        report: heard.map(|heard| heard.report),
        last_heard_ms,
        swarm,
    }
}

/// The node's own entry; else one that is ready; else any.
fn best<'a>(name: &Hostname, own_id: Option<&str>, nodes: &'a [Node]) -> Option<&'a Node> {
    let named = || nodes.iter().filter(|node| node.description.hostname == name.as_str());
    named()
        .find(|node| Some(node.id.as_str()) == own_id)
        .or_else(|| named().find(|node| node.is_ready()))
        .or_else(|| named().next())
}

/// Whether the node is in the list exactly once, ready, and as the one it says it is.
fn is_member(name: &Hostname, report: Option<&Report>, nodes: &[Node]) -> bool {
    let mut named = nodes.iter().filter(|node| node.description.hostname == name.as_str());
    let (Some(node), None) = (named.next(), named.next()) else { return false };
    let own_id = report.and_then(|report| report.swarm_node.as_deref());
    node.is_ready() && own_id.is_none_or(|id| id == node.id)
}

impl Api {
    /// A node's entry in the managers' list.
    pub(super) async fn entry(&self, name: &Hostname, own_id: Option<&str>) -> Option<SwarmEntry> {
        let nodes = self.nodes.read(&self.pi.engine).await;
        best(name, own_id, &nodes).map(Node::to_entry)
    }
}

#[cfg(test)]
mod tests {
    use cluster::wire::{Facts, Stage};
    use serde_json::json;

    use super::*;

    fn node(id: &str, state: &str) -> Node {
        let json = json!({"ID": id, "Description": {"Hostname": "red01"}, "Status": {"State": state}});
        serde_json::from_value(json).unwrap()
    }

    fn report(id: Option<&str>) -> Report {
        Report {
            stage: Stage::Ready,
            word: String::new(),
            error: None,
            address: None,
            swarm_node: id.map(str::to_owned),
            facts: Facts::default(),
            marks: Vec::new(),
            seed_problems: Vec::new(),
        }
    }

    #[test]
    fn a_node_counts_only_once_ready_and_as_itself() {
        let name = Hostname::try_from("red01").unwrap();
        let member = |nodes: &[Node], id: Option<&str>| is_member(&name, Some(&report(id)), nodes);
        assert!(member(&[node("a", "ready")], Some("a")));
        assert!(member(&[node("a", "ready")], None));
        assert!(!member(&[node("a", "ready")], Some("b")), "another machine under its name");
        assert!(!member(&[node("a", "ready"), node("b", "down")], Some("a")), "twice");
        assert!(!member(&[node("a", "down")], Some("a")));
        assert!(!member(&[], Some("a")));
    }

    #[test]
    fn a_re_flashed_node_is_shown_by_its_new_entry() {
        let name = Hostname::try_from("red01").unwrap();
        let nodes = [node("old", "down"), node("new", "ready")];
        assert_eq!(best(&name, None, &nodes).unwrap().id, "new");
        assert_eq!(best(&name, Some("old"), &nodes).unwrap().id, "old");
    }
}
