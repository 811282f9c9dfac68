//! How many of something each of many may hold at once.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Held<K> = Arc<Mutex<HashMap<K, usize>>>;

/// Counts what each holds. Who holds nothing takes no memory.
#[derive(Debug)]
pub(super) struct Shares<K> {
    held: Held<K>,
    each: usize,
}

/// A part of a share, until it is dropped.
#[derive(Debug)]
pub(super) struct Part<K: Eq + Hash> {
    held: Held<K>,
    holder: K,
}

impl<K: Eq + Hash + Clone> Shares<K> {
    /// Everybody may hold `each`.
    pub(super) fn new(each: usize) -> Self {
        Self { held: Arc::default(), each }
    }

    /// A part for a holder, unless it has all of its share.
    pub(super) fn take(&self, holder: K) -> Option<Part<K>> {
        let mut held = lock(&self.held);
        let count = held.entry(holder.clone()).or_default();
        if *count >= self.each {
            return None;
        }
        *count += 1;
        Some(Part { held: Arc::clone(&self.held), holder })
    }
}

impl<K: Eq + Hash> Drop for Part<K> {
    fn drop(&mut self) {
        let mut held = lock(&self.held);
        if let Some(count) = held.get_mut(&self.holder) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.holder);
            }
        }
    }
}

fn lock<K>(held: &Held<K>) -> MutexGuard<'_, HashMap<K, usize>> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_gets_more_than_a_share_and_what_is_given_back_can_be_taken_again() {
        let shares = Shares::new(2);
        let (first, second) = (shares.take("a"), shares.take("a"));
        assert!(first.is_some() && second.is_some() && shares.take("a").is_none());
        assert!(shares.take("b").is_some(), "another's share");
        drop(first);
        assert!(shares.take("a").is_some());
        drop(second);
        assert!(lock(&shares.held).is_empty(), "who holds nothing takes no memory");
    }
}
