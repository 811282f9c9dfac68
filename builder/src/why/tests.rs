use cluster::wire::ProblemCode;

use super::*;

fn advice(case: &Case) -> String {
    super::advice(case).show(None).text
}

fn board(stage: Option<Stage>, silent: Option<u64>, ready: bool) -> Case {
    Case {
        node: "red03".to_owned(),
        secrets: "red.secrets".into(),
        manager: Some("red00".to_owned()),
        is_adopted: false,
        seen: Seen::Board { silent: silent.map(Duration::from_secs), ready },
        stage,
        trouble: None,
    }
}

fn with_trouble(message: &str, cause: Option<Cause>, gave_up: bool) -> Case {
    let trouble = Some(Trouble { message: message.to_owned(), cause, gave_up });
    Case { trouble, ..board(Some(Stage::Docker), Some(1), false) }
}

fn with_cause(cause: impl Into<Cause>) -> Case {
    with_trouble("something is wrong", Some(cause.into()), false)
}

fn card(first_start: FirstStart, stage: Option<Stage>) -> Case {
    Case { seen: Seen::Card(first_start), ..board(stage, None, false) }
}

#[test]
fn every_state_has_its_sentence() {
    let cases = [
        ("never heard", board(None, None, false)),
        ("a member", board(Some(Stage::Ready), Some(3), true)),
        ("a member, silent", board(Some(Stage::Ready), Some(300), true)),
        ("silent", board(Some(Stage::Docker), Some(300), false)),
        ("network", board(Some(Stage::Network), Some(3), false)),
        ("clock", board(Some(Stage::Clock), Some(3), false)),
        ("docker", board(Some(Stage::Docker), Some(3), false)),
        ("swarm", board(Some(Stage::Swarm), Some(3), false)),
        ("the manager's swarm", Case { manager: None, ..board(Some(Stage::Swarm), Some(3), false) }),
        ("unknown trouble", with_trouble("apt-get ended with 100", None, false)),
        ("unknown end", with_trouble("something new", None, true)),
        ("known end", with_trouble("cannot write /x", Some(ProblemCode::DiskFull.into()), true)),
        ("card not begun", card(FirstStart::NotBegun, None)),
        ("card cut short", card(FirstStart::CutShort, None)),
        ("card without agent", card(FirstStart::NotInstalled, None)),
        ("card without a word", card(FirstStart::Done, None)),
        ("card of a member", card(FirstStart::Done, Some(Stage::Ready))),
    ];
    let text: String = cases.iter().map(|(name, case)| format!("{name}: {}\n", advice(case))).collect();
    insta::assert_snapshot!(text);
}

/// The advice about every code, for a card and for a Pi that ran before.
fn advice_for_all() -> Vec<(ProblemCode, String, String)> {
    let both = |code: &ProblemCode| {
        let case = with_cause(*code);
        (*code, advice(&case), advice(&Case { is_adopted: true, ..case }))
    };
    ProblemCode::ALL.iter().map(both).collect()
}

#[test]
fn every_code_has_its_advice() {
    let line = |(code, card, running): (ProblemCode, String, String)| {
        let code = code.as_str();
        if card == running {
            format!("{code}: {card}\n")
        } else {
            format!("{code}\n  card: {card}\n  running: {running}\n")
        }
    };
    let text: String = advice_for_all().into_iter().map(line).collect();
    insta::assert_snapshot!(text);
}

#[test]
fn advice_ends_with_a_sentence_or_a_command() {
    for (code, card, running) in advice_for_all() {
        for text in [card, running] {
            for placeholder in ["NODE", "MANAGER", "SECRETS", "SUBJECT", "WRITE"] {
                assert!(!text.contains(placeholder), "{}: {text}", code.as_str());
            }
            assert!(
                text.ends_with(['.', '?'])
                    || text.contains(": builder ")
                    || text.contains(": ssh ")
                    || text.contains(": sudo builder "),
                "{}: {text}",
                code.as_str()
            );
        }
    }
}

#[test]
fn pis_that_ran_before_are_not_told_to_write_a_card() {
    let states = [board(None, None, false), board(Some(Stage::Docker), Some(300), false)];
    let stages = [Stage::Seed, Stage::Network, Stage::Clock, Stage::Docker, Stage::Swarm, Stage::Ready];
    let stages = stages.map(|stage| board(Some(stage), Some(1), false));
    let codes = ProblemCode::ALL.iter().map(|code| with_cause(*code));
    for case in codes.chain(states).chain(stages) {
        let text = advice(&Case { is_adopted: true, ..case });
        for wrong in ["builder flash", "builder build", "--card", " card", "RUNNING"] {
            assert!(!text.contains(wrong), "{text}");
        }
    }
}

/// Their files are on the computer, so bringing them again is another command.
#[test]
fn cards_are_not_told_to_be_configured() {
    for (code, card, _) in advice_for_all() {
        assert!(!card.contains("builder config"), "{}: {card}", code.as_str());
    }
}

#[test]
fn advice_names_what_the_node_named() {
    let lost = Cause::new(ProblemCode::ManagerNotFound).about("red07");
    assert!(advice(&with_cause(lost)).starts_with("It finds no address for red07. Is red07 on"));
    assert!(
        advice(&with_cause(ProblemCode::ManagerNotFound))
            .starts_with("It finds no address for red00. Is red00 on")
    );
    // What it named is not taken for a placeholder.
    let odd = Cause::new(ProblemCode::NoNameServer).about("NODE.example");
    assert!(advice(&with_cause(odd)).contains("the name of NODE.example,"));
}

/// The agents of 2026-11 send no codes.
#[test]
fn trouble_without_a_code_is_answered_by_its_stage() {
    let old = advice(&with_trouble("this node's certificate was revoked; it needs a new card", None, false));
    assert!(old.starts_with("It tries again by itself. Docker is being installed"), "{old}");
}

/// What a node says never becomes a part of a command that a person is told to type.
#[test]
fn no_command_contains_the_subject() {
    for code in ProblemCode::ALL {
        let advice = known::of(*code);
        for text in [advice.card, advice.running] {
            let commands: Vec<_> = text.split(['{', '}']).skip(1).step_by(2).collect();
            assert_eq!(text.matches('{').count(), commands.len(), "{}: {text}", code.as_str());
            for command in commands {
                assert!(!command.contains("SUBJECT"), "{}: {command}", code.as_str());
                assert!(shlex::split(command).is_some_and(|words| words.len() > 1), "{command}");
            }
        }
    }
}
