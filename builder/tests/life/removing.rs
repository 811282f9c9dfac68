//! `builder rm`: who goes, who may not, and who is asked about it.

use cluster::wire::Removal;

use super::*;

const BACK: &str = "red02 is out of the swarm; to have it back: builder up -f HERE/cluster.yaml\n";

fn removal() -> Removal {
    Removal { entries: member("red02").swarm.into_iter().collect(), reads_list: true, stranger: false }
}

#[test]
fn removing_asks_and_waits_until_the_entry_is_gone() {
    let bench = Bench::new();
    let dismissed = |node| BoardNode { dismissed: true, ..node };
    let leaving = bench.board(vec![member("red00"), member("red01"), dismissed(member("red02"))]);
    let gone = bench.board(vec![member("red00"), member("red01"), dismissed(out("red02", Some(KILLED)))]);
    let answers = || vec![answer(&Orders::default()), answer(&removal()), answer(&leaving), answer(&gone)];
    let run = |typed, json| {
        let line = format!("red02 --manager {}", bench.manager(answers()));
        bench.ask(rm, &line, typed, json)
    };
    let outcome = run(Some("yes\n"), false);
    assert_eq!(outcome.code(), 0, "{:?}", outcome.result);
    assert!(outcome.talk.ends_with("waiting for red02 to go\n"), "{}", outcome.talk);
    assert_eq!(bench.shown(&outcome.out), BACK);
    assert_eq!(run(Some("yes\n"), true).out, "[{\"node\":\"red02\",\"gone\":true,\"refused\":null}]\n");
    assert_eq!(
        run(None, false).failure(),
        "error: nobody is here to be asked\nhint: if you are sure: builder rm red02 --yes\n"
    );
}

#[test]
fn who_is_planned_is_who_the_managers_plan_whatever_our_file_says_by_now() {
    let mut bench = Bench::new();
    bench.project.cluster.nodes.retain(|node| node.name.as_str() != "red02");
    let dismissed = |node| BoardNode { dismissed: true, ..node };
    let leaving = bench.board(vec![member("red00"), member("red01"), dismissed(member("red02"))]);
    let gone = bench.board(vec![member("red00"), member("red01"), dismissed(out("red02", Some(KILLED)))]);
    let told = [answer(&Orders::default()), answer(&removal())];
    let line = |answers: &[Answer]| format!("--yes red02 --manager {}", bench.manager(answers.to_vec()));
    let outcome =
        bench.ask(rm, &line(&[&told[..], &[answer(&leaving), answer(&gone)]].concat()), None, false);
    assert_eq!(outcome.code(), 0, "{:?}", outcome.result);
    assert_eq!(outcome.talk, "waiting for red02 to go\n");
    assert_eq!(bench.shown(&outcome.out), BACK);

    // One who has another plan does not know of it; the board says that the others do.
    let unknown = || (404, r#"{"message":"no such node is planned"}"#.to_owned());
    let told = [answer(&Orders::default()), unknown(), answer(&leaving), answer(&gone)];
    assert_eq!(bench.ask(rm, &line(&told), None, false).code(), 0);
    let others = bench.board(vec![member("red00"), member("red01")]);
    let told = [answer(&Orders::default()), unknown(), answer(&others)];
    let outcome = bench.ask(rm, &line(&told), None, false);
    assert_eq!(
        (outcome.code(), outcome.out.as_str()),
        (1, "red02 was not removed: no such node is planned\n")
    );
}

#[test]
fn who_may_not_go_or_does_not_go_is_named() {
    let bench = Bench::new();
    let why = (409, r#"{"message":"without red02 the managers would lose their majority"}"#.to_owned());
    let line = |address| format!("--yes red02 --timeout 1s --manager {address}");
    let address = bench.manager(vec![answer(&Orders::default()), why]);
    let refused = bench.ask(rm, &line(address), None, false);
    assert_eq!(refused.code(), 1);
    assert_eq!(refused.out, "red02 was not removed: without red02 the managers would lose their majority\n");

    let address =
        bench.manager(vec![answer(&Orders::default()), answer(&removal()), answer(&bench.formed())]);
    let stays = bench.ask(rm, &line(address), None, false);
    assert_eq!(stays.code(), 6);
    assert!(
        stays.failure().starts_with("error: 1 node is still in the swarm: red02\n"),
        "{}",
        stays.failure()
    );
    for name in ["../x", "a/b", "red[0", "%2e"] {
        assert_eq!(bench.ask(rm, &format!("--yes {name}"), None, false).code(), 2, "{name}");
    }
}
