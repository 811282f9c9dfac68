//! Opens files whose names a person gave, on the command line or in the cluster file.
//!
//! Opening a FIFO waits for somebody who writes into it, and opening a device may make it do something. Both are refused by
//! what their name stands for, before they are opened. Disks are the only thing that is opened with root's rights.

use std::fs::{self, File, FileType};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::privilege;

/// Opens a regular file for reading. Never waits.
///
/// # Errors
/// When it cannot be opened, or is something else than a regular file; the error says what.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    open_if(path, FileType::is_file)
}

/// The same for a card: a regular file or a block device.
///
/// # Errors
/// As [`open`].
pub(crate) fn open_or_disk(path: &Path) -> io::Result<File> {
    let kind = fs::metadata(path)?.file_type();
    check(kind, is_file_or_disk)?;
    if kind.is_block_device() { open_disk(path, OFlags::RDONLY) } else { open(path) }
}

/// Opens a block device, with root's rights where `sudo` gave them. They never open anything else: the device is found with
/// the user's rights, and what was found is opened.
///
/// # Errors
/// When it cannot be opened, or is something else than a block device.
#[cfg(target_os = "linux")]
pub(crate) fn open_disk(path: &Path, flags: OFlags) -> io::Result<File> {
    use std::os::fd::AsRawFd;
    let found = OFlags::PATH | OFlags::CLOEXEC | (flags & OFlags::NOFOLLOW);
    let found = File::from(rustix::fs::open(path, found, Mode::empty())?);
    check(found.metadata()?.file_type(), FileType::is_block_device)?;
    let name = format!("/proc/self/fd/{}", found.as_raw_fd());
    let flags = (flags - OFlags::NOFOLLOW) | OFlags::CLOEXEC;
    Ok(privilege::as_root(|| rustix::fs::open(name, flags, Mode::empty()))?.into())
}

/// Opens a block device.
///
/// # Errors
/// When it cannot be opened, or is something else than a block device.
#[cfg(not(target_os = "linux"))]
pub(crate) fn open_disk(path: &Path, flags: OFlags) -> io::Result<File> {
    let file = File::from(rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty())?);
    check(file.metadata()?.file_type(), FileType::is_block_device)?;
    Ok(file)
}

/// Refuses a name that stands for something else than a regular file.
///
/// # Errors
/// When it stands for something else, or for nothing.
pub(crate) fn check_file(path: &Path) -> io::Result<()> {
    check(fs::metadata(path)?.file_type(), FileType::is_file)
}

/// Refuses a name that stands for neither a regular file nor a block device.
///
/// # Errors
/// When it stands for something else, or for nothing.
pub(crate) fn check_file_or_disk(path: &Path) -> io::Result<()> {
    check(fs::metadata(path)?.file_type(), is_file_or_disk)
}

fn is_file_or_disk(kind: &FileType) -> bool {
    kind.is_file() || kind.is_block_device()
}

fn open_if(path: &Path, accepts: fn(&FileType) -> bool) -> io::Result<File> {
    check(fs::metadata(path)?.file_type(), accepts)?;
    // Somebody may put something else there between the two. No effect on reading a regular file: open(2), "O_NONBLOCK".
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    check(file.metadata()?.file_type(), accepts)?;
    Ok(file)
}

fn check(kind: FileType, accepts: fn(&FileType) -> bool) -> io::Result<()> {
    if accepts(&kind) {
        return Ok(());
    }
    let name = match () {
        () if kind.is_dir() => "it is a folder, not a file",
        () if kind.is_fifo() => "it is a named pipe, not a file",
        () if kind.is_socket() => "it is a socket, not a file",
        () if kind.is_file() => "it is a file, not a disk",
        () if kind.is_char_device() || kind.is_block_device() => "it is a device, not a file",
        () => "it is not a file",
    };
    Err(io::Error::other(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_everything_but_files_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        fs::write(at("file"), "text").unwrap();
        std::os::unix::fs::symlink(at("pipe"), at("link")).unwrap();
        assert!(open(&at("file")).is_ok() && open_or_disk(&at("file")).is_ok());
        for (path, kind) in [
            (at("pipe"), "a named pipe"),
            (at("link"), "a named pipe"),
            (at("socket"), "a socket"),
            (folder.path().to_owned(), "a folder"),
            ("/dev/zero".into(), "a device"),
        ] {
            for opened in [open(&path), open_or_disk(&path)] {
                assert_eq!(opened.unwrap_err().to_string(), format!("it is {kind}, not a file"));
            }
            assert!(check_file_or_disk(&path).is_err());
        }
        assert_eq!(open(&at("absent")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn root_opens_disks_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "text").unwrap();
        std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
        for (path, kind) in [
            (at("file"), "it is a file, not a disk"),
            (at("link"), "it is a file, not a disk"),
            (folder.path().to_owned(), "it is a folder, not a file"),
            ("/dev/zero".into(), "it is a device, not a file"),
        ] {
            assert_eq!(open_disk(&path, OFlags::RDWR).unwrap_err().to_string(), kind);
        }
        let refused = open_disk(&at("link"), OFlags::RDONLY | OFlags::NOFOLLOW).unwrap_err();
        assert_eq!(refused.to_string(), "it is not a file");
    }
}
