use super::*;

fn board(stage: Option<Stage>, silent: Option<u64>, ready: bool) -> Case {
    Case {
        node: "red03".to_owned(),
        cluster: "red".to_owned(),
        manager: Some("red00".to_owned()),
        seen: Seen::Board { silent: silent.map(Duration::from_secs), ready },
        stage,
        trouble: None,
    }
}

fn with_trouble(message: &str, gave_up: bool) -> Case {
    Case { trouble: Some((message.to_owned(), gave_up)), ..board(Some(Stage::Docker), Some(1), false) }
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
        ("unknown trouble", with_trouble("apt-get ended with 100", false)),
        ("unknown end", with_trouble("something new", true)),
        ("known end", with_trouble("cannot write /x: No space left on device", true)),
        ("card not begun", card(FirstStart::NotBegun, None)),
        ("card cut short", card(FirstStart::CutShort, None)),
        ("card without agent", card(FirstStart::NotInstalled, None)),
        ("card without a word", card(FirstStart::Done, None)),
        ("card of a member", card(FirstStart::Done, Some(Stage::Ready))),
    ];
    let text: String = cases.iter().map(|(name, case)| format!("{name}: {}\n", advice(case))).collect();
    insta::assert_snapshot!(text);
}

#[test]
fn known_trouble_is_answered_with_the_node_and_the_manager_by_name() {
    for (words, _) in KNOWN {
        let text = advice(&with_trouble(&format!("cannot go on: {words}, says the agent"), false));
        assert!(!text.contains("NODE") && !text.contains("MANAGER"), "{words}: {text}");
        assert!(
            text.ends_with(['.', '?']) || text.contains(": builder ") || text.contains("type: "),
            "{text}"
        );
    }
    let lost = advice(&with_trouble("asking the manager failed: no address found for red00", false));
    assert!(lost.starts_with("It does not find red00."), "{lost}");
}

/// The words are the agent's own. Without this they could drift apart, and the advice would never be given.
#[test]
fn the_known_words_are_in_the_agents_messages() {
    let sources = [
        include_str!("../../../firstboot/src/serve.rs"),
        include_str!("../../../firstboot/src/serve/join.rs"),
        include_str!("../../../firstboot/src/agent/life.rs"),
        include_str!("../../../firstboot/src/agent/link.rs"),
        include_str!("../../../firstboot/src/engine/error.rs"),
        include_str!("../../../firstboot/src/steps/swarm/table.rs"),
    ]
    .concat();
    // These are the words of Linux and of apt.
    let others = [
        "No space left",
        "Read-only file system",
        "Input/output error",
        "Could not resolve",
        "Temporary failure resolving",
        "Cannot initiate the connection",
    ];
    for (words, _) in KNOWN {
        assert!(others.contains(&words) || sources.contains(words), "no agent says {words:?}");
    }
}
