//! The manager's API against everybody who should not get through.

use cluster::wire::{BODY_LIMIT, Problem, ProblemCode, Report, ReportReply, Stage};
use reqwest::Method;
use reqwest::tls::Version;
use serde_json::json;

use crate::engine::WORKER_TOKEN;
use crate::identity::Ca;
use crate::world::World;

fn report() -> Report {
    let json = json!({"stage": "docker", "word": "installing", "error": null, "address": "127.0.0.1", "swarm_node": null});
    serde_json::from_value(json).unwrap()
}

#[tokio::test]
async fn only_certificates_of_the_clusters_ca_get_through_the_handshake() {
    let world = World::new(&["red01"]);
    let _manager = world.switch_on("red00", None);
    world.wait_for_api().await;

    let nobody = world.client(None).build().unwrap();
    assert!(nobody.get(world.url("/v1/cluster")).send().await.is_err(), "no certificate");
    let forger = Ca::new();
    for pair in [forger.operator(), forger.node("worker", "red01")] {
        let client = world.client(Some(&pair)).build().unwrap();
        assert!(client.get(world.url("/v1/cluster")).send().await.is_err(), "another CA");
    }
    let old = world.client(Some(&world.ca.operator())).tls_version_max(Version::TLS_1_2).build().unwrap();
    assert!(old.get(world.url("/v1/cluster")).send().await.is_err(), "TLS 1.2");
    assert_eq!(world.status(&world.ca.operator(), Method::GET, "/v1/cluster").await, 200);
}

#[tokio::test]
async fn a_certificate_gives_its_planned_holder_its_own_rights_only() {
    let world = World::new(&["red01", "red02"]);
    let _manager = world.switch_on("red00", None);
    world.wait_for_api().await;
    let worker = world.ca.node("worker", "red01");

    for path in ["/v1/nodes/red02", "/v1/nodes/red00"] {
        let answer = world.request(&worker, Method::PUT, path).json(&report()).send().await.unwrap();
        assert_eq!(answer.status(), 403, "{path}");
        assert!(answer.json::<Problem>().await.unwrap().message.contains("itself"));
    }
    for (method, path) in
        [(Method::GET, "/v1/cluster"), (Method::POST, "/v1/tokens/rotate"), (Method::POST, "/v1/leave")]
    {
        assert_eq!(world.status(&worker, method, path).await, 403, "{path}");
    }
    assert_eq!(world.status(&world.ca.operator(), Method::POST, "/v1/join").await, 403);

    let strangers = [
        ("unplanned", world.ca.node("worker", "red09")),
        ("another role", world.ca.node("manager", "red01")),
        ("another cluster", world.ca.issue("builder://fedcba9876543210/worker/red01", "red01.internal")),
    ];
    for (why, pair) in strangers {
        assert_eq!(world.status(&pair, Method::POST, "/v1/join").await, 403, "{why}");
    }
    let nameless = world.ca.issue("https://example.com/", "red01.internal");
    assert!(world.request(&nameless, Method::POST, "/v1/join").send().await.is_err(), "no name of ours");
}

#[tokio::test]
async fn reports_arrive_before_docker_is_there_and_are_bounded() {
    let world = World::new(&["red01", "red02"]);
    let _manager = world.switch_on("red00", None);
    world.wait_for_api().await;
    let worker = world.ca.node("worker", "red01");

    let answer = world.request(&worker, Method::PUT, "/v1/nodes/red01").json(&report()).send().await.unwrap();
    let reply: ReportReply = answer.json().await.unwrap();
    assert!(reply.unix_ms >= 1_790_000_000_000);
    assert_eq!(reply.swarm, None);

    let mut fat = report();
    fat.word = "x".repeat(BODY_LIMIT);
    let answer = world.request(&worker, Method::PUT, "/v1/nodes/red01").json(&fat).send().await.unwrap();
    assert_eq!(answer.status(), 413);
    let answer = world.request(&worker, Method::PUT, "/v1/nodes/red01").body("{").send().await.unwrap();
    assert!(answer.status().is_client_error());

    let board = world.board().await;
    assert!(!board.formed);
    assert_eq!(
        board.nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>(),
        ["red00", "red01", "red02"]
    );
    assert_eq!(board.nodes[1].report.as_ref().unwrap().stage, Stage::Docker);
    assert!(board.nodes[1].last_heard_ms.unwrap() < 10_000);
    assert_eq!((&board.nodes[2].report, board.nodes[2].last_heard_ms), (&None, None), "never heard from");
}

#[tokio::test]
async fn the_token_is_given_to_planned_workers_once_there_is_a_swarm() {
    let world = World::new(&["red01"]);
    let manager = world.switch_on("red00", Some(r#"{"version": 1, "entries": {"red01": ["w"]}}"#));
    world.wait_for_api().await;
    let worker = world.ca.node("worker", "red01");
    assert_eq!(world.status(&worker, Method::POST, "/v1/join").await, 503, "no swarm yet");

    manager.engine.start();
    crate::world::eventually(async || world.status(&worker, Method::POST, "/v1/join").await == 200).await;
    let answer = world.request(&worker, Method::POST, "/v1/join").send().await.unwrap();
    let reply: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(reply, json!({"token": WORKER_TOKEN, "managers": ["127.0.0.1:2377"], "up": 0}));

    let member =
        |id: &str| json!({"ID": id, "Description": {"Hostname": "red01"}, "Status": {"State": "ready"}});
    world.swarm.lock().unwrap().nodes.push(member("stranger"));
    assert_eq!(world.status(&worker, Method::POST, "/v1/join").await, 200, "only called so");
    world.swarm.lock().unwrap().nodes.push(member("w"));
    assert_eq!(world.status(&worker, Method::POST, "/v1/join").await, 409, "a member already");
}

#[tokio::test]
async fn after_the_window_only_former_members_get_the_token() {
    let mut world = World::new(&["red01", "red02"]);
    world.join_window_seconds = 600;
    let journal =
        r#"{"version": 1, "window_opened": 1789990000, "window_is_sure": true, "joined": ["red01"]}"#;
    let manager = world.switch_on("red00", Some(journal));
    manager.engine.start();
    world.wait_for_api().await;
    let (former, stranger) = (world.ca.node("worker", "red01"), world.ca.node("worker", "red02"));
    crate::world::eventually(async || world.status(&former, Method::POST, "/v1/join").await == 200).await;
    let refused = world.request(&stranger, Method::POST, "/v1/join").send().await.unwrap();
    assert_eq!(refused.status(), 403);
    let cause = refused.json::<Problem>().await.unwrap().cause;
    assert_eq!(cause, Some(ProblemCode::JoinWindowClosed.into()));
    let unplanned = world.ca.node("worker", "red09");
    let refused = world.request(&unplanned, Method::POST, "/v1/join").send().await.unwrap();
    assert_eq!(refused.json::<Problem>().await.unwrap().cause, Some(ProblemCode::NotPlanned.into()));
}

#[tokio::test]
async fn a_certificate_that_asks_without_end_is_slowed_down_alone() {
    let world = World::new(&["red01", "red02"]);
    let _manager = world.switch_on("red00", None);
    world.wait_for_api().await;
    let greedy = world.client(Some(&world.ca.node("worker", "red01"))).build().unwrap();
    let mut refused = 0;
    for _ in 0..80 {
        let answer = greedy.post(world.url("/v1/join")).send().await.unwrap();
        refused += u32::from(answer.status() == 429);
    }
    assert!(refused > 0);
    assert_eq!(world.status(&world.ca.node("worker", "red02"), Method::POST, "/v1/join").await, 503);
}
