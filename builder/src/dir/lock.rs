//! Files that keep other builders out while they are locked.

use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::{Dir, PRIVATE_FILE};

/// How a try to lock a file ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Locked {
    /// It is locked until it is closed.
    Yes,
    /// Another process has locked it.
    Busy,
    /// The file system has no locks.
    Never,
}

/// Locks a file, unless another process has locked it.
///
/// # Errors
/// What the system says.
pub(crate) fn try_lock(file: &File) -> io::Result<Locked> {
    #[cfg(test)]
    if super::tests::is_without_locks() {
        return Ok(Locked::Never);
    }
    match file.try_lock() {
        Ok(()) => Ok(Locked::Yes),
        Err(TryLockError::WouldBlock) => Ok(Locked::Busy),
        Err(TryLockError::Error(error)) if is_without_locks(&error) => Ok(Locked::Never),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// As [`try_lock`], and waits until no other process has locked it.
///
/// # Errors
/// What the system says.
pub(crate) fn lock(file: &File) -> io::Result<Locked> {
    match try_lock(file)? {
        Locked::Busy => file.lock().map(|()| Locked::Yes),
        locked => Ok(locked),
    }
}

impl Dir {
    /// Locks a file, which is made where it is missing, until it is closed. Calls `waiting` before it waits for another process.
    ///
    /// Only the owner can open the file: whoever can open it could hold the lock for ever. File systems without locks go without.
    ///
    /// # Errors
    /// As [`Dir::file`].
    pub(crate) fn lock(&self, name: impl AsRef<OsStr>, waiting: impl FnOnce()) -> io::Result<File> {
        let name = name.as_ref();
        let mut waiting = Some(waiting);
        loop {
            let file = self.file(name, OFlags::RDWR | OFlags::CREATE)?;
            if file.metadata()?.mode() & 0o077 != 0 {
                // Builders before 0.2 made it for everybody to open.
                rustix::fs::fchmod(&file, PRIVATE_FILE)?;
            }
            if try_lock(&file)? == Locked::Busy {
                if let Some(waiting) = waiting.take() {
                    waiting();
                }
                file.lock()?;
            }
            // Whoever had it may have removed it at the end.
            let found = file.metadata()?;
            if self.look(name)?.is_some_and(|now| now.id == (found.dev(), found.ino())) {
                return Ok(file);
            }
        }
    }
}

fn is_without_locks(error: &io::Error) -> bool {
    let without = [Errno::NOLCK, Errno::OPNOTSUPP, Errno::NOSYS];
    error.raw_os_error().is_some_and(|code| without.iter().any(|errno| errno.raw_os_error() == code))
}
