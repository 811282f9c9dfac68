//! Reads and edits the boot partition, a FAT32, through an [`Overlay`]. The edit is computed, not applied.
//!
//! Times on new files come from the caller, never from the clock, so that the same input gives the same bytes.

use std::collections::BTreeSet;
use std::io::{self, Read, Seek, SeekFrom, Write as _};

use fatfs::{FileSystem, FsOptions, TimeProvider};
use thiserror::Error;
use time::OffsetDateTime;

use super::overlay::{Overlay, ReadAt, SECTOR, Window, Write};

mod folder;

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
    /// Looks at the boot sector and counts the free clusters (the count in the FSInfo sector is only a hint).
    pub fn open(base: &impl ReadAt, window: Window) -> Result<Self, FatError> {
        let mut boot = [0; 512];
        base.read_exact_at(&mut boot, window.start).map_err(FatError::Read)?;
        let sector = BootSector::parse(&boot, window)?;
        let free_clusters = sector.count_free(base, window).map_err(FatError::Read)?;
        Ok(Self {
            window,
            cluster_bytes: u64::from(sector.sectors_per_cluster) * SECTOR,
            free_clusters,
            free_count_at: u64::from(sector.info_sector) * SECTOR + 488,
        })
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
        self.check_room(files)?;
        let mut overlay = Overlay::new(base, self.window);
        self.set_free_count(&mut overlay).map_err(FatError::Read)?;
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
        let free_clusters = self.free_count(&mut overlay).map_err(FatError::Read)?;
        let writes = overlay.into_writes().map_err(FatError::Read)?;
        Ok(Edited { writes, free_bytes: u64::from(free_clusters) * self.cluster_bytes })
    }

    fn mount<'a, B: ReadAt>(&self, base: &'a B) -> Result<FileSystem<Overlay<&'a B>>, FatError> {
        FileSystem::new(Overlay::new(base, self.window), FsOptions::new()).map_err(FatError::Read)
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
    fn set_free_count<B: ReadAt>(&self, overlay: &mut Overlay<B>) -> io::Result<()> {
        overlay.seek(SeekFrom::Start(self.free_count_at))?;
        overlay.write_all(&self.free_clusters.to_le_bytes())?;
        overlay.rewind()
    }

    fn free_count<B: ReadAt>(&self, overlay: &mut Overlay<B>) -> io::Result<u32> {
        let mut count = [0; 4];
        overlay.seek(SeekFrom::Start(self.free_count_at))?;
        overlay.read_exact(&mut count)?;
        Ok(u32::from_le_bytes(count))
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

/// The fields of a FAT32 boot sector that are needed here (Microsoft's FAT specification 1.03, "Boot Sector and BPB").
struct BootSector {
    sectors_per_cluster: u8,
    reserved_sectors: u16,
    sectors_per_fat: u32,
    clusters: u32,
    info_sector: u16,
}

impl BootSector {
    fn parse(bytes: &[u8; 512], window: Window) -> Result<Self, FatError> {
        let not = |reason| Err(FatError::NotFat32(reason));
        let [.., 0x55, 0xaa] = bytes else { return not("its boot sector has no signature") };
        let field = |at: usize, length: usize| -> u32 {
            let field = bytes.get(at..at + length).unwrap_or_default();
            field.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte))
        };
        if field(11, 2) != 512 {
            return not("its sectors have not 512 bytes");
        }
        if field(17, 2) != 0 || field(22, 2) != 0 {
            return not("it is a FAT12, FAT16 or something else");
        }
        let (per_cluster, reserved, fats) = (field(13, 1), field(14, 2), field(16, 1));
        let (total, per_fat, info) = (field(32, 4), field(36, 4), field(48, 2));
        if !per_cluster.is_power_of_two() || reserved == 0 || !(1..=2).contains(&fats) || per_fat == 0 {
            return not("its boot sector is damaged");
        }
        if u64::from(total) * SECTOR > window.length || info == 0 || info >= reserved {
            return not("its boot sector does not match the partition");
        }
        let system = per_fat.checked_mul(fats).and_then(|fats| fats.checked_add(reserved));
        let Some(data) = system.and_then(|system| total.checked_sub(system)) else {
            return not("its boot sector is damaged");
        };
        let clusters = data / per_cluster;
        // Entries of four bytes, the first two reserved.
        if (u64::from(clusters) + 2) * 4 > u64::from(per_fat) * SECTOR {
            return not("its allocation table is too short");
        }
        let damaged = |_| FatError::NotFat32("its boot sector is damaged");
        Ok(Self {
            sectors_per_cluster: per_cluster.try_into().map_err(damaged)?,
            reserved_sectors: reserved.try_into().map_err(damaged)?,
            sectors_per_fat: per_fat,
            clusters,
            info_sector: info.try_into().map_err(damaged)?,
        })
    }

    fn count_free(&self, base: &impl ReadAt, window: Window) -> io::Result<u32> {
        let mut sector = [0; 512];
        let mut entries_left = u64::from(self.clusters) + 2;
        let mut free = 0;
        for number in 0..u64::from(self.sectors_per_fat) {
            let offset = (u64::from(self.reserved_sectors) + number) * SECTOR;
            base.read_exact_at(&mut sector, window.start + offset)?;
            let here = usize::try_from(entries_left.min(SECTOR / 4)).unwrap_or(0);
            // The upper four bits of an entry are reserved. The two entries that stand for no cluster are never 0.
            let is_free = |entry: &&[u8]| matches!(entry, [0, 0, 0, high] if high & 0x0f == 0);
            free += u32::try_from(sector.chunks(4).take(here).filter(is_free).count()).unwrap_or(0);
            entries_left -= here as u64;
        }
        Ok(free)
    }
}
