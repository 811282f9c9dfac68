//! `POST /v1/token`: a join token for the operator, who joins a machine by hand with it. `POST /v1/tokens/rotate`: makes
//! every token that was ever given worthless; members are not affected.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use cluster::identity::{Holder, Role};
use cluster::wire::{JoinReply, TokenFor};

use super::swarm::in_time;
use super::{Api, Peer, join, operator_only, problem};
use crate::agent::door;
use crate::agent::status::chain;
use crate::journal::Progress;

/// POST, so that the token is in no cache on the way.
pub(super) async fn give(
    State(api): State<Arc<Api>>,
    Extension(peer): Extension<Peer>,
    body: Result<Json<TokenFor>, JsonRejection>,
) -> Response {
    if peer.identity.holder != Holder::Operator {
        return operator_only();
    }
    let Json(TokenFor { role }) = match body {
        Ok(body) => body,
        Err(rejection) => return problem(rejection.status(), rejection.body_text()),
    };
    let engine = &api.pi.engine;
    let given = async {
        let (orders, init) = api.pi.journal.look(|journal| (journal.orders.clone(), journal.init));
        if orders.is_dissolved() {
            return Err((StatusCode::CONFLICT, "the operator has dissolved this swarm".to_owned()));
        }
        // The tokens are about to change.
        if init == Progress::Started {
            return Err((StatusCode::SERVICE_UNAVAILABLE, "the swarm is only being started".to_owned()));
        }
        let (swarm, nodes) =
            in_time(&api, async { tokio::try_join!(engine.swarm(), engine.nodes()) }).await?;
        let token = match role {
            Role::Worker => swarm.join_tokens.worker,
            Role::Manager => swarm.join_tokens.manager,
        };
        let own = api.pi.status.report();
        let managers = join::managers(own.address, own.swarm_node.as_deref(), &nodes);
        Ok(JoinReply { token, managers, up: orders.up })
    };
    match given.await {
        Ok(reply) => {
            tracing::info!("the operator at {} gets the {} token", peer.address, role.as_str());
            Json(reply).into_response()
        }
        Err((status, why)) => problem(status, why),
    }
}

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
