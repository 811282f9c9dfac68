//! An image to measure with: the size and layout of Raspberry Pi OS Lite, filled with bytes that pack about as well.
//! The same bytes every time.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::command::{run, run_with_input};

const MIB: u64 = 1 << 20;
const IMAGE: u64 = 3100 * MIB;
const BOOT_START: u64 = 8 * MIB;
const BOOT: u64 = 512 * MIB;
const ROOT_START: u64 = BOOT_START + BOOT;
/// Data on the root partition; with the FAT's files and the file systems' own it becomes 1.2 GiB.
const FILES: u64 = 1150;

const CMDLINE: &str = "console=serial0,115200 console=tty1 root=PARTUUID=4f2c9ea0-02 rootfstype=ext4 fsck.repair=yes rootwait resize\n";
const CONFIG: &str = "dtparam=audio=on\nauto_initramfs=1\narm_64bit=1\n\n[all]\n";
const ISSUE: &str = "Raspberry Pi reference 2025-10-01\n\
    Generated using pi-gen, https://github.com/RPi-Distro/pi-gen, 0123456789abcdef0123456789abcdef01234567, stage2\n";
const FSTAB: &str = "proc /proc proc defaults 0 0\nPARTUUID=4f2c9ea0-01 /boot/firmware vfat defaults 0 2\n\
    PARTUUID=4f2c9ea0-02 / ext4 defaults,noatime 0 1\n";
const OS_RELEASE: &str = "PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\nVERSION_CODENAME=trixie\nID=debian\n";

/// The image in `folder`, made if it is not there. Takes minutes, nearly all of it in `xz`.
pub(crate) fn make(folder: &Path) -> Result<PathBuf> {
    let packed = folder.join("bench-1.img.xz");
    if packed.exists() {
        return Ok(packed);
    }
    let work = tempfile::tempdir_in(folder).context("a folder to make the image in")?;
    let image = work.path().join("bench.img");
    File::create(&image)?.set_len(IMAGE)?;
    let (boot, root) = (BOOT_START / 512, ROOT_START / 512);
    let table = format!(
        "label: dos\nlabel-id: 0x4f2c9ea0\n\nstart={boot}, size={}, type=c\nstart={root}, type=83\n",
        BOOT / 512
    );
    run_with_input(Command::new("sfdisk").args(["--quiet", "--no-reread"]).arg(&image), &table)?;
    make_boot(&image, work.path())?;
    make_root(&image, work.path())?;
    // As pi-gen packs: blocks that can be unpacked side by side.
    let half = work.path().join("bench.img.xz");
    run(Command::new("xz").args(["-T0", "-6", "-c"]).arg(&image).stdout(Stdio::from(File::create(&half)?)))?;
    fs::rename(&half, &packed)?;
    Ok(packed)
}

fn make_boot(image: &Path, work: &Path) -> Result<()> {
    let mut mkfs = Command::new("mkfs.fat");
    mkfs.args([
        "-F",
        "32",
        "-s",
        "1",
        "-i",
        "4f2c9ea0",
        "-n",
        "bootfs",
        "--offset",
        &(BOOT_START / 512).to_string(),
    ]);
    run(mkfs.arg(image).arg((BOOT / 1024).to_string()))?;
    let files = work.join("boot");
    fs::create_dir(&files)?;
    for (name, text) in [("cmdline.txt", CMDLINE), ("config.txt", CONFIG), ("issue.txt", ISSUE)] {
        fs::write(files.join(name), text)?;
    }
    for (index, name) in ["kernel8.img", "kernel_2712.img", "initramfs8", "initramfs_2712"].iter().enumerate()
    {
        fill(&files.join(name), 16 * MIB, 1000 + index as u64)?;
    }
    let mut names: Vec<_> = fs::read_dir(&files)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    names.sort();
    let at = format!("{}@@{BOOT_START}", image.display());
    run(Command::new("mcopy").args(["-i", &at]).args(names).arg("::/").env("SOURCE_DATE_EPOCH", "1759276800"))
}

fn make_root(image: &Path, work: &Path) -> Result<()> {
    let tree = work.join("root");
    for folder in ["etc", "usr/bin", "usr/lib", "usr/share"] {
        fs::create_dir_all(tree.join(folder))?;
    }
    fs::write(tree.join("usr/lib/os-release"), OS_RELEASE)?;
    std::os::unix::fs::symlink("../usr/lib/os-release", tree.join("etc/os-release"))?;
    std::os::unix::fs::symlink("usr/bin", tree.join("bin"))?;
    fs::write(tree.join("etc/fstab"), FSTAB)?;
    fs::write(tree.join("etc/machine-id"), "uninitialized\n")?;
    fs::write(tree.join("usr/bin/dpkg"), aarch64_program())?;
    for number in 0..FILES {
        fill(&tree.join(format!("usr/share/{number:04}")), MIB, number)?;
    }
    let mut mke2fs = Command::new("mke2fs");
    mke2fs.args(["-q", "-t", "ext4", "-L", "rootfs", "-O", "^64bit,^huge_file", "-d"]).arg(&tree);
    mke2fs.args(["-E", &format!("offset={ROOT_START}")]).arg(image);
    run(mke2fs.arg(format!("{}k", (IMAGE - ROOT_START) / 1024)))
}

/// The smallest static program file for a 64-bit Pi, which serves as the image's dpkg and as the agent.
pub(crate) fn aarch64_program() -> Vec<u8> {
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0\x01\0\0\0".to_vec();
    for number in [0x40_0000u64, 64, 0] {
        elf.extend(number.to_le_bytes());
    }
    elf.extend([0; 4]);
    for number in [64u16, 56, 1, 64, 0, 0] {
        elf.extend(number.to_le_bytes());
    }
    // One program header, of what is loaded.
    elf.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    for number in [0u64, 0x40_0000, 0x40_0000, 120, 120, 4096] {
        elf.extend(number.to_le_bytes());
    }
    elf
}

/// Writes bytes of which a quarter is left after packing: words of a fixed vocabulary, some of them new.
pub(crate) fn fill(path: &Path, bytes: u64, seed: u64) -> Result<()> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut random = Random(seed + 1);
    let mut left = bytes;
    while left > 0 {
        let choice = random.next();
        let fresh = choice.is_multiple_of(16);
        // A word is what its number makes of it, the same in every file.
        let mut word = Random(if fresh { choice } else { (choice >> 8) % 8192 + 1 });
        let length = (4 + word.next() % 16).min(left);
        for _ in 0..length {
            file.write_all(&word.next().to_le_bytes()[..1])?;
        }
        left -= length;
    }
    Ok(file.into_inner()?.sync_all()?)
}

/// SplitMix64 (Steele, Lea, Flood 2014): deterministic, and good enough for bytes to pack.
struct Random(u64);

impl Random {
    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
