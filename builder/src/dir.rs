//! Folders in which builder keeps files.
//!
//! Other users may be able to write to a folder of ours, or to the one above it, and a repository may contain folders with our
//! names. So a folder is opened once and everything in it is reached relative to its descriptor; links in it are never followed;
//! and kind and owner are checked by `fstat` on what was opened. [`crate::marker`] tells our folders from others of the same name.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::unistd::{Uid, User};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use thiserror::Error;

mod lock;

pub(crate) use lock::{Locked, lock, try_lock};

/// Mode of a folder or file for its owner alone.
pub(crate) const PRIVATE_FOLDER: Mode = Mode::RWXU;
/// As above, of a file.
pub(crate) const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);
/// Mode of a folder without secrets; the umask takes the rest away.
pub(crate) const FOLDER: Mode = Mode::RWXU.union(Mode::RWXG).union(Mode::RWXO);

/// A folder that is open. Clones share the descriptor.
#[derive(Debug, Clone)]
pub struct Dir {
    fd: Arc<OwnedFd>,
    path: PathBuf,
}

/// Why something in a folder is not used, although it exists. Inside an [`io::Error`]; see [`Refusal::of`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum Refusal {
    #[error("it is a symbolic link")]
    Link,
    #[error("it is not a folder")]
    NotAFolder,
    #[error("it is not a regular file")]
    NotAFile,
    #[error("it belongs to {}, not to {}", name_of(*.found), name_of(*.wanted))]
    Owner { found: u32, wanted: u32 },
    #[error("it is the same file as another one (a hard link)")]
    HardLink,
    #[error("something else was put in its place at this moment")]
    Replaced,
    #[error("builder did not make this, and so leaves it alone")]
    NotOurs,
}

impl Refusal {
    /// The refusal in an error.
    pub(crate) fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl From<Refusal> for io::Error {
    fn from(refusal: Refusal) -> Self {
        Self::other(refusal)
    }
}

/// A user's name, or number.
pub(crate) fn name_of(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        _ => format!("user {uid}"),
    }
}

/// What identifies a file or folder, whatever its name.
pub(crate) type Id = (u64, u64);

impl Dir {
    /// Opens a folder that the user named, following links.
    ///
    /// # Errors
    /// When it cannot be opened, or is not a folder.
    pub fn open(path: &Path) -> io::Result<Self> {
        // An empty path is what `Path::parent` makes of a bare file name.
        let opened = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let fd = rustix::fs::open(opened, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { fd: Arc::new(fd), path: path.to_owned() })
    }

    /// Opens a folder that the user named, and makes it and those above it where they are missing.
    ///
    /// # Errors
    /// As [`Self::make_sub`].
    pub(crate) fn make(path: &Path, mode: Mode) -> io::Result<(Self, NewFolders)> {
        match Self::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return Ok((opened?, NewFolders::default())),
        }
        Self::make_own(path, mode)
    }

    /// As [`Self::make`], but the folder itself has to be ours, and no link.
    ///
    /// # Errors
    /// As [`Self::make_sub`].
    pub(crate) fn make_own(path: &Path, mode: Mode) -> io::Result<(Self, NewFolders)> {
        let (parent, mut made) = Self::make(path.parent().unwrap_or(Path::new("")), mode)?;
        let Some(name) = path.file_name() else { return Ok((Self::open(path)?, made)) };
        let (mut folder, is_new) = parent.make_sub(name, mode)?;
        folder.path = path.to_owned();
        if is_new {
            made.0.insert(0, (parent, name.to_owned()));
        }
        Ok((folder, made))
    }

    /// Opens a folder of ours; `None` if there is nothing of that name.
    ///
    /// # Errors
    /// [`Refusal`] of a link, of something else than a folder, of another user's.
    pub(crate) fn open_sub(&self, name: impl AsRef<OsStr>) -> io::Result<Option<Self>> {
        let name = name.as_ref();
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::NOTDIR | Errno::LOOP) => {
                return Err(self.refuse_kind(name, Refusal::NotAFolder).into());
            }
            Err(error) => return Err(error.into()),
        };
        let folder = Self { fd: Arc::new(fd), path: self.path.join(name) };
        folder.refuse_foreign()?;
        Ok(Some(folder))
    }

    /// As [`Self::open_sub`], and makes the folder if it is missing. Also says whether it did.
    ///
    /// # Errors
    /// As [`Self::open_sub`], and when the folder cannot be made or is replaced at that moment.
    pub(crate) fn make_sub(&self, name: impl AsRef<OsStr>, mode: Mode) -> io::Result<(Self, bool)> {
        let name = name.as_ref();
        let is_new = match rustix::fs::mkdirat(&self.fd, name, mode) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => return Err(error.into()),
        };
        #[cfg(test)]
        tests::between_make_and_open(&self.path.join(name));
        let folder = self.open_sub(name)?.ok_or(Refusal::Replaced)?;
        Ok((folder, is_new))
    }

    /// Opens a file of ours. `flags` is how; with `CREATE` it is made where it is missing, for its owner alone.
    ///
    /// # Errors
    /// [`Refusal`] of a link, of something else than a file, and of another user's.
    pub(crate) fn file(&self, name: impl AsRef<OsStr>, flags: OFlags) -> io::Result<File> {
        let name = name.as_ref();
        // NONBLOCK: opening a FIFO would wait (open(2)).
        let how = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&self.fd, name, how, PRIVATE_FILE) {
            Ok(fd) => File::from(fd),
            // A FIFO that nobody reads, a socket, a folder.
            Err(Errno::LOOP | Errno::NXIO | Errno::ISDIR) => {
                return Err(self.refuse_kind(name, Refusal::NotAFile).into());
            }
            Err(error) => return Err(error.into()),
        };
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(Refusal::NotAFile.into());
        }
        refuse_owner(found.uid())?;
        Ok(file)
    }

    /// Opens a file of ours to write to it; it is made where it is missing.
    ///
    /// # Errors
    /// As [`Self::file`], and [`Refusal::HardLink`]: it would be another file that is written.
    pub(crate) fn writable(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        let file = self.file(name, OFlags::RDWR | OFlags::CREATE)?;
        refuse_hard_link(&file)?;
        Ok(file)
    }

    /// As [`Self::writable`], and empties the file.
    ///
    /// # Errors
    /// As [`Self::writable`].
    pub(crate) fn create(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        let file = self.writable(name)?;
        file.set_len(0)?;
        Ok(file)
    }

    /// Reads a file of ours; `None` if there is nothing of that name.
    ///
    /// # Errors
    /// As [`Self::file`].
    pub(crate) fn read(&self, name: impl AsRef<OsStr>) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        match self.file(name, OFlags::RDONLY) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?.read_to_end(&mut bytes)?,
        };
        Ok(Some(bytes))
    }

    /// Removes a file. A link goes, and not what it leads to. Nothing of that name is no error.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn remove(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.fd, name.as_ref(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes an empty folder.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn remove_sub(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.fd, name.as_ref(), AtFlags::REMOVEDIR)?)
    }

    /// Moves a file or folder, over a file that is there.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn rename(
        &self,
        from: impl AsRef<OsStr>,
        to: &Self,
        name: impl AsRef<OsStr>,
    ) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.fd, from.as_ref(), &to.fd, name.as_ref())?)
    }

    /// What has that name, which may be a link; `None` if nothing has.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn look(&self, name: impl AsRef<OsStr>) -> io::Result<Option<Found>> {
        match rustix::fs::statat(&self.fd, name.as_ref(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(Found {
                kind: rustix::fs::FileType::from_raw_mode(stat.st_mode),
                mode: Mode::from_raw_mode(stat.st_mode),
                uid: stat.st_uid,
                size: number(stat.st_size),
                id: (number(stat.st_dev), number(stat.st_ino)),
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The names in it, sorted.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd)? {
            let name = OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Refuses it if it belongs to another user.
    ///
    /// # Errors
    /// [`Refusal::Owner`].
    pub(crate) fn refuse_foreign(&self) -> io::Result<()> {
        refuse_owner(self.metadata()?.uid())
    }

    /// Makes names in it durable.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.fd)?)
    }

    /// What `fstat` tells of it.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn metadata(&self) -> io::Result<Metadata> {
        File::from(self.fd.try_clone()?).metadata()
    }

    /// What identifies it.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn id(&self) -> io::Result<Id> {
        self.metadata().map(|metadata| (metadata.dev(), metadata.ino()))
    }

    /// Changes its mode. Only for folders of ours: see [`crate::marker`].
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn set_mode(&self, mode: Mode) -> io::Result<()> {
        Ok(rustix::fs::fchmod(&self.fd, mode)?)
    }

    /// Where it was when it was opened: for messages, and for programs that need a name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn refuse_kind(&self, name: &OsStr, otherwise: Refusal) -> Refusal {
        match self.look(name) {
            Ok(Some(found)) if found.kind.is_symlink() => Refusal::Link,
            _ => otherwise,
        }
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What has a name in a folder.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) kind: rustix::fs::FileType,
    pub(crate) mode: Mode,
    pub(crate) uid: u32,
    /// Bytes of a file.
    pub(crate) size: u64,
    pub(crate) id: Id,
}

/// Refuses what belongs to another user than the one that builder acts as.
fn refuse_owner(found: u32) -> io::Result<()> {
    let wanted = rustix::process::geteuid().as_raw();
    if found == wanted { Ok(()) } else { Err(Refusal::Owner { found, wanted }.into()) }
}

/// Refuses to write to a file that has another name somewhere.
///
/// # Errors
/// [`Refusal::HardLink`].
pub(crate) fn refuse_hard_link(file: &File) -> io::Result<()> {
    if file.metadata()?.nlink() > 1 { Err(Refusal::HardLink.into()) } else { Ok(()) }
}

/// A number of `stat`, whose type depends on the system.
fn number(number: impl TryInto<u64>) -> u64 {
    number.try_into().unwrap_or_default()
}

/// Folders that were made for something that may yet fail. Dropped, those that are still empty are removed.
#[derive(Debug, Default)]
pub(crate) struct NewFolders(Vec<(Dir, OsString)>);

impl NewFolders {
    /// Leaves the folders where they are.
    pub(crate) fn keep(mut self) {
        self.0.clear();
    }

    /// What removes them from another thread.
    pub(crate) fn remover(&self) -> impl FnOnce() + Send + 'static {
        let made = self.0.clone();
        move || remove_empty(&made)
    }
}

impl Drop for NewFolders {
    fn drop(&mut self) {
        remove_empty(&self.0);
    }
}

/// Removes folders, the innermost first, up to the first that is not empty.
fn remove_empty(made: &[(Dir, OsString)]) {
    // What cannot be removed is in use, and stays.
    let _left = made.iter().try_for_each(|(parent, name)| parent.remove_sub(name));
}

#[cfg(test)]
pub(crate) mod tests;
