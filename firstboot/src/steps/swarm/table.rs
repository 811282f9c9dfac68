//! What to do about the swarm, as a table. Pure: every line is a test.

use std::net::Ipv4Addr;
use std::time::Duration;

use cluster::identity::Role;
use cluster::wire::{ProblemCode, SwarmEntry};

use crate::engine::{LocalState, SwarmInfo};
use crate::journal::Progress;

/// The engine keeps trying to join, or to come back, by itself for a while and often succeeds.
const PENDING: Duration = Duration::from_secs(75);
/// Wrong certificates may become right when the clock does.
const BROKEN: Duration = Duration::from_secs(60);
/// A fresh member is in the list at once; one that is not there for so long is not going to be.
const MISSING: Duration = Duration::from_secs(15);
/// A manager that restarted counts its nodes as down until they call again, within some 20 s. Who dials where the manager
/// no longer is never does.
const DOWN: Duration = Duration::from_secs(40);

const HEADLESS: &str = "waiting for Docker to manage again";
const NO_MAJORITY: &str =
    "waiting for the managers to agree: more than half of them have to be on and reachable";
const MOVED: &str = "the manager has another address and counts this node as down";
const UNLISTED: &str = "the manager does not list this node";
const DEMOTED: &str = "the other managers have made this one a worker";

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
    /// Whether another manager, which read the list, said so lately. Only a majority has a list to read.
    pub(crate) list_read: bool,
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
    Joining,
    /// A member whose engine was started again, and nobody leads the managers that it knows of.
    Leaderless,
    /// The same, and the managers have their list.
    Returning,
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
    /// A worker that somebody has made a manager of our swarm.
    Promoted,
    /// A worker that manages a swarm, which may be a leftover of another life.
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
    Stop(ProblemCode, String),
}

pub(crate) fn condition(outlook: &Outlook<'_>) -> Condition {
    let info = outlook.info;
    match info.local_node_state {
        LocalState::Inactive => Condition::Outside,
        LocalState::Pending | LocalState::Other if info.node_id.is_empty() => Condition::Joining,
        // So a member is called until a manager that leads has heard of it (moby, daemon/cluster/noderunner.go, `State`).
        LocalState::Pending | LocalState::Other if outlook.list_read => Condition::Returning,
        LocalState::Pending | LocalState::Other => Condition::Leaderless,
        LocalState::Locked => Condition::Locked,
        LocalState::Error => Condition::Broken,
        LocalState::Active => match outlook.entry.filter(|entry| entry.id == info.node_id) {
            // Its own list names it whatever swarm that is.
            _ if outlook.role == Role::Worker && info.control_available => match outlook.told {
                Some(told) if told.id == info.node_id => Condition::Promoted,
                _ => Condition::Misplaced,
            },
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
        Condition::Joining if lasted < PENDING => wait("Docker is trying to join"),
        Condition::Joining => Move::Leave("joining took too long".to_owned()),
        Condition::Leaderless if outlook.is_the_only_manager() => wait(HEADLESS),
        Condition::Leaderless if outlook.role == Role::Worker => {
            wait("waiting for the managers to manage again")
        }
        Condition::Leaderless => wait(NO_MAJORITY),
        Condition::Returning => returning(outlook, lasted),
        Condition::Locked => {
            Move::Stop(ProblemCode::SwarmLocked, "the swarm is locked; type: docker swarm unlock".to_owned())
        }
        Condition::Broken if lasted < BROKEN => Move::Wait(format!("Docker's swarm reports: {}", info.error)),
        // The only manager is the swarm: leaving would be its end.
        Condition::Broken if outlook.is_the_only_manager() && outlook.out_of_date => Move::Stop(
            ProblemCode::SwarmExpired,
            "Swarm's certificates were out of date when Docker was started, and it cannot renew them; if the clock is right, \
             start a new swarm: sudo docker swarm leave --force; sudo rm /var/lib/firstboot/journal.json; sudo systemctl restart firstboot"
                .to_owned(),
        ),
        Condition::Broken if outlook.is_the_only_manager() => {
            Move::Stop(ProblemCode::SwarmBroken, format!("Docker's swarm does not work: {}", info.error))
        }
        Condition::Broken if outlook.role == Role::Worker => {
            Move::Rejoin(format!("Docker's swarm does not work: {}", info.error))
        }
        // Without a majority, what it has of the managers' state may be the last there is.
        Condition::Broken if !outlook.list_read => {
            Move::Wait(format!("Docker's swarm does not work: {}; {NO_MAJORITY}", info.error))
        }
        Condition::Broken => Move::Leave(format!("Docker's swarm does not work: {}", info.error)),
        Condition::Headless => wait(HEADLESS),
        Condition::Demoted => Move::Leave(DEMOTED.to_owned()),
        Condition::Ready | Condition::Down | Condition::Missing if outlook.role == Role::Manager => {
            manager(outlook, condition)
        }
        Condition::Ready => Move::Done(info.node_id.clone()),
        Condition::Down if lasted > DOWN && !knows_manager(outlook) => {
            Move::Rejoin(MOVED.to_owned())
        }
        // Its engine renews in time, unless the clock made a leap. Alone it does not get in again.
        Condition::Down | Condition::Missing if outlook.out_of_date => {
            Move::Rejoin("this node's Swarm certificate is out of date".to_owned())
        }
        Condition::Missing if lasted > MISSING => {
            Move::Rejoin(UNLISTED.to_owned())
        }
        Condition::Down | Condition::Missing => wait("waiting to be seen ready"),
        // Leaving by force would take the managers a member of which they do not know that it is gone.
        Condition::Promoted if outlook.told.is_some_and(|told| told.state == "ready") => {
            Move::Done(info.node_id.clone())
        }
        Condition::Promoted => wait("waiting to be seen ready"),
        Condition::Misplaced if outlook.list_read && lasted > MISSING => {
            Move::Leave("this worker manages some other swarm".to_owned())
        }
        Condition::Misplaced => wait("this worker manages a swarm: waiting to hear whether it is this one"),
    }
}

/// The point of no return. Only who never started a swarm, or was cut short before the engine noted it, may start one.
fn start(init: Progress) -> Move {
    match init {
        Progress::Never | Progress::Started => Move::Init,
        Progress::Completed => Move::Stop(
            ProblemCode::SwarmGone,
            "the swarm this node had started is gone from Docker; to start another, remove \
             /var/lib/firstboot/journal.json and restart firstboot"
                .to_owned(),
        ),
        Progress::Unknown => Move::Stop(
            ProblemCode::SwarmGone,
            "the journal was damaged and Docker is in no swarm: there may have been one; to start another, remove \
             /var/lib/firstboot/journal.json and restart firstboot"
                .to_owned(),
        ),
    }
}

/// A member that its engine has not brought back yet. `lasted` begins when the managers have their list: until then nobody
/// could have answered the engine.
fn returning(outlook: &Outlook<'_>, lasted: Duration) -> Move {
    let told = outlook.told.filter(|told| told.id == outlook.info.node_id);
    let manages = told.map(|told| told.reachability.is_some());
    // What it has of the managers' state counts, unless a majority of them says that it does not.
    match outlook.role {
        _ if manages == Some(true) => {}
        Role::Manager if lasted > PENDING => return Move::Leave(DEMOTED.to_owned()),
        Role::Manager => {}
        Role::Worker if lasted > MISSING && manages.is_none() => return Move::Rejoin(UNLISTED.to_owned()),
        Role::Worker if lasted > DOWN && !knows_manager(outlook) => return Move::Rejoin(MOVED.to_owned()),
        Role::Worker if lasted > PENDING => {
            return Move::Rejoin("Docker does not come back into the swarm by itself".to_owned());
        }
        Role::Worker => {}
    }
    Move::Wait("waiting for Docker to find its managers".to_owned())
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
            return Move::Leave(DEMOTED.to_owned());
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
        _ if outlook.peers => Move::Wait(NO_MAJORITY.to_owned()),
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
mod tests;
