//! A swarm's life on five Pis, in the lesson's order, and what the lesson leaves out: again, one more, one less, the end.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tests::product::Product;
use tests::running::Running;

use crate::bench::{builder, holds, members, says, swarm_state, text};
use crate::upkeep::upkeep;

const NODES: [&str; 5] = ["red00", "red01", "red02", "red03", "red04"];
/// What runs, and since when: nothing of it may be another after a second run.
const PROCESSES: &str = "systemctl show --property=MainPID --value docker firstboot";

fn processes(pis: &Running) -> [String; 5] {
    NODES.map(|node| says(pis, node, PROCESSES))
}

fn assert_formed(pis: &Running, nodes: &[&str]) {
    let members = members(pis, NODES[0]);
    assert_eq!(members.keys().collect::<Vec<_>>(), nodes);
    let list =
        says(pis, NODES[0], "docker node ls --format '{{.Hostname}} {{.Availability}} {{.ManagerStatus}}'");
    for line in list.lines() {
        let wanted = if line.starts_with(NODES[0]) { "Drain Leader" } else { "Active " };
        assert_eq!(line.split_once(' ').unwrap().1.trim(), wanted.trim(), "{list}");
    }
}

#[test]
fn five_pis_live_through_the_lesson() {
    let pis = Running::start(&Product::from_env().unwrap(), &NODES).unwrap();
    pis.write_hostnames(NODES[0], &NODES[1..]).unwrap();

    // What it would do, it says, and does not.
    let plan = text(&builder(&pis, &["config", "--dry-run"], 0).stdout);
    for node in NODES {
        assert!(plan.contains(&pis.address(node).unwrap().to_string()), "{plan}");
        assert!(!holds(&pis, node, "test -e /var/lib/firstboot || command -v docker"), "{node}");
    }

    builder(&pis, &["config"], 0);
    assert_formed(&pis, &NODES);
    let secrets = pis.secrets().unwrap();
    assert_eq!(secrets.file_name().unwrap(), "hostnames.secrets");
    assert_eq!(secrets.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    for node in NODES {
        assert_eq!(says(&pis, node, "stat -c %a /var/lib/firstboot"), "700", "{node}");
        // Neither the swarm's tokens nor the node's key are in anybody's log.
        let leaks = "journalctl -q --no-pager | grep -cE 'SWMTKN|PRIVATE KEY'";
        assert_eq!(says(&pis, node, leaks), "0", "{node}");
    }

    again(&pis);
    list(&pis);
    token(&pis);
    upkeep(&pis, NODES[0], [NODES[1], NODES[2]]);
    one_less_and_one_more(&pis);
    kill_and_up(&pis);
    another_manager(&pis);
    purge(&pis);
}

/// Nothing is another, and nothing is brought.
fn again(pis: &Running) {
    let before = (members(pis, NODES[0]), processes(pis));
    let ran = builder(pis, &["config"], 0);
    assert_eq!((members(pis, NODES[0]), processes(pis)), before);
    assert_eq!(text(&ran.stdout).matches("nothing: it is as wanted").count(), NODES.len());
}

/// What `builder` says of the swarm.
fn list(pis: &Running) {
    builder(pis, &["status"], 0);
    let json: Value = serde_json::from_slice(&builder(pis, &["ls", "--json"], 0).stdout).unwrap();
    let nodes = json["nodes"].as_array().unwrap();
    let roles: Vec<_> =
        nodes.iter().map(|node| (node["name"].as_str().unwrap(), node["role"].as_str().unwrap())).collect();
    let role = |node| (node, if node == NODES[0] { "manager" } else { "worker" });
    assert_eq!(roles, NODES.map(role), "{json}");
    let shown = text(&builder(pis, &["ls"], 0).stdout);
    assert!(NODES.iter().all(|node| shown.contains(node)), "{shown}");
}

/// The lesson's join command, as the manager's own Docker has it.
fn token(pis: &Running) {
    for role in ["worker", "manager"] {
        let printed = text(&builder(pis, &["token", role], 0).stdout);
        let token = says(pis, NODES[0], &format!("docker swarm join-token -q {role}"));
        let wanted = format!("docker swarm join --token {token} {}:2377", pis.address(NODES[0]).unwrap());
        assert!(token.starts_with("SWMTKN-") && printed.contains(&wanted), "{printed}");
    }
}

/// A worker that is no longer in the file leaves; one that is new there joins; the others stay who they were.
fn one_less_and_one_more(pis: &Running) {
    let before = members(pis, NODES[0]);
    pis.write_hostnames(NODES[0], &NODES[1..4]).unwrap();
    // Not without a yes, and here is nobody to give it.
    let mut unasked = pis.command(["config", "-F", "ssh_config"]);
    let unasked = unasked.stdin(Stdio::null()).output().unwrap();
    assert_eq!(unasked.status.code(), Some(2), "{}", text(&unasked.stderr));
    assert!(
        text(&unasked.stderr).contains("builder config -F ssh_config --yes"),
        "{}",
        text(&unasked.stderr)
    );
    assert_eq!(members(pis, NODES[0]), before);
    builder(pis, &["config"], 0);
    assert_formed(pis, &NODES[..4]);
    assert_eq!(swarm_state(pis, NODES[4]), "inactive");

    pis.write_hostnames(NODES[0], &NODES[1..]).unwrap();
    builder(pis, &["config"], 0);
    assert_formed(pis, &NODES);
    let now = members(pis, NODES[0]);
    let others: Vec<_> = NODES.iter().filter(|node| now[**node] != before[**node]).collect();
    assert_eq!(others, [&NODES[4]]);
}

/// All leave, stay away, and come back when they are told.
fn kill_and_up(pis: &Running) {
    let before = members(pis, NODES[0]);
    builder(pis, &["kill", "--yes"], 0);
    for node in NODES {
        assert_eq!(swarm_state(pis, node), "inactive", "{node}");
        // An agent that starts anew does not rejoin either.
        assert!(holds(pis, node, "systemctl restart firstboot"), "{node}");
    }
    // The scenario itself: longer than an agent takes between two looks.
    std::thread::sleep(Duration::from_secs(15));
    let status = text(&builder(pis, &["status"], 0).stdout);
    assert!(status.contains("is dissolved: 5 of 5 nodes have left"), "{status}");
    for node in NODES {
        assert_eq!(swarm_state(pis, node), "inactive", "{node} rejoined");
    }

    builder(pis, &["up"], 0);
    builder(pis, &["status", "--wait"], 0);
    assert_formed(pis, &NODES);
    assert_ne!(members(pis, NODES[0]), before, "a new swarm");
}

/// The only manager is another one after an end, and nobody has to wait for it.
fn another_manager(pis: &Running) {
    builder(pis, &["kill", "--yes"], 0);
    pis.write_hostnames(NODES[1], &[NODES[0], NODES[2], NODES[3], NODES[4]]).unwrap();
    builder(pis, &["config", "--no-wait"], 0);
    builder(pis, &["status", "--wait"], 0);
    assert_eq!(members(pis, NODES[1]).keys().collect::<Vec<_>>(), NODES);
}

/// What a container of the owner's has kept, where Docker keeps it.
const KEPT: &str = "/var/lib/docker/volumes/kept/_data/diary";

/// The Pis are as their owner had them, and what Docker kept for them is still there.
fn purge(pis: &Running) {
    for node in NODES {
        assert_eq!(says(pis, node, "docker volume create kept"), "kept", "{node}");
        assert!(holds(pis, node, &format!("echo {node} >{KEPT}")), "{node}");
    }
    let killed = builder(pis, &["kill", "--yes", "--purge", "-F", "ssh_config", "--json"], 0);
    let killed_talk = text(&killed.stderr);
    let killed: serde_json::Value = serde_json::from_slice(&killed.stdout).unwrap();
    let mut purged: Vec<_> =
        killed["purged"].as_array().unwrap().iter().map(|node| node.as_str().unwrap()).collect();
    purged.sort_unstable();
    assert_eq!(purged, NODES, "{killed}");
    assert!(killed_talk.contains("purges the packages "), "{killed_talk}");
    assert_eq!(killed["left"].as_array().unwrap().len(), NODES.len(), "{killed}");
    for node in NODES {
        for line in [
            "test -e /var/lib/firstboot",
            "systemctl cat firstboot",
            "command -v docker",
            "command -v dockerd",
        ] {
            assert!(!holds(pis, node, line), "{node}: {line}");
        }
        assert_eq!(says(pis, node, "systemctl is-system-running"), "running", "{node}");
        assert_eq!(says(pis, node, &format!("cat {KEPT}")), node, "{node}: the volume");
    }
    // And they still let their owner in.
    builder(pis, &["exec", "--", "uname", "-a"], 0);
    // Nobody has to be asked about one that is given away now.
    pis.write_hostnames(NODES[1], &[NODES[0], NODES[2], NODES[3]]).unwrap();
    let plan = text(&builder(pis, &["config", "--dry-run"], 0).stdout);
    assert!(!plan.contains(NODES[4]) && plan.matches("install the agent, and Docker").count() == 4, "{plan}");
}
