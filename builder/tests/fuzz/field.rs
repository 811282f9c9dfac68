//! Damage to the fields of binary formats: numbers replaced by those that readers stumble over, or by another field's.
//! An image is too large to be copied for every case, so the damage lies over it.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use builder::image::overlay::ReadAt;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Bytes of a word, and of the row in which it is looked for.
const WORD: usize = 4;
const ROW: usize = 16;

/// A good image, and where something is in it.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) bytes: Vec<u8>,
    words: Vec<usize>,
}

impl Image {
    /// Words count as fields when something lies in their neighbourhood.
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        let zeros = [0; 4096];
        let mut words = Vec::new();
        for (page, start) in bytes.chunks(zeros.len()).zip((0..).step_by(zeros.len())) {
            if *page == zeros[..page.len()] {
                continue;
            }
            let rows = page.chunks(ROW).zip((start..).step_by(ROW));
            let full = rows.filter(|(row, _)| **row != zeros[..row.len()]);
            words.extend(full.flat_map(|(row, at)| (at..at + row.len()).step_by(WORD)));
        }
        Self { bytes, words }
    }
}

/// Bytes over an image.
#[derive(Debug, Clone)]
pub(crate) struct Patch {
    pub(crate) at: usize,
    pub(crate) bytes: Vec<u8>,
}

#[derive(Debug, Clone)]
enum Value {
    Fixed(u64),
    Near(i8),
    Size(i8),
    Bit(u32),
    Other(Index),
    Random(u64),
}

/// A field that gets another value.
#[derive(Debug, Clone)]
pub(crate) struct Blow {
    word: Index,
    within: usize,
    width: usize,
    value: Value,
}

/// Any blow.
pub(crate) fn blow() -> impl Strategy<Value = Blow> {
    // FAT's marks for a bad cluster and for the end of a chain are among what is looked for.
    let fixed =
        [0, 1, 2, 3, u64::MAX, u64::MAX - 1, u64::MAX / 2, 0x7fff_ffff, 0x7fff, 0x0fff_fff7, 0x0fff_ffff];
    let value = prop_oneof![
        3 => select(fixed.to_vec()).prop_map(Value::Fixed),
        2 => any::<i8>().prop_map(Value::Near),
        1 => any::<i8>().prop_map(Value::Size),
        2 => (0..64_u32).prop_map(Value::Bit),
        3 => any::<Index>().prop_map(Value::Other),
        1 => any::<u64>().prop_map(Value::Random),
        1 => (0..64_u64).prop_map(Value::Fixed),
    ];
    let within = select(vec![0, 0, 0, 1, 2, 3]);
    let width = select(vec![1, 2, 2, 4, 4, 4, 8]);
    (any::<Index>(), within, width, value).prop_map(|(word, within, width, value)| Blow {
        word,
        within,
        width,
        value,
    })
}

impl Blow {
    /// What it does to an image.
    pub(crate) fn on(&self, image: &Image) -> Patch {
        let number = |at: usize| {
            let bytes: Vec<_> = image.bytes.iter().skip(at).take(8).copied().collect();
            let mut whole = [0; 8];
            whole[..bytes.len()].copy_from_slice(&bytes);
            u64::from_le_bytes(whole)
        };
        let at = (*self.word.get(&image.words) + self.within).min(image.bytes.len());
        let (old, sectors) = (number(at), image.bytes.len() as u64 / 512);
        let new = match &self.value {
            Value::Fixed(value) | Value::Random(value) => *value,
            Value::Near(by) => old.wrapping_add_signed((*by).into()),
            Value::Size(by) => sectors.wrapping_add_signed((*by).into()),
            Value::Bit(bit) => old ^ 1 << (bit % 8 * u32::try_from(self.width).unwrap()),
            Value::Other(word) => number(*word.get(&image.words)),
        };
        let length = self.width.min(image.bytes.len().saturating_sub(at));
        Patch { at, bytes: new.to_le_bytes()[..length].to_vec() }
    }
}

/// One of several images, with blows: number and patches.
pub(crate) fn damaged(images: &[Image]) -> impl Strategy<Value = (usize, Vec<Patch>)> + use<> {
    let images = images.to_vec();
    (0..images.len(), prop::collection::vec(blow(), 1..6))
        .prop_map(move |(which, blows)| (which, blows.iter().map(|blow| blow.on(&images[which])).collect()))
}

/// An image under its patches. Who reads more than there is any reason to, runs in circles.
#[derive(Debug)]
pub(crate) struct Patched<'a> {
    pub(crate) base: &'a Vec<u8>,
    pub(crate) patches: &'a [Patch],
    read: Cell<u64>,
}

impl<'a> Patched<'a> {
    const ENOUGH: u64 = 64 << 20;

    pub(crate) const fn new(base: &'a Vec<u8>, patches: &'a [Patch]) -> Self {
        Self { base, patches, read: Cell::new(0) }
    }
}

impl ReadAt for Patched<'_> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        // Asking for next to nothing costs something, too.
        self.read.set(self.read.get() + (buffer.len() as u64).max(16));
        assert!(self.read.get() < Self::ENOUGH, "it reads and reads");
        self.base.read_exact_at(buffer, offset)?;
        let start = usize::try_from(offset).unwrap();
        for Patch { at, bytes } in self.patches {
            let from = start.max(*at);
            let to = (start + buffer.len()).min(at + bytes.len());
            if from < to {
                buffer[from - start..to - start].copy_from_slice(&bytes[from - at..to - at]);
            }
        }
        Ok(())
    }
}

/// A file that holds one of several images, for readers that want a file.
#[derive(Debug)]
pub(crate) struct OnDisk {
    pub(crate) file: tempfile::NamedTempFile,
}

impl OnDisk {
    pub(crate) fn new(image: &Image) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(image.bytes.len() as u64).unwrap();
        for (page, at) in image.bytes.chunks(4096).zip((0..).step_by(4096)) {
            if page.iter().any(|byte| *byte != 0) {
                file.as_file().write_all_at(page, at).unwrap();
            }
        }
        Self { file }
    }

    /// Puts the patches in, shows the file, and takes them out again.
    pub(crate) fn with(&self, image: &Image, patches: &[Patch], look: impl FnOnce(&File)) {
        let file = self.file.as_file();
        for patch in patches {
            file.write_all_at(&patch.bytes, patch.at as u64).unwrap();
        }
        // Also when the look fails: proptest goes on with smaller damage.
        let undo = Undo { file, image, patches };
        look(file);
        drop(undo);
    }
}

struct Undo<'a> {
    file: &'a File,
    image: &'a Image,
    patches: &'a [Patch],
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        for Patch { at, bytes } in self.patches {
            self.file.write_all_at(&self.image.bytes[*at..at + bytes.len()], *at as u64).unwrap();
        }
    }
}
