//! A node's private copy of a card image, from power-on to power-off.

use std::collections::hash_map::RandomState;
use std::fs::{self, File};
use std::hash::BuildHasher as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::cleanup;
use super::fat::Fat;

const SECTOR: u64 = 512;
/// The SD card the image is on. Sparse: only what a node writes takes room.
const CARD_SIZE: u64 = 8 << 30;

#[derive(Debug)]
pub(super) struct Card {
    image: PathBuf,
    /// The node's folder; everything of a running card is in it.
    folder: PathBuf,
}

/// A card in a node that is on.
#[derive(Debug)]
pub(super) struct Inserted {
    /// The words of `cmdline.txt`, as the firmware found them.
    pub(super) words: Vec<String>,
    /// Where the root partition is mounted.
    pub(super) root: PathBuf,
    /// The FAT partition's files.
    pub(super) firmware: PathBuf,
    fat: Fat,
}

impl Card {
    /// Copies a card image into the node's folder.
    pub(super) fn copy(from: &Path, folder: &Path) -> Result<Self> {
        let image = folder.join("card.img");
        let names = [from, &image].map(|path| path.to_string_lossy().into_owned());
        images::run("cp", ["--sparse=always", "--reflink=auto"].map(str::to_owned).into_iter().chain(names))?;
        let card = Self { image, folder: folder.to_owned() };
        Table::read(&card.image)?;
        Ok(card)
    }

    pub(super) fn image(&self) -> &Path {
        &self.image
    }

    /// Does what firmware and initramfs do: reads the command line, grows the root partition on the first boot,
    /// and mounts it.
    pub(super) fn insert(&self) -> Result<Inserted> {
        let mut table = Table::read(&self.image)?;
        let firmware = self.folder.join("fat");
        let fat = Fat::extract(&self.image, table.fat.start, &firmware, &self.folder.join("before"))?;
        let cmdline = firmware.join("cmdline.txt");
        let line = fs::read_to_string(&cmdline).context("cannot read the card's cmdline.txt")?;
        // The firmware takes the first line only.
        let words: Vec<String> =
            line.lines().next().unwrap_or_default().split_whitespace().map(str::to_owned).collect();
        let is_first_boot = words.iter().any(|word| word == "resize");
        let old_id = table.id_text();
        if is_first_boot {
            table.grow(&self.image)?;
            grow_file_system(&self.image, table.root)?;
        }

        let root = self.folder.join("root");
        fs::create_dir_all(&root).with_context(|| format!("cannot create {}", root.display()))?;
        // No barriers: what a rack's node writes need not survive a crash of the host.
        let options =
            format!("loop,offset={},sizelimit={},noatime,barrier=0", table.root.start, table.root.size);
        let names = [&self.image, &root].map(|path| path.to_string_lossy().into_owned());
        images::run("mount", ["-t", "ext4", "-o", &options].map(str::to_owned).into_iter().chain(names))?;
        let inserted = Inserted { words, root, firmware, fat };
        if is_first_boot && let Err(error) = finish_first_boot(&inserted, &line, &old_id, &table.id_text()) {
            self.eject(&inserted)?;
            return Err(error);
        }
        Ok(inserted)
    }

    /// Writes the FAT partition back and unmounts the root partition.
    pub(super) fn eject(&self, inserted: &Inserted) -> Result<()> {
        let written = inserted.fat.write_back();
        cleanup::unmount(&self.folder)?;
        written
    }
}

/// Lets the file system fill its partition. Before it is mounted: growing a mounted one takes a capability that
/// containers often lack. Over a loop device: resize2fs cuts a plain file off where the file system ends.
fn grow_file_system(image: &Path, partition: Partition) -> Result<()> {
    let place = [format!("--offset={}", partition.start), format!("--sizelimit={}", partition.size)];
    let words =
        ["--find", "--show"].map(str::to_owned).into_iter().chain(place).chain([image.display().to_string()]);
    let device = String::from_utf8(images::capture("losetup", words)?).context("losetup prints no text")?;
    let grown = images::run("resize2fs", ["-f", device.trim()]);
    images::run("losetup", ["--detach", device.trim()])?;
    grown
}

/// The rest of what Trixie's initramfs does: the files name the disk's new identifier, and the word that asked
/// for all that is gone.
fn finish_first_boot(inserted: &Inserted, line: &str, old_id: &str, new_id: &str) -> Result<()> {
    let fstab = inserted.root.join("etc/fstab");
    let text = fs::read_to_string(&fstab).context("cannot read the card's fstab")?;
    fs::write(&fstab, text.replace(old_id, new_id)).context("cannot write the card's fstab")?;
    let line = line.replace(old_id, new_id).replace(" resize", "");
    fs::write(inserted.firmware.join("cmdline.txt"), line).context("cannot write the card's cmdline.txt")
}

/// A partition's place in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Partition {
    start: u64,
    size: u64,
}

/// The partition table of a card with Pi OS: an MBR with FAT and root.
#[derive(Debug)]
struct Table {
    sector: [u8; 512],
    fat: Partition,
    root: Partition,
}

impl Table {
    fn read(image: &Path) -> Result<Self> {
        let mut sector = [0; 512];
        let file = File::open(image).with_context(|| format!("cannot open {}", image.display()))?;
        file.read_exact_at(&mut sector, 0).with_context(|| format!("cannot read {}", image.display()))?;
        let [.., 0x55, 0xaa] = sector else { bail!("{} has no partition table", image.display()) };
        let (fat_kind, fat) = entry(&sector, 0)?;
        let (root_kind, root) = entry(&sector, 1)?;
        if !matches!(fat_kind, 0x0b | 0x0c) || root_kind != 0x83 {
            bail!("{} has no FAT and root partition as Pi OS has", image.display());
        }
        Ok(Self { sector, fat, root })
    }

    /// The identifier as in `PARTUUID=`.
    fn id_text(&self) -> String {
        let bytes = self.sector.get(440..444).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
        format!("{:08x}", u32::from_le_bytes(bytes))
    }

    /// Makes the root partition fill an SD card and gives the disk a new identifier.
    fn grow(&mut self, image: &Path) -> Result<()> {
        let file = File::options()
            .write(true)
            .open(image)
            .with_context(|| format!("cannot open {}", image.display()))?;
        let length = file.metadata().with_context(|| format!("cannot look at {}", image.display()))?.len();
        if length < CARD_SIZE {
            file.set_len(CARD_SIZE).with_context(|| format!("cannot grow {}", image.display()))?;
            self.root.size = CARD_SIZE - self.root.start;
        }
        let sectors =
            u32::try_from(self.root.size / SECTOR).context("the card is too large for its table")?;
        // Another number on every call is all that is asked of it.
        let [id @ .., _, _, _, _] = RandomState::new().hash_one(image).to_le_bytes();
        for (place, bytes) in [(440, id), (446 + 16 + 12, sectors.to_le_bytes())] {
            if let Some(field) = self.sector.get_mut(place..place + 4) {
                field.copy_from_slice(&bytes);
            }
        }
        file.write_all_at(&self.sector, 0).with_context(|| format!("cannot write {}", image.display()))
    }
}

/// Type and place of one of the MBR's four entries.
fn entry(sector: &[u8; 512], index: usize) -> Result<(u8, Partition)> {
    let start = 446 + 16 * index;
    let entry: [u8; 16] =
        sector.get(start..start + 16).and_then(|entry| entry.try_into().ok()).context("no such partition")?;
    let [_, _, _, _, kind, _, _, _, s0, s1, s2, s3, n0, n1, n2, n3] = entry;
    let bytes = |number: [u8; 4]| u64::from(u32::from_le_bytes(number)) * SECTOR;
    Ok((kind, Partition { start: bytes([s0, s1, s2, s3]), size: bytes([n0, n1, n2, n3]) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(folder: &Path) -> PathBuf {
        let image = folder.join("disk.img");
        let mut sector = [0; 512];
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        sector[440..444].copy_from_slice(&0x1234_abcd_u32.to_le_bytes());
        for (index, kind, start, count) in
            [(0, 0x0c, 16384_u32, 1_048_576_u32), (1, 0x83, 1_064_960, 2_000_000)]
        {
            let entry = &mut sector[446 + 16 * index..][..16];
            entry[4] = kind;
            entry[8..12].copy_from_slice(&start.to_le_bytes());
            entry[12..].copy_from_slice(&count.to_le_bytes());
        }
        fs::write(&image, sector).unwrap();
        image
    }

    #[test]
    fn a_first_boot_grows_root_and_renames_the_disk_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let image = disk(folder.path());
        let mut table = Table::read(&image).unwrap();
        assert_eq!(table.id_text(), "1234abcd");
        assert_eq!(table.fat, Partition { start: 8 << 20, size: 512 << 20 });
        table.grow(&image).unwrap();
        let after = Table::read(&image).unwrap();
        assert_ne!(after.id_text(), "1234abcd");
        assert_eq!(after.fat, table.fat);
        assert_eq!(after.root.start, 520 << 20);
        assert_eq!(after.root.start + after.root.size, CARD_SIZE);
        assert_eq!(fs::metadata(&image).unwrap().len(), CARD_SIZE);
    }

    #[test]
    fn refuses_what_is_no_card() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("no.img");
        fs::write(&image, [0; 512]).unwrap();
        assert!(Table::read(&image).unwrap_err().to_string().contains("no partition table"));
    }
}
