use super::*;

fn board(stage: Option<Stage>, silent: Option<u64>, ready: bool) -> Case {
    Case {
        node: "red03".to_owned(),
        secrets: "red.secrets".to_owned(),
        manager: Some("red00".to_owned()),
        runs_already: false,
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
fn of_pis_that_ran_before_nobody_is_told_to_write_a_card() {
    let running = |case: Case| advice(&Case { runs_already: true, ..case });
    let troubles = KNOWN.iter().map(|(words, _)| with_trouble(&format!("cannot go on: {words}"), false));
    let states = [board(None, None, false), board(Some(Stage::Docker), Some(300), false)];
    let stages = [Stage::Seed, Stage::Network, Stage::Clock, Stage::Docker, Stage::Swarm, Stage::Ready];
    let stages = stages.map(|stage| board(Some(stage), Some(1), false));
    for case in troubles.chain(states).chain(stages) {
        let text = running(case);
        for wrong in
            ["builder flash", "builder build", "--card", "cards again", "RUNNING", "MANAGER", "SECRETS"]
        {
            assert!(!text.contains(wrong), "{text}");
        }
    }
    for (words, _) in KNOWN_OF_RUNNING {
        assert!(KNOWN.iter().any(|(known, _)| *known == words), "{words}");
    }
    insta::assert_snapshot!(
        [
            running(with_trouble("the certificate was revoked", false)),
            running(board(None, None, false)),
        ].join("\n"),
        @r"
    Its certificate was revoked. For a new one: builder config
    red03 never reported. Is it on, and on the same network as red00? If it is, look at its agent: ssh -F red.secrets/ssh_config red03 systemctl status firstboot; what it needs is brought again by: builder config
    "
    );
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
