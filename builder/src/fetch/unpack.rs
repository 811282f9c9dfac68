//! Moves an image from its archive to the files it is spread over.

use std::fs::File;
use std::io::{self, Read, Seek};

use super::digest::{Digest, Hasher};
use crate::image::decode::{self, DecodeError, Format, ImageInZip};
use crate::report::{Progress, Task};
use crate::spread::{Spread, SpreadError};

/// What came out of an archive.
#[derive(Debug)]
pub(super) struct Content {
    /// Bytes.
    pub(super) size: u64,
    /// Its digest, if it was wanted: what a later look at the cache is compared with.
    pub(super) digest: Option<Digest>,
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
    let written = spread.finish(moved.as_ref().copied().unwrap_or(0));
    (moved.map(|size| Content { size, digest: hasher.map(Hasher::finish) }), written)
}

fn from_stream(
    mut file: &File,
    format: Format,
    spread: &Spread,
    hasher: &mut Option<Hasher>,
    limit: Option<u64>,
    progress: &Progress,
) -> Result<u64, DecodeError> {
    file.rewind().map_err(DecodeError::Read)?;
    let total = file.metadata().map_err(DecodeError::Read)?.len();
    let task = progress.task("unpack", Some(total));
    let reader = decode::stream(format, Counted { inner: file, task: &task })?;
    let size = pump(reader, spread, hasher, limit, |_| ())?;
    task.finish();
    Ok(size)
}

fn from_zip(
    file: &File,
    spread: &Spread,
    hasher: &mut Option<Hasher>,
    limit: Option<u64>,
    progress: &Progress,
) -> Result<u64, DecodeError> {
    let mut image = ImageInZip::open(file)?;
    let task = progress.task("unpack", Some(image.size()?));
    let size = pump(image.reader()?, spread, hasher, limit, |count| task.advance(count))?;
    task.finish();
    Ok(size)
}

fn pump(
    mut reader: impl Read,
    spread: &Spread,
    hasher: &mut Option<Hasher>,
    limit: Option<u64>,
    seen: impl Fn(u64),
) -> Result<u64, DecodeError> {
    let mut offset = 0;
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
        if let (Some(hasher), Some(bytes)) = (&mut *hasher, block.memory().get(..length)) {
            hasher.update(bytes);
        }
        seen(length as u64);
        spread.push(block.filled(offset, length));
        offset += length as u64;
    }
    Ok(offset)
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
