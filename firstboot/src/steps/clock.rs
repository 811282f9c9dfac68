//! A believable clock: a Pi starts with the time of its image, and neither apt nor Swarm's certificates forgive that.
//!
//! Network time is waited for, but not for ever. Then a manager goes on with the floor that the card carries, and
//! says so on the board; a worker takes the manager's time, which came over mutual TLS, and without either waits.
//! A Pi with a clock of its own that was not left without its battery since the card was made waits for nothing.
//! As long as there is no network time, the manager's is followed ([`follow`]).
//!
//! Power lost here: done again.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use cluster::identity::Role;
use cluster::wire::Stage;
use tokio::time::sleep;

use super::{Probe, Step, StepError};
use crate::agent::link::Heard;
use crate::agent::{Pi, clock_now};
use crate::host::{Host, Program};
use crate::retry::{LOCAL, Policy};

/// How long network time may take from the moment there is an address; usual are 5 to 20 s.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long it may take until a time service is up at all.
const SERVICE_PATIENCE: Duration = Duration::from_secs(3);
/// Touched by systemd-timesyncd whenever the clock was set from the network.
const TIMESYNC: &str = "/run/systemd/timesync/synchronized";
/// The clock with a battery, where there is one: a Pi 5's, or one on the header. `hctosys` is 1 if the kernel took its time
/// from there at boot, `since_epoch` is what it says now, in seconds (Linux, Documentation/ABI/testing/sysfs-class-rtc).
const RTC: &str = "/sys/class/rtc/rtc0";
/// Units of the time services that Debian and Ubuntu have packages of.
const TIME_SERVICES: [&str; 6] = ["systemd-timesyncd", "chrony", "ntpsec", "ntp", "openntpd", "ntpd-rs"];
/// Clocks further apart than this are not taken for equal. Swarm tolerates five minutes.
const TOLERANCE_MS: u64 = 5_000;

/// Waits for the clock.
#[derive(Debug)]
pub(crate) struct Clock {
    pi: Arc<Pi>,
    since: Instant,
}

impl Clock {
    pub(crate) fn new(pi: Arc<Pi>) -> Self {
        Self { pi, since: Instant::now() }
    }
}

/// Whether the clock was set from the network: by timesyncd, or by any other service that informs the kernel.
pub(crate) fn is_synced(host: &dyn Host) -> bool {
    if matches!(host.read(Path::new(TIMESYNC)), Ok(Some(_))) {
        return true;
    }
    // timedatectl starts another service, which takes a second on a small computer, so timesyncd's own word is enough.
    let asked = || host.run(&Program::new("timedatectl", ["show", "--property=NTPSynchronized", "--value"]));
    !runs_timesyncd(host) && asked().is_ok_and(|output| output.trim_ascii() == b"yes")
}

/// Whether systemd-timesyncd is running: its folder exists as long as it does (`RuntimeDirectory=` in its unit).
fn runs_timesyncd(host: &dyn Host) -> bool {
    host.list(Path::new("/run/systemd")).is_ok_and(|names| names.iter().any(|name| name == "timesync"))
}

/// Whether any service on this machine is trying to set the clock.
fn has_time_service(host: &dyn Host) -> bool {
    if runs_timesyncd(host) {
        return true;
    }
    let mut program = Program::new("systemctl", ["is-active", "--quiet"]);
    program.args.extend(TIME_SERVICES.map(str::to_owned));
    // Succeeds if at least one is active.
    host.run(&program).is_ok()
}

/// Whether the time came from a clock that has gone on since the card was made. Without its battery it begins at 1970.
fn has_own_clock(host: &dyn Host, not_before: u64) -> bool {
    let number = |name: &str| {
        let bytes = host.read(&Path::new(RTC).join(name)).ok()??;
        std::str::from_utf8(&bytes).ok()?.trim().parse::<u64>().ok()
    };
    number("hctosys") == Some(1) && number("since_epoch").is_some_and(|now| now >= not_before)
}

impl Step for Clock {
    /// Whether it was set from the network.
    type Outcome = bool;
    const STAGE: Stage = Stage::Clock;
    const RETRY: Policy = LOCAL;

    async fn probe(&self) -> Result<Probe<bool>, StepError> {
        let not_before = self.pi.card.not_before;
        let look =
            move |host: &dyn Host| (is_synced(host), has_time_service(host), has_own_clock(host, not_before));
        let (synced, served, own) = self.pi.blocking(look).await?;
        self.pi.status.set_clock_synced(synced);
        if synced {
            return Ok(Probe::Done(true));
        }
        let waited = self.since.elapsed();
        if !own && waited <= PATIENCE && (served || waited <= SERVICE_PATIENCE) {
            return Ok(Probe::Needed("waiting for network time".to_owned()));
        }
        match self.pi.link.heard() {
            // Before any download and any join: neither forgives a wrong clock.
            Some(heard) => {
                adopt(&self.pi, &heard)?;
                self.pi.allow_clock_adoption();
            }
            // What it hears later it follows.
            None if own => self.pi.allow_clock_adoption(),
            None if self.pi.card.role == Role::Worker => {
                return Ok(Probe::Needed("no network time: waiting for the manager's".to_owned()));
            }
            None => {}
        }
        let own = if own { ", with the time of this machine's own clock" } else { "" };
        tracing::warn!("no network time after {} s: going on without{own}", waited.as_secs());
        Ok(Probe::Done(false))
    }

    async fn apply(&self) -> Result<(), StepError> {
        sleep(Duration::from_millis(500)).await;
        Ok(())
    }
}

/// Follows the manager's clock for as long as there is no network time, beginning where the step has ended.
pub(crate) async fn follow(pi: &Pi) {
    let Some(heard) = pi.link.heard().filter(|_| pi.may_adopt_clock()) else { return };
    if better(pi, &heard).is_none() && pi.status.stage() != Stage::Ready {
        return;
    }
    // It may have come since.
    let Ok(synced) = pi.blocking(is_synced).await else { return };
    pi.status.set_clock_synced(synced);
    if !synced && let Err(error) = adopt(pi, &heard) {
        tracing::warn!("{}", crate::agent::status::chain(&error));
    }
}

fn adopt(pi: &Pi, heard: &Heard) -> Result<(), StepError> {
    let Some(theirs) = better(pi, heard) else { return Ok(()) };
    tracing::warn!("no network time: stepping the clock from {} to the manager's {theirs}", clock_now(pi));
    let time = UNIX_EPOCH + Duration::from_millis(theirs);
    pi.host.set_clock(time).map_err(|source| StepError::Host { doing: "take the manager's time", source })
}

/// The manager's time, milliseconds since 1970, if it is better than ours.
fn better(pi: &Pi, heard: &Heard) -> Option<u64> {
    let since = u64::try_from(heard.at.elapsed().as_millis()).unwrap_or(u64::MAX);
    better_clock(clock_now(pi), heard.reply.unix_ms.saturating_add(since), heard.reply.clock_synced)
}

/// Theirs, if it is known to be right, or later than ours: what is later can only be nearer to the truth.
fn better_clock(ours: u64, theirs: u64, synced: bool) -> Option<u64> {
    let apart = ours.abs_diff(theirs) > TOLERANCE_MS;
    (apart && (synced || theirs > ours)).then_some(theirs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fake::{FakeHost, Files, Node};

    #[test]
    fn waits_for_any_time_service_that_debian_has() {
        // `systemctl is-active` ends with 0 if one of the units is active.
        let with = |active: &'static str| {
            FakeHost::new(Arc::default(), Files::new(), UNIX_EPOCH).with_programs(move |program, _| {
                let asked = program.name == "systemctl" && program.args.iter().any(|arg| arg == active);
                if asked { Ok(Vec::new()) } else { Err("inactive".to_owned()) }
            })
        };
        for service in ["systemd-timesyncd", "chrony", "ntpsec", "openntpd", "ntpd-rs"] {
            assert!(has_time_service(&with(service)), "{service}");
        }
        assert!(!has_time_service(&with("ssh")));
    }

    #[test]
    fn starts_no_program_while_timesyncd_runs() {
        let folder = Node::Folder { mode: 0o755, owner: None };
        let host = |files: Files| FakeHost::new(Arc::default(), files, UNIX_EPOCH);
        let running = host([("/run/systemd/timesync".into(), folder)].into());
        assert_eq!((is_synced(&running), has_time_service(&running)), (false, true));
        let told = running.with_programs(|_, _| Ok(b"yes\n".to_vec()));
        assert!(!is_synced(&told), "timesyncd knows better");
        let other = host(Files::new()).with_programs(|_, _| Ok(b"yes\n".to_vec()));
        assert!(is_synced(&other));
    }

    #[test]
    fn takes_the_managers_time_when_it_is_surer_or_later() {
        let ours = 1_790_000_000_000;
        assert_eq!(better_clock(ours, ours + 60_000, false), Some(ours + 60_000));
        assert_eq!(better_clock(ours, ours - 60_000, true), Some(ours - 60_000));
        assert_eq!(better_clock(ours, ours - 60_000, false), None);
        assert_eq!(better_clock(ours, ours + 900, true), None);
    }
}
