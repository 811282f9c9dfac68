//! A line of the table each.

use super::*;
use crate::engine::types::Peer;

const OURS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);
const MANAGER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

struct Case {
    role: Role,
    founder: Founder,
    peers: bool,
    info: SwarmInfo,
    entry: Option<SwarmEntry>,
    told: Option<SwarmEntry>,
    list_read: bool,
    init: Progress,
    out_of_date: bool,
    seconds: u64,
}

fn worker(state: LocalState) -> Case {
    let member = state == LocalState::Active;
    let info = SwarmInfo {
        node_id: if member { "me".into() } else { String::new() },
        node_addr: OURS.to_string(),
        local_node_state: state,
        remote_managers: vec![Peer { addr: format!("{MANAGER}:2377") }],
        ..SwarmInfo::default()
    };
    let (role, founder, init) = (Role::Worker, Founder::Us, Progress::Never);
    Case {
        role,
        founder,
        peers: false,
        info,
        entry: None,
        told: None,
        list_read: false,
        init,
        out_of_date: false,
        seconds: 0,
    }
}

fn founder(state: LocalState, init: Progress) -> Case {
    let mut case = worker(state);
    case.info.control_available = state == LocalState::Active;
    case.info.managers = Some(1);
    Case { role: Role::Manager, init, ..case }
}

fn entry(id: &str, state: &str) -> Option<SwarmEntry> {
    Some(SwarmEntry {
        id: id.into(),
        state: state.into(),
        availability: "active".into(),
        leader: false,
        reachability: None,
        engine: None,
        address: None,
    })
}

fn moved(case: &Case) -> Move {
    let outlook = Outlook {
        role: case.role,
        founder: if case.role == Role::Manager { case.founder.clone() } else { Founder::Another },
        peers: case.peers,
        info: &case.info,
        entry: case.entry.as_ref(),
        told: case.told.as_ref(),
        list_read: case.list_read || case.told.is_some(),
        init: case.init,
        out_of_date: case.out_of_date,
        address: OURS,
        manager: Some(MANAGER),
    };
    decide(&outlook, condition(&outlook), Duration::from_secs(case.seconds))
}

#[test]
fn outside_a_swarm_the_first_manager_starts_it_and_the_others_join() {
    assert_eq!(moved(&founder(LocalState::Inactive, Progress::Never)), Move::Init);
    assert_eq!(moved(&worker(LocalState::Inactive)), Move::Join);
}

#[test]
fn an_init_cut_short_is_repeated_only_while_docker_knows_of_no_swarm() {
    assert_eq!(moved(&founder(LocalState::Inactive, Progress::Started)), Move::Init);
    let case = Case { entry: entry("me", "ready"), ..founder(LocalState::Active, Progress::Started) };
    assert_eq!(moved(&case), Move::Done("me".into()));
}

#[test]
fn a_swarm_that_existed_is_never_started_a_second_time() {
    for init in [Progress::Completed, Progress::Unknown] {
        assert!(
            matches!(moved(&founder(LocalState::Inactive, init)), Move::Stop(ProblemCode::SwarmGone, _)),
            "{init:?}"
        );
    }
}

#[test]
fn a_damaged_journal_does_not_disturb_a_swarm_that_works() {
    let case = Case { entry: entry("me", "ready"), ..founder(LocalState::Active, Progress::Unknown) };
    assert_eq!(moved(&case), Move::Done("me".into()));
}

#[test]
fn a_worker_is_a_member_only_when_the_manager_says_so() {
    let active = || worker(LocalState::Active);
    assert!(matches!(moved(&active()), Move::Wait(_)));
    assert!(matches!(moved(&Case { entry: entry("me", "down"), ..active() }), Move::Wait(_)));
    assert!(matches!(moved(&Case { entry: entry("other", "ready"), ..active() }), Move::Wait(_)));
    assert_eq!(moved(&Case { entry: entry("me", "ready"), ..active() }), Move::Done("me".into()));
}

#[test]
fn a_worker_whose_entry_is_gone_asks_to_be_let_in_again() {
    assert!(matches!(moved(&Case { seconds: 20, ..worker(LocalState::Active) }), Move::Rejoin(_)));
}

#[test]
fn a_worker_follows_a_manager_that_moved_but_not_one_that_rests() {
    let mut case = Case { entry: entry("me", "down"), seconds: 50, ..worker(LocalState::Active) };
    assert!(matches!(moved(&case), Move::Wait(_)), "same address");
    case.info.remote_managers = vec![Peer { addr: "10.0.0.9:2377".into() }];
    assert!(matches!(moved(&case), Move::Rejoin(_)), "other address");
    case.seconds = 30;
    assert!(matches!(moved(&case), Move::Wait(_)), "not for long enough");
}

#[test]
fn joining_that_leads_nowhere_is_given_up_and_a_broken_swarm_only_for_a_token() {
    let after = |state, seconds| moved(&Case { seconds, ..worker(state) });
    assert!(matches!(after(LocalState::Pending, 60), Move::Wait(_)));
    assert!(matches!(after(LocalState::Pending, 80), Move::Leave(_)));
    assert!(matches!(after(LocalState::Error, 30), Move::Wait(_)));
    assert!(matches!(after(LocalState::Error, 70), Move::Rejoin(_)));
}

/// A member whose Docker was started again, for so long.
fn restarted(case: Case, list_read: bool, seconds: u64) -> Case {
    let info = SwarmInfo {
        node_id: "me".into(),
        local_node_state: LocalState::Pending,
        control_available: false,
        ..case.info.clone()
    };
    Case { info, list_read, seconds, ..case }
}

#[test]
fn a_manager_that_was_restarted_waits_for_the_others_however_long_that_takes() {
    for peers in [false, true] {
        let member = || Case { peers, ..founder(LocalState::Active, Progress::Completed) };
        for state in [LocalState::Pending, LocalState::Other] {
            let mut case = restarted(member(), false, 100_000);
            case.info.local_node_state = state;
            assert!(matches!(moved(&case), Move::Wait(_)), "{state:?} with peers: {peers}");
        }
    }
    // They are back and count on it.
    let mut case = Case { peers: true, ..founder(LocalState::Active, Progress::Never) };
    let reachability = Some("unreachable".to_owned());
    case.told = entry("me", "down").map(|entry| SwarmEntry { reachability, ..entry });
    assert!(matches!(moved(&restarted(case, true, 100_000)), Move::Wait(_)));
}

#[test]
fn a_manager_that_was_restarted_leaves_when_a_majority_says_that_it_is_none() {
    for told in [None, entry("me", "down"), entry("its next life", "ready")] {
        let case =
            || Case { peers: true, told: told.clone(), ..founder(LocalState::Active, Progress::Completed) };
        assert!(matches!(moved(&restarted(case(), true, 60)), Move::Wait(_)), "{told:?}");
        assert!(matches!(moved(&restarted(case(), true, 80)), Move::Leave(_)), "{told:?}");
    }
}

#[test]
fn a_worker_that_was_restarted_asks_only_when_the_managers_have_been_back_for_long() {
    let case = |list_read, seconds| {
        let told = entry("me", "down").filter(|_| list_read);
        restarted(Case { told, ..worker(LocalState::Active) }, list_read, seconds)
    };
    assert!(matches!(moved(&case(false, 100_000)), Move::Wait(_)));
    assert!(matches!(moved(&case(true, 60)), Move::Wait(_)));
    assert!(matches!(moved(&case(true, 80)), Move::Rejoin(_)));
    let mut moved_away = case(true, 50);
    moved_away.info.remote_managers = vec![Peer { addr: "10.0.0.9:2377".into() }];
    assert!(matches!(moved(&moved_away), Move::Rejoin(_)));
    moved_away.seconds = 30;
    assert!(matches!(moved(&moved_away), Move::Wait(_)));
    // They have begun anew, or removed it.
    let forgotten = |seconds| moved(&Case { told: None, ..case(true, seconds) });
    assert!(matches!(forgotten(10), Move::Wait(_)));
    assert!(matches!(forgotten(20), Move::Rejoin(_)));
}

#[test]
fn a_broken_manager_keeps_what_it_has_until_the_others_can_do_without() {
    let broken = |list_read| Case {
        peers: true,
        list_read,
        seconds: 100_000,
        ..founder(LocalState::Error, Progress::Completed)
    };
    assert!(matches!(moved(&broken(false)), Move::Wait(_)));
    assert!(matches!(moved(&broken(true)), Move::Leave(_)));
    assert!(matches!(
        moved(&Case { peers: false, ..broken(false) }),
        Move::Stop(ProblemCode::SwarmBroken, _)
    ));
}

#[test]
fn a_locked_swarm_needs_a_human() {
    assert!(matches!(moved(&worker(LocalState::Locked)), Move::Stop(ProblemCode::SwarmLocked, _)));
}

#[test]
fn the_only_manager_announces_its_new_address_and_one_of_several_is_let_in_anew() {
    let mut case = Case { entry: entry("me", "ready"), ..founder(LocalState::Active, Progress::Completed) };
    case.info.node_addr = "10.0.0.77".into();
    assert!(matches!(moved(&case), Move::Announce(_)));
    case.peers = true;
    assert!(matches!(moved(&case), Move::Wait(_)));
    // What the others then do.
    case.info.control_available = false;
    assert!(matches!(moved(&case), Move::Leave(_)));
}

#[test]
fn one_of_several_managers_starts_a_swarm_only_when_they_have_agreed_on_it() {
    let case =
        |founder| Case { founder, peers: true, ..self::founder(LocalState::Inactive, Progress::Never) };
    assert_eq!(moved(&case(Founder::Us)), Move::Init);
    assert_eq!(moved(&case(Founder::Another)), Move::Join);
    assert_eq!(moved(&case(Founder::Open("why".into()))), Move::Wait("why".into()));
}

#[test]
fn managers_without_a_majority_wait_and_never_leave() {
    let mut case = Case { peers: true, seconds: 100_000, ..founder(LocalState::Active, Progress::Completed) };
    assert!(matches!(moved(&case), Move::Wait(_)));
    case.info.control_available = false;
    assert!(matches!(moved(&case), Move::Wait(_)));
}

#[test]
fn a_manager_that_lost_its_address_leaves_only_when_another_manager_says_it_is_one_no_more() {
    let mut case =
        Case { peers: true, entry: entry("me", "ready"), ..founder(LocalState::Active, Progress::Completed) };
    let manages = |id: &str| {
        let reachability = Some("unreachable".to_owned());
        entry(id, "down").map(|entry| SwarmEntry { reachability, ..entry })
    };
    case.info.node_addr = "10.0.0.9".into();
    for told in [None, manages("me"), entry("other", "down")] {
        case.told = told;
        assert!(matches!(moved(&case), Move::Wait(_)), "{:?}", case.told);
    }
    case.told = entry("me", "down");
    assert!(matches!(moved(&case), Move::Leave(_)));
    case.info.node_addr = OURS.to_string();
    assert_eq!(moved(&case), Move::Done("me".into()));
}

#[test]
fn certificates_that_a_leap_of_the_clock_outdated_are_renewed_while_docker_still_runs() {
    let expired = |case| Case { out_of_date: true, ..case };
    let leads = || Case { entry: entry("me", "ready"), ..founder(LocalState::Active, Progress::Completed) };
    assert!(matches!(moved(&expired(leads())), Move::Announce(_)));
    let one_of_three = Case { peers: true, ..expired(leads()) };
    assert_eq!(moved(&one_of_three), Move::Done("me".into()));
    // A restarted Docker refuses to begin anew from what it has; a second swarm would not be ours to start.
    let late = expired(Case { seconds: 70, ..founder(LocalState::Error, Progress::Completed) });
    assert!(
        matches!(moved(&late), Move::Stop(ProblemCode::SwarmExpired, why) if why.contains("docker swarm leave --force"))
    );
}

#[test]
fn a_worker_with_an_expired_certificate_joins_anew_once_it_is_missed() {
    let case = |state| Case { entry: entry("me", state), out_of_date: true, ..worker(LocalState::Active) };
    assert_eq!(moved(&case("ready")), Move::Done("me".into()));
    assert!(matches!(moved(&case("down")), Move::Rejoin(_)));
}

#[test]
fn a_worker_that_manages_some_other_swarm_leaves_it() {
    let mut case = worker(LocalState::Active);
    case.info.control_available = true;
    // Its own list has it, whatever swarm that is of.
    case.entry = entry("me", "ready");
    case.seconds = 100_000;
    assert!(matches!(moved(&case), Move::Wait(_)), "nobody has said so");
    case.list_read = true;
    assert!(matches!(moved(&case), Move::Leave(_)));
    case.told = entry("an earlier life", "down");
    assert!(matches!(moved(&case), Move::Leave(_)));
    case.seconds = 10;
    assert!(matches!(moved(&case), Move::Wait(_)), "the manager may not know its id yet");
}

#[test]
fn a_worker_that_somebody_made_a_manager_stays_one() {
    let mut case = worker(LocalState::Active);
    case.info.control_available = true;
    case.seconds = 100_000;
    let reachability = Some("reachable".to_owned());
    case.told = entry("me", "ready").map(|entry| SwarmEntry { reachability, ..entry });
    assert_eq!(moved(&case), Move::Done("me".into()));
    // Nor does it leave after a restart, while it counts among the managers.
    assert!(matches!(moved(&restarted(case, true, 100_000)), Move::Wait(_)));
}
