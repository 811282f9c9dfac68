//! What there is of a download: `<sha256 of the URL>.partial`, and `.json` beside it with what the server said of it.
//!
//! The file is locked as long as somebody fills or unpacks it; a killed process loses the lock with its life, and what
//! it got stays for the next. Nothing here is taken for whole by its name: it is hashed again from its beginning.
//! The order of a new beginning: the file is emptied, the note is replaced, bytes follow. So a note may be there
//! without bytes, but bytes never with the note of others.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use reqwest::Url;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::digest::{self, Digest, Hasher};
use crate::dir::{self, Dir};
use crate::scratch::{Existing, Scratch};

/// The format of the note.
const VERSION: u32 = 1;

/// What the server said when the download began. It tells whether a later answer is about the same file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Note {
    version: u32,
    /// Bytes of the whole.
    pub(super) total: Option<u64>,
    /// `ETag`, as sent.
    pub(super) etag: Option<String>,
    /// `Last-Modified`, as sent.
    pub(super) last_modified: Option<String>,
}

impl Note {
    pub(super) const fn new(total: Option<u64>, etag: Option<String>, last_modified: Option<String>) -> Self {
        Self { version: VERSION, total, etag, last_modified }
    }
}

/// A file of unfinished downloads cannot be used.
#[derive(Debug, Error)]
#[error("cannot use {}", path.display())]
pub struct PartialError {
    /// The file.
    pub path: PathBuf,
    /// What the system says.
    #[source]
    pub source: io::Error,
}

/// A download that may be unfinished, in our hands alone.
#[derive(Debug)]
pub(super) struct Partial {
    file: File,
    folder: Dir,
    name: String,
    path: PathBuf,
    note: Option<Note>,
    length: u64,
    /// Of the first `length` bytes.
    hasher: Hasher,
}

impl Partial {
    /// Opens or makes the file for `url` and hashes what is in it, telling `seen` how much. Where another process has
    /// it, says so by `waiting` and waits for its end.
    pub(super) fn open(
        folder: &Dir,
        url: &Url,
        waiting: impl FnOnce(),
        seen: impl FnOnce(u64, &File) -> io::Result<Hasher>,
    ) -> Result<Self, PartialError> {
        let name = digest::of_bytes(url.as_str().as_bytes()).to_string();
        let path = folder.path().join(file_name(&name));
        let error = |source| PartialError { path: path.clone(), source };
        let file = folder.lock(file_name(&name), waiting).map_err(error)?;
        dir::refuse_hard_link(&file).map_err(error)?;
        let length = file.metadata().map_err(error)?.len();
        let hasher = match length {
            0 => Hasher::default(),
            _ => seen(length, &file).map_err(error)?,
        };
        let note = folder.read(note_name(&name)).ok().flatten();
        let note = note.and_then(|text| serde_json::from_slice(&text).ok());
        let note = note.filter(|note: &Note| note.version == VERSION);
        Ok(Self { file, folder: folder.clone(), name, path, note, length, hasher })
    }

    /// The file.
    pub(super) const fn file(&self) -> &File {
        &self.file
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes so far.
    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    /// What the server said of them.
    pub(super) const fn note(&self) -> Option<&Note> {
        self.note.as_ref()
    }

    /// The digest of the bytes so far.
    pub(super) fn digest(&self) -> Digest {
        self.hasher.clone().finish()
    }

    /// Forgets all bytes; those to come are the file that `note` is about.
    pub(super) fn start_over(&mut self, note: Note) -> Result<(), PartialError> {
        self.file.set_len(0).map_err(|source| self.error(source))?;
        (self.length, self.hasher) = (0, Hasher::default());
        let name = note_name(&self.name);
        let write = || {
            let scratch = Scratch::new_in(&self.folder).map_err(io::Error::other)?;
            serde_json::to_writer(scratch.file(), &note).map_err(io::Error::from)?;
            scratch.publish(&name, Existing::Replace).map_err(io::Error::other)
        };
        write().map_err(|source| PartialError { path: self.folder.path().join(&name), source })?;
        self.note = Some(note);
        Ok(())
    }

    /// Adds bytes.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), PartialError> {
        self.file.write_all_at(bytes, self.length).map_err(|source| self.error(source))?;
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Removes it: it was used, or is of no use.
    pub(super) fn remove(self) -> Result<(), PartialError> {
        // What somebody removed by hand is as gone as it should be.
        let _left = self.folder.remove(note_name(&self.name));
        self.folder.remove(file_name(&self.name)).map_err(|source| self.error(source))
    }

    fn error(&self, source: io::Error) -> PartialError {
        PartialError { path: self.path.clone(), source }
    }
}

/// Bytes of an unfinished download of `url`, if there is one.
pub(crate) fn length(folder: &Dir, url: &Url) -> Option<u64> {
    let name = file_name(&digest::of_bytes(url.as_str().as_bytes()).to_string());
    folder.look(name).ok().flatten().filter(|found| found.kind.is_file()).map(|found| found.size)
}

fn file_name(name: &str) -> String {
    format!("{name}.partial")
}

fn note_name(name: &str) -> String {
    format!("{name}.json")
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    fn url() -> Url {
        Url::parse("https://example.org/os.img.xz").unwrap()
    }

    fn open(folder: &Path) -> Partial {
        let rehash = |_, file: &File| digest::hasher_of_file(file, |_| ());
        Partial::open(&Dir::open(folder).unwrap(), &url(), || panic!("nobody else has it"), rehash).unwrap()
    }

    #[test]
    fn what_came_is_there_after_a_death_and_hashed_again() {
        let folder = tempfile::tempdir().unwrap();
        let note = Note::new(Some(6), Some("\"1\"".to_owned()), None);
        let mut partial = open(folder.path());
        assert_eq!((partial.length(), partial.note()), (0, None));
        partial.start_over(note.clone()).unwrap();
        partial.append(b"abc").unwrap();
        drop(partial);
        assert_eq!(length(&Dir::open(folder.path()).unwrap(), &url()), Some(3));
        let mut partial = open(folder.path());
        assert_eq!((partial.length(), partial.note()), (3, Some(&note)));
        partial.append(b"def").unwrap();
        assert_eq!(partial.digest(), digest::of_bytes(b"abcdef"));
        partial.start_over(Note::new(None, None, None)).unwrap();
        partial.append(b"x").unwrap();
        assert_eq!(partial.digest(), digest::of_bytes(b"x"));
        partial.remove().unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_second_waits_and_gets_a_file_that_has_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = open(folder.path());
        first.append(b"abc").unwrap();
        let (told, waits) = channel();
        let folder = Dir::open(folder.path()).unwrap();
        let second = std::thread::spawn(move || {
            let rehash = |_, file: &File| digest::hasher_of_file(file, |_| ());
            Partial::open(&folder, &url(), || told.send(()).unwrap(), rehash).unwrap().length()
        });
        waits.recv().unwrap();
        first.remove().unwrap();
        assert_eq!(second.join().unwrap(), 0);
    }
}
