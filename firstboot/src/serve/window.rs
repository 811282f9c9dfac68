//! `POST /v1/window`: the operator opens the join window again, for as long as it was open in the beginning.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use cluster::identity::Holder;
use cluster::wire::JoinWindow;

use super::{Api, Peer, operator_only, problem};
use crate::agent::door;
use crate::agent::status::chain;

pub(super) async fn post(State(api): State<Arc<Api>>, Extension(peer): Extension<Peer>) -> Response {
    if peer.identity.holder != Holder::Operator {
        return operator_only();
    }
    // What admits somebody is on the disk first.
    if let Err(error) = door::reopen_window(&api.pi) {
        return problem(StatusCode::INTERNAL_SERVER_ERROR, chain(&error));
    }
    tracing::warn!("the operator at {} opened the join window again", peer.address);
    Json(JoinWindow { seconds: api.pi.card.swarm.join_window_seconds }).into_response()
}
