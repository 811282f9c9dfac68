//! The manager's API: TLS 1.3 with client certificates of the cluster's CA, one port, small bounded requests.
//!
//! Order of checks: handshake (nobody without a certificate gets to speak HTTP), the rate per key, the certificate's
//! name against the cluster and the plan, its key against those revoked, and only then the request. No token is written
//! anywhere.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Extension, Json, Router};
use cluster::card::Card;
use cluster::identity::{Holder, Identity};
use cluster::name::{Hostname, KeyId};
use cluster::wire::{BODY_LIMIT, Board, Problem, ProblemCode};

use crate::agent::Pi;
use crate::tally::Tally;

mod board;
mod connection;
mod founder;
mod history;
mod join;
mod members;
mod orders;
mod rate;
mod remove;
mod reports;
mod revoke;
mod share;
mod swarm;
mod tokens;
mod twins;
mod upkeep;
mod window;

pub(crate) use board::Whereabouts;
pub use connection::Server;
pub(crate) use members::Members;

/// What the handlers share.
#[derive(Debug)]
pub struct Api {
    pi: Arc<Pi>,
    reports: Mutex<HashMap<Hostname, reports::Heard>>,
    nodes: board::NodeList,
    /// The manager that was let in last, and when: the next has to wait until it is one.
    entering: Mutex<Option<(Hostname, Instant)>>,
    /// Whether each node's agent can prove its Swarm id, by its last report to any manager.
    agents: Mutex<HashMap<Hostname, bool>>,
    /// What each node that has to prove its Swarm id was given to sign.
    nonces: Mutex<HashMap<Hostname, String>>,
    rate: rate::Limit<KeyId>,
    /// The entries that are accepted as each node's.
    entries: rate::Limit<Hostname>,
    /// What was logged of each key, and how often it happened.
    logged: Tally<(KeyId, &'static str)>,
}

/// Who is asking, from the certificate.
#[derive(Debug, Clone)]
struct Peer {
    identity: Identity,
    key: KeyId,
    address: SocketAddr,
}

impl Api {
    /// An API for this manager, with an empty board.
    pub(crate) fn new(pi: Arc<Pi>) -> Self {
        Self {
            pi,
            reports: Mutex::new(HashMap::new()),
            nodes: board::NodeList::default(),
            entering: Mutex::new(None),
            agents: Mutex::default(),
            nonces: Mutex::default(),
            rate: rate::Limit::of_requests(),
            entries: rate::Limit::of_entries(),
            logged: Tally::default(),
        }
    }

    /// What every planned node is doing now.
    pub(crate) async fn board(&self) -> Board {
        board::board(self).await
    }

    fn lock_reports(&self) -> std::sync::MutexGuard<'_, HashMap<Hostname, reports::Heard>> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn router(api: Arc<Api>) -> Router {
    Router::new()
        .route("/v1/nodes/{name}", put(reports::put))
        .route("/v1/nodes/{name}/history", get(history::get))
        .route("/v1/nodes/{name}/revoke", post(revoke::post))
        .route("/v1/nodes/{name}/remove", post(remove::post))
        .route("/v1/join", post(join::post))
        .route("/v1/founder", post(founder::post))
        .route("/v1/reports", get(reports::get))
        .route("/v1/cluster", get(board::get))
        .route("/v1/tokens/rotate", post(tokens::rotate))
        .route("/v1/orders", get(orders::get))
        .route("/v1/leave", post(orders::leave))
        .route("/v1/up", post(orders::up))
        .route("/v1/window", post(window::post))
        .route("/v1/token", post(tokens::give))
        .route("/v1/swarm", get(swarm::get))
        .route("/v1/nodes/{name}/tasks", get(upkeep::tasks))
        .route("/v1/nodes/{name}/availability", post(upkeep::availability))
        .route("/v1/nodes/{name}/labels", post(upkeep::labels))
        .fallback(async || problem(StatusCode::NOT_FOUND, "no such request"))
        .layer(middleware::from_fn_with_state(Arc::clone(&api), admit))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(api)
}

/// Lets in who is planned and not revoked, as often as is useful.
async fn admit(
    State(api): State<Arc<Api>>,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    if !api.rate.allows(&peer.key, Instant::now()) {
        return problem(StatusCode::TOO_MANY_REQUESTS, "too many requests");
    }
    if !is_planned(&api.pi.card, &peer.identity) {
        if let Some(times) = api.logged.count((peer.key.clone(), "not planned")) {
            tracing::warn!("{} at {} is not planned{times}", peer.identity.to_uri(), peer.address);
        }
        let message = "this certificate's holder is not planned in this cluster";
        return coded(StatusCode::FORBIDDEN, ProblemCode::NotPlanned, message);
    }
    // At every request, not in the handshake: connections that are open do not outlive the revocation.
    // The card names those that were revoked before it was made: a manager that is made anew has a new journal.
    if api.pi.card.revoked.contains(&peer.key)
        || api.pi.journal.look(|journal| journal.revoked.contains(&peer.key))
    {
        if let Some(times) = api.logged.count((peer.key.clone(), "revoked")) {
            tracing::warn!("{} at {} was revoked{times}", peer.identity.to_uri(), peer.address);
        }
        let message = "this node's certificate was revoked; it needs a new card";
        return coded(StatusCode::FORBIDDEN, ProblemCode::Revoked, message);
    }
    match tokio::time::timeout(Duration::from_secs(30), next.run(request)).await {
        Ok(response) => response,
        Err(_) => problem(StatusCode::SERVICE_UNAVAILABLE, "the manager is busy"),
    }
}

fn is_planned(card: &Card, identity: &Identity) -> bool {
    identity.cluster == card.cluster_id
        && match &identity.holder {
            Holder::Operator => true,
            Holder::Node { role, name } => {
                card.nodes.iter().any(|planned| planned.name == *name && planned.role == *role)
            }
        }
}

fn problem(status: StatusCode, message: impl Into<String>) -> Response {
    (status, Json(Problem { message: message.into(), cause: None })).into_response()
}

/// As [`problem`], for what the asker reports as its own problem.
fn coded(status: StatusCode, code: ProblemCode, message: impl Into<String>) -> Response {
    (status, Json(Problem { message: message.into(), cause: Some(code.into()) })).into_response()
}

fn operator_only() -> Response {
    problem(StatusCode::FORBIDDEN, "only the operator may ask this")
}

#[cfg(test)]
pub(crate) mod tests {
    use cluster::card::Planned;
    use cluster::identity::Role;

    use super::*;

    /// A card for `node` in a cluster of manager red00 and the workers given, with their labels.
    pub(crate) fn card(node: &str, workers: &[(&str, &[(&str, &str)])]) -> Card {
        let planned = |name: &str, role, labels: &[(&str, &str)]| Planned {
            name: Hostname::try_from(name).unwrap(),
            role,
            address: None,
            labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        };
        let mut nodes = vec![planned("red00", Role::Manager, &[])];
        nodes.extend(workers.iter().map(|(name, labels)| planned(name, Role::Worker, labels)));
        let plain = include_bytes!("../../cluster/tests/corpus/card/plain.json");
        Card {
            node: Hostname::try_from(node).unwrap(),
            role: if node == "red00" { Role::Manager } else { Role::Worker },
            nodes,
            ..Card::from_json(plain).unwrap()
        }
    }

    #[test]
    fn only_planned_holders_in_their_planned_role_are_let_in() {
        let card = card("red00", &[("red01", &[])]);
        let may = |uri: &str| is_planned(&card, &Identity::from_uri(uri).unwrap());
        assert!(may("builder://0123456789abcdef/worker/red01"));
        assert!(may("builder://0123456789abcdef/operator"));
        assert!(!may("builder://0123456789abcdef/manager/red01"));
        assert!(!may("builder://0123456789abcdef/worker/red09"));
        assert!(!may("builder://fedcba9876543210/operator"));
    }
}
