//! Large steps of the clock: whoever answers on the LAN as a time server can outdate Swarm's certificates, and has to be seen.
//!
//! The clock is compared with the time since boot, which does not step. Steps before the clock was believable are a Pi's
//! ordinary start.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cluster::wire::Stage;
use tokio::time::sleep;

use super::Pi;
use super::status::Topic;
use crate::host::Host;

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(2);
/// Swarm tolerates clocks that are five minutes apart. Smaller steps add up until they are as large.
const LARGE: Duration = Duration::from_secs(5 * 60);
/// How long a step is on the board.
const SHOWN: Duration = Duration::from_secs(24 * 3600);

/// Watches the clock for ever.
pub(super) async fn run(pi: Arc<Pi>) {
    let mut watch = Watch::default();
    loop {
        if pi.status.stage() > Stage::Clock
            && let Some(warnings) = watch.look(pi.host.as_ref(), Instant::now())
        {
            pi.status.warn(Topic::Clock, warnings);
            pi.status.news.notify_one();
        }
        sleep(PAUSE).await;
    }
}

#[derive(Debug, Default)]
struct Watch {
    /// When the kernel started, by the clock as it was set last.
    started: Option<SystemTime>,
    steps: u64,
    shown: Option<Instant>,
}

impl Watch {
    /// The warnings to show, if they change. Of many steps those are shown whose number is a power of two.
    fn look(&mut self, host: &dyn Host, now: Instant) -> Option<Vec<String>> {
        let (clock, since_boot) = (host.now(), host.since_boot());
        let started = clock.checked_sub(since_boot)?;
        let before = *self.started.get_or_insert(started);
        let (step, way) = match started.duration_since(before) {
            Ok(forward) => (forward, "forward"),
            Err(back) => (back.duration(), "back"),
        };
        if step < LARGE {
            return self.shown.take_if(|shown| now.duration_since(*shown) >= SHOWN).map(|_| Vec::new());
        }
        self.started = Some(started);
        self.steps += 1;
        if !self.steps.is_power_of_two() {
            return None;
        }
        self.shown = Some(now);
        let again = if self.steps == 1 { String::new() } else { format!(" ({} times so far)", self.steps) };
        let minutes = Duration::from_secs(step.as_secs() / 60 * 60);
        Some(vec![format!(
            "the clock was set {way} by {}, from {} to {}{again}",
            humantime::format_duration(minutes),
            shown(before + since_boot),
            shown(clock),
        )])
    }
}

/// In UTC. There is no RFC 3339 before 1970 and after 9999.
fn shown(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().min(253_402_300_799);
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(since)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fake::{FakeHost, Files};

    const MINUTE: Duration = Duration::from_secs(60);

    fn host() -> FakeHost {
        FakeHost::new(Arc::default(), Files::new(), UNIX_EPOCH + Duration::from_secs(1_790_000_000))
    }

    fn set(host: &FakeHost, change: impl FnOnce(SystemTime) -> SystemTime) {
        host.set_clock(change(host.now())).unwrap();
    }

    #[test]
    fn names_direction_size_and_times_of_a_step() {
        let (host, mut watch, now) = (host(), Watch::default(), Instant::now());
        assert_eq!(watch.look(&host, now), None);
        host.pass(90 * MINUTE);
        assert_eq!(watch.look(&host, now), None, "time that passes is no step");
        set(&host, |clock| clock + 125 * MINUTE);
        let said = "the clock was set forward by 2h 5m, from 2026-09-21T15:43:20Z to 2026-09-21T17:48:20Z";
        assert_eq!(watch.look(&host, now), Some(vec![said.to_owned()]));
        assert_eq!(watch.look(&host, now), None);
        set(&host, |_| UNIX_EPOCH);
        assert!(watch.look(&host, now).unwrap()[0].starts_with("the clock was set back by 56years "));
    }

    #[test]
    fn small_steps_add_up() {
        let (host, mut watch, now) = (host(), Watch::default(), Instant::now());
        watch.look(&host, now);
        for _ in 0..4 {
            set(&host, |clock| clock + MINUTE);
            assert_eq!(watch.look(&host, now), None);
        }
        set(&host, |clock| clock + MINUTE);
        assert!(watch.look(&host, now).unwrap()[0].contains("forward by 5m, "));
    }

    #[test]
    fn a_step_is_shown_for_a_day() {
        let (host, mut watch, now) = (host(), Watch::default(), Instant::now());
        watch.look(&host, now);
        set(&host, |clock| clock + 10 * MINUTE);
        watch.look(&host, now).unwrap();
        assert_eq!(watch.look(&host, now + SHOWN - MINUTE), None);
        assert_eq!(watch.look(&host, now + SHOWN), Some(Vec::new()));
        assert_eq!(watch.look(&host, now + 2 * SHOWN), None);
    }

    #[test]
    fn a_clock_that_is_set_without_end_is_shown_by_powers_of_two() {
        let (host, mut watch, now) = (host(), Watch::default(), Instant::now());
        watch.look(&host, now);
        let mut shown = Vec::new();
        for _ in 0..100 {
            set(&host, |clock| clock + 10 * MINUTE);
            shown.extend(watch.look(&host, now).into_iter().flatten());
        }
        assert_eq!(shown.len(), 7);
        assert!(shown[6].ends_with("(64 times so far)"));
    }
}
