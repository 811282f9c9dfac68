//! What a node tells of itself: to its manager, and on its card to whoever holds it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cluster::history::{Event, Kind};
use cluster::wire::{History, Stage};
use firstboot::host::fake::Node;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::world::{Pi, World, eventually};

const FOLDER: &str = "/boot/firmware/swarm";

/// A node with its card mounted.
fn with_card(world: &World, name: &str) -> Pi {
    let role = if name == "red00" { "manager" } else { "worker" };
    let mut files = world.files(name, &world.ca.node(role, name), None);
    files.insert(FOLDER.into(), Node::Folder { mode: 0o755, owner: None });
    let file = |text: &str| Node::File { bytes: text.as_bytes().to_vec(), mode: 0o755, owner: None };
    files.insert(Path::new(FOLDER).join("card.json"), file("{}"));
    files.insert(Path::new(FOLDER).join("status.txt"), file("This card belongs to red01.\n"));
    world.switch_on_files(name, files)
}

fn text(pi: &Pi, name: &str) -> String {
    match pi.host.files().get(&PathBuf::from(FOLDER).join(name)) {
        Some(Node::File { bytes, .. }) => String::from_utf8(bytes.clone()).unwrap(),
        _ => String::new(),
    }
}

async fn history(world: &World, node: &str) -> Vec<Event> {
    let path = format!("/v1/nodes/{node}/history");
    let answer = world.request(&world.ca.operator(), Method::GET, &path).send().await.unwrap();
    answer.json::<History>().await.unwrap().events
}

#[tokio::test]
async fn a_node_writes_its_stages_on_its_card_and_keeps_what_the_seed_stage_wrote() {
    let world = World::new(&["red01"]);
    let manager = with_card(&world, "red00");
    let worker = with_card(&world, "red01");
    manager.engine.start();
    worker.engine.start();
    for pi in [&manager, &worker] {
        eventually(async || text(pi, "status.txt").contains("was at the stage ready")).await;
        assert!(text(pi, "status.txt").starts_with("This card belongs to red01.\n"));
        let events: Vec<Event> = text(pi, "log.txt").lines().map(|line| line.parse().unwrap()).collect();
        let stages: Vec<_> = events.iter().map(|event| event.stage).collect();
        assert!(stages.is_sorted() && stages.last() == Some(&Stage::Ready), "{stages:?}");
        // By the clock of this machine, in this order.
        assert!(events.iter().map(|event| event.unix_ms).is_sorted());
        // Not at every word: cards wear.
        let entries = pi.power.log().iter().filter(|effect| effect.ends_with("swarm/log.txt")).count();
        assert!((1..=6).contains(&entries), "{entries} entries for {} events", events.len());
    }
}

#[tokio::test]
async fn the_last_word_of_a_node_that_gave_up_is_on_its_card() {
    let world = World::new(&["red01"]);
    let mut files = world.files(
        "red00",
        &world.ca.node("manager", "red00"),
        Some(r#"{"version": 1, "init": "completed"}"#),
    );
    files.insert(FOLDER.into(), Node::Folder { mode: 0o755, owner: None });
    let card = Node::File { bytes: b"{}".to_vec(), mode: 0o755, owner: None };
    files.insert(Path::new(FOLDER).join("card.json"), card);
    let manager = world.switch_on_files("red00", files);
    manager.engine.start();
    world.wait_for_api().await;
    // It ends as soon as somebody was told.
    let operator = world.ca.operator();
    eventually(async || {
        let asked = world.request(&operator, Method::GET, "/v1/cluster").send().await;
        asked.is_err() || manager.task.is_finished()
    })
    .await;
    eventually(async || manager.task.is_finished()).await;
    let log = text(&manager, "log.txt");
    let last: Event = log.lines().last().unwrap().parse().unwrap();
    assert_eq!(last.kind, Kind::GaveUp);
    assert!(last.text.contains("is gone from Docker"), "{}", last.text);
    assert!(text(&manager, "status.txt").contains("It has given up: "));
}

#[tokio::test]
async fn a_token_that_docker_quotes_is_on_no_board_in_no_history_and_on_no_card() {
    let world = World::new(&["red01"]);
    let manager = with_card(&world, "red00");
    manager.engine.start();
    let worker = with_card(&world, "red01");
    let quoted = (500, "invalid join token SWMTKN-1-for-workers, said the engine");
    worker.engine.refusals.lock().unwrap().extend([quoted; 3]);
    worker.engine.start();
    let mut told = String::new();
    world.wait_for_api().await;
    eventually(async || {
        let board = world.board().await;
        told.push_str(&format!("{board:?}"));
        board.formed
    })
    .await;
    eventually(async || text(&worker, "status.txt").contains("stage ready")).await;
    let log = text(&worker, "log.txt");
    assert!(log.contains("invalid join token (token), said the engine"), "{log}");
    told.push_str(&format!("{:?}{:?}", history(&world, "red01").await, history(&world, "red00").await));
    for pi in [&manager, &worker] {
        for node in pi.host.files().into_values() {
            if let Node::File { bytes, .. } = node {
                told.push_str(&String::from_utf8_lossy(&bytes));
            }
        }
    }
    assert!(!told.contains("SWMTKN"));
}

#[tokio::test]
async fn a_docker_that_hangs_keeps_no_report_off_the_board_and_no_board_from_the_operator() {
    let world = World::new(&["red01", "red02"]);
    let manager = world.switch_on("red00", None);
    // It takes connections and says nothing.
    let _hangs = tokio::net::UnixListener::bind(&manager.engine.socket).unwrap();
    let operator = world.ca.operator();
    eventually(async || world.request(&operator, Method::GET, "/v1/orders").send().await.is_ok()).await;
    let put = |name: &str, word: &str| {
        let body =
            json!({"stage": "docker", "word": word, "error": null, "address": null, "swarm_node": null});
        let worker = world.ca.node("worker", name);
        world.request(&worker, Method::PUT, &format!("/v1/nodes/{name}")).json(&body)
    };
    // Somebody who does not wait for the answer has said what it said.
    assert!(put("red01", "in a hurry").timeout(Duration::from_millis(700)).send().await.is_err());
    let started = Instant::now();
    let many = join_all((0..5).map(|_| put("red02", "patient").send())).await;
    assert!(many.into_iter().all(|answer| answer.unwrap().status() == 200));
    let words: Vec<_> =
        world.board().await.nodes.into_iter().filter_map(|node| Some(node.report?.word)).collect();
    assert_eq!(words[1..], ["in a hurry", "patient"]);
    // A node gives up after ten seconds, the operator, too.
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
}

#[tokio::test]
async fn the_operator_hears_what_a_node_went_through_and_nobody_else_does() {
    let world = World::new(&["red01", "red02"]);
    let _manager = world.switch_on("red00", None);
    world.wait_for_api().await;
    let worker = world.ca.node("worker", "red01");
    let client = world.client(Some(&worker)).build().unwrap();
    for (word, error) in [("one", None), ("one", Some("no route")), ("one", Some("no route")), ("two", None)]
    {
        let error = error.map(|message| json!({"message": message, "permanent": false}));
        let body =
            json!({"stage": "docker", "word": word, "error": error, "address": null, "swarm_node": null});
        let put = client.put(world.url("/v1/nodes/red01")).json(&body).send().await.unwrap();
        assert_eq!(put.status(), 200);
    }
    let events = history(&world, "red01").await;
    let told: Vec<_> = events.iter().map(|event| (event.kind, event.text.as_str())).collect();
    assert_eq!(told, [(Kind::Said, "one"), (Kind::Trouble, "no route"), (Kind::Said, "two")]);
    assert_eq!(history(&world, "red02").await, [], "never heard from");
    assert!(!history(&world, "red00").await.is_empty(), "the manager's own");
    assert_eq!(world.status(&worker, Method::GET, "/v1/nodes/red01/history").await, 403);
    assert_eq!(world.status(&world.ca.operator(), Method::GET, "/v1/nodes/red09/history").await, 404);

    // However much it says, the manager keeps a bounded part of it.
    for sent in 0..80 {
        // A key's rate is not what is tested here.
        let worker = world.ca.node("worker", "red01");
        let body = json!({"stage": "docker", "word": format!("{sent} {}", "x".repeat(900)), "error": null,
            "address": null, "swarm_node": null});
        let put = world.request(&worker, Method::PUT, "/v1/nodes/red01").json(&body);
        assert_eq!(put.send().await.unwrap().status(), 200);
    }
    let kept = history(&world, "red01").await;
    assert!(kept.iter().map(|event| event.text.len()).sum::<usize>() <= 8 * 1024);
    assert!(kept.last().unwrap().text.starts_with("79 "));
}
