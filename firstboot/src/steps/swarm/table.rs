//! What to do about the swarm, as a table. Pure: every line is a test.

use std::net::Ipv4Addr;
use std::time::Duration;

use cluster::identity::Role;
use cluster::wire::SwarmEntry;

use crate::engine::{LocalState, SwarmInfo};
use crate::journal::Progress;

/// The engine keeps trying to join by itself for a while and often succeeds.
const PENDING: Duration = Duration::from_secs(75);
/// Wrong certificates may become right when the clock does.
const BROKEN: Duration = Duration::from_secs(60);
/// A fresh member is in the list at once; one that is not there for so long is not going to be.
const MISSING: Duration = Duration::from_secs(15);
/// A manager that restarted counts its nodes as down until they call again, within some 20 s. Who dials where the manager
/// no longer is never does.
const DOWN: Duration = Duration::from_secs(40);

/// All that decides.
#[derive(Debug)]
pub(crate) struct Outlook<'a> {
    /// What this node is to be.
    pub(crate) role: Role,
    /// Who starts the swarm.
    pub(crate) founder: Founder,
    /// Whether other managers are planned.
    pub(crate) peers: bool,
    /// The engine's own view.
    pub(crate) info: &'a SwarmInfo,
    /// The managers' view; `None` if there is no entry, or nobody to ask.
    pub(crate) entry: Option<&'a SwarmEntry>,
    /// What another manager last said of this node. Differs from [`Self::entry`] where a manager goes by its own list.
    pub(crate) told: Option<&'a SwarmEntry>,
    /// Whether this node started a swarm before.
    pub(crate) init: Progress,
    /// Whether Swarm's certificate of this node is past its time or before it, by this node's clock.
    pub(crate) out_of_date: bool,
    /// This node's address.
    pub(crate) address: Ipv4Addr,
    /// Where the manager answered last.
    pub(crate) manager: Option<Ipv4Addr>,
}

/// Who starts the swarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Founder {
    /// This node.
    Us,
    /// Another, or it was started already.
    Another,
    /// The managers have not agreed yet, for this reason.
    Open(String),
}

/// What a node is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    /// No swarm.
    Outside,
    /// The engine is trying to join.
    Pending,
    /// A human has to unlock the swarm.
    Locked,
    /// The engine's swarm does not work.
    Broken,
    /// A manager that is still starting.
    Headless,
    /// A manager that the others have made a worker, so that it can come in anew.
    Demoted,
    /// In the list and ready.
    Ready,
    /// In the list and not ready.
    Down,
    /// Not in the list, or nobody to ask.
    Missing,
    /// The other role's member: a leftover of another life.
    Misplaced,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Move {
    /// Nothing: this node is a member, with this id.
    Done(String),
    /// Nothing yet.
    Wait(String),
    /// Start the swarm.
    Init,
    /// Start it anew from its own state, with this node's new address and new certificates.
    Announce(String),
    /// Ask for a token and join.
    Join,
    /// Ask for a token; if it is given, leave and join.
    Rejoin(String),
    /// Leave; the next look leads on.
    Leave(String),
    /// Nothing, ever, without a human.
    Stop(String),
}

pub(crate) fn condition(outlook: &Outlook<'_>) -> Condition {
    let info = outlook.info;
    match info.local_node_state {
        LocalState::Inactive => Condition::Outside,
        LocalState::Pending | LocalState::Other => Condition::Pending,
        LocalState::Locked => Condition::Locked,
        LocalState::Error => Condition::Broken,
        LocalState::Active => match outlook.entry.filter(|entry| entry.id == info.node_id) {
            _ if outlook.role == Role::Worker && info.control_available => Condition::Misplaced,
            Some(entry)
                if outlook.role == Role::Manager
                    && !info.control_available
                    && entry.reachability.is_none() =>
            {
                Condition::Demoted
            }
            _ if outlook.role == Role::Manager && !info.control_available => Condition::Headless,
            Some(entry) if entry.state == "ready" => Condition::Ready,
            Some(_) => Condition::Down,
            None => Condition::Missing,
        },
    }
}

pub(crate) fn decide(outlook: &Outlook<'_>, condition: Condition, lasted: Duration) -> Move {
    let info = outlook.info;
    let wait = |why: &str| Move::Wait(why.to_owned());
    match condition {
        Condition::Outside => match &outlook.founder {
            Founder::Us => start(outlook.init),
            Founder::Another => Move::Join,
            Founder::Open(why) => Move::Wait(why.clone()),
        },
        Condition::Pending if lasted < PENDING => wait("Docker is trying to join"),
        Condition::Pending => Move::Leave("joining took too long".to_owned()),
        Condition::Locked => Move::Stop("the swarm is locked; type: docker swarm unlock".to_owned()),
        Condition::Broken if lasted < BROKEN => Move::Wait(format!("Docker's swarm reports: {}", info.error)),
        // The only manager is the swarm: leaving would be its end.
        Condition::Broken if outlook.is_the_only_manager() && outlook.out_of_date => Move::Stop(
            "Swarm's certificates were out of date when Docker was started, and it cannot renew them; if the clock is right, \
             start a new swarm: sudo docker swarm leave --force; sudo rm /var/lib/firstboot/journal.json; sudo systemctl restart firstboot"
                .to_owned(),
        ),
        Condition::Broken if outlook.is_the_only_manager() => {
            Move::Stop(format!("Docker's swarm does not work: {}", info.error))
        }
        Condition::Broken => Move::Leave(format!("Docker's swarm does not work: {}", info.error)),
        Condition::Headless => wait("waiting for Docker to manage again"),
        Condition::Demoted => Move::Leave("the other managers have made this one a worker".to_owned()),
        Condition::Ready | Condition::Down | Condition::Missing if outlook.role == Role::Manager => {
            manager(outlook, condition)
        }
        Condition::Ready => Move::Done(info.node_id.clone()),
        Condition::Down if lasted > DOWN && !knows_manager(outlook) => {
            Move::Rejoin("the manager has another address and counts this node as down".to_owned())
        }
        // Its engine renews in time, unless the clock made a leap. Alone it does not get in again.
        Condition::Down | Condition::Missing if outlook.out_of_date => {
            Move::Rejoin("this node's Swarm certificate is out of date".to_owned())
        }
        Condition::Missing if lasted > MISSING => {
            Move::Rejoin("the manager does not list this node".to_owned())
        }
        Condition::Down | Condition::Missing => wait("waiting to be seen ready"),
        Condition::Misplaced => Move::Leave("this worker manages some other swarm".to_owned()),
    }
}

/// The point of no return. Only who never started a swarm, or was cut short before the engine noted it, may start one.
fn start(init: Progress) -> Move {
    match init {
        Progress::Never | Progress::Started => Move::Init,
        Progress::Completed => Move::Stop(
            "the swarm this node had started is gone from Docker; to start another, remove \
             /var/lib/firstboot/journal.json and restart firstboot"
                .to_owned(),
        ),
        Progress::Unknown => Move::Stop(
            "the journal was damaged and Docker is in no swarm: there may have been one; to start another, remove \
             /var/lib/firstboot/journal.json and restart firstboot"
                .to_owned(),
        ),
    }
}

fn manager(outlook: &Outlook<'_>, condition: Condition) -> Move {
    let info = outlook.info;
    // A manager goes on announcing an address it has lost, and says that all is well.
    if info.node_addr != outlook.address.to_string() {
        if !outlook.peers {
            return Move::Announce("announcing the new address".to_owned());
        }
        // With an address that nobody dials, it does not learn this from Docker.
        if outlook.told.is_some_and(|told| told.id == info.node_id && told.reachability.is_none()) {
            return Move::Leave("the other managers have made this one a worker".to_owned());
        }
        // Theirs to do, and only while they can do without this one.
        return Move::Wait(format!(
            "this manager's address changed from {} to {}: waiting for the others to let it in anew",
            info.node_addr, outlook.address
        ));
    }
    // The clock made a leap, from the card's floor to network time. Of several managers, the others renew.
    if outlook.out_of_date && !outlook.peers {
        return Move::Announce("Swarm's certificates are out of date: renewing them".to_owned());
    }
    match condition {
        Condition::Ready => Move::Done(info.node_id.clone()),
        _ if outlook.peers => Move::Wait(
            "waiting for the managers to agree: more than half of them have to be on and reachable"
                .to_owned(),
        ),
        _ => Move::Wait("waiting for the manager's list".to_owned()),
    }
}

impl Outlook<'_> {
    fn is_the_only_manager(&self) -> bool {
        self.role == Role::Manager && !self.peers
    }
}

/// Whether the engine still dials where the manager is.
fn knows_manager(outlook: &Outlook<'_>) -> bool {
    let Some(manager) = outlook.manager else { return true };
    let mut peers = outlook.info.remote_managers.iter();
    peers.any(|peer| peer.addr.rsplit_once(':').is_some_and(|(address, _)| address == manager.to_string()))
}

#[cfg(test)]
mod tests {
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
            assert!(matches!(moved(&founder(LocalState::Inactive, init)), Move::Stop(_)), "{init:?}");
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
    fn pending_and_broken_swarms_are_given_time_and_then_left() {
        for (state, soon, late) in [(LocalState::Pending, 60, 80), (LocalState::Error, 30, 70)] {
            assert!(matches!(moved(&Case { seconds: soon, ..worker(state) }), Move::Wait(_)));
            assert!(matches!(moved(&Case { seconds: late, ..worker(state) }), Move::Leave(_)));
        }
    }

    #[test]
    fn a_locked_swarm_needs_a_human() {
        assert!(matches!(moved(&worker(LocalState::Locked)), Move::Stop(_)));
    }

    #[test]
    fn the_only_manager_announces_its_new_address_and_one_of_several_is_let_in_anew() {
        let mut case =
            Case { entry: entry("me", "ready"), ..founder(LocalState::Active, Progress::Completed) };
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
        let mut case =
            Case { peers: true, seconds: 100_000, ..founder(LocalState::Active, Progress::Completed) };
        assert!(matches!(moved(&case), Move::Wait(_)));
        case.info.control_available = false;
        assert!(matches!(moved(&case), Move::Wait(_)));
    }

    #[test]
    fn a_manager_that_lost_its_address_leaves_only_when_another_manager_says_it_is_one_no_more() {
        let mut case = Case {
            peers: true,
            entry: entry("me", "ready"),
            ..founder(LocalState::Active, Progress::Completed)
        };
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
        let leads =
            || Case { entry: entry("me", "ready"), ..founder(LocalState::Active, Progress::Completed) };
        assert!(matches!(moved(&expired(leads())), Move::Announce(_)));
        let one_of_three = Case { peers: true, ..expired(leads()) };
        assert_eq!(moved(&one_of_three), Move::Done("me".into()));
        // A restarted Docker refuses to begin anew from what it has; a second swarm would not be ours to start.
        let late = expired(Case { seconds: 70, ..founder(LocalState::Error, Progress::Completed) });
        assert!(matches!(moved(&late), Move::Stop(why) if why.contains("docker swarm leave --force")));
    }

    #[test]
    fn a_worker_with_an_expired_certificate_joins_anew_once_it_is_missed() {
        let case =
            |state| Case { entry: entry("me", state), out_of_date: true, ..worker(LocalState::Active) };
        assert_eq!(moved(&case("ready")), Move::Done("me".into()));
        assert!(matches!(moved(&case("down")), Move::Rejoin(_)));
    }

    #[test]
    fn a_worker_that_manages_something_leaves_it() {
        let mut case = worker(LocalState::Active);
        case.info.control_available = true;
        assert!(matches!(moved(&case), Move::Leave(_)));
    }
}
