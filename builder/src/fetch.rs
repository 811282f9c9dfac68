//! Brings the OS image a cluster file names to where cards can be made from it: found or downloaded, compared with its
//! digest, unpacked into the cache.
//!
//! An image is taken for whole only with a [`Verified`] in hand, and that exists only after everything was read. The
//! order of effects: a name without a date is pinned in the lock; what comes over the network collects in
//! `downloads/`; it is compared, unpacked, compared, and gets its name in the cache; the lock learns what was seen; the
//! download is removed. A run that is killed goes on in the next, from whichever of these came last.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cluster::spec::ImageSource;
use reqwest::Url;

use crate::cache::{Cache, CachedImage};
use crate::catalog::is_publishers;
use crate::digest;
use crate::error::{Failure, Kind, builder, hint};
use crate::image::decode::Format;
use crate::image::overlay::SECTOR;
use crate::lock::{self, Lock};
use crate::pin::{Pin, Verified};
use crate::report::Progress;
use crate::spread::{SpreadError, Target};
use crate::trusted_hosts::{ImageHost, TrustedHosts};

mod answer;
mod client;
mod download;
mod error;
mod local;
mod locate;
mod newest;
mod origin;
mod oslist;
mod partial;
mod redirect;
mod unpack;
mod unpacking;

use client::Client;
pub use client::{ClientError, GetError};
pub use download::DownloadError;
pub use error::FetchError;
pub use locate::LocateError;
use locate::{Located, Place};
pub use newest::Names;
use newest::Settled;
pub(crate) use newest::examine;
pub use origin::{Origin, origin};
pub use oslist::{LeafError, ListError};
use partial::Partial;
pub use partial::PartialError;
pub(crate) use partial::length as partial_length;
use redirect::Follow;
pub use redirect::RedirectError;
use unpacking::{Unpacking, format_of};

/// How long to wait before a broken download is taken up again: long enough together for a router to start anew.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_secs(30),
];

/// An unpacked image, ready to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// The file: in the cache, or the user's own if that is not packed. Never to be written.
    pub path: PathBuf,
    /// Its size in bytes, a multiple of 512.
    pub size: u64,
    /// What identifies it: the SHA-256 that cluster file, catalog or lock give, else that of the file as published. 64
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

/// Finds or makes the unpacked image. `folder` is where relative paths start and the lock lies; `hosts` are those that
/// may be asked for it.
///
/// # Errors
/// As [`Fetcher::base_with_copies`].
pub fn base(
    source: &ImageSource,
    folder: &Path,
    cache: &Cache,
    hosts: &TrustedHosts,
    progress: &Progress,
) -> Result<Base, Failure> {
    Fetcher::new(cache, hosts, progress).base(source, folder)
}

/// As [`base`], and if the image has to be unpacked, its content is written to `copies` on the way: while two cores
/// unpack, the disk would be idle.
///
/// # Errors
/// As [`Fetcher::base_with_copies`].
pub fn base_with_copies(
    source: &ImageSource,
    folder: &Path,
    cache: &Cache,
    hosts: &TrustedHosts,
    copies: Vec<Target>,
    progress: &Progress,
) -> Result<(Base, Copies), Failure> {
    Fetcher::new(cache, hosts, progress).base_with_copies(source, folder, copies)
}

/// What brings images.
#[derive(Debug)]
pub struct Fetcher<'a> {
    cache: &'a Cache,
    hosts: &'a TrustedHosts,
    progress: &'a Progress,
    pauses: &'a [Duration],
    /// The official list, unless another is given.
    os_list: Option<Url>,
    names: Names,
    notes_content: bool,
    /// Whether the user typed the address of the image.
    is_typed: bool,
}

impl<'a> Fetcher<'a> {
    /// As every command but `builder images` uses it.
    pub const fn new(cache: &'a Cache, hosts: &'a TrustedHosts, progress: &'a Progress) -> Self {
        let names = Names::Locked;
        Self {
            cache,
            hosts,
            progress,
            pauses: &PAUSES,
            os_list: None,
            names,
            notes_content: false,
            is_typed: false,
        }
    }

    /// Takes the image's address for the user's own word, which needs no confirmation.
    #[must_use]
    pub fn typed(self, is_typed: bool) -> Self {
        Self { is_typed, ..self }
    }

    /// Waits otherwise before it takes up a broken download again, and as often as there are pauses.
    #[must_use]
    pub fn with_pauses(self, pauses: &'a [Duration]) -> Self {
        Self { pauses, ..self }
    }

    /// Asks another OS list than the official one.
    #[must_use]
    pub fn with_os_list(self, os_list: Option<Url>) -> Self {
        Self { os_list, ..self }
    }

    /// Has the digest of what a local archive holds noted in the cache, too, for `builder images verify` to compare with.
    #[must_use]
    pub fn noting_content(self) -> Self {
        Self { notes_content: true, ..self }
    }

    /// Treats names without a date otherwise.
    #[must_use]
    pub fn with_names(self, names: Names) -> Self {
        Self { names, ..self }
    }

    /// See [`base`].
    ///
    /// # Errors
    /// As [`Fetcher::base_with_copies`].
    pub fn base(&self, source: &ImageSource, folder: &Path) -> Result<Base, Failure> {
        self.base_with_copies(source, folder, Vec::new()).map(|(base, _)| base)
    }

    /// See [`base_with_copies`].
    ///
    /// # Errors
    /// [`crate::error::Kind::Usage`] for an image that is not there or not pinned and for a damaged lock,
    /// [`crate::error::Kind::Failed`] for all that goes wrong on the way.
    pub fn base_with_copies(
        &self,
        source: &ImageSource,
        folder: &Path,
        copies: Vec<Target>,
    ) -> Result<(Base, Copies), Failure> {
        self.find_or_make(source, folder, copies).map_err(|failure| {
            let is_other = failure.kind() == Kind::VerificationFailed;
            match Lock::read(folder) {
                Ok(lock) if is_other && lock.find(&source.location).is_some() => failure.hint(hint![
                    format!("{} pins this image; to pin the newest release: ", lock::NAME),
                    builder(["images", "pull", "--update"])
                ]),
                _ => failure,
            }
        })
    }

    fn find_or_make(
        &self,
        source: &ImageSource,
        folder: &Path,
        copies: Vec<Target>,
    ) -> Result<(Base, Copies), Failure> {
        let mut settled = self.settle(source, folder)?;
        let (what, pin) = (settled.place.to_string(), settled.pin);
        let (image, copies) = match (self.cached(&settled), &settled.place) {
            (Some(image), _) => (image, Copies::Untouched),
            (None, Place::Local(path)) => return self.local(path, &what, pin, copies),
            (None, Place::Remote(url)) => self.remote(url, &what, &settled, copies)?,
        };
        settled.learn(&image)?;
        Ok((base_of(image, pin), copies))
    }

    /// The host that the image would be downloaded from without the user's leave. Nothing is asked of it.
    pub fn unconfirmed(&self, source: &ImageSource, folder: &Path) -> Option<ImageHost> {
        // What is wrong with the image is told by whoever fetches it. The lock's entries are held to another rule.
        let located = locate::locate(source, folder).ok()?;
        let Located::Place { place: Place::Remote(url), pin, .. } = located else { return None };
        if self.may_ask(&url) || pin.digest().is_some_and(|digest| self.cache.find(&digest).is_some()) {
            return None;
        }
        ImageHost::of(&url)
    }

    fn may_ask(&self, url: &Url) -> bool {
        let is_near = || self.os_list.as_ref().is_some_and(|list| oslist::is_near(list, url));
        self.is_typed || self.hosts.may_serve(url) || is_near()
    }

    fn local(
        &self,
        path: &Path,
        what: &str,
        pin: Pin,
        copies: Vec<Target>,
    ) -> Result<(Base, Copies), Failure> {
        let file = local::open(path)?;
        // Before all of it is read.
        let format = format_of(file.get(), what)?;
        let local = file.identify(path, self.cache, self.progress)?;
        if pin == Pin::Nothing
            && let Some(image) = self.cache.find(&local.digest)
        {
            return Ok((base_of(image, pin), Copies::Untouched));
        }
        if format == Format::Raw && local.size().is_multiple_of(SECTOR) {
            let verified = pin.verify(what, local.digest, None).map_err(FetchError::from)?;
            return Ok((in_place(path, &local, verified), Copies::Untouched));
        }
        let unpacking = Unpacking {
            what,
            pin,
            size: None,
            notes_content: self.notes_content,
            cache: self.cache,
            progress: self.progress,
        };
        let unpacked = unpacking.run(&local.file, local.digest, copies)?;
        local.check_unchanged(path)?;
        let (image, copies) = unpacked.keep(self.cache, what)?;
        Ok((base_of(image, pin), copies))
    }

    fn remote(
        &self,
        url: &Url,
        what: &str,
        settled: &Settled,
        copies: Vec<Target>,
    ) -> Result<(CachedImage, Copies), FetchError> {
        if !self.may_ask(url) {
            let host = ImageHost::of(url).ok_or_else(|| LocateError::Url(url.to_string()));
            let host = host.map_err(FetchError::Locate)?;
            return Err(FetchError::Unconfirmed { url: Box::new(url.clone()), host });
        }
        let write = |error| FetchError::Download(DownloadError::Write(error));
        let waiting = || self.progress.say("download: another builder is at it; waiting for its end");
        let mut partial = Partial::open(self.cache.downloads(), url, waiting, |length, file| {
            let task = self.progress.task("check", Some(length));
            let hasher = digest::hasher_of_file(file, |count| task.advance(count))?;
            task.finish();
            Ok(hasher)
        })
        .map_err(write)?;
        // Whoever was at it has brought it.
        if let Some(image) = self.cached(settled) {
            partial.remove().map_err(write)?;
            return Ok((image, Copies::Untouched));
        }
        let brought = self.bring(url, what, settled, &mut partial, copies).map_err(|error| match error {
            // All of it is there.
            FetchError::Unpack { what, source, .. } if source.is_of_use() => {
                FetchError::Unpack { what, downloaded: Some(partial.path().to_owned()), source }
            }
            error => error,
        });
        if partial.length() == 0 || brought.as_ref().map_or_else(FetchError::spoils, |_| true) {
            let removed = partial.remove();
            return brought.and_then(|brought| removed.map_err(write).map(|()| brought));
        }
        brought
    }

    fn bring(
        &self,
        url: &Url,
        what: &str,
        settled: &Settled,
        partial: &mut Partial,
        copies: Vec<Target>,
    ) -> Result<(CachedImage, Copies), FetchError> {
        let prepare = |source| DownloadError::Prepare { url: Box::new(url.clone()), source };
        let follow = match self.is_typed || is_publishers(url) {
            true => Follow::Anywhere,
            false => Follow::Confirmed { hosts: self.hosts.clone(), list: self.os_list.clone() },
        };
        let client = Client::new(follow).map_err(prepare).map_err(FetchError::Download)?;
        let order = download::Order {
            url,
            size: settled.release.as_ref().and_then(|release| release.image_download_size),
            promised: settled.pin.digest(),
            pauses: self.pauses,
            progress: self.progress,
        };
        let size = settled.release.as_ref().and_then(|release| release.extract_size);
        let published = order.run(&client, partial).map_err(FetchError::Download)?;
        let unpacking = Unpacking {
            what,
            pin: settled.pin,
            size,
            notes_content: true,
            cache: self.cache,
            progress: self.progress,
        };
        let brought = unpacking.run(partial.file(), published, copies)?.keep(self.cache, what)?;
        // The same image may be in the cache from elsewhere; now it is known to be there, too.
        if let (Some(release), Some(digest)) = (&settled.release, settled.pin.digest()) {
            self.cache.note_promise(&release.url, &[digest]).map_err(FetchError::Cache)?;
        }
        Ok(brought)
    }
}

/// An image by the digest it was asked for.
fn base_of(image: CachedImage, pin: Pin) -> Base {
    let digest = pin.digest().unwrap_or(image.key);
    Base { path: image.path, size: image.size, digest: digest.to_string() }
}

/// An unpacked image of the user's own is used where it is: a copy would double its space and gain nothing, for it is
/// only read.
fn in_place(path: &Path, local: &local::LocalFile, verified: Verified) -> Base {
    Base { path: path.to_owned(), size: local.size(), digest: verified.digest().to_string() }
}
