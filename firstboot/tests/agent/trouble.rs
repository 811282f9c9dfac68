//! Agents that cannot start, or cannot go on: whoever looks at the board is told.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use cluster::history::Event;
use cluster::wire::{Cause, NodeError, ProblemCode, Report, Stage};
use firstboot::agent::{self, AgentError};
use firstboot::host::fake::{FakeHost, Files, Limit, Node};
use serde_json::json;

use crate::engine::Engine;
use crate::installing::{files_of, with_apt};
use crate::world::{NOW, World, eventually, journal, minutes_pass, play};

fn place(files: &mut Files, name: &str, text: &str) {
    let file = Node::File { bytes: text.as_bytes().to_vec(), mode: 0o600, owner: None };
    files.insert(PathBuf::from(agent::STATE).join(name), file);
}

/// Makes a payload for red01.
type Payload<'a> = &'a dyn Fn(&World) -> String;

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

fn error(report: &Report) -> &NodeError {
    report.error.as_ref().unwrap()
}

fn code(report: &Report) -> Option<ProblemCode> {
    error(report).cause.as_ref().map(Cause::code)
}

/// Runs red01 on these files beside a manager.
async fn tells(change: impl Fn(&World, &mut Files)) -> (Report, AgentError) {
    let world = World::new(&["red01"]);
    let _manager = world.switch_on("red00", None);
    world.wait_for_api().await;
    let mut files = files_of(&world, world.card("red01"));
    change(&world, &mut files);
    let clock = UNIX_EPOCH + Duration::from_secs(NOW);
    let host = FakeHost::new(Arc::default(), files, clock).with_programs(with_apt);
    let engine = Engine::new(world.folder.path(), "red01", &world.swarm);
    let options = world.options(&engine, Ipv4Addr::LOCALHOST);
    let Err(ended) = agent::run(Arc::new(host), options).await;
    (heard(&world, |report| report.error.is_some()).await, ended)
}

#[tokio::test]
async fn a_payload_that_cannot_be_used_is_told_to_the_board_and_ends_the_agent() {
    let spoil = |world: &World, change: &dyn Fn(&mut serde_json::Value)| {
        let mut card = serde_json::to_value(world.card("red01")).unwrap();
        change(&mut card);
        card.to_string()
    };
    let newer = |world: &World| spoil(world, &|card| card["version"] = json!(99));
    let damaged = |world: &World| spoil(world, &|card| card["docker"] = json!("none"));
    let torn = |world: &World| {
        let whole = spoil(world, &|_| ());
        whole[..whole.find("\"not_before").unwrap()].to_owned()
            + "\"nodes\": "
            + &json!(world.card("red01").nodes).to_string()
    };
    let texts: [(Payload<'_>, &str); 3] =
        [(&newer, "written by a newer builder"), (&damaged, "the payload is damaged"), (&torn, "damaged")];
    for (text, words) in texts {
        let (report, ended) = tells(|world, files| place(files, "card.json", &text(world))).await;
        assert!(error(&report).permanent && error(&report).message.contains(words), "{report:?}");
        assert!(matches!(ended, AgentError::Card(_)));
        assert_eq!(code(&report), Some(ProblemCode::PayloadDamaged));
    }
}

#[tokio::test]
async fn an_agent_starts_once_a_read_only_root_can_be_written() {
    let world = World::new(&["red01"]);
    let _manager = world.switch_on("red00", None);
    world.wait_for_api().await;
    let files = files_of(&world, world.card("red01"));
    let clock = UNIX_EPOCH + Duration::from_secs(NOW);
    let host = FakeHost::new(Arc::default(), files, clock).with_programs(with_apt);
    let host = Arc::new(host.with_limit(Limit::ReadOnly));
    let engine = Engine::new(world.folder.path(), "red01", &world.swarm);
    let _life = world.boot(&host, &engine);
    let report = heard(&world, |report| report.error.is_some()).await;
    assert!(error(&report).message.starts_with("cannot keep a journal"), "{report:?}");
    assert!(!error(&report).permanent);
    assert_eq!(code(&report), Some(ProblemCode::DiskReadOnly));
    host.set_limit(Limit::Healthy);
    heard(&world, |report| report.word != "cannot start").await;
}

const STATUS: &str = "/boot/firmware/swarm/status.txt";
const LOG: &str = "/boot/firmware/swarm/log.txt";

fn file(bytes: &[u8]) -> Node {
    Node::File { bytes: bytes.to_vec(), mode: 0o600, owner: None }
}

fn mount_card(files: &mut Files) {
    let folder = PathBuf::from("/boot/firmware/swarm");
    files.insert(folder.join("card.json"), file(b"{}"));
    files.insert(folder, Node::Folder { mode: 0o755, owner: None });
}

fn status(host: &FakeHost) -> String {
    match host.files().get(Path::new(STATUS)) {
        Some(Node::File { bytes, .. }) => String::from_utf8(bytes.clone()).unwrap(),
        _ => String::new(),
    }
}

#[tokio::test]
async fn an_agent_starts_once_there_is_room_on_a_full_disk() {
    let world = World::new(&["red01"]);
    let _manager = world.switch_on("red00", None);
    world.wait_for_api().await;
    let mut files = files_of(&world, world.card("red01"));
    files.insert("/images".into(), file(&[0; 1_000_000]));
    let clock = UNIX_EPOCH + Duration::from_secs(NOW);
    let host = FakeHost::new(Arc::default(), files, clock).with_programs(with_apt);
    let host = Arc::new(host.with_limit(Limit::Room(1_000_000)));
    let engine = Engine::new(world.folder.path(), "red01", &world.swarm);
    let _life = world.boot(&host, &engine);
    let report = heard(&world, |report| report.error.is_some()).await;
    assert!(error(&report).message.starts_with("cannot keep a journal"), "{report:?}");
    assert!(!error(&report).permanent);
    assert_eq!(code(&report), Some(ProblemCode::DiskFull));
    host.place("/images", file(b""));
    heard(&world, |report| report.word != "cannot start").await;
}

#[tokio::test]
async fn a_journal_that_cannot_be_read_is_waited_for_and_said_on_the_card() {
    let world = World::new(&["red01"]);
    let _manager = world.switch_on("red00", None);
    world.wait_for_api().await;
    let mut files = files_of(&world, world.card("red01"));
    mount_card(&mut files);
    let path = PathBuf::from(agent::STATE).join("journal.json");
    // What cannot be read, here: on a Pi a card that dies.
    files.insert(path.clone(), Node::Folder { mode: 0o700, owner: None });
    let clock = UNIX_EPOCH + Duration::from_secs(NOW);
    let host = Arc::new(FakeHost::new(Arc::default(), files, clock).with_programs(with_apt));
    let engine = Engine::new(world.folder.path(), "red01", &world.swarm);
    let _life = world.boot(&host, &engine);
    heard(&world, |report| report.error.is_some()).await;
    let said = status(&host);
    assert!(said.contains("It was trying again: cannot keep a journal: cannot read the journal"), "{said}");
    host.place(&path, file(br#"{"version": 1, "rotations_wanted": 7}"#));
    heard(&world, |report| report.word != "cannot start").await;
    assert_eq!(journal(&host.files()).rotations_wanted, 7, "it is the one that was there");
    assert!(!host.files().contains_key(&path.with_extension("json.damaged")));
}

#[tokio::test]
async fn what_ends_an_agent_at_its_start_is_said_on_the_card_where_nobody_else_can_be_told() {
    let world = World::new(&["red01"]);
    let mut files = files_of(&world, world.card("red00"));
    mount_card(&mut files);
    place(&mut files, "card.json", "{");
    let host = Arc::new(FakeHost::new(Arc::default(), files, UNIX_EPOCH).with_programs(with_apt));
    let engine = Engine::new(world.folder.path(), "red00", &world.swarm);
    let options = world.options(&engine, Ipv4Addr::LOCALHOST);
    let machine: Arc<FakeHost> = Arc::clone(&host);
    let Err(ended) = agent::run(machine, options).await;
    assert!(matches!(ended, AgentError::Card(_)));
    let said = status(&host);
    assert!(said.contains("It has given up: cannot use the payload"), "{said}");
    let Some(Node::File { bytes, .. }) = host.files().remove(Path::new(LOG)) else { panic!("no log") };
    let log = String::from_utf8(bytes).unwrap();
    let last: Event = log.lines().last().unwrap().parse().unwrap();
    assert_eq!(last.cause.as_ref().map(Cause::code), Some(ProblemCode::PayloadDamaged), "{log}");
}

#[tokio::test]
async fn what_the_seed_stage_could_not_do_is_on_the_board() {
    let world = World::new(&["red01"]);
    let _manager = world.switch_on("red00", None);
    world.wait_for_api().await;
    let mut files = files_of(&world, world.card("red01"));
    place(&mut files, "seed-problems.json", r#"["keyboard: cannot write /etc/default/keyboard"]"#);
    let clock = UNIX_EPOCH + Duration::from_secs(NOW);
    // And then there is no room for Docker.
    let host = FakeHost::new(Arc::default(), files, clock).with_programs(|program, files| {
        if program.line().starts_with("apt-get install") {
            return Err("No space left on device".to_owned());
        }
        with_apt(program, files)
    });
    let engine = Engine::new(world.folder.path(), "red01", &world.swarm);
    let _life = world.boot(&Arc::new(host), &engine);
    let report = heard(&world, |report| report.error.is_some()).await;
    assert_eq!(report.seed_problems, ["keyboard: cannot write /etc/default/keyboard"]);
    let NodeError { message, permanent, .. } = error(&report);
    assert!(message.contains("No space left on device") && !permanent, "{message}");
    assert_eq!(code(&report), Some(ProblemCode::DiskFull));
}

#[tokio::test]
async fn a_program_on_the_overlays_port_is_reported_until_docker_has_it() {
    let world = World::new(&["red01"]);
    let manager = world.switch_on("red00", None);
    manager.engine.start();
    world.wait_for_api().await;
    let listener = Arc::new(Mutex::new("consul"));
    let seen = Arc::clone(&listener);
    let files = world.files("red01", &world.ca.node("worker", "red01"), None);
    let power = Arc::default();
    let host = FakeHost::new(Arc::clone(&power), files, UNIX_EPOCH + Duration::from_secs(NOW));
    let host = host.with_programs(move |program, files| match program.line().as_str() {
        "ss -H -lntup sport = :7946" => {
            let program = seen.lock().unwrap();
            Ok(format!("tcp LISTEN 0 4096 *:7946 *:* users:((\"{program}\",pid=412,fd=31))\n").into_bytes())
        }
        _ => play(program, files),
    });
    let engine = Engine::new(world.folder.path(), "red01", &world.swarm);
    engine.start();
    let _worker = world.run(Arc::new(host), power, engine, Ipv4Addr::LOCALHOST);
    let report = heard(&world, |report| report.error.is_some()).await;
    assert_eq!((report.stage, code(&report)), (Stage::Ready, Some(ProblemCode::OverlayPortTaken)));
    assert!(error(&report).message.starts_with("consul listens on port 7946"), "{report:?}");
    *listener.lock().unwrap() = "dockerd";
    minutes_pass().await;
    heard(&world, |report| report.error.is_none() && report.stage == Stage::Ready).await;
}
