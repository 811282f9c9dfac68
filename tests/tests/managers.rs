//! Three managers on real Docker Engines: the first is off when the others are powered on, comes later, and another is lost.
//!
//! Real systemd, apt, Docker Engine and network, in the rack. Needs root and what `cargo xtask test` makes.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use cluster::wire::{Board, BoardNode};
use tests::desk::Desk;
use tests::product::Product;
use tests::shelf::Shelf;
use tests::wait;

/// Several installations of Docker share two cores and one network.
const PATIENCE: Duration = Duration::from_secs(12 * 60);
const CLUSTER: &str = "fig[00-03]";

fn is_ready(node: &BoardNode) -> bool {
    node.swarm.as_ref().is_some_and(|entry| entry.state == "ready")
}

fn ready(board: &Board) -> Vec<&str> {
    board.nodes.iter().filter(|node| is_ready(node)).map(|node| node.name.as_str()).collect()
}

fn managers(board: &Board) -> Vec<&str> {
    let manages = |node: &&BoardNode| {
        node.swarm.as_ref().is_some_and(|entry| entry.reachability.as_deref() == Some("reachable"))
    };
    board.nodes.iter().filter(manages).map(|node| node.name.as_str()).collect()
}

/// What a node's own Docker says of the swarm: its state and the node's id.
fn own(shelf: &Shelf, node: &str) -> Option<(String, String)> {
    let words = ["docker", "info", "--format", "{{.Swarm.LocalNodeState}} {{.Swarm.NodeID}}"];
    // While the node or its Docker starts there is nobody to ask.
    let said = shelf.rack.exec(node, &words).ok().filter(|said| said.status.success())?;
    let said = String::from_utf8_lossy(&said.stdout).trim_end_matches('\n').to_owned();
    said.split_once(' ').map(|(state, id)| (state.to_owned(), id.to_owned()))
}

/// Everybody's id in the swarm.
fn ids(board: &Board) -> BTreeMap<String, String> {
    let member = |node: &BoardNode| Some((node.name.to_string(), node.swarm.as_ref()?.id.clone()));
    board.nodes.iter().filter_map(member).collect()
}

/// All of them lose their power and get it back one after the other: who is alone waits, and everybody is who it was.
fn power_cut(shelf: &Shelf, before: &Board) -> Result<()> {
    let before = ids(before);
    for node in before.keys() {
        shelf.rack.pull_plug(node)?;
    }
    // The worker, too, is there before anybody leads.
    let alone = ["fig03", "fig00"];
    for node in alone {
        shelf.rack.power_on(node)?;
    }
    for node in alone {
        let is_pending = || Ok(own(shelf, node).filter(|(state, _)| state == "pending"));
        let (_, id) = wait::until("Docker runs, and nobody leads", PATIENCE, is_pending)?;
        assert_eq!(Some(&id), before.get(node), "{node}");
    }
    // Longer than a node gives a Docker that tries to join.
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(100) {
        for node in alone {
            let said = own(shelf, node);
            let id = said.as_ref().map(|(_, id)| id);
            assert_eq!(id, before.get(node), "{node} after {:?}: {said:?}", since.elapsed());
        }
        sleep(Duration::from_secs(2));
    }
    for node in ["fig01", "fig02"] {
        shelf.rack.power_on(node)?;
    }
    assert_eq!(ids(&shelf.wait_formed(PATIENCE, |_| ())?), before);
    Ok(())
}

#[test]
fn three_managers_do_without_one_of_them_at_first_and_later() {
    let product = Product::from_env().unwrap();
    let file = Desk::small_cluster("{source: debian}", CLUSTER) + "managers: fig[00-02]\n";
    let mut shelf = Shelf::build(&product, &file).unwrap();

    // The first manager of the file is off: the other two agree without it.
    for node in ["fig01", "fig02", "fig03"] {
        shelf.power_on(node).unwrap();
    }
    let board = shelf.wait_board(PATIENCE, |board| ready(board) == ["fig01", "fig02", "fig03"]).unwrap();
    assert!(!board.formed, "one is missing");

    // It comes, and joins what is there.
    shelf.power_on("fig00").unwrap();
    let formed = shelf.wait_formed(PATIENCE, |_| ()).unwrap();
    assert_eq!(managers(&formed), ["fig00", "fig01", "fig02"]);
    let drained = |node: &BoardNode| node.swarm.as_ref().is_some_and(|entry| entry.availability == "drain");
    assert!(formed.nodes.iter().take(3).all(drained));

    // A manager is lost: the worker stays, and whoever is left shows the board.
    let leader = formed.nodes.iter().find(|node| node.swarm.as_ref().is_some_and(|entry| entry.leader));
    let lost = leader.unwrap().name.to_string();
    shelf.rack.pull_plug(&lost).unwrap();
    let board =
        shelf.wait_board(PATIENCE, |board| ready(board).len() == 3 && managers(board).len() == 2).unwrap();
    assert!(!ready(&board).contains(&lost.as_str()) && !board.quorum_lost);
    let worker = |board: &Board| board.nodes[3].swarm.as_ref().unwrap().id.clone();
    assert_eq!(worker(&board), worker(&formed));

    // Its card is written anew: out with the old entry, in with the new one.
    shelf.rack.exchange(&lost, &shelf.card(&lost)).unwrap();
    shelf.rack.power_on(&lost).unwrap();
    let again = shelf.wait_formed(PATIENCE, |_| ()).unwrap();
    assert_eq!(managers(&again), ["fig00", "fig01", "fig02"]);
    assert_eq!(worker(&again), worker(&formed));

    // More than half are lost: the one that is left says so, and the same swarm goes on once they are back.
    for node in ["fig01", "fig02"] {
        shelf.rack.pull_plug(node).unwrap();
    }
    shelf.wait_board(PATIENCE, |board| board.quorum_lost && !board.formed).unwrap();
    for node in ["fig01", "fig02"] {
        shelf.rack.power_on(node).unwrap();
    }
    let back = shelf.wait_formed(PATIENCE, |_| ()).unwrap();
    assert_eq!(managers(&back), ["fig00", "fig01", "fig02"]);
    assert_eq!(worker(&back), worker(&formed));

    power_cut(&shelf, &back).unwrap();

    // A worker's certificate is revoked at one of them by address, and at the others wherever they are.
    let at = shelf.rack.address("fig01").unwrap().to_string();
    let told = shelf.builder(["revoke", "--yes", "fig03", "--manager", &at]).unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    for manager in managers(&back) {
        let journal = shelf.rack.exec(manager, &["cat", "/var/lib/firstboot/journal.json"]).unwrap();
        let journal: serde_json::Value = serde_json::from_slice(&journal.stdout).unwrap();
        assert_eq!(journal["revoked"].as_array().map(Vec::len), Some(1), "{manager}: {journal}");
    }
    shelf.wait_board(PATIENCE, |board| board.nodes[3].swarm.is_none() && managers(board).len() == 3).unwrap();
}
