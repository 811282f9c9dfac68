//! Partition tables.

use builder::image::overlay::SECTOR;
use builder::image::partitions;
use crc::{CRC_32_ISO_HDLC, Crc};
use proptest::prelude::*;

use crate::field::{self, Image, Patched};
use crate::{found, images, mutate};

const CASES: u32 = 10_000;

const SECTOR_BYTES: usize = 512;
/// A GPT header's fields: where it says how long it is, its own checksum, where the entries are, how many of which size,
/// and their checksum.
const HEADER: usize = 92;
const SUM: usize = 16;
const ENTRIES: usize = 72;
const COUNT: usize = 80;
const SIZE: usize = 84;
const ENTRIES_SUM: usize = 88;

/// Makes the checksums of both GPT headers right again, so that what lies behind them is reached.
fn repair(bytes: &mut [u8]) {
    let crc = Crc::<u32>::new(&CRC_32_ISO_HDLC);
    let last = (bytes.len() / SECTOR_BYTES).saturating_sub(1);
    for header in [SECTOR_BYTES, last * SECTOR_BYTES] {
        if bytes.get(header..header + 8) != Some(b"EFI PART") || header + HEADER > bytes.len() {
            continue;
        }
        let field = |at: usize| u32::from_le_bytes(bytes[header + at..][..4].try_into().unwrap()) as usize;
        let (start, length) = (field(ENTRIES) * SECTOR_BYTES, field(COUNT).saturating_mul(field(SIZE)));
        if let Some(entries) = start.checked_add(length).and_then(|end| bytes.get(start..end)) {
            let sum = crc.checksum(entries).to_le_bytes();
            bytes[header + ENTRIES_SUM..][..4].copy_from_slice(&sum);
        }
        bytes[header + SUM..][..4].fill(0);
        let sum = crc.checksum(&bytes[header..header + HEADER]).to_le_bytes();
        bytes[header + SUM..][..4].copy_from_slice(&sum);
    }
}

/// Whether it was taken.
fn check(bytes: &Vec<u8>) -> bool {
    let size = bytes.len() as u64;
    let Ok(found) = partitions::find(&Patched::new(bytes, &[]), size) else { return false };
    for part in [found.boot, found.root] {
        assert_eq!((part.start % SECTOR, part.length % SECTOR), (0, 0), "whole sectors");
        assert!(part.start >= SECTOR, "{part:?} lies over the table");
        assert!(part.length > 0, "{part:?} is nothing");
        assert!(part.start.checked_add(part.length).is_some_and(|end| end <= size), "{part:?} of {size}");
    }
    let (first, second) = match found.boot.start < found.root.start {
        true => (found.boot, found.root),
        false => (found.root, found.boot),
    };
    assert!(first.start + first.length <= second.start, "{first:?} and {second:?} overlap");
    true
}

/// The reader of GPTs panics at the one size and takes 512 GiB for the other number.
#[test]
fn a_gpt_whose_entries_nobody_writes_is_refused() {
    for image in images("tables") {
        for (field, value) in [(SIZE, 256_u32), (SIZE, 0), (COUNT, u32::MAX), (COUNT, 1025)] {
            let mut bytes = image.bytes.clone();
            let last = bytes.len() - SECTOR_BYTES;
            let headers = [SECTOR_BYTES, last].map(|at| bytes[at..].starts_with(b"EFI PART").then_some(at));
            for header in headers.iter().flatten() {
                bytes[header + field..][..4].copy_from_slice(&value.to_le_bytes());
            }
            repair(&mut bytes);
            assert_eq!(check(&bytes), headers == [None, None], "{field} {value}");
            // The same where the image ends within the header's sector.
            bytes.truncate(SECTOR_BYTES + HEADER + 1);
            repair(&mut bytes);
            assert!(!check(&bytes), "{field} {value}, cut off");
        }
    }
}

#[test]
fn partitions_lie_within_the_image_and_apart() {
    let images: Vec<Image> = images("tables");
    let taken = images.iter().filter(|image| check(&image.bytes)).count();
    assert_eq!(taken, images.len() - 1, "all but the one of whose GPT only the copy at the end is left");
    assert!(found("tables", |image| check(&image.bytes)).iter().all(|(_, taken)| !taken));
    let damages = prop_oneof![
        2 => Just(Vec::new()),
        1 => prop::collection::vec(mutate::damage(), 1..4),
    ];
    let damaged = (field::damaged(&images), damages, any::<bool>()).prop_map(
        move |((which, patches), damages, repaired)| {
            let mut bytes = images[which].bytes.clone();
            for patch in &patches {
                bytes[patch.at..patch.at + patch.bytes.len()].copy_from_slice(&patch.bytes);
            }
            let mut bytes = mutate::apply(bytes, &damages);
            if repaired {
                repair(&mut bytes);
            }
            Shown { patches: format!("{patches:?} {damages:?} {repaired}"), bytes }
        },
    );
    mutate::run("tables", CASES, &damaged, |shown| {
        check(&shown.bytes);
    });
}

/// An image that is shown by its damage.
struct Shown {
    patches: String,
    bytes: Vec<u8>,
}

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.patches)
    }
}
