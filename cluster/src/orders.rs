//! The operator's orders about the swarm's life: its end, a new beginning, nodes that are to go.
//!
//! Every order has a number, higher than that of any before it (the operator's clock, or one more than the highest that
//! is known). Of each kind only the highest counts, so what two managers know is put together by taking the higher of
//! each ([`Orders::merge`]): in any order, any number of times, with the same end. An old word that is heard late
//! changes nothing, and a manager that was off while others were told is no trouble once it asks them.
//!
//! Managers know all of it. A node is told its own part ([`Orders::of`]) with every answer to a report.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::name::Hostname;

/// The highest order of each kind; zero where there was none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Orders {
    /// Everybody leaves, and the swarm is no more.
    pub killed: u64,
    /// Everybody comes in: there is a swarm, a new one where the last was killed.
    pub up: u64,
    /// Single nodes leave for good.
    pub removed: BTreeMap<Hostname, u64>,
}

/// One order as the operator gives it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its number. Zero leaves it to the manager.
    #[serde(default)]
    pub number: u64,
    /// Earlier orders, as other managers told them.
    #[serde(default)]
    pub known: Orders,
}

impl Orders {
    /// Adds what somebody else knows.
    pub fn merge(&mut self, other: &Self) {
        self.killed = self.killed.max(other.killed);
        self.up = self.up.max(other.up);
        for (name, number) in &other.removed {
            let known = self.removed.entry(name.clone()).or_default();
            *known = (*known).max(*number);
        }
    }

    /// The highest number of all.
    pub fn newest(&self) -> u64 {
        let removed = self.removed.values().copied().max().unwrap_or_default();
        self.killed.max(self.up).max(removed)
    }

    /// The number of the last order for a node to leave.
    pub fn leave(&self, node: &Hostname) -> u64 {
        self.killed.max(self.removed.get(node).copied().unwrap_or_default())
    }

    /// Whether a node is to be in no swarm.
    pub fn is_out(&self, node: &Hostname) -> bool {
        self.leave(node) > self.up
    }

    /// Whether there is to be no swarm.
    pub fn is_dissolved(&self) -> bool {
        self.killed > self.up
    }

    /// Whether this node is to be in no swarm, whatever the others do.
    pub fn is_dismissed(&self, node: &Hostname) -> bool {
        self.removed.get(node).is_some_and(|number| *number > self.up)
    }

    /// The nodes that are to be in no swarm, whatever the others do.
    pub fn dismissed(&self) -> impl Iterator<Item = &Hostname> {
        self.removed.keys().filter(|name| self.is_dismissed(name))
    }

    /// What concerns one node.
    #[must_use]
    pub fn of(&self, node: &Hostname) -> Self {
        let own = self.removed.get_key_value(node).map(|(name, number)| (name.clone(), *number));
        Self { killed: self.killed, up: self.up, removed: own.into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Hostname {
        Hostname::try_from(text).unwrap()
    }

    fn some() -> impl Strategy<Value = Orders> {
        let removed = prop::collection::btree_map("red0[0-3]", 0_u64..9, 0..4);
        (0_u64..9, 0_u64..9, removed).prop_map(|(killed, up, removed)| Orders {
            killed,
            up,
            removed: removed.into_iter().map(|(text, number)| (name(&text), number)).collect(),
        })
    }

    proptest! {
        #[test]
        fn in_whatever_order_and_however_often_they_are_heard_orders_come_to_the_same(
            told in prop::collection::vec(some(), 1..5),
            again in prop::collection::vec(any::<prop::sample::Index>(), 0..9),
        ) {
            let all = |told: &[&Orders]| {
                let mut all = Orders::default();
                told.iter().for_each(|other| all.merge(other));
                all
            };
            let straight = all(&told.iter().collect::<Vec<_>>());
            let mut mixed: Vec<_> = told.iter().rev().collect();
            mixed.extend(again.iter().map(|index| index.get(&told)));
            prop_assert_eq!(&all(&mixed), &straight);
            prop_assert!(told.iter().all(|one| one.newest() <= straight.newest()));
        }
    }

    #[test]
    fn the_last_order_counts_and_up_brings_everybody_back() {
        let (red01, red02) = (name("red01"), name("red02"));
        let mut orders = Orders { killed: 5, up: 3, removed: BTreeMap::from([(red01.clone(), 4)]) };
        assert!(orders.is_dissolved() && orders.is_out(&red01) && orders.is_out(&red02));
        orders.up = 6;
        assert!(!orders.is_dissolved() && !orders.is_out(&red01) && orders.dismissed().next().is_none());
        orders.removed.insert(red01.clone(), 7);
        assert!(orders.is_out(&red01) && !orders.is_out(&red02) && !orders.is_dissolved());
        assert_eq!((orders.newest(), orders.leave(&red01), orders.leave(&red02)), (7, 7, 5));
        assert_eq!(orders.of(&red02).removed.len(), 0);
        assert!(orders.of(&red01).is_dismissed(&red01));
    }
}
