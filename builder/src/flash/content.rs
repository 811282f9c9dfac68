//! What a card is to hold, block by block: the base image, with the node's own sectors over it.

use std::collections::BTreeMap;
use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::digest::Digest;
use crate::image::overlay::Write;

/// What is handed on, written and checked at once. Flash memory is erased in pieces of up to 4 MiB.
pub const BLOCK: usize = 4 << 20;
/// What a card's own thread holds in memory.
pub const PIECE: usize = 1 << 20;

/// The digest of a block, or that it is all zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Nothing but zeros.
    Zeros,
    /// SHA-256.
    Bytes([u8; 32]),
}

/// The SHA-256 of a block.
pub fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// How an image of some size falls into blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocks {
    /// Bytes of the image.
    pub size: u64,
}

impl Blocks {
    /// How many there are; the last may be shorter.
    pub fn count(self) -> usize {
        usize::try_from(self.size.div_ceil(BLOCK as u64)).unwrap_or(usize::MAX)
    }

    /// Where a block begins, in bytes.
    pub const fn offset(self, index: usize) -> u64 {
        index as u64 * BLOCK as u64
    }

    /// How long a block is, in bytes.
    pub fn length(self, index: usize) -> usize {
        let left = self.size.saturating_sub(self.offset(index));
        usize::try_from(left).unwrap_or(BLOCK).min(BLOCK)
    }
}

/// A node's own sectors, by block.
#[derive(Default)]
pub struct Patches {
    by_block: BTreeMap<usize, Vec<(usize, Vec<u8>)>>,
    digest: Option<Digest>,
}

impl fmt::Debug for Patches {
    /// The sectors hold keys, so they are not printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Patches(in {} blocks)", self.by_block.len())
    }
}

impl Patches {
    /// Cuts a plan's writes at the blocks' borders.
    pub fn new(writes: &[Write]) -> Self {
        let mut patches = Self::default();
        let mut hasher = crate::digest::Hasher::default();
        for write in writes {
            hasher.update(&write.offset.to_le_bytes());
            hasher.update(&(write.bytes.len() as u64).to_le_bytes());
            hasher.update(&write.bytes);
            let (mut offset, mut bytes) = (write.offset, write.bytes.as_slice());
            while !bytes.is_empty() {
                let within = usize::try_from(offset % BLOCK as u64).unwrap_or(0);
                let (now, later) = bytes.split_at(bytes.len().min(BLOCK - within));
                let index = usize::try_from(offset / BLOCK as u64).unwrap_or(usize::MAX);
                patches.by_block.entry(index).or_default().push((within, now.to_vec()));
                offset += now.len() as u64;
                bytes = later;
            }
        }
        patches.digest = Some(hasher.finish());
        patches
    }

    /// What tells this card from another made of the same image.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// Whether the node has sectors of its own in a block.
    pub fn touch(&self, index: usize) -> bool {
        self.by_block.contains_key(&index)
    }

    /// Lays the node's own sectors over a part of a block, which begins at `start` in it.
    pub fn lay_over(&self, index: usize, start: usize, part: &mut [u8]) {
        for (offset, bytes) in self.by_block.get(&index).into_iter().flatten() {
            let (from, to) = ((*offset).max(start), (offset + bytes.len()).min(start + part.len()));
            if from < to
                && let Some(target) = part.get_mut(from - start..to - start)
                && let Some(source) = bytes.get(from - offset..to - offset)
            {
                target.copy_from_slice(source);
            }
        }
    }
}

/// The digest of a whole card: SHA-256 over its blocks' digests, with 32 zero bytes for a block of zeros. Cheap to have,
/// because the blocks' digests are needed anyway.
pub fn card_digest(blocks: &[Expected]) -> Digest {
    let mut hasher = crate::digest::Hasher::default();
    for block in blocks {
        match block {
            Expected::Zeros => hasher.update(&[0; 32]),
            Expected::Bytes(digest) => hasher.update(digest),
        }
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::aligned::is_zero;

    proptest! {
        /// Laid over piece by piece, a plan's writes give what they give laid over at once.
        #[test]
        fn writes_that_cross_borders_are_laid_over_whole(
            writes in prop::collection::vec((0u64..3 * BLOCK as u64 / 512 - 40, 1usize..40), 0..6)
        ) {
            let writes: Vec<_> = writes.iter().enumerate().map(|(place, (sector, count))| Write {
                offset: sector * 512,
                bytes: vec![u8::try_from(place).unwrap() + 1; count * 512],
            }).collect();
            let mut whole = vec![0; 3 * BLOCK];
            for write in &writes {
                let at = usize::try_from(write.offset).unwrap();
                whole[at..at + write.bytes.len()].copy_from_slice(&write.bytes);
            }
            let patches = Patches::new(&writes);
            for index in 0..3 {
                let mut block = vec![0; BLOCK];
                for (piece, part) in block.chunks_mut(PIECE).enumerate() {
                    patches.lay_over(index, piece * PIECE, part);
                }
                prop_assert!(block == whole[index * BLOCK..(index + 1) * BLOCK]);
                prop_assert_eq!(patches.touch(index), !is_zero(&block));
            }
        }
    }

    #[test]
    fn debug_prints_no_bytes() {
        let patches = Patches::new(&[Write { offset: 512, bytes: b"secret".to_vec() }]);
        assert_eq!(format!("{patches:?}"), "Patches(in 1 blocks)");
        assert_eq!(format!("{:?}", crate::aligned::Aligned::new(512)), "Aligned(512 bytes)");
    }

    #[test]
    fn the_last_block_may_be_short() {
        let blocks = Blocks { size: 2 * BLOCK as u64 + 512 };
        assert_eq!((blocks.count(), blocks.length(1), blocks.length(2)), (3, BLOCK, 512));
    }

    #[test]
    fn cards_that_differ_have_other_digests() {
        let one = card_digest(&[Expected::Zeros, Expected::Bytes([1; 32])]);
        assert_ne!(one, card_digest(&[Expected::Bytes([1; 32]), Expected::Zeros]));
        let patches = |byte| Patches::new(&[Write { offset: 0, bytes: vec![byte; 512] }]).digest();
        assert_ne!(patches(1), patches(2));
    }
}
