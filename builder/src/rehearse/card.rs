//! Copies a card for a machine: by reference where the file system can, else the parts that hold data. The copy is as
//! large as a real card, so that the root partition has room to grow; what is not written takes no space.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use thiserror::Error;

use super::folder::new_file;
use crate::build::extents;
use crate::error::Hint;
use crate::regular;
use crate::report::Bytes;

/// How much is copied at once.
const PIECE: u64 = 1 << 20;

/// Why there is no copy.
#[derive(Debug, Error)]
pub enum CopyError {
    /// The card.
    #[error("cannot read it")]
    Read(#[source] io::Error),
    /// The copy.
    #[error("cannot write its copy")]
    Write(#[source] io::Error),
    /// The copy would not hold it.
    #[error("it has {needed}, and its copy is to have {given}")]
    TooSmall {
        /// Its size.
        needed: Bytes,
        /// The size asked for.
        given: Bytes,
    },
}

impl CopyError {
    /// What to do about it.
    pub(super) fn hint(&self) -> Option<Hint> {
        match self {
            Self::TooSmall { .. } => Some("give a larger --card-size".into()),
            Self::Write(error) if error.kind() == io::ErrorKind::StorageFull => {
                Some("free some space, or name fewer nodes".into())
            }
            Self::Read(_) | Self::Write(_) => None,
        }
    }
}

/// Makes `copy` a card of `size` bytes with the content of `card`, which is opened for reading only. Only its owner may
/// read the copy: cards carry keys. What had its name is removed.
///
/// # Errors
/// When either file cannot be used, or the card is larger than that.
pub fn copy(card: &Path, copy: &Path, size: u64) -> Result<(), CopyError> {
    let from = regular::open(card).map_err(CopyError::Read)?;
    let needed = from.metadata().map_err(CopyError::Read)?.len();
    if needed > size {
        return Err(CopyError::TooSmall { needed: Bytes(needed), given: Bytes(size) });
    }
    let to = new_file(copy).map_err(CopyError::Write)?;
    if reflink_copy::reflink_file(&from, &to).is_err() {
        copy_data(&from, &to, needed)?;
    }
    to.set_len(size).map_err(CopyError::Write)
}

fn copy_data(from: &File, to: &File, size: u64) -> Result<(), CopyError> {
    let mut memory = vec![0; usize::try_from(PIECE).unwrap_or(1 << 20)];
    for (start, end) in extents(from, size).map_err(CopyError::Read)? {
        let mut at = start;
        while at < end {
            let length = usize::try_from((end - at).min(PIECE)).unwrap_or(memory.len());
            let piece = memory.get_mut(..length).unwrap_or_default();
            from.read_exact_at(piece, at).map_err(CopyError::Read)?;
            if piece.iter().any(|byte| *byte != 0) {
                to.write_all_at(piece, at).map_err(CopyError::Write)?;
            }
            at += length as u64;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    #[test]
    fn a_copy_has_the_cards_bytes_room_to_grow_and_the_holes() {
        let folder = tempfile::tempdir().unwrap();
        let (card, copied) = (folder.path().join("red00.img"), folder.path().join("copy.img"));
        let file = File::create(&card).unwrap();
        file.set_len(64 << 20).unwrap();
        file.write_all_at(b"root", (40 << 20) + 17).unwrap();
        copy(&card, &copied, 1 << 30).unwrap();

        let metadata = copied.metadata().unwrap();
        assert_eq!((metadata.len(), metadata.permissions().mode() & 0o777), (1 << 30, 0o600));
        assert!(metadata.blocks() * 512 <= 4 << 20, "{} blocks", metadata.blocks());
        let same = std::process::Command::new("cmp").args(["-n", "67108864"]).args([&card, &copied]).status();
        assert!(same.unwrap().success());
    }

    #[test]
    fn refuses_to_cut_a_card_short() {
        let folder = tempfile::tempdir().unwrap();
        let card = folder.path().join("red00.img");
        File::create(&card).unwrap().set_len(4 << 20).unwrap();
        let error = copy(&card, &folder.path().join("copy"), 1 << 20).unwrap_err();
        assert_eq!(error.to_string(), "it has 4.0 MiB, and its copy is to have 1.0 MiB");
    }
}
