//! What a name without a date means: what the lock says it does, else the newest release in the official list, which
//! then is written into the lock.

use std::path::Path;

use cluster::spec::ImageSource;
use reqwest::Url;

use super::client::Client;
use super::locate::{self, LocateError, Located, Place};
use super::oslist::{self, ListError};
use super::pin::Pin;
use super::unpacking::format_of;
use super::{FetchError, Fetcher, local};
use crate::cache::CachedImage;
use crate::catalog::{Catalog, Release, Series};
use crate::lock::{self, Lock};

/// What names without a date mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// What the lock says, if it says anything.
    Locked,
    /// The newest release, which then replaces what the lock says.
    Renewed,
    /// The newest release; there is no lock.
    Newest,
}

/// An image whose place is known.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) place: Place,
    pub(super) pin: Pin,
    pub(super) release: Option<Release>,
    /// Where the release is pinned, and by what name.
    lock: Option<(Lock, String)>,
}

impl Fetcher<'_> {
    /// Finds out where the image is.
    pub(super) fn settle(&self, source: &ImageSource, folder: &Path) -> Result<Settled, FetchError> {
        match locate::locate(source, folder).map_err(FetchError::Locate)? {
            Located::Place { place, pin, release } => Ok(Settled { place, pin, release, lock: None }),
            Located::Series { series, given } => {
                let (release, lock) = match self.names {
                    Names::Newest => (self.newest(&series)?, None),
                    Names::Locked | Names::Renewed => {
                        let mut lock = Lock::read(folder).map_err(FetchError::Lock)?;
                        let release = self.locked(&series, &mut lock)?;
                        (release, Some((lock, series.name)))
                    }
                };
                locate::refuse_by_name(&release.url).map_err(FetchError::Locate)?;
                let place = Place::Remote(locate::parse(&release.url).map_err(FetchError::Locate)?);
                let pin = Pin::of(release.image_download_sha256, release.extract_sha256);
                let pin = given.map_or(pin, Pin::Either);
                Ok(Settled { place, pin, release: Some(release), lock })
            }
        }
    }

    fn locked(&self, series: &Series, lock: &mut Lock) -> Result<Release, FetchError> {
        let before = lock.find(&series.name).cloned();
        if let (Names::Locked, Some(before)) = (self.names, &before) {
            return Ok(before.clone());
        }
        let mut release = self.newest(series)?;
        // What was seen of the same file stays known.
        if let Some(before) = before.filter(|before| before.url == release.url) {
            release = before.completed_by(&release).unwrap_or(release);
        }
        lock.pin(&series.name, release.clone()).map_err(FetchError::Lock)?;
        let (name, date) = (&series.name, &release.release_date);
        self.progress.say(&format!("{name} is the release of {date}, pinned in {}", lock::NAME));
        Ok(release)
    }

    /// The newest release in the list, with what the catalog knows of it besides.
    fn newest(&self, series: &Series) -> Result<Release, FetchError> {
        let catalog = Catalog::built_in().map_err(LocateError::Catalog).map_err(FetchError::Locate)?;
        let official =
            || Url::parse(oslist::OFFICIAL).map_err(|_| LocateError::Url(oslist::OFFICIAL.to_owned()));
        let list = self.os_list.clone().map_or_else(official, Ok).map_err(FetchError::Locate)?;
        let found = Client::new()
            .map_err(ListError::Prepare)
            .and_then(|client| oslist::newest(&client, &list, series));
        let release = found.map_err(|source| FetchError::Newest {
            name: series.name.clone(),
            known: catalog.newest_known(series).map(|entry| entry.name.clone()),
            source,
        })?;
        match catalog.at(&release.url) {
            Some(known) => {
                release.completed_by(&known.release).ok_or(FetchError::Contradiction { url: release.url })
            }
            None => Ok(release),
        }
    }
}

/// Whether an image can be what the cluster file means, as far as that is seen without the network and without reading all
/// of it.
///
/// # Errors
/// As fetching it.
pub(crate) fn examine(source: &ImageSource, folder: &Path) -> Result<(), FetchError> {
    match locate::locate(source, folder).map_err(FetchError::Locate)? {
        Located::Place { place: Place::Local(path), .. } => {
            let file = local::open(&path)?;
            format_of(file.get(), &path.display().to_string()).map(|_| ())
        }
        Located::Place { .. } => Ok(()),
        Located::Series { series, .. } => {
            // A damaged lock is for whoever needs it to tell of.
            let lock = Lock::read(folder).ok();
            let locked = lock.as_ref().and_then(|lock| lock.find(&series.name));
            locked.map_or(Ok(()), |release| locate::refuse_by_name(&release.url)).map_err(FetchError::Locate)
        }
    }
}

impl Settled {
    /// Writes into the lock what was seen of the image, so that from now on the very same bytes are demanded.
    pub(super) fn learn(&mut self, image: &CachedImage) -> Result<(), FetchError> {
        let (Some((lock, name)), Some(release)) = (&mut self.lock, &self.release) else { return Ok(()) };
        // The same image may have come in another archive, whose digest is not that of the file at this address.
        let published = image.published.filter(|_| image.source.as_ref() == Some(&release.url));
        let seen = Release {
            image_download_sha256: release.image_download_sha256.or(published),
            extract_size: release.extract_size.or(Some(image.size)),
            extract_sha256: release.extract_sha256.or(image.content),
            ..release.clone()
        };
        lock.pin(name, seen).map_err(FetchError::Lock)
    }
}
