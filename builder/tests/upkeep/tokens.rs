//! `builder token`.

use serde_json::{Value, json};

use crate::Bench;
use crate::operator::Answer;

const TOKEN: &str = "SWMTKN-1-secretsecret";

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
