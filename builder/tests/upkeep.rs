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

#[path = "fixture/operator.rs"]
mod operator;
#[path = "fixture/project.rs"]
mod project;
use operator::{Answer, Asked, serve};
use project::hostname;

const TOKEN: &str = "SWMTKN-1-secretsecret";

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

fn tasks(id: &str, state: &str, availability: &str, running: u64) -> String {
    json!({"swarm": entry(id, state, availability), "running": running}).to_string()
}

#[test]
fn nodes_and_services_are_shown_with_units_and_what_is_odd_about_them() {
    let (outcome, _) = Bench::new().done(vec![shown()], "ls");
    insta::assert_snapshot!(outcome.out, @r"
    NAME    ROLE              STATUS  AVAILABILITY  ADDRESS   PLATFORM       ENGINE  CPUS  MEMORY   TEMP     UPTIME  TASKS  LABELS
    red00   manager (leader)  Ready   Drain         10.1.1.2  linux/aarch64  29.7.1  4     7.6 GiB  48.3 °C  9 days  0      -
    red01   worker            Ready   Active        10.1.1.3  linux/aarch64  29.7.1  4     7.6 GiB  48.3 °C  9 days  2      disk=ssd,rack=7
    red02   worker            Down    Active        10.1.1.4  linux/aarch64  29.7.1  4     7.6 GiB  -        -       0      -
    red03   worker            -       -             -         -              -       -     -        -        -       -      -
            not a member of the swarm; builder status shows what it is at
    blue07  worker            Ready   Active        -         -              29.7.1  -     -        -        -       0      -
            not in the cluster file; its id is b7xy

    SERVICE  MODE            REPLICAS      IMAGE       PORTS
    agent    global          4/4           nginx:1.29  -
    once     replicated-job  0/1 (4 done)  nginx:1.29  -
    web      replicated      2/3           nginx:1.29  *:8080->80/tcp, 53/udp
    ");
    assert_eq!(outcome.talk, "");
}

#[test]
fn json_is_what_the_manager_said() {
    let (outcome, _) = Bench::new().done(vec![shown()], "ls --json");
    assert_eq!(serde_json::from_str::<Value>(&outcome.out).unwrap(), swarm());
    assert_eq!(outcome.out.lines().count(), 1);
}

#[test]
fn a_swarm_without_services_says_so_and_entries_of_one_name_show_their_ids() {
    let mut swarm = swarm();
    swarm["services"] = json!([]);
    swarm["nodes"] = json!([
        node("red01", 3, entry("old", "down", "active")),
        node("red01", 3, entry("new", "ready", "active"))
    ]);
    let (outcome, _) = Bench::new().done(vec![("GET /v1/swarm", 200, swarm.to_string())], "ls");
    assert!(outcome.out.ends_with("\n\nno services\n"), "{}", outcome.out);
    for id in ["old", "new"] {
        assert!(outcome.out.contains(&format!("one of several entries of this name; its id is {id}\n")));
    }
}

#[test]
fn what_strangers_call_themselves_cannot_act_on_the_terminal() {
    let mut swarm = swarm();
    let evil = "\u{1b}]0;owned\u{7}\nred99  worker";
    for field in ["name", "os", "architecture"] {
        swarm["nodes"][4][field] = json!(evil);
    }
    swarm["nodes"][4]["labels"] = json!({"evil": evil});
    for field in ["id", "state", "availability", "engine"] {
        swarm["nodes"][4]["swarm"][field] = json!(evil);
    }
    for field in ["name", "mode", "image"] {
        swarm["services"][0][field] = json!(evil);
    }
    swarm["services"][2]["ports"][0]["protocol"] = json!(evil);
    let (outcome, _) = Bench::new().done(vec![("GET /v1/swarm", 200, swarm.to_string())], "ls");
    assert!(outcome.out.contains("owned"), "{}", outcome.out);
    assert!(
        !outcome.out.contains(['\u{1b}', '\u{7}']) && !outcome.out.contains("\nred99"),
        "{}",
        outcome.out
    );
}

#[test]
fn a_manager_without_a_swarm_is_a_clear_sentence_and_exit_code_six() {
    let bench = Bench::new();
    for line in ["ls", "token", "drain red01", "label red01 a=b"] {
        let why = json!({"message": "red00 is in no swarm yet"}).to_string();
        let script = vec![("GET /v1/swarm", 503, why.clone()), ("POST /v1/token", 503, why)];
        let (address, _) = bench.manager(script);
        let outcome = bench.run(address, line);
        assert_eq!((outcome.code, outcome.out.as_str()), (6, ""), "{line}");
        assert_eq!(
            outcome.talk,
            "error: the swarm cannot be managed now: red00 is in no swarm yet\n\
             hint: builder status shows what the managers are waiting for\n",
            "{line}"
        );
    }
}

#[test]
fn an_older_manager_is_told_from_one_without_a_swarm() {
    let bench = Bench::new();
    let (address, _) = bench.manager(Vec::new());
    let outcome = bench.run(address, "ls");
    assert_eq!(outcome.code, 1);
    assert!(outcome.talk.contains("made by an older builder"), "{}", outcome.talk);
}

fn reply(managers: &[&str]) -> Answer {
    ("POST /v1/token", 200, json!({"token": TOKEN, "managers": managers}).to_string())
}

#[test]
fn the_token_is_printed_as_the_lesson_has_it_and_only_to_standard_output() {
    let bench = Bench::new();
    let (outcome, asked) = bench.done(vec![reply(&["10.1.1.1:2377", "10.1.1.2:2377"])], "token");
    assert_eq!(outcome.out, format!("docker swarm join --token {TOKEN} 10.1.1.1:2377\n"));
    assert_eq!(
        outcome.talk,
        "whoever has this can join the swarm as a worker, until the tokens change: when the join window closes, when \
         a node is revoked, or now: builder token --rotate\n"
    );
    assert_eq!(asked.lock().unwrap()[..], [("post /v1/token".to_owned(), r#"{"role":"worker"}"#.to_owned())]);

    let (outcome, asked) = bench.done(vec![reply(&["10.1.1.1:2377"])], "token manager --json --quiet");
    let printed = json!({"role": "manager", "token": TOKEN, "managers": ["10.1.1.1:2377"]});
    assert_eq!(serde_json::from_str::<Value>(&outcome.out).unwrap(), printed);
    assert_eq!((outcome.talk.as_str(), asked.lock().unwrap()[0].1.as_str()), ("", r#"{"role":"manager"}"#));
}

#[test]
fn rotating_comes_before_the_token_and_without_it_none_is_asked_for() {
    let bench = Bench::new();
    let script = vec![("POST /v1/tokens/rotate", 204, String::new()), reply(&["10.1.1.1:2377"])];
    let (outcome, asked) = bench.done(script, "token --rotate");
    assert!(outcome.talk.starts_with("the join tokens were changed\n"), "{}", outcome.talk);
    let requests: Vec<_> = asked.lock().unwrap().iter().map(|(request, _)| request.clone()).collect();
    assert_eq!(requests, ["post /v1/tokens/rotate", "post /v1/token"]);

    let busy = json!({"message": "Docker does not answer"}).to_string();
    let (address, asked) =
        bench.manager(vec![("POST /v1/tokens/rotate", 503, busy), reply(&["10.1.1.1:2377"])]);
    let outcome = bench.run(address, "token --rotate");
    assert_eq!((outcome.code, outcome.out.as_str(), asked.lock().unwrap().len()), (6, "", 1));
}

#[test]
fn a_token_in_an_answer_that_is_not_understood_is_not_printed() {
    let bench = Bench::new();
    let broken = json!({"token": TOKEN, "managers": "10.1.1.1:2377"}).to_string();
    for script in [("POST /v1/token", 200, broken), reply(&[])] {
        let (address, _) = bench.manager(vec![script]);
        let outcome = bench.run(address, "token");
        assert_ne!(outcome.code, 0);
        assert!(!(outcome.out + &outcome.talk).contains("SWMTKN"));
    }
}

const DRAIN: &str = "POST /v1/nodes/w1xy/availability";
const TASKS: &str = "GET /v1/nodes/w1xy/tasks";

fn drained() -> Answer {
    (DRAIN, 200, entry("w1xy", "ready", "drain").to_string())
}

#[test]
fn draining_waits_until_the_tasks_have_ended() {
    let busy = (TASKS, 200, tasks("w1xy", "ready", "drain", 2));
    let free = (TASKS, 200, tasks("w1xy", "ready", "drain", 0));
    let (outcome, asked) = Bench::new().done(vec![shown(), drained(), busy, free], "drain red01");
    assert_eq!(outcome.out, "red01: takes no tasks; nothing of the swarm runs on it\n");
    assert_eq!(outcome.talk, "waiting until tasks have ended: 2 tasks on red01\n");
    let asked = asked.lock().unwrap();
    assert_eq!(
        asked[1],
        ("post /v1/nodes/w1xy/availability".to_owned(), r#"{"availability":"drain"}"#.to_owned())
    );
    assert_eq!(asked.len(), 4);
}

#[test]
fn tasks_that_do_not_end_are_counted_and_exit_code_six() {
    let bench = Bench::new();
    let second = ("POST /v1/nodes/w2xy/availability", 200, entry("w2xy", "down", "drain").to_string());
    let script = vec![
        shown(),
        drained(),
        second,
        (TASKS, 200, tasks("w1xy", "ready", "drain", 1)),
        ("GET /v1/nodes/w2xy/tasks", 200, tasks("w2xy", "down", "drain", 5)),
    ];
    let (address, _) = bench.manager(script);
    let outcome = bench.run(address, "drain red[01-02] --timeout 1s --quiet");
    assert_eq!(outcome.code, 6);
    assert_eq!(
        outcome.talk,
        "error: tasks did not end within 1s: 1 task on red01\n\
         hint: to wait longer: builder drain red[01-02] --timeout 1h\n"
    );
    assert_eq!(
        outcome.out,
        "red01: takes no tasks; what runs on it is being started elsewhere\n\
         red02: takes no tasks; it is down, and what ran on it is started elsewhere\n"
    );
}

#[test]
fn draining_without_waiting_and_what_somebody_undoes_meanwhile() {
    let bench = Bench::new();
    let busy = (TASKS, 200, tasks("w1xy", "ready", "drain", 2));
    let (outcome, _) = bench.done(vec![shown(), drained(), busy.clone()], "drain w1xy --no-wait");
    assert_eq!(outcome.out, "red01: takes no tasks; what runs on it is being started elsewhere\n");
    let (outcome, _) = bench.done(vec![shown(), drained(), busy.clone()], "drain red01 --no-wait --json");
    let printed: Value = serde_json::from_str(&outcome.out).unwrap();
    assert_eq!(printed, json!([{"swarm": entry("w1xy", "ready", "drain"), "running": 2}]));

    let undone = (TASKS, 200, tasks("w1xy", "ready", "active", 2));
    let (address, _) = bench.manager(vec![shown(), drained(), busy, undone]);
    let outcome = bench.run(address, "drain red01 --quiet");
    assert_eq!(outcome.code, 6);
    assert!(outcome.talk.contains("somebody made it active meanwhile"), "{}", outcome.talk);
}

#[test]
fn active_again_and_asked_too_often() {
    let slow = (DRAIN, 429, json!({"message": "too many requests"}).to_string());
    let active = (DRAIN, 200, entry("w1xy", "ready", "active").to_string());
    let stranger = ("POST /v1/nodes/b7xy/availability", 200, entry("b7xy", "ready", "active").to_string());
    let (outcome, asked) =
        Bench::new().done(vec![shown(), slow, active, stranger], "activate red01 blue07 red01");
    assert_eq!(outcome.out, "red01: takes tasks\nblue07: takes tasks\n");
    let asked = asked.lock().unwrap();
    assert_eq!(asked.len(), 4, "the second is asked again, and nobody twice");
    assert_eq!(asked[3].1, r#"{"availability":"active"}"#);
}

#[test]
fn labels_are_set_and_taken_away() {
    let path = "POST /v1/nodes/w1xy/labels";
    let answer = (path, 200, json!({"id": "w1xy", "labels": {"disk": "nvme", "zone": ""}}).to_string());
    let (outcome, asked) = Bench::new().done(vec![shown(), answer], "label red01 disk=nvme zone= old-");
    assert_eq!(outcome.out, "red01: disk=nvme zone=\n");
    assert_eq!(asked.lock().unwrap()[1].1, r#"{"set":{"disk":"nvme","zone":""},"unset":["old"]}"#);

    let bench = Bench::new();
    let planned =
        json!({"message": "the cluster file plans the label rack of red01: change it there"}).to_string();
    let (address, _) = bench.manager(vec![shown(), (path, 409, planned)]);
    let outcome = bench.run(address, "label red01 rack=8");
    assert_eq!((outcome.code, outcome.out.as_str()), (6, ""));
    assert_eq!(
        outcome.talk,
        "error: the manager does not do this: the cluster file plans the label rack of red01: change it there\n\
         hint: builder ls shows the nodes with their labels\n"
    );
}

#[test]
fn words_that_mean_no_member_change_nothing() {
    let bench = Bench::new();
    let mut twice = swarm();
    twice["nodes"][1]["name"] = json!("red02");
    for (swarm, line, code, told) in [
        (
            swarm(),
            "drain red01 red[07-08]",
            2,
            "error: the swarm has no node red07\nhint: builder ls shows the nodes\n",
        ),
        (
            swarm(),
            "activate red[01-03]",
            6,
            "error: red03 is not a member of the swarm\nhint: builder status shows what it is at\n",
        ),
        (
            twice,
            "label red02 a=b",
            2,
            "error: the swarm has 2 entries named red02: w1xy (ready), w2xy (down)\nhint: name one of them by its id\n",
        ),
        (
            swarm(),
            "drain red[02-01]",
            2,
            "error: `red[02-01]` counts down from 02 to 01\nhint: write [01-02]\n",
        ),
    ] {
        let (address, asked) = bench.manager(vec![("GET /v1/swarm", 200, swarm.to_string())]);
        let outcome = bench.run(address, line);
        assert_eq!((outcome.code, outcome.talk.as_str()), (code, told), "{line}");
        assert_eq!(asked.lock().unwrap().len(), 1, "{line}");
    }
    // Not even asked.
    let (address, asked) = bench.manager(vec![shown()]);
    let outcome = bench.run(address, "label red01 disk");
    assert_eq!((outcome.code, asked.lock().unwrap().len()), (2, 0), "{}", outcome.talk);
}
