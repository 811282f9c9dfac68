//! When to try again: one policy per situation, quiet first and loud later.

use std::time::Duration;

/// How long to wait between attempts. Delays double from `first` to `ceiling` and carry a jitter of a fifth,
/// so that nodes switched on together do not ask together for ever.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    first: Duration,
    ceiling: Duration,
    /// Failures that are normal here and not worth a warning.
    quiet: u32,
}

/// The machine itself has to settle: an address, a socket. Cheap to ask.
pub const LOCAL: Policy =
    Policy { first: Duration::from_millis(250), ceiling: Duration::from_secs(2), quiet: 20 };
/// A member whose manager does not answer: it may be away for days.
pub const MANAGER: Policy =
    Policy { first: Duration::from_secs(1), ceiling: Duration::from_secs(15), quiet: 5 };
/// A node that is not a member yet: the manager may be switched on minutes later, and then somebody waits for it.
pub const FORMING: Policy =
    Policy { first: Duration::from_millis(500), ceiling: Duration::from_secs(3), quiet: 20 };
/// A package mirror or dpkg's lock: each attempt is expensive for both sides.
pub const PACKAGES: Policy =
    Policy { first: Duration::from_secs(3), ceiling: Duration::from_secs(60), quiet: 1 };
/// The engine refused something about the swarm: its own timeouts are 10 to 20 s, so a refusal is rare and worth a line.
pub const SWARM: Policy =
    Policy { first: Duration::from_millis(500), ceiling: Duration::from_secs(3), quiet: 2 };

/// One series of attempts under a [`Policy`].
#[derive(Debug)]
pub struct Backoff {
    policy: Policy,
    failures: u32,
}

impl Backoff {
    /// A series without failures yet.
    pub const fn new(policy: Policy) -> Self {
        Self { policy, failures: 0 }
    }

    /// Counts a failure and says how long to wait.
    pub fn failed(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let doubled = self.policy.first.saturating_mul(1 << (self.failures - 1).min(16));
        doubled.min(self.policy.ceiling).mul_f64(rand::random_range(0.8..1.2))
    }

    /// Forgets the failures.
    pub const fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// Whether the last failure deserves a warning: the first after the quiet ones, then ever more rarely.
    pub const fn is_loud(&self) -> bool {
        self.failures > self.policy.quiet && (self.failures - self.policy.quiet).is_power_of_two()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_the_ceiling_and_start_again_after_a_success() {
        let mut backoff = Backoff::new(MANAGER);
        let delays: Vec<_> = (0..40).map(|_| backoff.failed()).collect();
        assert!(delays[0] >= Duration::from_millis(800) && delays[0] <= Duration::from_millis(1200));
        assert!(delays[3] >= Duration::from_millis(6400));
        assert!(delays.iter().all(|delay| *delay <= Duration::from_secs(18)));
        assert!(delays[39] >= Duration::from_secs(12));
        backoff.succeeded();
        assert!(backoff.failed() <= Duration::from_millis(1200));
    }

    #[test]
    fn two_nodes_do_not_stay_in_step() {
        let series = || {
            let mut backoff = Backoff::new(MANAGER);
            (0..8).map(|_| backoff.failed()).collect::<Vec<_>>()
        };
        assert_ne!(series(), series());
    }

    #[test]
    fn is_quiet_first_then_loud_then_rarely_loud() {
        let mut backoff = Backoff::new(MANAGER);
        let loud: Vec<u32> = (1..=40)
            .filter(|_| {
                backoff.failed();
                backoff.is_loud()
            })
            .collect();
        assert_eq!(loud, [6, 7, 9, 13, 21, 37]);
    }
}
