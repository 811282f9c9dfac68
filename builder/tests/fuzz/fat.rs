//! Boot partitions: read, and edited.

use builder::image::fat::{Fat, Stamp};
use builder::image::overlay::{ReadAt, SECTOR, Window, Write};

use crate::field::{Image, Patch, Patched};
use crate::{field, found, images, mutate};

const CASES: u32 = 1500;
const LIMIT: u64 = 64 * 1024;

/// Files that are there and one that is not, in folders that are there and one that is not.
const PUT: [(&str, &[u8]); 6] = [
    ("cmdline.txt", &[b'c'; 2000]),
    ("config.txt", b"arm_64bit=1\n"),
    ("user-data", b""),
    ("swarm/card.json", b"{}"),
    ("swarm/agent", &[b'a'; 20_000]),
    ("new/file-with-a-long-name.txt", b"new"),
];
/// Files that are to stay as they are.
const LEFT: [&str; 4] = ["issue.txt", "kernel8.img", "overlays/vc4-kms-v3d.dtbo", "swarm/status.txt"];

fn read(fat: &Fat, base: &impl ReadAt, name: &str) -> Option<Vec<u8>> {
    fat.read(base, name, LIMIT).ok().flatten()
}

/// Where the writes go, once that is seen to be within the window, in order and in whole sectors.
fn patches(writes: Vec<Write>, window: Window) -> Vec<Patch> {
    let mut end = window.start;
    for Write { offset, bytes } in &writes {
        assert!(*offset >= end, "not in order");
        assert_eq!((offset % SECTOR, bytes.len() as u64 % SECTOR), (0, 0), "whole sectors");
        assert!(!bytes.is_empty());
        end = offset + bytes.len() as u64;
    }
    assert!(end <= window.start + window.length, "beyond the window");
    writes
        .into_iter()
        .map(|Write { offset, bytes }| Patch { at: offset.try_into().unwrap(), bytes })
        .collect()
}

/// Whether it was taken.
fn check(bytes: &Vec<u8>, damage: &[Patch], stamp: &'static Stamp) -> bool {
    let base = Patched::new(bytes, damage);
    let window = Window { start: 0, length: bytes.len() as u64 };
    let Ok(fat) = Fat::open(&base, window) else { return false };
    drop(fat.label(&base));
    drop(fat.names(&base));
    let before: Vec<_> = LEFT.iter().map(|name| read(&fat, &base, name)).collect();
    for (name, _) in PUT {
        assert!(read(&fat, &base, name).is_none_or(|bytes| bytes.len() as u64 <= LIMIT));
    }
    let Ok(edited) = fat.edit(&base, &PUT, stamp) else { return false };

    let mut all = damage.to_vec();
    all.extend(patches(edited.writes, window));
    let base = Patched::new(bytes, &all);
    let fat = Fat::open(&base, window).unwrap();
    for (name, bytes) in PUT {
        assert!(read(&fat, &base, name).as_deref() == Some(bytes), "{name} is not what was put there");
    }
    let after: Vec<_> = LEFT.iter().map(|name| read(&fat, &base, name)).collect();
    assert!(before == after, "a file that was not touched is another");
    if let Ok(nothing) = fat.edit(&base, &[], stamp) {
        assert_eq!(nothing.free_bytes, edited.free_bytes, "the free bytes are not what is free");
    }
    true
}

#[test]
fn a_boot_partition_is_refused_or_holds_what_was_put_there() {
    let stamp = Stamp::from_unix(1_764_806_400);
    let images: Vec<Image> = images("fat");
    let taken = images.iter().filter(|image| check(&image.bytes, &[], stamp)).count();
    assert_eq!(taken, 1, "the FAT32 is taken, the FAT16 is not");
    let found = found("fat", |image| check(&image.bytes, &[], stamp));
    let taken: Vec<_> = found.iter().filter(|(_, taken)| *taken).map(|(name, _)| name.as_str()).collect();
    // The second allocation table of the folders is whole, and counts.
    assert_eq!(taken, ["folder-beyond-the-end", "folder-in-a-circle", "folder-to-nowhere", "not-unmounted"]);
    mutate::run("fat", CASES, &field::damaged(&images), |(which, patches)| {
        check(&images[*which].bytes, patches, stamp);
    });
}
