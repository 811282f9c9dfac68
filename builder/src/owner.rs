//! Whose the files are that are made under `sudo`: writing cards takes root, but the secrets folder and the cache have to be
//! the user's afterwards, or the next command without `sudo` could not read them.
//!
//! So whatever root makes belongs to whom the folder it is made in belongs. For everybody else nothing changes.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{Gid, OFlags, Uid};

/// Gives a file or folder that was just made in `folder` to its owner.
///
/// # Errors
/// What the system says; a file system without owners is no error.
pub(crate) fn hand_over(made: impl AsFd, folder: &Path) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    // An empty path is what `parent` makes of a bare file name.
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let owner = std::fs::metadata(folder)?;
    if owner.uid() == 0 {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(owner.uid()), Gid::from_raw(owner.gid()));
    match rustix::fs::fchown(made, Some(uid), Some(gid)) {
        Err(rustix::io::Errno::PERM | rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::INVAL) => Ok(()),
        result => Ok(result?),
    }
}

/// Opens a file, and makes it where it is missing. It is its folder's owner's then, whoever made it.
///
/// # Errors
/// What the system says; a symbolic link is an error.
pub(crate) fn open_or_make(options: &OpenOptions, path: &Path) -> io::Result<File> {
    // Through a link, somebody else's file would be given away.
    let flags = OFlags::NOFOLLOW.bits().cast_signed();
    let file = options.clone().create(true).custom_flags(flags).open(path)?;
    hand_over(&file, path.parent().unwrap_or(Path::new(".")))?;
    Ok(file)
}

/// Makes a folder and those it lies in, where they are missing.
///
/// # Errors
/// What the system says.
pub(crate) fn make_folders(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.map_or(Ok(()), make_folders)?;
    match std::fs::create_dir(path) {
        Ok(()) => hand_over(File::open(path)?, parent.unwrap_or(Path::new("."))),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}
