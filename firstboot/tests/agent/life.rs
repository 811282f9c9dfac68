//! The swarm's end and its new beginning, as the operator wants them.

use std::sync::Arc;

use cluster::orders::{Order, Orders};
use cluster::wire::{Board, Report, Stage};
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::engine::{Engine, Shared};
use crate::world::{Pi, World, eventually, has_left};

const MANAGERS: [&str; 3] = ["red00", "red01", "red02"];

/// Gives an order to one manager; its answer's status, and all orders it knows then.
pub(crate) async fn order(
    world: &World,
    manager: &str,
    path: &str,
    order: &Order,
) -> (StatusCode, Option<Orders>) {
    let request = world.request_at(manager, &world.ca.operator(), Method::POST, path).json(order);
    let answer = request.send().await.unwrap();
    (answer.status(), answer.json().await.ok())
}

fn number(number: u64) -> Order {
    Order { number, known: Orders::default() }
}

async fn board_at(world: &World, manager: &str) -> Option<Board> {
    let answer = world.request_at(manager, &world.ca.operator(), Method::GET, "/v1/cluster").send().await;
    answer.ok()?.json().await.ok()
}

async fn formed_at(world: &World, manager: &str) {
    eventually(async || board_at(world, manager).await.is_some_and(|board| board.formed)).await;
}

fn is_out(name: &str, pi: &Pi) -> bool {
    has_left(&pi.journal(), name) && pi.engine.node.lock().unwrap().is_none()
}

/// Swarm notices that somebody is gone.
fn goes_down(world: &World, name: &str) {
    for node in &mut world.swarm.lock().unwrap().nodes {
        if node["Description"]["Hostname"] == name {
            node["Status"]["State"] = json!("down");
            if !node["ManagerStatus"].is_null() {
                node["ManagerStatus"]["Reachability"] = json!("unreachable");
            }
        }
    }
}

/// Switches a node on that was off, with its disk and its engine.
fn back_on(world: &World, name: &str, pi: &Pi, engine: &Arc<Engine>) -> Pi {
    let role = if world.managers.contains(&name) { "manager" } else { "worker" };
    let journal = serde_json::to_string(&pi.journal()).unwrap();
    world.switch_on_with(name, &world.ca.node(role, name), Some(&journal), Arc::clone(engine))
}

#[tokio::test]
async fn what_was_ended_is_formed_again_by_one_order_and_by_two_not_twice() {
    let world = World::new(&["red01", "red02"]);
    let nodes = ["red00", "red01", "red02"].map(|name| (name, world.switch_on(name, None)));
    nodes.iter().for_each(|(_, pi)| pi.engine.start());
    world.wait_until_formed().await;

    assert_eq!(order(&world, "red00", "/v1/leave", &number(0)).await.0, 202);
    for (name, pi) in &nodes {
        eventually(async || is_out(name, pi)).await;
    }
    let last = world.swarm.lock().unwrap().nodes.clone();
    assert!(last.iter().all(|node| node["Status"]["State"] == "down"), "{last:?}");
    eventually(async || {
        let board = world.board().await;
        let out = board.nodes.iter().all(|node| node.report.as_ref().is_some_and(|it| it.left.is_some()));
        board.dissolved && !board.formed && out
    })
    .await;

    let (status, orders) = order(&world, "red00", "/v1/up", &number(0)).await;
    assert_eq!(status, 202);
    world.wait_until_formed().await;
    assert_eq!(order(&world, "red00", "/v1/up", &number(0)).await.1, orders, "nothing was left to do");
    world.wait_until_formed().await;
    // Nothing of the former life is on the board.
    let is_ready = |report: &Report| report.left.is_none() && report.stage == Stage::Ready;
    eventually(async || {
        let board = world.board().await;
        !board.dissolved && board.nodes.iter().all(|node| node.report.as_ref().is_some_and(is_ready))
    })
    .await;
    let swarm = world.swarm.lock().unwrap();
    assert_eq!((swarm.inits.len(), swarm.second_inits, swarm.joins.len()), (2, 0, 4));
}

#[tokio::test]
async fn a_swarm_that_never_formed_is_ended_without_docker_and_formed_afterwards() {
    let world = World::new(&["red01"]);
    let nodes = ["red00", "red01"].map(|name| (name, world.switch_on(name, None)));
    world.wait_for_api().await;
    assert_eq!(order(&world, "red00", "/v1/leave", &number(0)).await.0, 202);
    for (name, pi) in &nodes {
        eventually(async || has_left(&pi.journal(), name)).await;
        pi.engine.start();
    }
    assert_eq!(order(&world, "red00", "/v1/up", &number(0)).await.0, 202);
    world.wait_until_formed().await;
    assert_eq!(world.swarm.lock().unwrap().inits.len(), 1);
}

#[tokio::test]
async fn a_worker_that_was_off_leaves_when_it_is_back_and_one_that_missed_both_orders_comes_in_anew() {
    let world = World::new(&["red01", "red02"]);
    let manager = world.switch_on("red00", None);
    let mut late = world.switch_on("red01", None);
    let mut later = world.switch_on("red02", None);
    [&manager, &late, &later].iter().for_each(|pi| pi.engine.start());
    world.wait_until_formed().await;
    late.pull_plug().await;
    later.pull_plug().await;
    ["red01", "red02"].iter().for_each(|name| goes_down(&world, name));

    assert_eq!(order(&world, "red00", "/v1/leave", &number(0)).await.0, 202);
    eventually(async || is_out("red00", &manager)).await;
    let engine = Arc::clone(&late.engine);
    assert!(engine.node.lock().unwrap().is_some(), "its engine knows nothing of the end");
    let late = back_on(&world, "red01", &late, &engine);
    eventually(async || is_out("red01", &late)).await;

    assert_eq!(order(&world, "red00", "/v1/up", &number(0)).await.0, 202);
    eventually(async || world.swarm.lock().unwrap().inits.len() == 2).await;
    let before = later.engine.node.lock().unwrap().clone();
    let engine = Arc::clone(&later.engine);
    let later = back_on(&world, "red02", &later, &engine);
    world.wait_until_formed().await;
    assert_ne!(*later.engine.node.lock().unwrap(), before, "of another swarm");
}

#[tokio::test]
async fn three_managers_end_and_begin_one_swarm_together() {
    let mut world = World::new(&["red03"]);
    world.managers = MANAGERS.to_vec();
    let nodes = ["red00", "red01", "red02", "red03"].map(|name| (name, world.switch_on(name, None)));
    nodes.iter().for_each(|(_, pi)| pi.engine.start());
    formed_at(&world, "red02").await;
    for manager in MANAGERS {
        assert_eq!(order(&world, manager, "/v1/leave", &number(7)).await.0, 202);
    }
    for (name, pi) in &nodes {
        eventually(async || is_out(name, pi)).await;
    }
    for manager in MANAGERS {
        let known = Orders { killed: 7, ..Orders::default() };
        assert_eq!(order(&world, manager, "/v1/up", &Order { number: 8, known }).await.0, 202);
    }
    for manager in MANAGERS {
        formed_at(&world, manager).await;
    }
    let swarm = world.swarm.lock().unwrap();
    assert_eq!((swarm.inits.len(), swarm.second_inits, swarm.nodes.len()), (2, 0, 4));
    assert_eq!(swarm.most_entering, 1);
}

#[tokio::test]
async fn a_manager_that_was_off_lures_nobody_back_and_joins_the_others_by_itself() {
    let mut world = World::new(&["red03"]);
    world.managers = MANAGERS.to_vec();
    let [red00, red01, mut off, worker] =
        ["red00", "red01", "red02", "red03"].map(|name| world.switch_on(name, None));
    [&red00, &red01, &off, &worker].iter().for_each(|pi| pi.engine.start());
    formed_at(&world, "red00").await;
    off.pull_plug().await;
    goes_down(&world, "red02");
    for manager in ["red00", "red01"] {
        assert_eq!(order(&world, manager, "/v1/leave", &number(7)).await.0, 202);
    }
    for (name, pi) in [("red00", &red00), ("red01", &red01), ("red03", &worker)] {
        eventually(async || is_out(name, pi)).await;
    }

    // Worse than it can be: alone, and yet the leader of a swarm that works and would give everybody a token.
    let old = Shared::default();
    let folder = world.folder.path().join("old");
    std::fs::create_dir(&folder).unwrap();
    let engine = Engine::new(&folder, "red02", &old);
    let mut others = [red00, red01];
    for pi in &mut others {
        pi.pull_plug().await;
    }
    let off = back_on(&world, "red02", &off, &engine);
    let id = {
        let mut swarm = old.lock().unwrap();
        swarm.spec = json!({"CAConfig": {"ForceRotate": 1}});
        swarm.nodes.push(json!({"ID": "old", "Version": {"Index": 1},
            "Spec": {"Role": "manager", "Availability": "drain", "Labels": {"rack": "red02"}},
            "Description": {"Hostname": "red02"}, "Status": {"State": "ready", "Addr": "127.0.0.3"},
            "ManagerStatus": {"Leader": true, "Reachability": "reachable", "Addr": "127.0.0.3:2377"}}));
        "old".to_owned()
    };
    *engine.node.lock().unwrap() = Some(id);
    engine.start();
    eventually(async || {
        let board = board_at(&world, "red02").await;
        let heard =
            |board: &Board| board.nodes[3].report.as_ref().is_some_and(|report| report.left == Some(7));
        board.is_some_and(|board| heard(&board) && !board.dissolved)
    })
    .await;
    // It has answered the worker, and a manager would have been let in.
    let asked = world.request_at("red02", &world.ca.node("worker", "red03"), Method::POST, "/v1/join");
    assert_eq!(asked.send().await.unwrap().status(), 200);
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert!(is_out("red03", &worker) && old.lock().unwrap().joins.is_empty());

    // With the others on again it hears what was ordered, of them and not of the operator.
    let [red00, red01] = others;
    let _others =
        [("red00", &red00), ("red01", &red01)].map(|(name, pi)| back_on(&world, name, pi, &pi.engine));
    eventually(async || has_left(&off.journal(), "red02") && engine.node.lock().unwrap().is_none()).await;
}

#[tokio::test]
async fn a_manager_that_missed_the_end_and_the_beginning_takes_its_place_in_the_new_swarm() {
    let mut world = World::new(&[]);
    world.managers = MANAGERS.to_vec();
    let mut nodes = MANAGERS.map(|name| world.switch_on(name, None));
    nodes.iter().for_each(|pi| pi.engine.start());
    formed_at(&world, "red00").await;
    let [red00, red01, off] = &mut nodes;
    off.pull_plug().await;
    goes_down(&world, "red02");
    for manager in ["red00", "red01"] {
        assert_eq!(order(&world, manager, "/v1/leave", &number(7)).await.0, 202);
    }
    for (name, pi) in [("red00", &*red00), ("red01", &*red01)] {
        eventually(async || is_out(name, pi)).await;
    }
    // One of them only: the other hears of it from that one.
    assert_eq!(order(&world, "red01", "/v1/up", &number(8)).await.0, 202);
    eventually(async || world.swarm.lock().unwrap().nodes.len() == 2).await;
    let engine = Arc::clone(&off.engine);
    let off = back_on(&world, "red02", off, &engine);
    formed_at(&world, "red02").await;
    assert_eq!(off.journal().settled, 8);
    let swarm = world.swarm.lock().unwrap();
    assert_eq!((swarm.inits.len(), swarm.second_inits, swarm.nodes.len()), (2, 0, 3));
}

#[tokio::test]
async fn a_worker_takes_no_token_of_a_swarm_that_has_ended() {
    let mut world = World::new(&["red03"]);
    world.managers = MANAGERS.to_vec();
    let journal = r#"{"version": 1, "orders": {"killed": 7, "up": 8}, "settled": 8}"#;
    // It knows nothing of the orders and gives its tokens away; the others are off.
    let stale = world.switch_on("red02", None);
    *stale.engine.node.lock().unwrap() = Some("old".to_owned());
    {
        let mut swarm = world.swarm.lock().unwrap();
        swarm.spec = json!({"CAConfig": {"ForceRotate": 1}});
        swarm.nodes.push(json!({"ID": "old", "Version": {"Index": 1},
            "Spec": {"Role": "manager", "Availability": "drain", "Labels": {"rack": "red02"}},
            "Description": {"Hostname": "red02"}, "Status": {"State": "ready", "Addr": "127.0.0.3"},
            "ManagerStatus": {"Leader": true, "Reachability": "reachable", "Addr": "127.0.0.3:2377"}}));
    }
    stale.engine.start();
    let worker = world.switch_on("red03", Some(journal));
    worker.engine.start();
    eventually(async || {
        let board = board_at(&world, "red02").await;
        let word = board.and_then(|board| board.nodes[3].report.clone()).map(|report| report.word);
        word.is_some_and(|word| word.contains("has not heard that a new swarm is wanted"))
    })
    .await;
    assert!(world.swarm.lock().unwrap().joins.is_empty());
}

#[tokio::test]
async fn only_the_operator_orders_and_an_order_is_given_once() {
    let world = World::new(&["red01"]);
    let _manager = world.switch_on("red00", None);
    world.wait_for_api().await;
    let worker = world.ca.node("worker", "red01");
    for path in ["/v1/leave", "/v1/up", "/v1/nodes/red01/remove"] {
        for pair in [&worker, &world.ca.node("manager", "red00")] {
            let asked = world.request(pair, Method::POST, path).json(&number(9));
            assert_eq!(asked.send().await.unwrap().status(), 403, "{path}");
        }
    }
    assert_eq!(world.status(&worker, Method::GET, "/v1/orders").await, 403);
    let known = async || {
        let asked = world.request(&world.ca.operator(), Method::GET, "/v1/orders");
        asked.send().await.unwrap().json::<Orders>().await.unwrap()
    };
    assert_eq!(known().await, Orders::default());

    assert_eq!(order(&world, "red00", "/v1/leave", &number(9)).await.0, 202);
    assert_eq!(order(&world, "red00", "/v1/leave", &number(9)).await.0, 202, "it may arrive twice");
    assert_eq!(order(&world, "red00", "/v1/up", &number(9)).await.0, 409, "no higher than the last");
    assert_eq!(order(&world, "red00", "/v1/up", &number(10)).await.0, 202);
    let after = Orders { killed: 9, up: 10, ..Orders::default() };
    assert_eq!(known().await, after);
    // Played again, the end is no end.
    for (path, old) in [("/v1/leave", 9), ("/v1/leave", 8), ("/v1/nodes/red01/remove", 10)] {
        assert_eq!(order(&world, "red00", path, &number(old)).await.0, 409, "{path} {old}");
    }
    assert_eq!(known().await, after);
    let request = world.request(&world.ca.operator(), Method::POST, "/v1/leave");
    let garbage = request.header("content-type", "application/json").body("{\"number\": -1}");
    assert!(garbage.send().await.unwrap().status().is_client_error());
    assert_eq!(known().await, after);
    // Without a number the manager finds one, higher than any.
    let (status, orders) = order(&world, "red00", "/v1/leave", &number(0)).await;
    assert!(status == 202 && orders.is_some_and(|orders| orders.killed > 10 && orders.is_dissolved()));
}
