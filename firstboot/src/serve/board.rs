//! `GET /v1/cluster`: what every planned node is doing, from its reports and the managers' node list.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use cluster::card::{Card, Planned};
use cluster::identity::Holder;
use cluster::name::Hostname;
use cluster::orders::Orders;
use cluster::wire::{Board, BoardNode, Report, Stage, SwarmEntry, Told};
use reqwest::Method;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::reports::{self, Heard};
use super::{Api, Members, Peer, operator_only};
use crate::agent::clock_now;
use crate::engine::types::SwarmInfo;
use crate::engine::{Engine, LocalState, Node};
use crate::journal::Journal;

/// How old the node list may be: all nodes' reports of a moment share one look.
const FRESH: Duration = Duration::from_millis(300);
/// How long the engine has for the list. Many wait for it, nodes and the operator, and some for only ten seconds in all.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long an engine that took all of that is not asked again.
const SPARED: Duration = Duration::from_secs(5);
/// How old a report may be to tell where a node is. Nodes that are well report four times as often.
const RECENT: Duration = Duration::from_secs(60);

/// How long the engine's word counts that somebody leads the managers.
const LED: Duration = Duration::from_secs(1);

/// The node list, read at most a few times a second.
#[derive(Debug, Default)]
pub(super) struct NodeList {
    last: Mutex<Option<Look>>,
    /// When the engine said last that somebody leads the managers.
    led: Mutex<Option<Instant>>,
}

/// A look at the list, and how long it counts.
#[derive(Debug)]
struct Look {
    at: Instant,
    counts: Duration,
    nodes: List,
}

/// The list, unless it cannot be read: no swarm yet, or no quorum.
type List = Option<Arc<Vec<Node>>>;

impl NodeList {
    pub(super) async fn read(&self, engine: &Engine) -> List {
        let mut last = self.last.lock().await;
        if let Some(look) = last.as_ref()
            && look.at.elapsed() < look.counts
        {
            return look.nodes.clone();
        }
        let answer = timeout(PATIENCE, self.look(engine)).await;
        let counts = if answer.is_ok() { FRESH } else { SPARED };
        let nodes = answer.ok().flatten().map(Arc::new);
        *last = Some(Look { at: Instant::now(), counts, nodes: nodes.clone() });
        nodes
    }

    /// The list, if somebody leads the managers: without a leader the engine still serves its last one for a while, with
    /// nodes that are gone as ready.
    async fn look(&self, engine: &Engine) -> Option<Vec<Node>> {
        let nodes = engine.nodes().await.ok()?;
        // A single manager leads itself.
        if nodes.iter().filter(|node| node.manager_status.is_some()).nth(1).is_none() {
            return Some(nodes);
        }
        let mut led = self.led.lock().await;
        if led.is_none_or(|at| at.elapsed() >= LED) {
            let leaderless = engine.info().await.ok()?.swarm.is_leaderless();
            *led = (!leaderless).then(Instant::now);
        }
        led.is_some().then_some(nodes)
    }
}

pub(super) async fn get(State(api): State<Arc<Api>>, Extension(peer): Extension<Peer>) -> Response {
    if peer.identity.holder != Holder::Operator {
        return operator_only();
    }
    let board = api.board().await;
    // The operator has seen this node's own state.
    api.pi.status.tell();
    Json(board).into_response()
}

pub(super) async fn board(api: &Api) -> Board {
    let (list, mut heard) = tokio::join!(api.nodes.read(&api.pi.engine), heard_by_all(api));
    let owners = api.members(list.as_deref().map_or(&[][..], Vec::as_slice));
    let orders = api.pi.journal.look(|journal| journal.orders.clone());
    let strangers = owners.unclaimed(&heard);
    let rows = api
        .pi
        .card
        .nodes
        .iter()
        .map(|planned| (row(planned, heard.remove(&planned.name), &owners, &orders), planned));
    let (rows, members): (Vec<_>, Vec<_>) = rows
        .map(|(row, planned)| {
            // Who is not to be there is not missed.
            let member = row.dismissed || is_member(planned, row.report.as_ref(), &owners);
            (row, member)
        })
        .unzip();
    Board {
        cluster: api.pi.card.cluster.clone(),
        cluster_id: api.pi.card.cluster_id.clone(),
        unix_ms: clock_now(&api.pi),
        formed: !orders.is_dissolved() && members.into_iter().all(|member| member),
        quorum_lost: list.is_none() && is_without_quorum(api).await,
        dissolved: orders.is_dissolved(),
        nodes: rows,
        strangers,
    }
}

/// Whether this manager works but cannot manage, because too few of the others are there.
pub(super) async fn is_without_quorum(api: &Api) -> bool {
    let Ok(Ok(info)) = timeout(PATIENCE, api.pi.engine.info()).await else { return false };
    // A worker that was promoted makes a second manager where none is planned.
    (api.pi.has_peers() || info.swarm.remote_managers.len() > 1 || info.swarm.is_leaderless())
        && manages(api, &info.swarm)
}

/// One that was started again is not called active before a majority has heard of it.
fn manages(api: &Api, swarm: &SwarmInfo) -> bool {
    let waits = || swarm.local_node_state == LocalState::Pending && api.pi.journal.look(Journal::has_swarm);
    swarm.control_available || waits()
}

/// The newest that any manager has heard of each node.
pub(super) async fn heard_by_all(api: &Api) -> HashMap<Hostname, (Report, Instant)> {
    let mut heard = api.heard();
    let told = ask_others(api).await;
    if told.is_empty() {
        return heard;
    }
    let list = api.nodes.read(&api.pi.engine).await;
    let is_listed = |id: &&String| list.iter().any(|nodes| nodes.iter().any(|node| node.id == **id));
    for told in told {
        // Managers believe each other what they have seen proved. What is not in the list is of the past: two managers would hand
        // it to each other for ever.
        let entries: Vec<_> = told.entries.iter().filter(is_listed).cloned().collect();
        api.claim(&told.name, &entries);
        if merge(&mut heard, &told) {
            // An older manager drops what it does not know of a report.
            let has_proved = api.pi.journal.look(|journal| journal.entries.contains_key(&told.name));
            if told.report.proves || !has_proved {
                api.note_agent(&told.name, told.report.proves);
            }
        }
    }
    heard
}

/// What the other managers have heard: each node reports to one of them only.
async fn ask_others(api: &Api) -> Vec<Told> {
    let answers = api.pi.link.ask_each::<Vec<Told>>(Method::GET, "/v1/reports", None::<&()>).await;
    answers.into_iter().filter_map(|(_, answer)| answer.ok()).flatten().collect()
}

/// Keeps the newer of two reports of a node; returns whether that is the one that was told.
fn merge(heard: &mut HashMap<Hostname, (Report, Instant)>, told: &Told) -> bool {
    // A clock that began later than that has nothing newer.
    let Some(at) = Instant::now().checked_sub(Duration::from_millis(told.age_ms)) else { return false };
    let is_newer = heard.get(&told.name).is_none_or(|(_, known)| *known < at);
    if is_newer {
        // An older manager lets through what this one does not.
        heard.insert(told.name.clone(), (reports::bounded(told.report.clone()), at));
    }
    is_newer
}

fn row(
    planned: &Planned,
    heard: Option<(Report, Instant)>,
    members: &Members<'_>,
    orders: &Orders,
) -> BoardNode {
    let own_id = heard.as_ref().and_then(|(report, _)| report.swarm_node.as_deref());
    let swarm = best(&planned.name, own_id, members).map(Node::to_entry);
    let heard = heard.map(|(report, at)| (with_doubt(report, members), at));
    let last_heard_ms =
        heard.as_ref().map(|(_, at)| u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX));
    BoardNode {
        name: planned.name.clone(),
        role: planned.role,
        report: heard.map(|(report, _)| report),
        last_heard_ms,
        swarm,
        dismissed: orders.is_dismissed(&planned.name),
    }
}

/// Adds a warning to the report of a node that works in the swarm and has not proved its entry.
fn with_doubt(mut report: Report, members: &Members<'_>) -> Report {
    let claimed = report.swarm_node.as_ref().filter(|_| report.proves && report.stage == Stage::Ready);
    let unproved = claimed.filter(|id| members.strangers().any(|node| node.id == **id));
    if let Some(id) = unproved {
        let warning = format!(
            "the node has not proved yet that {id} is its entry in the swarm; why is shown there by: sudo journalctl -u firstboot"
        );
        report.warnings.push(warning);
    }
    report
}

/// The node's own entry; else one that is ready; else any.
pub(super) fn best<'n>(name: &Hostname, own_id: Option<&str>, members: &Members<'n>) -> Option<&'n Node> {
    let own = || members.of(name);
    own()
        .find(|node| Some(node.id.as_str()) == own_id)
        .or_else(|| own().find(|node| node.is_ready()))
        .or_else(|| own().next())
}

/// What a node is told of itself: its entry, or the one that it is about to prove. Without an entry it would join again.
pub(super) fn told(name: &Hostname, own_id: Option<&str>, members: &Members<'_>) -> Option<SwarmEntry> {
    let is_it = |node: &&Node| Some(node.id.as_str()) == own_id;
    let own = members.of(name).find(is_it).or_else(|| members.strangers().find(is_it));
    own.or_else(|| best(name, own_id, members)).map(Node::to_entry)
}

/// Whether the node is in the list exactly once, in its role, ready, and as the one it says it is. One that says that it has left
/// is no member, whatever a list says that is a moment old.
fn is_member(planned: &Planned, report: Option<&Report>, members: &Members<'_>) -> bool {
    if report.is_some_and(|report| report.left.is_some()) {
        return false;
    }
    let mut own = members.of(&planned.name);
    let (Some(node), None) = (own.next(), own.next()) else { return false };
    let own_id = report.and_then(|report| report.swarm_node.as_deref());
    node.is_ready() && own_id.is_none_or(|id| id == node.id) && node.has_role(planned.role)
}

/// Where a manager says that it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Whereabouts {
    /// Which manager.
    pub(crate) name: Hostname,
    /// Its id in the list.
    pub(crate) id: String,
    /// Its address now.
    pub(crate) address: Ipv4Addr,
}

/// A worker knows the managers' ids, and may say that one of them is its own: its word on where that is does not count.
fn whereabouts<'a>(card: &Card, heard: impl Iterator<Item = (&'a Hostname, &'a Heard)>) -> Vec<Whereabouts> {
    let recent = heard
        .filter(|(name, heard)| heard.at.elapsed() < RECENT && card.managers().any(|it| it.name == **name));
    let said = recent.filter_map(|(name, Heard { report, .. })| {
        Some(Whereabouts { name: name.clone(), id: report.swarm_node.clone()?, address: report.address? })
    });
    said.collect()
}

impl Api {
    /// What was heard and when, this manager's own state included: that needs no network.
    pub(super) fn heard(&self) -> HashMap<Hostname, (Report, Instant)> {
        let heard = self.lock_reports();
        let shown = heard.iter().map(|(name, heard)| (name.clone(), (heard.shown(), heard.at)));
        let own = (self.pi.card.node.clone(), (self.pi.report(), Instant::now()));
        shown.chain([own]).collect()
    }

    /// Where the managers that report to this one say that they are. Who reports to another by now, or has come in anew
    /// since, is not there: what it said last is no longer so.
    pub(crate) fn whereabouts(&self) -> Vec<Whereabouts> {
        whereabouts(&self.pi.card, self.lock_reports().iter())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use cluster::wire::Facts;
    use serde_json::json;

    use super::super::members::tests::as_called;
    use super::*;
    use crate::agent::log::{HEARD, Log};
    use crate::serve::twins::Starts;

    fn node(id: &str, state: &str) -> Node {
        let json = json!({"ID": id, "Description": {"Hostname": "red01"}, "Status": {"State": state}});
        serde_json::from_value(json).unwrap()
    }

    fn report(id: Option<&str>) -> Report {
        Report {
            stage: Stage::Ready,
            word: String::new(),
            error: None,
            address: None,
            swarm_node: id.map(str::to_owned),
            facts: Facts::default(),
            marks: Vec::new(),
            seed_problems: Vec::new(),
            left: None,
            warnings: Vec::new(),
            proves: true,
            proof: None,
        }
    }

    #[test]
    fn a_node_counts_only_once_ready_and_as_itself() {
        let card = crate::serve::tests::card("red00", &[("red01", &[])]);
        let planned = card.nodes.last().unwrap();
        let member =
            |nodes: &[Node], id: Option<&str>| is_member(planned, Some(&report(id)), &as_called(nodes));
        assert!(member(&[node("a", "ready")], Some("a")));
        assert!(member(&[node("a", "ready")], None));
        assert!(!member(&[node("a", "ready")], Some("b")), "another machine under its name");
        assert!(!member(&[node("a", "ready"), node("b", "down")], Some("a")), "twice");
        assert!(!member(&[node("a", "down")], Some("a")));
        assert!(!member(&[], Some("a")));
        let left = Report { left: Some(7), ..report(None) };
        assert!(
            !is_member(planned, Some(&left), &as_called(&[node("a", "ready")])),
            "it says that it has left"
        );
        let as_manager = Planned { role: cluster::identity::Role::Manager, ..planned.clone() };
        let nodes = [node("a", "ready")];
        assert!(!is_member(&as_manager, Some(&report(Some("a"))), &as_called(&nodes)), "in another role");
        let unproved = Members::new(&nodes, &BTreeMap::new(), &BTreeSet::new());
        assert!(!is_member(planned, Some(&report(Some("a"))), &unproved), "only called so");
        assert_eq!(told(&planned.name, Some("a"), &unproved).unwrap().id, "a");
        // Told of an earlier life's entry, it would join again, and again.
        let both = [node("old", "down"), node("new", "ready")];
        let proved = BTreeMap::from([(planned.name.clone(), vec!["old".to_owned()])]);
        let rejoined = Members::new(&both, &proved, &BTreeSet::new());
        assert_eq!(told(&planned.name, Some("new"), &rejoined).unwrap().id, "new");
    }

    #[test]
    fn where_a_manager_was_a_while_ago_or_outside_the_swarm_or_as_a_worker_tells_it_does_not_count() {
        let mut card = crate::serve::tests::card("red00", &[("red01", &[]), ("red02", &[]), ("red03", &[])]);
        card.nodes.iter_mut().take(3).for_each(|planned| planned.role = cluster::identity::Role::Manager);
        let address = Ipv4Addr::new(10, 0, 0, 3);
        let heard = |id, at| Heard {
            report: Report { address: Some(address), ..report(id) },
            at,
            starts: Starts::default(),
            log: Log::new(HEARD),
        };
        let now = Instant::now();
        let told = [
            ("red00", heard(Some("here"), now)),
            ("red01", heard(Some("gone"), now - RECENT)),
            ("red02", heard(None, now)),
            // A worker that says it is one of them.
            ("red03", heard(Some("here"), now)),
        ]
        .map(|(name, heard)| (Hostname::try_from(name).unwrap(), heard));
        let said = whereabouts(&card, told.iter().map(|(name, heard)| (name, heard)));
        assert_eq!(said, [Whereabouts { name: told[0].0.clone(), id: "here".to_owned(), address }]);
    }

    #[test]
    fn of_two_managers_words_on_a_node_the_newer_counts() {
        let name = Hostname::try_from("red01").unwrap();
        let told = |word: &str, age_ms| {
            let report = Report { word: word.to_owned(), ..report(None) };
            Told { name: name.clone(), report, age_ms, entries: Vec::new() }
        };
        let mut heard = HashMap::new();
        for (word, age_ms, kept) in [("old", 900, "old"), ("new", 10, "new"), ("older", 990, "new")] {
            merge(&mut heard, &told(word, age_ms));
            assert_eq!(heard[&name].0.word, kept);
        }
    }

    #[test]
    fn reports_of_older_managers_are_made_harmless() {
        let name = Hostname::try_from("red01").unwrap();
        let report = Report { word: "a\u{202e}b".to_owned(), ..report(None) };
        let mut heard = HashMap::new();
        merge(&mut heard, &Told { name: name.clone(), report, age_ms: 1, entries: Vec::new() });
        assert_eq!(heard[&name].0.word, "a b");
    }

    #[test]
    fn a_re_flashed_node_is_shown_by_its_new_entry() {
        let name = Hostname::try_from("red01").unwrap();
        let nodes = [node("old", "down"), node("new", "ready")];
        let members = as_called(&nodes);
        assert_eq!(best(&name, None, &members).unwrap().id, "new");
        assert_eq!(best(&name, Some("old"), &members).unwrap().id, "old");
    }
}
