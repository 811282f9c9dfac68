//! Looking at what the cache holds, and reading it again to see whether the disk still gives what was written.
//!
//! An image that fails loses its record before its file: whatever happens in between, it is not taken for whole again.

use std::io;
use std::path::Path;

use rustix::fs::OFlags;

use super::record::{self, Record, Stamp};
use super::{Cache, CacheError, CachedImage, image_name, record_name};
use crate::aligned::Aligned;
use crate::device::Medium;
use crate::device::claim::ReadOnly;
use crate::digest::{Digest, Hasher};

/// An image in the cache, whether or not it is still what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The image.
    pub image: CachedImage,
    /// Whether size, place and time are those of when it was made.
    pub as_it_was: bool,
}

/// What reading an image again showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// The bytes are those that were written.
    Whole,
    /// Nobody knows what they should be: no digest was computed when a local archive was unpacked, or an older builder wrote
    /// none down. Now there is one to compare with.
    FirstLook,
    /// They are not.
    Damaged {
        /// What they should be, if that is known: without it, size or time gave it away.
        wanted: Option<Digest>,
        /// What they are.
        found: Digest,
    },
}

impl Cache {
    /// All images, in the order of their keys.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn inventory(&self) -> Result<Vec<Kept>, CacheError> {
        let access = |source| CacheError::Access { path: self.images(), source };
        let mut kept = Vec::new();
        for name in self.images.names().map_err(access)? {
            let key = name.to_str().and_then(|name| name.strip_suffix(".img"));
            kept.extend(key.and_then(|key| Digest::try_from(key).ok()).and_then(|key| self.kept(&key)));
        }
        kept.sort_by_key(|kept| kept.image.key.to_string());
        Ok(kept)
    }

    pub(super) fn kept(&self, key: &Digest) -> Option<Kept> {
        let name = image_name(key);
        let now = Stamp::of(&self.images.file(&name, OFlags::RDONLY).ok()?.metadata().ok()?);
        let path = self.images.path().join(name);
        let record = Record::read(&self.images, &record_name(key));
        let as_it_was = record.as_ref().is_some_and(|record| record.stamp == now);
        let bare =
            Record { version: record::VERSION, stamp: now, published: None, content: None, source: None };
        Some(Kept { image: record.unwrap_or(bare).of_image(*key, path), as_it_was })
    }

    /// Reads an image and compares it with its digest: the one noted when it was unpacked, else `promised`. If there
    /// is neither, the digest found is noted. `seen` is told how much was read.
    ///
    /// # Errors
    /// When the image cannot be read.
    pub fn inspect(
        &self,
        kept: &Kept,
        promised: Option<Digest>,
        seen: impl Fn(u64),
    ) -> Result<Finding, CacheError> {
        let path = &kept.image.path;
        let access = |source| CacheError::Access { path: path.clone(), source };
        let stamp = Stamp::of(&std::fs::metadata(path).map_err(access)?);
        let found = digest_on_disk(path, seen).map_err(access)?;
        let wanted = kept.image.content.or(promised);
        if wanted.map_or(!kept.as_it_was, |wanted| wanted != found) {
            return Ok(Finding::Damaged { wanted, found });
        }
        // Whole, whatever its place and time say: somebody may have copied the cache.
        if kept.image.content.is_none() || !kept.as_it_was {
            let CachedImage { published, source, key, .. } = kept.image.clone();
            let content = Some(found);
            let record = Record { version: record::VERSION, stamp, published, content, source };
            record::write(&self.images, &record_name(&key), &record)?;
        }
        Ok(if wanted.is_some() { Finding::Whole } else { Finding::FirstLook })
    }

    /// Takes the image at `path` out of the cache if it was unpacked from a local archive.
    ///
    /// # Errors
    /// When the folder cannot be read or written.
    pub fn discard_refused(&self, path: &Path) -> Result<(), CacheError> {
        let kept = self.inventory()?.into_iter().find(|kept| kept.image.path == path);
        match kept {
            // A URL is not a path from the root, as the source of a local archive is.
            Some(kept) if kept.image.source.as_ref().is_some_and(|source| source.starts_with('/')) => {
                self.discard(&kept.image.key)
            }
            _ => Ok(()),
        }
    }

    /// Takes an image out of the cache. Whoever reads it at this moment reads on.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn discard(&self, key: &Digest) -> Result<(), CacheError> {
        let _lock = self.lock()?;
        for name in [record_name(key), image_name(key)] {
            let path = self.images.path().join(&name);
            self.images.remove(name).map_err(|source| CacheError::Access { path, source })?;
        }
        Ok(())
    }
}

/// Past the cache of the system: from there would come what was written a moment ago, whatever the disk has.
fn digest_on_disk(path: &Path, seen: impl Fn(u64)) -> io::Result<Digest> {
    let disk = ReadOnly::open(path)?;
    let (mut hasher, mut buffer, mut at) = (Hasher::default(), Aligned::new(1 << 20), 0);
    while at < disk.size() {
        match disk.read_at(&mut buffer, at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                hasher.update(buffer.get(..count).unwrap_or_default());
                at += count as u64;
                seen(count as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;
    use std::os::unix::fs::{FileExt, PermissionsExt};

    use super::*;
    use crate::digest;
    use crate::pin::Pin;

    fn kept(cache: &Cache) -> Kept {
        let image = cache.new_image().unwrap();
        image.file().write_all(b"image").unwrap();
        let content = digest::of_bytes(b"image");
        let verified = Pin::Nothing.verify("test", digest::of_bytes(b"file"), Some(content)).unwrap();
        cache.keep(image, &verified, "os.img.xz").unwrap();
        cache.inventory().unwrap().remove(0)
    }

    fn inspect(cache: &Cache, promised: Option<Digest>) -> Finding {
        cache.inspect(cache.inventory().unwrap().first().unwrap(), promised, |_| ()).unwrap()
    }

    #[test]
    fn a_flipped_bit_is_found_where_size_and_time_are_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(Some(folder.path())).unwrap();
        let image = kept(&cache).image;
        assert_eq!(inspect(&cache, None), Finding::Whole);
        std::fs::set_permissions(&image.path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let file = File::options().write(true).open(&image.path).unwrap();
        let modified = file.metadata().unwrap().modified().unwrap();
        file.write_all_at(b"I", 0).unwrap();
        file.set_modified(modified).unwrap();
        assert!(cache.find(&image.key).is_some(), "nothing but reading it tells");
        let found = digest::of_bytes(b"Image");
        assert_eq!(inspect(&cache, None), Finding::Damaged { wanted: image.content, found });
        cache.discard(&image.key).unwrap();
        assert_eq!(cache.inventory().unwrap(), []);
        assert_eq!(std::fs::read_dir(cache.images()).unwrap().count(), 0);
    }

    #[test]
    fn a_copied_cache_is_taken_for_whole_once_it_was_read() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(Some(folder.path())).unwrap();
        let image = kept(&cache).image;
        let copy = folder.path().join("copy");
        std::fs::copy(&image.path, &copy).unwrap();
        std::fs::rename(&copy, &image.path).unwrap();
        assert_eq!(cache.find(&image.key), None);
        assert_eq!(inspect(&cache, None), Finding::Whole);
        assert_eq!(cache.find(&image.key), Some(image));
    }

    #[test]
    fn an_image_of_an_older_builder_gets_a_digest_or_is_held_to_the_promised_one() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(Some(folder.path())).unwrap();
        let kept = kept(&cache);
        let old = || {
            let stamp = Stamp::of(&std::fs::metadata(&kept.image.path).unwrap());
            record::write(&cache.images, &record_name(&kept.image.key), &stamp).unwrap();
        };
        old();
        assert_eq!(cache.find(&kept.image.key).unwrap().content, None);
        let wanted = Some(digest::of_bytes(b"other"));
        assert_eq!(inspect(&cache, wanted), Finding::Damaged { wanted, found: digest::of_bytes(b"image") });
        assert_eq!(inspect(&cache, None), Finding::FirstLook);
        assert_eq!(inspect(&cache, None), Finding::Whole);
        old();
        assert_eq!(inspect(&cache, kept.image.content), Finding::Whole);
    }
}
