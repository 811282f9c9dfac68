//! Files that get their name only when they are whole.
//!
//! Where the file system can (ext4, XFS, btrfs, tmpfs), a scratch file has no name at all until
//! [`Scratch::publish`], so that even a killed run leaves nothing. Elsewhere it is called `.partial-…` and is locked
//! by its maker; [`sweep`] removes those whose maker is gone.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;
use thiserror::Error;

use crate::dir::{self, Dir, Locked, PRIVATE_FILE};

const PREFIX: &str = ".partial-";

/// A file in the making.
#[derive(Debug)]
pub struct Scratch {
    file: File,
    folder: Dir,
    /// Its name where it has to have one.
    name: Option<TemporaryName>,
}

/// A name that is removed when it is dropped, unless the file was renamed.
#[derive(Debug)]
struct TemporaryName {
    folder: Dir,
    name: OsString,
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

impl ScratchError {
    /// What the system says.
    pub(crate) fn into_source(self) -> io::Error {
        match self {
            Self::Create { source, .. } | Self::Sync { source, .. } | Self::Name { source, .. } => source,
        }
    }
}

impl Scratch {
    /// A new, empty file that will get a name in `folder`. Only its owner may read it: cards carry keys.
    pub fn new_in(folder: &Dir) -> Result<Self, ScratchError> {
        match open_nameless(folder) {
            Some(file) => Ok(Self { file, folder: folder.clone(), name: None }),
            None => Self::named_in(folder),
        }
    }

    fn named_in(folder: &Dir) -> Result<Self, ScratchError> {
        let error = |source| ScratchError::Create { folder: folder.path().to_owned(), source };
        loop {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let make = |name: &OsStr| -> io::Result<File> {
                Ok(rustix::fs::openat(folder, name, flags, PRIVATE_FILE)?.into())
            };
            let (name, file) = TemporaryName::find(folder, make).map_err(error)?;
            dir::lock(&file).map_err(error)?;
            // A sweeping run may have taken the file for a dead one's before it was locked.
            if folder.look(&name.name).map_err(error)?.is_some() {
                return Ok(Self { file, folder: folder.clone(), name: Some(name) });
            }
        }
    }

    /// The open file.
    pub const fn file(&self) -> &File {
        &self.file
    }

    /// Adds bytes to it.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<(), ScratchError> {
        let error = |source| ScratchError::Create { folder: self.folder.path().to_owned(), source };
        (&self.file).write_all(bytes).map_err(error)
    }

    /// Makes the content durable.
    pub fn sync(&self, meant_for: &Path) -> Result<(), ScratchError> {
        self.file.sync_all().map_err(|source| ScratchError::Sync { path: meant_for.to_owned(), source })
    }

    /// Makes the content durable and gives it its name, in one step that another process sees whole or not at all.
    pub fn publish(self, name: impl AsRef<OsStr>, existing: Existing) -> Result<(), ScratchError> {
        let name = name.as_ref();
        let path = self.folder.path().join(name);
        self.sync(&path)?;
        let error = |source| ScratchError::Name { path: path.clone(), source };
        let folder = &self.folder;
        match (&self.name, existing) {
            (None, Existing::Keep) => link(&self.file, folder, name).map_err(error)?,
            (None, Existing::Replace) => {
                // A link cannot replace, a rename can. The lock keeps a sweeping run off in between.
                dir::lock(&self.file).map_err(error)?;
                let linked = TemporaryName::find(folder, |temporary| link(&self.file, folder, temporary));
                linked.and_then(|(temporary, ())| temporary.rename(name)).map_err(error)?;
            }
            (Some(temporary), Existing::Keep) => temporary.rename_without_replacing(name).map_err(error)?,
            (Some(temporary), Existing::Replace) => temporary.rename(name).map_err(error)?,
        }
        folder.sync().map_err(|source| ScratchError::Sync { path: folder.path().to_owned(), source })
    }
}

impl TemporaryName {
    /// Tries names until `make` does not find one taken.
    fn find<T>(folder: &Dir, make: impl Fn(&OsStr) -> io::Result<T>) -> io::Result<(Self, T)> {
        loop {
            // Each of these hashers has keys of its own.
            let name = OsString::from(format!("{PREFIX}{:016x}", RandomState::new().hash_one(())));
            match make(&name) {
                Ok(made) => return Ok((Self { folder: folder.clone(), name }, made)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn rename(&self, to: &OsStr) -> io::Result<()> {
        self.folder.rename(&self.name, &self.folder, to)
    }

    fn rename_without_replacing(&self, to: &OsStr) -> io::Result<()> {
        use rustix::fs::RenameFlags;
        let (folder, name) = (&self.folder, &self.name);
        match rustix::fs::renameat_with(folder, name, folder, to, RenameFlags::NOREPLACE) {
            // Not every file system can do that (renameat2(2)): there the name is looked for first.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => match folder.look(to)? {
                Some(_) => Err(io::ErrorKind::AlreadyExists.into()),
                None => self.rename(to),
            },
            renamed => Ok(renamed?),
        }
    }
}

impl Drop for TemporaryName {
    fn drop(&mut self) {
        // Gone already if it was renamed. What cannot be removed does no harm: it never gets taken for whole.
        let _left = self.folder.remove(&self.name);
    }
}

/// Whether it is a name that files in the making have where they need one.
pub(crate) fn is_temporary(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(PREFIX.as_bytes())
}

/// Removes files of runs that died, in a file system where scratch files have names. Only for folders that are known to be ours.
/// Without locks nobody can tell which runs died, and nothing is removed.
pub(crate) fn sweep(folder: &Dir) {
    for name in folder.names().unwrap_or_default().iter().filter(|name| is_temporary(name)) {
        let Ok(file) = folder.file(name, OFlags::WRONLY) else { continue };
        // Locked means its maker lives. Our lock lasts until the file is gone: a maker that has only just made it waits for that.
        if dir::try_lock(&file).is_ok_and(|locked| locked == Locked::Yes) {
            #[cfg(test)]
            dir::tests::between_make_and_open(&folder.path().join(name));
            let _left = folder.remove(name);
        }
    }
}

#[cfg(target_os = "linux")]
fn open_nameless(folder: &Dir) -> Option<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    rustix::fs::openat(folder, ".", flags, PRIVATE_FILE).ok().map(File::from)
}

#[cfg(not(target_os = "linux"))]
fn open_nameless(_folder: &Dir) -> Option<File> {
    None
}

#[cfg(target_os = "linux")]
fn link(file: &File, folder: &Dir, name: &OsStr) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD};
    // open(2), O_TMPFILE: linking through /proc needs no privilege, AT_EMPTY_PATH does.
    Ok(rustix::fs::linkat(CWD, fd_path(file), folder, name, AtFlags::SYMLINK_FOLLOW)?)
}

#[cfg(not(target_os = "linux"))]
fn link(_file: &File, _folder: &Dir, _name: &OsStr) -> io::Result<()> {
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
        let folder = Dir::open(folder).unwrap();
        [Scratch::new_in(&folder).unwrap(), Scratch::named_in(&folder).unwrap()]
    }

    #[test]
    fn appears_whole_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        for (index, scratch) in both_kinds(folder.path()).into_iter().enumerate() {
            let path = folder.path().join(index.to_string());
            scratch.file().write_all(b"whole").unwrap();
            assert!(!path.exists());
            scratch.publish(path.file_name().unwrap(), Existing::Keep).unwrap();
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
            scratch.publish(path.file_name().unwrap(), Existing::Keep).unwrap_err();
            assert_eq!(std::fs::read(&path).unwrap(), b"old");
        }
        for scratch in both_kinds(folder.path()) {
            std::fs::write(&path, "old").unwrap();
            scratch.file().write_all(b"new").unwrap();
            scratch.publish(path.file_name().unwrap(), Existing::Replace).unwrap();
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
        let dir = Dir::open(folder.path()).unwrap();
        let alive = Scratch::named_in(&dir).unwrap();
        std::fs::write(folder.path().join(".partial-dead"), "half").unwrap();
        std::fs::write(folder.path().join("red00.img"), "whole").unwrap();
        sweep(&dir);
        let alive = alive.name.as_ref().unwrap().name.to_str().unwrap().to_owned();
        assert_eq!(names(folder.path()), [alive.as_str(), "red00.img"]);
    }

    #[test]
    fn a_swept_file_is_locked_until_it_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".partial-new");
        std::fs::write(&path, "").unwrap();
        let maker = File::open(&path).unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        dir::tests::meanwhile(move |_| tell.send(dir::try_lock(&maker).unwrap()).unwrap());
        sweep(&Dir::open(folder.path()).unwrap());
        assert_eq!(told.try_recv(), Ok(Locked::Busy), "its maker would have taken it for its own");
        assert!(!path.exists());
    }

    #[test]
    fn works_on_file_systems_without_locks() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(".partial-other"), "").unwrap();
        dir::tests::without_locks(|| {
            for (index, scratch) in both_kinds(folder.path()).into_iter().enumerate() {
                scratch.publish(index.to_string(), Existing::Replace).unwrap();
            }
            sweep(&Dir::open(folder.path()).unwrap());
        });
        assert_eq!(names(folder.path()), [".partial-other", "0", "1"], "its maker may live");
    }

    #[test]
    fn a_link_with_the_files_name_is_replaced_and_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, outside) = (folder.path().join("red00.img"), folder.path().join("outside"));
        std::fs::write(&outside, "outside").unwrap();
        for scratch in both_kinds(folder.path()) {
            let _absent = std::fs::remove_file(&path);
            std::os::unix::fs::symlink(&outside, &path).unwrap();
            scratch.file().write_all(b"card").unwrap();
            scratch.publish("red00.img", Existing::Replace).unwrap();
            assert!(!path.is_symlink() && std::fs::read(&path).unwrap() == b"card");
        }
        assert_eq!(std::fs::read(outside).unwrap(), b"outside");
    }

    #[test]
    fn a_folder_replaced_by_a_link_gets_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cards");
        std::fs::create_dir(&path).unwrap();
        for (index, scratch) in both_kinds(&path).into_iter().enumerate() {
            std::fs::rename(&path, folder.path().join("moved")).unwrap();
            std::os::unix::fs::symlink("/nowhere", &path).unwrap();
            scratch.publish(index.to_string(), Existing::Replace).unwrap();
            std::fs::remove_file(&path).unwrap();
            std::fs::rename(folder.path().join("moved"), &path).unwrap();
        }
        assert_eq!(names(&path), ["0", "1"]);
    }

    #[test]
    fn only_the_owner_may_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        for scratch in both_kinds(folder.path()) {
            assert_eq!(scratch.file().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }
}
