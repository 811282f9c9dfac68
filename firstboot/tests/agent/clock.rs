//! Clocks that stand years behind, and then do not.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cluster::wire::Facts;
use firstboot::host::Host as _;
use firstboot::host::fake::{FakeHost, Files, Node, Power};
use serde_json::json;

use crate::engine::{DOCKERD, Engine};
use crate::installing::{files_of, with_apt};
use crate::world::{Life, NOW, Pi, World, eventually};

const SYNCED: &str = "/run/systemd/timesync/synchronized";
const TWO_YEARS: Duration = Duration::from_secs(2 * 365 * 86_400);

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

fn file(bytes: &[u8]) -> Node {
    Node::File { bytes: bytes.to_vec(), mode: 0o644, owner: None }
}

/// A node without network time, and without anything that would try for it.
struct Machine {
    host: Arc<FakeHost>,
    power: Arc<Power>,
    _life: Life,
}

fn switch_on(world: &World, name: &str, clock: SystemTime, change: impl Fn(&mut Files)) -> Machine {
    let mut files = files_of(world, world.card(name));
    files.remove(Path::new(SYNCED));
    change(&mut files);
    let power = Arc::<Power>::default();
    let host = Arc::new(FakeHost::new(Arc::clone(&power), files, clock).with_programs(with_apt));
    let engine = Engine::new(world.folder.path(), name, &world.swarm);
    engine.install_on(&power, &host);
    engine.start();
    Machine { _life: world.boot(&host, &engine), host, power }
}

fn at(log: &[String], start: &str) -> usize {
    log.iter()
        .position(|effect| effect.starts_with(start))
        .unwrap_or_else(|| panic!("no {start} in {log:#?}"))
}

async fn facts(world: &World, node: usize) -> Facts {
    world.board().await.nodes[node].report.as_ref().map(|report| report.facts.clone()).unwrap_or_default()
}

#[tokio::test]
async fn a_node_two_years_behind_takes_the_managers_time_before_it_downloads_or_joins() {
    let world = World::new(&["red01"]);
    let worker = switch_on(&world, "red01", now() - TWO_YEARS, |_| ());
    // It has long given up on network time, but there is no manager to ask yet.
    let looks = || worker.power.log().iter().filter(|effect| effect.contains("is-active")).count();
    eventually(async || looks() > 12).await;
    assert!(!worker.power.log().iter().any(|effect| effect.contains("apt-get")));

    let synced = |files: &mut Files| drop(files.insert(SYNCED.into(), file(b"")));
    let _manager = switch_on(&world, "red00", now(), synced);
    world.wait_until_formed().await;
    let log = worker.power.log();
    assert!(at(&log, "set the clock") < at(&log, "run apt-get"));
    assert!(at(&log, "set the clock") < at(&log, "Docker POST /swarm/join"));
    assert!(worker.host.now() >= now());
    eventually(async || facts(&world, 1).await.clock_synced == Some(false)).await;
    assert_eq!(facts(&world, 0).await.clock_synced, Some(true));
}

#[tokio::test]
async fn a_worker_with_a_battery_clock_waits_for_nobody_unless_the_battery_is_empty() {
    let world = World::new(&["red01", "red02"]);
    let rtc = |seconds: u64| {
        move |files: &mut Files| {
            let folder = Path::new("/sys/class/rtc/rtc0");
            files.insert(folder.join("hctosys"), file(b"1\n"));
            files.insert(folder.join("since_epoch"), file(format!("{seconds}\n").as_bytes()));
        }
    };
    let good = switch_on(&world, "red01", now(), rtc(NOW));
    let empty = switch_on(&world, "red02", now(), rtc(86_400));
    let does_apt = |machine: &Machine| machine.power.log().iter().any(|effect| effect.contains("apt-get"));
    let looks =
        |machine: &Machine| machine.power.log().iter().filter(|effect| effect.contains("is-active")).count();
    eventually(async || does_apt(&good) && looks(&empty) > 12).await;
    assert!(!does_apt(&empty), "its clock begins at 1970 without a battery");
    // Both follow their manager, whose time came from the network.
    good.host.set_clock(now() - TWO_YEARS).unwrap();
    let _manager = switch_on(&world, "red00", now(), |files| drop(files.insert(SYNCED.into(), file(b""))));
    world.wait_until_formed().await;
    assert!(good.host.now() >= now());
}

#[tokio::test]
async fn a_manager_without_network_time_goes_on_and_says_so() {
    let world = World::new(&[]);
    let manager = switch_on(&world, "red00", now(), |_| ());
    world.wait_until_formed().await;
    assert_eq!(facts(&world, 0).await.clock_synced, Some(false));
    assert_eq!(manager.host.now(), now(), "there is nobody whose time it could take");
}

#[tokio::test]
async fn a_manager_two_years_behind_that_gets_network_time_keeps_its_swarm() {
    let world = World::new(&["red01", "red02"]);
    let behind = now() - TWO_YEARS;
    let manager = switch_on(&world, "red00", behind, |_| ());
    let worker = switch_on(&world, "red01", behind, |_| ());
    eventually(async || manager_sees(&world, "red01")).await;

    // Network time comes. Swarm's certificates of both are over since long.
    manager.host.set_clock(now()).unwrap();
    manager.host.place(SYNCED, file(b""));
    let init = |force: bool| {
        let swarm = world.swarm.lock().unwrap();
        swarm.inits.iter().filter(|init| init["ForceNewCluster"] == json!(force)).count()
    };
    eventually(async || init(true) == 1).await;
    // The window to join counts from now: a node that comes only now gets in.
    let _late = switch_on(&world, "red02", behind, |_| ());
    world.wait_until_formed().await;
    assert_eq!((init(false), init(true)), (1, 1), "the same swarm, renewed once");
    let spec = world.swarm.lock().unwrap().spec.clone();
    assert_eq!(spec["CAConfig"]["ForceRotate"], json!(1), "its root was made anew once, not by every start");
    assert!(worker.host.now() >= now(), "the worker follows its manager");
    assert_eq!(facts(&world, 0).await.clock_synced, Some(true));
    assert!(worker.host.files().contains_key(Path::new(DOCKERD)));
}

fn manager_sees(world: &World, name: &str) -> bool {
    let swarm = world.swarm.lock().unwrap();
    swarm.nodes.iter().any(|node| node["Description"]["Hostname"] == name)
}

#[tokio::test]
async fn a_large_step_of_a_clock_is_on_the_board() {
    let world = World::new(&["red01"]);
    let [manager, worker] = ["red00", "red01"].map(|name| world.switch_on(name, None));
    [&manager, &worker].iter().for_each(|pi| pi.engine.start());
    world.wait_until_formed().await;
    let warnings = async |node: usize| {
        let board = world.board().await;
        board.nodes[node].report.as_ref().map(|report| report.warnings.clone()).unwrap_or_default()
    };
    assert_eq!((warnings(0).await, warnings(1).await), (Vec::new(), Vec::new()));
    let step = |pi: &Pi| pi.host.set_clock(pi.host.now() + Duration::from_secs(3600)).unwrap();
    // The first may come before the agent has looked at the clock at all.
    eventually(async || {
        step(&manager);
        step(&worker);
        !warnings(0).await.is_empty() && !warnings(1).await.is_empty()
    })
    .await;
    for node in 0..2 {
        let said = warnings(node).await.concat();
        assert!(
            said.starts_with("the clock was set forward by ") && said.contains("h, from 2026-09-"),
            "{said}"
        );
    }
}
