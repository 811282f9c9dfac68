//! A clock that has stood still is put forward to when the card was made: certificates and package lists are younger
//! than that. Most Pis have no battery, so the floor is left for the next boot, too.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use super::{Seed, SeedError, user};

/// systemd-timesyncd's memory: its modification time is the earliest time the next boot believes
/// (systemd-timesyncd.service(8), "Files").
const TIMESYNC: &str = "/var/lib/systemd/timesync/clock";
const TIMESYNC_USER: &str = "systemd-timesync";

/// Power lost here: done again, or left to the agent, which has the same floor.
pub(super) fn apply(seed: &Seed<'_>) -> Result<(), SeedError> {
    let not_before = seed.card.not_before;
    let floor = UNIX_EPOCH
        .checked_add(Duration::from_secs(not_before))
        .ok_or_else(|| SeedError::Unfit { what: "time of the card", value: not_before.to_string() })?;
    if seed.root.now() < floor {
        seed.root.set_clock(floor)?;
    }
    if seed.has(TIMESYNC)? {
        let passwd = seed.read_text("/etc/passwd")?;
        let owner =
            user::account(&passwd, |account| account.name == TIMESYNC_USER).map(|account| account.owner);
        seed.root.write(Path::new(TIMESYNC), b"", 0o644, owner)?;
    }
    Ok(())
}
