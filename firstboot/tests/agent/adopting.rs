//! Machines that run already are taken over by a delivery, and let go again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use cluster::card::Card;
use cluster::delivery::Delivery;
use cluster::proxy::Proxy;
use cluster::secret::Secret;
use cluster::wire::{Mark, Stage};
use firstboot::adopt::{self, AdoptError, Outcome};
use firstboot::engine::Engine as Client;
use firstboot::host::fake::{FakeHost, Fault, Files, Node, Power};
use firstboot::host::{Host as _, Program};
use firstboot::journal::Journal;
use firstboot::{remove, seed};
use serde_json::json;

use crate::engine::Engine;
use crate::world::{NOW, World, journal};

const UNIT: &str = "/etc/systemd/system/firstboot.service";

/// systemd, as far as it is asked: the agent that runs is the one that is installed.
pub(crate) fn play(program: &Program, files: &mut Files) -> Result<Vec<u8>, String> {
    let process = PathBuf::from("/proc/77/exe");
    match (program.name.as_str(), program.args.first().map(String::as_str)) {
        ("systemctl", Some("restart")) => {
            files.insert(process, Node::Link(seed::BINARY.into()));
            Ok(Vec::new())
        }
        ("systemctl", Some("stop" | "disable")) => {
            files.remove(&process);
            Ok(Vec::new())
        }
        ("systemctl", Some("show")) => {
            Ok(if files.contains_key(&process) { b"77\n".to_vec() } else { b"0\n".to_vec() })
        }
        ("readlink", Some("/proc/77/exe")) => Ok(format!("{}\n", seed::BINARY).into_bytes()),
        ("systemctl" | "rm", _) => Ok(Vec::new()),
        _ => Err(format!("{}: not on this machine", program.line())),
    }
}

/// A Pi that runs, and nothing of ours on it.
pub(crate) fn machine(power: &Arc<Power>, files: Files) -> Arc<FakeHost> {
    let mut all = Files::from(
        ["/etc/systemd/system", "/var/lib", "/usr/local/lib/firstboot"]
            .map(|path| (PathBuf::from(path), Node::Folder { mode: 0o755, owner: None })),
    );
    all.extend(files);
    let clock = UNIX_EPOCH + Duration::from_secs(NOW);
    Arc::new(FakeHost::new(Arc::clone(power), all, clock).with_programs(play))
}

pub(crate) fn delivery(world: &World, node: &str) -> Delivery {
    let card = world.card(node);
    let pair = world.ca.node(card.role.as_str(), node);
    Delivery {
        card,
        ca_pem: world.ca.pem(),
        cert_pem: pair.certificate,
        key_pem: Secret::new(pair.key),
        take_over: false,
        proxy: None,
    }
}

/// An engine in no swarm.
pub(crate) fn engine(world: &World, name: &str) -> (Arc<Engine>, Client) {
    let engine = Engine::new(world.folder.path(), name, &world.swarm);
    let client = Client::new(&engine.socket).unwrap();
    (engine, client)
}

pub(crate) async fn adopt(
    host: &Arc<FakeHost>,
    client: &Client,
    delivery: &Delivery,
) -> Result<Outcome, AdoptError> {
    let machine: Arc<FakeHost> = Arc::clone(host);
    adopt::adopt(machine, client, &serde_json::to_vec(delivery).unwrap()).await
}

pub(crate) fn state(name: &str) -> PathBuf {
    Path::new(seed::STATE).join(name)
}

/// What makes a node, private where it has to be.
fn assert_is_node(files: &Files, delivery: &Delivery) {
    let private = |name: &str, text: &str| {
        let Some(Node::File { bytes, mode, .. }) = files.get(&state(name)) else { panic!("no {name}") };
        assert_eq!((String::from_utf8_lossy(bytes).as_ref(), *mode), (text, 0o600), "{name}");
    };
    private("node-key.pem", delivery.key_pem.expose());
    private("node.pem", &delivery.cert_pem);
    private("ca.pem", &delivery.ca_pem);
    let Some(Node::File { bytes, .. }) = files.get(&state("card.json")) else { panic!("no card") };
    assert_eq!(serde_json::from_slice::<cluster::card::Card>(bytes).unwrap(), delivery.card);
    assert!(matches!(files.get(Path::new(seed::STATE)), Some(Node::Folder { mode: 0o700, .. })));
    assert!(files.contains_key(&state(seed::MARK)));
    let link = "/etc/systemd/system/multi-user.target.wants/firstboot.service";
    assert_eq!(files.get(Path::new(link)), Some(&Node::Link(UNIT.into())));
}

#[tokio::test]
async fn a_machine_that_runs_becomes_a_node_and_a_second_time_nothing_happens() {
    let world = World::new(&["red01"]);
    let (delivery, (_engine, client)) = (delivery(&world, "red01"), engine(&world, "red01"));
    let power = Arc::<Power>::default();
    let host = machine(&power, Files::new());
    // There is no Docker yet, so nobody answers.
    assert_eq!(adopt(&host, &client, &delivery).await.unwrap(), Outcome::Adopted);
    assert_is_node(&host.files(), &delivery);
    let started = power.log().iter().any(|effect| effect.contains("systemctl restart firstboot.service"));
    assert!(started, "{:?}", power.log());
    let before = (host.files(), power.log().len());
    assert_eq!(adopt(&host, &client, &delivery).await.unwrap(), Outcome::Unchanged);
    let looks = |effect: &String| effect.contains("systemctl show") || effect.contains("readlink");
    assert!(power.log()[before.1..].iter().all(looks), "{:?}", power.log());
    assert_eq!(host.files(), before.0);
}

/// A Raspberry Pi OS whose memory cgroup is off.
fn pi_os(line: &str) -> Files {
    let file = |path: &str, text: &str| {
        let bytes = text.as_bytes().to_vec();
        (PathBuf::from(path), Node::File { bytes, mode: 0o644, owner: None })
    };
    let folder = (PathBuf::from("/boot/firmware"), Node::Folder { mode: 0o755, owner: None });
    Files::from([
        folder,
        file("/etc/rpi-issue", "Raspberry Pi reference 2026-04-13\n"),
        file("/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io pids\n"),
        file("/boot/firmware/cmdline.txt", line),
    ])
}

#[tokio::test]
async fn the_memory_cgroup_is_turned_on_with_the_agent_and_off_with_it() {
    let world = World::new(&["red01"]);
    let (delivery, (_engine, client)) = (delivery(&world, "red01"), engine(&world, "red01"));
    let line = "console=tty1 root=PARTUUID=4f2c9ea0-02 rootwait\n";
    let host = machine(&Arc::default(), pi_os(line));
    let cmdline = |host: &FakeHost| {
        String::from_utf8(host.read(Path::new("/boot/firmware/cmdline.txt")).unwrap().unwrap()).unwrap()
    };
    adopt(&host, &client, &delivery).await.unwrap();
    let with = "console=tty1 root=PARTUUID=4f2c9ea0-02 rootwait cgroup_enable=memory\n";
    assert_eq!(cmdline(&host), with);
    assert_eq!(adopt(&host, &client, &delivery).await.unwrap(), Outcome::Unchanged);
    assert_eq!(cmdline(&host), with);
    remove::remove(host.as_ref(), &client, false, None).await.unwrap();
    assert_eq!(cmdline(&host), line);
}

#[tokio::test]
async fn a_proxy_is_delivered_changed_and_taken_away() {
    let world = World::new(&["red01"]);
    let (plain, (_engine, client)) = (delivery(&world, "red01"), engine(&world, "red01"));
    let with = |url: &str| {
        let proxy = Proxy { http: Some(Secret::new(url.to_owned())), ..Proxy::default() };
        Delivery { proxy: Some(proxy), ..plain.clone() }
    };
    let power = Arc::<Power>::default();
    let host = machine(&power, Files::new());
    for delivery in [with("http://ada:hunter2@proxy:3128"), with("http://proxy:8080")] {
        assert_eq!(adopt(&host, &client, &delivery).await.unwrap(), Outcome::Adopted);
        assert_eq!(adopt(&host, &client, &delivery).await.unwrap(), Outcome::Unchanged);
        let wanted = delivery.proxy.unwrap().to_json().expose().clone();
        let file = host.files().get(&state("proxy.json")).cloned();
        assert_eq!(file, Some(Node::File { bytes: wanted, mode: 0o600, owner: None }));
    }
    assert_eq!(adopt(&host, &client, &plain).await.unwrap(), Outcome::Adopted);
    assert!(!host.files().contains_key(&state("proxy.json")));
    assert!(!format!("{:?}", power.log()).contains("hunter2"));
}

#[tokio::test]
async fn wherever_it_was_cut_short_the_next_delivery_ends_the_same() {
    let world = World::new(&["red01"]);
    let (delivery, (_engine, client)) = (delivery(&world, "red01"), engine(&world, "red01"));
    for at in 0.. {
        let power = Power::with(Fault::DieAt(at));
        let host = machine(&power, Files::new());
        let outcome = adopt(&host, &client, &delivery).await;
        let again = machine(&Arc::default(), host.files());
        let second = adopt(&again, &client, &delivery).await.unwrap();
        assert_is_node(&again.files(), &delivery);
        if outcome.is_ok() {
            assert_eq!(second, Outcome::Unchanged);
            assert!(at > 8, "only {at} effects");
            return;
        }
    }
}

#[tokio::test]
async fn what_belongs_to_others_is_left_alone_until_told() {
    let (theirs, ours) = (World::new(&["red01"]), World::new(&["red01"]));
    let (engine, client) = engine(&theirs, "red01");
    engine.start();
    client.init(&init()).await.unwrap();
    let host = machine(&Arc::default(), Files::new());
    let mut delivery = delivery(&ours, "red01");
    assert!(matches!(adopt(&host, &client, &delivery).await, Err(AdoptError::InSwarm)));
    // And a node of another cluster, whatever it is in.
    let mut other = delivery.clone();
    other.card.cluster_id = "fedcba9876543210".to_owned().try_into().unwrap();
    let files = Files::from([
        (seed::STATE.into(), Node::Folder { mode: 0o700, owner: None }),
        (state("card.json"), file(&serde_json::to_string(&other.card).unwrap())),
        (state("journal.json"), file(&json!({"version": 1, "init": "completed"}).to_string())),
    ]);
    let host = machine(&Arc::default(), files.clone());
    let refused = adopt(&host, &client, &delivery).await;
    assert!(matches!(&refused, Err(AdoptError::OtherCluster(name)) if name == "red"), "{refused:?}");
    assert!(files.iter().all(|(path, node)| host.files().get(path) == Some(node)));
    assert!(client.swarm().await.is_ok(), "it is in its swarm still");

    delivery.take_over = true;
    assert_eq!(adopt(&host, &client, &delivery).await.unwrap(), Outcome::Adopted);
    assert_is_node(&host.files(), &delivery);
    assert!(client.swarm().await.is_err(), "it has left");
    assert!(
        !host.files().contains_key(&state("journal.json")),
        "the other cluster's journal says what is not so"
    );
}

#[tokio::test]
async fn nodes_that_are_new_in_a_managers_plan_open_the_join_window_again() {
    let mut world = World::new(&["red01"]);
    let (_engine, client) = engine(&world, "red00");
    let before = delivery(&world, "red00");
    let closed = json!({"version": 1, "init": "completed", "window_opened": 5, "window_closed": true, "joined": ["red01"],
        "window": {"boot": "x", "since": 0, "before": 9_000_000, "saved": 9_000_001}});
    let host = machine(&Arc::default(), Files::new());
    adopt(&host, &client, &before).await.unwrap();
    host.write(&state("journal.json"), closed.to_string().as_bytes(), 0o600, None).unwrap();
    // The same nodes: nothing opens.
    let mut labelled = before.clone();
    labelled.card.swarm.managers_run_tasks = true;
    assert_eq!(adopt(&host, &client, &labelled).await.unwrap(), Outcome::Adopted);
    assert!(journal(&host.files()).window_closed);
    world.workers.push("red02");
    let more = Delivery { card: world.card("red00"), ..before };
    assert_eq!(adopt(&host, &client, &more).await.unwrap(), Outcome::Adopted);
    let Journal { window, window_opened, window_closed, joined, .. } = journal(&host.files());
    assert_eq!((window, window_opened, window_closed, joined.len()), (None, None, false, 1));
}

#[tokio::test]
async fn a_delivery_for_another_node_or_of_a_newer_builder_changes_nothing() {
    let world = World::new(&["red01", "red02"]);
    let (_engine, client) = engine(&world, "red01");
    let power = Arc::<Power>::default();
    let host = machine(&power, Files::new());
    let wrong = Delivery { card: world.card("red02"), ..delivery(&world, "red01") };
    assert!(matches!(adopt(&host, &client, &wrong).await, Err(AdoptError::NotOurs(name)) if name == "red02"));
    let mut newer = delivery(&world, "red01");
    newer.card.version = cluster::card::VERSION + 1;
    assert!(matches!(adopt(&host, &client, &newer).await, Err(AdoptError::Delivery(_))));
    let machine: Arc<FakeHost> = Arc::clone(&host);
    let garbage = adopt::adopt(machine, &client, b"{\"key_pem\": \"SECRET\"").await.unwrap_err();
    assert!(!format!("{garbage:?} {garbage}").contains("SECRET"));
    assert_eq!(power.log(), [""; 0]);
}

#[tokio::test]
async fn what_was_brought_is_taken_away_and_the_swarm_left() {
    let world = World::new(&["red01"]);
    let (engine, client) = engine(&world, "red01");
    let host = machine(&Arc::default(), Files::new());
    adopt(&host, &client, &delivery(&world, "red01")).await.unwrap();
    engine.start();
    client.init(&init()).await.unwrap();
    let power = Arc::<Power>::default();
    let host = machine(&power, host.files());
    let meant = |name: &str| remove::Meant {
        cluster: world.card("red01").cluster_id,
        node: name.to_owned().try_into().unwrap(),
    };
    // Another has its address by now.
    let before = host.files();
    let refused = remove::remove(host.as_ref(), &client, true, Some(&meant("red02"))).await.unwrap_err();
    assert_eq!(refused.to_string(), "this machine is red01 of the cluster red: nothing was removed");
    assert_eq!((host.files(), power.log().len()), (before, 0));
    assert!(client.swarm().await.is_ok());
    // Without a payload that can be read, the certificate tells; without a certificate, nothing does.
    let place = |name: &str, bytes: &[u8]| {
        let path = Path::new(seed::STATE).join(name);
        host.place(&path, Node::File { bytes: bytes.to_vec(), mode: 0o600, owner: None });
    };
    let file = |name: &str| match host.files().get(&Path::new(seed::STATE).join(name)) {
        Some(Node::File { bytes, .. }) => bytes.clone(),
        _ => panic!("{name} is missing"),
    };
    let (card, certificate) = (file("card.json"), file("node.pem"));
    place("card.json", b"{");
    let refused = remove::remove(host.as_ref(), &client, true, Some(&meant("red02"))).await.unwrap_err();
    assert!(refused.to_string().contains("certificate is not the one of red02"), "{refused}");
    place("node.pem", b"");
    let refused = remove::remove(host.as_ref(), &client, true, Some(&meant("red01"))).await.unwrap_err();
    assert!(refused.to_string().contains("may be another node than red01"), "{refused}");
    assert_eq!(power.log().len(), 0);
    place("node.pem", &certificate);
    place("card.json", &card);
    remove::remove(host.as_ref(), &client, true, Some(&meant("red01"))).await.unwrap();
    assert!(client.swarm().await.is_err(), "it has left");
    assert!(!host.files().contains_key(Path::new(UNIT)));
    let log = power.log();
    assert!(log.iter().any(|effect| effect.contains("systemctl disable --now firstboot.service")), "{log:?}");
    let last = log.last().unwrap();
    assert!(last.contains("rm -r -f -- /usr/local/lib/firstboot /var/lib/firstboot"), "{log:?}");
    assert!(!log.iter().any(|effect| effect.contains("apt-get")), "Docker was there before us: {log:?}");
}

#[tokio::test]
async fn a_swarm_whose_docker_does_not_run_is_left_all_the_same() {
    let world = World::new(&["red01"]);
    let (engine, client) = engine(&world, "red01");
    engine.start();
    client.init(&init()).await.unwrap();
    engine.stop();
    let starting = Arc::clone(&engine);
    let started = move |program: &Program, files: &mut Files| {
        if program.line() == "systemctl start --no-block docker.service" {
            starting.start_again();
        }
        play(program, files)
    };
    let clock = UNIX_EPOCH + Duration::from_secs(NOW);
    let files = machine(&Arc::default(), in_swarm()).files();
    let host = Arc::new(FakeHost::new(Arc::default(), files, clock).with_programs(started));
    let mut delivery = delivery(&world, "red01");
    assert!(matches!(adopt(&host, &client, &delivery).await, Err(AdoptError::InSwarm)));
    assert!(engine.node.lock().unwrap().is_some());
    delivery.take_over = true;
    assert_eq!(adopt(&host, &client, &delivery).await.unwrap(), Outcome::Adopted);
    assert!(engine.node.lock().unwrap().is_none(), "it has left");
    assert_is_node(&host.files(), &delivery);
}

#[tokio::test(start_paused = true)]
async fn a_swarm_that_cannot_be_left_because_docker_stays_silent_is_left_alone() {
    let world = World::new(&["red01"]);
    let (_engine, client) = engine(&world, "red01");
    let power = Arc::<Power>::default();
    let host = machine(&power, in_swarm());
    let before = host.files();
    let delivery = Delivery { take_over: true, ..delivery(&world, "red01") };
    assert!(matches!(adopt(&host, &client, &delivery).await, Err(AdoptError::Silent(_))));
    assert_eq!(host.files(), before);
    assert_eq!(power.log(), ["run systemctl start --no-block docker.service"]);
}

/// What Docker keeps on the disk while it is in a swarm.
fn in_swarm() -> Files {
    Files::from([("/var/lib/docker/swarm/docker-state.json".into(), file("{}"))])
}

#[tokio::test]
async fn whatever_goes_wrong_the_agent_that_was_stopped_for_it_goes_on() {
    let world = World::new(&["red01"]);
    let (_engine, client) = engine(&world, "red01");
    let delivery = delivery(&world, "red01");
    let host = machine(&Arc::default(), Files::new());
    adopt(&host, &client, &delivery).await.unwrap();
    let mut labelled = delivery.clone();
    labelled.card.swarm.managers_run_tasks = true;
    for at in 0.. {
        let power = Power::with(Fault::FailAt(at));
        let outcome = adopt(&machine(&power, host.files()), &client, &labelled).await;
        let log = power.log();
        let stop = log.iter().position(|effect| effect == "run systemctl stop firstboot.service").unwrap();
        if outcome.is_ok() && log.len() <= at {
            assert!(at > stop + 6, "{log:#?}");
            return;
        }
        if at > stop {
            assert!(outcome.is_err(), "{log:#?}");
            assert_eq!(log.last().unwrap(), "run systemctl start firstboot.service", "{log:#?}");
        }
    }
}

#[test]
fn reads_the_card_and_the_mark_of_6bc94bb() {
    let card = Card::from_json(include_bytes!("../6bc94bb/card.json")).unwrap();
    assert_eq!((card.version, card.node.as_str(), card.proxy), (3, "red00", false));
    let mark: Mark = serde_json::from_slice(include_bytes!("../6bc94bb/seed.json")).unwrap();
    assert_eq!(mark.stage, Stage::Seed);
}

pub(crate) fn file(text: &str) -> Node {
    Node::File { bytes: text.as_bytes().to_vec(), mode: 0o600, owner: None }
}

fn init() -> firstboot::engine::Init {
    firstboot::engine::Init {
        address: std::net::Ipv4Addr::LOCALHOST,
        drain: false,
        pool: None,
        cert_expiry: Duration::from_secs(3600),
        root_rotations: 0,
        force: false,
    }
}
