//! `PUT /v1/nodes/{name}`: what a node says of itself.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use cluster::identity::Holder;
use cluster::wire::{Report, ReportReply, Want};

use super::{Api, Peer, problem};
use crate::agent::clock_now;

/// Longest sentence that is kept, in characters.
const SENTENCE: usize = 1000;
/// Most marks that are kept: there are fewer stages.
const MARKS: usize = 16;
/// Most problems of a seed stage that are kept: it has hardly more parts.
const PROBLEMS: usize = 24;

/// A report and when it came, by the monotonic clock.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    pub(super) report: Report,
    pub(super) at: Instant,
}

pub(super) async fn put(
    State(api): State<Arc<Api>>,
    Extension(peer): Extension<Peer>,
    Path(name): Path<String>,
    body: Result<Json<Report>, JsonRejection>,
) -> Response {
    let name = match peer.identity.holder {
        Holder::Node { name: own, .. } if own.as_str() == name => own,
        _ => return problem(StatusCode::FORBIDDEN, "a node reports for itself only"),
    };
    let Json(report) = match body {
        Ok(body) => body,
        Err(rejection) => return problem(rejection.status(), rejection.body_text()),
    };
    let report = bounded(report);
    let swarm = api.entry(&name, report.swarm_node.as_deref()).await;
    api.lock_reports().insert(name, Heard { report, at: Instant::now() });
    let want = if api.pi.journal.get().dissolved { Want::Leave } else { Want::Run };
    let reply = ReportReply {
        unix_ms: clock_now(&api.pi),
        clock_synced: api.pi.status.is_clock_synced(),
        want,
        swarm,
    };
    Json(reply).into_response()
}

/// What a node says ends up on a person's terminal: no control characters, and not without end.
fn bounded(mut report: Report) -> Report {
    let plain = |text: &str, limit: usize| -> String {
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(limit).collect()
    };
    report.word = plain(&report.word, SENTENCE);
    if let Some(error) = &mut report.error {
        error.message = plain(&error.message, SENTENCE);
    }
    report.swarm_node = report.swarm_node.map(|id| plain(&id, 64));
    let facts = &mut report.facts;
    for text in [&mut facts.model, &mut facts.serial, &mut facts.engine].into_iter().flatten() {
        *text = plain(text, 100);
    }
    report.marks.truncate(MARKS);
    report.seed_problems.truncate(PROBLEMS);
    for problem in &mut report.seed_problems {
        *problem = plain(problem, SENTENCE);
    }
    report
}

#[cfg(test)]
mod tests {
    use cluster::wire::{Facts, NodeError, Stage};

    use super::*;

    #[test]
    fn a_report_cannot_paint_on_the_operators_terminal() {
        let report = bounded(Report {
            stage: Stage::Docker,
            word: "\u{1b}[2Jall is well\n".into(),
            error: Some(NodeError { message: "x".repeat(5000), permanent: false }),
            address: None,
            swarm_node: Some("a".repeat(500)),
            facts: Facts::default(),
            marks: Vec::new(),
            seed_problems: vec!["\u{7}".to_owned(); 500],
        });
        assert_eq!(report.seed_problems, vec![" ".to_owned(); PROBLEMS]);
        assert_eq!(report.word, " [2Jall is well ");
        assert_eq!(report.error.unwrap().message.len(), SENTENCE);
        assert_eq!(report.swarm_node.unwrap().len(), 64);
    }
}
