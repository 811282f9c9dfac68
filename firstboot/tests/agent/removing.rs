//! Nodes that the operator removes, and has back.

use cluster::orders::{Order, Orders};
use cluster::wire::{Problem, Removal};
use reqwest::Method;
use serde_json::json;

use crate::life::order;
use crate::world::{World, eventually, has_left};

const MANAGERS: [&str; 3] = ["red00", "red01", "red02"];

fn entries(world: &World, name: &str) -> usize {
    let swarm = world.swarm.lock().unwrap();
    swarm.nodes.iter().filter(|node| node["Description"]["Hostname"] == name).count()
}

async fn remove(world: &World, manager: &str, name: &str) -> Result<Removal, (u16, String)> {
    let path = format!("/v1/nodes/{name}/remove");
    let request = world.request_at(manager, &world.ca.operator(), Method::POST, &path);
    let answer = request.send().await.unwrap();
    match answer.status().as_u16() {
        200 => Ok(answer.json().await.unwrap()),
        status => Err((status, answer.json::<Problem>().await.unwrap().message)),
    }
}

#[tokio::test]
async fn a_removed_worker_is_drained_leaves_and_comes_back_when_it_is_wanted() {
    let world = World::new(&["red01", "red02"]);
    let [_manager, gone, other] = ["red00", "red01", "red02"].map(|name| world.switch_on(name, None));
    [&_manager, &gone, &other].iter().for_each(|pi| pi.engine.start());
    world.wait_until_formed().await;
    let removal = remove(&world, "red00", "red01").await.unwrap();
    assert!(removal.reads_list && !removal.stranger);
    assert_eq!(removal.entries.len(), 1);
    {
        let swarm = world.swarm.lock().unwrap();
        let node = swarm.nodes.iter().find(|node| node["Description"]["Hostname"] == "red01");
        assert!(node.is_none_or(|node| node["Spec"]["Availability"] == "drain"), "{node:?}");
    }
    eventually(async || has_left(&gone.journal(), "red01") && entries(&world, "red01") == 0).await;
    eventually(async || {
        let board = world.board().await;
        // The board's list may be a moment old, and what it shows next must not be the former entry.
        let is_off = board.nodes[1].dismissed && board.nodes[1].swarm.is_none();
        board.formed && is_off && !board.nodes[2].dismissed
    })
    .await;
    assert!(gone.engine.node.lock().unwrap().is_none() && other.engine.node.lock().unwrap().is_some());
    // Nobody lets it in, and asking again is fine.
    assert_eq!(world.status(&world.ca.node("worker", "red01"), Method::POST, "/v1/join").await, 403);
    assert_eq!(remove(&world, "red00", "red01").await.unwrap().entries, []);

    assert_eq!(order(&world, "red00", "/v1/up", &Order::default()).await.0, 202);
    eventually(async || {
        let board = world.board().await;
        board.formed && !board.nodes[1].dismissed
    })
    .await;
    assert_eq!((entries(&world, "red01"), world.swarm.lock().unwrap().inits.len()), (1, 1));
}

#[tokio::test]
async fn a_removed_worker_that_is_off_loses_its_entry_and_leaves_when_it_is_back() {
    let world = World::new(&["red01"]);
    let [_manager, mut off] = ["red00", "red01"].map(|name| world.switch_on(name, None));
    [&_manager, &off].iter().for_each(|pi| pi.engine.start());
    world.wait_until_formed().await;
    off.pull_plug().await;
    for node in &mut world.swarm.lock().unwrap().nodes {
        if node["Description"]["Hostname"] == "red01" {
            node["Status"]["State"] = json!("down");
        }
    }
    assert!(remove(&world, "red00", "red01").await.is_ok());
    eventually(async || entries(&world, "red01") == 0).await;
    let journal = serde_json::to_string(&off.journal()).unwrap();
    let back = world.switch_on_with("red01", &world.ca.node("worker", "red01"), Some(&journal), off.engine);
    eventually(async || has_left(&back.journal(), "red01") && back.engine.node.lock().unwrap().is_none())
        .await;
    assert_eq!(entries(&world, "red01"), 0);
}

#[tokio::test]
async fn a_removed_manager_becomes_a_worker_first_and_the_others_keep_their_majority() {
    let mut world = World::new(&[]);
    world.managers = MANAGERS.to_vec();
    let nodes = MANAGERS.map(|name| world.switch_on(name, None));
    nodes.iter().for_each(|pi| pi.engine.start());
    for manager in MANAGERS {
        eventually(async || {
            let answer =
                world.request_at(manager, &world.ca.operator(), Method::GET, "/v1/cluster").send().await;
            match answer {
                Ok(answer) => answer.json::<cluster::wire::Board>().await.is_ok_and(|board| board.formed),
                Err(_) => false,
            }
        })
        .await;
    }
    // Told to one manager, heard by all.
    assert!(remove(&world, "red00", "red02").await.is_ok());
    eventually(async || has_left(&nodes[2].journal(), "red02") && entries(&world, "red02") == 0).await;
    eventually(async || nodes[1].journal().orders.dismissed().next().is_some()).await;
    let (status, why) = remove(&world, "red00", "red01").await.unwrap_err();
    assert!(status == 409 && why.contains("1 of 3 planned managers"), "{status} {why}");

    assert_eq!(order(&world, "red01", "/v1/up", &Order::default()).await.0, 202);
    eventually(async || entries(&world, "red02") == 1 && !has_left(&nodes[2].journal(), "red02")).await;
    let swarm = world.swarm.lock().unwrap();
    let back = swarm.nodes.iter().find(|node| node["Description"]["Hostname"] == "red02").unwrap();
    assert!(!back["ManagerStatus"].is_null() && swarm.inits.len() == 1, "{back}");
}

#[tokio::test]
async fn the_only_manager_stays_and_of_strangers_the_entry_goes_once_they_are_down() {
    let world = World::new(&["red01"]);
    let [manager, worker] = ["red00", "red01"].map(|name| world.switch_on(name, None));
    [&manager, &worker].iter().for_each(|pi| pi.engine.start());
    world.wait_until_formed().await;
    let (status, why) = remove(&world, "red00", "red00").await.unwrap_err();
    assert!(status == 409 && why.contains("is the last manager"), "{status} {why}");
    assert_eq!(manager.journal().orders, Orders::default());
    assert_eq!(remove(&world, "red00", "blue07").await.unwrap_err().0, 404);
    let planned = worker.engine.node.lock().unwrap().clone().unwrap();
    assert_eq!(remove(&world, "red00", &planned).await.unwrap_err().0, 409, "by its id");

    let stranger = json!({"ID": "foreign", "Version": {"Index": 1}, "Spec": {"Role": "worker", "Availability": "active"},
        "Description": {"Hostname": "blue07"}, "Status": {"State": "ready"}});
    world.swarm.lock().unwrap().nodes.push(stranger);
    let removal = remove(&world, "red00", "blue07").await.unwrap();
    assert!(removal.stranger && removal.entries.len() == 1);
    let entry = |key: &str| {
        let swarm = world.swarm.lock().unwrap();
        let node = swarm.nodes.iter().find(|node| node["ID"] == "foreign");
        node.map(|node| node["Spec"][key].clone())
    };
    eventually(async || entry("Availability") == Some(json!("drain"))).await;
    for node in &mut world.swarm.lock().unwrap().nodes {
        if node["ID"] == "foreign" {
            node["Status"]["State"] = json!("down");
        }
    }
    eventually(async || entry("Role").is_none() && manager.journal().strangers.is_empty()).await;
    assert_eq!(remove(&world, "red00", "blue07").await.unwrap_err().0, 404);
}
