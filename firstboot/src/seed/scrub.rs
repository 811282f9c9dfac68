//! The secrets off the FAT, once the root partition has them: overwritten, then removed.
//!
//! Flash memory may keep an old copy in a worn block. Against whoever reads the chips only a card that was never given
//! away helps; against whoever puts the card into a computer, this does.

use std::path::{Path, PathBuf};

use cluster::card::{self, Start};

use super::{Seed, SeedError, units, user};

/// In the FAT's root: name and password hash, for Pi OS's own first boot.
pub(super) const USERCONF: &str = "/userconf.txt";
/// The same place: addresses and the radio's pass phrase, for cloud-init, which has made its own files of it by now and
/// does not read it again as long as `meta-data` names the same instance.
const NETWORK_CONFIG: &str = "/network-config";

/// Power lost here: some files are whole, one perhaps half zeros, some gone. None is read again, and a second run goes on.
pub(super) fn apply(seed: &Seed<'_>) -> Result<(), SeedError> {
    if !seed.is_installed()? {
        return Err(SeedError::NotInstalled);
    }
    let mut paths: Vec<PathBuf> = card::SECRET_FILES.iter().map(|name| seed.folder.join(name)).collect();
    // Where the account could not be made, Pi OS reads this at the next boot, makes it, and removes the file.
    if user::find(seed).is_ok() || units::find(seed, "userconfig.service")?.is_none() {
        paths.push(USERCONF.into());
    }
    if seed.card.start == Start::CloudInit && seed.card.wifi.is_some() {
        paths.push(NETWORK_CONFIG.into());
    }
    let mut failed = None;
    for path in paths {
        failed = shred(seed, &path).err().or(failed);
    }
    failed.map_or(Ok(()), Err)
}

fn shred(seed: &Seed<'_>, path: &Path) -> Result<(), SeedError> {
    if let Some(bytes) = seed.fat.read(path)? {
        seed.fat.overwrite(path, &vec![0; bytes.len()])?;
        seed.fat.remove(path)?;
    }
    Ok(())
}
