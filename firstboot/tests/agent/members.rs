//! Machines that call themselves after another node: the name that Docker shows proves nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use cluster::wire::{Board, BoardNode, Proof, Report};
use firstboot::host::Host as _;
use firstboot::host::fake::{FakeHost, Files};
use rcgen::{KeyPair, SigningKey as _};
use reqwest::Method;
use serde_json::{Value, json};

use crate::engine::{CERTIFICATE, Engine, KEY};
use crate::identity::{CLUSTER, Pair};
use crate::world::{Pi, Sink, World, eventually};

/// A swarm of red00 and red01, and a member that calls itself red01.
async fn with_a_namesake(world: &World) -> [Pi; 2] {
    let all = ["red00", "red01"].map(|name| world.switch_on(name, None));
    all.iter().for_each(|pi| pi.engine.start());
    world.wait_for_api().await;
    eventually(async || row(&world.board().await, "red01").swarm.is_some_and(|entry| entry.state == "ready"))
        .await;
    world.swarm.lock().unwrap().nodes.push(json!({
        "ID": "namesake", "Version": {"Index": 1},
        "Spec": {"Role": "worker", "Availability": "active", "Labels": null},
        "Description": {"Hostname": "red01"}, "Status": {"State": "ready", "Addr": "127.0.0.9"},
        "ManagerStatus": null,
    }));
    all
}

fn entry(world: &World, id: &str) -> Option<Value> {
    world.swarm.lock().unwrap().nodes.iter().find(|node| node["ID"] == id).cloned()
}

fn set_state(world: &World, id: &str, state: &str) {
    for node in &mut world.swarm.lock().unwrap().nodes {
        if node["ID"] == id {
            node["Status"]["State"] = json!(state);
        }
    }
}

fn row(board: &Board, name: &str) -> BoardNode {
    board.nodes.iter().find(|node| node.name.as_str() == name).unwrap().clone()
}

/// Reports as a node, and gives the answer.
async fn report(world: &World, name: &str, report: &Value) -> Value {
    report_as(world, &world.ca.node("worker", name), name, report).await
}

async fn report_as(world: &World, pair: &Pair, name: &str, report: &Value) -> Value {
    let request = world.request(pair, Method::PUT, &format!("/v1/nodes/{name}")).json(report);
    request.send().await.unwrap().json().await.unwrap()
}

#[tokio::test]
async fn a_machine_that_calls_itself_after_a_node_changes_nothing_for_that_node() {
    let world = World::new(&["red01"]);
    let [_manager, worker] = with_a_namesake(&world).await;
    let own = worker.engine.node.lock().unwrap().clone().unwrap();
    // It is not counted as red01, nor does it keep red01 from being counted.
    eventually(async || {
        let board = world.board().await;
        let strangers: Vec<_> = board.strangers.iter().map(|stranger| stranger.id.as_str()).collect();
        board.formed && row(&board, "red01").swarm.unwrap().id == own && strangers == ["namesake"]
    })
    .await;

    // While red01 is down, its entry stays, and it is not kept out.
    set_state(&world, &own, "down");
    eventually(async || !world.board().await.formed).await;
    let rounds = world.swarm.lock().unwrap().looks;
    eventually(async || world.swarm.lock().unwrap().looks > rounds + 20).await;
    assert!(entry(&world, &own).is_some(), "red01's entry was removed");
    let labels = entry(&world, "namesake").unwrap()["Spec"]["Labels"].clone();
    assert_eq!(labels, Value::Null, "the stranger got the labels that are planned for red01");
    assert_eq!(world.status(&world.ca.node("worker", "red01"), Method::POST, "/v1/join").await, 200);

    // The operator sees both, and who is the stranger.
    let detail = world.request(&world.ca.operator(), Method::GET, "/v1/swarm");
    let detail: Value = detail.send().await.unwrap().json().await.unwrap();
    let rows = detail["nodes"].as_array().unwrap();
    let planned = |id: &str| rows.iter().find(|row| row["swarm"]["id"] == id).unwrap()["planned"].clone();
    assert_eq!((planned(&own), planned("namesake")), (json!(true), json!(false)));
}

#[tokio::test]
async fn revoking_a_node_removes_its_entry_whatever_its_machine_is_called() {
    let world = World::new(&["red01"]);
    let manager = world.switch_on("red00", None);
    manager.engine.start();
    let pair = world.ca.node("worker", "red01");
    let engine = Engine::new(world.folder.path(), "kitchen", &world.swarm);
    let worker = world.switch_on_with("red01", &pair, None, engine);
    worker.engine.start();
    world.wait_until_formed().await;
    let own = worker.engine.node.lock().unwrap().clone().unwrap();
    let request = world.request(&world.ca.operator(), Method::POST, "/v1/nodes/red01/revoke");
    let answer = request.json(&json!({"keys": [pair.key_id()]})).send().await.unwrap();
    assert_eq!(answer.json::<Value>().await.unwrap()["members"], json!([own]));
    assert_eq!(entry(&world, &own), None);
}

/// What an agent of 6bc94bb reports.
fn old_report(id: &str, address: &str) -> Value {
    json!({"stage": "ready", "word": "member", "error": null, "address": address, "swarm_node": id})
}

#[tokio::test]
async fn an_old_agents_node_is_known_by_name_with_a_warning() {
    let world = World::new(&["red01", "red02"]);
    let [_manager, _worker] = with_a_namesake(&world).await;
    world.swarm.lock().unwrap().nodes.iter_mut().for_each(|node| {
        if node["ID"] == "namesake" {
            node["Description"]["Hostname"] = json!("red02");
        }
    });
    assert_eq!(row(&world.board().await, "red02").swarm, None, "nobody has reported as red02");
    let answer = report(&world, "red02", &old_report("namesake", "127.0.0.1")).await;
    assert_eq!(answer.get("nonce"), None, "an old agent is not asked for what it cannot do");
    eventually(async || world.board().await.formed).await;
    let red02 = row(&world.board().await, "red02");
    assert_eq!(red02.swarm.unwrap().id, "namesake");
    let warnings = red02.report.unwrap().warnings;
    assert!(warnings.iter().any(|warning| warning.contains("agent is old")), "{warnings:?}");
    eventually(async || entry(&world, "namesake").unwrap()["Spec"]["Labels"]["rack"] == "red02").await;
}

#[tokio::test]
async fn an_old_agents_entry_goes_once_its_new_agent_is_in() {
    let world = World::new(&["red01"]);
    let manager = world.switch_on("red00", None);
    manager.engine.start();
    world.wait_for_api().await;
    eventually(async || row(&world.board().await, "red00").swarm.is_some()).await;
    world.swarm.lock().unwrap().nodes.push(json!({
        "ID": "old", "Version": {"Index": 1},
        "Spec": {"Role": "worker", "Availability": "active", "Labels": null},
        "Description": {"Hostname": "red01"}, "Status": {"State": "ready", "Addr": "127.0.0.1"},
        "ManagerStatus": null,
    }));
    report(&world, "red01", &old_report("old", "127.0.0.1")).await;
    world.wait_until_formed().await;
    // Its card is written anew, with an agent that proves its entry.
    set_state(&world, "old", "down");
    let worker = world.switch_on("red01", None);
    worker.engine.start();
    eventually(async || entry(&world, "old").is_none()).await;
    world.wait_until_formed().await;
    let own = worker.engine.node.lock().unwrap().clone();
    assert_eq!(row(&world.board().await, "red01").swarm.map(|entry| entry.id), own);
}

/// What red01's agent sends to prove an entry.
fn prove(disk: &FakeHost, pair: &Pair, entry: &str, nonce: &str) -> Proof {
    let read = |path: &str| String::from_utf8(disk.read(Path::new(path)).unwrap().unwrap()).unwrap();
    let key = read(KEY).replace("kek-version: 0\n\n", "");
    let statement = format!(
        "builder: Swarm entry of a node, version 1\n{CLUSTER}\nred01\n{}\n{entry}\n{nonce}\n",
        pair.key_id()
    );
    let signature = KeyPair::from_pem(&key).unwrap().sign(statement.as_bytes()).unwrap();
    Proof { certificate: read(CERTIFICATE), signature: BASE64_STANDARD.encode(signature) }
}

#[tokio::test]
async fn a_node_that_joins_without_end_fills_neither_log_nor_disk() {
    const TIMES: usize = 12;
    let (sink, _guard) = Sink::of_this_thread();
    let world = World::new(&["red01"]);
    let manager = world.switch_on("red00", None);
    manager.engine.start();
    world.wait_for_api().await;
    eventually(async || row(&world.board().await, "red00").swarm.is_some()).await;
    let pair = world.ca.node("worker", "red01");
    let disk = Arc::new(FakeHost::new(Arc::default(), Files::new(), UNIX_EPOCH));
    let engine = Engine::new(world.folder.path(), "red01", &world.swarm);
    engine.keep_on(&disk);
    let (start, mut accepted) = (Instant::now(), 0);
    for _ in 0..TIMES {
        let id = engine.join_again();
        let mut claim = old_report(&id, "127.0.0.1");
        claim["proves"] = json!(true);
        // The list that the manager knows may be a moment old.
        let mut nonce = Value::Null;
        eventually(async || {
            nonce = report_as(&world, &pair, "red01", &claim).await["nonce"].clone();
            nonce.is_string()
        })
        .await;
        claim["proof"] = json!(prove(&disk, &pair, &id, nonce.as_str().unwrap()));
        let answer = report_as(&world, &pair, "red01", &claim).await;
        assert_eq!(answer.get("nonce"), None, "asked again at once");
        let entries = manager.journal().entries;
        accepted += usize::from(entries.values().flatten().any(|entry| *entry == id));
    }
    let allowed = 5 + start.elapsed().as_secs() / 15;
    assert!((1..=allowed).contains(&(accepted as u64)), "{accepted} of {TIMES}, {allowed} allowed");
    let lines = sink.count("red01 has proved that it is");
    assert_eq!(lines, accepted.ilog2() as usize + 1, "by powers of two:\n{}", sink.text());
    assert!(manager.journal().entries.values().all(|ids| ids.len() <= 8));
}

#[tokio::test]
async fn a_false_proof_is_no_proof_and_each_is_asked_for_anew() {
    let world = World::new(&["red01", "red02"]);
    let [_manager, worker] = with_a_namesake(&world).await;
    let own = worker.engine.node.lock().unwrap().clone().unwrap();
    let claim = |proof: Option<Proof>| {
        let mut claim = old_report(&own, "127.0.0.1");
        claim["proves"] = json!(true);
        claim["proof"] = json!(proof);
        claim
    };
    // red02 says that red01's entry is its own.
    let first = report(&world, "red02", &claim(None)).await["nonce"].clone();
    let proof = Proof { certificate: "none".to_owned(), signature: String::new() };
    let second = report(&world, "red02", &claim(Some(proof))).await["nonce"].clone();
    assert!(first.is_string() && second.is_string() && first != second, "{first} {second}");
    let board = world.board().await;
    assert_eq!(row(&board, "red02").swarm, None);
    assert_eq!(row(&board, "red01").swarm.unwrap().id, own);
    let warnings = row(&board, "red02").report.unwrap().warnings;
    assert_eq!(warnings, [""; 0], "red01 has proved that entry");
    // What was sent as a proof is passed on to nobody.
    let shown: Option<Report> = row(&board, "red02").report;
    assert_eq!(shown.unwrap().proof, None);
}

#[tokio::test]
async fn a_worker_is_only_where_its_connection_comes_from_or_where_it_is_planned() {
    let world = World::new(&["red01", "red02"]);
    let manager = world.switch_on("red00", None);
    manager.engine.start();
    world.wait_for_api().await;
    // 127.0.0.1 is where connections come from in this test, and where workers are planned.
    for (said, kept) in
        [("127.0.0.1", json!("127.0.0.1")), ("127.0.0.2", Value::Null), ("10.0.0.7", Value::Null)]
    {
        report(&world, "red02", &old_report("x", said)).await;
        let shown = json!(row(&world.board().await, "red02").report.unwrap().address);
        assert_eq!(shown, kept, "{said}");
    }
}
