//! What the cluster file's `image` means: a catalog name, a path, or a URL.

use std::fmt;
use std::path::{Path, PathBuf};

use cluster::spec::ImageSource;
use reqwest::Url;
use thiserror::Error;

use crate::catalog::{Catalog, Release, Series};
use crate::digest::{Digest, DigestError};
use crate::error::{Failure, Kind};
use crate::home;
use crate::image::release::{Named, refused_by_name};
use crate::pin::Pin;
use crate::regular;

/// How the names of images end.
const IMAGES: [&str; 5] = [".img", ".img.xz", ".img.gz", ".img.zst", ".zip"];

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
        /// A name that is nearly this one.
        near: Option<String>,
    },
    /// A folder, a device or another thing that is not a file.
    #[error("the image {} cannot be used", path.display())]
    NotFile {
        /// What was named.
        path: PathBuf,
        /// What it is.
        #[source]
        source: std::io::Error,
    },
    /// A release that cards are not made from.
    #[error("{0}")]
    Refused(Named),
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

impl LocateError {
    /// What to write instead.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Missing { near: Some(near), .. } => format!("did you mean {near}?"),
            Self::Missing { known, .. } => {
                format!("`image` takes a path, an https: URL with its sha256, or a name: {known}")
            }
            Self::NotFile { .. } => "write the path of the image file".to_owned(),
            Self::Refused(_) => {
                "write `image: raspios-lite-arm64`, or the path or URL of another image".to_owned()
            }
            Self::Url(_) => "write a URL like https://example.org/os.img.xz, or a path".to_owned(),
            Self::Digest(_) => "run `sha256sum` on the image".to_owned(),
            Self::NoHome(_) => "write the whole path".to_owned(),
            // A cluster file with such an image is refused before; the command that was given a URL says what is missing.
            Self::Catalog(_) | Self::NotPinned(_) => return None,
        })
    }
}

impl From<LocateError> for Failure {
    fn from(error: LocateError) -> Self {
        let kind = if matches!(error, LocateError::Catalog(_)) { Kind::Failed } else { Kind::Usage };
        let hint = error.hint();
        let failure = Self::new(kind, error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
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
            "http" | "https" => {
                refuse_by_name(url.path())?;
                Place::Remote(url)
            }
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

/// Refuses a release that its address gives away, before it is downloaded.
pub(super) fn refuse_by_name(address: &str) -> Result<(), LocateError> {
    refused_by_name(address).map_or(Ok(()), |named| Err(LocateError::Refused(named)))
}

/// A URL of whatever kind.
pub(super) fn parse(text: &str) -> Result<Url, LocateError> {
    Url::parse(text).map_err(|_| LocateError::Url(text.to_owned()))
}

/// The path from the root, so that it means the same wherever the next run starts.
fn existing(path: PathBuf, catalog: &Catalog) -> Result<PathBuf, LocateError> {
    let Ok(found) = path.canonicalize() else {
        if let Some(named) = path.to_str().and_then(refused_by_name) {
            return Err(LocateError::Refused(named));
        }
        let near = near(&path, catalog);
        return Err(LocateError::Missing { path, known: catalog.names(), near });
    };
    match regular::check_file(&found) {
        Ok(()) => Ok(found),
        Err(source) => Err(LocateError::NotFile { path: found, source }),
    }
}

/// The catalog's name, or the image file beside, that is most like what was written.
fn near(path: &Path, catalog: &Catalog) -> Option<String> {
    /// Letters that may be wrong.
    const SLIPS: usize = 3;
    let name = path.file_name()?.to_str()?.to_lowercase();
    let beside = path.parent().and_then(|folder| folder.read_dir().ok()).into_iter().flatten();
    let files = beside.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    let files = files.filter_map(|entry| entry.file_name().into_string().ok());
    let is_image = |file: &String| IMAGES.iter().any(|ending| file.to_ascii_lowercase().ends_with(ending));
    let names = catalog.all_names().map(str::to_owned).chain(files.filter(is_image));
    let distance = |other: &str| strsim::damerau_levenshtein(&name, &other.to_lowercase());
    // Endings are alike anyway, and half of a short name may not be wrong.
    let stem = name.split('.').next().unwrap_or(&name);
    let limit = SLIPS.min(stem.chars().count() / 3);
    let distances = names.map(|other| (distance(&other), other));
    distances.filter(|(distance, _)| *distance <= limit).min().map(|(_, other)| other)
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
            ("ubuntu-24.04", None, "there is no image /ubuntu-24.04"),
            ("ubuntu-22.04", None, "Ubuntu 22.04 is not supported"),
            ("/dev/null", None, "it is a device, not a file"),
            ("/tmp", None, "it is a folder, not a file"),
            (
                "https://x.org/2024-10-22-raspios-bullseye-arm64-lite.img.xz",
                Some(SUM),
                "expired on 2026-09-07",
            ),
            ("ftp://example.org/os.img.xz", Some(SUM), "is not an https:, http: or file: URL"),
            ("https://", Some(SUM), "is not an https:, http: or file: URL"),
            ("os.img", Some("abc"), "sha256 is wrong"),
        ] {
            let failure = refused(location, sum);
            assert_eq!(failure.kind(), Kind::Usage, "{location}");
            let text = failure.render();
            assert!(text.contains(reason) && text.contains("hint: "), "{text}");
        }
        assert!(refused("raspios", None).render().contains("raspios-lite-arm64"));
    }

    #[test]
    fn suggests_a_near_name() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("pios.img.xz"), "").unwrap();
        std::fs::write(folder.path().join("notes.txt"), "").unwrap();
        let hint = |location| locate_in(folder.path(), location, None).unwrap_err().hint().unwrap();
        assert_eq!(hint("raspios-lite-amr64"), "did you mean raspios-lite-arm64?");
        assert_eq!(hint("Pios.img.xy"), "did you mean pios.img.xz?");
        assert!(hint("note.txt").contains("or a name: "), "not an image");
        assert!(hint("x.img").contains("or a name: "), "unlike everything");
    }
}
