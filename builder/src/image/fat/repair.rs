//! Repairs a boot partition that was not unmounted, or whose two allocation tables differ, in memory: the repaired sectors go
//! onto the card with the files. Nothing is guessed: one of the tables must describe every file and folder whole.
//!
//! What fsck.fat looks at, and what has to hold for it to be silent, is read in dosfstools 4.2, src/boot.c and src/fat.c.

use std::fmt;
use std::io::{self, Seek, SeekFrom, Write as _};

use super::FatError;
use super::boot_sector::BootSector;
use super::check::{self, Found};
use crate::image::overlay::{Overlay, ReadAt, SECTOR, Window};

/// The byte of the boot sector whose two lowest bits say that the partition is mounted, and that an error was seen.
const STATE: u64 = 0x41;
const STATE_BITS: u8 = 3;
/// The same in the second entry of each table, where a set bit is good (Microsoft's FAT specification 1.03, "FAT Data
/// Structure").
const CLEAN_BITS: u32 = 0x0c00_0000;
/// Bytes of the tables that are compared at once: whole sectors.
const PIECE: usize = 64 * 1024;

/// What was wrong with a boot partition and is right on the card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// It was marked as mounted: a program ended, or power failed, before all was written.
    Dirty,
    /// The two allocation tables differed; the number, 1 or 2, of the one that both now equal.
    TablesDiffered(u8),
    /// Clusters were taken by no file.
    Lost(u32),
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dirty => {
                f.write_str("its boot partition was not unmounted cleanly; the card's is marked as clean")
            }
            Self::TablesDiffered(kept) => write!(
                f,
                "the two allocation tables of its boot partition differ; on the card both equal table {kept}, which is whole"
            ),
            Self::Lost(count) => write!(
                f,
                "{count} clusters of its boot partition belong to no file; on the card they are free"
            ),
        }
    }
}

/// Repairs what `overlay`, the partition, has wrong, and looks through it. A partition that is beyond repair is left as it
/// was, but for the mark.
pub(super) fn repair<B: ReadAt + Clone>(
    overlay: &mut Overlay<B>,
    sector: &BootSector,
) -> Result<(Found, Vec<Repair>), FatError> {
    let mut repairs = Vec::new();
    if mark_clean(overlay, sector).map_err(FatError::Read)? {
        repairs.push(Repair::Dirty);
    }
    let found = match second_table(overlay, sector).map_err(FatError::Read)? {
        None => look(overlay, sector)?,
        Some(mut other) => {
            let (first, second) = (look(overlay, sector), look(&other, sector));
            let is_whole = |found: &Result<Found, FatError>| found.as_ref().is_ok_and(|found| found.is_sound);
            match (is_whole(&first), is_whole(&second)) {
                (true, _) => {
                    copy_table(overlay, sector, 0, 1).map_err(FatError::Read)?;
                    repairs.push(Repair::TablesDiffered(1));
                    first?
                }
                (false, true) => {
                    std::mem::swap(overlay, &mut other);
                    repairs.push(Repair::TablesDiffered(2));
                    second?
                }
                (false, false) => first?,
            }
        }
    };
    if !found.is_sound || found.lost.is_empty() {
        return Ok((found, repairs));
    }
    free(overlay, sector, &found.lost).map_err(FatError::Read)?;
    repairs.push(Repair::Lost(u32::try_from(found.lost.len()).unwrap_or(u32::MAX)));
    Ok((look(overlay, sector)?, repairs))
}

fn look<B: ReadAt>(overlay: &Overlay<B>, sector: &BootSector) -> Result<Found, FatError> {
    check::check(overlay, Window { start: 0, length: overlay.length() }, sector)
}

/// Takes the marks of a mounted partition away; `true` if there were any.
fn mark_clean<B: ReadAt>(overlay: &mut Overlay<B>, sector: &BootSector) -> io::Result<bool> {
    let mut was_dirty = false;
    for boot in [Some(0), sector.backup].into_iter().flatten() {
        let at = u64::from(boot) * SECTOR;
        let mut bytes = [0; 512];
        overlay.read_exact_at(&mut bytes, at)?;
        // The backup may have been forgotten. Then it is nobody's.
        if !bytes.ends_with(&[0x55, 0xaa]) {
            continue;
        }
        let Some(state) = bytes.get(0x41).filter(|state| **state & STATE_BITS != 0) else { continue };
        write(overlay, at + STATE, &[state & !STATE_BITS])?;
        was_dirty = true;
    }
    for table in 0..sector.fats {
        let at = sector.table_at(table) + 4;
        let mut entry = [0; 4];
        overlay.read_exact_at(&mut entry, at)?;
        let marked = u32::from_le_bytes(entry);
        if marked & CLEAN_BITS != CLEAN_BITS {
            write(overlay, at, &(marked | CLEAN_BITS).to_le_bytes())?;
            was_dirty = true;
        }
    }
    Ok(was_dirty)
}

/// The partition as its second table describes it; `None` if there is none or both are alike.
fn second_table<B: ReadAt + Clone>(
    overlay: &Overlay<B>,
    sector: &BootSector,
) -> io::Result<Option<Overlay<B>>> {
    if sector.fats < 2 {
        return Ok(None);
    }
    let mut other = overlay.clone();
    Ok(copy_table(&mut other, sector, 1, 0)?.then_some(other))
}

/// Copies the sectors in which a table differs over another table; `true` if there are any.
fn copy_table<B: ReadAt>(
    overlay: &mut Overlay<B>,
    sector: &BootSector,
    from: u8,
    to: u8,
) -> io::Result<bool> {
    let (from, to) = (sector.table_at(from), sector.table_at(to));
    let (mut have, mut wanted) = (vec![0; PIECE], vec![0; PIECE]);
    let (mut at, end) = (0, sector.table_bytes());
    let mut differ = false;
    while at < end {
        let length = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
        have.truncate(length);
        wanted.truncate(length);
        overlay.read_exact_at(&mut have, to + at)?;
        overlay.read_exact_at(&mut wanted, from + at)?;
        let sectors = wanted.as_chunks::<512>().0.iter().zip(have.as_chunks::<512>().0);
        for (index, (wanted, have)) in (0..).zip(sectors) {
            if wanted != have {
                write(overlay, to + at + index * SECTOR, wanted)?;
                differ = true;
            }
        }
        at += length as u64;
    }
    Ok(differ)
}

/// Marks clusters as free in all tables.
fn free<B: ReadAt>(overlay: &mut Overlay<B>, sector: &BootSector, clusters: &[u32]) -> io::Result<()> {
    for table in 0..sector.fats {
        for cluster in clusters {
            write(overlay, sector.table_at(table) + u64::from(*cluster) * 4, &[0; 4])?;
        }
    }
    Ok(())
}

fn write<B: ReadAt>(overlay: &mut Overlay<B>, at: u64, bytes: &[u8]) -> io::Result<()> {
    overlay.seek(SeekFrom::Start(at))?;
    overlay.write_all(bytes)
}
