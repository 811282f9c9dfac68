//! What a Pi's firmware reads from the FAT partition: itself, device trees, kernel and initramfs.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::apt::Mirror;
use crate::download::download_from;
use crate::recipe::KEYRING;
use crate::tools::run;

/// Names as on a 64-bit image, for an image that never starts itself.
const NAMES: [&str; 12] = [
    "LICENCE.broadcom",
    "bcm2710-rpi-3-b.dtb",
    "bcm2711-rpi-4-b.dtb",
    "bcm2712-rpi-5-b.dtb",
    "bootcode.bin",
    "fixup4.dat",
    "initramfs8",
    "initramfs_2712",
    "kernel8.img",
    "kernel_2712.img",
    "overlays/vc4-kms-v3d.dtbo",
    "start4.elf",
];

/// Fills `fat` with names that say what they stand for.
pub(crate) fn write_names(fat: &Path) -> Result<()> {
    NAMES.iter().try_for_each(|name| stand_in(fat, name))
}

/// Fills `fat` with the real firmware of Debian's `raspi-firmware`, which is unpacked in `workshop` and never
/// installed: its hooks would rewrite the FAT of the running system.
pub(crate) fn write_firmware(mirror: &Mirror, suite: &str, workshop: &Path, fat: &Path) -> Result<()> {
    let debs = download_from(
        &mirror.sources_of(suite, "main non-free-firmware", KEYRING),
        "arm64",
        &["raspi-firmware"],
        &workshop.join("firmware"),
    )?;
    let unpacked = workshop.join("firmware/unpacked");
    for deb in &debs {
        run("dpkg-deb", ["--extract".as_ref(), deb.as_os_str(), unpacked.as_os_str()])?;
    }
    let source = unpacked.join("usr/lib/raspi-firmware/.");
    run("cp", ["--recursive".as_ref(), source.as_os_str(), fat.as_os_str()])?;
    // Debian brings few overlays, and a Pi 5's kernel differs by its page size only: both have names to be seen.
    for name in ["LICENCE.broadcom", "initramfs_2712", "kernel_2712.img", "overlays/vc4-kms-v3d.dtbo"] {
        stand_in(fat, name)?;
    }
    Ok(())
}

fn stand_in(fat: &Path, name: &str) -> Result<()> {
    let path = fat.join(name);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    fs::write(&path, format!("Stands for {name} of a real image; nothing reads it.\n"))
        .with_context(|| format!("cannot write {}", path.display()))
}
