//! Whether the card that was opened is still the one in the reader.
//!
//! An open device holds the reader, not the card: once another program has opened the device after a change, what is written
//! to the old descriptor goes to the new card (drivers/scsi/sd.c, `sd_open`; udev opens it at once).

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::list::{Bus, Disk, Kernel, Number};
use crate::regular;

/// A slot's driver answers with errors for a moment before it takes a card away that was pulled: it lets the contacts
/// settle for 200 ms (drivers/mmc/host/sdhci.c, drivers/mmc/core/slot-gpio.c).
const SETTLE: Duration = Duration::from_millis(500);

/// What tells a card that is in a reader from the next one.
#[derive(Debug)]
pub(super) struct Presence {
    path: PathBuf,
    number: Number,
    size: u64,
    bus: Bus,
    /// Where the kernel tells the disk's sequence number, and what it was; nothing before Linux 5.15.
    sequence: Option<(File, u64)>,
}

impl Presence {
    /// Of a disk as it was when it was listed.
    ///
    /// # Errors
    /// When the kernel does not tell of it any more.
    pub(super) fn of(kernel: &Kernel, disk: &Disk) -> io::Result<Self> {
        let sequence = match disk.sequence {
            Some(sequence) => {
                let folder = kernel.folder(disk.number).ok_or(io::ErrorKind::NotFound)?;
                Some((File::open(folder.join("diskseq"))?, sequence))
            }
            None => None,
        };
        let Disk { path, number, size, bus, .. } = disk.clone();
        let presence = Self { path, number, size, bus, sequence };
        presence.check()?;
        Ok(presence)
    }

    /// Fails if another card has come. One read of sysfs: cheap enough to be asked before every block.
    ///
    /// # Errors
    /// Then nothing may be written any more.
    pub(super) fn check(&self) -> io::Result<()> {
        let Some((file, sequence)) = &self.sequence else { return Ok(()) };
        let mut text = [0; 32];
        let count = file.read_at(&mut text, 0)?;
        let now = std::str::from_utf8(text.get(..count).unwrap_or_default()).unwrap_or_default();
        match now.trim().parse() == Ok(*sequence) {
            true => Ok(()),
            false => Err(io::Error::other("it is not the card any more that was in the reader")),
        }
    }

    /// Whether it is still there, asked after an error: of a card that was pulled the drivers say no more than EIO, and of
    /// a reader that was pulled that it is full, or ends (block/fops.c).
    pub(super) fn is_there(&self) -> bool {
        if self.bus == Bus::Mmc && self.looks_there() {
            std::thread::sleep(SETTLE);
        }
        self.looks_there()
    }

    /// Opening it has the kernel look for the card, which changes the sequence number if it finds another.
    fn looks_there(&self) -> bool {
        let is_it = match regular::open_disk(&self.path, OFlags::RDONLY) {
            Ok(mut file) => {
                file.metadata().is_ok_and(|file| Number::of(file.rdev()) == self.number)
                    && file.seek(SeekFrom::End(0)).is_ok_and(|size| size == self.size)
            }
            Err(error) => !is_absent(&error),
        };
        is_it && self.check().is_ok()
    }
}

/// Whether an error says that a device, or what was in it, is gone.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    let absent = [Errno::NODEV, Errno::NXIO, Errno::NOMEDIUM, Errno::NOENT];
    error.raw_os_error().is_some_and(|code| absent.iter().any(|errno| errno.raw_os_error() == code))
}
