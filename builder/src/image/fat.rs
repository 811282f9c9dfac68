//! Reads and edits the boot partition, a FAT32, through an [`Overlay`]. The edit is computed, not applied.
//!
//! Times on new files come from the caller, never from the clock, so that the same input gives the same bytes.

use std::collections::BTreeSet;
use std::io::{self, Read, Seek, SeekFrom, Write as _};

use fatfs::{FileSystem, FsOptions, TimeProvider};
use thiserror::Error;
use time::OffsetDateTime;

use super::overlay::{Overlay, ReadAt, SECTOR, Sectors, Window, Write};

use boot_sector::BootSector;

mod boot_sector;
mod check;
mod folder;
mod repair;

pub use repair::Repair;

/// Room left for what the Pi itself writes at its first boot: status and log, a few kilobytes.
const RESERVE: u64 = 64 * 1024;
/// Bytes of a directory slot, and UTF-16 units of a name that one long-name slot holds.
const SLOT: u64 = 32;
const NAME_PART: usize = 13;

/// Why the boot partition cannot be used.
#[derive(Debug, Error)]
pub enum FatError {
    /// The boot sector is not that of a FAT32.
    #[error("its boot partition is no FAT32: {0}")]
    NotFat32(&'static str),
    /// The FAT does not hold together.
    #[error("cannot read its boot partition")]
    Read(#[source] io::Error),
    /// Its allocation table or a folder names clusters that do not exist, or runs in a circle.
    #[error("its boot partition is damaged: {0}")]
    Damaged(&'static str),
    /// There is no room.
    #[error("its boot partition is too full: {missing} more bytes are needed")]
    Full {
        /// How many bytes too few are free.
        missing: u64,
    },
    /// A file could not be put there.
    #[error("cannot put {path} on its boot partition")]
    Edit {
        /// Which one.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// A FAT32 that was looked at: where everything lies in it.
#[derive(Debug, Clone)]
pub struct Fat {
    window: Window,
    cluster_bytes: u64,
    free_clusters: u32,
    free_count_at: u64,
    sector: BootSector,
    /// Whether every cluster belongs to one file or folder at most, and the files' chains come to their ends.
    is_sound: bool,
    /// What was repaired, and the sectors that are otherwise now.
    repairs: Vec<Repair>,
    repaired: Sectors,
}

/// What an edit comes to.
#[derive(Debug)]
pub struct Edited {
    /// What changes in the image.
    pub writes: Vec<Write>,
    /// Bytes left free on the FAT afterwards.
    pub free_bytes: u64,
}

/// The time on every file of a card.
#[derive(Debug, Clone, Copy)]
pub struct Stamp(fatfs::DateTime);

impl Stamp {
    /// From seconds since 1970, in UTC; FAT knows 1980 to 2107 only.
    ///
    /// It lives for the whole run, because fatfs takes its clock as a static reference: make one per run.
    pub fn from_unix(seconds: u64) -> &'static Self {
        let utc = i64::try_from(seconds).ok().and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok());
        let utc = utc.unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let date = match u16::try_from(utc.year()) {
            Ok(year @ 1980..=2107) => {
                fatfs::Date { year, month: u8::from(utc.month()).into(), day: utc.day().into() }
            }
            _ => fatfs::Date { year: 1980, month: 1, day: 1 },
        };
        let (hour, min, sec) = (utc.hour().into(), utc.minute().into(), utc.second().into());
        Box::leak(Box::new(Self(fatfs::DateTime { date, time: fatfs::Time { hour, min, sec, millis: 0 } })))
    }
}

impl TimeProvider for Stamp {
    fn get_current_date(&self) -> fatfs::Date {
        self.0.date
    }

    fn get_current_date_time(&self) -> fatfs::DateTime {
        self.0
    }
}

impl Fat {
    /// Looks at the boot sector, the allocation tables and the folders, repairs what can be repaired, and counts the free clusters (the count in the
    /// FSInfo sector is only a hint). What could lead fatfs astray is refused.
    pub fn open(base: &impl ReadAt, window: Window) -> Result<Self, FatError> {
        let mut boot = [0; 512];
        base.read_exact_at(&mut boot, window.start).map_err(FatError::Read)?;
        let sector = BootSector::parse(&boot, window)?;
        let mut overlay = Overlay::new(base, window);
        let (check::Found { free_clusters, is_sound, .. }, repairs) = repair::repair(&mut overlay, &sector)?;
        let repaired = overlay.into_sectors();
        Ok(Self {
            window,
            cluster_bytes: sector.cluster_bytes(),
            free_clusters,
            free_count_at: u64::from(sector.info_sector) * SECTOR + 488,
            sector,
            is_sound,
            repairs,
            repaired,
        })
    }

    /// What is wrong with it in the image, and right on every card.
    pub fn repairs(&self) -> &[Repair] {
        &self.repairs
    }

    /// The label, as the root folder has it.
    pub fn label(&self, base: &impl ReadAt) -> Result<Option<String>, FatError> {
        self.mount(base)?.read_volume_label_from_root_dir().map_err(FatError::Read)
    }

    /// Names in the root folder.
    pub fn names(&self, base: &impl ReadAt) -> Result<Vec<String>, FatError> {
        let fs = self.mount(base)?;
        let names: io::Result<Vec<_>> = fs.root_dir().iter().map(|entry| Ok(entry?.file_name())).collect();
        names.map_err(FatError::Read)
    }

    /// A file's content, up to `limit` bytes; `None` when there is no such file.
    pub fn read(&self, base: &impl ReadAt, path: &str, limit: u64) -> Result<Option<Vec<u8>>, FatError> {
        let fs = self.mount(base)?;
        let file = match fs.root_dir().open_file(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(FatError::Read(error)),
        };
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes).map_err(FatError::Read)?;
        Ok(Some(bytes))
    }

    /// Computes what changes when `files` (path with `/`, content) are put there, over what may be there already.
    /// Folders are made as needed, in the root only.
    pub fn edit(
        &self,
        base: &impl ReadAt,
        files: &[(&str, &[u8])],
        stamp: &'static Stamp,
    ) -> Result<Edited, FatError> {
        if !self.is_sound {
            return Err(FatError::Damaged("some of its files are cut off or share their clusters"));
        }
        self.check_room(files)?;
        let mut overlay = self.overlay(base);
        self.set_free_count(&mut overlay, self.free_clusters).map_err(FatError::Read)?;
        let folders: BTreeSet<&str> =
            files.iter().filter_map(|(path, _)| Some(path.split_once('/')?.0)).collect();
        for path in folders {
            folder::create(&mut overlay, path, stamp).map_err(edit_error(path))?;
        }
        let fs = FileSystem::new(&mut overlay, options(stamp)).map_err(FatError::Read)?;
        for (path, bytes) in files {
            write_file(&fs.root_dir(), path, bytes).map_err(edit_error(path))?;
        }
        fs.unmount().map_err(FatError::Read)?;
        // Counted again: fatfs knows no number for a partition that was not unmounted.
        let whole = Window { start: 0, length: self.window.length };
        let check::Found { free_clusters, is_sound, .. } = check::check(&overlay, whole, &self.sector)?;
        if !is_sound {
            return Err(FatError::Damaged("what was put there does not hold together"));
        }
        self.set_free_count(&mut overlay, free_clusters).map_err(FatError::Read)?;
        let writes = overlay.into_writes().map_err(FatError::Read)?;
        Ok(Edited { writes, free_bytes: u64::from(free_clusters) * self.cluster_bytes })
    }

    fn mount<'a, B: ReadAt>(&self, base: &'a B) -> Result<FileSystem<Overlay<&'a B>>, FatError> {
        FileSystem::new(self.overlay(base), FsOptions::new()).map_err(FatError::Read)
    }

    /// The partition, repaired.
    fn overlay<B: ReadAt>(&self, base: B) -> Overlay<B> {
        Overlay::over(base, self.window, self.repaired.clone())
    }

    /// Whether files fit: their content and the slots of their names, rounded up to clusters, and the reserve.
    pub fn check_room(&self, files: &[(&str, &[u8])]) -> Result<(), FatError> {
        let content: u64 =
            files.iter().map(|(_, bytes)| (bytes.len() as u64).div_ceil(self.cluster_bytes)).sum();
        let slots: usize = files.iter().map(|(path, _)| 2 + path.len().div_ceil(NAME_PART)).sum();
        let folders = 2 + (slots as u64 * SLOT).div_ceil(self.cluster_bytes);
        let needed = (content + folders) * self.cluster_bytes + RESERVE;
        let free = u64::from(self.free_clusters) * self.cluster_bytes;
        if needed > free { Err(FatError::Full { missing: needed - free }) } else { Ok(()) }
    }

    /// fatfs only adds to and takes from the FSInfo count, so a wrong one would stay wrong.
    fn set_free_count<B: ReadAt>(&self, overlay: &mut Overlay<B>, free_clusters: u32) -> io::Result<()> {
        overlay.seek(SeekFrom::Start(self.free_count_at))?;
        overlay.write_all(&free_clusters.to_le_bytes())?;
        overlay.rewind()
    }
}

fn options(stamp: &'static Stamp) -> FsOptions {
    FsOptions::new().time_provider(stamp)
}

fn edit_error(path: &str) -> impl FnOnce(io::Error) -> FatError + '_ {
    move |source| FatError::Edit { path: path.to_owned(), source }
}

fn write_file<T: fatfs::ReadWriteSeek>(root: &fatfs::Dir<'_, T>, path: &str, bytes: &[u8]) -> io::Result<()> {
    let mut file = root.create_file(path)?;
    file.write_all(bytes)?;
    file.truncate()?;
    file.flush()
}
