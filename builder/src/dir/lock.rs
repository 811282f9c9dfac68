//! Files that keep other builders out while they are locked.

use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::{Dir, PRIVATE_FILE};

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
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    if let Some(waiting) = waiting.take() {
                        waiting();
                    }
                    file.lock()?;
                }
                Err(TryLockError::Error(error)) if is_without_locks(&error) => {}
                Err(TryLockError::Error(error)) => return Err(error),
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
