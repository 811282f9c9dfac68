//! Decompressing an OS image. The kind of archive is told by its first bytes, never by its name, and a reader made
//! here gives its last byte only after everything the format can check has been checked: truncation, damage and
//! bytes after the end are errors, not short images.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};

use flate2::bufread::GzDecoder;
use thiserror::Error;

mod archive;
mod foreign;
mod limit;
mod members;
mod xz;

pub use archive::ImageInZip;
pub use foreign::Foreign;

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

/// The largest window of a zstd frame, as a power of two in bytes: the library's own limit, and that of `zstd -d` without
/// `--long`.
const ZSTD_WINDOW_LOG: u32 = 27;

/// Why an image cannot be unpacked.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// It may be whole, but builder cannot unpack it.
    #[error("{0}, which builder does not unpack")]
    Unsupported(Foreign),
    /// What comes out of the archive does not begin with a partition table.
    #[error("what the archive holds is not a disk image: it has no partition table")]
    NotDisk,
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
    pub const DETECT: usize = 520;
    /// How many bytes [`Self::of`] looks at: enough for the first sectors of an image to come out of them.
    pub const PEEK: usize = 64 << 10;

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

    /// Tells the format of an open file, whatever its position, and rewinds it. Refuses what its first [`Self::PEEK`] bytes
    /// show to be unsupported; damage is for whoever reads all of it to find.
    pub fn of(mut file: &File) -> Result<Self, DecodeError> {
        let mut first = Vec::with_capacity(Self::PEEK);
        file.rewind().map_err(DecodeError::Read)?;
        file.take(Self::PEEK as u64).read_to_end(&mut first).map_err(DecodeError::Read)?;
        file.rewind().map_err(DecodeError::Read)?;
        Self::probe(&first)
    }

    /// See [`Self::of`].
    fn probe(first: &[u8]) -> Result<Self, DecodeError> {
        if let Some(foreign) = Foreign::recognise(first) {
            return Err(DecodeError::Unsupported(foreign));
        }
        let format = Self::detect(first).ok_or(DecodeError::UnknownFormat)?;
        match format {
            Self::Raw => {}
            Self::Zip => {
                if let Some(foreign) = Foreign::first_entry(first) {
                    return Err(DecodeError::Unsupported(foreign));
                }
            }
            Self::Xz | Self::Gzip | Self::Zstd => {
                let (beginning, error) = unpack_beginning(format, first);
                // Other errors may come from looking at a part of the file only.
                if let Some(error @ DecodeError::Unsupported(_)) = error {
                    return Err(error);
                }
                if beginning.len() >= Self::DETECT {
                    check_beginning(format, &beginning)?;
                }
            }
        }
        Ok(format)
    }
}

/// The first unpacked bytes that come out of an archive's first bytes, and the error that ended them.
fn unpack_beginning(format: Format, first: &[u8]) -> (Vec<u8>, Option<DecodeError>) {
    let mut reader: Box<dyn Read + '_> = match format {
        Format::Xz => Box::new(xz::beginning(first)),
        _ => match stream(format, first) {
            Ok(reader) => reader,
            Err(error) => return (Vec::new(), Some(error)),
        },
    };
    let mut beginning = vec![0; Format::DETECT];
    let mut length = 0;
    while let Some(rest) = beginning.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) => {
                beginning.truncate(length);
                return (beginning, Some(DecodeError::classify(error)));
            }
        }
    }
    beginning.truncate(length);
    (beginning, None)
}

/// Refuses an archive by its first unpacked bytes: as many as there are, up to a block.
pub fn check_beginning(outer: Format, first: &[u8]) -> Result<(), DecodeError> {
    if let Some(foreign) = Foreign::within(outer, first) {
        return Err(DecodeError::Unsupported(foreign));
    }
    match Format::detect(first) {
        Some(_) => Ok(()),
        None => Err(DecodeError::NotDisk),
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
    /// Whether another program may get the image out of the archive.
    pub const fn is_of_use(&self) -> bool {
        matches!(self, Self::Unsupported(_) | Self::NoImage | Self::SeveralImages(_))
    }

    /// What an error met while reading from [`stream`] means.
    pub fn classify(error: io::Error) -> Self {
        if error.get_ref().is_some_and(|inner| inner.is::<Trailing>()) {
            return Self::TrailingGarbage;
        }
        if error.get_ref().is_some_and(|inner| inner.is::<limit::Exceeded>()) {
            return Self::TooLarge;
        }
        if let Some(foreign) = error.get_ref().and_then(unsupported_by_the_library) {
            return Self::Unsupported(foreign);
        }
        match error.kind() {
            _ if error.raw_os_error().is_some() => Self::Read(error),
            io::ErrorKind::UnexpectedEof => Self::Truncated(error),
            _ => Self::Corrupt(error),
        }
    }
}

/// What a library's error says of a feature that it was not allowed, or not built, to decode.
fn unsupported_by_the_library(error: &(dyn std::error::Error + Send + Sync + 'static)) -> Option<Foreign> {
    use zstd::zstd_safe::zstd_sys::ZSTD_ErrorCode::ZSTD_error_frameParameter_windowTooLarge;
    if let Some(error) = error.downcast_ref::<zstd::Error>() {
        return error.is(ZSTD_error_frameParameter_windowTooLarge).then_some(Foreign::ZstdWindow);
    }
    match error.downcast_ref::<liblzma::stream::Error>() {
        Some(liblzma::stream::Error::MemLimit) => Some(Foreign::XzMemory),
        Some(liblzma::stream::Error::Options) => Some(Foreign::XzFilter),
        _ => None,
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
