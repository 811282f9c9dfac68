//! What a Pi's firmware reads from the FAT partition: itself, device trees, kernel and initramfs.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::apt::Mirror;
use crate::download::download_from;
use crate::recipe::KEYRING;
use crate::tools::run;

/// Names as on a 64-bit image, for an image that never starts itself. Real ones have some seventy in the FAT's root.
const NAMES: [&str; 46] = [
    "LICENCE.broadcom",
    "bcm2710-rpi-2-b.dtb",
    "bcm2710-rpi-3-b-plus.dtb",
    "bcm2710-rpi-3-b.dtb",
    "bcm2710-rpi-cm0.dtb",
    "bcm2710-rpi-cm3.dtb",
    "bcm2710-rpi-zero-2-w.dtb",
    "bcm2710-rpi-zero-2.dtb",
    "bcm2711-rpi-4-b.dtb",
    "bcm2711-rpi-400.dtb",
    "bcm2711-rpi-cm4-io.dtb",
    "bcm2711-rpi-cm4.dtb",
    "bcm2711-rpi-cm4s.dtb",
    "bcm2712-d-rpi-5-b.dtb",
    "bcm2712-rpi-5-b.dtb",
    "bcm2712-rpi-500.dtb",
    "bcm2712-rpi-cm5-cm4io.dtb",
    "bcm2712-rpi-cm5-cm5io.dtb",
    "bcm2712-rpi-cm5l-cm4io.dtb",
    "bcm2712-rpi-cm5l-cm5io.dtb",
    "bcm2712d0-rpi-5-b.dtb",
    "bootcode.bin",
    "fixup.dat",
    "fixup4.dat",
    "fixup4cd.dat",
    "fixup4db.dat",
    "fixup4x.dat",
    "fixup_cd.dat",
    "fixup_db.dat",
    "fixup_x.dat",
    "initramfs8",
    "initramfs_2712",
    "kernel8.img",
    "kernel_2712.img",
    "overlays/README",
    "overlays/overlay_map.dtb",
    "overlays/vc4-kms-v3d.dtbo",
    "overlays/vc4-kms-v3d-pi5.dtbo",
    "start.elf",
    "start4.elf",
    "start4cd.elf",
    "start4db.elf",
    "start4x.elf",
    "start_cd.elf",
    "start_db.elf",
    "start_x.elf",
];

/// How many overlays a real image has, about.
const OVERLAYS: usize = 330;

/// Fills `fat` with names that say what they stand for.
pub(crate) fn write_names(fat: &Path) -> Result<()> {
    NAMES.iter().try_for_each(|name| stand_in(fat, name))?;
    write_overlays(fat)
}

/// As many overlays as there are on a real image, under names of the usual length.
fn write_overlays(fat: &Path) -> Result<()> {
    (0..OVERLAYS).try_for_each(|number| stand_in(fat, &format!("overlays/stand-in-for-{number:03}.dtbo")))
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
    write_overlays(fat)
}

fn stand_in(fat: &Path, name: &str) -> Result<()> {
    let path = fat.join(name);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    fs::write(&path, format!("Stands for {name} of a real image; nothing reads it.\n"))
        .with_context(|| format!("cannot write {}", path.display()))
}
