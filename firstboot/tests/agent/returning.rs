//! A node that loses its power at any effect of leaving and of coming back, and is switched on again.

use std::collections::BTreeSet;
use std::time::Duration;

use cluster::orders::Order;
use cluster::wire::Stage;
use firstboot::host::fake::{Fault, Files};
use firstboot::journal::Progress;
use reqwest::Method;

use crate::crash::{Machine, all, comparable};
use crate::world::{World, eventually, has_left, journal};

/// Who gets no answer asks again.
pub(crate) async fn give(world: &World, path: &str) {
    world.wait_for_api().await;
    let order = Order::default();
    eventually(async || {
        let request = world.request(&world.ca.operator(), Method::POST, path).json(&order);
        request.send().await.is_ok_and(|answer| answer.status() == 202)
    })
    .await;
}

fn is_in(machine: &Machine<'_>) -> bool {
    let journal = journal(&machine.files);
    let is_ready = journal.marks.iter().any(|mark| mark.stage == Stage::Ready);
    is_ready && !journal.orders.is_dissolved() && journal.settled == journal.orders.up && journal.settled > 0
}

/// The disks of two nodes that have left their swarm.
async fn left() -> [Files; 2] {
    let world = World::new(&["red01"]);
    let (manager, worker) = (Machine::new(&world, "red00"), Machine::new(&world, "red01"));
    let (_manager, host, _) = manager.power_on(None);
    let (_worker, other, _) = worker.power_on(None);
    world.wait_until_formed().await;
    let installed = |files| journal(&files).install == Progress::Completed;
    eventually(async || installed(host.files()) && installed(other.files())).await;
    give(&world, "/v1/leave").await;
    let has_left = |files, name| has_left(&journal(&files), name);
    eventually(async || has_left(host.files(), "red00") && has_left(other.files(), "red01")).await;
    [host.files(), other.files()].map(comparable)
}

/// Has a swarm of two formed again, while one node dies at its `fault` and is switched on again.
async fn come_back(left: [Files; 2], dying: &'static str, fault: Option<Fault>) -> Vec<String> {
    let world = World::new(&["red01"]);
    let mut machines = ["red00", "red01"].map(|name| Machine::new(&world, name));
    for (machine, files) in machines.iter_mut().zip(left) {
        machine.files.extend(files);
    }
    let is_formed = |dying: &Machine<'_>| {
        let swarm = world.swarm.lock().unwrap();
        is_in(dying) && swarm.nodes.iter().filter(|node| node["Status"]["State"] == "ready").count() == 2
    };
    let [manager, worker] = machines;
    let (mut dying, other) = if dying == "red00" { (manager, worker) } else { (worker, manager) };
    let (_other, _, _) = other.power_on(None);
    let (effects, _) = tokio::join!(dying.live(fault, is_formed), async {
        // A manager that is gone cannot be told.
        tokio::time::timeout(Duration::from_secs(20), give(&world, "/v1/up")).await
    });
    if fault.is_some() {
        tokio::join!(dying.live(None, is_formed), give(&world, "/v1/up"));
    }
    let swarm = world.swarm.lock().unwrap();
    let at = fault.map(|_| effects.last());
    assert_eq!((swarm.inits.len(), swarm.second_inits), (1, 0), "after power lost at {at:?}");
    let members = swarm.nodes.iter().filter(|node| node["Status"]["State"] == "ready");
    assert_eq!((members.count(), swarm.nodes.len()), (2, 2), "after power lost at {at:?}");
    effects
}

#[tokio::test]
async fn a_node_that_loses_its_power_while_it_comes_back_is_in_all_the_same() {
    let left = left().await;
    for (name, call) in [("red00", "Docker POST /swarm/init"), ("red01", "Docker POST /swarm/join")] {
        let effects = come_back(left.clone(), name, None).await;
        let faults = (0..effects.len()).map(Fault::DieAt);
        let ends: Vec<_> = all(faults.map(|fault| come_back(left.clone(), name, Some(fault)))).await;
        let ends: BTreeSet<_> = ends.into_iter().filter_map(|mut effects| effects.pop()).collect();
        for effect in [call, &format!("{call} answered"), "write /var/lib/firstboot/journal.json"] {
            assert!(ends.contains(effect), "{name} never died at {effect}: {ends:?}");
        }
    }
}
