//! `POST /v1/leave`: dissolves the swarm. Workers hear of it with their next report; the manager goes last.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use cluster::identity::Holder;

use super::{Api, Peer, operator_only, problem};
use crate::agent::status::chain;

pub(super) async fn post(State(api): State<Arc<Api>>, Extension(peer): Extension<Peer>) -> Response {
    if peer.identity.holder != Holder::Operator {
        return operator_only();
    }
    tracing::warn!("the operator at {} dissolves the swarm", peer.address);
    match api.pi.journal.settle(|journal| journal.dissolved = true) {
        Ok(()) => StatusCode::ACCEPTED.into_response(),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, chain(&error)),
    }
}
