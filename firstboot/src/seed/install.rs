//! The agent onto the root partition: binary, payload and unit; and out of the way what would hold up the boot.
//!
//! Everything is read back and compared before [`MARK`] is written: that file is the leave to destroy what is on the FAT.

use std::path::Path;
use std::time::UNIX_EPOCH;

use cluster::card;
use cluster::wire::{Mark, Stage};

use super::{BINARY, MARK, STATE, Seed, SeedError, units, user};
use crate::adopt::{UNIT, UNIT_TEXT};
use crate::tls::Credentials;

/// What the agent reads. The host key is sshd's affair, the other secrets were used up before.
const PAYLOAD: [&str; 4] = [card::CARD, card::CA, card::NODE_CERT, card::NODE_KEY];

/// Power lost here: every file is old or new, and nothing on the FAT is touched before all are new.
pub(super) fn apply(seed: &Seed<'_>) -> Result<(), SeedError> {
    if seed.is_installed()? {
        return Ok(());
    }
    // Where the binary has a file of its own, what was started is a script.
    let binary = match seed.fat.read(&seed.folder.join(card::AGENT))? {
        Some(binary) => binary,
        None => seed.payload(card::RUN)?,
    };
    let state = Path::new(STATE);
    let folder = Path::new(BINARY).parent().unwrap_or(Path::new("/"));
    seed.root.make_folder(folder, 0o755, None)?;
    seed.root.make_folder(state, 0o700, None)?;
    place(seed, Path::new(BINARY), &binary, 0o755)?;
    for name in PAYLOAD {
        place(seed, &state.join(name), &seed.payload(name)?, 0o600)?;
    }
    // Damaged secrets are reported by the first part; what is left of the card is installed all the same.
    if let Some(proxy) = seed.secrets().ok().flatten().and_then(|secrets| secrets.proxy) {
        place(seed, &state.join(cluster::proxy::FILE), proxy.to_json().expose(), 0o600)?;
    }
    let unit = Path::new(units::FOLDER).join(UNIT);
    place(seed, &unit, UNIT_TEXT.as_bytes(), 0o644)?;
    units::enable(seed, "multi-user.target", UNIT, &unit)?;
    // All of the above has to be on the disk before the mark is.
    seed.root.sync();
    Ok(seed.root.write(&state.join(MARK), &mark(seed)?, 0o600, None)?)
}

/// Whether the node can prove who it is: without that it can tell nobody what else is wrong. Changes nothing.
pub(super) fn check_identity(seed: &Seed<'_>) -> Result<(), SeedError> {
    let credentials = if seed.is_installed()? {
        Credentials::load(seed.root, Path::new(STATE))
    } else {
        Credentials::load(seed.fat, seed.folder)
    };
    credentials.and_then(|credentials| credentials.client()).map(drop).map_err(SeedError::Identity)
}

fn place(seed: &Seed<'_>, path: &Path, bytes: &[u8], mode: u32) -> Result<(), SeedError> {
    seed.root.write(path, bytes, mode, None)?;
    if seed.root.read(path)?.as_deref() != Some(bytes) {
        return Err(SeedError::ReadBack(path.to_owned()));
    }
    Ok(())
}

/// In the drop-ins of sshd while Pi OS waits for a user: a banner, on standard error of every login, that says SSH may not work
/// yet (userconf-pi's `rename-user`). Only its `cancel-rename` removes it, which is never called for a user named `pi`.
const RENAME_BANNER: &str = "/etc/ssh/sshd_config.d/rename_user.conf";

/// Removes what Pi OS has in place until somebody names a user: its question holds up multi-user.target until it is answered on
/// the screen. Power lost here: done again.
pub(super) fn clear_the_way(seed: &Seed<'_>) -> Result<(), SeedError> {
    // If the account could not be made, Pi OS may still make it from userconf.txt.
    if user::find(seed).is_err() {
        return Ok(());
    }
    if seed.has(RENAME_BANNER)? {
        seed.root.remove(Path::new(RENAME_BANNER))?;
    }
    if units::find(seed, "userconfig.service")?.is_some() {
        units::mask(seed, "userconfig.service")?;
        if let Some(getty) = units::find(seed, "getty@.service")? {
            // The question took the first console's place.
            units::enable(seed, "getty.target", "getty@tty1.service", &getty)?;
        }
    }
    Ok(())
}

/// cloud-init sets a host name of its own at every boot and drags in a minute of waiting. What it did stays as it is.
/// Last of all, since where cloud-init starts the seed stage it also starts one again that was cut short.
/// Power lost here: done again.
pub(super) fn retire_cloud_init(seed: &Seed<'_>) -> Result<(), SeedError> {
    if seed.root.list(Path::new("/etc/cloud"))?.is_empty() {
        return Ok(());
    }
    seed.write_text("/etc/cloud/cloud-init.disabled", "", 0o644)
}

fn mark(seed: &Seed<'_>) -> Result<Vec<u8>, SeedError> {
    let unix = seed.root.now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    // A tree has no /proc, and its seed stage no uptime worth telling.
    let uptime_ms = parse_uptime(&seed.read_text("/proc/uptime")?).unwrap_or_default();
    let mark = Mark { stage: Stage::Seed, unix_ms: u64::try_from(unix).unwrap_or(u64::MAX), uptime_ms };
    // A structure of two numbers and a word always serialises.
    Ok(serde_json::to_vec(&mark).unwrap_or_default())
}

/// The first number of `/proc/uptime` (proc(5)): seconds with two decimals. In milliseconds.
fn parse_uptime(text: &str) -> Option<u64> {
    let (seconds, hundredths) = text.split_whitespace().next()?.split_once('.')?;
    let (seconds, hundredths): (u64, u64) = (seconds.parse().ok()?, hundredths.parse().ok()?);
    seconds.checked_mul(1000)?.checked_add(hundredths.checked_mul(10)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_uptime() {
        assert_eq!(parse_uptime("12.05 20.11\n"), Some(12_050));
        assert_eq!(parse_uptime(""), None);
    }

    #[test]
    fn the_unit_starts_the_installed_binary_and_never_loops_on_a_permanent_error() {
        assert!(UNIT_TEXT.contains(&format!("\nExecStart={BINARY} agent\n")));
        assert!(UNIT_TEXT.contains("\nRestartPreventExitStatus=78\n"));
        // Waiting for the network in front of the agent would keep the manager's API down for as long.
        assert!(!UNIT_TEXT.contains("network-online"));
    }
}
