//! How often one certificate may ask.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use cluster::name::KeyId;

/// Requests a second, in the long run. A node reports and asks for its token about once a second each.
const RATE: f64 = 8.0;
/// Requests at once: a node's first seconds, or a person's impatience.
const BURST: f64 = 40.0;

/// A bucket of requests per key, so that a stolen one does not spend its successor's. Only keys that the cluster's CA
/// signed get here, so there are never many.
#[derive(Debug, Default)]
pub(super) struct Limit {
    buckets: Mutex<HashMap<KeyId, (f64, Instant)>>,
}

impl Limit {
    /// Takes a request from the holder's bucket, if there is one left.
    pub(super) fn allows(&self, holder: &KeyId, now: Instant) -> bool {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, last) = buckets.entry(holder.clone()).or_insert((BURST, now));
        *left = now.saturating_duration_since(*last).as_secs_f64().mul_add(RATE, *left).min(BURST);
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
        let (limit, now) = (Limit::default(), Instant::now());
        let [a, b] = [1, 2].map(|byte| KeyId::from_sha256([byte; 32]));
        let granted = (0..100).filter(|_| limit.allows(&a, now)).count();
        assert_eq!(granted, 40);
        assert!(limit.allows(&b, now));
        assert!(limit.allows(&a, now + Duration::from_secs(1)));
    }
}
