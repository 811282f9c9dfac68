//! Moves an image from its archive to the files it is spread over.

use std::fs::File;
use std::io::{self, Read, Seek};

use crate::digest::{Digest, Hasher};
use crate::image::decode::{self, DecodeError, Format, ImageInZip};
use crate::report::{Progress, Task};
use crate::spread::{Spread, SpreadError};

/// Bytes of a sector of every disk that a card is.
const SECTOR: usize = 512;

/// What came out of an archive.
#[derive(Debug)]
pub(super) struct Content {
    /// Bytes of it that the archive holds.
    pub(super) size: u64,
    /// The digest of those, if it was wanted: what was promised may be this.
    pub(super) digest: Option<Digest>,
    /// Bytes of the file that was written: whole sectors, the last one filled up with zeros.
    pub(super) padded_size: u64,
    /// The digest of that file, if one was wanted: what a later look at the cache is compared with.
    pub(super) padded_digest: Option<Digest>,
}

/// What was read so far.
struct Moved {
    size: u64,
    padded_size: u64,
    digest: Option<Digest>,
}

/// Unpacks all of `file`, which may be read from any position, or refuses more than `limit` bytes; waits until everything
/// is written. The second value has one result per target.
pub(super) fn unpack(
    file: &File,
    format: Format,
    wants_digest: bool,
    spread: Spread,
    limit: Option<u64>,
    progress: &Progress,
) -> (Result<Content, DecodeError>, Vec<Result<(), SpreadError>>) {
    let mut hasher = wants_digest.then(Hasher::default);
    let moved = match format {
        Format::Zip => from_zip(file, &spread, &mut hasher, limit, progress),
        _ => from_stream(file, format, &spread, &mut hasher, limit, progress),
    };
    let written = spread.finish(moved.as_ref().map_or(0, |moved| moved.padded_size));
    let content = moved.map(|Moved { size, padded_size, digest }| {
        let padded_digest = hasher.map(Hasher::finish);
        Content { size, padded_size, digest: digest.or(padded_digest), padded_digest }
    });
    (content, written)
}

fn from_stream(
    mut file: &File,
    format: Format,
    spread: &Spread,
    hasher: &mut Option<Hasher>,
    limit: Option<u64>,
    progress: &Progress,
) -> Result<Moved, DecodeError> {
    file.rewind().map_err(DecodeError::Read)?;
    let total = file.metadata().map_err(DecodeError::Read)?.len();
    let task = progress.task("unpack", Some(total));
    let reader = decode::stream(format, Counted { inner: file, task: &task })?;
    let moved = pump(reader, format, spread, hasher, limit, |_| ())?;
    task.finish();
    Ok(moved)
}

fn from_zip(
    file: &File,
    spread: &Spread,
    hasher: &mut Option<Hasher>,
    limit: Option<u64>,
    progress: &Progress,
) -> Result<Moved, DecodeError> {
    let mut image = ImageInZip::open(file)?;
    let task = progress.task("unpack", Some(image.size()?));
    let reader = image.reader()?;
    let moved = pump(reader, Format::Zip, spread, hasher, limit, |count| task.advance(count))?;
    task.finish();
    Ok(moved)
}

/// Reads all there is, which begins as a disk does, and pads it to whole sectors.
fn pump(
    mut reader: impl Read,
    format: Format,
    spread: &Spread,
    hasher: &mut Option<Hasher>,
    limit: Option<u64>,
    seen: impl Fn(u64),
) -> Result<Moved, DecodeError> {
    let (mut offset, mut padded, mut digest) = (0, 0, None);
    // There is no use in unpacking what nobody can keep; the reason is in the spread's results.
    while !spread.first_has_failed() {
        let mut block = spread.block();
        let length = fill(&mut reader, block.memory()).map_err(DecodeError::classify)?;
        if length == 0 {
            break;
        }
        if limit.is_some_and(|limit| offset + length as u64 > limit) {
            return Err(DecodeError::TooLong);
        }
        let (bytes, rest) = block.memory().split_at_mut(length);
        if offset == 0 {
            decode::check_beginning(format, bytes)?;
        }
        if let Some(hasher) = &mut *hasher {
            hasher.update(bytes);
        }
        seen(length as u64);
        // Only the last block is not full, and a full one has whole sectors.
        let missing = length.next_multiple_of(SECTOR) - length;
        if let Some(padding) = rest.get_mut(..missing).filter(|padding| !padding.is_empty()) {
            padding.fill(0);
            if let Some(hasher) = &mut *hasher {
                digest = Some(hasher.clone().finish());
                hasher.update(padding);
            }
        }
        spread.push(block.filled(offset, length + missing));
        padded = offset + (length + missing) as u64;
        offset += length as u64;
    }
    Ok(Moved { size: offset, padded_size: padded, digest })
}

/// Fills `buffer` as far as there is something to read, so that blocks stay aligned.
pub(crate) fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Shows how much of the archive was read.
struct Counted<'a> {
    inner: &'a File,
    task: &'a Task,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.task.advance(count as u64);
        Ok(count)
    }
}
