//! Local image files, recognised by their digest.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::FetchError;
use crate::cache::Cache;
use crate::digest::{self, Digest};
use crate::error::Failure;
use crate::regular;
use crate::report::Progress;

/// An open local file.
#[derive(Debug)]
pub(super) struct Opened {
    file: File,
    metadata: Metadata,
}

/// An open local file and its digest.
#[derive(Debug)]
pub(super) struct LocalFile {
    pub(super) file: File,
    pub(super) digest: Digest,
    metadata: Metadata,
}

/// Opens a file.
pub(super) fn open(path: &Path) -> Result<Opened, FetchError> {
    let error = |source| FetchError::Open { path: path.to_owned(), source };
    let file = regular::open(path).map_err(error)?;
    let metadata = file.metadata().map_err(error)?;
    Ok(Opened { file, metadata })
}

impl Opened {
    /// The file.
    pub(super) const fn get(&self) -> &File {
        &self.file
    }

    /// Learns the file's digest: from the cache if the file is as it was, by reading it otherwise.
    ///
    /// Reading it before unpacking costs a few per cent of what unpacking does, and nothing is ever unpacked twice.
    pub(super) fn identify(
        self,
        path: &Path,
        cache: &Cache,
        progress: &Progress,
    ) -> Result<LocalFile, Failure> {
        let Self { file, metadata } = self;
        let error = |source| FetchError::Open { path: path.to_owned(), source };
        let digest = match cache.recall(path, &metadata) {
            Some(digest) => digest,
            None => {
                let task = progress.task("check", Some(metadata.len()));
                let digest = digest::of_file(&file, |count| task.advance(count)).map_err(error)?;
                task.finish();
                cache.remember(path, &metadata, digest)?;
                digest
            }
        };
        Ok(LocalFile { file, digest, metadata })
    }
}

impl LocalFile {
    /// Its size in bytes.
    pub(super) fn size(&self) -> u64 {
        self.metadata.len()
    }

    /// Fails if somebody wrote to the file since it was opened.
    pub(super) fn check_unchanged(&self, path: &Path) -> Result<(), FetchError> {
        let now =
            self.file.metadata().map_err(|source| FetchError::Open { path: path.to_owned(), source })?;
        let stamp = |metadata: &Metadata| (metadata.len(), metadata.mtime(), metadata.mtime_nsec());
        if stamp(&now) != stamp(&self.metadata) {
            return Err(FetchError::Changed(path.to_owned()));
        }
        Ok(())
    }
}
