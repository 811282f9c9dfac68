//! A believable clock: a Pi starts with the time of its image, and neither apt nor Swarm's certificates forgive that.
//!
//! Network time is waited for, but not for ever: a worker takes the manager's time with each answer to a report (it
//! is authenticated), and the manager goes on with the floor that the card carries, and says so.
//!
//! Power lost here: nothing was changed.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster::wire::Stage;
use tokio::time::sleep;

use super::{Probe, Step, StepError};
use crate::agent::Pi;
use crate::host::{Host, Program};
use crate::retry::{LOCAL, Policy};

/// How long network time may take from the moment there is an address; usual are 5 to 20 s.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long it may take until a time service is up at all.
const SERVICE_PATIENCE: Duration = Duration::from_secs(3);
/// Touched by systemd-timesyncd whenever the clock was set from the network.
const TIMESYNC: &str = "/run/systemd/timesync/synchronized";

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

/// Whether the clock was set from the network: by timesyncd, or by any other service that tells the kernel.
pub(crate) fn is_synced(host: &dyn Host) -> bool {
    matches!(host.read(Path::new(TIMESYNC)), Ok(Some(_)))
        || host
            .run(&Program::new("timedatectl", ["show", "--property=NTPSynchronized", "--value"]))
            .is_ok_and(|output| output.trim_ascii() == b"yes")
}

/// Whether anything on this machine is trying to set the clock.
fn has_time_service(host: &dyn Host) -> bool {
    let services = ["is-active", "--quiet", "systemd-timesyncd", "chrony", "ntpsec", "ntp", "openntpd"];
    // Succeeds if at least one is active.
    host.run(&Program::new("systemctl", services)).is_ok()
}

impl Step for Clock {
    /// Whether it was set from the network.
    type Outcome = bool;
    const STAGE: Stage = Stage::Clock;
    const RETRY: Policy = LOCAL;

    async fn probe(&self) -> Result<Probe<bool>, StepError> {
        let (synced, served) = self.pi.blocking(|host| (is_synced(host), has_time_service(host))).await?;
        self.pi.status.set_clock_synced(synced);
        if synced {
            return Ok(Probe::Done(true));
        }
        let waited = self.since.elapsed();
        if waited > PATIENCE || (!served && waited > SERVICE_PATIENCE) {
            self.pi.allow_clock_adoption();
            tracing::warn!("no network time after {} s: going on without", waited.as_secs());
            return Ok(Probe::Done(false));
        }
        Ok(Probe::Needed("waiting for network time".to_owned()))
    }

    async fn apply(&self) -> Result<(), StepError> {
        sleep(Duration::from_millis(500)).await;
        Ok(())
    }
}
