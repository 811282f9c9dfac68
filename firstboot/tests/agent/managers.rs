//! Three managers: who starts the swarm, who comes in when, and what becomes of one that comes back.

use std::collections::BTreeSet;
use std::time::Duration;

use cluster::wire::{Ballot, Board, Stage, Told, Vote};
use firstboot::journal::Progress;
use reqwest::Method;
use serde_json::json;

use crate::engine::Leader;
use crate::world::{Pi, World, eventually};

const MANAGERS: [&str; 3] = ["red00", "red01", "red02"];

fn world(workers: &[&'static str]) -> World {
    let mut world = World::new(workers);
    world.managers = MANAGERS.to_vec();
    world
}

async fn board_at(world: &World, manager: &str) -> Option<Board> {
    let answer =
        world.request_at(manager, &world.ca.operator(), Method::GET, "/v1/cluster").send().await.ok()?;
    answer.json().await.ok()
}

#[tokio::test]
async fn three_managers_start_one_swarm_and_come_in_one_at_a_time() {
    let world = world(&["red03"]);
    let nodes: Vec<_> = ["red03", "red02", "red01", "red00"].map(|name| world.switch_on(name, None)).into();
    nodes.iter().for_each(|node| node.engine.start());
    for manager in MANAGERS {
        // Each has the whole board, whoever was told.
        eventually(async || {
            let board = board_at(&world, manager).await;
            board.is_some_and(|board| {
                let ready = |report: &cluster::wire::Report| report.stage == Stage::Ready;
                board.formed && board.nodes.iter().all(|node| node.report.as_ref().is_some_and(ready))
            })
        })
        .await;
    }
    let swarm = world.swarm.lock().unwrap();
    assert_eq!((swarm.inits.len(), swarm.joins.len()), (1, 3));
    assert_eq!(swarm.most_entering, 1, "managers that joined at the same time");
}

#[tokio::test]
async fn without_its_first_manager_the_others_start_and_it_joins_when_it_comes() {
    let world = world(&[]);
    let others: Vec<_> = ["red01", "red02"].map(|name| world.switch_on(name, None)).into();
    others.iter().for_each(|node| node.engine.start());
    eventually(async || world.swarm.lock().unwrap().nodes.len() == 2).await;
    assert_eq!(others[0].journal().init, Progress::Completed, "the next in the cluster file");

    let late = world.switch_on("red00", None);
    late.engine.start();
    eventually(async || board_at(&world, "red00").await.is_some_and(|board| board.formed)).await;
    assert_eq!(world.swarm.lock().unwrap().inits.len(), 1);
    assert_eq!(late.journal().init, Progress::Never);
}

#[tokio::test]
async fn one_of_three_alone_starts_nothing_and_says_what_it_waits_for() {
    let world = world(&[]);
    let alone = world.switch_on("red00", None);
    alone.engine.start();
    eventually(async || {
        let board = board_at(&world, "red00").await;
        board.is_some_and(|board| {
            board.nodes[0].report.as_ref().unwrap().word.starts_with("waiting for other managers: 1 of 3")
        })
    })
    .await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(world.swarm.lock().unwrap().inits.is_empty());
}

#[tokio::test]
async fn a_manager_whose_card_was_written_anew_takes_its_old_place() {
    let world = world(&[]);
    let mut nodes = MANAGERS.map(|name| world.switch_on(name, None));
    nodes.iter().for_each(|node| node.engine.start());
    eventually(async || board_at(&world, "red00").await.is_some_and(|board| board.formed)).await;

    // Its life ends, and Swarm notices.
    let gone = &mut nodes[2];
    gone.pull_plug().await;
    let id = gone.engine.node.lock().unwrap().take().unwrap();
    for node in &mut world.swarm.lock().unwrap().nodes {
        if node["ID"] == id.as_str() {
            node["Status"]["State"] = json!("down");
            node["ManagerStatus"]["Reachability"] = json!("unreachable");
        }
    }
    let anew = world.switch_on_again("red02", gone);
    eventually(async || {
        let swarm = world.swarm.lock().unwrap();
        let mut named = swarm.nodes.iter().filter(|node| node["Description"]["Hostname"] == "red02");
        named.next().is_some_and(|node| node["ID"] != id.as_str()) && named.next().is_none()
    })
    .await;
    eventually(async || board_at(&world, "red00").await.is_some_and(|board| board.formed)).await;
    assert_eq!(world.swarm.lock().unwrap().inits.len(), 1);
    assert_eq!(anew.journal().init, Progress::Never);
}

#[tokio::test]
async fn a_founder_that_lost_its_swarm_waits_for_the_others_and_joins_theirs() {
    let world = world(&[]);
    let [founder, mut second, mut third] = MANAGERS.map(|name| world.switch_on(name, None));
    [&founder, &second, &third].iter().for_each(|node| node.engine.start());
    eventually(async || board_at(&world, "red00").await.is_some_and(|board| board.formed)).await;
    second.pull_plug().await;
    third.pull_plug().await;
    let id = founder.engine.node.lock().unwrap().take().unwrap();
    {
        let nodes = &mut world.swarm.lock().unwrap().nodes;
        nodes.retain(|node| node["ID"] != id.as_str());
        nodes[0]["ManagerStatus"]["Leader"] = json!(true);
    }

    let founder = world.restart("red00", founder).await;
    eventually(async || {
        let board = board_at(&world, "red00").await;
        let report = board.and_then(|board| board.nodes[0].report.clone());
        report.is_some_and(|report| report.error.is_none() && report.word.ends_with("1 of 3 are there"))
    })
    .await;
    let _others = [("red01", second), ("red02", third)].map(|(name, pi)| {
        let journal = serde_json::to_string(&pi.journal()).unwrap();
        world.switch_on_with(name, &world.ca.node("manager", name), Some(&journal), pi.engine)
    });
    eventually(async || board_at(&world, "red00").await.is_some_and(|board| board.formed)).await;
    assert!(founder.engine.node.lock().unwrap().as_ref().is_some_and(|node| *node != id));
    assert_eq!(world.swarm.lock().unwrap().inits.len(), 1, "no second swarm");
}

/// Long enough for any patience with Docker, for all that waits in this process.
async fn minutes_pass() {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(4 * 60)).await;
    tokio::time::resume();
}

fn id(pi: &Pi) -> Option<String> {
    pi.engine.node.lock().unwrap().clone()
}

/// Takes a node's power, with what it has on its card.
async fn pull(pi: &mut Pi) -> String {
    pi.pull_plug().await;
    pi.engine.stop();
    serde_json::to_string(&pi.journal()).unwrap()
}

fn power_on(world: &World, (name, role): (&str, &str), pi: Pi, journal: &str) -> Pi {
    pi.engine.start_again();
    world.switch_on_with(name, &world.ca.node(role, name), Some(journal), pi.engine)
}

#[tokio::test]
async fn managers_that_are_powered_on_minutes_apart_wait_for_each_other_and_nobody_leaves() {
    let world = world(&[]);
    let mut nodes = MANAGERS.map(|name| world.switch_on(name, None));
    nodes.iter().for_each(|node| node.engine.start());
    for manager in MANAGERS {
        eventually(async || board_at(&world, manager).await.is_some_and(|board| board.formed)).await;
    }
    let before = nodes.each_ref().map(id);
    let mut journals = Vec::new();
    for node in &mut nodes {
        journals.push(pull(node).await);
    }
    let mut back = Vec::new();
    for ((name, node), journal) in MANAGERS.into_iter().zip(nodes).zip(&journals) {
        back.push(power_on(&world, (name, "manager"), node, journal));
        if back.len() == 1 {
            // Alone of three.
            back[0].engine.wait_until_seen(8).await;
            minutes_pass().await;
            back[0].engine.wait_until_seen(8).await;
            let board = board_at(&world, name).await.unwrap();
            let word = &board.nodes[0].report.as_ref().unwrap().word;
            assert!(word.starts_with("waiting for the managers to agree: more than half"), "{word}");
            assert!(board.quorum_lost);
            // Who has a new card hears that there is a swarm to wait for.
            let (asker, ballot) =
                (world.ca.node("manager", "red01"), Ballot { number: 0, founder: None, up: 0 });
            let asked = world.request(&asker, Method::POST, "/v1/founder").json(&ballot).send().await;
            assert!(asked.unwrap().json::<Vote>().await.unwrap().member);
        }
        minutes_pass().await;
        assert_eq!(world.swarm.lock().unwrap().leaves, 0, "with {name}");
    }
    for manager in MANAGERS {
        eventually(async || board_at(&world, manager).await.is_some_and(|board| board.formed)).await;
    }
    assert_eq!(back.iter().map(id).collect::<Vec<_>>(), before);
    let swarm = world.swarm.lock().unwrap();
    assert_eq!((swarm.inits.len(), swarm.joins.len(), swarm.leaves), (1, 2, 0));
}

#[tokio::test]
async fn without_a_leader_the_board_shows_nobody_as_ready() {
    let world = world(&["red03"]);
    let mut nodes = ["red00", "red01", "red02", "red03"].map(|name| world.switch_on(name, None));
    nodes.iter().for_each(|node| node.engine.start());
    eventually(async || board_at(&world, "red00").await.is_some_and(|board| board.formed)).await;
    for node in &mut nodes[1..3] {
        pull(node).await;
    }
    let is_known = async || {
        let board = board_at(&world, "red00").await.unwrap();
        board.quorum_lost && !board.formed && board.nodes.iter().all(|node| node.swarm.is_none())
    };
    eventually(is_known).await;
    let served = world.swarm.lock().unwrap().leader;
    assert!(
        matches!(served, Leader::Lost(_)),
        "the engine does not serve its last list any more: {served:?}"
    );
    minutes_pass().await;
    eventually(async || world.swarm.lock().unwrap().leader == Leader::Missed).await;
    eventually(is_known).await;
}

#[tokio::test]
async fn a_worker_that_is_on_minutes_before_its_manager_stays_who_it_was() {
    let world = World::new(&["red01"]);
    let [mut manager, mut worker] = ["red00", "red01"].map(|name| world.switch_on(name, None));
    [&manager, &worker].iter().for_each(|pi| pi.engine.start());
    world.wait_until_formed().await;
    eventually(async || manager.journal().joined.len() == 2).await;
    let before = id(&worker);
    // The manager sees it go, and has it as down when it is back.
    let journals = [pull(&mut worker).await, pull(&mut manager).await];
    let worker = power_on(&world, ("red01", "worker"), worker, &journals[0]);
    worker.engine.wait_until_seen(8).await;
    minutes_pass().await;
    worker.engine.wait_until_seen(8).await;
    let _manager = power_on(&world, ("red00", "manager"), manager, &journals[1]);
    world.wait_until_formed().await;
    let swarm = world.swarm.lock().unwrap();
    assert_eq!((id(&worker), swarm.joins.len(), swarm.leaves), (before, 1, 0));
}

#[tokio::test]
async fn a_worker_that_its_owner_promoted_stays_and_says_how_to_undo_it() {
    let world = World::new(&["red01"]);
    let [_manager, worker] = ["red00", "red01"].map(|name| world.switch_on(name, None));
    [&_manager, &worker].iter().for_each(|pi| pi.engine.start());
    world.wait_until_formed().await;
    let before = id(&worker).unwrap();
    let set = |role: &str, status: serde_json::Value| {
        let mut swarm = world.swarm.lock().unwrap();
        let node = swarm.nodes.iter_mut().find(|node| node["ID"] == before.as_str()).unwrap();
        node["Version"]["Index"] = json!(node["Version"]["Index"].as_u64().unwrap() + 1);
        (node["Spec"]["Role"], node["ManagerStatus"]) = (json!(role), status);
    };
    let says = async |wanted: &str| {
        eventually(async || {
            let report = world.board().await.nodes[1].report.clone();
            report.is_some_and(|report| report.word.ends_with(wanted))
        })
        .await;
    };
    set("manager", json!({"Leader": false, "Reachability": "reachable", "Addr": "127.0.0.1:2377"}));
    says("docker node demote red01").await;
    minutes_pass().await;
    worker.engine.wait_until_seen(1).await;
    set("worker", serde_json::Value::Null);
    says(&format!("member {before}")).await;
    assert_eq!((id(&worker), world.swarm.lock().unwrap().leaves), (Some(before), 0));
}

#[tokio::test]
async fn a_workers_word_on_where_a_manager_is_moves_nobody() {
    let world = world(&["red03"]);
    let nodes = MANAGERS.map(|name| world.switch_on(name, None));
    nodes.iter().for_each(|node| node.engine.start());
    eventually(async || world.swarm.lock().unwrap().nodes.len() == 3).await;
    let id = nodes[1].engine.node.lock().unwrap().clone().unwrap();
    let body = json!({"stage": "ready", "word": "", "error": null, "address": "10.9.9.9", "swarm_node": id});
    for manager in MANAGERS {
        let worker = world.ca.node("worker", "red03");
        let put = world.request_at(manager, &worker, Method::PUT, "/v1/nodes/red03").json(&body);
        assert_eq!(put.send().await.unwrap().status(), 200);
    }
    // A lost label is put back in every round of the housekeeping: after four of them one manager has gone round twice.
    for _ in 0..4 {
        world.swarm.lock().unwrap().nodes[0]["Spec"]["Labels"] = json!(null);
        eventually(async || !world.swarm.lock().unwrap().nodes[0]["Spec"]["Labels"].is_null()).await;
    }
    let swarm = world.swarm.lock().unwrap();
    let named = swarm.nodes.iter().find(|node| node["ID"] == id.as_str()).unwrap();
    assert_eq!(named["Spec"]["Role"], json!("manager"));
}

/// Whether a node reports to this very manager.
async fn hears(world: &World, manager: &str, node: &str) -> bool {
    let asking = world.ca.node("manager", "red02");
    let answer = world.request_at(manager, &asking, Method::GET, "/v1/reports").send().await.unwrap();
    answer.json::<Vec<Told>>().await.unwrap().iter().any(|told| told.name.as_str() == node)
}

#[tokio::test]
async fn a_manager_that_turns_a_node_away_keeps_it_from_no_other() {
    let mut world = world(&["red03", "red04"]);
    let [early, late] = ["red03", "red04"].map(|name| world.ca.node("worker", name));
    // The first manager's card differs from that of the second.
    world.revoked = BTreeSet::from([early.key_id()]);
    let _first = world.switch_on("red00", None);
    world.revoked.clear();
    let _second = world.switch_on("red01", None);
    for manager in ["red00", "red01"] {
        eventually(async || board_at(&world, manager).await.is_some()).await;
    }
    let _early = world.switch_on_as("red03", &early, None);
    eventually(async || hears(&world, "red01", "red03").await).await;

    // And one that has let the node in and does so no more.
    let _late = world.switch_on_as("red04", &late, None);
    eventually(async || hears(&world, "red00", "red04").await).await;
    assert!(!hears(&world, "red01", "red04").await);
    let path = "/v1/nodes/red04/revoke";
    let revoke = world.request(&world.ca.operator(), Method::POST, path);
    assert_eq!(revoke.json(&json!({"keys": [late.key_id()]})).send().await.unwrap().status(), 200);
    eventually(async || hears(&world, "red01", "red04").await).await;
}

#[tokio::test]
async fn only_managers_vote_and_exchange_what_they_have_heard() {
    let world = world(&["red03"]);
    let _manager = world.switch_on("red00", None);
    world.wait_for_api().await;
    let ballot = Ballot { number: 0, founder: None, up: 0 };
    for (pair, status) in [
        (world.ca.node("worker", "red03"), 403),
        (world.ca.operator(), 403),
        (world.ca.node("manager", "red03"), 403),
        (world.ca.node("manager", "red01"), 200),
    ] {
        let asked = world.request(&pair, Method::POST, "/v1/founder").json(&ballot);
        assert_eq!(asked.send().await.unwrap().status(), status);
        assert_eq!(world.status(&pair, Method::GET, "/v1/reports").await, status);
    }
    let stranger = json!({"number": 5, "founder": "red03"});
    let manager = world.ca.node("manager", "red01");
    let asked = world.request(&manager, Method::POST, "/v1/founder").json(&stranger);
    assert_eq!(asked.send().await.unwrap().status(), 400);
}

#[tokio::test]
async fn a_promise_outlives_the_agent_that_gave_it() {
    let world = world(&[]);
    let ask = async |number, founder: Option<&str>| {
        let ballot = json!({"number": number, "founder": founder});
        let manager = world.ca.node("manager", "red01");
        let asked = world.request(&manager, Method::POST, "/v1/founder").json(&ballot);
        asked.send().await.unwrap().json::<Vote>().await.unwrap()
    };
    let mut first = world.switch_on("red00", None);
    world.wait_for_api().await;
    assert!(ask(7, None).await.granted);
    let journal = serde_json::to_string(&first.journal()).unwrap();
    first.pull_plug().await;
    let _second = world.switch_on("red00", Some(&journal));
    world.wait_for_api().await;
    assert!(!ask(7, None).await.granted && !ask(4, Some("red01")).await.granted);
    assert!(ask(7, Some("red01")).await.granted);
}
