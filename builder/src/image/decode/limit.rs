//! An end to what has none: the reader of an archive that was made to fill disks.

use std::io::{self, Read};

use thiserror::Error;

/// Marks an error as "more than there may be" on its way through [`io::Error`].
#[derive(Debug, Error)]
#[error("there is more of it than there may be")]
pub(super) struct Exceeded;

/// Gives what another reader gives, and an error instead of the first bytes too many.
pub(super) struct Reader<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Reader<R> {
    pub(super) const fn new(inner: R, at_most: u64) -> Self {
        Self { inner, left: at_most }
    }
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let given = self.inner.read(out)?;
        let left = self.left.checked_sub(given as u64);
        self.left = left.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, Exceeded))?;
        Ok(given)
    }
}

#[cfg(test)]
mod tests {
    use super::super::DecodeError;
    use super::*;

    #[test]
    fn gives_as_much_as_there_may_be_and_then_an_error() {
        let mut all = Vec::new();
        Reader::new(&[7; 1000][..], 1000).read_to_end(&mut all).unwrap();
        assert_eq!(all, [7; 1000]);
        let error = Reader::new(io::repeat(0), 100_000).read_to_end(&mut all).unwrap_err();
        assert!(matches!(DecodeError::classify(error), DecodeError::TooLarge));
        assert!(all.len() <= 101_000);
    }
}
