//! Root partitions.

use builder::image::overlay::Window;
use builder::image::root;

use crate::field::{Image, OnDisk, Patch};
use crate::{field, found, images, mutate};

const CASES: u32 = 3000;
const PATHS: [&str; 3] = ["/var/lib/firstboot/seed.json", "/var/lib/firstboot/journal.json", "/etc/fstab"];
const SUPERBLOCK: std::ops::Range<usize> = 1024..2048;
/// Far more than any of the files has.
const LIMIT: usize = 16 << 20;
/// Of the features, the one that means checksums everywhere (`metadata_csum`).
const FEATURES: usize = 1024 + 0x64;
const CHECKSUMS: u8 = 4;

/// The lengths of the files that are there.
fn lengths(file: &std::fs::File, window: Window) -> Option<Vec<Option<usize>>> {
    let files = root::read_files(file, window, &PATHS).ok()?;
    Some(files.iter().map(|bytes| bytes.as_ref().map(Vec::len)).collect())
}

#[test]
fn a_root_partition_is_refused_or_read() {
    let images: Vec<Image> = images("root");
    let disks: Vec<_> = images.iter().map(OnDisk::new).collect();
    let window = |image: &Image| Window { start: 0, length: image.bytes.len() as u64 };
    let good: Vec<_> = images
        .iter()
        .zip(&disks)
        .map(|(image, disk)| {
            let read = root::read(disk.file.as_file(), window(image)).unwrap();
            assert_eq!((read.codename.as_str(), read.mount.as_str()), ("trixie", "/boot/firmware"));
            lengths(disk.file.as_file(), window(image)).unwrap()
        })
        .collect();
    let found = found("root", |image| {
        let disk = OnDisk::new(image);
        let file = disk.file.as_file();
        root::read(file, window(image)).is_ok()
            || root::read_files(file, window(image), &["/etc/os-release", "/etc/fstab"]).is_ok()
    });
    assert!(found.iter().all(|(_, taken)| !taken), "{found:?}");
    mutate::run("root", CASES, &field::damaged(&images), |(which, patches)| {
        let image = &images[*which];
        let has_sums = image.bytes[FEATURES + 1] & CHECKSUMS != 0;
        let spared =
            |patch: &Patch| patch.at >= SUPERBLOCK.end || patch.at + patch.bytes.len() <= SUPERBLOCK.start;
        disks[*which].with(image, patches, |file| {
            if let Ok(read) = root::read(file, window(image)) {
                assert!(read.name.len() + read.codename.len() + read.mount.len() < LIMIT);
            }
            let Some(lengths) = lengths(file, window(image)) else { return };
            assert!(lengths.iter().flatten().all(|length| *length <= LIMIT));
            // Content has no checksum, but everything else has: what is there, and how long it is.
            if has_sums && patches.iter().all(spared) {
                assert_eq!(lengths, good[*which]);
            }
        });
    });
}
