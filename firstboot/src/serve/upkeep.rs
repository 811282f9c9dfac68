//! Small changes to one member: `/v1/nodes/{name or id}/availability`, `/labels`, and what is left to do for it, `/tasks`.
//!
//! A member is named by its planned name or by its Swarm id, a stranger by its host name or id. Each change reads the node list
//! anew, so that nothing is overwritten that somebody else has changed.

use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use cluster::card::Card;
use cluster::identity::Holder;
use cluster::label;
use cluster::name::Hostname;
use cluster::wire::{Labels, NodeTasks, SetAvailability, SetLabels};
use serde_json::{Value, json};

use super::swarm::{Denied, in_time};
use super::{Api, Members, Peer, operator_only, problem};
use crate::engine::work::Task;
use crate::engine::{Node, Refusal};

/// Somebody else may change the node at the same time, the housekeeping for one; hardly more often than this.
const TRIES: u32 = 5;

type Body<T> = Result<Json<T>, JsonRejection>;

/// The tasks that have not ended on a member.
pub(super) async fn tasks(
    State(api): State<Arc<Api>>,
    Extension(peer): Extension<Peer>,
    Path(name): Path<String>,
) -> Response {
    if peer.identity.holder != Holder::Operator {
        return operator_only();
    }
    let tasks = async {
        let nodes = in_time(&api, api.pi.engine.nodes()).await?;
        let node = find(&api.members(&nodes), &name)?;
        let tasks = in_time(&api, api.pi.engine.tasks_of(&node.id)).await?;
        let alive = tasks.iter().filter(|task| task.node_id == node.id && Task::is_alive(task)).count();
        Ok(NodeTasks { swarm: node.to_entry(), running: u64::try_from(alive).unwrap_or(u64::MAX) })
    };
    match tasks.await {
        Ok(tasks) => Json(tasks).into_response(),
        Err((status, why)) => problem(status, why),
    }
}

/// Has a member take tasks, or none.
pub(super) async fn availability(
    State(api): State<Arc<Api>>,
    Extension(peer): Extension<Peer>,
    Path(name): Path<String>,
    body: Body<SetAvailability>,
) -> Response {
    if peer.identity.holder != Holder::Operator {
        return operator_only();
    }
    let Json(SetAvailability { availability }) = match body {
        Ok(body) => body,
        Err(rejection) => return problem(rejection.status(), rejection.body_text()),
    };
    let changed = change(&api, &name, |node, _| {
        let wanted = json!(availability.as_str());
        Ok((node.read_spec().availability != availability.as_str()).then_some(("Availability", wanted)))
    });
    match changed.await {
        Ok(node) => {
            let name = &node.description.hostname;
            tracing::info!("{name} was made {} for the operator at {}", availability.as_str(), peer.address);
            Json(node.to_entry()).into_response()
        }
        Err((status, why)) => problem(status, why),
    }
}

/// Changes a member's labels, those of the cluster file excepted.
pub(super) async fn labels(
    State(api): State<Arc<Api>>,
    Extension(peer): Extension<Peer>,
    Path(name): Path<String>,
    body: Body<SetLabels>,
) -> Response {
    if peer.identity.holder != Holder::Operator {
        return operator_only();
    }
    let Json(wanted) = match body {
        Ok(body) => body,
        Err(rejection) => return problem(rejection.status(), rejection.body_text()),
    };
    if let Err(why) = check(&wanted) {
        return problem(StatusCode::UNPROCESSABLE_ENTITY, why);
    }
    let changed = change(&api, &name, |node, owner| {
        if let Some(label) = owner.and_then(|owner| planned_otherwise(&api.pi.card, owner, &wanted)) {
            let name = &node.description.hostname;
            let why = format!(
                "the cluster file plans the label {label} of {name}, and the managers would put it back: change it there"
            );
            return Err((StatusCode::CONFLICT, why));
        }
        let before = node.read_spec().labels;
        let mut labels = before.clone();
        labels.extend(wanted.set.clone());
        labels.retain(|label, _| !wanted.unset.contains(label));
        Ok((labels != before).then(|| ("Labels", json!(labels))))
    });
    match changed.await {
        Ok(node) => {
            let name = &node.description.hostname;
            tracing::info!("labels of {name} were changed for the operator at {}", peer.address);
            Json(Labels { labels: node.read_spec().labels, id: node.id }).into_response()
        }
        Err((status, why)) => problem(status, why),
    }
}

/// The member that is meant: an id, a planned node, or what a stranger calls itself.
fn find(members: &Members<'_>, name: &str) -> Result<Node, Denied> {
    if let Some((node, _)) = members.iter().find(|(node, _)| node.id == name) {
        return Ok(node.clone());
    }
    let mut named: Vec<_> = members
        .iter()
        .filter(|(_, owner)| owner.is_some_and(|owner| owner.as_str() == name))
        .map(|(node, _)| node)
        .collect();
    if named.is_empty() {
        named.extend(members.strangers().filter(|node| node.description.hostname == name));
    }
    match named[..] {
        [] => Err((StatusCode::NOT_FOUND, "no such node is in the swarm".to_owned())),
        [node] => Ok(node.clone()),
        _ => {
            let ids = named.iter().map(|node| format!("{} ({})", node.id, node.status.state));
            let ids = ids.collect::<Vec<_>>().join(", ");
            let why =
                format!("the swarm has {} entries of this name; name one by its id: {ids}", named.len());
            Err((StatusCode::CONFLICT, why))
        }
    }
}

/// Replaces one field of a member's specification, which `wanted` computes from the member as it is; `None` if all is
/// well. Gives the member as it is then.
async fn change(
    api: &Api,
    name: &str,
    wanted: impl Fn(&Node, Option<&Hostname>) -> Result<Option<(&'static str, Value)>, Denied>,
) -> Result<Node, Denied> {
    let engine = &api.pi.engine;
    let mut tries = 0;
    loop {
        tries += 1;
        let nodes = in_time(api, engine.nodes()).await?;
        let members = api.members(&nodes);
        let mut node = find(&members, name)?;
        let Some((field, value)) = wanted(&node, members.owner(&node.id))? else { return Ok(node) };
        if let Some(fields) = node.spec.as_object_mut() {
            fields.insert(field.to_owned(), value);
        }
        let update = async {
            match engine.update_node(&node.id, node.version.index, &node.spec).await {
                Err(error) if error.refusal() == Some(Refusal::OutOfSequence) && tries < TRIES => Ok(false),
                result => result.map(|()| true),
            }
        };
        if in_time(api, update).await? {
            return Ok(node);
        }
    }
}

fn check(wanted: &SetLabels) -> Result<(), String> {
    let SetLabels { set, unset } = wanted;
    if set.len() > label::COUNT_LIMIT || unset.len() > label::COUNT_LIMIT {
        return Err(format!("at most {} labels are changed at once", label::COUNT_LIMIT));
    }
    // What is wrong is not quoted: it may be long, or paint on a terminal.
    for (name, value) in set {
        label::check_name(name)
            .and_then(|()| label::check_value(value))
            .map_err(|why| format!("a label {why}"))?;
    }
    for name in unset {
        label::check_name(name).map_err(|why| format!("a label {why}"))?;
    }
    if unset.iter().any(|name| set.contains_key(name)) {
        return Err("a label is to be set and to be taken away".to_owned());
    }
    Ok(())
}

/// A label that the plan has otherwise than is wanted.
fn planned_otherwise<'a>(card: &'a Card, owner: &Hostname, wanted: &SetLabels) -> Option<&'a str> {
    let planned = card.nodes.iter().find(|planned| planned.name == *owner)?;
    let differs = |(label, value): &(&String, &String)| {
        wanted.unset.contains(*label) || wanted.set.get(*label).is_some_and(|wanted| wanted != *value)
    };
    planned.labels.iter().find(differs).map(|(label, _)| label.as_str())
}
