//! Agents that form a swarm, and what may come between.

use std::time::Duration;

use cluster::wire::Stage;
use firstboot::journal::Progress;
use reqwest::Method;
use serde_json::json;

use crate::engine::WORKER_TOKEN;
use crate::world::{PATIENCE, World, eventually, has_left};

#[tokio::test]
async fn a_manager_and_two_workers_form_a_swarm_by_themselves() {
    let world = World::new(&["red01", "red02"]);
    // The manager last: the others wait for it.
    let workers = [world.switch_on("red01", None), world.switch_on("red02", None)];
    workers.iter().for_each(|worker| worker.engine.start());
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let manager = world.switch_on("red00", None);
    manager.engine.start();
    world.wait_until_formed().await;

    eventually(async || {
        let board = world.board().await;
        board.nodes.iter().all(|node| node.report.as_ref().is_some_and(|report| report.stage == Stage::Ready))
    })
    .await;
    let board = world.board().await;
    for node in &board.nodes {
        let marks: Vec<_> = node.report.as_ref().unwrap().marks.iter().map(|mark| mark.stage).collect();
        let all = [Stage::Seed, Stage::Network, Stage::Clock, Stage::Docker, Stage::Swarm, Stage::Ready];
        assert_eq!(marks, all, "{}", node.name);
    }
    let swarm = board.nodes[0].swarm.as_ref().unwrap();
    assert!(swarm.leader && swarm.availability == "drain");

    {
        let swarm = world.swarm.lock().unwrap();
        assert_eq!(swarm.inits.len(), 1);
        // Docker accepts a name or an interface here, and then fails on many a LAN: it has to be the literal address.
        for body in swarm.inits.iter().chain(&swarm.joins) {
            assert_eq!(
                (&body["AdvertiseAddr"], &body["DataPathAddr"]),
                (&json!("127.0.0.1"), &json!("127.0.0.1"))
            );
        }
        assert_eq!(swarm.inits[0]["Spec"]["CAConfig"]["NodeCertExpiry"], json!(63_072_000_000_000_000_u64));
        assert_eq!(swarm.joins.len(), 2);
        // Docker gives that life only under a new root, which was made once and before anybody had a token.
        assert_eq!(swarm.spec["CAConfig"]["ForceRotate"], json!(1));
        assert!(swarm.joins.iter().all(|join| join["JoinToken"] == swarm.tokens().0.as_str()));
    }
    assert_eq!(manager.journal().init, Progress::Completed);
    eventually(async || manager.journal().joined.len() == 3).await;
    eventually(async || {
        let swarm = world.swarm.lock().unwrap();
        swarm.nodes.iter().all(|node| node["Spec"]["Labels"]["rack"] == node["Description"]["Hostname"])
    })
    .await;

    // The token went over TLS and into the engine, and nowhere else.
    for pi in workers.iter().chain([&manager]) {
        let files = pi.host.files().into_values().map(|node| format!("{node:?}")).collect::<String>();
        let effects = pi.power.log().join("\n");
        let token = format!("{:?}", WORKER_TOKEN.as_bytes());
        let token = token.trim_matches(['[', ']']);
        assert!(!files.contains(token) && !effects.contains(WORKER_TOKEN));
    }
}

#[tokio::test]
async fn a_worker_gets_over_every_measured_refusal_to_join() {
    let world = World::new(&["red01"]);
    let manager = world.switch_on("red00", None);
    manager.engine.start();
    let worker = world.switch_on("red01", None);
    worker.engine.refusals.lock().unwrap().extend([
        (
            400,
            "rpc error: code = InvalidArgument desc = A valid join token is necessary to join this cluster",
        ),
        (500, "remote CA does not match fingerprint. Expected: 0123"),
        (
            503,
            "rpc error: code = Unavailable desc = connection error: desc = \"transport: connection refused\"",
        ),
        (500, "could not find local IP address: dial udp 10.77.0.1:2377: connect: network is unreachable"),
    ]);
    worker.engine.start();
    world.wait_until_formed().await;
    assert!(worker.engine.refusals.lock().unwrap().is_empty());
}

/// So 26.1.5 answers when it rejects a setting: the swarm is there, with Docker's own settings.
#[tokio::test]
async fn a_swarm_that_started_without_its_settings_gets_them() {
    let world = World::new(&["red01"]);
    let manager = world.switch_on("red00", None);
    let half = "error updating cluster settings: rpc error: code = Unknown desc = update out of sequence";
    manager.engine.refusals.lock().unwrap().push_back((500, half));
    manager.engine.start();
    let worker = world.switch_on("red01", None);
    worker.engine.start();
    world.wait_until_formed().await;
    let swarm = world.swarm.lock().unwrap();
    assert_eq!((swarm.inits.len(), swarm.second_inits), (1, 0));
    // Two years, as the card says.
    assert_eq!(swarm.spec["CAConfig"]["NodeCertExpiry"], json!(63_072_000_000_000_000_u64));
}

#[tokio::test]
async fn a_worker_whose_entry_was_removed_joins_anew_and_its_remains_are_cleared() {
    let world = World::new(&["red01"]);
    let manager = world.switch_on("red00", Some(r#"{"version": 1, "entries": {"red01": ["older"]}}"#));
    manager.engine.start();
    // This engine believes it is a member, but the manager does not list it.
    let worker = world.switch_on("red01", None);
    *worker.engine.node.lock().unwrap() = Some("gone".to_owned());
    let old = json!({"ID": "older", "Description": {"Hostname": "red01"}, "Status": {"State": "down"}});
    world.swarm.lock().unwrap().nodes.push(old);
    worker.engine.start();
    world.wait_until_formed().await;
    let swarm = world.swarm.lock().unwrap();
    let named = swarm.nodes.iter().filter(|node| node["Description"]["Hostname"] == "red01");
    assert_eq!(named.map(|node| node["ID"].clone()).collect::<Vec<_>>(), [json!("id2")]);
}

#[tokio::test]
async fn a_manager_that_had_a_swarm_reports_its_loss_and_ends_instead_of_starting_another() {
    for journal in [r#"{"version": 1, "init": "completed"}"#, "{\"version\": 1, \"ini", r#"{"version": 99}"#]
    {
        let world = World::new(&["red01"]);
        let manager = world.switch_on("red00", Some(journal));
        manager.engine.start();
        world.wait_for_api().await;
        eventually(async || {
            let board = world.board().await;
            let error = board.nodes[0].report.as_ref().unwrap().error.clone();
            error.is_some_and(|error| error.permanent) || manager.task.is_finished()
        })
        .await;
        let ended = tokio::time::timeout(PATIENCE, manager.task).await.expect("it should end").unwrap();
        assert!(matches!(ended, firstboot::agent::AgentError::Step(_)));
        assert!(world.swarm.lock().unwrap().inits.is_empty(), "{journal}");
    }
}

#[tokio::test]
async fn an_impostor_at_the_managers_address_learns_nothing() {
    let world = World::new(&["red01"]);
    // A node of the same cluster, with a good certificate, but not the manager's.
    let impostor = world.switch_on_as("red00", &world.ca.node("worker", "red02"), None);
    impostor.engine.start();
    let worker = world.switch_on("red01", None);
    worker.engine.start();
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(world.swarm.lock().unwrap().joins.is_empty());
    assert!(worker.journal().managers.is_empty());
}

#[tokio::test]
async fn the_operator_dissolves_the_swarm_and_nobody_comes_back() {
    let world = World::new(&["red01"]);
    let manager = world.switch_on("red00", None);
    manager.engine.start();
    let worker = world.switch_on("red01", None);
    worker.engine.start();
    world.wait_until_formed().await;
    let operator = world.ca.operator();
    assert_eq!(world.status(&operator, Method::POST, "/v1/tokens/rotate").await, 204);
    assert_eq!(world.status(&operator, Method::POST, "/v1/leave").await, 202);
    eventually(async || has_left(&worker.journal(), "red01") && worker.engine.node.lock().unwrap().is_none())
        .await;
    eventually(async || {
        has_left(&manager.journal(), "red00") && manager.engine.node.lock().unwrap().is_none()
    })
    .await;
    assert_eq!(world.status(&world.ca.node("worker", "red01"), Method::POST, "/v1/join").await, 503);
}
