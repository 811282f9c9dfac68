//! What the cache writes down about files: small JSON files, each whole or absent.

use std::fs::Metadata;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{CacheError, CachedImage};
use crate::digest::Digest;
use crate::dir::Dir;
use crate::scratch::{Existing, Scratch};

/// The format of the records beside images. Version 1 was a [`Stamp`] alone.
pub(super) const VERSION: u32 = 2;

/// The format of a stamp.
const STAMP_VERSION: u32 = 1;

/// What tells whether a file is still the one that was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stamp {
    version: u32,
    size: u64,
    inode: u64,
    modified_s: i64,
    modified_ns: i64,
    /// The time of the last change of content or owner, mode or name, in seconds and nanoseconds: it cannot be set as the time
    /// of modification can. Absent in records of older builders, and of images in the cache, which get their names later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    changed: Option<(i64, i64)>,
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            version: STAMP_VERSION,
            size: metadata.len(),
            inode: metadata.ino(),
            modified_s: metadata.mtime(),
            modified_ns: metadata.mtime_nsec(),
            changed: None,
        }
    }

    /// The same of a file that nobody renames.
    pub(super) fn with_change(metadata: &Metadata) -> Self {
        Self { changed: Some((metadata.ctime(), metadata.ctime_nsec())), ..Self::of(metadata) }
    }

    /// Whether this stamp, which was written down, is that of the file as it is now.
    pub(super) fn is_of(&self, metadata: &Metadata) -> bool {
        let now = if self.changed.is_some() { Self::with_change(metadata) } else { Self::of(metadata) };
        *self == now
    }
}

/// A local file and what it was.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Seen {
    pub(super) path: PathBuf,
    pub(super) stamp: Stamp,
    pub(super) digest: Digest,
}

/// What an OS list said of the file at an address.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Promise {
    pub(super) url: String,
    pub(super) digests: Vec<Digest>,
}

/// An image in the cache, as it was when it was whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    pub(super) version: u32,
    pub(super) stamp: Stamp,
    pub(super) published: Option<Digest>,
    pub(super) content: Option<Digest>,
    pub(super) source: Option<String>,
}

impl Record {
    /// The record in that file, of this version or the first.
    pub(super) fn read(folder: &Dir, name: &str) -> Option<Self> {
        read::<Self>(folder, name).filter(|record| record.version == VERSION).or_else(|| {
            let stamp = read::<Stamp>(folder, name)?;
            Some(Self { version: VERSION, stamp, published: None, content: None, source: None })
        })
    }

    pub(super) fn of_image(self, key: Digest, path: PathBuf) -> CachedImage {
        let Self { stamp, published, content, source, .. } = self;
        CachedImage { path, size: stamp.size, key, published, content, source }
    }
}

/// A record, or `None` if it is absent or not one of ours: then the work it would have saved is done again.
pub(crate) fn read<T: DeserializeOwned>(folder: &Dir, name: &str) -> Option<T> {
    serde_json::from_slice(&folder.read(name).ok()??).ok()
}

/// Puts a record in the place of what is there.
pub(crate) fn write(folder: &Dir, name: &str, record: &impl Serialize) -> Result<(), CacheError> {
    let access = |source| CacheError::Access { path: folder.path().join(name), source };
    let scratch = Scratch::new_in(folder).map_err(CacheError::Scratch)?;
    let text = serde_json::to_vec(record).map_err(|error| access(error.into()))?;
    scratch.file().write_all(&text).map_err(access)?;
    scratch.publish(name, Existing::Replace).map_err(CacheError::Scratch)
}
