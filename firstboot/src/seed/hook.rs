//! The words on the kernel command line that started this run.

use std::path::Path;

use cluster::hook;

use super::SeedError;
use crate::host::Host;

/// On the FAT; the firmware reads it there whatever the OS calls the folder.
const CMDLINE: &str = "/cmdline.txt";

/// In the payload's folder while a seed stage is under way.
const BEGUN: &str = "begun";

/// Notes that a run begins. `false` when an earlier one was cut short.
pub(super) fn begin(fat: &dyn Host, folder: &Path) -> Result<bool, SeedError> {
    let begun = folder.join(BEGUN);
    if fat.read(&begun)?.is_some() {
        return Ok(false);
    }
    fat.write(&begun, b"", 0o644, None)?;
    Ok(true)
}

/// Removes the note of [`begin`].
pub(super) fn end(fat: &dyn Host, folder: &Path) -> Result<(), SeedError> {
    Ok(fat.remove(&folder.join(BEGUN))?)
}

/// Whether the next boot would start the seed stage again.
pub(super) fn is_set(fat: &dyn Host) -> Result<bool, SeedError> {
    let cmdline = fat.read(Path::new(CMDLINE))?;
    Ok(cmdline.is_some_and(|cmdline| hook::blank_tokens(&cmdline).is_some()))
}

/// Blanks our words in place and reads the file again to be sure. The line is under a sector long, so this is one
/// sector written: power lost here leaves either the old line, and this runs again, or the new one.
pub(super) fn take_out(fat: &dyn Host) -> Result<(), SeedError> {
    let path = Path::new(CMDLINE);
    // Without a cmdline.txt nothing starts us; a tree in a test may lack it.
    let Some(cmdline) = fat.read(path)? else { return Ok(()) };
    if let Some(blanked) = hook::blank_tokens(&cmdline) {
        fat.overwrite(path, &blanked)?;
    }
    if is_set(fat)? {
        return Err(SeedError::ReadBack(path.to_owned()));
    }
    Ok(())
}
