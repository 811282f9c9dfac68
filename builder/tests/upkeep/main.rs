//! `builder ls`, `token`, `drain`, `activate` and `label` against a manager that answers over real TLS.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::fs;
use std::net::SocketAddr;
use std::process::{Command, Output};

use builder::pki::{self, Identities};
use builder::project::Project;
use cluster::identity::Role;
use serde_json::{Value, json};
use tempfile::TempDir;

mod changing;
#[path = "../fixture/operator.rs"]
mod operator;
#[path = "../fixture/project.rs"]
mod project;
mod showing;
mod tokens;

use operator::{Answer, Asked, serve};
use project::hostname;

/// red00 manages, red01 to red03 work; the secrets folder and the cluster file exist.
struct Bench {
    project: Project,
    identities: Identities,
    _folder: TempDir,
}

/// What a run printed and how it ended.
struct Outcome {
    out: String,
    talk: String,
    code: i32,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let workers = ["red01", "red02", "red03"].map(|name| (name, Role::Worker));
        let nodes = [&[("red00", Role::Manager)][..], &workers].concat();
        let project = project::project(folder.path(), &nodes);
        let identities = pki::open(&project).unwrap();
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1mHWZJxv1cV0kP0J7oJ8m1gXyG7n0Vq4c1r8mXo5aB ada";
        let file = format!(
            "version: 1\ncluster: red\nimage: raspios-lite-arm64\nnodes: red[00-03]\nuser:\n  name: pi\n  \
             authorized_keys: ['{key}']\n"
        );
        fs::write(&project.file, file).unwrap();
        Self { project, identities, _folder: folder }
    }

    fn manager(&self, script: Vec<Answer>) -> (SocketAddr, Asked) {
        serve(&self.identities.node(&hostname("red00")).unwrap(), script)
    }

    /// The program itself, so that what reaches which stream is what a shell would see.
    fn run(&self, address: SocketAddr, line: &str) -> Outcome {
        let mut program = Command::new(env!("CARGO_BIN_EXE_builder"));
        program.current_dir(&self.project.folder).args(line.split_whitespace());
        let done = program.args(["--manager", &address.to_string()]).env_clear().output().unwrap();
        let Output { status, stdout, stderr } = done;
        let text = |bytes| String::from_utf8(bytes).unwrap().replace(&address.to_string(), "ADDRESS");
        Outcome { out: text(stdout), talk: text(stderr), code: status.code().unwrap() }
    }

    /// A run against a manager with this script, which ends well.
    fn done(&self, script: Vec<Answer>, line: &str) -> (Outcome, Asked) {
        let (address, asked) = self.manager(script);
        let outcome = self.run(address, line);
        assert_eq!(outcome.code, 0, "{}", outcome.talk);
        (outcome, asked)
    }
}

fn entry(id: &str, state: &str, availability: &str) -> Value {
    json!({"id": id, "state": state, "availability": availability, "leader": false, "reachability": null,
        "engine": "29.7.1", "address": "10.1.1.9"})
}

fn node(name: &str, last: u8, swarm: Value) -> Value {
    json!({"name": name, "role": "worker", "planned": true, "swarm": swarm, "address": format!("10.1.1.{last}"),
        "os": "linux", "architecture": "aarch64", "nano_cpus": 4_000_000_000_u64, "memory_bytes": 8_225_370_112_u64,
        "labels": {}, "tasks": [], "model": "Raspberry Pi 4 Model B Rev 1.4", "temperature_millicelsius": 48_312,
        "uptime_ms": 9 * 86_400_000_u64, "last_heard_ms": 4000})
}

fn nowhere(name: &str) -> Value {
    json!({"name": name, "role": "worker", "planned": true, "swarm": null, "address": null, "os": null,
        "architecture": null, "nano_cpus": null, "memory_bytes": null, "labels": {}, "tasks": [], "model": null,
        "temperature_millicelsius": null, "uptime_ms": null, "last_heard_ms": null})
}

fn swarm() -> Value {
    let mut red00 = node("red00", 2, entry("mq0r", "ready", "drain"));
    red00["role"] = json!("manager");
    red00["swarm"]["leader"] = json!(true);
    red00["swarm"]["reachability"] = json!("reachable");
    let mut red01 = node("red01", 3, entry("w1xy", "ready", "active"));
    red01["labels"] = json!({"disk": "ssd", "rack": "7"});
    red01["tasks"] = json!(["web.1", "web.2"]);
    let mut red02 = node("red02", 4, entry("w2xy", "down", "active"));
    red02["last_heard_ms"] = json!(500_000);
    let mut blue = nowhere("blue07");
    blue["planned"] = json!(false);
    blue["swarm"] = entry("b7xy", "ready", "active");
    let service = |name: &str, mode: &str, running: u64, desired: u64| {
        json!({"id": name, "name": name, "mode": mode, "image": "nginx:1.29", "running": running, "desired": desired,
            "completed": null, "ports": []})
    };
    let mut web = service("web", "replicated", 2, 3);
    web["ports"] = json!([{"published": 8080, "target": 80, "protocol": "tcp", "mode": "ingress"},
        {"published": null, "target": 53, "protocol": "udp", "mode": "host"}]);
    let mut once = service("once", "replicated-job", 0, 1);
    once["completed"] = json!(4);
    json!({"cluster": "red", "nodes": [red00, red01, red02, nowhere("red03"), blue],
        "services": [service("agent", "global", 4, 4), once, web]})
}

/// The answer to the first question of every command.
fn shown() -> Answer {
    ("GET /v1/swarm", 200, swarm().to_string())
}
