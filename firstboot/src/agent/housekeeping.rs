//! What a manager does for the others once the swarm runs: labels, remains of re-flashed nodes, who has joined, and
//! the end of it all when the operator says so.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster::card::Card;
use cluster::wire::Stage;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::Pi;
use super::status::chain;
use crate::engine::{Engine, EngineError, LocalState, Node, Refusal};
use crate::serve::Api;
use crate::steps::clock;
use crate::steps::swarm::leave_for_good;

/// While nodes appear.
const BUSY: Duration = Duration::from_secs(2);
/// Once all are there.
const CALM: Duration = Duration::from_secs(15);
/// How long the manager waits for the others to leave before it goes itself.
const LAST: Duration = Duration::from_secs(90);

/// Keeps house for ever.
pub(super) async fn run(pi: Arc<Pi>, api: Arc<Api>) {
    let mut dissolving: Option<Instant> = None;
    loop {
        if pi.status.stage() > Stage::Clock
            && let Ok(synced) = pi.blocking(clock::is_synced).await
        {
            pi.status.set_clock_synced(synced);
            if synced {
                super::open_window(&pi, synced);
            }
        }
        let mut pause = BUSY;
        if pi.journal.get().dissolved {
            let since = *dissolving.get_or_insert_with(Instant::now);
            dissolve(&pi, since.elapsed() > LAST).await;
        // Not a manager yet, or the engine restarts: later.
        } else if let Ok(nodes) = pi.engine.nodes().await {
            remember_joined(&pi, &nodes);
            if let Err(error) = tidy(&pi.engine, &pi.card, &nodes).await {
                tracing::warn!("{}", chain(&error));
            }
            if api.board().await.formed {
                pause = CALM;
            }
        }
        sleep(pause).await;
    }
}

/// The manager goes once the others have, or when it is out of patience; or it has gone, and lost its power then.
async fn dissolve(pi: &Arc<Pi>, now: bool) {
    if pi.journal.get().left {
        return;
    }
    let is_alone = match pi.engine.nodes().await {
        Ok(nodes) => now || nodes.iter().all(|node| node.manager_status.is_some() || !node.is_ready()),
        Err(_) => {
            pi.engine.info().await.is_ok_and(|info| info.swarm.local_node_state == LocalState::Inactive)
        }
    };
    if is_alone {
        leave_for_good(pi).await;
    }
}

fn remember_joined(pi: &Pi, nodes: &[Node]) {
    let ready = nodes.iter().filter(|node| node.is_ready());
    let names = ready.filter_map(|node| {
        pi.card
            .nodes
            .iter()
            .map(|planned| &planned.name)
            .find(|name| name.as_str() == node.description.hostname)
    });
    let names: Vec<_> = names.cloned().collect();
    if let Err(error) = pi.journal.settle(|journal| journal.joined.extend(names)) {
        tracing::warn!("{}", chain(&error));
    }
}

/// Labels what is planned and removes what is left over. Ids only: names may be there twice.
async fn tidy(engine: &Engine, card: &Card, nodes: &[Node]) -> Result<(), EngineError> {
    for node in remains(nodes) {
        let name = &node.description.hostname;
        match engine.remove_node(&node.id).await {
            Ok(()) => tracing::info!("removed the old entry {} of {name}", node.id),
            // It came back, or somebody else removed it.
            Err(error) if matches!(error.refusal(), Some(Refusal::NotDown | Refusal::NoSuchNode)) => {}
            Err(error) => return Err(error),
        }
    }
    for node in nodes.iter().filter(|node| node.is_ready()) {
        let Some(spec) = labelled(card, node) else { continue };
        match engine.update_node(&node.id, node.version.index, &spec).await {
            Ok(()) => tracing::info!("labelled {}", node.description.hostname),
            // Somebody else changed it: the next round reads it again.
            Err(error) if error.refusal() == Some(Refusal::OutOfSequence) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Workers' entries that are down and have a successor that is ready under the same name.
fn remains(nodes: &[Node]) -> impl Iterator<Item = &Node> {
    nodes.iter().filter(|node| {
        let same =
            |other: &&Node| other.id != node.id && other.description.hostname == node.description.hostname;
        node.is_down() && node.manager_status.is_none() && nodes.iter().filter(same).any(Node::is_ready)
    })
}

/// The node's specification with the planned labels, if it lacks any. Others are left alone.
fn labelled(card: &Card, node: &Node) -> Option<Value> {
    let planned = card.nodes.iter().find(|planned| planned.name.as_str() == node.description.hostname)?;
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
    use super::*;

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
        assert_eq!(remains(&nodes).map(|node| node.id.as_str()).collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn planned_labels_are_added_and_others_kept() {
        let card = crate::serve::tests::card("red00", &[("red01", &[("disk", "ssd")])]);
        let spec = labelled(&card, &node("b", "red01", "ready")).unwrap();
        assert_eq!(
            spec,
            json!({"Role": "worker", "Availability": "active", "Labels": {"own": "1", "disk": "ssd"}})
        );
        let done = Node { spec, ..node("b", "red01", "ready") };
        assert_eq!(labelled(&card, &done), None);
        assert_eq!(labelled(&card, &node("x", "stranger", "ready")), None);
    }
}
