//! The boot sector of a FAT32.

use super::FatError;
use crate::image::overlay::{SECTOR, Window};

/// Far more than the boot partition of any image or card has (half a GiB in clusters of a sector is a million): the table is
/// read as a whole.
const MOST_CLUSTERS: u32 = 1 << 24;

/// The fields of a FAT32 boot sector that are needed here (Microsoft's FAT specification 1.03, "Boot Sector and BPB").
#[derive(Debug, Clone)]
pub(super) struct BootSector {
    sectors_per_cluster: u8,
    reserved_sectors: u16,
    pub(super) fats: u8,
    sectors_per_fat: u32,
    pub(super) clusters: u32,
    pub(super) root: u32,
    pub(super) info_sector: u16,
    /// Where the copy of this sector is, if there is one.
    pub(super) backup: Option<u16>,
}

impl BootSector {
    pub(super) fn parse(bytes: &[u8; 512], window: Window) -> Result<Self, FatError> {
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
        // Bit 7: the tables are not copies of each other, and one of them counts.
        if field(40, 2) & 0x80 != 0 {
            return not("it does not keep its tables alike");
        }
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
        if clusters > MOST_CLUSTERS {
            return not("it is larger than any");
        }
        // Entries of four bytes, the first two reserved.
        if (u64::from(clusters) + 2) * 4 > u64::from(per_fat) * SECTOR {
            return not("its allocation table is too short");
        }
        let damaged = |_| FatError::NotFat32("its boot sector is damaged");
        Ok(Self {
            sectors_per_cluster: per_cluster.try_into().map_err(damaged)?,
            reserved_sectors: reserved.try_into().map_err(damaged)?,
            fats: fats.try_into().map_err(damaged)?,
            sectors_per_fat: per_fat,
            clusters,
            root: field(44, 4),
            info_sector: info.try_into().map_err(damaged)?,
            backup: u16::try_from(field(50, 2))
                .ok()
                .filter(|backup| (1..reserved).contains(&u32::from(*backup))),
        })
    }

    /// Where an allocation table lies in the partition; the first is 0.
    pub(super) fn table_at(&self, table: u8) -> u64 {
        (u64::from(self.reserved_sectors) + u64::from(table) * u64::from(self.sectors_per_fat)) * SECTOR
    }

    /// Bytes of a table up to the last sector with an entry.
    pub(super) fn table_bytes(&self) -> u64 {
        ((u64::from(self.clusters) + 2) * 4).next_multiple_of(SECTOR)
    }

    /// Bytes of a cluster.
    pub(super) fn cluster_bytes(&self) -> u64 {
        u64::from(self.sectors_per_cluster) * SECTOR
    }

    /// Where a cluster lies in the partition; the first is the one with the number 2.
    pub(super) fn cluster_at(&self, number: u32) -> u64 {
        let tables = u64::from(self.fats) * u64::from(self.sectors_per_fat);
        let first = u64::from(self.reserved_sectors) + tables;
        first * SECTOR + u64::from(number.saturating_sub(2)) * self.cluster_bytes()
    }
}
