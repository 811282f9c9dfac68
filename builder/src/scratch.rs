//! Files that get their name only when they are whole.
//!
//! Where the file system can (ext4, XFS, btrfs, tmpfs), a scratch file has no name at all until
//! [`Scratch::publish`], so that even a killed run leaves nothing. Elsewhere it is called `.partial-…` and is locked
//! by its maker; [`sweep`] removes those whose maker is gone.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempPath;
use thiserror::Error;

use crate::owner;

const PREFIX: &str = ".partial-";

/// A file in the making.
#[derive(Debug)]
pub struct Scratch {
    file: File,
    folder: PathBuf,
    /// Its name where it has to have one. Dropping it removes the file.
    name: Option<TempPath>,
}

/// What to do with a file that already has the wanted name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Leave it and fail.
    Keep,
    /// Put the new file in its place.
    Replace,
}

/// Why a scratch file could not be made or named.
#[derive(Debug, Error)]
pub enum ScratchError {
    /// The folder takes no new file.
    #[error("cannot make a file in {}", folder.display())]
    Create {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The content could not be made durable.
    #[error("cannot write {} to the disk", path.display())]
    Sync {
        /// The name it was to get.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The finished file could not get its name.
    #[error("cannot give the finished file its name {}", path.display())]
    Name {
        /// The name.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

impl Scratch {
    /// A new, empty file that will get a name in `folder`. Only its owner may read it: cards carry keys.
    pub fn new_in(folder: &Path) -> Result<Self, ScratchError> {
        if let Some(file) = open_nameless(folder) {
            owner::hand_over(&file, folder)
                .map_err(|source| ScratchError::Create { folder: folder.to_owned(), source })?;
            return Ok(Self { file, folder: folder.to_owned(), name: None });
        }
        Self::named_in(folder)
    }

    fn named_in(folder: &Path) -> Result<Self, ScratchError> {
        let error = |source| ScratchError::Create { folder: folder.to_owned(), source };
        loop {
            let (file, name) =
                tempfile::Builder::new().prefix(PREFIX).tempfile_in(folder).map_err(error)?.into_parts();
            owner::hand_over(&file, folder).map_err(error)?;
            file.lock().map_err(error)?;
            // A sweeping run may have taken the file for a dead one's before it was locked.
            if name.try_exists().map_err(error)? {
                return Ok(Self { file, folder: folder.to_owned(), name: Some(name) });
            }
        }
    }

    /// The open file.
    pub const fn file(&self) -> &File {
        &self.file
    }

    /// Makes the content durable.
    pub fn sync(&self, meant_for: &Path) -> Result<(), ScratchError> {
        self.file.sync_all().map_err(|source| ScratchError::Sync { path: meant_for.to_owned(), source })
    }

    /// Makes the content durable and gives it its name, in one step that another process sees whole or not at all.
    pub fn publish(self, path: &Path, existing: Existing) -> Result<(), ScratchError> {
        self.sync(path)?;
        let error = |source| ScratchError::Name { path: path.to_owned(), source };
        match (self.name, existing) {
            (None, Existing::Keep) => link(&self.file, path).map_err(error)?,
            (None, Existing::Replace) => {
                // A link cannot replace, a rename can. The lock keeps a sweeping run off in between.
                self.file.lock().map_err(error)?;
                tempfile::Builder::new()
                    .prefix(PREFIX)
                    .make_in(&self.folder, |name| link(&self.file, name))
                    .map_err(error)?
                    .into_temp_path()
                    .persist(path)
                    .map_err(|failed| error(failed.error))?;
            }
            (Some(name), Existing::Keep) => {
                name.persist_noclobber(path).map_err(|failed| error(failed.error))?
            }
            (Some(name), Existing::Replace) => name.persist(path).map_err(|failed| error(failed.error))?,
        }
        sync_folder(&self.folder)
    }
}

/// Removes files of runs that died, in a file system where scratch files have names.
pub fn sweep(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX)
            && entry.file_type().is_ok_and(|kind| kind.is_file());
        // Locked means its maker lives. What cannot be removed does no harm: it never gets taken for whole.
        if ours && OpenOptions::new().write(true).open(entry.path()).is_ok_and(|file| file.try_lock().is_ok())
        {
            let _left = std::fs::remove_file(entry.path());
        }
    }
}

fn sync_folder(folder: &Path) -> Result<(), ScratchError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| ScratchError::Sync { path: folder.to_owned(), source })
}

#[cfg(target_os = "linux")]
fn open_nameless(folder: &Path) -> Option<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR).ok().map(File::from)
}

#[cfg(not(target_os = "linux"))]
fn open_nameless(_folder: &Path) -> Option<File> {
    None
}

#[cfg(target_os = "linux")]
fn link(file: &File, path: &Path) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD};
    // open(2), O_TMPFILE: linking through /proc needs no privilege, AT_EMPTY_PATH does.
    Ok(rustix::fs::linkat(CWD, fd_path(file), CWD, path, AtFlags::SYMLINK_FOLLOW)?)
}

#[cfg(not(target_os = "linux"))]
fn link(_file: &File, _path: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Where Linux shows an open file, with or without a name.
#[cfg(target_os = "linux")]
pub fn fd_path(file: &File) -> PathBuf {
    use std::os::fd::AsRawFd;
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn both_kinds(folder: &Path) -> [Scratch; 2] {
        [Scratch::new_in(folder).unwrap(), Scratch::named_in(folder).unwrap()]
    }

    #[test]
    fn appears_whole_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        for (index, scratch) in both_kinds(folder.path()).into_iter().enumerate() {
            let path = folder.path().join(index.to_string());
            scratch.file().write_all(b"whole").unwrap();
            assert!(!path.exists());
            scratch.publish(&path, Existing::Keep).unwrap();
            assert_eq!(std::fs::read(path).unwrap(), b"whole");
        }
        assert_eq!(names(folder.path()), ["0", "1"]);
    }

    #[test]
    fn keeps_or_replaces_what_is_there_as_asked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("red00.img");
        for scratch in both_kinds(folder.path()) {
            std::fs::write(&path, "old").unwrap();
            scratch.publish(&path, Existing::Keep).unwrap_err();
            assert_eq!(std::fs::read(&path).unwrap(), b"old");
        }
        for scratch in both_kinds(folder.path()) {
            std::fs::write(&path, "old").unwrap();
            scratch.file().write_all(b"new").unwrap();
            scratch.publish(&path, Existing::Replace).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), b"new");
        }
        assert_eq!(names(folder.path()), ["red00.img"]);
    }

    #[test]
    fn a_dropped_one_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        drop(both_kinds(folder.path()));
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn sweeps_what_a_dead_run_left_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let alive = Scratch::named_in(folder.path()).unwrap();
        std::fs::write(folder.path().join(".partial-dead"), "half").unwrap();
        std::fs::write(folder.path().join("red00.img"), "whole").unwrap();
        sweep(folder.path());
        assert_eq!(names(folder.path()).len(), 2);
        assert!(alive.name.as_ref().unwrap().exists() && folder.path().join("red00.img").exists());
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_may_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        for scratch in both_kinds(folder.path()) {
            assert_eq!(scratch.file().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }
}
