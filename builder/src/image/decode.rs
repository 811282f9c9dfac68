//! Decompressing an OS image. The kind of archive is told by its first bytes, never by its name, and a reader made
//! here gives its last byte only after everything the format can check has been checked: truncation, damage and
//! bytes after the end are errors, not short images.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};

use flate2::bufread::GzDecoder;
use thiserror::Error;

mod archive;
mod limit;
mod members;
mod xz;

pub use archive::ImageInZip;

/// How an image is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Not at all: sectors as on a card.
    Raw,
    /// One or more xz streams.
    Xz,
    /// One or more gzip members.
    Gzip,
    /// One or more zstd frames.
    Zstd,
    /// A zip archive.
    Zip,
}

/// Bytes an archive unpacks to at most: more than the largest card's image that anybody passes on. A kilobyte can unpack
/// to gigabytes, and zeros leave holes in the file, so that no full disk would end it.
const AT_MOST: u64 = 256 << 30;

/// Why an image cannot be unpacked.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// The first bytes are none we know.
    #[error("it is neither a disk image nor one packed as .xz, .gz, .zst or .zip")]
    UnknownFormat,
    /// It ends too early.
    #[error("it is cut off: the download or copy was not complete")]
    Truncated(#[source] io::Error),
    /// Its content is not what its own checksums or structure say.
    #[error("it is damaged")]
    Corrupt(#[source] io::Error),
    /// Something follows the end.
    #[error("there is something after the end of the archive")]
    TrailingGarbage,
    /// More than any image has, as of an archive made to fill disks.
    #[error("it unpacks to more than {} GiB, which no image does", AT_MOST >> 30)]
    TooLarge,
    /// It unpacks to more than it should.
    #[error("it unpacks to more than the image it should be")]
    TooLong,
    /// Reading failed.
    #[error("cannot read it")]
    Read(#[source] io::Error),
    /// A zip without an image.
    #[error("the zip archive holds no .img file")]
    NoImage,
    /// A zip with several images.
    #[error("the zip archive holds several .img files: {}", .0.join(", "))]
    SeveralImages(Vec<String>),
}

impl Format {
    /// How many bytes [`Self::detect`] wants to see.
    pub const PEEK: usize = 520;

    /// Tells the format from the first bytes of a file.
    pub fn detect(first: &[u8]) -> Option<Self> {
        match first {
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            // RFC 8878 §3.1: a frame, or a skippable one.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::Zstd),
            // APPNOTE.TXT §4.3: a first entry, or the end of an empty archive.
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Some(Self::Zip),
            _ if first.get(510..512) == Some(&[0x55, 0xaa]) || first.get(512..520) == Some(b"EFI PART") => {
                Some(Self::Raw)
            }
            _ => None,
        }
    }

    /// Tells the format of an open file, whatever its position, and rewinds it.
    pub fn of(mut file: &File) -> Result<Self, DecodeError> {
        let mut first = Vec::with_capacity(Self::PEEK);
        file.rewind().map_err(DecodeError::Read)?;
        file.take(Self::PEEK as u64).read_to_end(&mut first).map_err(DecodeError::Read)?;
        file.rewind().map_err(DecodeError::Read)?;
        Self::detect(&first).ok_or(DecodeError::UnknownFormat)
    }
}

/// Unpacks what is read one after the other. A zip archive is not: see [`ImageInZip`].
///
/// Errors of the reader are classified by [`DecodeError::classify`].
pub fn stream<'a>(format: Format, input: impl Read + 'a) -> Result<Box<dyn Read + 'a>, DecodeError> {
    let input = BufReader::with_capacity(1 << 20, input);
    let reader: Box<dyn Read + 'a> = match format {
        Format::Raw | Format::Zip => Box::new(input),
        Format::Xz => Box::new(xz::Reader::new(input)),
        Format::Gzip => Box::new(members::Reader::<_, GzDecoder<_>>::new(input).map_err(DecodeError::Read)?),
        Format::Zstd => {
            Box::new(members::Reader::<_, zstd::Decoder<'static, _>>::new(input).map_err(DecodeError::Read)?)
        }
    };
    Ok(Box::new(limit::Reader::new(reader, AT_MOST)))
}

/// Marks an error as "something follows the end" on its way through [`io::Error`].
#[derive(Debug, Error)]
#[error("something follows the end")]
struct Trailing;

fn trailing() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, Trailing)
}

impl DecodeError {
    /// What an error met while reading from [`stream`] means.
    pub fn classify(error: io::Error) -> Self {
        if error.get_ref().is_some_and(|inner| inner.is::<Trailing>()) {
            return Self::TrailingGarbage;
        }
        if error.get_ref().is_some_and(|inner| inner.is::<limit::Exceeded>()) {
            return Self::TooLarge;
        }
        match error.kind() {
            _ if error.raw_os_error().is_some() => Self::Read(error),
            io::ErrorKind::UnexpectedEof => Self::Truncated(error),
            _ => Self::Corrupt(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_an_image_by_its_partition_table() {
        let mut sectors = vec![0; 1024];
        assert_eq!(Format::detect(&sectors), None);
        sectors[510..512].copy_from_slice(&[0x55, 0xaa]);
        assert_eq!(Format::detect(&sectors), Some(Format::Raw));
        assert_eq!(Format::detect(&sectors[..100]), None);
        assert_eq!(Format::detect(b""), None);
        assert_eq!(Format::detect(b"<!DOCTYPE html>"), None);
    }

    #[test]
    fn a_failing_disk_is_not_a_damaged_archive() {
        let disk = io::Error::from_raw_os_error(5);
        assert!(matches!(DecodeError::classify(disk), DecodeError::Read(_)));
        assert!(matches!(DecodeError::classify(trailing()), DecodeError::TrailingGarbage));
        assert!(matches!(
            DecodeError::classify(io::ErrorKind::UnexpectedEof.into()),
            DecodeError::Truncated(_)
        ));
    }
}
