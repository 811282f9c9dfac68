//! `POST /v1/tokens/rotate`: makes every token that was ever given worthless. Members are not affected.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use cluster::identity::Holder;

use super::{Api, Peer, operator_only, problem};
use crate::agent::door;
use crate::agent::status::chain;

pub(super) async fn rotate(State(api): State<Arc<Api>>, Extension(peer): Extension<Peer>) -> Response {
    if peer.identity.holder != Holder::Operator {
        return operator_only();
    }
    match door::rotate(&api.pi.engine).await {
        Ok(()) => {
            tracing::info!("tokens rotated for the operator at {}", peer.address);
            StatusCode::NO_CONTENT.into_response()
        }
        Err(error) => problem(StatusCode::SERVICE_UNAVAILABLE, chain(&error)),
    }
}
