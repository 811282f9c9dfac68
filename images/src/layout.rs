//! The card: which partition lies where, and laying a FAT's files and a root tree out on it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use crate::tools::{capture, check, run};

const MIB: u64 = 1 << 20;
const SECTOR: u64 = 512;

/// How much room the root partition leaves for what is to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Free {
    /// As pi-gen does: a fifth of what is there, and 200 MiB. The first boot grows it.
    PiGen,
    /// 1.5 GiB, so that Docker fits without growing.
    Fixed,
}

/// Programs that [`Layout::assemble`] calls.
pub(crate) const PROGRAMS: [&str; 5] = ["du", "sfdisk", "mkfs.fat", "mcopy", "mke2fs"];

/// A card of two partitions, as pi-gen's `export-image/prerun.sh` lays it out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    /// Both partitions start at a multiple of this.
    pub(crate) alignment: u64,
    pub(crate) fat_size: u64,
    pub(crate) sectors_per_cluster: u8,
    pub(crate) fat_label: &'static str,
    pub(crate) root_label: &'static str,
    pub(crate) free: Free,
}

impl Layout {
    /// 8 MiB alignment, 512 MiB FAT32: Pi OS since May 2025, with the cluster size of 2026's Trixie.
    pub(crate) const PIOS: Self = Self {
        alignment: 8 * MIB,
        fat_size: 512 * MIB,
        sectors_per_cluster: 1,
        fat_label: "bootfs",
        root_label: "rootfs",
        free: Free::PiGen,
    };

    const fn root_start(&self) -> u64 {
        self.alignment + self.fat_size
    }

    fn root_size(&self, used: u64) -> u64 {
        let free = match self.free {
            Free::PiGen => used / 5 + 200 * MIB,
            Free::Fixed => 1536 * MIB,
        };
        (used + free).next_multiple_of(self.alignment)
    }

    /// The partition table in `sfdisk`'s words.
    fn table(&self, disk: &str, root_size: u64) -> String {
        format!(
            "label: dos\nlabel-id: 0x{disk}\nstart={}, size={}, type=c\nstart={}, size={}, type=83\n",
            self.alignment / SECTOR,
            self.fat_size / SECTOR,
            self.root_start() / SECTOR,
            root_size / SECTOR,
        )
    }

    /// Lays `fat` and `tree` out as the new file `image`; `disk` is the MBR's identifier, eight hexadecimal digits.
    pub(crate) fn assemble(&self, disk: &str, fat: &Path, tree: &Path, image: &Path) -> Result<()> {
        let root_size = self.root_size(used(tree)?);
        let file = File::create(image).with_context(|| format!("cannot create {}", image.display()))?;
        file.set_len(self.root_start() + root_size).context("cannot size the image")?;
        write_table(&self.table(disk, root_size), image)?;

        let name = image.to_string_lossy().into_owned();
        let cluster = self.sectors_per_cluster.to_string();
        let sectors = (self.alignment / SECTOR).to_string();
        let size = (self.fat_size / 1024).to_string();
        let words = ["-F", "32", "-s", &cluster, "-n", self.fat_label, "-i", disk, "--offset", &sectors];
        run("mkfs.fat", words.into_iter().chain([&*name, &size]))?;
        let volume = format!("{name}@@{}", self.alignment);
        let names = files(fat)?.into_iter().map(PathBuf::into_os_string);
        let words = ["-s", "-m", "-i", &volume].map(Into::into);
        run("mcopy", words.into_iter().chain(names).chain(["::".into()]))?;

        let (offset, size) = (format!("offset={}", self.root_start()), format!("{}k", root_size / 1024));
        let words = ["-q", "-F", "-t", "ext4", "-L", self.root_label, "-O", "^64bit,^huge_file"];
        let tree = tree.to_string_lossy();
        run("mke2fs", words.into_iter().chain(["-d", &*tree, "-E", &offset, &name, &size]))
    }
}

fn used(tree: &Path) -> Result<u64> {
    let words = ["--summarize", "--block-size=1"].map(Into::into);
    let text = capture("du", words.into_iter().chain([tree.as_os_str().to_owned()]))?;
    let text = String::from_utf8(text).context("du prints no text")?;
    text.split_whitespace().next().unwrap_or_default().parse().context("du prints no number")
}

fn write_table(table: &str, image: &Path) -> Result<()> {
    let path = image.with_extension("table");
    fs::write(&path, table).with_context(|| format!("cannot write {}", path.display()))?;
    let mut command = Command::new("sfdisk");
    command.args(["--quiet", "--no-reread", "--no-tell-kernel"]).arg(image);
    command.stdin(Stdio::from(File::open(&path).context("cannot read the table")?));
    let output = command.output().context("cannot start sfdisk")?;
    check(&command, &output)
}

/// What lies in `folder`, by name.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        paths.push(entry.with_context(|| format!("cannot list {}", folder.display()))?.path());
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_that_of_a_card_of_2026() {
        let layout = Layout::PIOS;
        let root = layout.root_size(1000 * MIB);
        assert_eq!(root, 1400 * MIB);
        assert_eq!(
            layout.table("1234abcd", root),
            "label: dos\nlabel-id: 0x1234abcd\nstart=16384, size=1048576, type=c\nstart=1064960, size=2867200, type=83\n"
        );
    }

    #[test]
    fn the_rack_leaves_room_for_docker() {
        let layout = Layout { free: Free::Fixed, ..Layout::PIOS };
        assert!(layout.root_size(300 * MIB) >= 1836 * MIB);
        assert!(layout.root_size(300 * MIB).is_multiple_of(8 * MIB));
    }
}
