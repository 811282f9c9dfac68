//! The folder of a rehearsal: logs, which stay, and what machines run from, which does not.
//!
//! It is the user's alone, for cards carry keys, and one rehearsal's alone, by a lock. What a killed run left is
//! removed by the next one.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::error::RehearseError;

const LOCK: &str = ".lock";
/// What a machine needs while it runs.
const LOGS: [&str; 2] = ["log", "qemu.log"];
const SPENT: [&str; 3] = ["kernel", "initramfs", "dtb"];
const DISK: &str = "img";

/// A rehearsal's folder. Dropping it removes everything but the logs.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    names: Vec<String>,
    keep: bool,
    /// Held for as long as the rehearsal lasts.
    _lock: File,
}

impl Folder {
    /// Makes or takes over the folder, for machines of these names, and removes what an earlier rehearsal left there.
    /// `keep`: the copies of the cards stay at the end.
    ///
    /// # Errors
    /// When it cannot be used, or another rehearsal does.
    pub fn open(path: &Path, names: Vec<String>, keep: bool) -> Result<Self, RehearseError> {
        let failed = |what, path: &Path| {
            let path = path.to_owned();
            move |source| RehearseError::File { what, path, source }
        };
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed("make the folder", path)(error));
            }
            _ => {}
        }
        let mode = fs::Permissions::from_mode(0o700);
        fs::set_permissions(path, mode).map_err(failed("make private the folder", path))?;
        let lock = path.join(LOCK);
        let file = File::create(&lock).map_err(failed("write", &lock))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(RehearseError::Busy(path.to_owned())),
            Err(fs::TryLockError::Error(error)) => return Err(failed("lock", &lock)(error)),
        }
        let ignore = path.join(".gitignore");
        fs::write(&ignore, "*\n").map_err(failed("write", &ignore))?;
        let path = path.canonicalize().map_err(failed("use", path))?;
        let folder = Self { path, names, keep, _lock: file };
        folder.remove(&[&LOGS[..], &SPENT, &[DISK]].concat());
        let _absent = fs::remove_file(folder.path.join(super::lan::LOG));
        Ok(folder)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the copy of a card goes.
    pub fn disk(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.{DISK}"))
    }

    /// What cannot be removed is removed next time.
    fn remove(&self, kinds: &[&str]) {
        for name in &self.names {
            for kind in kinds {
                let _absent = fs::remove_file(self.path.join(format!("{name}.{kind}")));
            }
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.remove(&SPENT);
        if !self.keep {
            self.remove(&[DISK]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn open(path: &Path, keep: bool) -> Result<Folder, RehearseError> {
        Folder::open(path, vec!["red00".to_owned()], keep)
    }

    #[test]
    fn logs_stay_and_copies_go_unless_they_are_kept() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("red.rehearsal");
        for (keep, left) in [(true, &["red00.img", "red00.log"][..]), (false, &["red00.log"])] {
            let folder = open(&path, keep).unwrap();
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
            assert_eq!(names(&path), [".gitignore", ".lock"], "what an earlier run left is gone");
            for name in ["red00.img", "red00.log", "red00.kernel"] {
                fs::write(path.join(name), "").unwrap();
            }
            drop(folder);
            assert_eq!(names(&path)[2..], *left);
        }
    }

    #[test]
    fn two_rehearsals_do_not_share_a_folder_and_nothing_foreign_is_removed() {
        let parent = tempfile::tempdir().unwrap();
        fs::write(parent.path().join("cluster.yaml"), "").unwrap();
        let first = open(parent.path(), false).unwrap();
        assert!(matches!(open(parent.path(), false), Err(RehearseError::Busy(_))));
        drop(first);
        open(parent.path(), false).unwrap();
        assert!(parent.path().join("cluster.yaml").exists());
    }
}
