//! What the cluster file's `image` means: a catalog name, a path, or a URL.

use std::fmt;
use std::path::{Path, PathBuf};

use cluster::spec::ImageSource;
use reqwest::Url;
use thiserror::Error;

use super::digest::{Digest, DigestError};
use super::pin::Pin;
use crate::catalog::{Catalog, Release, Series};
use crate::error::{Failure, Kind};
use crate::home;

/// What a cluster file means by its image.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Located {
    /// One image, for ever.
    Place {
        /// Where it is.
        place: Place,
        /// What is promised of it.
        pin: Pin,
        /// What the catalog knows of it.
        release: Option<Release>,
    },
    /// The newest of many.
    Series {
        series: Series,
        /// The digest that the cluster file demands all the same.
        given: Option<Digest>,
    },
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    Local(PathBuf),
    Remote(Url),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => path.display().fmt(f),
            Self::Remote(url) => url.fmt(f),
        }
    }
}

/// Why `image` names nothing.
#[derive(Debug, Error)]
pub enum LocateError {
    /// Neither a file nor in the catalog.
    #[error("there is no image {}", path.display())]
    Missing {
        /// The path it would have.
        path: PathBuf,
        /// What the catalog has.
        known: String,
    },
    /// A URL with errors, or of a kind nobody can fetch.
    #[error("the image's address {0} is not an https:, http: or file: URL")]
    Url(String),
    /// A URL may lead to other bytes tomorrow.
    #[error("the image {0} has no sha256")]
    NotPinned(String),
    /// The digest is none.
    #[error("the image's sha256 is wrong")]
    Digest(#[source] DigestError),
    /// The catalog in this program is damaged: a fault of its build.
    #[error("the built-in catalog cannot be read")]
    Catalog(#[source] serde_json::Error),
    /// `~` without a home folder.
    #[error("this user has no home folder for {0}")]
    NoHome(String),
}

impl From<LocateError> for Failure {
    fn from(error: LocateError) -> Self {
        let hint = match &error {
            LocateError::Missing { known, .. } => {
                format!(
                    "in the cluster file, `image` takes a path, an https: URL with its sha256, or a name: {known}"
                )
            }
            LocateError::Url(_) => "write a URL like https://example.org/os.img.xz, or a path".to_owned(),
            LocateError::Digest(_) => "run `sha256sum` on the image".to_owned(),
            LocateError::NoHome(_) => "write the whole path".to_owned(),
            LocateError::Catalog(_) => return Self::new(Kind::Failed, error),
            // A cluster file with such an image is refused before; the command that was given a URL says what is missing.
            LocateError::NotPinned(_) => return Self::new(Kind::Usage, error),
        };
        Self::new(Kind::Usage, error).hint(hint)
    }
}

/// Finds out what `source` means. `folder` is where relative paths start.
pub(super) fn locate(source: &ImageSource, folder: &Path) -> Result<Located, LocateError> {
    let location = source.location.as_str();
    let given = source.sha256.as_deref().map(Digest::try_from).transpose().map_err(LocateError::Digest)?;
    let pin = given.map_or(Pin::Nothing, Pin::Either);
    let catalog = Catalog::built_in().map_err(LocateError::Catalog)?;
    if let Some(series) = catalog.series(location) {
        return Ok(Located::Series { series: series.clone(), given });
    }
    if let Some(entry) = catalog.find(location) {
        let release = &entry.release;
        return Ok(Located::Place {
            place: Place::Remote(parse(&release.url)?),
            pin: given.map_or(Pin::of(release.image_download_sha256, release.extract_sha256), Pin::Either),
            release: Some(release.clone()),
        });
    }
    if location.starts_with("file:") || location.contains("://") {
        if pin == Pin::Nothing {
            return Err(LocateError::NotPinned(location.to_owned()));
        }
        let url = parse(location)?;
        let place = match url.scheme() {
            "file" => {
                let path = url.to_file_path().map_err(|()| LocateError::Url(location.to_owned()))?;
                Place::Local(existing(path, &catalog)?)
            }
            "http" | "https" => Place::Remote(url),
            _ => return Err(LocateError::Url(location.to_owned())),
        };
        return Ok(Located::Place { place, pin, release: None });
    }
    let path = match location.strip_prefix("~/") {
        Some(rest) => home::home().ok_or_else(|| LocateError::NoHome(location.to_owned()))?.join(rest),
        None => folder.join(location),
    };
    Ok(Located::Place { place: Place::Local(existing(path, &catalog)?), pin, release: None })
}

/// A URL of whatever kind.
pub(super) fn parse(text: &str) -> Result<Url, LocateError> {
    Url::parse(text).map_err(|_| LocateError::Url(text.to_owned()))
}

/// The path from the root, so that it means the same wherever the next run starts.
fn existing(path: PathBuf, catalog: &Catalog) -> Result<PathBuf, LocateError> {
    path.canonicalize().map_err(|_| LocateError::Missing { path, known: catalog.names() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUM: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn locate_in(folder: &Path, location: &str, sha256: Option<&str>) -> Result<Located, LocateError> {
        let source = ImageSource { location: location.to_owned(), sha256: sha256.map(str::to_owned) };
        locate(&source, folder)
    }

    #[test]
    fn a_catalog_name_brings_its_own_digest() {
        let located = locate_in(Path::new("/"), "raspios-lite-arm64-2026-10-06", None).unwrap();
        let Located::Place { place, pin, .. } = located else { panic!("{located:?}") };
        assert!(matches!(pin, Pin::Published(_)));
        assert!(matches!(place, Place::Remote(url) if url.scheme() == "https"));
        let series = locate_in(Path::new("/"), "raspios-lite-arm64", Some(SUM)).unwrap();
        assert!(matches!(series, Located::Series { given: Some(_), .. }));
    }

    #[test]
    fn paths_start_at_the_cluster_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("my os.img");
        std::fs::write(&path, "").unwrap();
        let path = path.canonicalize().unwrap();
        let relative = locate_in(folder.path(), "my os.img", None).unwrap();
        let place = Place::Local(path.clone());
        assert_eq!(relative, Located::Place { place, pin: Pin::Nothing, release: None });
        let url = Url::from_file_path(&path).unwrap();
        let by_url = locate_in(Path::new("/"), url.as_str(), Some(SUM)).unwrap();
        assert!(matches!(by_url, Located::Place { place: Place::Local(found), .. } if found == path));
    }

    #[test]
    fn says_what_is_wrong_with_the_rest() {
        let refused = |location, sum| Failure::from(locate_in(Path::new("/"), location, sum).unwrap_err());
        for (location, sum, reason) in [
            ("raspios-light", None, "there is no image /raspios-light"),
            ("ftp://example.org/os.img.xz", Some(SUM), "is not an https:, http: or file: URL"),
            ("https://", Some(SUM), "is not an https:, http: or file: URL"),
            ("os.img", Some("abc"), "sha256 is wrong"),
        ] {
            let failure = refused(location, sum);
            assert_eq!(failure.kind(), Kind::Usage, "{location}");
            let text = failure.render();
            assert!(text.contains(reason) && text.contains("hint: "), "{text}");
        }
        assert!(refused("raspios-light", None).render().contains("raspios-lite-arm64"));
    }
}
