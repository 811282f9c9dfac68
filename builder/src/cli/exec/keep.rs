//! What a machine said, kept until it is shown; so much and no more.

use crate::ssh::batch::Stream;

/// Most bytes that are kept of a machine, both streams together.
const LIMIT: usize = 8 * 1024 * 1024;

/// One machine's output.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) out: Vec<u8>,
    pub(super) err: Vec<u8>,
    /// Whether there was more.
    pub(super) cut: bool,
}

impl Kept {
    /// Adds what was said, up to the limit.
    pub(super) fn add(&mut self, stream: Stream, bytes: &[u8]) {
        let room = LIMIT.saturating_sub(self.out.len() + self.err.len());
        let fits = bytes.get(..room).unwrap_or(bytes);
        self.cut |= fits.len() < bytes.len();
        match stream {
            Stream::Out => self.out.extend_from_slice(fits),
            Stream::Err => self.err.extend_from_slice(fits),
        }
    }

    /// Whether it said nothing at all.
    pub(super) const fn is_empty(&self) -> bool {
        self.out.is_empty() && self.err.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_whatever_is_said() {
        let mut kept = Kept::default();
        for _ in 0..300 {
            kept.add(Stream::Out, &[b'x'; 32 * 1024]);
            kept.add(Stream::Err, b"oh\n");
        }
        assert!(kept.cut);
        assert_eq!(kept.out.len() + kept.err.len(), LIMIT);
    }
}
