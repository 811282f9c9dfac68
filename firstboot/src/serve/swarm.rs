//! `GET /v1/swarm`: what the managers' node list says of every member, what the agents say of theirs, and what runs.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use cluster::card::Card;
use cluster::identity::{Holder, Role};
use cluster::name::Hostname;
use cluster::wire::{DetailNode, Report, SwarmDetail};

use super::{Api, Members, Peer, board, operator_only, problem};
use crate::agent::status::chain;
use crate::engine::work::{Service, Task};
use crate::engine::{EngineError, Node, Refusal};

/// How long the engine has for an answer: less than the operator waits. One without a quorum takes twenty seconds.
const PATIENCE: Duration = Duration::from_secs(6);

/// Why a request is not granted: the status, and a sentence for the operator.
pub(super) type Denied = (StatusCode, String);

type Heard = HashMap<Hostname, (Report, Instant)>;

pub(super) async fn get(State(api): State<Arc<Api>>, Extension(peer): Extension<Peer>) -> Response {
    if peer.identity.holder != Holder::Operator {
        return operator_only();
    }
    let engine = &api.pi.engine;
    let lists = async { tokio::try_join!(engine.nodes(), engine.services(), engine.tasks()) };
    let lists = in_time(&api, lists);
    let (lists, heard) = tokio::join!(lists, board::heard_by_all(&api));
    match lists {
        Ok((nodes, services, tasks)) => {
            let members = api.members(&nodes);
            Json(detail(&api.pi.card, &members, &services, &tasks, heard)).into_response()
        }
        Err((status, why)) => problem(status, why),
    }
}

/// Waits for the engine, not for ever; what it refuses becomes an answer that says why the swarm cannot be managed.
pub(super) async fn in_time<T>(
    api: &Api,
    call: impl Future<Output = Result<T, EngineError>>,
) -> Result<T, Denied> {
    let error = match tokio::time::timeout(PATIENCE, call).await {
        Ok(Ok(done)) => return Ok(done),
        Ok(Err(error)) => Some(error),
        Err(_) => None,
    };
    Err((StatusCode::SERVICE_UNAVAILABLE, why(api, error).await))
}

/// Why the swarm cannot be managed from here, for the operator.
async fn why(api: &Api, error: Option<EngineError>) -> String {
    let dissolved = api.pi.journal.look(|journal| journal.orders.is_dissolved());
    match error.as_ref().and_then(EngineError::refusal) {
        _ if dissolved => "the operator has dissolved this swarm".to_owned(),
        Some(Refusal::NotManager | Refusal::NotMember) => {
            format!("{} is in no swarm yet", api.pi.card.node)
        }
        Some(Refusal::NoQuorum) => NO_QUORUM.to_owned(),
        _ if board::is_without_quorum(api).await => NO_QUORUM.to_owned(),
        _ => error.map_or_else(|| "Docker does not answer".to_owned(), |error| chain(&error)),
    }
}

const NO_QUORUM: &str = "too few managers can be reached: more than half of them have to be on";

fn detail(
    card: &Card,
    members: &Members<'_>,
    services: &[Service],
    tasks: &[Task],
    mut heard: Heard,
) -> SwarmDetail {
    let mut running: HashMap<&str, Vec<String>> = HashMap::new();
    for task in tasks.iter().filter(|task| task.is_running()) {
        running.entry(&task.node_id).or_default().push(task.name(services));
    }
    let mut rows = Vec::new();
    for planned in &card.nodes {
        let heard = heard.remove(&planned.name);
        let own_id = heard.as_ref().and_then(|(report, _)| report.swarm_node.as_deref());
        // What the agent says is said of one entry, should there be several.
        let best = board::best(&planned.name, own_id, members);
        for node in members.of(&planned.name) {
            let said = heard.as_ref().filter(|_| best.is_some_and(|best| best.id == node.id));
            // An engine may call itself otherwise.
            let row = DetailNode { name: planned.name.to_string(), ..row(node, true) };
            rows.push(with_report(row, said));
        }
        if best.is_none() {
            let absent = DetailNode { role: planned.role, ..absent(planned.name.as_str()) };
            rows.push(with_report(absent, heard.as_ref()));
        }
    }
    let mut strangers: Vec<_> = members.strangers().collect();
    strangers.sort_by_key(|node| (&node.description.hostname, &node.id));
    rows.extend(strangers.into_iter().map(|node| row(node, false)));
    for row in &mut rows {
        let id = row.swarm.as_ref().map_or("", |entry| &entry.id);
        row.tasks = running.remove(id).unwrap_or_default();
        row.tasks.sort();
    }
    let mut services: Vec<_> = services.iter().map(Service::to_detail).collect();
    services.sort_by(|one, other| one.name.cmp(&other.name));
    SwarmDetail { cluster: card.cluster.clone(), nodes: rows, services }
}

/// A planned node of which nothing is known.
fn absent(name: &str) -> DetailNode {
    DetailNode {
        name: name.to_owned(),
        role: Role::Worker,
        planned: true,
        swarm: None,
        address: None,
        os: None,
        architecture: None,
        nano_cpus: None,
        memory_bytes: None,
        labels: BTreeMap::new(),
        tasks: Vec::new(),
        model: None,
        temperature_millicelsius: None,
        uptime_ms: None,
        last_heard_ms: None,
    }
}

/// A member as the node list has it.
fn row(node: &Node, planned: bool) -> DetailNode {
    let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let number = |number: u64| Some(number).filter(|number| *number != 0);
    let description = &node.description;
    let entry = node.to_entry();
    DetailNode {
        role: if node.manager_status.is_some() { Role::Manager } else { Role::Worker },
        planned,
        address: entry.address.as_ref().and_then(|address| address.parse().ok()),
        swarm: Some(entry),
        os: text(&description.platform.os),
        architecture: text(&description.platform.architecture),
        nano_cpus: number(description.resources.nano_cpus),
        memory_bytes: number(description.resources.memory_bytes),
        labels: node.read_spec().labels,
        ..absent(&description.hostname)
    }
}

/// Adds what only the node's agent knows.
fn with_report(row: DetailNode, heard: Option<&(Report, Instant)>) -> DetailNode {
    let Some((report, at)) = heard else { return row };
    let facts = &report.facts;
    DetailNode {
        address: report.address.or(row.address),
        memory_bytes: row.memory_bytes.or(facts.memory_bytes),
        model: facts.model.clone(),
        temperature_millicelsius: facts.temperature_millicelsius,
        uptime_ms: facts.uptime_ms,
        last_heard_ms: Some(u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX)),
        ..row
    }
}
