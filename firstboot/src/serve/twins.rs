//! Two machines under one name: a card that was copied after its node had joined.
//!
//! Every report carries the kernel's boot id. A machine that restarts has a new one and never the old one again; two
//! machines take turns.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long it is told after it was last seen. Members report every 15 s.
const TOLD: Duration = Duration::from_secs(90);
/// Starts that are remembered: more than anybody restarts a Pi while its twin is silent.
const STARTS: usize = 16;

/// The starts of what reports under one name, newest last.
#[derive(Debug, Clone, Default)]
pub(super) struct Starts {
    known: VecDeque<String>,
    twins_at: Option<Instant>,
}

impl Starts {
    /// Takes the boot id of a report.
    pub(super) fn note(&mut self, boot: &str, now: Instant) {
        if self.known.back().is_some_and(|last| last == boot) {
            return;
        }
        if let Some(place) = self.known.iter().position(|known| known == boot) {
            self.known.remove(place);
            self.twins_at = Some(now);
        }
        self.known.push_back(boot.to_owned());
        if self.known.len() > STARTS {
            self.known.pop_front();
        }
    }

    /// Whether two machines have reported lately.
    pub(super) fn are_two(&self, now: Instant) -> bool {
        self.twins_at.is_some_and(|at| now.saturating_duration_since(at) < TOLD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(boots: &[&str]) -> bool {
        let (mut starts, now) = (Starts::default(), Instant::now());
        boots.iter().for_each(|boot| starts.note(boot, now));
        starts.are_two(now)
    }

    #[test]
    fn who_restarts_is_one_and_who_takes_turns_is_two() {
        assert!(!after(&["a", "a", "b", "b", "c"]));
        assert!(after(&["a", "b", "a"]));
        assert!(after(&["a", "b", "c", "b"]));
    }

    #[test]
    fn it_is_forgotten_when_one_of_them_is_gone() {
        let (mut starts, now) = (Starts::default(), Instant::now());
        ["a", "b", "a"].iter().for_each(|boot| starts.note(boot, now));
        starts.note("a", now + TOLD);
        assert!(!starts.are_two(now + TOLD));
    }
}
