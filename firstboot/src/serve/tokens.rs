//! `POST /v1/tokens/rotate`: makes every token that was ever given worthless. Members are not affected.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use cluster::identity::Holder;

use super::{Api, Peer, operator_only, problem};
use crate::agent::status::chain;
use crate::engine::Refusal;

/// Somebody else may change the swarm at the same time; hardly more often than this.
const TRIES: u32 = 5;

pub(super) async fn rotate(State(api): State<Arc<Api>>, Extension(peer): Extension<Peer>) -> Response {
    if peer.identity.holder != Holder::Operator {
        return operator_only();
    }
    let mut tries = 0;
    loop {
        tries += 1;
        match api.pi.engine.rotate_tokens().await {
            Ok(()) => {
                tracing::info!("tokens rotated for the operator at {}", peer.address);
                return StatusCode::NO_CONTENT.into_response();
            }
            Err(error) if error.refusal() == Some(Refusal::OutOfSequence) && tries < TRIES => {}
            Err(error) => return problem(StatusCode::SERVICE_UNAVAILABLE, chain(&error)),
        }
    }
}
