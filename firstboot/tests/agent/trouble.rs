//! Agents that cannot start, or cannot go on: whoever looks at the board is told.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use cluster::wire::{NodeError, Report};
use firstboot::agent::{self, AgentError};
use firstboot::host::fake::{FakeHost, Files, Limit, Node};
use serde_json::json;

use crate::engine::Engine;
use crate::installing::{files_of, with_apt};
use crate::world::{NOW, World, eventually};

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

/// Runs red01 on these files beside a manager.
async fn tells(change: impl Fn(&World, &mut Files), limit: Limit) -> (Report, AgentError) {
    let world = World::new(&["red01"]);
    let _manager = world.switch_on("red00", None);
    world.wait_for_api().await;
    let mut files = files_of(&world, world.card("red01"));
    change(&world, &mut files);
    let clock = UNIX_EPOCH + Duration::from_secs(NOW);
    let host = FakeHost::new(Arc::default(), files, clock).with_programs(with_apt).with_limit(limit);
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
        let (report, ended) =
            tells(|world, files| place(files, "card.json", &text(world)), Limit::Healthy).await;
        assert!(error(&report).permanent && error(&report).message.contains(words), "{report:?}");
        assert!(matches!(ended, AgentError::Card(_)));
    }
}

#[tokio::test]
async fn a_root_that_cannot_be_written_is_told_to_the_board() {
    let (report, ended) = tells(|_, _| (), Limit::ReadOnly).await;
    assert!(error(&report).message.starts_with("cannot keep a journal"), "{report:?}");
    assert!(matches!(ended, AgentError::Journal(_)));
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
    let NodeError { message, permanent } = error(&report);
    assert!(message.contains("No space left on device") && !permanent, "{message}");
}
