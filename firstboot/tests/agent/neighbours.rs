//! Two clusters on one network with the same node names: each node finds its own manager, and says whom it met instead. And
//! networks on which a node cannot know its own address.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use cluster::card::Card;
use cluster::wire::{Cause, ProblemCode, Report};
use firstboot::agent::STATE;
use firstboot::agent::link::Link;
use firstboot::host::fake::{FakeHost, Files, Node, Power};
use firstboot::host::{Host, Program};
use firstboot::journal::JournalFile;
use firstboot::tls::Credentials;

use crate::engine::Engine;
use crate::identity::{Ca, Pair};
use crate::impostors::{Ear, IMPOSTOR, answer_at};
use crate::world::{NOW, Pi, World, eventually, minutes_pass, play};

/// The other cluster, whose manager is at [`IMPOSTOR`].
const OTHER: &str = "fedcba9876543210";
const FOREIGN: &str = "red00 of cluster fedcba9876543210 at 127.0.0.66";

/// Where the own manager is in tests of the line only.
const OURS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 67);

/// A manager of another cluster with the same name.
fn namesake() -> Pair {
    Ca::new().issue(&format!("builder://{OTHER}/manager/red00"), &format!("red00.{OTHER}.internal"))
}

async fn answer_as_namesake(port: u16) -> Arc<Ear> {
    answer_at((IMPOSTOR, port).into(), Some(namesake())).await
}

/// Where a machine's programs find `red00`: by name, and by the service of this cluster.
#[derive(Debug, Clone, Copy)]
struct Sources {
    name: &'static [Ipv4Addr],
    service: Option<Ipv4Addr>,
}

/// As getent(1) prints addresses.
fn getent(addresses: &[Ipv4Addr]) -> Result<Vec<u8>, String> {
    let lines = addresses.iter().map(|ip| format!("{ip}  STREAM red00\n{ip}  DGRAM\n{ip}  RAW\n"));
    if addresses.is_empty() { Err("not found".to_owned()) } else { Ok(lines.collect::<String>().into()) }
}

/// As busctl(1) prints avahi's answer about the service of this cluster, and of no other.
fn busctl(program: &Program, service: Option<Ipv4Addr>) -> Result<Vec<u8>, String> {
    let asks = program.line().contains(" 0123456789abcdef-red00 _builder-swarm._tcp local ");
    let ip = service.filter(|_| asks).ok_or("Timeout reached")?;
    let data = format!(r#"[2,0,"x","_builder-swarm._tcp","local","red00-2.local",0,"{ip}",8377,[],5]"#);
    Ok(format!(r#"{{"type":"iissssisqaayu","data":{data}}}"#).into())
}

impl Sources {
    fn play(self, program: &Program, files: &mut Files) -> Result<Vec<u8>, String> {
        match program.name.as_str() {
            "getent" => getent(self.name),
            "busctl" => busctl(program, self.service),
            _ => play(program, files),
        }
    }
}

/// A card whose managers have no fixed address.
fn card(world: &World, node: &str) -> Card {
    let mut card = world.card(node);
    card.nodes.iter_mut().for_each(|node| node.address = None);
    card
}

fn files(world: &World) -> Files {
    let mut files = world.files("red01", &world.ca.node("worker", "red01"), None);
    let json = serde_json::to_string(&card(world, "red01")).unwrap();
    let file = || Node::File { bytes: json.clone().into_bytes(), mode: 0o600, owner: None };
    files.insert(Path::new(STATE).join("card.json"), file());
    // The FAT partition, where the node keeps its log.
    files.insert("/boot/firmware/swarm/card.json".into(), file());
    files.insert("/boot/firmware/swarm".into(), Node::Folder { mode: 0o755, owner: None });
    files
}

/// The line of a worker to its manager, on a machine with these sources.
fn link(world: &World, sources: Sources) -> Link {
    let host = FakeHost::new(Arc::<Power>::default(), files(world), UNIX_EPOCH);
    let host: Arc<dyn Host> =
        Arc::new(host.with_programs(move |program, files| sources.play(program, files)));
    let tls = Credentials::load(host.as_ref(), Path::new(STATE)).unwrap().client().unwrap();
    let journal = Arc::new(JournalFile::open(Arc::clone(&host), Path::new(STATE)).unwrap());
    Link::new(Arc::new(card(world, "red01")), host, Some(journal), tls, world.port)
}

fn report() -> Report {
    serde_json::from_slice(include_bytes!("../../../cluster/tests/corpus/wire/report-small.json")).unwrap()
}

#[tokio::test]
async fn candidates_are_tried_until_one_is_ours() {
    for sources in [
        // The name server knows both clusters' red00.
        Sources { name: &[IMPOSTOR, OURS], service: None },
        // The other one has the name, and avahi has given ours another.
        Sources { name: &[IMPOSTOR], service: Some(OURS) },
    ] {
        let world = World::new(&["red01"]);
        let ear = answer_as_namesake(world.port).await;
        let ours = (OURS, world.port).into();
        answer_at(ours, Some(world.ca.node("manager", "red00"))).await;
        let link = link(&world, sources);
        link.report(&report()).await.unwrap();
        assert_eq!(link.heard().unwrap().address, OURS);
        assert_eq!(ear.bytes.load(Ordering::Relaxed), 0, "the other cluster heard something");
    }
}

#[tokio::test]
async fn a_foreign_manager_is_named_and_the_own_one_found_later() {
    let world = World::new(&["red01"]);
    let ear = answer_as_namesake(world.port).await;
    let sources = Sources { name: &[IMPOSTOR, OURS], service: None };
    let link = link(&world, sources);
    for attempt in 1..=3 {
        let error = link.report(&report()).await.unwrap_err();
        // Who was met is told although the own manager's address refuses connections.
        assert_eq!(error.cause(), Some(Cause::new(ProblemCode::ForeignManager).about(FOREIGN)));
        let said = "manager red00 is not found; another cluster's manager answers: ";
        assert_eq!(error.to_string(), format!("{said}{FOREIGN}"));
        assert_eq!(ear.visits.load(Ordering::Relaxed), attempt);
    }
    answer_at((OURS, world.port).into(), Some(world.ca.node("manager", "red00"))).await;
    link.report(&report()).await.unwrap();
    assert_eq!(link.foreign().iter().map(ToString::to_string).collect::<Vec<_>>(), [FOREIGN]);
}

/// A manager that is off is not another cluster's fault.
#[tokio::test]
async fn a_silent_manager_at_a_fixed_address_is_the_cause() {
    let world = World::new(&["red01"]);
    answer_as_namesake(world.port).await;
    let sources = Sources { name: &[IMPOSTOR], service: None };
    let host = FakeHost::new(Arc::<Power>::default(), files(&world), UNIX_EPOCH);
    let host: Arc<dyn Host> =
        Arc::new(host.with_programs(move |program, files| sources.play(program, files)));
    let tls = Credentials::load(host.as_ref(), Path::new(STATE)).unwrap().client().unwrap();
    let link = Link::new(Arc::new(world.card("red01")), host, None, tls, world.port);
    let error = link.report(&report()).await.unwrap_err();
    assert_eq!(error.cause(), Some(Cause::new(ProblemCode::ManagerSilent).about("red00")));
    assert_eq!(link.foreign().len(), 1);
}

/// Runs red01 on a machine with these programs.
fn run(
    world: &World,
    programs: impl Fn(&Program, &mut Files) -> Result<Vec<u8>, String> + Send + Sync + 'static,
) -> Pi {
    let power = Arc::<Power>::default();
    let clock = UNIX_EPOCH + Duration::from_secs(NOW);
    let host = FakeHost::new(Arc::clone(&power), files(world), clock).with_programs(programs);
    let engine = Engine::new(world.folder.path(), "red01", &world.swarm);
    world.run(Arc::new(host), power, engine, Ipv4Addr::LOCALHOST)
}

fn text(pi: &Pi, path: &str) -> String {
    match pi.host.files().get(Path::new(path)) {
        Some(Node::File { bytes, .. }) => String::from_utf8(bytes.clone()).unwrap(),
        _ => String::new(),
    }
}

#[tokio::test]
async fn a_worker_joins_its_own_cluster_and_names_the_other() {
    let world = World::new(&["red01"]);
    let ear = answer_as_namesake(world.port).await;
    let sources = Sources { name: &[IMPOSTOR, Ipv4Addr::LOCALHOST], service: None };
    let worker = run(&world, move |program, files| sources.play(program, files));
    // One attempt has failed when the next begins.
    eventually(async || ear.visits.load(Ordering::Relaxed) > 1).await;
    // The card is written when the stage changes.
    worker.engine.start();
    eventually(async || text(&worker, "/boot/firmware/swarm/log.txt").contains(FOREIGN)).await;
    let log = text(&worker, "/boot/firmware/swarm/log.txt");
    assert!(log.contains("[foreign_manager red00 of cluster fedcba9876543210 at 127.0.0.66]"), "{log}");

    let manager = world.switch_on("red00", None);
    manager.engine.start();
    world.wait_until_formed().await;
    let mut report = None;
    eventually(async || {
        report = world.board().await.nodes[1].report.clone();
        report.as_ref().is_some_and(|report| report.error.is_none() && !report.warnings.is_empty())
    })
    .await;
    let warnings = report.unwrap().warnings;
    assert!(warnings.len() == 1 && warnings[0].contains(FOREIGN), "{warnings:?}");
    assert_eq!(ear.bytes.load(Ordering::Relaxed), 0);
    let known = worker.journal().managers;
    assert_eq!(known.values().collect::<Vec<_>>(), [&Ipv4Addr::LOCALHOST]);
}

/// What the board comes to say of red01.
async fn heard(world: &World, wanted: impl Fn(&Report) -> bool) -> Report {
    let mut last = None;
    eventually(async || {
        last = world.board().await.nodes[1].report.clone();
        last.as_ref().is_some_and(&wanted)
    })
    .await;
    last.unwrap()
}

#[tokio::test]
async fn networks_without_a_clear_address_are_named_with_the_setting() {
    const TWO: &str = r#"[
        {"ifname":"eth0","addr_info":[{"local":"192.168.1.20","prefixlen":24,"scope":"global"}]},
        {"ifname":"wlan0","addr_info":[{"local":"10.0.0.5","prefixlen":24,"scope":"global"}]}]"#;
    const IPV6: &str = r#"[
        {"ifname":"lo","addr_info":[{"local":"::1","prefixlen":128,"scope":"host"}]},
        {"ifname":"eth0","addr_info":[{"local":"fd00::5","prefixlen":64,"scope":"global"},
            {"local":"fe80::5","prefixlen":64,"scope":"link"}]}]"#;
    for (ipv4, ipv6, code, subject, setting) in [
        (TWO, "[]", ProblemCode::AddressAmbiguous, "eth0 192.168.1.20, wlan0 10.0.0.5", "swarm: interface"),
        ("[]", IPV6, ProblemCode::Ipv6Only, "eth0 fd00::5", "IPv4"),
    ] {
        let world = World::new(&["red01"]);
        let _manager = world.switch_on("red00", None);
        world.wait_for_api().await;
        let is_mended = Arc::new(AtomicBool::new(false));
        let mended = Arc::clone(&is_mended);
        let sources = Sources { name: &[], service: Some(Ipv4Addr::LOCALHOST) };
        let _worker = run(&world, move |program, files| match program.line().as_str() {
            _ if mended.load(Ordering::Relaxed) => sources.play(program, files),
            "ip -j -4 address show up" => Ok(ipv4.into()),
            "ip -j -6 address show up" => Ok(ipv6.into()),
            "ip -j -4 route show default" => Ok(b"[]".to_vec()),
            _ => sources.play(program, files),
        });
        // Networks come up piece by piece, so nothing is wrong yet.
        heard(&world, |report| report.word != "starting" && report.error.is_none()).await;
        minutes_pass().await;
        let error = heard(&world, |report| report.error.is_some()).await.error.unwrap();
        assert_eq!(error.cause, Some(Cause::new(code).about(subject)));
        assert!(!error.permanent && error.message.contains(setting), "{}", error.message);
        is_mended.store(true, Ordering::Relaxed);
        let code_of = |report: &Report| Some(report.error.as_ref()?.cause.as_ref()?.code());
        heard(&world, |report| report.address.is_some() && code_of(report) != Some(code)).await;
    }
}
