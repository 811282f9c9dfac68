//! Looks through the allocation table and the folders before fatfs does, which trusts both: it follows a chain that runs in
//! a circle for ever, and reckons with the numbers of clusters that do not exist until it panics or ends up elsewhere.
//!
//! Two kinds of damage: what makes reading unsafe is refused. What a Pi leaves when its power fails, files that are cut off
//! or share clusters, is only told of: such a card can be read, but nothing is put on it.

use super::FatError;
use super::boot_sector::BootSector;
use crate::image::overlay::{ReadAt, Window};

/// Bytes of a slot in a folder.
const SLOT: usize = 32;
/// Attributes: what a folder has, what a label has, and what all slots of a long name have.
const FOLDER: u8 = 0x10;
const LABEL: u8 = 0x08;
/// An entry's upper four bits are reserved; from here on one means a bad cluster or the end of a chain.
const NUMBER: u32 = 0x0fff_ffff;
const BAD: u32 = 0x0fff_fff7;

/// What was found.
pub(super) struct Found {
    pub(super) free_clusters: u32,
    pub(super) is_sound: bool,
    /// Clusters that are taken, but by no file or folder.
    pub(super) lost: Vec<u32>,
}

/// Looks through everything.
pub(super) fn check(base: &impl ReadAt, window: Window, sector: &BootSector) -> Result<Found, FatError> {
    let table = read_table(base, window, sector)?;
    let free = table.iter().skip(2).filter(|entry| **entry == 0).count();
    let mut walk = Walk { is_taken: vec![false; table.len()], table, is_sound: true };
    let mut folders = vec![sector.root];
    let mut cluster = vec![0; usize::try_from(sector.cluster_bytes()).unwrap_or(0)];
    while let Some(first) = folders.pop() {
        // A folder within itself would have no end.
        let Some(chain) = walk.chain(first)?.filter(|chain| !chain.is_empty()) else {
            return Err(FatError::Damaged("two of its folders are one"));
        };
        let mut is_ended = false;
        for number in chain {
            let at = window.start + sector.cluster_at(number);
            base.read_exact_at(&mut cluster, at).map_err(FatError::Read)?;
            for slot in cluster.as_chunks::<SLOT>().0 {
                match Slot::parse(slot) {
                    Slot::End => is_ended = true,
                    // What lies behind the end would come to life when fatfs puts a file over the end.
                    _ if is_ended => walk.is_sound = false,
                    Slot::Other => {}
                    Slot::Folder(first) => folders.push(first),
                    Slot::File { first: 0, size } => walk.is_sound &= size == 0,
                    Slot::File { first, size } => {
                        // A chain that is too short for the file was not written to its end.
                        let room = |chain: Vec<u32>| chain.len() as u64 * sector.cluster_bytes();
                        walk.is_sound &=
                            walk.chain(first)?.map(room).is_some_and(|room| room >= u64::from(size));
                    }
                }
            }
        }
    }
    let entries = (0..).zip(walk.table.iter().zip(&walk.is_taken)).skip(2);
    let is_lost =
        |(_, (entry, is_taken)): &(u32, (&u32, &bool))| **entry != 0 && **entry != BAD && !**is_taken;
    let lost = entries.filter(is_lost).map(|(number, _)| number).collect();
    Ok(Found { free_clusters: u32::try_from(free).unwrap_or(0), is_sound: walk.is_sound, lost })
}

/// The entries of the first table, by the numbers of their clusters.
fn read_table(base: &impl ReadAt, window: Window, sector: &BootSector) -> Result<Vec<u32>, FatError> {
    let mut left = sector.clusters as usize + 2;
    let mut table = Vec::with_capacity(left);
    let mut at = window.start + sector.table_at(0);
    let mut bytes = vec![0; 64 * 1024];
    while left > 0 {
        // What is read are whole entries, and with them never more than the table has.
        bytes.truncate(left.saturating_mul(4));
        base.read_exact_at(&mut bytes, at).map_err(FatError::Read)?;
        table.extend(bytes.as_chunks().0.iter().map(|entry| u32::from_le_bytes(*entry) & NUMBER));
        at += bytes.len() as u64;
        left -= bytes.len() / 4;
    }
    Ok(table)
}

/// What one slot of a folder says, with the number of its first cluster, and a file's size in bytes.
enum Slot {
    End,
    Folder(u32),
    File { first: u32, size: u32 },
    Other,
}

impl Slot {
    fn parse(slot: &[u8; SLOT]) -> Self {
        let [first, .., high0, high1, _, _, _, _, low0, low1, size0, size1, size2, size3] = *slot;
        let number = u32::from_le_bytes([low0, low1, high0, high1]);
        let [name @ .., attributes] = slot.first_chunk::<12>().unwrap_or(&[0; 12]);
        match first {
            0 => Self::End,
            // Deleted, a label or a part of a long name; the folder itself and the one above it.
            0xe5 => Self::Other,
            _ if attributes & LABEL != 0 => Self::Other,
            b'.' if matches!(name, b".          " | b"..         ") => Self::Other,
            _ if attributes & FOLDER != 0 => Self::Folder(number),
            _ => Self::File { first: number, size: u32::from_le_bytes([size0, size1, size2, size3]) },
        }
    }
}

/// A way through all chains.
struct Walk {
    table: Vec<u32>,
    is_taken: Vec<bool>,
    is_sound: bool,
}

impl Walk {
    /// The clusters of a chain; `None` when one of them belongs to another, or to this one already.
    fn chain(&mut self, first: u32) -> Result<Option<Vec<u32>>, FatError> {
        const NOWHERE: FatError = FatError::Damaged("it names clusters that it does not have");
        let (mut chain, mut number) = (Vec::new(), first);
        loop {
            let index = usize::try_from(number).unwrap_or(usize::MAX);
            let (Some(next), Some(is_taken)) = (self.table.get(index), self.is_taken.get_mut(index)) else {
                return Err(NOWHERE);
            };
            if number < 2 {
                return Err(NOWHERE);
            }
            if std::mem::replace(is_taken, true) {
                return Ok(None);
            }
            chain.push(number);
            match *next {
                // A chain that leads to a free or a bad cluster was not written to its end.
                0 | BAD => {
                    self.is_sound = false;
                    return Ok(Some(chain));
                }
                next if next > BAD => return Ok(Some(chain)),
                next => number = next,
            }
        }
    }
}
