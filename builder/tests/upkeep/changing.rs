//! `builder drain`, `activate` and `label`.

use serde_json::{Value, json};

use crate::operator::Answer;
use crate::{Bench, entry, shown, swarm};

fn tasks(id: &str, state: &str, availability: &str, running: u64) -> String {
    json!({"swarm": entry(id, state, availability), "running": running}).to_string()
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
         hint: to wait longer: builder drain 'red[01-02]' --quiet --manager ADDRESS --timeout 1h\n"
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
