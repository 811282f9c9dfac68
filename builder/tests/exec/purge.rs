//! `kill --purge` asks twice: before the swarm ends, and before software is removed over SSH.

use std::fs;

use builder::pki::{self, Running, RunningHost};
use builder::project;
use cluster::card::DockerSource;
use cluster::identity::Role;
use cluster::name::Hostname;
use serde_json::json;

use crate::bench::{Bench, address, at_terminal};

#[path = "../fixture/manager.rs"]
mod manager;

/// An order's number, later than any of this computer's.
const KILLED: u64 = 9_000_000_000_000;

#[test]
fn a_no_before_the_removal_says_that_the_swarm_has_ended() {
    let mut bench = Bench::without_server();
    bench.key("host");
    bench.serve_command("host", address(1), "echo purges: docker-ce");
    fs::write(bench.path("known_hosts"), bench.known(address(1), "host")).unwrap();
    let file = bench.path("hostnames.yaml");
    fs::write(&file, "manager: 127.0.0.1\n").unwrap();
    let host = RunningHost {
        host: "127.0.0.1".to_owned(),
        name: Hostname::try_from("red00").unwrap(),
        role: Role::Manager,
        address: None,
        host_key: None,
    };
    let running = Running::new(None, DockerSource::Docker, vec![host.clone()]);
    let project = project::of_running(&file, &running);
    let identities = pki::open(&project).unwrap();
    pki::remember_running(&project, &running).unwrap();
    let board = |left: Option<u64>| {
        let report = json!({"stage": "swarm", "word": "a word", "left": left});
        let node = json!({"name": "red00", "role": "manager", "report": report, "last_heard_ms": 1, "swarm": null,
            "dismissed": false});
        json!({"cluster": "hostnames", "cluster_id": identities.cluster_id, "unix_ms": 1, "formed": false,
            "nodes": [node]})
    };
    let orders = json!({ "killed": KILLED, "up": 0, "removed": {} });
    let node = identities.node(&host.name).unwrap();
    let manager = || {
        let answers =
            [(200, board(None)), (200, orders.clone()), (202, orders.clone()), (200, board(Some(KILLED)))];
        let answers = answers.map(|(status, body)| (status, body.to_string()));
        manager::serve(&node, &node.ca_pem, answers.into()).to_string()
    };
    let shown = |typed: &str| {
        let words = ["kill", "--purge", "-F", "conf", "--user", &bench.user, "--manager", &manager()];
        at_terminal(&bench, &bench.builder(&words), typed)
    };
    let neither = shown("n\n");
    assert!(neither.contains("error: nothing was done"), "{neither}");
    let first = shown("y\nn\n");
    assert!(first.contains("purges the packages docker-ce"), "{first}");
    assert!(
        first.contains("error: hostnames is dissolved, but our software was not removed from its nodes"),
        "{first}"
    );
    assert!(first.contains("hint: to remove it: builder kill --purge -F conf --user "), "{first}");
}
