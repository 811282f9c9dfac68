//! `POST /v1/nodes/{name}/revoke`: a node's keys are refused from now on, its membership ends, and the tokens change.
//!
//! The order is: into memory and onto the disk what is wanted, then who is a member, then the tokens, then the node list. After
//! the first nothing is given to the keys' holder any more, and once the members are known what is left undone is done by the
//! manager's housekeeping. On a full disk the keys are refused all the same; the answer says so, because a restart before there
//! is room would forget it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use cluster::identity::Holder;
use cluster::wire::{Revoke, Revoked};
use tokio::time::{Instant, timeout_at};

use super::{Api, Members, Peer, operator_only, problem};
use crate::agent::door::{self, DoorError};
use crate::agent::status::chain;
use crate::engine::Node;
use crate::journal::Journal;

/// How long Docker has for all of it: less than the operator waits. Without a quorum one question takes twenty seconds.
const PATIENCE: Duration = Duration::from_secs(8);
/// Said of an engine that has had all of that.
const SILENT: &str = "Docker does not answer";
/// Keys that a node may have had, at most.
const KEYS: usize = 100;

pub(super) async fn post(
    State(api): State<Arc<Api>>,
    Extension(peer): Extension<Peer>,
    Path(name): Path<String>,
    body: Result<Json<Revoke>, JsonRejection>,
) -> Response {
    if peer.identity.holder != Holder::Operator {
        return operator_only();
    }
    let pi = &api.pi;
    let Some(planned) = pi.card.nodes.iter().find(|planned| planned.name.as_str() == name) else {
        return problem(StatusCode::NOT_FOUND, "no such node is planned in this cluster");
    };
    if planned.name == pi.card.node {
        return problem(StatusCode::CONFLICT, "a manager cannot revoke itself");
    }
    let Json(Revoke { keys }) = match body {
        Ok(body) => body,
        Err(rejection) => return problem(rejection.status(), rejection.body_text()),
    };
    if keys.is_empty() || keys.len() > KEYS || keys.contains(&peer.key) {
        return problem(StatusCode::UNPROCESSABLE_ENTITY, "these are not the keys of one node");
    }
    let until = Instant::now() + PATIENCE;
    let kept = pi.journal.enact(|journal| {
        journal.revoked.extend(keys);
        // Before there is a swarm there are no tokens.
        journal.rotations_wanted += u64::from(journal.has_swarm());
        // Its successor is the operator's wish, so the join window does not count for it.
        journal.joined.insert(planned.name.clone());
    });
    if let Err(error) = kept {
        tracing::warn!("the revocation of {name} is in memory only: {}", chain(&error));
    }
    let claimed = api.lock_reports().remove(&planned.name).and_then(|heard| heard.report.swarm_node);
    tracing::warn!("{name} was revoked by the operator at {}", peer.address);
    let nodes = match timeout_at(until, pi.engine.nodes()).await {
        Ok(answer) => answer.map_err(|error| chain(&error)),
        Err(_) => Err(SILENT.to_owned()),
    };
    // Before there is a swarm there is nobody to remove. Later the node list has to be seen once.
    if let Err(why) = &nodes
        && pi.journal.look(Journal::has_swarm)
    {
        let mut message =
            format!("{name} is refused from now on, but whether it is a member cannot be seen: {why}");
        if let Err(error) = pi.journal.flush() {
            message.push_str(&format!("; nor is it on the manager's disk: {}", chain(&error)));
        }
        return problem(StatusCode::SERVICE_UNAVAILABLE, message);
    }
    // What the node has proved, whatever its engine is called; and the name, if its agent cannot prove anything.
    let unproved =
        nodes.as_deref().ok().and_then(|nodes| unproved(&api.members(nodes), &name, claimed.as_deref()));
    let members =
        nodes.as_deref().map(|nodes| api.members(nodes).of(&planned.name).cloned().collect::<Vec<_>>());
    let members: Vec<_> = members.into_iter().flatten().map(|node| node.id).collect();
    // Whether all of it is on the disk is asked at the end.
    let _unsaved = pi.journal.enact(|journal| {
        journal.expelled.extend(members.iter().cloned());
        journal.entries.insert(planned.name.clone(), Vec::new());
    });
    let unfinished = match timeout_at(until, door::enforce(pi)).await {
        Ok(Err(DoorError::Journal(_))) | Ok(Ok(())) => None,
        Ok(Err(error)) => Some(chain(&error)),
        Err(_) => Some(SILENT.to_owned()),
    };
    let unsaved = pi.journal.flush().err().map(|error| chain(&error));
    // An older builder shows this field only.
    let on_disk = || unsaved.as_ref().map(|why| format!("it is not on the manager's disk: {why}"));
    let unfinished = unfinished.or_else(on_disk).or(unproved);
    Json(Revoked { members, unfinished, unsaved }).into_response()
}

/// A sentence about an entry that may be the revoked node's, although the node has not proved it: removing it is the operator's
/// choice.
fn unproved(members: &Members<'_>, name: &str, claimed: Option<&str>) -> Option<String> {
    let is_suspect =
        |node: &&Node| node.description.hostname == name || claimed.is_some_and(|claimed| node.id == claimed);
    let ids: Vec<_> = members.strangers().filter(is_suspect).map(|node| node.id.as_str()).collect();
    (!ids.is_empty()).then(|| {
        format!(
            "no node has proved the Swarm entries {}; if they are {name}'s, type: builder rm {}",
            ids.join(", "),
            ids.join(" ")
        )
    })
}
