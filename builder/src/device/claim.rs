//! Opens a disk for nobody else, and makes sure that it is the one that was looked at.
//!
//! `O_EXCL` on a block device is the kernel's own guard: it fails while the disk or a partition of it is mounted, swapped
//! to, or part of something, and as long as we hold it nobody can begin to. So what was looked at before cannot
//! become untrue afterwards. The card itself can be taken out all the same: that is looked at before every block.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use rustix::fs::{FallocateFlags, Mode, OFlags};

use super::guard::Demand;
use super::list::{Disk, Kernel, Number};
use super::medium::Medium;
use super::presence::Presence;
use super::refusal::Refusal;
use crate::regular;

/// A disk that may be erased, and that nobody else can begin to use.
#[derive(Debug)]
pub struct Claimed {
    file: File,
    disk: Disk,
    presence: Presence,
}

impl Claimed {
    /// The disk.
    pub const fn disk(&self) -> &Disk {
        &self.disk
    }
}

/// Claims the disk that `given` led to when it was looked at.
///
/// # Errors
/// When anything speaks against erasing it, now that nobody else can change it. Nothing was written.
pub fn claim(kernel: &Kernel, given: &Path, looked_at: &Disk, demand: &Demand) -> Result<Claimed, Refusal> {
    let flags = OFlags::RDWR | OFlags::EXCL | OFlags::DIRECT | OFlags::NOFOLLOW;
    let opened = regular::open_disk(&looked_at.path, flags);
    let mut file = match opened {
        Ok(file) => file,
        // The reason in words where there is one.
        Err(source) => {
            return Err(kernel
                .uses(looked_at)
                .into_iter()
                .next()
                .unwrap_or_else(|| Refusal::Open { path: looked_at.path.clone(), source: source.into() }));
        }
    };
    let changed = || Refusal::Changed(given.to_owned());
    let is_it = |number: Number| number == looked_at.number;
    let opened = file.metadata().map_err(|_| changed())?;
    let named = std::fs::metadata(given).map_err(|_| changed())?;
    let now = kernel.disk_at(&looked_at.path)?;
    let size = file.seek(SeekFrom::End(0)).map_err(|_| changed())?;
    // Partitions may have been found again when it was opened, so they are not compared.
    let same = (now.number, now.sequence, now.size, &now.serial)
        == (looked_at.number, looked_at.sequence, looked_at.size, &looked_at.serial);
    if !(is_it(Number::of(opened.rdev())) && is_it(Number::of(named.rdev())) && same && size == now.size) {
        return Err(changed());
    }
    let presence = Presence::of(kernel, &now).map_err(|_| changed())?;
    match kernel.refusals(&now, demand).into_iter().next() {
        Some(refusal) => Err(refusal),
        None => Ok(Claimed { file, disk: now, presence }),
    }
}

/// A disk, or the file of a card's image, that is only read.
#[derive(Debug)]
pub struct ReadOnly {
    file: File,
    size: u64,
    /// Of a whole disk.
    presence: Option<Presence>,
}

impl ReadOnly {
    /// Opens it.
    ///
    /// # Errors
    /// When it cannot be opened or has no size.
    pub fn open(path: &Path) -> io::Result<Self> {
        let kernel = Kernel::default();
        // The names under /dev/disk are links.
        let path = path.canonicalize()?;
        regular::check_file_or_disk(&path)?;
        // Past the cache, so that what is read is what the card has.
        let opened = match path.is_file() {
            true => open(&path),
            false => regular::open_disk(&path, OFlags::RDONLY | OFlags::DIRECT | OFlags::NOFOLLOW),
        };
        let file = match opened {
            // There are file systems that cannot do that: open(2), "O_DIRECT". Disks can.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput && path.is_file() => File::open(&path)?,
            opened => opened?,
        };
        let size = (&file).seek(SeekFrom::End(0))?;
        let disk = kernel.disk_at(&path).ok();
        let presence = disk.map(|disk| Presence::of(&kernel, &disk)).transpose()?;
        Ok(Self { file, size, presence })
    }
}

fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECT | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

impl Medium for Claimed {
    fn size(&self) -> u64 {
        self.disk.size
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.presence.check()?;
        self.file.write_at(bytes, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.presence.check()?;
        self.file.read_at(buffer, offset)
    }

    fn zero(&self, offset: u64, length: u64) -> io::Result<()> {
        self.presence.check()?;
        // On a block device this is a command to the drive; without such a command the kernel refuses (block/fops.c).
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&self.file, flags, offset, length).map_err(|error| match error {
            rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NODEV | rustix::io::Errno::INVAL => {
                io::ErrorKind::Unsupported.into()
            }
            error => error.into(),
        })
    }

    fn flush(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn is_there(&self) -> bool {
        self.presence.is_there()
    }
}

impl Medium for ReadOnly {
    fn size(&self) -> u64 {
        self.size
    }

    fn write_at(&self, _bytes: &[u8], _offset: u64) -> io::Result<usize> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.presence.as_ref().map_or(Ok(()), Presence::check)?;
        self.file.read_at(buffer, offset)
    }

    fn zero(&self, _offset: u64, _length: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn is_there(&self) -> bool {
        self.presence.as_ref().is_none_or(Presence::is_there)
    }
}
