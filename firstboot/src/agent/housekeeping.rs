//! What a manager does for the others once the swarm runs: labels, remains of re-flashed nodes, who has joined, who has
//! to go, and the end of it all when the operator says so.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster::card::Card;
use cluster::name::Hostname;
use cluster::wire::Stage;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::removal::Removals;
use super::status::chain;
use super::{Pi, door, life};
use crate::election::is_majority;
use crate::engine::{Engine, EngineError, LocalState, Node, Refusal};
use crate::journal::JournalError;
use crate::serve::{Api, Members, Whereabouts};
use crate::steps::clock;
use crate::tally::Tally;

/// While nodes appear.
const BUSY: Duration = Duration::from_secs(2);
/// Once all are there.
const CALM: Duration = Duration::from_secs(15);
/// How long the manager waits for the others to leave before it goes itself.
const LAST: Duration = Duration::from_secs(90);
/// How long Docker may take to manage again after a start, if there are managers enough.
const START: Duration = Duration::from_secs(20);

/// Keeps house for ever.
pub(super) async fn run(pi: Arc<Pi>, api: Arc<Api>) {
    let (mut dissolving, mut removals) = (None::<Instant>, Removals::default());
    let (mut troubles, done) = (Troubles::default(), Tally::default());
    loop {
        if pi.status.stage() > Stage::Clock
            && let Ok(synced) = pi.blocking(clock::is_synced).await
        {
            pi.status.set_clock_synced(synced);
            troubles.of(door::count(&pi, synced));
        }
        // Before there is a swarm, too: it may be a revocation.
        troubles.of(pi.journal.flush());
        let mut pause = BUSY;
        if life::is_ending(&pi) {
            let since = *dissolving.get_or_insert_with(Instant::now);
            dissolve(&pi, since.elapsed()).await;
        } else {
            dissolving = None;
        }
        // Not a manager yet, or not any more, or the engine restarts: later.
        if !life::is_out(&pi)
            && let Ok(nodes) = pi.engine.nodes().await
        {
            if let Some(own) = pi.status.report().swarm_node {
                api.claim(&pi.card.node, &[own]);
            }
            let members = api.members(&nodes);
            troubles.of(remember_joined(&pi, &members));
            troubles.of(tidy(&pi.engine, &pi.card, &members, &done).await);
            troubles.of(make_way(&pi, &api.whereabouts(), &members).await);
            troubles.of(door::close_window(&pi));
            troubles.of(door::enforce(&pi).await);
            let removing = troubles.of(removals.enforce(&pi, &members).await).unwrap_or(true);
            if !removing && api.board().await.formed {
                pause = CALM;
            }
        }
        troubles.end_round();
        _ = timeout(pause, pi.status.orders.notified()).await;
    }
}

/// What goes wrong in one round after the other, such as on a full disk, logged by powers of two.
#[derive(Debug, Default)]
struct Troubles {
    tally: Tally<String>,
    met: bool,
}

impl Troubles {
    fn of<T>(&mut self, result: Result<T, impl Error>) -> Option<T> {
        let error = match result {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        self.met = true;
        let line = chain(&error);
        if let Some(times) = self.tally.count(line.clone()) {
            tracing::warn!("{line}{times}");
        }
        None
    }

    fn end_round(&mut self) {
        if !std::mem::take(&mut self.met) {
            self.tally.clear();
        }
    }
}

/// The manager goes once the others have, or when it is out of patience; or it has gone, and lost its power then. Where too
/// few managers are left to have a list, others have gone already, and there is nobody to wait for.
async fn dissolve(pi: &Pi, lasted: Duration) {
    let is_alone = lasted > LAST
        || !life::has_docker(pi)
        || match pi.engine.nodes().await {
            Ok(nodes) => nodes.iter().all(|node| node.manager_status.is_some() || !node.is_ready()),
            Err(_) => pi.engine.info().await.is_ok_and(|info| {
                let manages = info.swarm.control_available || lasted > START;
                info.swarm.local_node_state == LocalState::Inactive || manages
            }),
        };
    if is_alone && let Err(error) = life::leave_for_good(pi).await {
        tracing::warn!("{}", chain(&error));
    }
}

fn remember_joined(pi: &Pi, members: &Members<'_>) -> Result<(), JournalError> {
    let names = members.iter().filter(|(node, _)| node.is_ready()).filter_map(|(_, owner)| owner);
    let names: Vec<_> = names.cloned().collect();
    let is_listed = |id: &str| members.iter().any(|(node, _)| node.id == id);
    pi.journal.settle(|journal| {
        journal.joined.extend(names);
        for ids in journal.entries.values_mut() {
            // The last one may be on its way into the list.
            let last = ids.last().cloned();
            ids.retain(|id| is_listed(id) || Some(id) == last.as_ref());
        }
    })
}

/// Labels what is planned and removes what is left over. Strangers are left alone. `done` counts what was done for each node: one
/// that joins without end does not fill the log.
async fn tidy(
    engine: &Engine,
    card: &Card,
    members: &Members<'_>,
    done: &Tally<(Hostname, &'static str)>,
) -> Result<(), EngineError> {
    for (node, name) in remains(members) {
        match engine.remove_node(&node.id).await {
            Ok(()) => {
                if let Some(times) = done.count((name.clone(), "removed")) {
                    tracing::info!("removed the old entry {} of {name}{times}", node.id);
                }
            }
            // It came back, or somebody else removed it.
            Err(error) if matches!(error.refusal(), Some(Refusal::NotDown | Refusal::NoSuchNode)) => {}
            Err(error) => return Err(error),
        }
    }
    for (node, owner) in members.iter().filter(|(node, _)| node.is_ready()) {
        let Some((owner, spec)) = owner.and_then(|owner| Some((owner, labelled(card, owner, node)?))) else {
            continue;
        };
        match engine.update_node(&node.id, node.version.index, &spec).await {
            Ok(()) => {
                if let Some(times) = done.count((owner.clone(), "labelled")) {
                    tracing::info!("labelled {owner} ({}){times}", node.id);
                }
            }
            // Somebody else changed it: the next round reads it again.
            Err(error) if error.refusal() == Some(Refusal::OutOfSequence) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Makes managers whose address has changed workers, so that they come in anew with the new one: the others would
/// go on looking for them at the old. Only while more than half of the managers are left without them.
async fn make_way(pi: &Pi, told: &[Whereabouts], members: &Members<'_>) -> Result<(), EngineError> {
    let own = pi.status.report().swarm_node;
    if let Some(node) = moved(told, members).find(|node| Some(&node.id) != own.as_ref()) {
        tracing::warn!("{} has another address: it has to come in anew", node.description.hostname);
        match pi.engine.demote(node).await {
            Err(error) if error.refusal() == Some(Refusal::OutOfSequence) => {}
            result => return result,
        }
    }
    Ok(())
}

/// Managers that say of their own entry that they are elsewhere than the list says, if the others can do without them.
fn moved<'n>(told: &[Whereabouts], members: &Members<'n>) -> impl Iterator<Item = &'n Node> {
    let managers =
        || members.iter().filter_map(|(node, owner)| Some((node, node.manager_status.as_ref()?, owner)));
    managers()
        .filter(move |(node, status, owner)| {
            let listed = status.addr.rsplit_once(':').map(|(address, _)| address);
            let elsewhere = told
                .iter()
                .filter(|told| told.id == node.id && *owner == Some(&told.name))
                .any(|told| listed.is_some_and(|listed| listed != told.address.to_string()));
            let others = managers().filter(|(other, ..)| other.id != node.id);
            let reachable = others.filter(|(_, other, _)| other.reachability == "reachable").count();
            elsewhere && is_majority(reachable, managers().count())
        })
        .map(|(node, ..)| node)
        .collect::<Vec<_>>()
        .into_iter()
}

/// Workers' entries that are down although their node has another one that is ready, with the node's name. An entry that nobody
/// has proved counts as that of the node that it is called after: it may be of an earlier life, with an agent that proved nothing.
fn remains<'m, 'n>(members: &'m Members<'n>) -> impl Iterator<Item = (&'n Node, &'m Hostname)> {
    let dead = members.iter().filter(|(node, _)| node.is_down() && node.manager_status.is_none());
    dead.filter_map(move |(node, owner)| {
        let name = owner.map_or(node.description.hostname.as_str(), Hostname::as_str);
        let mut ready = members.iter().filter(|(other, _)| other.is_ready()).filter_map(|(_, owner)| owner);
        Some((node, ready.find(|owner| owner.as_str() == name)?))
    })
}

/// The specification of a node's entry with the planned labels, if it lacks any. Others are left alone.
fn labelled(card: &Card, owner: &Hostname, node: &Node) -> Option<Value> {
    let planned = card.nodes.iter().find(|planned| planned.name == *owner)?;
    let mut labels: BTreeMap<_, _> = node.read_spec().labels;
    let before = labels.clone();
    labels.extend(planned.labels.clone());
    if labels == before {
        return None;
    }
    let mut spec = node.spec.clone();
    spec.as_object_mut()?.insert("Labels".to_owned(), json!(labels));
    Some(spec)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::Ipv4Addr;

    use super::*;

    fn name(text: &str) -> Hostname {
        Hostname::try_from(text).unwrap()
    }

    /// The list as it is for nodes that have proved these ids.
    fn members<'n>(nodes: &'n [Node], proved: &[(&str, &str)]) -> Members<'n> {
        let mut entries = BTreeMap::<_, Vec<_>>::new();
        for (node, id) in proved {
            entries.entry(name(node)).or_default().push((*id).to_owned());
        }
        Members::new(nodes, &entries, &BTreeSet::new())
    }

    fn node(id: &str, hostname: &str, state: &str) -> Node {
        let json = json!({"ID": id, "Spec": {"Role": "worker", "Availability": "active", "Labels": {"own": "1"}},
            "Description": {"Hostname": hostname}, "Status": {"State": state}});
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn only_a_dead_entry_with_a_living_successor_is_removed() {
        let nodes = [
            node("a", "red01", "down"),
            node("b", "red01", "ready"),
            node("c", "red02", "down"),
            node("d", "red03", "unknown"),
            node("e", "red03", "ready"),
        ];
        let remains =
            |members: &Members<'_>| remains(members).map(|(node, _)| node.id.clone()).collect::<Vec<_>>();
        let all = [("red01", "a"), ("red01", "b"), ("red02", "c"), ("red03", "d"), ("red03", "e")];
        assert_eq!(remains(&members(&nodes, &all)), ["a"]);
        // Another machine that calls itself red01 does not have red01 removed while that is off.
        assert_eq!(remains(&members(&nodes, &[("red01", "a"), ("red02", "c"), ("red03", "b")])), [""; 0]);
    }

    #[test]
    fn a_dead_entry_that_nobody_proved_goes_by_its_name() {
        let remains =
            |members: &Members<'_>| remains(members).map(|(node, _)| node.id.clone()).collect::<Vec<_>>();
        let nodes = [node("old", "red01", "down"), node("new", "red01", "ready")];
        // With an agent that proved nothing, red01 was the old entry.
        assert_eq!(remains(&members(&nodes, &[("red01", "new")])), ["old"]);
        assert_eq!(remains(&members(&nodes, &[])), [""; 0], "the other may be any machine");
        assert_eq!(remains(&members(&nodes, &[("red01", "old")])), [""; 0], "the other is a stranger");
        assert_eq!(remains(&members(&nodes, &[("red01", "new"), ("red02", "old")])), [""; 0], "red02's");
        // A stranger that works stays, whatever it is called.
        let nodes = [node("stranger", "red01", "ready"), node("new", "kitchen", "ready")];
        assert_eq!(remains(&members(&nodes, &[("red01", "new")])), [""; 0]);
    }

    #[test]
    fn a_manager_that_moved_makes_way_while_the_others_are_enough() {
        let manager = |id: &str, place: u8, reachability: &str| -> Node {
            let json = json!({"ID": id, "Description": {"Hostname": format!("red{place:02}")}, "Status": {"State": "ready"},
                "ManagerStatus": {"Reachability": reachability, "Addr": format!("10.0.0.{place}:2377")}});
            serde_json::from_value(json).unwrap()
        };
        let says = |place: u8, id: &str, last: u8| Whereabouts {
            name: name(&format!("red{place:02}")),
            id: id.to_owned(),
            address: Ipv4Addr::new(10, 0, 0, last),
        };
        let told = |id: &str, last: u8| says(id.as_bytes()[0] - b'a', id, last);
        let ids = |told: &Whereabouts, nodes: &[Node]| {
            let members = members(nodes, &[("red00", "a"), ("red01", "b"), ("red02", "c")]);
            moved(std::slice::from_ref(told), &members).map(|node| node.id.clone()).collect::<Vec<_>>()
        };
        let well = ["a", "b", "c"].map(|id| manager(id, id.as_bytes()[0] - b'a', "reachable"));
        assert_eq!(ids(&told("b", 1), &well), [""; 0], "where it was");
        assert_eq!(ids(&told("b", 77), &well), ["b"]);
        assert_eq!(ids(&says(1, "its last life", 77), &well), [""; 0], "it has come in anew since");
        assert_eq!(ids(&says(2, "b", 77), &well), [""; 0], "another manager's word");
        let mut ill = well.clone();
        ill[2] = manager("c", 2, "unreachable");
        assert_eq!(ids(&told("b", 77), &ill), [""; 0], "one of two left");
        assert_eq!(ids(&told("a", 77), &well[..1]), [""; 0], "the only one");
    }

    #[test]
    fn planned_labels_are_added_and_others_kept() {
        let card = crate::serve::tests::card("red00", &[("red01", &[("disk", "ssd")])]);
        let red01 = name("red01");
        let spec = labelled(&card, &red01, &node("b", "red01", "ready")).unwrap();
        assert_eq!(
            spec,
            json!({"Role": "worker", "Availability": "active", "Labels": {"own": "1", "disk": "ssd"}})
        );
        let done = Node { spec, ..node("b", "red01", "ready") };
        assert_eq!(labelled(&card, &red01, &done), None);
        assert_eq!(labelled(&card, &name("red09"), &node("x", "red01", "ready")), None);
    }
}
