//! The cache of unpacked images, so that one image is unpacked once for all cards and all runs.
//!
//! `images/<sha256>.img` is an image, sparse and read-only; `<sha256>.json` beside it says how it looked when it was
//! whole, and its digests. `sources/` remembers the digest of local files, so that they are not read again only to be
//! recognised. `promises/` remembers the digests that OS lists gave. `downloads/` holds what came of downloads that are
//! not finished, `cards/` what was written to which card, `authorities/` the fingerprints of the CAs that were used here.
//! Anything may be deleted at any time. An image gets its name after it was unpacked, checked and written to the disk, so
//! a run that is killed leaves nothing that looks whole; an image that changed later is made again.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::digest::{self, Digest};
use crate::dir::{self, Dir, Refusal};
use crate::error::{Failure, Kind};
use crate::home;
use crate::marker::CACHE;
use crate::pin::Verified;
use crate::pki::CaFingerprint;
use crate::report;
use crate::scratch::{self, Existing, Scratch, ScratchError};

mod audit;
pub(crate) mod record;

pub use audit::{Finding, Kept};
use record::{Promise, Record, Seen, Stamp};

/// The folder of what OS lists said.
const PROMISES: &str = "promises";

/// A cache folder.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: Dir,
    images: Dir,
    sources: Dir,
    downloads: Dir,
}

/// An image in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedImage {
    /// The file.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// What it is kept under: the digest that was promised, else that of the file as published.
    pub key: Digest,
    /// The digest of the file as published. Caches of 0.1 before `builder images` did not note it.
    pub published: Option<Digest>,
    /// Its own digest, likewise.
    pub content: Option<Digest>,
    /// The path or URL it came from, likewise.
    pub source: Option<String>,
}

/// Why the cache could not be used.
#[derive(Debug, Error)]
pub enum CacheError {
    /// The platform names no folder for caches.
    #[error("this user has no home folder to keep a cache in")]
    NoHome,
    /// A folder or file in it cannot be used.
    #[error("cannot use the cache at {}", path.display())]
    Access {
        /// The folder or file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A new file in it could not be made or named.
    #[error("cannot put a file into the cache")]
    Scratch(#[source] ScratchError),
}

impl From<CacheError> for Failure {
    fn from(error: CacheError) -> Self {
        let hint = match &error {
            CacheError::Access { source, .. } if Refusal::of(source) == Some(&Refusal::NotOurs) => {
                "choose an empty or a new folder with --cache DIR"
            }
            _ => "choose another folder with --cache DIR",
        };
        Self::new(Kind::Failed, error).hint(hint)
    }
}

impl Cache {
    /// Opens a cache, in the platform's folder for caches unless another is given, and makes its folders.
    pub fn open(folder: Option<&Path>) -> Result<Self, CacheError> {
        let folder = match folder {
            Some(folder) => folder.to_owned(),
            None => home::cache().ok_or(CacheError::NoHome)?,
        };
        let folder = open_own(&folder).map_err(|source| CacheError::Access { path: folder, source })?;
        let (images, sources) = (sub(&folder, "images")?, sub(&folder, "sources")?);
        let downloads = sub(&folder, "downloads")?;
        Ok(Self { folder, images, sources, downloads })
    }

    /// The folder images are in.
    pub fn images(&self) -> PathBuf {
        self.images.path().to_owned()
    }

    /// The same, open.
    pub(crate) const fn images_folder(&self) -> &Dir {
        &self.images
    }

    /// The folder of unfinished downloads.
    pub(crate) const fn downloads(&self) -> &Dir {
        &self.downloads
    }

    /// The digests that the publisher, or a mirror of the user's, is known to have promised of the file at an address.
    /// Those in a lock prove nothing, because it may have come with somebody's repository.
    pub(crate) fn promised_at(&self, url: &str) -> Vec<Digest> {
        let folder = self.folder.open_sub(PROMISES).ok().flatten();
        let promise = folder.and_then(|folder| record::read::<Promise>(&folder, &promise_name(url)));
        promise.filter(|promise| promise.url == url).map(|promise| promise.digests).unwrap_or_default()
    }

    /// Remembers what was promised of the file at an address, or came from there.
    pub(crate) fn note_promise(&self, url: &str, digests: &[Digest]) -> Result<(), CacheError> {
        let known = self.promised_at(url);
        let mut all = known.clone();
        all.extend(digests.iter().filter(|digest| !known.contains(digest)));
        if all == known {
            return Ok(());
        }
        let promise = Promise { url: url.to_owned(), digests: all };
        record::write(&sub(&self.folder, PROMISES)?, &promise_name(url), &promise)
    }

    /// The folder for what is remembered of cards. Made if absent.
    pub(crate) fn cards(&self) -> Result<Dir, CacheError> {
        sub(&self.folder, "cards")
    }

    /// The image with that digest, its own or that of the file it came in, if it is there and is as it was when it
    /// was made.
    pub fn find(&self, digest: &Digest) -> Option<CachedImage> {
        self.whole(digest).or_else(|| {
            let kept = self.inventory().ok()?.into_iter().filter(|kept| kept.as_it_was);
            let mut images = kept.map(|kept| kept.image);
            images.find(|image| [image.published, image.content].contains(&Some(*digest)))
        })
    }

    /// The image kept under that digest, if it is as it was.
    fn whole(&self, key: &Digest) -> Option<CachedImage> {
        let kept = self.kept(key)?;
        kept.as_it_was.then_some(kept.image)
    }

    /// A file for an image in the making.
    pub fn new_image(&self) -> Result<Scratch, CacheError> {
        Scratch::new_in(&self.images).map_err(CacheError::Scratch)
    }

    /// Names a finished image that came from `source`. If another run made the same one meanwhile, that one stays.
    pub fn keep(&self, image: Scratch, verified: &Verified, source: &str) -> Result<CachedImage, CacheError> {
        let key = &verified.digest();
        let path = self.images.path().join(image_name(key));
        let access = |source| CacheError::Access { path: path.clone(), source };
        image.file().set_permissions(std::fs::Permissions::from_mode(0o444)).map_err(access)?;
        // Before the lock: this is the long part.
        image.sync(&path).map_err(CacheError::Scratch)?;
        let _lock = self.lock()?;
        if let Some(theirs) = self.whole(key) {
            return Ok(theirs);
        }
        // Record first: a record without its image is nothing, an image without its record is made again.
        let stamp = Stamp::of(&image.file().metadata().map_err(access)?);
        let record = Record {
            version: record::VERSION,
            stamp,
            published: Some(verified.published()),
            content: verified.content(),
            source: Some(source.to_owned()),
        };
        record::write(&self.images, &record_name(key), &record)?;
        image.publish(image_name(key), Existing::Replace).map_err(CacheError::Scratch)?;
        Ok(record.of_image(*key, path))
    }

    /// Whether this cache does not know the CA yet; from now on it does.
    ///
    /// # Errors
    /// When that cannot be noted.
    pub fn is_first_use(&self, ca: &CaFingerprint) -> Result<bool, CacheError> {
        let (known, name) = (sub(&self.folder, "authorities")?, ca.to_name());
        let access = |source| CacheError::Access { path: known.path().join(&name), source };
        let is_new = known.look(&name).map_err(access)?.is_none();
        if is_new {
            known.create(&name).map_err(access)?;
        }
        Ok(is_new)
    }

    /// Keeps other runs from naming images, until the file is dropped.
    fn lock(&self) -> Result<File, CacheError> {
        let path = self.folder.path();
        let waiting =
            || report::notice(&format!("waiting for another builder that changes {}", path.display()));
        let locked = self.folder.lock("lock", waiting);
        locked.map_err(|source| CacheError::Access { path: path.join("lock"), source })
    }

    /// The digest of a local file that was read before and is unchanged since.
    pub fn recall(&self, path: &Path, metadata: &Metadata) -> Option<Digest> {
        let seen = record::read::<Seen>(&self.sources, &seen_name(path))?;
        (seen.path == path && seen.stamp.is_of(metadata)).then_some(seen.digest)
    }

    /// Remembers the digest of a local file, as it was before it was read.
    pub fn remember(&self, path: &Path, metadata: &Metadata, digest: Digest) -> Result<(), CacheError> {
        let seen = Seen { path: path.to_owned(), stamp: Stamp::with_change(metadata), digest };
        record::write(&self.sources, &seen_name(path), &seen)
    }
}

/// Opens the cache's folder, or makes it. Only its owner may change what is in it.
fn open_own(path: &Path) -> io::Result<Dir> {
    let (folder, made) = Dir::make(path, dir::PRIVATE_FOLDER)?;
    folder.refuse_foreign()?;
    CACHE.claim(&folder)?;
    made.keep();
    // Images are opened by name later on. Older builders left the mode to the umask.
    if folder.metadata()?.mode() & 0o022 != 0 {
        folder.set_mode(dir::PRIVATE_FOLDER)?;
    }
    Ok(folder)
}

fn sub(folder: &Dir, name: &str) -> Result<Dir, CacheError> {
    let made = folder.make_sub(name, dir::PRIVATE_FOLDER);
    let (opened, _) = made.map_err(|source| CacheError::Access { path: folder.path().join(name), source })?;
    scratch::sweep(&opened);
    Ok(opened)
}

fn promise_name(url: &str) -> String {
    format!("{}.json", digest::of_bytes(url.as_bytes()))
}

fn image_name(key: &Digest) -> String {
    format!("{key}.img")
}

fn record_name(key: &Digest) -> String {
    format!("{key}.json")
}

fn seen_name(path: &Path) -> String {
    format!("{}.json", digest::of_bytes(path.as_os_str().as_encoded_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pin::Pin;
    use std::io::Write;

    fn cache() -> (tempfile::TempDir, Cache) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(Some(folder.path())).unwrap();
        (folder, cache)
    }

    fn key() -> Digest {
        digest::of_bytes(b"key")
    }

    fn verified() -> Verified {
        Pin::Nothing.verify("test", key(), None).unwrap()
    }

    fn keep(cache: &Cache, content: &[u8]) -> CachedImage {
        let image = cache.new_image().unwrap();
        image.file().write_all(content).unwrap();
        cache.keep(image, &verified(), "os.img.xz").unwrap()
    }

    #[test]
    fn finds_what_it_kept_and_only_that() {
        let (_folder, cache) = cache();
        assert_eq!(cache.find(&key()), None);
        let kept = keep(&cache, b"image");
        assert_eq!(cache.find(&key()), Some(kept.clone()));
        assert_eq!(kept.size, 5);
        assert_eq!(cache.find(&digest::of_bytes(b"other")), None);
    }

    #[test]
    fn finds_an_image_by_either_of_its_digests() {
        let (_folder, cache) = cache();
        let (file, image) = (digest::of_bytes(b"file"), digest::of_bytes(b"image"));
        let verified = Pin::Content(image).verify("test", file, Some(image)).unwrap();
        let kept = cache.keep(cache.new_image().unwrap(), &verified, "os.img.xz").unwrap();
        assert_eq!(kept.key, image);
        assert_eq!(cache.find(&file), Some(kept.clone()));
        assert_eq!(cache.find(&image), Some(kept));
    }

    #[test]
    fn an_image_damaged_later_is_not_found() {
        let (_folder, cache) = cache();
        let kept = keep(&cache, b"image");
        std::fs::set_permissions(&kept.path, std::fs::Permissions::from_mode(0o600)).unwrap();
        File::options().write(true).open(&kept.path).unwrap().set_len(3).unwrap();
        assert_eq!(cache.find(&key()), None);
        assert_eq!(std::fs::read(keep(&cache, b"image").path).unwrap(), b"image");
        assert!(cache.find(&key()).is_some());
    }

    #[test]
    fn an_image_without_its_record_is_not_taken_for_whole() {
        let (_folder, cache) = cache();
        keep(&cache, b"image");
        let record = cache.images().join(record_name(&key()));
        std::fs::write(&record, "{").unwrap();
        assert_eq!(cache.find(&key()), None);
        std::fs::remove_file(&record).unwrap();
        assert_eq!(cache.find(&key()), None);
    }

    #[test]
    fn the_first_of_two_runs_wins() {
        let (_folder, cache) = cache();
        let (first, second) = (cache.new_image().unwrap(), cache.new_image().unwrap());
        let first = cache.keep(first, &verified(), "one").unwrap();
        let inode = std::fs::metadata(&first.path).unwrap().ino();
        assert_eq!(cache.keep(second, &verified(), "two").unwrap(), first);
        assert_eq!(std::fs::metadata(&first.path).unwrap().ino(), inode);
    }

    #[test]
    fn recalls_a_local_file_until_it_changes() {
        let (folder, cache) = cache();
        let path = folder.path().join("os.img.xz");
        std::fs::write(&path, "one").unwrap();
        let metadata = std::fs::metadata(&path).unwrap();
        assert_eq!(cache.recall(&path, &metadata), None);
        cache.remember(&path, &metadata, key()).unwrap();
        assert_eq!(cache.recall(&path, &metadata), Some(key()));
        std::fs::write(&path, "three").unwrap();
        assert_eq!(cache.recall(&path, &std::fs::metadata(&path).unwrap()), None);
    }

    #[test]
    fn notices_a_change_in_place_that_kept_the_time() {
        use std::os::unix::fs::FileExt;
        let (folder, cache) = cache();
        let path = folder.path().join("os.img");
        std::fs::write(&path, "image").unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        let before = file.metadata().unwrap();
        cache.remember(&path, &before, key()).unwrap();
        // The kernel's clock for ctime moves in steps of some milliseconds.
        while file.metadata().unwrap().ctime_nsec() == before.ctime_nsec() {
            file.write_all_at(b"I", 0).unwrap();
            file.set_modified(before.modified().unwrap()).unwrap();
        }
        let after = file.metadata().unwrap();
        assert_eq!(
            (after.len(), after.ino(), after.mtime_nsec()),
            (before.len(), before.ino(), before.mtime_nsec())
        );
        assert_eq!(cache.recall(&path, &after), None);
    }

    #[test]
    fn reads_what_an_older_builder_remembered() {
        let (folder, cache) = cache();
        let path = folder.path().join("os.img");
        std::fs::write(&path, "image").unwrap();
        let metadata = std::fs::metadata(&path).unwrap();
        // As of 6bc94bb.
        let text = format!(
            r#"{{"path":{:?},"stamp":{{"version":1,"size":5,"inode":{},"modified_s":{},"modified_ns":{}}},"digest":"{}"}}"#,
            path,
            metadata.ino(),
            metadata.mtime(),
            metadata.mtime_nsec(),
            key()
        );
        std::fs::write(cache.sources.path().join(seen_name(&path)), text).unwrap();
        assert_eq!(cache.recall(&path, &metadata), Some(key()));
    }
}
