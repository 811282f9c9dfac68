//! `GET /v1/nodes/{name}/history`: what a node said and met, as its reports told it.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use cluster::history::Kind;
use cluster::identity::Holder;
use cluster::wire::{History, Report};

use super::{Api, Peer, operator_only, problem};
use crate::agent::clock_now;
use crate::agent::log::Log;

pub(super) async fn get(
    State(api): State<Arc<Api>>,
    Extension(peer): Extension<Peer>,
    Path(name): Path<String>,
) -> Response {
    if peer.identity.holder != Holder::Operator {
        return operator_only();
    }
    let Some(planned) = api.pi.card.nodes.iter().find(|planned| planned.name.as_str() == name) else {
        return problem(StatusCode::NOT_FOUND, "no such node is planned in this cluster");
    };
    let now = clock_now(&api.pi);
    let events = if planned.name == api.pi.card.node {
        api.pi.status.events(now)
    } else {
        let heard = api.lock_reports();
        heard.get(&planned.name).map(|heard| heard.log.events(now)).unwrap_or_default()
    };
    Json(History { events }).into_response()
}

/// Adds what is new in a report. A node reports every second, so most of it is not.
pub(super) fn add(log: &mut Log, before: Option<&Report>, report: &Report) {
    let turned = before.is_none_or(|before| before.stage != report.stage);
    if !report.word.is_empty() && (turned || before.is_none_or(|before| before.word != report.word)) {
        log.add(report.stage, Kind::Said, &report.word, None);
    }
    let error = |report: &Report| report.error.as_ref().map(|error| (error.message.clone(), error.permanent));
    if let Some((message, permanent)) = error(report)
        && (turned || before.and_then(error).as_ref() != Some(&(message.clone(), permanent)))
    {
        let kind = if permanent { Kind::GaveUp } else { Kind::Trouble };
        log.add(report.stage, kind, &message, report.error.as_ref().and_then(|error| error.cause.as_ref()));
    }
}
