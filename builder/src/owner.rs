//! Whose the files are that are made under `sudo`: writing cards takes root, but the secrets folder and the cache have to be
//! the user's afterwards, or the next command without `sudo` could not read them.
//!
//! So whatever root makes belongs to whom the folder it is made in belongs. For everybody else nothing changes.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

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

/// Folders that were made for something that may yet fail. Dropped, those that are still empty are removed.
#[derive(Debug)]
pub(crate) struct NewFolders(Vec<PathBuf>);

impl NewFolders {
    /// Makes a folder and those it lies in, where they are missing.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn make(path: &Path) -> io::Result<Self> {
        let is_missing =
            |folder: &&Path| !folder.as_os_str().is_empty() && folder.symlink_metadata().is_err();
        let made = Self(path.ancestors().take_while(is_missing).map(Path::to_owned).collect());
        make_folders(path)?;
        Ok(made)
    }

    /// Leaves the folders where they are.
    pub(crate) fn keep(mut self) {
        self.0.clear();
    }

    /// The folders that were missing, the innermost first.
    pub(crate) fn paths(&self) -> &[PathBuf] {
        &self.0
    }
}

impl Drop for NewFolders {
    fn drop(&mut self) {
        remove_empty(&self.0);
    }
}

/// Removes folders, up to the first that is not empty.
pub(crate) fn remove_empty(folders: &[PathBuf]) {
    // What cannot be removed is in use, and stays.
    let _left = folders.iter().try_for_each(std::fs::remove_dir);
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
