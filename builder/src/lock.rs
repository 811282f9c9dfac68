//! `cluster.lock` beside the cluster file: which release the name in it meant when the first card was made, so that the
//! next card, on whatever computer, is made from the same image. JSON; it belongs into version control.
//!
//! A lock is replaced as a whole, in one step. It is written before the download, with what the official list says, and
//! once more after it, with what was seen. A damaged lock is an error: guessing would give the next card another image.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::catalog::{self, Release};
use crate::dir::Dir;
use crate::error::{Failure, Kind, builder, hint, program};
use crate::json::{self, Unread};
use crate::scratch::{Existing, Scratch};

/// The file's name.
pub const NAME: &str = "cluster.lock";
/// The format.
const VERSION: u32 = 1;
/// Largest lock, in bytes: thousands of images.
const LIMIT: u64 = 1 << 20;

/// A lock and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    path: PathBuf,
    images: BTreeMap<String, Release>,
}

/// The file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    /// By the name in the cluster file: several files in one folder may name several.
    images: BTreeMap<String, Release>,
}

/// Why a lock cannot be used.
#[derive(Debug, Error)]
pub enum LockError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The lock.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// It is not what it has to be.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// The lock.
        path: PathBuf,
        /// Where.
        #[source]
        source: serde_json::Error,
    },
    /// It is no text of a sensible size.
    #[error("{} is damaged: it is larger than any lock", .0.display())]
    TooLong(PathBuf),
    /// An entry promises nothing.
    #[error("{} is damaged: what it says of {name} has {problem}", path.display())]
    Entry {
        /// The lock.
        path: PathBuf,
        /// The name in the cluster file.
        name: String,
        /// What is missing or wrong.
        problem: &'static str,
    },
    /// A newer builder wrote it.
    #[error("{} has version {version}; this builder knows version {VERSION}", path.display())]
    Version {
        /// The lock.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// It cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The lock.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl From<LockError> for Failure {
    fn from(error: LockError) -> Self {
        let hint = match &error {
            LockError::Damaged { path, .. } | LockError::TooLong(path) | LockError::Entry { path, .. } => {
                hint![
                    "restore it: ",
                    program(["git", "checkout"]).path(path),
                    ", or delete it: ",
                    program(["rm"]).path(path),
                    "; then this pins the newest release: ",
                    builder(["images", "pull"])
                ]
            }
            LockError::Version { .. } => "use the builder that wrote it, or a newer one".into(),
            LockError::Read { .. } | LockError::Write { .. } => {
                "the lock lies beside the cluster file, in a folder you have to be able to write to".into()
            }
        };
        let kind = if matches!(error, LockError::Write { .. }) { Kind::Failed } else { Kind::Usage };
        Self::new(kind, error).hint(hint)
    }
}

impl Lock {
    /// Reads the lock in a folder; an absent one has no entries.
    ///
    /// # Errors
    /// See [`LockError`]. A damaged lock is never an absent one.
    pub fn read(folder: &Path) -> Result<Self, LockError> {
        let path = folder.join(NAME);
        let text = match text(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self { path, images: BTreeMap::new() });
            }
            Err(source) => return Err(LockError::Read { path, source }),
        };
        let Some(text) = text else { return Err(LockError::TooLong(path)) };
        let document: Document =
            json::read_versioned(&text, VERSION..=VERSION).map_err(|unread| match unread {
                Unread::Version(version) => LockError::Version { path: path.clone(), version },
                Unread::Damaged(source) => LockError::Damaged { path: path.clone(), source },
            })?;
        for (name, release) in &document.images {
            if let Some(problem) = problem(release) {
                return Err(LockError::Entry { path, name: name.clone(), problem });
            }
        }
        Ok(Self { path, images: document.images })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The release that a name means.
    pub fn find(&self, name: &str) -> Option<&Release> {
        self.images.get(name)
    }

    /// Pins a name, in place of what it meant before, and writes the lock if that changes it.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn pin(&mut self, name: &str, release: Release) -> Result<(), LockError> {
        if self.find(name) == Some(&release) {
            return Ok(());
        }
        self.images.insert(name.to_owned(), release);
        self.write().map_err(|source| LockError::Write { path: self.path.clone(), source })
    }

    fn write(&self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let document = Document { version: VERSION, images: self.images.clone() };
        let text = format!("{}\n", serde_json::to_string_pretty(&document)?);
        let scratch = Scratch::new_in(&Dir::open(self.path.parent().unwrap_or(Path::new("")))?)?;
        scratch.file().write_all(text.as_bytes())?;
        // No secret: whoever checks out the folder reads it. Where that fails, it works for its owner.
        let _private = scratch.file().set_permissions(std::fs::Permissions::from_mode(0o644));
        scratch.publish(NAME, Existing::Replace)?;
        Ok(())
    }
}

fn text(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    crate::regular::open(path)?.take(LIMIT + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= LIMIT).then_some(bytes))
}

/// What makes an entry worth nothing.
fn problem(release: &Release) -> Option<&'static str> {
    let url = reqwest::Url::parse(&release.url).ok();
    if !url.is_some_and(|url| matches!(url.scheme(), "https" | "http")) {
        return Some("a URL that is neither https: nor http:");
    }
    if release.digests().next().is_none() {
        return Some("no SHA-256");
    }
    if !catalog::is_date(&release.release_date) {
        return Some("a release_date that is no date");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest;

    fn release(date: &str) -> Release {
        Release {
            release_date: date.to_owned(),
            url: format!("https://example.org/{date}.img.xz"),
            image_download_size: None,
            image_download_sha256: None,
            extract_size: Some(1 << 20),
            extract_sha256: Some(digest::of_bytes(date.as_bytes())),
        }
    }

    #[test]
    fn keeps_what_each_name_means() {
        let folder = tempfile::tempdir().unwrap();
        let mut lock = Lock::read(folder.path()).unwrap();
        assert_eq!(lock.find("one"), None);
        lock.pin("one", release("2026-09-15")).unwrap();
        lock.pin("two", release("2026-06-18")).unwrap();
        lock.pin("one", release("2026-10-06")).unwrap();
        let again = Lock::read(folder.path()).unwrap();
        assert_eq!(again, lock);
        assert_eq!(again.find("one"), Some(&release("2026-10-06")));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn the_same_again_writes_nothing() {
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().unwrap();
        let mut lock = Lock::read(folder.path()).unwrap();
        lock.pin("one", release("2026-09-15")).unwrap();
        let inode = || std::fs::metadata(lock_path(folder.path())).unwrap().ino();
        let before = inode();
        lock.pin("one", release("2026-09-15")).unwrap();
        assert_eq!(inode(), before);
    }

    fn lock_path(folder: &Path) -> PathBuf {
        folder.join(NAME)
    }

    #[test]
    fn a_damaged_lock_is_an_error_that_says_what_to_type() {
        let folder = tempfile::tempdir().unwrap();
        let mut lock = Lock::read(folder.path()).unwrap();
        lock.pin("one", release("2026-10-06")).unwrap();
        let whole = std::fs::read_to_string(lock.path()).unwrap();
        for (text, reason) in [
            ("", "is damaged"),
            (&whole[..whole.len() / 2], "is damaged"),
            (&whole.replace("extract_size", "size"), "is damaged"),
            (&whole.replace("extract_sha256", "image_download_sha25"), "is damaged"),
            (&whole.replace("https:", "ftp:"), "a URL that is neither"),
            (&whole.replace("2026-10-06\"", "today\""), "no date"),
            (&whole.replace("\"version\": 1", "\"version\": 2"), "has version 2"),
            (&" ".repeat(2 << 20), "larger than any lock"),
        ] {
            std::fs::write(lock.path(), text).unwrap();
            let failure = Failure::from(Lock::read(folder.path()).unwrap_err());
            let text = failure.render();
            assert_eq!(failure.kind(), Kind::Usage);
            assert!(text.contains(reason) && text.contains("hint: "), "{text}");
        }
        let bare =
            r#"{"version":1,"images":{"one":{"release_date":"2026-10-06","url":"https://example.org/x"}}}"#;
        std::fs::write(lock.path(), bare).unwrap();
        assert!(Lock::read(folder.path()).unwrap_err().to_string().contains("no SHA-256"));
    }
}
