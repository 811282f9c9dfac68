//! What a name without a date means: what the lock says it does, else the newest release in the official list, which
//! then is written into the lock.

use std::path::Path;

use cluster::spec::ImageSource;
use reqwest::Url;

use super::client::Client;
use super::locate::{self, LocateError, Located, Place};
use super::oslist::{self, ListError};
use super::redirect::Follow;
use super::unpacking::format_of;
use super::{FetchError, Fetcher, local};
use crate::cache::CachedImage;
use crate::catalog::{Catalog, Release, Series};
use crate::digest::Digest;
use crate::lock::{self, Lock};
use crate::pin::Pin;
use crate::trusted_hosts::TrustedHosts;

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
    /// What has to hold for an image in the cache before it may stand for a name of the catalog.
    named: Option<Named>,
    /// Where the release is pinned, and by what name.
    lock: Option<(Lock, String)>,
}

/// What a name of the catalog stands for, by others than the cluster file and its lock. Those may come with somebody's
/// repository, and so may a local archive that got into the cache: both together could otherwise replace the
/// publisher's image.
#[derive(Debug)]
struct Named {
    /// What the addresses of the series have in their paths.
    path: Option<String>,
    /// Digests that the catalog or an OS list promised of this release.
    promised: Vec<Digest>,
}

impl Fetcher<'_> {
    /// Finds out where the image is.
    pub(super) fn settle(&self, source: &ImageSource, folder: &Path) -> Result<Settled, FetchError> {
        match locate::locate(source, folder).map_err(FetchError::Locate)? {
            Located::Place { place, pin, release } => {
                let named = release.as_ref().map(|release| self.named(release, None)).transpose()?;
                Ok(Settled { place, pin, release, named, lock: None })
            }
            Located::Series { series, given } => {
                let (release, lock) = match self.names {
                    Names::Newest => (self.newest(&series)?, None),
                    Names::Locked | Names::Renewed => {
                        let mut lock = Lock::read(folder).map_err(FetchError::Lock)?;
                        let release = self.locked(&series, &mut lock)?;
                        (release, Some((lock, series.name.clone())))
                    }
                };
                locate::refuse_by_name(&release.url).map_err(FetchError::Locate)?;
                let place = Place::Remote(locate::parse(&release.url).map_err(FetchError::Locate)?);
                let pin = Pin::of(release.image_download_sha256, release.extract_sha256);
                let pin = given.map_or(pin, Pin::Either);
                let named = Some(self.named(&release, Some(&series))?);
                Ok(Settled { place, pin, release: Some(release), named, lock })
            }
        }
    }

    fn locked(&self, series: &Series, lock: &mut Lock) -> Result<Release, FetchError> {
        if let (Names::Locked, Some(before)) = (self.names, lock.find(&series.name)) {
            check_locked(series, before, lock, |url| self.may_serve_named(url))?;
            return Ok(before.clone());
        }
        let release = self.newest(series)?;
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
        let follow = match &self.os_list {
            Some(_) => Follow::Confirmed { hosts: self.hosts.clone(), list: self.os_list.clone() },
            None => Follow::Anywhere,
        };
        let found = Client::new(follow)
            .map_err(ListError::Prepare)
            .and_then(|client| oslist::newest(&client, &list, series));
        let release = found.map_err(|source| FetchError::Newest {
            name: series.name.clone(),
            known: catalog.newest_known(series).map(|entry| entry.name.clone()),
            source,
        })?;
        let release = match catalog.at(&release.url) {
            Some(known) => release
                .completed_by(&known.release)
                .ok_or_else(|| FetchError::Contradiction { url: release.url.clone() })?,
            None => release,
        };
        let digests: Vec<_> = release.digests().collect();
        self.cache.note_promise(&release.url, &digests).map_err(FetchError::Cache)?;
        Ok(release)
    }

    /// What a release of a series has to be; of the catalog's own releases, the series is known by the address.
    fn named(&self, release: &Release, series: Option<&Series>) -> Result<Named, FetchError> {
        let catalog = Catalog::built_in().map_err(LocateError::Catalog).map_err(FetchError::Locate)?;
        let mut promised = self.cache.promised_at(&release.url);
        promised.extend(catalog.at(&release.url).iter().flat_map(|entry| entry.release.digests()));
        let url = locate::parse(&release.url).map_err(FetchError::Locate)?;
        let of_url = || catalog.series.iter().find(|series| url.path().contains(&series.path));
        Ok(Named { path: series.or_else(of_url).map(|series| series.path.clone()), promised })
    }

    /// Whether an image that has a name in the catalog may be there.
    fn may_serve_named(&self, url: &Url) -> bool {
        self.hosts.may_serve_named(url)
            || self.os_list.as_ref().is_some_and(|list| oslist::is_near(list, url))
    }

    /// The image in the cache, if it is what the cluster file means.
    pub(super) fn cached(&self, settled: &Settled) -> Option<CachedImage> {
        let image = self.cache.find(&settled.pin.digest()?)?;
        let Some(named) = &settled.named else { return Some(image) };
        let is_promised = [Some(image.key), image.published, image.content]
            .into_iter()
            .flatten()
            .any(|digest| named.promised.contains(&digest));
        let url = image.source.as_deref().and_then(|source| Url::parse(source).ok());
        let is_downloaded = url.is_some_and(|url| {
            self.may_serve_named(&url) && named.path.as_ref().is_some_and(|path| url.path().contains(path))
        });
        (is_promised || is_downloaded).then_some(image)
    }
}

/// Refuses an entry of the lock that the publisher's list could not have.
fn check_locked(
    series: &Series,
    release: &Release,
    lock: &Lock,
    may_serve: impl FnOnce(&Url) -> bool,
) -> Result<(), FetchError> {
    let catalog = Catalog::built_in().map_err(LocateError::Catalog).map_err(FetchError::Locate)?;
    let url = locate::parse(&release.url).map_err(FetchError::Locate)?;
    let known = catalog.at(&release.url);
    let problem = if !may_serve(&url) {
        "is neither the publisher's https: server nor a mirror of yours"
    } else if !url.path().contains(&series.path) {
        "is not one of its releases"
    } else if known.is_some_and(|known| release.completed_by(&known.release).is_none()) {
        "has other digests in the catalog of this builder"
    } else {
        return Ok(());
    };
    Err(FetchError::Misdirected {
        lock: lock.path().to_owned(),
        name: series.name.clone(),
        url: url.into(),
        problem,
    })
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
            let Ok(lock) = Lock::read(folder) else { return Ok(()) };
            let Some(release) = lock.find(&series.name) else { return Ok(()) };
            let hosts = TrustedHosts::read().map_err(FetchError::Trust)?;
            check_locked(&series, release, &lock, |url| hosts.may_serve_named(url))?;
            locate::refuse_by_name(&release.url).map_err(FetchError::Locate)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Cache;
    use crate::digest;
    use crate::report::Progress;

    /// A query is not a path: with it, a lock could have an image of another series in the cache stand for the name.
    #[test]
    fn a_locked_release_is_of_the_series_that_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Catalog::built_in().unwrap();
        let [first, second] = [0, 1].map(|place| catalog.series[place].clone());
        let release = |own: &Series, query: &Series| Release {
            release_date: "2026-11-20".to_owned(),
            url: format!("https://downloads.raspberrypi.com/{}/os.img.xz?{}", own.path, query.path),
            image_download_size: None,
            image_download_sha256: None,
            extract_size: None,
            extract_sha256: Some(digest::of_bytes(b"image")),
        };
        let (cache, progress) =
            (Cache::open(Some(&folder.path().join("cache"))).unwrap(), Progress::new(true, false));
        let hosts = TrustedHosts::at(&folder.path().join("trusted-hosts.json")).unwrap();
        for (own, query) in [(&first, &second), (&second, &first)] {
            let mut lock = Lock::read(folder.path()).unwrap();
            lock.pin(&own.name, release(own, query)).unwrap();
            let source = ImageSource { location: own.name.clone(), sha256: None };
            let settled = Fetcher::new(&cache, &hosts, &progress).settle(&source, folder.path()).unwrap();
            assert_eq!(settled.named.unwrap().path.as_ref(), Some(&own.path));
        }
    }
}
