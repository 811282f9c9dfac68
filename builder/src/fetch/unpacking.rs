//! From an archive to a whole image in the cache, and to copies on the way.

use std::fs::File;

use super::{Copies, FetchError, unpack};
use crate::cache::{Cache, CachedImage};
use crate::digest::Digest;
use crate::image::decode::Format;
use crate::pin::{Pin, Verified};
use crate::report::Progress;
use crate::scratch::Scratch;
use crate::spread::{Spread, SpreadError, Target};

/// What unpacking needs to know besides the file.
pub(super) struct Unpacking<'a> {
    pub(super) what: &'a str,
    pub(super) pin: Pin,
    /// Bytes of the image, where that is certain: an archive may unpack to anything.
    pub(super) size: Option<u64>,
    /// Whether to compute the image's own digest also where nothing depends on it. Beside a download it costs nothing;
    /// beside unpacking alone, a tenth of the time.
    pub(super) notes_content: bool,
    pub(super) cache: &'a Cache,
    pub(super) progress: &'a Progress,
}

/// A whole image that has no name yet.
pub(super) struct Unpacked {
    image: Scratch,
    verified: Verified,
    copies: Vec<Result<(), SpreadError>>,
}

impl Unpacking<'_> {
    /// Unpacks `file`, whose digest as published is known, into the cache and onto `copies`.
    pub(super) fn run(
        &self,
        file: &File,
        published: Digest,
        copies: Vec<Target>,
    ) -> Result<Unpacked, FetchError> {
        let what = || self.what.to_owned();
        self.pin.refuse_early(self.what, published)?;
        let image = self.cache.new_image().map_err(FetchError::Cache)?;
        let mut targets = vec![
            Target::kept_in_memory(image.file(), &self.cache.images())
                .map_err(|source| FetchError::Open { path: self.cache.images(), source })?,
        ];
        targets.extend(copies);
        let format =
            format_of(file, self.what).map_err(|error| self.pin.blame(self.what, published, error))?;
        let wants_digest = self.notes_content || self.pin.wants_content(published);
        let (result, mut written) =
            unpack::unpack(file, format, wants_digest, Spread::start(targets), self.size, self.progress);
        let base_written = written.remove(0);
        if let Err(source) = base_written {
            return Err(match source.is_full() {
                true => FetchError::Full { folder: self.cache.images(), source },
                false => FetchError::Write { what: what(), source },
            });
        }
        let content = result
            .map_err(|source| FetchError::Unpack { what: what(), downloaded: None, source })
            .map_err(|error| self.pin.blame(self.what, published, error))?;
        if content.size == 0 {
            return Err(FetchError::Empty { what: what() });
        }
        let verified = self.pin.verify(self.what, published, content.digest)?;
        if content.padded_size != content.size {
            let missing = content.padded_size - content.size;
            self.progress.say(&format!("unpack: {missing} zero bytes fill the image's last sector"));
        }
        Ok(Unpacked { image, verified: verified.padded(content.padded_digest), copies: written })
    }
}

impl Unpacked {
    /// Gives the image its name in the cache; `what` is where it came from.
    pub(super) fn keep(self, cache: &Cache, what: &str) -> Result<(CachedImage, Copies), FetchError> {
        let kept = cache.keep(self.image, &self.verified, what).map_err(FetchError::Cache)?;
        Ok((kept, Copies::Made(self.copies)))
    }
}

/// The kind of archive.
pub(super) fn format_of(file: &File, what: &str) -> Result<Format, FetchError> {
    Format::of(file).map_err(|source| FetchError::Unpack { what: what.to_owned(), downloaded: None, source })
}
