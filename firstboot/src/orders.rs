//! What the operator's orders ([`cluster::orders`]) make of this node's life.
//!
//! The journal keeps the orders as far as they are known here, and `settled`: up to which number this node's state
//! agrees with them. An order to leave that is higher is still to be followed. So:
//!
//! - who was off when the swarm was ended, and even when the next was begun, hears of both at once, leaves first and
//!   comes in then;
//! - an answer from before, or of a manager that was off, has lower numbers and lures nobody back;
//! - who was in all the time an `up` spans has nothing to follow of an end before it.
//!
//! Following an order to leave is one write: with it this node has never been in a swarm, as on its first day. What
//! stays is who it is, whom it has revoked, and who had joined.
//!
//! Power lost here: the orders are on the disk before anything is done about them, and leaving twice is no error.

use cluster::name::Hostname;
use cluster::orders::Orders;
use cluster::wire::Stage;

use crate::election::Ballots;
use crate::journal::{Journal, Progress};

impl Journal {
    /// Takes what the operator or a manager knows of the orders; `node` is this one.
    pub fn take(&mut self, told: &Orders, node: &Hostname) {
        let mut orders = self.orders.clone();
        orders.merge(told);
        // That they come back is the operator's wish, so the join window does not count for them.
        let back = self.orders.dismissed().filter(|name| !orders.is_dismissed(name));
        self.joined.extend(back.cloned().collect::<Vec<_>>());
        self.orders = orders;
        if !self.has_to_leave(node) {
            self.settled = self.settled.max(self.orders.up);
        }
    }

    /// Whether there is an order to leave that this node has not followed.
    pub fn has_to_leave(&self, node: &Hostname) -> bool {
        self.orders.leave(node) > self.settled
    }

    /// Whether this node is in no swarm because the operator said so.
    pub fn has_left(&self, node: &Hostname) -> bool {
        self.orders.is_out(node) && !self.has_to_leave(node)
    }

    /// Remembers that this node has left as told.
    pub fn leave(&mut self, node: &Hostname) {
        self.settled = self.orders.leave(node).max(self.orders.up);
        self.init = Progress::Never;
        self.ballots = Ballots::default();
        self.reopen_window();
        self.expelled.clear();
        self.strangers.clear();
        // There are no tokens any more.
        self.rotations_done = self.rotations_wanted;
        self.marks.retain(|mark| mark.stage < Stage::Swarm);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use cluster::wire::Mark;

    use super::*;

    fn name(text: &str) -> Hostname {
        Hostname::try_from(text).unwrap()
    }

    fn killed(killed: u64, up: u64) -> Orders {
        Orders { killed, up, removed: BTreeMap::new() }
    }

    #[test]
    fn who_is_out_comes_back_for_a_newer_order_only() {
        let (red01, mut journal) = (name("red01"), Journal::default());
        journal.take(&killed(5, 0), &red01);
        assert!(journal.has_to_leave(&red01) && !journal.has_left(&red01));
        journal.leave(&red01);
        assert!(!journal.has_to_leave(&red01) && journal.has_left(&red01));
        for late in [killed(0, 0), killed(5, 0), killed(0, 4)] {
            journal.take(&late, &red01);
            assert!(journal.has_left(&red01), "{late:?}");
        }
        journal.take(&killed(0, 6), &red01);
        assert!(!journal.has_left(&red01) && !journal.has_to_leave(&red01));
    }

    #[test]
    fn who_missed_the_end_and_the_new_beginning_leaves_first() {
        let (red01, mut journal) = (name("red01"), Journal::default());
        journal.take(&killed(5, 6), &red01);
        assert!(journal.has_to_leave(&red01));
        journal.leave(&red01);
        assert!(!journal.has_to_leave(&red01) && !journal.has_left(&red01));
    }

    #[test]
    fn an_end_before_a_beginning_that_was_followed_does_not_end_what_began() {
        let (red01, mut journal) = (name("red01"), Journal::default());
        journal.take(&killed(0, 6), &red01);
        journal.take(&killed(5, 0), &red01);
        assert!(!journal.has_to_leave(&red01) && !journal.has_left(&red01));
    }

    #[test]
    fn who_has_left_is_as_on_its_first_day_but_for_whom_it_knows() {
        let (red00, mut journal) = (name("red00"), Journal::default());
        let key = cluster::name::KeyId::from_sha256([1; 32]);
        journal.init = Progress::Completed;
        journal.ballots.agreed = Some(name("red00"));
        (journal.window_opened, journal.window_is_sure, journal.window_closed) = (Some(7), true, true);
        journal.rotations_wanted = 3;
        journal.revoked = BTreeSet::from([key.clone()]);
        journal.expelled = BTreeSet::from(["id1".to_owned()]);
        journal.joined = BTreeSet::from([name("red01")]);
        let mark = |stage| Mark { stage, unix_ms: 1, uptime_ms: 1 };
        journal.marks = [Stage::Docker, Stage::Swarm, Stage::Ready].map(mark).to_vec();
        journal.take(&killed(5, 0), &red00);
        journal.leave(&red00);
        let expected = Journal {
            orders: killed(5, 0),
            settled: 5,
            rotations_wanted: 3,
            rotations_done: 3,
            revoked: BTreeSet::from([key]),
            joined: BTreeSet::from([name("red01")]),
            marks: vec![mark(Stage::Docker)],
            ..Journal::default()
        };
        assert_eq!(journal, expected);
    }

    #[test]
    fn who_was_removed_and_is_wanted_again_needs_no_open_window() {
        let (red00, red01, mut journal) = (name("red00"), name("red01"), Journal::default());
        let removed = Orders { removed: BTreeMap::from([(red01.clone(), 3)]), ..Orders::default() };
        journal.take(&removed, &red00);
        assert!(journal.joined.is_empty() && !journal.has_to_leave(&red00));
        journal.take(&killed(0, 4), &red00);
        assert!(journal.joined.contains(&red01) && !journal.orders.is_dismissed(&red01));
    }
}
