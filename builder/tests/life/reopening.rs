//! `builder up --reopen`: nodes that came too late.

use cluster::wire::{JoinWindow, Problem};

use super::*;

/// What a manager of 6bc94bb answers to a request that it does not know.
fn unknown() -> Answer {
    (404, serde_json::to_string(&Problem { message: "no such request".to_owned(), cause: None }).unwrap())
}

fn opened() -> Answer {
    answer(&JoinWindow { seconds: 86_400 })
}

#[test]
fn the_window_is_opened_and_nodes_are_waited_for() {
    let bench = Bench::new();
    let late = BoardNode { swarm: None, ..member("red02") };
    let waiting = bench.board(vec![member("red00"), member("red01"), late]);
    let formed = Board { formed: true, ..bench.formed() };
    let answers =
        vec![opened(), answer(&Orders::default()), answer(&waiting), answer(&waiting), answer(&formed)];
    let outcome = bench.up(bench.manager(answers), "--reopen");
    assert_eq!(outcome.code(), 0, "{:?}", outcome.result);
    assert!(outcome.talk.starts_with("the join window is open for 1day\n"), "{}", outcome.talk);
    assert!(!outcome.talk.contains("being formed"), "{}", outcome.talk);
    assert!(outcome.out.ends_with("red is formed: 3 of 3 nodes ready\n"), "{}", outcome.out);
}

#[test]
fn without_waiting_it_says_how_long_and_what_to_type() {
    let bench = Bench::new();
    let answers = || vec![opened(), answer(&Orders::default()), answer(&bench.formed())];
    let told = bench.up(bench.manager(answers()), "--reopen --no-wait");
    assert_eq!((told.code(), told.talk.as_str()), (0, "the join window is open for 1day\n"));
    assert_eq!(bench.shown(&told.out), "to see who comes in: builder status -f HERE/cluster.yaml --wait\n");

    let (mut out, mut talk) = (Vec::new(), Vec::new());
    let args: UpArgs = parse(&format!("--reopen --no-wait --manager {}", bench.manager(answers())));
    up(&bench.project, &args, Style { json: true, ..Style::default() }, &mut out, &mut talk).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(
        json,
        serde_json::json!({"cluster": "red", "changed": true, "untold": [], "join_window": 86400})
    );
}

#[test]
fn a_manager_that_does_not_know_the_request_is_named_with_what_to_type() {
    let mut bench = Bench::new();
    let outcome = bench.up(bench.manager(vec![unknown()]), "--reopen");
    assert_eq!(outcome.code(), 1);
    insta::assert_snapshot!(outcome.failure(), @"
    error: the agent of red00 is an older one, which cannot open the join window again
    hint: give the node that is to join a new identity, which may join at any time: builder revoke NODE, then: sudo builder flash NODE
    ");
    bench.project.kind = ProjectKind::Adopted;
    let failure = bench.up(bench.manager(vec![unknown()]), "--reopen").failure();
    assert!(failure.ends_with("\nhint: to give it a new agent: builder config\n"), "{failure}");
}

#[test]
fn of_several_managers_one_that_opens_it_is_enough() {
    let mut bench = Bench::new();
    bench.project.cluster.nodes.push(node("red03", Role::Manager));
    bench.identities = pki::open(&bench.project).unwrap();
    let answers = vec![opened(), answer(&Orders::default()), answer(&bench.formed())];
    let outcome = bench.up(bench.manager(answers), "--reopen --no-wait");
    assert_eq!(outcome.code(), 0, "{:?}", outcome.result);
    assert!(
        outcome.talk.contains("\nnot at red03: the manager red03 cannot be reached\n"),
        "{}",
        outcome.talk
    );
}
