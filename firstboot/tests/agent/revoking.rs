//! A node that is not to be let in any more, and the tokens that are worth nothing any more.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use cluster::wire::{JoinWindow, Problem, ProblemCode, Revoked};
use firstboot::host::Host as _;
use firstboot::host::fake::{FakeHost, Limit, Node};
use firstboot::journal::Progress;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::engine::{Engine, WORKER_TOKEN};
use crate::identity::Pair;
use crate::world::{NOW, Pi, Sink, World, eventually, journal, play};

/// A formed cluster of red00, red01 and red02.
async fn formed(world: &World) -> [Pi; 3] {
    let all = ["red00", "red01", "red02"].map(|name| world.switch_on(name, None));
    all.iter().for_each(|pi| pi.engine.start());
    world.wait_until_formed().await;
    all
}

async fn revoke(world: &World, node: &str, pair: &Pair) -> (StatusCode, Option<Revoked>) {
    let request = world.request(&world.ca.operator(), Method::POST, &format!("/v1/nodes/{node}/revoke"));
    let answer = request.json(&json!({"keys": [pair.key_id()]})).send().await.unwrap();
    (answer.status(), answer.json().await.ok())
}

fn entries(world: &World, name: &str) -> Vec<String> {
    let swarm = world.swarm.lock().unwrap();
    let named = swarm.nodes.iter().filter(|node| node["Description"]["Hostname"] == name);
    named.map(|node| node["ID"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_revoked_node_loses_its_membership_and_its_voice_and_the_others_keep_theirs() {
    let world = World::new(&["red01", "red02"]);
    let stolen = world.ca.node("worker", "red01");
    let manager = world.switch_on("red00", None);
    let thief = world.switch_on_as("red01", &stolen, None);
    let other = world.switch_on("red02", None);
    [&manager, &thief, &other].iter().for_each(|pi| pi.engine.start());
    world.wait_until_formed().await;
    let (before, others) = (world.tokens(), entries(&world, "red02"));
    // A connection that is open already must not outlive the revocation.
    let open = world.client(Some(&stolen)).build().unwrap();
    assert_eq!(open.post(world.url("/v1/join")).send().await.unwrap().status(), 409);

    let (status, answer) = revoke(&world, "red01", &stolen).await;
    let answer = answer.unwrap();
    assert_eq!((status.as_u16(), answer.unfinished), (200, None));
    assert_eq!(answer.members.len(), 1);
    assert_eq!(entries(&world, "red01"), Vec::<String>::new());
    assert_eq!(entries(&world, "red02"), others);
    assert_ne!(world.tokens(), before, "the thief may have kept the token");
    let refused = open.post(world.url("/v1/join")).send().await.unwrap();
    assert_eq!(refused.status(), 403);
    let cause = refused.json::<Problem>().await.unwrap().cause;
    assert_eq!(cause, Some(ProblemCode::Revoked.into()));
    assert_eq!(world.status(&stolen, Method::PUT, "/v1/nodes/red01").await, 403);

    // A restart forgets nothing.
    let _manager = world.restart("red00", manager).await;
    world.wait_for_api().await;
    assert_eq!(world.status(&stolen, Method::POST, "/v1/join").await, 403);

    // A new card is let in, though the thief's machine goes on asking under the same name.
    let empty = Engine::new(&world.folder.path().join("new"), "red01", &world.swarm);
    std::fs::create_dir(world.folder.path().join("new")).unwrap();
    let _new = world.switch_on_with("red01", &world.ca.node("worker", "red01"), None, Arc::clone(&empty));
    empty.start();
    world.wait_until_formed().await;
    assert_eq!(entries(&world, "red01").len(), 1);
    assert_eq!(world.status(&stolen, Method::POST, "/v1/join").await, 403);
    assert!(!thief.task.is_finished(), "it keeps trying, and gets nothing");
}

#[tokio::test]
async fn a_revoked_nodes_new_card_needs_no_open_window() {
    let mut world = World::new(&["red01"]);
    world.join_window_seconds = 600;
    // The agents' clock stands at 1790000000.
    let manager = world
        .switch_on("red00", Some(r#"{"version": 1, "window_opened": 1789990000, "window_is_sure": true}"#));
    manager.engine.start();
    world.wait_for_api().await;
    let (old, new) = (world.ca.node("worker", "red01"), world.ca.node("worker", "red01"));
    eventually(async || world.status(&new, Method::POST, "/v1/join").await == 403).await;
    assert_eq!(revoke(&world, "red01", &old).await.0, 200);
    assert_eq!(world.status(&new, Method::POST, "/v1/join").await, 200);
    assert_eq!(world.status(&old, Method::POST, "/v1/join").await, 403);
}

#[tokio::test]
async fn a_manager_that_is_made_anew_knows_from_its_card_who_is_revoked() {
    let mut world = World::new(&["red01"]);
    let (stolen, fresh) = (world.ca.node("worker", "red01"), world.ca.node("worker", "red01"));
    world.revoked = BTreeSet::from([stolen.key_id()]);
    let _manager = world.switch_on("red00", None);
    world.wait_for_api().await;
    assert_eq!(world.status(&stolen, Method::POST, "/v1/join").await, 403);
    assert_eq!(world.status(&fresh, Method::POST, "/v1/join").await, 503, "no swarm yet");
}

#[tokio::test]
async fn only_the_operator_revokes_and_never_the_manager_it_asks() {
    let world = World::new(&["red01", "red02"]);
    let _all = formed(&world).await;
    let victim = world.ca.node("worker", "red02");
    let body = json!({"keys": [victim.key_id()]});
    let worker = world.ca.node("worker", "red01");
    for node in ["red01", "red02"] {
        let request = world.request(&worker, Method::POST, &format!("/v1/nodes/{node}/revoke"));
        assert_eq!(request.json(&body).send().await.unwrap().status(), 403, "{node}");
    }
    assert_eq!(revoke(&world, "red00", &victim).await.0, 409);
    assert_eq!(revoke(&world, "red09", &victim).await.0, 404);
    let operator = world.ca.operator();
    let bad = [
        json!({"keys": []}),
        json!({"keys": ["x"]}),
        json!({"keys": [operator.key_id()]}),
        json!({"keys": (0..200).map(|n| format!("{n:064x}")).collect::<BTreeSet<_>>()}),
    ];
    for body in bad {
        let request = world.request(&operator, Method::POST, "/v1/nodes/red02/revoke").json(&body);
        assert_eq!(request.send().await.unwrap().status(), 422, "{body}");
    }
    assert_eq!(entries(&world, "red02").len(), 1);
    assert_eq!(world.status(&victim, Method::POST, "/v1/join").await, 409, "still a member like any other");
}

#[tokio::test]
async fn what_docker_does_not_do_at_once_is_done_later() {
    let world = World::new(&["red01", "red02"]);
    let [manager, thief, _other] = formed(&world).await;
    thief.task.abort();
    let before = world.tokens();
    let pair = world.ca.node("worker", "red01");
    // Docker is in the middle of something, for longer than the request tries.
    manager
        .engine
        .update_refusals
        .lock()
        .unwrap()
        .extend([(500, "rpc error: code = Unknown desc = update out of sequence"); 7]);
    let (status, answer) = revoke(&world, "red01", &pair).await;
    assert_eq!(status, 200);
    assert!(answer.unwrap().unfinished.unwrap().contains("tokens"));
    assert_eq!(world.status(&pair, Method::POST, "/v1/join").await, 403, "refused all the same");
    eventually(async || world.tokens() != before && entries(&world, "red01").is_empty()).await;
    eventually(async || manager.journal().expelled.is_empty()).await;
    assert_eq!(manager.journal().rotations_done, 1);
}

#[tokio::test]
async fn a_manager_that_came_in_later_changes_the_tokens_and_says_when_it_cannot_see_who_is_a_member() {
    let mut world = World::new(&["red03"]);
    world.managers = vec!["red00", "red01", "red02"];
    let mut nodes = ["red00", "red01", "red02", "red03"].map(|name| world.switch_on(name, None));
    nodes.iter().for_each(|pi| pi.engine.start());
    world.wait_until_formed().await;
    // The card of the one that started the swarm is written anew.
    let founder = &mut nodes[0];
    founder.pull_plug().await;
    let id = founder.engine.node.lock().unwrap().take().unwrap();
    for node in &mut world.swarm.lock().unwrap().nodes {
        let is_gone = node["ID"] == id.as_str();
        if is_gone {
            node["Status"]["State"] = json!("down");
            node["ManagerStatus"]["Reachability"] = json!("unreachable");
        }
        if !node["ManagerStatus"].is_null() {
            node["ManagerStatus"]["Leader"] = json!(!is_gone && node["Description"]["Hostname"] == "red01");
        }
    }
    let anew = world.switch_on_again("red00", founder);
    world.wait_until_formed().await;
    for manager in [&anew, &nodes[1], &nodes[2]] {
        assert_eq!(manager.journal().init, Progress::Never, "it started no swarm");
    }

    let (before, stolen) = (world.tokens(), world.ca.node("worker", "red03"));
    let revoke_at = async |manager| {
        let path = "/v1/nodes/red03/revoke";
        let request = world.request_at(manager, &world.ca.operator(), Method::POST, path);
        request.json(&json!({"keys": [stolen.key_id()]})).send().await.unwrap()
    };
    // Docker is not there just now.
    std::fs::remove_file(&nodes[2].engine.socket).unwrap();
    let blind = revoke_at("red02").await;
    assert_eq!(blind.status(), 503);
    assert!(blind.json::<Problem>().await.unwrap().message.contains("whether it is a member cannot be seen"));
    let refused = world.request_at("red02", &stolen, Method::POST, "/v1/join").send().await.unwrap();
    assert_eq!(refused.status(), 403, "refused all the same");

    let answer = revoke_at("red00").await.json::<Revoked>().await.unwrap();
    assert_eq!((answer.members.len(), answer.unfinished), (1, None));
    assert_eq!(entries(&world, "red03"), Vec::<String>::new());
    assert_ne!(world.tokens(), before, "the thief may have kept the token");
}

#[tokio::test]
async fn the_join_window_counts_time_since_boot_whatever_the_clock_says() {
    const SYNCED: &str = "/run/systemd/timesync/synchronized";
    const DECADE: u64 = 10 * 365 * 86_400;
    let mut world = World::new(&["red01"]);
    world.join_window_seconds = 600;
    let mut files = world.files("red00", &world.ca.node("manager", "red00"), None);
    let synced = files.remove(Path::new(SYNCED)).unwrap();
    let manager = world.switch_on_files("red00", files);
    manager.engine.start();
    world.wait_for_api().await;
    let stranger = world.ca.node("worker", "red01");
    let join = async || world.status(&stranger, Method::POST, "/v1/join").await;
    eventually(async || join().await == 200).await;
    // Whoever answers as a time server closes nothing,
    let at = |seconds| manager.host.set_clock(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
    for seconds in [NOW + DECADE, NOW - DECADE] {
        at(seconds);
        world.housekeeping_round().await;
        assert_eq!((join().await, manager.journal().window_closed), (200, false));
    }
    // holds nothing open,
    manager.host.pass(Duration::from_secs(601));
    at(NOW - DECADE);
    eventually(async || manager.journal().rotations_done == 1).await;
    assert!(manager.journal().window_closed && world.tokens().0 != WORKER_TOKEN);
    assert_eq!(join().await, 403);
    // and opens nothing again.
    at(NOW);
    manager.host.place(SYNCED, synced);
    eventually(async || {
        world.board().await.nodes[0].report.as_ref().unwrap().facts.clock_synced == Some(true)
    })
    .await;
    world.housekeeping_round().await;
    assert_eq!((join().await, manager.journal().rotations_done), (403, 1));
}

#[tokio::test]
async fn a_restart_of_the_agent_goes_on_counting_the_join_window() {
    let mut world = World::new(&["red01"]);
    world.join_window_seconds = 600;
    let files = world.files("red00", &world.ca.node("manager", "red00"), None);
    let clock = UNIX_EPOCH + Duration::from_secs(NOW);
    let host = Arc::new(FakeHost::new(Arc::default(), files, clock).with_programs(play));
    let boot_id = b"11111111-2222-3333-4444-555555555555\n".to_vec();
    let boot_id = Node::File { bytes: boot_id, mode: 0o444, owner: None };
    host.place("/proc/sys/kernel/random/boot_id", boot_id);
    let engine = Engine::new(world.folder.path(), "red00", &world.swarm);
    engine.start();
    let stranger = world.ca.node("worker", "red01");
    let join = async || world.status(&stranger, Method::POST, "/v1/join").await;
    for minutes in [4, 3, 2] {
        let _life = world.boot(&host, &engine);
        world.wait_for_api().await;
        eventually(async || join().await == 200).await;
        host.pass(Duration::from_secs(60 * minutes));
    }
    let _life = world.boot(&host, &engine);
    world.wait_for_api().await;
    eventually(async || join().await == 200).await;
    host.pass(Duration::from_secs(61));
    eventually(async || journal(&host.files()).window_closed).await;
    assert_eq!(join().await, 403);
}

#[tokio::test]
async fn only_the_operator_opens_the_join_window_again() {
    let mut world = World::new(&["red01", "red02"]);
    world.join_window_seconds = 600;
    let [manager, worker] = ["red00", "red01"].map(|name| world.switch_on(name, None));
    [&manager, &worker].iter().for_each(|pi| pi.engine.start());
    world.wait_for_api().await;
    let late = world.ca.node("worker", "red02");
    let join = async || world.status(&late, Method::POST, "/v1/join").await;
    eventually(async || join().await == 200).await;
    manager.host.pass(Duration::from_secs(601));
    eventually(async || manager.journal().rotations_done == 1).await;
    assert_eq!(join().await, 403);
    for pair in [&late, &world.ca.node("manager", "red00")] {
        assert_eq!(world.status(pair, Method::POST, "/v1/window").await, 403);
    }
    let operator = world.ca.operator();
    // What admits somebody is on the disk first.
    manager.host.set_limit(Limit::ReadOnly);
    assert_eq!(world.status(&operator, Method::POST, "/v1/window").await, 500);
    assert_eq!(join().await, 403);
    manager.host.set_limit(Limit::Healthy);
    let answer = world.request(&operator, Method::POST, "/v1/window").send().await.unwrap();
    assert_eq!(answer.json::<JoinWindow>().await.unwrap(), JoinWindow { seconds: 600 });
    assert_eq!(join().await, 200);
    // It closes again, and the tokens change again.
    manager.host.pass(Duration::from_secs(600));
    world.housekeeping_round().await;
    assert_eq!(join().await, 200);
    manager.host.pass(Duration::from_secs(1));
    eventually(async || manager.journal().rotations_done == 2).await;
    assert_eq!(join().await, 403);
}

#[tokio::test]
async fn a_manager_with_a_full_disk_revokes_and_writes_it_down_once_there_is_room() {
    let world = World::new(&["red01", "red02"]);
    let [manager, thief, _other] = formed(&world).await;
    thief.task.abort();
    eventually(async || manager.journal().joined.len() == 3).await;
    let stolen = world.ca.node("worker", "red01");
    let before = world.tokens();
    manager.host.set_limit(Limit::Room(0));
    let (status, answer) = revoke(&world, "red01", &stolen).await;
    let answer = answer.unwrap();
    assert_eq!((status.as_u16(), answer.members.len()), (200, 1));
    let unsaved = answer.unsaved.unwrap();
    assert!(unsaved.starts_with("cannot write the journal: "), "{unsaved}");
    // For builders that do not know that word.
    assert!(answer.unfinished.unwrap().contains(&unsaved));
    assert_eq!(world.status(&stolen, Method::POST, "/v1/join").await, 403);
    assert_eq!(entries(&world, "red01"), Vec::<String>::new());
    let changed = world.tokens();
    assert_ne!(changed, before, "the thief may have kept the token");
    assert!(!manager.journal().revoked.contains(&stolen.key_id()));
    world.housekeeping_round().await;
    assert_eq!(world.tokens(), changed, "once");
    // Again, for what is not on the disk yet.
    assert!(revoke(&world, "red01", &stolen).await.1.unwrap().unsaved.is_some());

    manager.host.set_limit(Limit::Healthy);
    eventually(async || manager.journal().revoked.contains(&stolen.key_id())).await;
    assert_eq!(revoke(&world, "red01", &stolen).await.1.unwrap().unsaved, None);
    let _manager = world.restart("red00", manager).await;
    world.wait_for_api().await;
    assert_eq!(world.status(&stolen, Method::POST, "/v1/join").await, 403);
}

#[tokio::test]
async fn refusals_of_one_key_are_logged_by_powers_of_two() {
    let (sink, _guard) = Sink::of_this_thread();
    let mut world = World::new(&["red01", "red02"]);
    let (stolen, other) = (world.ca.node("worker", "red01"), world.ca.node("worker", "red02"));
    let unplanned = world.ca.node("worker", "red09");
    world.revoked = BTreeSet::from([stolen.key_id()]);
    world.join_window_seconds = 600;
    let journal = json!({"version": 1, "window_closed": true}).to_string();
    let manager = world.switch_on("red00", Some(&journal));
    manager.engine.start();
    world.wait_for_api().await;
    eventually(async || world.status(&other, Method::POST, "/v1/join").await == 403).await;
    for (pair, words) in [
        (&stolen, "worker/red01 at 127.0.0.1"),
        (&unplanned, "red09 at 127.0.0.1"),
        (&other, "red02 at 127.0.0.1"),
    ] {
        let client = world.client(Some(pair)).build().unwrap();
        let before = sink.count(words);
        let mut refused = 0;
        while refused < 35 {
            let answer = client.post(world.url("/v1/join")).send().await.unwrap().status();
            refused += u32::from(answer == StatusCode::FORBIDDEN);
        }
        let lines = sink.count(words) - before;
        assert!((4..=6).contains(&lines), "{lines} lines for {words}:\n{}", sink.text());
    }
    // Tokens that are given again and again, too.
    assert_eq!(world.status(&world.ca.operator(), Method::POST, "/v1/window").await, 200);
    let greedy = world.ca.node("worker", "red02");
    let client = world.client(Some(&greedy)).build().unwrap();
    for _ in 0..35 {
        assert_eq!(client.post(world.url("/v1/join")).send().await.unwrap().status(), 200);
    }
    assert_eq!(sink.count("gets the worker token"), 6);
}

#[tokio::test]
async fn tokens_change_once_when_the_join_window_closes() {
    let mut world = World::new(&["red01"]);
    world.join_window_seconds = 600;
    // The agents' clock stands at 1790000000.
    let journal =
        r#"{"version": 1, "window_opened": 1789990000, "window_is_sure": true, "joined": ["red01"]}"#;
    let manager = world.switch_on("red00", Some(journal));
    manager.engine.start();
    world.wait_for_api().await;
    eventually(async || manager.journal().rotations_done == 1).await;
    assert_ne!(world.tokens().0, WORKER_TOKEN);
    let changed = world.tokens();
    // Whoever was a member before gets the new one.
    let former = world.switch_on("red01", None);
    former.engine.start();
    world.wait_until_formed().await;
    assert!(manager.journal().window_closed);
    let again = world.restart("red00", manager).await;
    world.housekeeping_round().await;
    assert_eq!((world.tokens(), again.journal().rotations_done), (changed, 1), "once");
}
