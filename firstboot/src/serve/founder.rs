//! `POST /v1/founder`: this manager's vote on which of them starts the swarm.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use cluster::identity::{Holder, Role};
use cluster::wire::{Ballot, Stage};

use super::{Api, Peer, problem};
use crate::agent::status::chain;
use crate::engine::LocalState;
use crate::steps::swarm::vote;

pub(super) async fn post(
    State(api): State<Arc<Api>>,
    Extension(peer): Extension<Peer>,
    body: Result<Json<Ballot>, JsonRejection>,
) -> Response {
    if !matches!(peer.identity.holder, Holder::Node { role: Role::Manager, .. }) {
        return problem(StatusCode::FORBIDDEN, "only managers agree on who starts the swarm");
    }
    let Json(ballot) = match body {
        Ok(body) => body,
        Err(rejection) => return problem(rejection.status(), rejection.body_text()),
    };
    if !ballot.founder.iter().all(|name| api.pi.card.managers().any(|manager| manager.name == *name)) {
        return problem(StatusCode::BAD_REQUEST, "the founder has to be a planned manager");
    }
    let member = match api.pi.engine.info().await {
        Ok(info) => info.swarm.local_node_state != LocalState::Inactive,
        // Not installed yet, or starting with the swarm it was in.
        Err(_) => {
            let journal = api.pi.journal.get();
            !journal.has_left(&api.pi.card.node)
                && journal.marks.iter().any(|mark| mark.stage == Stage::Swarm)
        }
    };
    match vote(&api.pi, &ballot, member) {
        Ok(Some(vote)) => Json(vote).into_response(),
        Ok(None) => problem(StatusCode::CONFLICT, "this manager follows other orders just now"),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, chain(&error)),
    }
}
