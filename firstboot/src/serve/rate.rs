//! How often one holder may do something.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use cluster::name::{Hostname, KeyId};

/// A bucket of permits per holder. Holders are keys that the cluster's CA signed, or planned nodes, so there are never many.
#[derive(Debug)]
pub(super) struct Limit<K> {
    /// Permits a second, in the long run.
    rate: f64,
    /// Permits at once.
    burst: f64,
    buckets: Mutex<HashMap<K, (f64, Instant)>>,
}

impl Limit<KeyId> {
    /// Limits requests per key, so that a stolen key does not spend its successor's. A node reports and asks for its token about
    /// once a second each, and more often in its first seconds; a person may be impatient.
    pub(super) fn of_requests() -> Self {
        Self { rate: 8.0, burst: 40.0, buckets: Mutex::default() }
    }
}

impl Limit<Hostname> {
    /// Limits the entries of Swarm's node list that are accepted as a node's. Each is written to the journal, and a node needs one
    /// for each time it joins.
    pub(super) fn of_entries() -> Self {
        Self { rate: 4.0 / 60.0, burst: 4.0, buckets: Mutex::default() }
    }
}

impl<K: Eq + Hash + Clone> Limit<K> {
    /// Takes a permit from the holder's bucket, if there is one left.
    pub(super) fn allows(&self, holder: &K, now: Instant) -> bool {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, last) = buckets.entry(holder.clone()).or_insert((self.burst, now));
        let passed = now.saturating_duration_since(*last).as_secs_f64();
        *left = passed.mul_add(self.rate, *left).min(self.burst);
        *last = now;
        if *left < 1.0 {
            return false;
        }
        *left -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn one_holder_cannot_take_the_others_share() {
        let (limit, now) = (Limit::of_requests(), Instant::now());
        let [a, b] = [1, 2].map(|byte| KeyId::from_sha256([byte; 32]));
        let granted = (0..100).filter(|_| limit.allows(&a, now)).count();
        assert_eq!(granted, 40);
        assert!(limit.allows(&b, now));
        assert!(limit.allows(&a, now + Duration::from_secs(1)));
    }

    #[test]
    fn a_node_has_few_entries_accepted_a_minute() {
        let (limit, start) = (Limit::of_entries(), Instant::now());
        let node = Hostname::try_from("red01").unwrap();
        let granted = |seconds: std::ops::Range<u64>| {
            let times = seconds.map(|second| start + Duration::from_secs(second));
            times.filter(|now| limit.allows(&node, *now)).count()
        };
        assert_eq!(granted(0..15), 4, "at once");
        assert_eq!(granted(15..3600), 239, "in an hour");
    }
}
