//! The join window: how long nodes that were never members may join.
//!
//! It is counted by the kernel's time since boot, which no time server can set. The journal keeps at which of these times the
//! present boot began to count, so a restart of the agent changes nothing, and how much counts at least after a restart of the
//! machine. That is rounded up to the next [`STEPS`]th of the window: each restart costs one such part at most, and a machine
//! that restarts without end does not keep the window open. Time without power does not count, because nothing on a Pi can tell
//! it from a clock that was set.
//!
//! Agents of 2026-11 and before counted by the clock (`window_opened`, `window_is_sure`). What such an agent opened is taken
//! over once, with the time that its clock says has passed.

use cluster::name::Hostname;
use serde::{Deserialize, Serialize};

use crate::host::Host;
use crate::journal::Journal;

/// Into how many parts a window is divided: it is written to the disk that many times.
const STEPS: u64 = 60;

/// A moment, by all clocks that there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// The kernel's boot id; empty if it cannot be read.
    pub boot: String,
    /// Seconds since that boot.
    pub since_boot: u64,
    /// The clock, seconds since 1970. Any time server may set it.
    pub unix: u64,
}

impl Moment {
    /// This moment.
    pub fn now(host: &dyn Host) -> Self {
        let boot = host.read("/proc/sys/kernel/random/boot_id".as_ref()).ok().flatten().unwrap_or_default();
        Self {
            boot: String::from_utf8_lossy(&boot).trim().to_owned(),
            since_boot: host.since_boot().as_secs(),
            unix: host.now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs(),
        }
    }
}

/// How long the window has been open, in seconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// The boot that counts.
    boot: String,
    /// When it began to, in seconds since it began.
    since: u64,
    /// What earlier boots have counted.
    before: u64,
    /// What counts at least in a later boot.
    saved: u64,
}

impl Count {
    fn begin(now: &Moment, before: u64, step: u64) -> Self {
        Self { boot: now.boot.clone(), since: now.since_boot, before, saved: before.saturating_add(step) }
    }

    fn elapsed(&self, now: &Moment) -> u64 {
        match now.since_boot.checked_sub(self.since) {
            Some(passed) if self.boot == now.boot => self.before.saturating_add(passed),
            _ => self.saved,
        }
    }

    fn go_on(&mut self, now: &Moment, step: u64) {
        let elapsed = self.elapsed(now);
        if self.boot != now.boot || now.since_boot < self.since {
            *self = Self::begin(now, elapsed, step);
        } else if elapsed >= self.saved {
            self.saved = elapsed.saturating_add(step);
        }
    }
}

impl Journal {
    /// Whether nodes that were never members may join; `seconds` is how long they may in all.
    pub fn is_window_open(&self, now: &Moment, seconds: u64) -> bool {
        !self.window_closed && self.window_age(now) <= seconds
    }

    fn window_age(&self, now: &Moment) -> u64 {
        match (&self.window, self.window_opened) {
            (Some(count), _) => count.elapsed(now),
            (None, Some(opened)) => now.unix.saturating_sub(opened),
            (None, None) => 0,
        }
    }

    /// Opens the window if it never was, and counts. While there is to be no swarm, nothing counts. `synced`: the clock was set
    /// from the network.
    pub fn count_window(&mut self, now: &Moment, seconds: u64, synced: bool, node: &Hostname) {
        if self.window_closed || self.has_left(node) || self.has_to_leave(node) {
            return;
        }
        let is_first_network_time = synced && !self.window_is_sure;
        let step = (seconds / STEPS).max(1);
        match &mut self.window {
            Some(count) => count.go_on(now, step),
            // By a clock that was not right yet nobody knows when it was opened.
            None if is_first_network_time => self.window = Some(Count::begin(now, 0, step)),
            None => self.window = Some(Count::begin(now, self.window_age(now), step)),
        }
        // For an older agent, should one be installed again.
        if self.window_opened.is_none() || is_first_network_time {
            self.window_opened = Some(now.unix.saturating_sub(self.window_age(now)));
            self.window_is_sure = synced;
        }
    }

    /// Forgets the window, so that the next count opens it anew.
    pub fn reopen_window(&mut self) {
        (self.window, self.window_opened) = (None, None);
        (self.window_is_sure, self.window_closed) = (false, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECONDS: u64 = 600;

    fn at(boot: &str, since_boot: u64, unix: u64) -> Moment {
        Moment { boot: boot.to_owned(), since_boot, unix }
    }

    fn count(journal: &mut Journal, now: &Moment) -> bool {
        count_with(journal, now, false)
    }

    fn count_with(journal: &mut Journal, now: &Moment, synced: bool) -> bool {
        journal.count_window(now, SECONDS, synced, &Hostname::try_from("red00").unwrap());
        // What a restart of the agent reads.
        let stored: Journal = serde_json::from_str(&serde_json::to_string(journal).unwrap()).unwrap();
        assert_eq!(&stored, journal);
        stored.is_window_open(now, SECONDS)
    }

    #[test]
    fn no_time_server_closes_the_window_or_holds_it_open() {
        let mut journal = Journal::default();
        assert!(count(&mut journal, &at("a", 50, 1_790_000_000)));
        for unix in [0, 1_790_000_000, u64::MAX] {
            for synced in [false, true] {
                assert!(count_with(&mut journal.clone(), &at("a", 650, unix), synced), "{unix}");
                assert!(!count_with(&mut journal.clone(), &at("a", 651, unix), synced), "{unix}");
            }
        }
    }

    #[test]
    fn a_closed_window_stays_closed_when_network_time_comes() {
        let mut journal = Journal::default();
        count(&mut journal, &at("a", 0, 5));
        journal.window_closed = true;
        assert!(!count_with(&mut journal, &at("a", 9, 1_790_000_000), true));
    }

    #[test]
    fn a_restart_of_the_machine_costs_a_sixtieth_of_the_window_at_most() {
        let mut journal = Journal::default();
        count(&mut journal, &at("a", 100, 5));
        count(&mut journal, &at("a", 395, 5));
        // 295 s were counted, and 300 written down at most.
        assert!(count(&mut journal, &at("b", 30, 5)));
        assert!(count(&mut journal.clone(), &at("b", 30 + 295, 5)));
        assert!(!count(&mut journal, &at("b", 30 + 306, 5)));
    }

    #[test]
    fn a_machine_that_restarts_without_end_does_not_keep_the_window_open() {
        let mut journal = Journal::default();
        let mut boots = 0;
        while count(&mut journal, &at(&format!("boot {boots}"), 3, 5)) {
            boots += 1;
        }
        assert_eq!(boots, 61);
    }

    #[test]
    fn the_count_is_written_down_sixty_times() {
        let (mut journal, mut writes) = (Journal::default(), 0);
        for second in 0..SECONDS {
            let before = journal.clone();
            count(&mut journal, &at("a", second, 5));
            writes += u64::from(journal != before);
        }
        assert_eq!(writes, STEPS);
    }

    #[test]
    fn without_a_boot_id_a_shorter_time_since_boot_is_another_boot() {
        let mut journal = Journal::default();
        count(&mut journal, &at("", 100, 5));
        count(&mut journal, &at("", 695, 5));
        assert!(!count(&mut journal, &at("", 20, 5)));
    }

    #[test]
    fn a_window_that_an_older_agent_opened_is_taken_over() {
        let older = |sure| Journal { window_opened: Some(1000), window_is_sure: sure, ..Journal::default() };
        let mut journal = older(true);
        assert!(journal.is_window_open(&at("a", 7, 1300), SECONDS));
        assert!(count_with(&mut journal, &at("a", 7, 1300), true));
        // From then on its clock does not count.
        assert!(count_with(&mut journal, &at("a", 307, 9_000_000), true));
        assert!(!count_with(&mut journal, &at("a", 308, 1000), true));
        assert!(!count_with(&mut older(true), &at("a", 7, 1601), true));
        assert!(!count(&mut older(false), &at("a", 7, 1601)));
        // It was opened by a clock that was wrong, and nobody knows by how much.
        assert!(count_with(&mut older(false), &at("a", 7, 9_000_000), true));
    }

    #[test]
    fn an_older_agent_reads_when_the_window_was_opened() {
        let mut journal = Journal::default();
        count(&mut journal, &at("a", 10, 500));
        assert_eq!((journal.window_opened, journal.window_is_sure), (Some(500), false));
        count_with(&mut journal, &at("a", 40, 9_000_000), true);
        assert_eq!((journal.window_opened, journal.window_is_sure), (Some(9_000_000 - 30), true));
    }

    #[test]
    fn a_window_that_is_opened_again_counts_from_its_beginning() {
        let mut journal = Journal::default();
        count(&mut journal, &at("a", 0, 5));
        assert!(!count(&mut journal, &at("a", 601, 5)));
        journal.window_closed = true;
        journal.reopen_window();
        assert!(count(&mut journal, &at("a", 700, 5)));
        assert!(count(&mut journal, &at("a", 1300, 5)) && !count(&mut journal, &at("a", 1301, 5)));
    }
}
