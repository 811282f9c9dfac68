//! `PUT /v1/nodes/{name}`: what a node says of itself.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use cluster::card::Card;
use cluster::identity::{Holder, Role};
use cluster::name::{Hostname, KeyId};
use cluster::text::is_harmful;
use cluster::wire::{Cause, NodeError, ProblemCode, Report, ReportReply, Told, Want};

use super::twins::Starts;
use super::{Api, Peer, board, history, problem};
use crate::agent::clock_now;
use crate::agent::log::{HEARD, Log};

/// Longest sentence that is kept, in characters.
const SENTENCE: usize = 1000;
/// Most marks that are kept: there are fewer stages.
const MARKS: usize = 16;
/// Most problems of a seed stage that are kept: it has hardly more parts.
const PROBLEMS: usize = 24;

/// Shown of a node whose agent proves nothing.
const OLD_AGENT: &str = "its agent is old: the swarm knows this node only by the name that its machine gives itself, which another \
                         machine could give itself, too. A new card or `builder config` renews the agent";

/// A report and when it came, by the monotonic clock, and what came before it.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) report: Report,
    pub(super) at: Instant,
    pub(super) starts: Starts,
    pub(super) log: Log,
}

pub(super) async fn put(
    State(api): State<Arc<Api>>,
    Extension(peer): Extension<Peer>,
    Path(name): Path<String>,
    body: Result<Json<Report>, JsonRejection>,
) -> Response {
    let name = match &peer.identity.holder {
        Holder::Node { name: own, .. } if own.as_str() == name => own.clone(),
        _ => return problem(StatusCode::FORBIDDEN, "a node reports for itself only"),
    };
    let Json(report) = match body {
        Ok(body) => body,
        Err(rejection) => return problem(rejection.status(), rejection.body_text()),
    };
    let mut report = bounded(report);
    let proof = report.proof.take();
    report.address = report.address.filter(|address| may_be_at(&api.pi.card, &peer, *address));
    let own_id = report.swarm_node.clone();
    // Whatever Docker does: that a node was heard is nobody's affair but this manager's.
    api.hear(name.clone(), peer.key.clone(), report.clone());
    let nonce = api.identify(&peer, &report, proof).await;
    let nodes = api.nodes.read(&api.pi.engine).await;
    let swarm = nodes.as_deref().and_then(|nodes| board::told(&name, own_id.as_deref(), &api.members(nodes)));
    let orders = api.pi.journal.look(|journal| journal.orders.of(&name));
    let want = if orders.is_out(&name) { Want::Leave } else { Want::Run };
    let reply = ReportReply {
        unix_ms: clock_now(&api.pi),
        clock_synced: api.pi.status.is_clock_synced(),
        want,
        swarm,
        reads_list: nodes.is_some(),
        orders,
        nonce,
    };
    Json(reply).into_response()
}

impl Api {
    fn hear(&self, name: Hostname, key: KeyId, report: Report) {
        self.note_agent(&name, report.proves);
        let mut reports = self.lock_reports();
        let (before, mut log, mut starts) = match reports.remove(&name) {
            Some(Heard { report, log, starts, .. }) => (Some(report), log, starts),
            None => (None, Log::new(HEARD), Starts::default()),
        };
        history::add(&mut log, before.as_ref(), &report);
        let now = Instant::now();
        if let Some(boot) = &report.facts.boot {
            let were_two = starts.are_two(now);
            starts.note(boot, now);
            if !were_two
                && starts.are_two(now)
                && let Some(times) = self.logged.count((key, "two machines"))
            {
                tracing::warn!("two machines report as {name}{times}");
            }
        }
        reports.insert(name, Heard { report, at: now, log, starts });
    }
}

impl Heard {
    /// The report as it is shown: what its node cannot know of itself comes first.
    pub(super) fn shown(&self) -> Report {
        let mut report = self.report.clone();
        if !report.proves {
            report.warnings.push(OLD_AGENT.to_owned());
        }
        if self.starts.are_two(Instant::now()) {
            let serial = report.facts.serial.as_deref().unwrap_or("unknown");
            let message = format!(
                "two machines report under this name, one of them with serial number {serial}: one has a copy of the \
                 other's card. Power one of them off and give it a card of its own"
            );
            let cause = Some(Cause::new(ProblemCode::DuplicateNode));
            report.error = Some(NodeError { message, permanent: false, cause });
        }
        report
    }
}

/// What this manager has heard, its own state included, for another's board.
pub(super) async fn get(State(api): State<Arc<Api>>, Extension(peer): Extension<Peer>) -> Response {
    if !matches!(peer.identity.holder, Holder::Node { role: Role::Manager, .. }) {
        return problem(StatusCode::FORBIDDEN, "only managers exchange what they have heard");
    }
    let entries = api.pi.journal.look(|journal| journal.entries.clone());
    let told = api.heard().into_iter().map(|(name, (report, at))| Told {
        entries: entries.get(&name).cloned().unwrap_or_default(),
        name,
        report,
        age_ms: u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX),
    });
    Json(told.collect::<Vec<_>>()).into_response()
}

/// Whether a node may be at this address: a worker only where its connection comes from, or where it is planned. Managers
/// control the swarm anyway.
fn may_be_at(card: &Card, peer: &Peer, address: Ipv4Addr) -> bool {
    let Holder::Node { role, name } = &peer.identity.holder else { return false };
    let is_planned =
        || card.nodes.iter().any(|planned| planned.name == *name && planned.address == Some(address));
    *role == Role::Manager || peer.address.ip() == IpAddr::V4(address) || is_planned()
}

/// The report with a bounded length and without harmful characters: it ends up on a person's terminal.
pub(super) fn bounded(mut report: Report) -> Report {
    let plain = |text: &str, limit: usize| -> String {
        text.chars().map(|c| if is_harmful(c) { ' ' } else { c }).take(limit).collect()
    };
    report.word = plain(&report.word, SENTENCE);
    if let Some(error) = &mut report.error {
        error.message = plain(&error.message, SENTENCE);
    }
    report.swarm_node = report.swarm_node.map(|id| plain(&id, 64));
    let facts = &mut report.facts;
    for text in
        [&mut facts.model, &mut facts.serial, &mut facts.engine, &mut facts.boot].into_iter().flatten()
    {
        *text = plain(text, 100);
    }
    report.marks.truncate(MARKS);
    for sentences in [&mut report.seed_problems, &mut report.warnings] {
        sentences.truncate(PROBLEMS);
        for sentence in sentences {
            *sentence = plain(sentence, SENTENCE);
        }
    }
    report
}

#[cfg(test)]
mod tests {
    use cluster::wire::{Facts, Stage};

    use super::*;

    #[test]
    fn a_report_cannot_paint_on_the_operators_terminal() {
        let report = bounded(Report {
            stage: Stage::Docker,
            word: "\u{1b}[2Jall is\u{9b}well\u{202e}\n".into(),
            error: Some(NodeError { message: "x".repeat(5000), permanent: false, cause: None }),
            address: None,
            swarm_node: Some("a".repeat(500)),
            facts: Facts { model: Some("Pi\u{2066}\u{85}".to_owned()), ..Facts::default() },
            marks: Vec::new(),
            left: None,
            seed_problems: vec!["\u{7}".to_owned(); 500],
            warnings: vec!["\u{1b}[2J".to_owned(); 500],
            proves: true,
            proof: None,
        });
        assert_eq!(report.warnings, vec![" [2J".to_owned(); PROBLEMS]);
        assert_eq!(report.seed_problems, vec![" ".to_owned(); PROBLEMS]);
        assert_eq!(report.word, " [2Jall is well  ");
        assert_eq!(report.error.unwrap().message.len(), SENTENCE);
        assert_eq!(report.swarm_node.unwrap().len(), 64);
        assert_eq!(report.facts.model.unwrap(), "Pi  ");
    }
}
