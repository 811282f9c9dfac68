//! Repetitions, logged by powers of two: whoever repeats a request without end fills no disk.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

/// Most keys that are counted. Keys of callers outside are certificates that the cluster's CA signed, so there are few.
const KEYS: usize = 10_000;

/// Counts per key.
#[derive(Debug)]
pub(crate) struct Tally<K> {
    counts: Mutex<HashMap<K, u64>>,
}

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self { counts: Mutex::default() }
    }
}

impl<K: Eq + Hash> Tally<K> {
    /// Counts a repetition, and returns what to append to its log line: nothing the first time, the count the second, fourth,
    /// eighth... time. `None`: this repetition is not logged.
    pub(crate) fn count(&self, key: K) -> Option<String> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= KEYS && !counts.contains_key(&key) {
            counts.clear();
        }
        let count = counts.entry(key).or_default();
        *count = count.saturating_add(1);
        let times = || if *count == 1 { String::new() } else { format!(" ({count} times so far)") };
        count.is_power_of_two().then(times)
    }

    /// Forgets all counts.
    pub(crate) fn clear(&self) {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_of_requests_is_twenty_lines() {
        let tally = Tally::default();
        // Eight a second, as many as one key may.
        let lines: Vec<_> = (0..8 * 86_400).filter_map(|_| tally.count("red03")).collect();
        assert_eq!(lines.len(), 20);
        assert_eq!(lines[..3], ["", " (2 times so far)", " (4 times so far)"]);
        assert_eq!(tally.count("red04").as_deref(), Some(""), "another key has its own count");
    }

    #[test]
    fn is_bounded() {
        let tally = Tally::default();
        (0..=KEYS).for_each(|key| drop(tally.count(key)));
        assert!(tally.counts.lock().unwrap().len() <= KEYS);
    }
}
