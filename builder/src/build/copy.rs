//! Copies of the base: by reference where the file system can (XFS, btrfs), else the parts that hold data.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use rustix::fs::SeekFrom;
use rustix::io::Errno;
use thiserror::Error;

use crate::dir::Dir;
use crate::fetch::Base;
use crate::report::Progress;
use crate::scratch::Scratch;
use crate::spread::{BLOCK, Spread, SpreadError, Target};

/// Why the base could not be copied.
#[derive(Debug, Error)]
pub enum CopyError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A copy cannot be written.
    #[error(transparent)]
    Write(SpreadError),
}

/// Whether files of one folder can be copied into another by reference: tried with a page.
pub(super) fn can_clone(from: &Dir, to: &Dir) -> bool {
    let (Ok(from), Ok(to)) = (Scratch::new_in(from), Scratch::new_in(to)) else { return false };
    from.file().write_all(&[1; 4096]).is_ok() && clone(from.file(), &[to.file()])
}

/// Copies by reference. `false` where that is not possible, and then nothing was written.
pub(super) fn clone(base: &File, cards: &[&File]) -> bool {
    // The first one tells: the others are in the same folder.
    cards.iter().all(|card| reflink_copy::reflink_file(base, card).is_ok())
}

/// Copies what is not a hole and not zero. Each block is read once for all cards.
pub(super) fn copy(
    file: &File,
    base: &Base,
    cards: Vec<Target>,
    progress: &Progress,
) -> Result<(), CopyError> {
    let error = |source| CopyError::Read { path: base.path.clone(), source };
    let extents = extents(file, base.size).map_err(error)?;
    let task = progress.task("copy", Some(extents.iter().map(|(start, end)| end - start).sum()));
    let spread = Spread::start(cards);
    let read = extents.into_iter().try_for_each(|(start, end)| {
        (start..end).step_by(BLOCK).try_for_each(|offset| {
            let mut block = spread.block();
            let length = usize::try_from(end - offset).unwrap_or(BLOCK).min(BLOCK);
            file.read_exact_at(block.memory().get_mut(..length).unwrap_or_default(), offset)?;
            spread.push(block.filled(offset, length));
            task.advance(length as u64);
            Ok(())
        })
    });
    let written: Result<(), _> = spread.finish(base.size).into_iter().collect();
    read.map_err(error)?;
    written.map_err(CopyError::Write)?;
    task.finish();
    Ok(())
}

/// The parts of a file that are not holes; all of it where the file system does not say.
pub(crate) fn extents(file: &File, size: u64) -> io::Result<Vec<(u64, u64)>> {
    let mut extents = Vec::new();
    let mut position = 0;
    while position < size {
        let start = match rustix::fs::seek(file, SeekFrom::Data(position)) {
            Ok(start) => start,
            // Nothing but a hole up to the end.
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL) => return Ok(vec![(0, size)]),
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(file, SeekFrom::Hole(start))?.min(size);
        extents.push((start, end));
        position = end;
    }
    Ok(extents)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn finds_the_parts_that_hold_data() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(16 << 20).unwrap();
        file.write_all_at(&[1; 4096], 0).unwrap();
        file.write_all_at(&[1; 4096], 8 << 20).unwrap();
        let extents = extents(&file, 16 << 20).unwrap();
        let held: u64 = extents.iter().map(|(start, end)| end - start).sum();
        assert!(extents.iter().any(|(start, end)| *start <= 8 << 20 && *end >= (8 << 20) + 4096));
        assert!(held >= 8192);
        assert_eq!(super::extents(&file, 0).unwrap(), []);
    }

    #[test]
    fn a_copy_equals_its_base() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("base.img");
        let mut content = vec![0; (9 << 20) + 512];
        for at in [0, 5 << 20, (9 << 20) + 511] {
            content[at] = 7;
        }
        std::fs::write(&path, &content).unwrap();
        let base = Base { path: path.clone(), size: content.len() as u64, digest: String::new() };
        let card = Scratch::new_in(&Dir::open(folder.path()).unwrap()).unwrap();
        let target = Target::past_memory(card.file(), Path::new("card")).unwrap();
        copy(&File::open(&path).unwrap(), &base, vec![target], &Progress::new(true, false)).unwrap();
        let mut copied = vec![1; content.len()];
        card.file().read_exact_at(&mut copied, 0).unwrap();
        assert!(copied == content && card.file().metadata().unwrap().len() == base.size);
    }
}
