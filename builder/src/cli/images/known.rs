//! The images somebody may mean by a name here: the catalog's, those the lock pins, and the cluster file's own.

use crate::cache::CachedImage;
use crate::catalog::{Catalog, Release};
use crate::digest::Digest;
use crate::error::Failure;
use crate::fetch::{FetchError, LocateError};
use crate::lock::Lock;
use crate::project::Project;

/// What decides which bytes a name means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PinnedBy {
    /// The catalog in this program.
    Catalog,
    /// `cluster.lock`.
    Lock,
    /// The cluster file's `image_sha256`.
    ClusterFile,
    /// Nothing: it is the newest release on the day it is pulled.
    Nothing,
}

impl PinnedBy {
    pub(super) const fn word(self) -> Option<&'static str> {
        match self {
            Self::Catalog => Some("builder"),
            Self::Lock => Some(crate::lock::NAME),
            Self::ClusterFile => Some("cluster file"),
            Self::Nothing => None,
        }
    }
}

/// An image that has a name here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) name: String,
    pub(super) description: String,
    /// Which release it is, if that is decided.
    pub(super) release: Option<Release>,
    /// The cluster file's own digest of it.
    pub(super) given: Option<Digest>,
    pub(super) pinned: PinnedBy,
    /// Whether the cluster file names it.
    pub(super) wanted: bool,
    /// What the addresses of all its releases have in their paths.
    series: Option<String>,
}

impl Known {
    /// Whether a cached image is this one.
    pub(super) fn is(&self, image: &CachedImage) -> bool {
        let digests: Vec<_> =
            self.given.into_iter().chain(self.release.iter().flat_map(Release::digests)).collect();
        let source = image.source.as_deref().unwrap_or_default();
        match (&self.release, &self.series) {
            (None, Some(path)) => source.contains(path.as_str()),
            _ => has(image, &digests) || source == self.name,
        }
    }

    /// Whether the name means another release every few months.
    pub(super) const fn is_series(&self) -> bool {
        self.series.is_some()
    }

    /// What an unpacked image is to be, by the catalog or the lock.
    pub(super) fn content(&self) -> Option<Digest> {
        self.release.as_ref().and_then(|release| release.extract_sha256)
    }
}

fn has(image: &CachedImage, digests: &[Digest]) -> bool {
    let theirs = [Some(image.key), image.published, image.content];
    theirs.into_iter().flatten().any(|digest| digests.contains(&digest))
}

/// All images that have a name: series, releases, and the cluster file's own.
///
/// # Errors
/// When the lock is damaged.
pub(super) fn all(project: Option<&Project>) -> Result<Vec<Known>, Failure> {
    let catalog = Catalog::built_in().map_err(|error| FetchError::Locate(LocateError::Catalog(error)))?;
    let lock = project.map(|project| Lock::read(&project.folder)).transpose()?;
    let source = project.map(|project| &project.cluster.image);
    let given = source.and_then(|source| Digest::try_from(source.sha256.as_deref()?).ok());
    let mut known = Vec::new();
    for series in &catalog.series {
        let wanted = source.is_some_and(|source| source.location == series.name);
        let release = lock.as_ref().and_then(|lock| lock.find(&series.name)).cloned();
        known.push(Known {
            name: series.name.clone(),
            description: series.description.clone(),
            pinned: if release.is_some() { PinnedBy::Lock } else { PinnedBy::Nothing },
            release,
            given: given.filter(|_| wanted),
            wanted,
            series: Some(series.path.clone()),
        });
    }
    for entry in &catalog.images {
        let wanted = source.is_some_and(|source| source.location == entry.name);
        known.push(Known {
            name: entry.name.clone(),
            description: entry.description.clone(),
            release: Some(entry.release.clone()),
            given: given.filter(|_| wanted),
            pinned: PinnedBy::Catalog,
            wanted,
            series: None,
        });
    }
    if let Some((source, project)) = source.zip(project)
        && !known.iter().any(|known| known.wanted)
    {
        let path = project.path(&source.location);
        let name = path.canonicalize().ok().and_then(|path| path.into_os_string().into_string().ok());
        known.push(Known {
            name: name.unwrap_or_else(|| source.location.clone()),
            description: "the cluster file's own".to_owned(),
            release: None,
            given,
            pinned: if given.is_some() { PinnedBy::ClusterFile } else { PinnedBy::Nothing },
            wanted: true,
            series: None,
        });
    }
    Ok(known)
}
