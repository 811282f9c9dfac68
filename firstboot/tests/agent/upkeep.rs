//! The swarm in detail, tokens for the operator, and small changes to members.

use cluster::wire::{DetailNode, JoinReply, Labels, NodeTasks, Problem, SwarmDetail, SwarmEntry};
use firstboot::host::fake::Node;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::{Pi, Sink, World, eventually};

/// A formed cluster of red00 and red01.
async fn formed(world: &World) -> [Pi; 2] {
    let all = ["red00", "red01"].map(|name| world.switch_on(name, None));
    all.iter().for_each(|pi| pi.engine.start());
    world.wait_until_formed().await;
    eventually(async || spec(world, "red01")["Labels"]["rack"] == "red01").await;
    all
}

/// What the operator is answered.
async fn ask(world: &World, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
    let request = world.request(&world.ca.operator(), method, path);
    let request = if let Some(body) = body { request.json(&body) } else { request };
    let answer = request.send().await.unwrap();
    (answer.status(), answer.json().await.unwrap_or_default())
}

async fn post(world: &World, path: &str, body: Value) -> (StatusCode, Value) {
    ask(world, Method::POST, path, Some(body)).await
}

fn message(answer: Value) -> String {
    serde_json::from_value::<Problem>(answer).unwrap().message
}

async fn detail(world: &World) -> SwarmDetail {
    let (status, answer) = ask(world, Method::GET, "/v1/swarm", None).await;
    assert_eq!(status, 200, "{answer}");
    serde_json::from_value(answer).unwrap()
}

/// The specification of a member, as Swarm has it.
fn spec(world: &World, name: &str) -> Value {
    let swarm = world.swarm.lock().unwrap();
    let node = swarm.nodes.iter().find(|node| node["Description"]["Hostname"] == name || node["ID"] == name);
    node.map(|node| node["Spec"].clone()).unwrap_or_default()
}

fn id(world: &World, name: &str) -> String {
    let swarm = world.swarm.lock().unwrap();
    let node = swarm.nodes.iter().find(|node| node["Description"]["Hostname"] == name).unwrap();
    node["ID"].as_str().unwrap().to_owned()
}

/// Somebody joins by hand.
fn add_stranger(world: &World, id: &str, name: &str) {
    let node = json!({"ID": id, "Version": {"Index": 1},
        "Spec": {"Role": "worker", "Availability": "active", "Labels": {"shelf": "2"}},
        "Description": {"Hostname": name, "Platform": {"Architecture": "aarch64", "OS": "linux"},
            "Resources": {"NanoCPUs": 4_000_000_000_u64, "MemoryBytes": 8_225_370_112_u64},
            "Engine": {"EngineVersion": "28.5.2"}},
        "Status": {"State": "ready", "Addr": "10.0.0.77"}, "ManagerStatus": null});
    world.swarm.lock().unwrap().nodes.push(node);
}

fn task(service: &str, node: &str, slot: u64, state: &str, desired: &str) -> Value {
    json!({"ServiceID": service, "NodeID": node, "Slot": slot, "Status": {"State": state}, "DesiredState": desired})
}

const UPTIME: &str = "/proc/uptime";

fn uptime() -> Node {
    Node::File { bytes: b"86471.05 130.20\n".to_vec(), mode: 0o444, owner: None }
}

#[tokio::test]
async fn the_operator_sees_members_strangers_and_the_missing_with_what_runs_on_them() {
    let world = World::new(&["red01", "red02"]);
    let mut files = world.files("red01", &world.ca.node("worker", "red01"), None);
    files.insert(UPTIME.into(), uptime());
    let worker = world.switch_on_files("red01", files);
    let manager = world.switch_on("red00", None);
    [&manager, &worker].iter().for_each(|pi| pi.engine.start());
    world.wait_for_api().await;
    eventually(async || world.swarm.lock().unwrap().nodes.len() == 2).await;
    add_stranger(&world, "s", "blue07");
    let red01 = id(&world, "red01");
    {
        let mut swarm = world.swarm.lock().unwrap();
        swarm.services = vec![json!({"ID": "w", "Spec": {"Name": "web",
            "TaskTemplate": {"ContainerSpec": {"Image": "nginx:1.29@sha256:0123"}}, "Mode": {"Replicated": {"Replicas": 3}}},
            "Endpoint": {"Ports": [{"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 8080, "PublishMode": "ingress"}]},
            "ServiceStatus": {"RunningTasks": 2, "DesiredTasks": 3}})];
        swarm.tasks = vec![
            task("w", &red01, 2, "running", "running"),
            task("w", &red01, 1, "running", "running"),
            task("w", "s", 3, "preparing", "running"),
            task("w", &red01, 3, "shutdown", "shutdown"),
        ];
    }
    eventually(async || {
        let red01 = &detail(&world).await.nodes[1];
        red01.swarm.is_some() && red01.uptime_ms.is_some()
    })
    .await;
    let seen = detail(&world).await;
    let named = |node: &DetailNode| (node.name.clone(), node.planned, node.swarm.is_some());
    assert_eq!(
        seen.nodes.iter().map(named).collect::<Vec<_>>(),
        [("red00", true, true), ("red01", true, true), ("red02", true, false), ("blue07", false, true)]
            .map(|(name, planned, member)| (name.to_owned(), planned, member))
    );
    let [red00, red01, red02, blue07] = &seen.nodes[..] else { unreachable!() };
    assert!(red00.swarm.as_ref().is_some_and(|entry| entry.leader && entry.availability == "drain"));
    assert_eq!(red01.tasks, ["web.1", "web.2"]);
    assert_eq!(red01.uptime_ms, Some(86_471_050));
    assert_eq!((&blue07.tasks[..], blue07.uptime_ms, blue07.last_heard_ms), (&[][..], None, None));
    assert_eq!((blue07.os.as_deref(), blue07.architecture.as_deref()), (Some("linux"), Some("aarch64")));
    assert_eq!((blue07.nano_cpus, blue07.memory_bytes), (Some(4_000_000_000), Some(8_225_370_112)));
    assert_eq!(blue07.labels, [("shelf".to_owned(), "2".to_owned())].into());
    assert_eq!((&red02.swarm, red02.last_heard_ms), (&None, None));
    let [web] = &seen.services[..] else { panic!("{:?}", seen.services) };
    assert_eq!((web.running, web.desired, web.image.as_deref()), (2, 3, Some("nginx:1.29")));
}

#[tokio::test]
async fn any_manager_knows_what_an_agent_told_another() {
    let mut world = World::new(&["red03"]);
    world.managers = vec!["red00", "red01", "red02"];
    let managers = ["red00", "red01", "red02"].map(|name| world.switch_on(name, None));
    managers.iter().for_each(|pi| pi.engine.start());
    eventually(async || world.swarm.lock().unwrap().nodes.len() == 3).await;
    // It tells one of them, once.
    let report = json!({"stage": "docker", "word": "", "error": null, "address": "10.0.0.9", "swarm_node": null,
        "facts": {"uptime_ms": 86_471_050}});
    let worker = world.ca.node("worker", "red03");
    let told = world.request_at("red01", &worker, Method::PUT, "/v1/nodes/red03").json(&report);
    assert_eq!(told.send().await.unwrap().status(), 200);
    for manager in ["red00", "red01", "red02"] {
        eventually(async || {
            let request = world.request_at(manager, &world.ca.operator(), Method::GET, "/v1/swarm");
            let Ok(answer) = request.send().await else { return false };
            let Ok(seen) = answer.json::<SwarmDetail>().await else { return false };
            seen.nodes.iter().any(|node| node.name == "red03" && node.uptime_ms == Some(86_471_050))
        })
        .await;
    }
}

#[tokio::test]
async fn only_the_operator_sees_the_swarm_gets_tokens_and_changes_members() {
    let world = World::new(&["red01"]);
    let _all = formed(&world).await;
    let before = (spec(&world, "red01"), spec(&world, "red00"));
    let requests = [
        (Method::GET, "/v1/swarm", Value::Null),
        (Method::POST, "/v1/token", json!({"role": "worker"})),
        (Method::POST, "/v1/token", json!({"role": "manager"})),
        (Method::GET, "/v1/nodes/red01/tasks", Value::Null),
        (Method::POST, "/v1/nodes/red01/availability", json!({"availability": "drain"})),
        (Method::POST, "/v1/nodes/red01/labels", json!({"set": {"own": "1"}})),
    ];
    for (method, path, body) in requests {
        for pair in [world.ca.node("worker", "red01"), world.ca.node("manager", "red00")] {
            let answer = world.request(&pair, method.clone(), path).json(&body).send().await.unwrap();
            assert_eq!(answer.status(), 403, "{path}");
            assert!(!answer.text().await.unwrap().contains("SWMTKN"), "{path}");
        }
        let (status, answer) = ask(&world, method, path, Some(body)).await;
        assert_eq!(status, 200, "{path}: {answer}");
    }
    assert_ne!((spec(&world, "red01"), spec(&world, "red00")), before, "the operator may");
}

#[tokio::test]
async fn the_operators_token_is_the_one_of_the_role_and_in_no_log() {
    let (sink, _guard) = Sink::of_this_thread();
    let world = World::new(&["red01"]);
    let [manager, _worker] = formed(&world).await;
    let (of_workers, of_managers) = world.tokens();
    for (role, token) in [("worker", &of_workers), ("manager", &of_managers)] {
        let (status, answer) = post(&world, "/v1/token", json!({"role": role})).await;
        assert_eq!(status, 200);
        let reply: JoinReply = serde_json::from_value(answer).unwrap();
        assert_eq!(reply.token.expose(), token);
        assert_eq!(reply.managers, ["127.0.0.1:2377".parse().unwrap()]);
        assert!(!format!("{reply:?}").contains("SWMTKN"));
    }
    // Changed first, and the new one given.
    assert_eq!(post(&world, "/v1/tokens/rotate", json!({})).await.0, 204);
    let (_, answer) = post(&world, "/v1/token", json!({"role": "worker"})).await;
    let reply: JoinReply = serde_json::from_value(answer).unwrap();
    assert!(*reply.token.expose() == world.tokens().0 && *reply.token.expose() != of_workers);
    assert_eq!(post(&world, "/v1/token", json!({"role": "operator"})).await.0, 422);

    let log = sink.text();
    assert!(log.contains("gets the manager token"), "the log is not seen: {log}");
    assert!(!log.contains("SWMTKN"), "{log}");
    let files = manager.host.files().into_values().map(|node| format!("{node:?}")).collect::<String>();
    let bytes = format!("{:?}", reply.token.expose().as_bytes());
    assert!(!files.contains(bytes.trim_matches(['[', ']'])));
}

#[tokio::test]
async fn without_a_swarm_there_is_no_token_and_nothing_to_see_but_the_reason() {
    let world = World::new(&["red01"]);
    let manager = world.switch_on("red00", None);
    world.wait_for_api().await;
    for (method, path, body) in
        [(Method::POST, "/v1/token", Some(json!({"role": "worker"}))), (Method::GET, "/v1/swarm", None)]
    {
        let (status, answer) = ask(&world, method, path, body).await;
        assert_eq!(status, 503, "{path}");
        assert!(message(answer).starts_with("Docker does not answer"), "{path}");
    }
    // In a swarm, as a worker: the engine answers, and cannot manage.
    manager.engine.start();
    eventually(async || world.swarm.lock().unwrap().nodes.len() == 1).await;
    eventually(async || ask(&world, Method::GET, "/v1/swarm", None).await.0 == 200).await;
    let node = world.swarm.lock().unwrap().nodes.pop();
    let (status, answer) = ask(&world, Method::GET, "/v1/swarm", None).await;
    assert_eq!((status.as_u16(), message(answer).as_str()), (503, "red00 is in no swarm yet"));
    world.swarm.lock().unwrap().nodes.extend(node);
    world.swarm.lock().unwrap().lose_leader();
    let (status, answer) = ask(&world, Method::GET, "/v1/swarm", None).await;
    assert_eq!(status, 503);
    assert!(message(answer).starts_with("too few managers can be reached: "));
}

#[tokio::test]
async fn a_dissolved_swarm_gives_no_token() {
    let world = World::new(&["red01"]);
    let _all = formed(&world).await;
    assert_eq!(post(&world, "/v1/leave", json!({})).await.0, 202);
    let (status, answer) = post(&world, "/v1/token", json!({"role": "worker"})).await;
    assert_eq!(status, 409);
    assert!(message(answer).contains("dissolved"));
}

#[tokio::test]
async fn a_drained_node_stays_drained_while_the_manager_keeps_house() {
    let world = World::new(&["red01"]);
    let _all = formed(&world).await;
    let set =
        async |word: &str| post(&world, "/v1/nodes/red01/availability", json!({"availability": word})).await;
    let (status, answer) = set("drain").await;
    let entry: SwarmEntry = serde_json::from_value(answer).unwrap();
    assert_eq!((status.as_u16(), entry.availability.as_str()), (200, "drain"));
    // The housekeeping has gone round when it has put a lost label back.
    world.swarm.lock().unwrap().nodes.iter_mut().for_each(|node| node["Spec"]["Labels"] = Value::Null);
    eventually(async || spec(&world, "red01")["Labels"]["rack"] == "red01").await;
    assert_eq!(spec(&world, "red01")["Availability"], "drain");
    assert_eq!(spec(&world, "red01")["Role"], "worker", "the rest of the specification is kept");

    assert_eq!(set("active").await.0, 200);
    assert_eq!(spec(&world, "red01")["Availability"], "active");
    assert_eq!(set("away").await.0, 422);
    let (status, answer) =
        post(&world, "/v1/nodes/red09/availability", json!({"availability": "drain"})).await;
    assert_eq!((status.as_u16(), message(answer).as_str()), (404, "no such node is in the swarm"));
}

#[tokio::test]
async fn tasks_count_until_they_have_ended() {
    let world = World::new(&["red01"]);
    let _all = formed(&world).await;
    let (red01, red00) = (id(&world, "red01"), id(&world, "red00"));
    world.swarm.lock().unwrap().tasks = vec![
        task("w", &red01, 1, "running", "shutdown"),
        task("w", &red01, 2, "preparing", "running"),
        task("w", &red01, 3, "complete", "shutdown"),
        task("w", &red00, 4, "running", "running"),
    ];
    let (status, answer) = ask(&world, Method::GET, "/v1/nodes/red01/tasks", None).await;
    assert_eq!(status, 200);
    let tasks: NodeTasks = serde_json::from_value(answer).unwrap();
    assert_eq!((tasks.running, tasks.swarm.id), (2, red01));
}

#[tokio::test]
async fn a_change_that_somebody_else_came_before_is_tried_again_a_few_times() {
    let world = World::new(&["red01"]);
    let [manager, _worker] = formed(&world).await;
    let out_of_sequence = (500, "rpc error: code = Unknown desc = update out of sequence");
    let refuse = |times| manager.engine.node_refusals.lock().unwrap().extend(vec![out_of_sequence; times]);
    refuse(3);
    let (status, answer) = post(&world, "/v1/nodes/red01/labels", json!({"set": {"own": "1"}})).await;
    assert_eq!(status, 200, "{answer}");
    let labels: Labels = serde_json::from_value(answer).unwrap();
    assert_eq!((labels.labels["own"].as_str(), labels.labels["rack"].as_str()), ("1", "red01"));
    assert!(manager.engine.node_refusals.lock().unwrap().is_empty());
    refuse(100);
    let (status, answer) =
        post(&world, "/v1/nodes/red01/availability", json!({"availability": "drain"})).await;
    assert_eq!(status, 503);
    assert!(message(answer).contains("out of sequence"));
    assert!(!manager.engine.node_refusals.lock().unwrap().is_empty(), "not for ever");
}

#[tokio::test]
async fn labels_change_within_the_rules_and_those_of_the_plan_do_not() {
    let world = World::new(&["red01"]);
    let _all = formed(&world).await;
    let change = async |body| post(&world, "/v1/nodes/red01/labels", body).await;
    assert_eq!(change(json!({"set": {"disk": "ssd", "zone": ""}})).await.0, 200);
    assert_eq!(spec(&world, "red01")["Labels"], json!({"rack": "red01", "disk": "ssd", "zone": ""}));
    assert_eq!(change(json!({"set": {"rack": "red01"}, "unset": ["zone", "nonesuch"]})).await.0, 200);
    assert_eq!(spec(&world, "red01")["Labels"], json!({"rack": "red01", "disk": "ssd"}));

    for planned in [json!({"set": {"rack": "7", "disk": "hdd"}}), json!({"unset": ["rack", "disk"]})] {
        let (status, answer) = change(planned).await;
        assert_eq!(status, 409);
        assert!(message(answer).starts_with("the cluster file plans the label rack of red01, "));
    }
    let many =
        |count: usize| (0..count).map(|n| (format!("l{n}"), json!("x"))).collect::<serde_json::Map<_, _>>();
    for wrong in [
        json!({"set": {"": "x"}}),
        json!({"set": {"a b": "x"}}),
        json!({"set": {"a": "x\u{1b}[2J"}}),
        json!({"set": {"a": "x".repeat(257)}}),
        json!({"set": {"a".repeat(129): "x"}}),
        json!({"set": {"a": "x"}, "unset": ["a"]}),
        json!({"unset": ["größe"]}),
        json!({"set": many(65)}),
    ] {
        assert_eq!(change(wrong.clone()).await.0, 422, "{wrong}");
    }
    assert_eq!(spec(&world, "red01")["Labels"], json!({"rack": "red01", "disk": "ssd"}));
}

#[tokio::test]
async fn strangers_are_members_too_and_two_of_one_name_have_to_be_told_apart() {
    let world = World::new(&["red01"]);
    let _all = formed(&world).await;
    add_stranger(&world, "first", "blue07");
    let drain = async |name: &str| {
        post(&world, &format!("/v1/nodes/{name}/availability"), json!({"availability": "drain"})).await
    };
    assert_eq!(drain("blue07").await.0, 200);
    assert_eq!(spec(&world, "first")["Availability"], "drain");
    add_stranger(&world, "second", "blue07");
    let (status, answer) = drain("blue07").await;
    assert_eq!(status, 409);
    let why = message(answer);
    assert!(why.ends_with("first (ready), second (ready)"), "{why}");
    assert_eq!(spec(&world, "second")["Availability"], "active");
    assert_eq!(drain("second").await.0, 200);
    assert_eq!(spec(&world, "second")["Availability"], "drain");
    // The plan is about names, whoever has them.
    let (status, _) = post(&world, "/v1/nodes/second/labels", json!({"set": {"rack": "7"}})).await;
    assert_eq!(status, 200);
    let seen = detail(&world).await;
    assert_eq!(seen.nodes.iter().filter(|node| node.name == "blue07" && !node.planned).count(), 2);
}
