//! Packed images.

use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;

use builder::image::decode::{self, DecodeError, Format, ImageInZip};
use crc::{CRC_32_ISO_HDLC, Crc};
use proptest::prelude::*;

use crate::field::{self, Image};
use crate::{folder, mutate};

const CASES: u32 = 16_000;
/// Read of what an archive unpacks to at most. Damage can make a bomb; that one cannot be read to its end is known.
const ENOUGH: u64 = 4 << 20;

/// Unpacks, as far as there is enough; `None` for what has no end by then.
fn unpack(bytes: &[u8]) -> Result<Option<Vec<u8>>, DecodeError> {
    let format = Format::detect(bytes).ok_or(DecodeError::UnknownFormat)?;
    let mut image = Vec::new();
    if format == Format::Zip {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let mut zip = ImageInZip::open(&file)?;
        zip.size()?;
        zip.reader()?.take(ENOUGH).read_to_end(&mut image).map_err(DecodeError::classify)?;
    } else {
        let reader = decode::stream(format, bytes)?;
        reader.take(ENOUGH).read_to_end(&mut image).map_err(DecodeError::classify)?;
    }
    Ok(Some(image).filter(|image| (image.len() as u64) < ENOUGH))
}

/// Makes the checksums of an xz file's first headers and of its end right again, so that what lies behind them is reached.
fn repair(bytes: &mut [u8]) {
    let sum = |bytes: &[u8]| Crc::<u32>::new(&CRC_32_ISO_HDLC).checksum(bytes).to_le_bytes();
    let length = bytes.len();
    if length < 64 || !bytes.starts_with(&[0xfd, b'7', b'z']) {
        return;
    }
    let mut put = |from: usize, to: usize, at: usize| {
        if from < to && to <= length && at + 4 <= length {
            let sum = sum(&bytes[from..to]);
            bytes[at..at + 4].copy_from_slice(&sum);
        }
        (bytes[12], u32::from_le_bytes(bytes[length - 8..length - 4].try_into().unwrap()))
    };
    // The file's header, the first block's, the index, the footer.
    let (block, index) = put(6, 8, 8);
    let block = (usize::from(block) + 1) * 4;
    put(12, 12 + block - 4, 12 + block - 4);
    let index = (index as usize).saturating_add(1).saturating_mul(4);
    if let Some(start) = (length - 12).checked_sub(index) {
        put(start, length - 16, length - 16);
    }
    put(length - 8, length - 2, length - 12);
}

struct Archive {
    name: String,
    packed: Image,
    /// What it may unpack to: any row of these.
    parts: Vec<Vec<u8>>,
}

fn archives() -> Vec<Archive> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder("archives")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let image = fs::read(folder("archives").join("os.img")).unwrap();
    let (first, second) = image.split_at(8192);
    let archive = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let parts = match name.starts_with("two") {
            true => vec![first.to_vec(), second.to_vec()],
            false => vec![image.clone()],
        };
        let packed = Image::new(fs::read(path).unwrap());
        assert!(unpack(&packed.bytes).unwrap().as_ref() == Some(&image), "{name}");
        Archive { name, packed, parts }
    };
    paths.iter().map(archive).collect()
}

/// Whether bytes are whole parts one after the other; a stream, member or frame that is cut out without a trace is no damage
/// that could be seen.
fn is_of_parts(mut bytes: &[u8], parts: &[Vec<u8>]) -> bool {
    while !bytes.is_empty() {
        match parts.iter().find_map(|part| bytes.strip_prefix(&part[..])) {
            Some(rest) => bytes = rest,
            None => return false,
        }
    }
    true
}

struct Case {
    which: usize,
    bytes: Vec<u8>,
    /// Whether checksums were made right, which other bytes then may have.
    repaired: bool,
    how: String,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "archive {}: {}", self.which, self.how)
    }
}

fn damaged(images: Vec<Image>) -> impl Strategy<Value = Case> {
    let damages = prop_oneof![
        1 => Just(Vec::new()),
        1 => prop::collection::vec(mutate::damage(), 1..4),
    ];
    (field::damaged(&images), damages, any::<bool>(), any::<bool>()).prop_map(
        move |((which, patches), damages, patched, repaired)| {
            let mut bytes = images[which].bytes.clone();
            for patch in patches.iter().filter(|_| patched || damages.is_empty()) {
                bytes[patch.at..patch.at + patch.bytes.len()].copy_from_slice(&patch.bytes);
            }
            let mut bytes = mutate::apply(bytes, &damages);
            if repaired {
                repair(&mut bytes);
            }
            Case { which, bytes, repaired, how: format!("{patches:?} {patched} {damages:?} {repaired}") }
        },
    )
}

/// Whether the format of these bytes can tell that they are damaged.
fn has_checksum(bytes: &[u8]) -> bool {
    match Format::detect(bytes) {
        None | Some(Format::Raw) => false,
        // A bit of the frame's header says whether a checksum follows (RFC 8878 §3.1.1.1.1).
        Some(Format::Zstd) => bytes.get(4).is_some_and(|descriptor| descriptor & 4 != 0),
        Some(Format::Xz | Format::Gzip | Format::Zip) => true,
    }
}

#[test]
fn no_damaged_archive_passes_for_whole() {
    let archives = archives();
    let images = archives.iter().map(|archive| archive.packed.clone()).collect();
    mutate::run("archives", CASES, &damaged(images), |case| {
        let Archive { name, parts, .. } = &archives[case.which];
        let Ok(Some(image)) = unpack(&case.bytes) else { return };
        if has_checksum(&case.bytes) && !(case.repaired && name.ends_with("xz")) {
            assert!(is_of_parts(&image, parts), "{name} gives {} other bytes", image.len());
        }
    });
}
