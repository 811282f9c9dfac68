//! Brings the OS image a cluster file names to where cards can be made from it: found or downloaded, compared with its
//! digest, unpacked into the cache.
//!
//! An image is taken for whole only with a [`Verified`] in hand, and that exists only after everything was read.

use std::fs::File;
use std::path::{Path, PathBuf};

use cluster::spec::ImageSource;
use thiserror::Error;

use crate::cache::Cache;
use crate::error::{Failure, Kind};
use crate::image::decode::{DecodeError, Format};
use crate::report::Progress;
use crate::scratch::Scratch;
use crate::spread::{Spread, SpreadError, Target};

pub mod digest;
mod download;
mod local;
mod locate;
mod pin;
mod unpack;

use digest::Digest;
pub use download::DownloadError;
pub use locate::LocateError;
use locate::Place;
pub use pin::{Pin, Verified};

/// An unpacked image, ready to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// The file: in the cache, or the user's own if that is not packed. Never to be written.
    pub path: PathBuf,
    /// Its size in bytes, a multiple of 512.
    pub size: u64,
    /// What identifies it: the SHA-256 the cluster file or catalog gives, else that of the file as published. 64
    /// hexadecimal digits.
    pub digest: String,
}

/// What became of the copies that were to be made while unpacking.
#[derive(Debug)]
pub enum Copies {
    /// The image was unpacked before: nothing was written to them.
    Untouched,
    /// Each now equals the base, or could not be written.
    Made(Vec<Result<(), SpreadError>>),
}

/// Why an image could not be had.
#[derive(Debug, Error)]
pub enum FetchError {
    /// A local file cannot be read.
    #[error("cannot read the image {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// It cannot be unpacked.
    #[error("cannot unpack the image {what}")]
    Unpack {
        /// Path or URL.
        what: String,
        /// Why.
        #[source]
        source: DecodeError,
    },
    /// It is another file than promised.
    #[error("the image {what} is not the one its sha256 promises: {wanted} was promised, {found} was found")]
    WrongDigest {
        /// Path or URL.
        what: String,
        /// The promised digest.
        wanted: Digest,
        /// That of the file as published.
        found: Digest,
    },
    /// No disk has such a size.
    #[error("the image {what} unpacks to {size} bytes, which is no whole number of 512-byte sectors")]
    OddSize {
        /// Path or URL.
        what: String,
        /// Bytes.
        size: u64,
    },
    /// Somebody wrote to it meanwhile.
    #[error("the image {} changed while it was read", .0.display())]
    Changed(PathBuf),
    /// The cache has no room.
    #[error("no space left in {} for the unpacked image", folder.display())]
    Full {
        /// The cache's folder.
        folder: PathBuf,
        /// What the system says.
        #[source]
        source: SpreadError,
    },
    /// The cache cannot be written.
    #[error("cannot unpack the image {what} into the cache")]
    Write {
        /// Path or URL.
        what: String,
        /// Why.
        #[source]
        source: SpreadError,
    },
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        let hint = match &error {
            FetchError::Unpack { source: DecodeError::UnknownFormat, .. } => {
                Some("check that it is an OS image: .img, .img.xz, .img.gz, .img.zst or .zip")
            }
            FetchError::Unpack { source: DecodeError::NoImage | DecodeError::SeveralImages(_), .. } => {
                Some("unpack it and name the .img file in the cluster file")
            }
            FetchError::Unpack { source: DecodeError::Read(_), .. } => None,
            FetchError::Unpack { .. } | FetchError::OddSize { .. } => Some("download or copy it again"),
            FetchError::WrongDigest { .. } => Some(
                "download it again; if the sha256 in the cluster file is for another release, correct it",
            ),
            FetchError::Changed(_) => Some("run again when nothing writes to it"),
            FetchError::Full { .. } => Some("free some space, or choose another folder with --cache DIR"),
            FetchError::Open { .. } | FetchError::Write { .. } => None,
        };
        let failure = Self::new(Kind::Failed, error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

/// Finds or makes the unpacked image. `folder` is where relative paths start.
pub fn base(
    source: &ImageSource,
    folder: &Path,
    cache: &Cache,
    progress: &Progress,
) -> Result<Base, Failure> {
    base_with_copies(source, folder, cache, Vec::new(), progress).map(|(base, _)| base)
}

/// As [`base`], and if the image has to be unpacked, its content is written to `copies` on the way: while two cores
/// unpack, the disk would be idle.
pub fn base_with_copies(
    source: &ImageSource,
    folder: &Path,
    cache: &Cache,
    copies: Vec<Target>,
    progress: &Progress,
) -> Result<(Base, Copies), Failure> {
    let located = locate::locate(source, folder)?;
    let (what, pin) = (located.place.to_string(), located.pin);
    if let Some(base) = pin.digest().and_then(|digest| cached(cache, digest)) {
        return Ok((base, Copies::Untouched));
    }
    let unpacking = Unpacking { what: &what, pin, cache, progress };
    match &located.place {
        Place::Local(path) => {
            let local = local::open(path, cache, progress)?;
            if pin == Pin::Nothing
                && let Some(base) = cached(cache, local.digest)
            {
                return Ok((base, Copies::Untouched));
            }
            if format_of(&local.file, &what)? == Format::Raw {
                return Ok((
                    in_place(path, &local, pin.verify(&what, local.digest, None)?)?,
                    Copies::Untouched,
                ));
            }
            let unpacked = unpacking.run(&local.file, local.digest, copies)?;
            local.check_unchanged(path)?;
            unpacked.keep(cache)
        }
        Place::Remote(url) => {
            let download = cache.new_image()?;
            let digest = download::download(url, download.file(), progress)?;
            unpacking.run(download.file(), digest, copies)?.keep(cache)
        }
    }
}

fn cached(cache: &Cache, digest: Digest) -> Option<Base> {
    let image = cache.find(&digest)?;
    Some(Base { path: image.path, size: image.size, digest: digest.to_string() })
}

fn format_of(file: &File, what: &str) -> Result<Format, FetchError> {
    Format::of(file).map_err(|source| FetchError::Unpack { what: what.to_owned(), source })
}

/// An unpacked image of the user's own is used where it is: a copy would double its space and gain nothing, for it is
/// only read.
fn in_place(path: &Path, local: &local::LocalFile, verified: Verified) -> Result<Base, FetchError> {
    let size = whole_sectors(local.size(), &path.display().to_string())?;
    Ok(Base { path: path.to_owned(), size, digest: verified.digest().to_string() })
}

fn whole_sectors(size: u64, what: &str) -> Result<u64, FetchError> {
    if size == 0 || !size.is_multiple_of(512) {
        return Err(FetchError::OddSize { what: what.to_owned(), size });
    }
    Ok(size)
}

/// What unpacking needs to know besides the file.
struct Unpacking<'a> {
    what: &'a str,
    pin: Pin,
    cache: &'a Cache,
    progress: &'a Progress,
}

/// A whole image that has no name yet.
struct Unpacked {
    image: Scratch,
    verified: Verified,
    copies: Vec<Result<(), SpreadError>>,
}

impl Unpacking<'_> {
    /// Unpacks `file`, whose digest as published is known, into the cache and onto `copies`.
    fn run(&self, file: &File, published: Digest, copies: Vec<Target>) -> Result<Unpacked, Failure> {
        let what = || self.what.to_owned();
        self.pin.refuse_early(self.what, published)?;
        let image = self.cache.new_image()?;
        let mut targets = vec![
            Target::kept_in_memory(image.file(), &self.cache.images())
                .map_err(|source| FetchError::Open { path: self.cache.images(), source })?,
        ];
        targets.extend(copies);
        let format =
            format_of(file, self.what).map_err(|error| self.pin.blame(self.what, published, error))?;
        let (result, mut written) = unpack::unpack(
            file,
            format,
            self.pin.wants_content(published),
            Spread::start(targets),
            self.progress,
        );
        let base_written = written.remove(0);
        if let Err(source) = base_written {
            return Err(match source.is_full() {
                true => FetchError::Full { folder: self.cache.images(), source },
                false => FetchError::Write { what: what(), source },
            }
            .into());
        }
        let content = result
            .map_err(|source| FetchError::Unpack { what: what(), source })
            .map_err(|error| self.pin.blame(self.what, published, error))?;
        whole_sectors(content.size, self.what)?;
        let verified = self.pin.verify(self.what, published, content.digest)?;
        Ok(Unpacked { image, verified, copies: written })
    }
}

impl Unpacked {
    fn keep(self, cache: &Cache) -> Result<(Base, Copies), Failure> {
        let kept = cache.keep(self.image, &self.verified)?;
        let base = Base { path: kept.path, size: kept.size, digest: self.verified.digest().to_string() };
        Ok((base, Copies::Made(self.copies)))
    }
}
