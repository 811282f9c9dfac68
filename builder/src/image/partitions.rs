//! Finds the boot and the root partition through the partition table, MBR or GPT.

use std::{fmt, io};

use gpt::partition_types::{self, Type};
use thiserror::Error;

use super::overlay::{Overlay, ReadAt, SECTOR, Window};

/// Bytes of a GPT entry, which the GPT's reader takes for granted, and the number of entries at most: every program writes
/// 128 of 128 bytes.
const GPT_ENTRY_BYTES: u32 = 128;
const GPT_ENTRIES: u32 = 1024;

/// MBR types of a boot partition: FAT32 (CHS and LBA addressed), and those that other tools write for one: FAT16 (both) and
/// the EFI system partition. Whether it holds a FAT32 is seen in it; that every Pi's firmware boots from each of these
/// types is not verified.
const MBR_FAT: [u8; 5] = [0x0b, 0x0c, 0x06, 0x0e, 0xef];
/// MBR type of Linux file systems.
const MBR_LINUX: u8 = 0x83;
/// MBR type that says the table is a GPT.
const MBR_PROTECTIVE: u8 = 0xee;

/// GPT types a FAT partition has.
const GPT_FAT: [Type; 2] = [partition_types::EFI, partition_types::BASIC];
/// GPT types a root partition has: Linux data, and the discoverable root partitions of our architectures.
const GPT_LINUX: [Type; 4] = [
    partition_types::LINUX_FS,
    partition_types::LINUX_ROOT_ARM_64,
    partition_types::LINUX_ROOT_ARM_32,
    partition_types::LINUX_ROOT_X64,
];

/// Where the two partitions of a Raspberry Pi image lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partitions {
    /// What the firmware boots from: FAT.
    pub boot: Window,
    /// The root file system.
    pub root: Window,
}

/// Why the two partitions were not found.
#[derive(Debug, Error)]
pub enum PartitionError {
    /// No partition table.
    #[error("it has no partition table")]
    NoTable(#[source] mbrman::Error),
    /// A protective MBR without a readable GPT.
    #[error("its GPT cannot be read")]
    Gpt(#[source] gpt::GptError),
    /// A GPT of which only the copy at the end is left. On a larger card that copy is not at the end, where it is looked for.
    #[error("the header of its GPT is damaged, and only the copy at the end of the image is left")]
    NoPrimaryGpt(#[source] gpt::header::HeaderError),
    /// No entry of a FAT type.
    #[error("it has no FAT partition to boot from{}", .0)]
    NoBoot(Types),
    /// No entry of the Linux type.
    #[error("it has no Linux partition for the root file system{}", .0)]
    NoRoot(Types),
    /// Entries that no program writes.
    #[error("its partition table is damaged: {0}")]
    Damaged(&'static str),
    /// An entry that reaches beyond the image.
    #[error("its partition table reaches beyond its end; it is cut short")]
    Outside,
}

/// The types of the partitions there are, in an MBR.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Types(Vec<u8>);

impl fmt::Display for Types {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        let types: Vec<_> = self.0.iter().map(|kind| format!("{kind:#04x}")).collect();
        write!(f, ": its partitions have the types {}", types.join(", "))
    }
}

impl PartitionError {
    /// What to do about it, where that is known.
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoPrimaryGpt(_) => Some(
                "write both headers anew with `sfdisk --dump IMAGE > table && sfdisk IMAGE < table`, or download the \
                 image again",
            ),
            _ => None,
        }
    }
}

/// Reads the table of an image of `size` bytes.
pub fn find(base: &impl ReadAt, size: u64) -> Result<Partitions, PartitionError> {
    let mut disk = Overlay::new(base, Window { start: 0, length: size });
    let mbr = mbrman::MBRHeader::read_from(&mut disk).map_err(PartitionError::NoTable)?;
    let found = if mbr.iter().any(|(_, entry)| entry.sys == MBR_PROTECTIVE) {
        // GPT readers look for the header right after the MBR.
        check_gpt(base, size)?;
        from_gpt(disk)?
    } else {
        from_mbr(&mbr)
    };
    let types = || {
        let used = mbr.iter().map(|(_, entry)| entry.sys).filter(|kind| ![0, MBR_PROTECTIVE].contains(kind));
        Types(used.collect())
    };
    let boot = found.boot.ok_or_else(|| PartitionError::NoBoot(types()))?;
    let root = found.root.ok_or_else(|| PartitionError::NoRoot(types()))?;
    if [boot, root].iter().any(|part| part.start.checked_add(part.length).is_none_or(|end| end > size)) {
        return Err(PartitionError::Outside);
    }
    // Files are put into the boot partition: it may be nobody else's. The ends are known to be numbers.
    if [boot, root].iter().any(|part| part.length == 0 || part.start == 0) {
        return Err(PartitionError::Damaged("a partition is empty or begins with the table"));
    }
    if boot.start < root.start + root.length && root.start < boot.start + boot.length {
        return Err(PartitionError::Damaged("the boot and the root partition overlap"));
    }
    Ok(Partitions { boot, root })
}

/// Refuses a GPT, or its backup at the end, with entries in a size or number nobody uses: the reader panics at the one and
/// takes any amount of memory for the other.
fn check_gpt(base: &impl ReadAt, size: u64) -> Result<(), PartitionError> {
    for sector in [Some(1), (size / SECTOR).checked_sub(1)].into_iter().flatten() {
        // No more than the reader wants: the image may end within the sector.
        let mut header = [0; 92];
        // One that is not there is the reader's to tell of.
        if base.read_exact_at(&mut header, sector * SECTOR).is_err() || !header.starts_with(b"EFI PART") {
            continue;
        }
        let field = |at: usize| Some(u32::from_le_bytes(*header.get(at..)?.first_chunk()?));
        let (count, bytes) = (field(80), field(84));
        if bytes != Some(GPT_ENTRY_BYTES) || count.is_none_or(|count| count > GPT_ENTRIES) {
            return Err(PartitionError::Damaged("its entries have an unusual size or number"));
        }
    }
    Ok(())
}

#[derive(Default)]
struct Found {
    boot: Option<Window>,
    root: Option<Window>,
}

impl Found {
    /// Of several partitions of a kind the first counts, as it does for the Pi's firmware.
    fn add(&mut self, boot: bool, window: Window) {
        let slot = if boot { &mut self.boot } else { &mut self.root };
        slot.get_or_insert(window);
    }
}

fn from_mbr(mbr: &mbrman::MBRHeader) -> Found {
    let mut found = Found::default();
    for (_, entry) in mbr.iter() {
        let boot = MBR_FAT.contains(&entry.sys);
        if boot || entry.sys == MBR_LINUX {
            let (start, length) = (u64::from(entry.starting_lba), u64::from(entry.sectors));
            found.add(boot, Window { start: start * SECTOR, length: length * SECTOR });
        }
    }
    found
}

fn from_gpt<B: ReadAt>(disk: Overlay<B>) -> Result<Found, PartitionError> {
    let table = gpt::GptConfig::new().writable(false).open_from_device(disk).map_err(PartitionError::Gpt)?;
    table.primary_header().map_err(PartitionError::NoPrimaryGpt)?;
    let mut found = Found::default();
    for entry in table.partitions().values().filter(|entry| entry.is_used()) {
        let boot = GPT_FAT.contains(&entry.part_type_guid);
        if !boot && !GPT_LINUX.contains(&entry.part_type_guid) {
            continue;
        }
        let sectors =
            entry.sectors_len().map_err(|error| PartitionError::Gpt(io::Error::other(error).into()))?;
        let bytes = |sectors: u64| sectors.checked_mul(SECTOR).ok_or(PartitionError::Outside);
        found.add(boot, Window { start: bytes(entry.first_lba)?, length: bytes(sectors)? });
    }
    Ok(found)
}
