//! The folder of a rehearsal: logs, which stay, and what machines run from, which does not.
//!
//! It is the user's alone, for cards carry keys, and one rehearsal's alone, by a lock. What a killed run left is
//! removed by the next one.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::error::RehearseError;
use crate::dir::{self, Dir, Locked};
use crate::marker::{REHEARSAL, Standing};

const LOCK: &str = ".lock";
/// What a machine needs while it runs.
const LOGS: [&str; 2] = ["log", "qemu.log"];
const SPENT: [&str; 3] = ["kernel", "initramfs", "dtb"];
const DISK: &str = "img";

/// A rehearsal's folder. Dropping it removes everything but the logs.
#[derive(Debug)]
pub struct Folder {
    dir: Dir,
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
    /// When it cannot be used, another rehearsal uses it, or no rehearsal made it. Then nothing in it was changed.
    pub fn open(path: &Path, names: Vec<String>, keep: bool) -> Result<Self, RehearseError> {
        let failed = |what, path: &Path| {
            let path = path.to_owned();
            move |source| RehearseError::File { what, path, source }
        };
        let made = Dir::make_own(path, dir::PRIVATE_FOLDER).and_then(|(folder, made)| {
            let standing = REHEARSAL.check(&folder)?;
            made.keep();
            Ok((folder, standing))
        });
        let (folder, standing) = made.map_err(failed("use", path))?;
        folder.set_mode(dir::PRIVATE_FOLDER).map_err(failed("make private the folder", path))?;
        // Before anything else is in it: a run that is killed leaves a folder that the next one knows.
        if standing != Standing::Marked {
            REHEARSAL.put(&folder).map_err(failed("mark the folder", path))?;
        }
        let lock = path.join(LOCK);
        let file = folder.file(LOCK, OFlags::RDWR | OFlags::CREATE).map_err(failed("write", &lock))?;
        if dir::try_lock(&file).map_err(failed("lock", &lock))? == Locked::Busy {
            return Err(RehearseError::Busy(path.to_owned()));
        }
        let path = path.canonicalize().map_err(failed("use", path))?;
        let folder = Self { dir: folder, path, names, keep, _lock: file };
        folder.remove(&[&LOGS[..], &SPENT, &[DISK]].concat());
        let _left = folder.dir.remove(super::lan::LOG);
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
                let _left = self.dir.remove(format!("{name}.{kind}"));
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

/// A new file for its owner alone, in the place of what has its name: a link goes, and not what it leads to.
///
/// # Errors
/// What the system says.
pub(super) fn new_file(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    File::options().read(true).write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::error::Failure;

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

    /// The refusal of a folder, in which nothing may have changed.
    fn refused(path: &Path) -> String {
        let before = (names(path), path.metadata().unwrap().permissions().mode());
        let text = Failure::from(open(path, false).unwrap_err()).render();
        assert_eq!((names(path), path.metadata().unwrap().permissions().mode()), before);
        text
    }

    #[test]
    fn two_rehearsals_do_not_share_a_folder() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("red.rehearsal");
        let first = open(&path, false).unwrap();
        assert!(matches!(open(&path, false), Err(RehearseError::Busy(_))));
        fs::write(path.join("notes.txt"), "").unwrap();
        drop(first);
        open(&path, false).unwrap();
        assert!(path.join("notes.txt").exists(), "only files of machines are removed");
    }

    #[test]
    fn a_folder_without_locks_is_used() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("red.rehearsal");
        dir::tests::without_locks(|| drop(open(&path, false).unwrap()));
        assert_eq!(names(&path), [".gitignore", ".lock"]);
    }

    #[test]
    fn a_folder_that_no_rehearsal_made_is_left_alone() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("red.rehearsal");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("red00.img"), "precious").unwrap();
        let text = refused(&path);
        assert!(text.contains("cannot use") && text.contains("hint: move it away: mv "), "{text}");
        assert_eq!(fs::read(path.join("red00.img")).unwrap(), b"precious");
    }

    #[test]
    fn a_link_to_a_folder_is_refused_and_links_in_it_are_not_followed() {
        let parent = tempfile::tempdir().unwrap();
        let (path, real) = (parent.path().join("red.rehearsal"), parent.path().join("real"));
        drop(open(&real, false).unwrap());
        symlink(&real, &path).unwrap();
        let text = refused(&path);
        assert!(text.contains("it is a symbolic link"), "{text}");

        let outside = parent.path().join("outside");
        fs::write(&outside, "precious").unwrap();
        for name in ["red00.img", "red00.log", "red00.kernel", "network.log"] {
            symlink(&outside, real.join(name)).unwrap();
        }
        let folder = open(&real, false).unwrap();
        assert_eq!(names(&real), [".gitignore", ".lock"]);
        symlink(&outside, folder.disk("red00")).unwrap();
        new_file(&folder.disk("red00")).unwrap();
        drop(folder);
        fs::remove_file(real.join(".lock")).unwrap();
        symlink(&outside, real.join(".lock")).unwrap();
        assert!(open(&real, false).is_err());
        assert_eq!(fs::read(outside).unwrap(), b"precious");
    }

    #[test]
    fn a_folder_of_an_older_builder_is_used() {
        let parent = tempfile::tempdir().unwrap();
        fs::write(parent.path().join(".lock"), "").unwrap();
        fs::write(parent.path().join(".gitignore"), "*\n").unwrap();
        fs::write(parent.path().join("red00.log"), "").unwrap();
        drop(open(parent.path(), false).unwrap());
        assert_eq!(names(parent.path()), [".gitignore", ".lock"]);
        assert_eq!(REHEARSAL.check(&Dir::open(parent.path()).unwrap()).unwrap(), Standing::Marked);
    }
}
