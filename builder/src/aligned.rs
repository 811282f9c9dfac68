//! Memory for reading and writing past the page cache (`O_DIRECT`), which wants it aligned.

use std::fmt;
use std::ops::{Deref, DerefMut};

/// What direct reads and writes have to be aligned to, in memory and in the file.
pub(crate) const PAGE: usize = 4096;

/// Memory that begins at a page.
pub(crate) struct Aligned {
    memory: Vec<u8>,
    start: usize,
    length: usize,
}

impl Aligned {
    /// So many zeros.
    pub(crate) fn new(length: usize) -> Self {
        let memory = vec![0; length + PAGE];
        let start = memory.as_ptr().align_offset(PAGE).min(PAGE);
        Self { memory, start, length }
    }
}

impl fmt::Debug for Aligned {
    /// A card's sectors hold keys, so they are not printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Aligned({} bytes)", self.length)
    }
}

impl Deref for Aligned {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.memory.get(self.start..self.start + self.length).unwrap_or_default()
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.memory.get_mut(self.start..self.start + self.length).unwrap_or_default()
    }
}

/// Whether there is nothing but zeros.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    // In pieces, because a comparison of whole slices is what the compiler makes fast.
    const ZEROS: [u8; PAGE] = [0; PAGE];
    bytes.chunks(PAGE).all(|piece| ZEROS.get(..piece.len()) == Some(piece))
}
