//! `GET /v1/orders`, `POST /v1/leave` and `POST /v1/up`: the operator ends the swarm and has it formed again. What an order
//! does here is done by whoever reads the journal: nodes hear of it with their next report, managers ask each other.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use cluster::identity::{Holder, Role};
use cluster::orders::{Order, Orders};

use super::{Api, Peer, problem};
use crate::agent::status::chain;
use crate::agent::{clock_now, life};

/// Why an order is not taken.
type Refusal = (StatusCode, String);

/// An order, or nothing.
pub(super) type Body = Result<Option<Json<Order>>, JsonRejection>;

pub(super) async fn get(State(api): State<Arc<Api>>, Extension(peer): Extension<Peer>) -> Response {
    match peer.identity.holder {
        Holder::Operator | Holder::Node { role: Role::Manager, .. } => {
            Json(api.pi.journal.look(|journal| journal.orders.clone())).into_response()
        }
        Holder::Node { .. } => problem(StatusCode::FORBIDDEN, "only managers and the operator may ask this"),
    }
}

pub(super) async fn leave(
    State(api): State<Arc<Api>>,
    Extension(peer): Extension<Peer>,
    body: Body,
) -> Response {
    let ends = |orders: &Orders| orders.is_dissolved().then_some(orders.killed);
    match give(&api, &peer, body, ends, |orders, number| orders.killed = number) {
        Ok(orders) => {
            tracing::warn!("the operator at {} dissolves the swarm", peer.address);
            (StatusCode::ACCEPTED, Json(orders)).into_response()
        }
        Err((status, why)) => problem(status, why),
    }
}

pub(super) async fn up(
    State(api): State<Arc<Api>>,
    Extension(peer): Extension<Peer>,
    body: Body,
) -> Response {
    let is_up = |orders: &Orders| {
        let nothing_to_do = !orders.is_dissolved() && orders.dismissed().next().is_none();
        nothing_to_do.then_some(orders.up)
    };
    match give(&api, &peer, body, is_up, |orders, number| orders.up = number) {
        Ok(orders) => {
            tracing::warn!("the operator at {} wants the swarm to be formed", peer.address);
            (StatusCode::ACCEPTED, Json(orders)).into_response()
        }
        Err((status, why)) => problem(status, why),
    }
}

/// Adds an order to those that are known; gives all of them. `standing` is the number of an order that has this effect
/// already: it stands for one without a number, and may be given again.
pub(super) fn give(
    api: &Api,
    peer: &Peer,
    body: Body,
    standing: impl FnOnce(&Orders) -> Option<u64>,
    set: impl FnOnce(&mut Orders, u64),
) -> Result<Orders, Refusal> {
    if peer.identity.holder != Holder::Operator {
        return Err((StatusCode::FORBIDDEN, "only the operator may ask this".to_owned()));
    }
    let order = match body {
        Ok(body) => body.map(|Json(order)| order).unwrap_or_default(),
        Err(rejection) => return Err((rejection.status(), rejection.body_text())),
    };
    let mut orders = api.pi.journal.look(|journal| journal.orders.clone());
    orders.merge(&order.known);
    let (newest, standing) = (orders.newest(), standing(&orders));
    match order.number {
        0 if standing.is_some() => {}
        0 => set(&mut orders, clock_now(&api.pi).max(newest.saturating_add(1))),
        number if number > newest => set(&mut orders, number),
        number if Some(number) == standing => {}
        _ => {
            return Err((StatusCode::CONFLICT, "a newer order than this one has been given".to_owned()));
        }
    }
    life::take(&api.pi, &orders).map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, chain(&error)))?;
    Ok(orders)
}
