//! Why an image could not be had, and what to type then.

use std::path::{Path, PathBuf};

use reqwest::Url;
use thiserror::Error;

use super::download::DownloadError;
use super::locate::LocateError;
use super::oslist::ListError;
use crate::cache::CacheError;
use crate::error::{Failure, Hint, Kind, builder, hint, quote};
use crate::image::decode::DecodeError;
use crate::lock::LockError;
use crate::pin::WrongDigest;
use crate::spread::SpreadError;
use crate::trusted_hosts::{ImageHost, TrustError};

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
        /// Where the whole archive is kept, if it was downloaded: nobody needs to download it again.
        downloaded: Option<PathBuf>,
        /// Why.
        #[source]
        source: DecodeError,
    },
    /// It is another file than promised.
    #[error(transparent)]
    WrongDigest(#[from] WrongDigest),
    /// The archive holds nothing.
    #[error("the image {what} is empty")]
    Empty {
        /// Path or URL.
        what: String,
    },
    /// Somebody wrote to it meanwhile.
    #[error("the image {} changed while it was read", .0.display())]
    Changed(PathBuf),
    /// The official list does not tell what a name means today.
    #[error("cannot find out which release of {name} is the newest")]
    Newest {
        /// The name.
        name: String,
        /// What means the same for ever, and needs no list.
        known: Option<String>,
        /// Why.
        #[source]
        source: ListError,
    },
    /// The official list and this program's catalog say different things of one file.
    #[error("the OS list and the catalog of this builder contradict each other about {url}")]
    Contradiction {
        /// The file.
        url: String,
    },
    /// The user has not confirmed the host that the cluster file names.
    #[error("the image {url} is not on the publisher's server, and {host} is not confirmed")]
    Unconfirmed {
        /// The image.
        url: Box<Url>,
        /// Its host.
        host: ImageHost,
    },
    /// The lock pins a name to a file that it does not stand for.
    #[error("{} pins {name} to {url}, which {problem}", lock.display())]
    Misdirected {
        /// The lock.
        lock: PathBuf,
        /// The name in the cluster file.
        name: String,
        /// What the lock says that it means.
        url: String,
        /// Why it cannot mean that.
        problem: &'static str,
    },
    /// The confirmed hosts cannot be read or written.
    #[error(transparent)]
    Trust(TrustError),
    /// The download did not succeed.
    #[error(transparent)]
    Download(DownloadError),
    /// The cache cannot be used.
    #[error(transparent)]
    Cache(CacheError),
    /// The lock cannot be used.
    #[error(transparent)]
    Lock(LockError),
    /// The name means nothing.
    #[error(transparent)]
    Locate(LocateError),
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

impl FetchError {
    /// Whether what was downloaded is worth nothing, so that the next run has to begin anew.
    pub(super) const fn spoils(&self) -> bool {
        match self {
            Self::Unpack { source, .. } => !matches!(source, DecodeError::Read(_)) && !source.is_of_use(),
            Self::Download(error) => error.spoils(),
            Self::WrongDigest(_) | Self::Empty { .. } => true,
            _ => false,
        }
    }
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::Download(error) => error.into(),
            FetchError::Cache(error) => error.into(),
            FetchError::Lock(error) => error.into(),
            FetchError::Locate(error) => error.into(),
            FetchError::Trust(error) => error.into(),
            error => {
                let hint = error.hint();
                let kind = match error {
                    FetchError::WrongDigest(_) => Kind::VerificationFailed,
                    FetchError::Unconfirmed { .. } | FetchError::Misdirected { .. } => Kind::Usage,
                    _ => Kind::Failed,
                };
                let failure = Self::new(kind, error);
                match hint {
                    Some(hint) => failure.hint(hint),
                    None => failure,
                }
            }
        }
    }
}

/// The command that unpacks what builder does not.
fn unpack_by_hand(what: &str, downloaded: Option<&Path>, source: &DecodeError) -> String {
    let file = downloaded.map_or_else(|| what.to_owned(), |path| path.display().to_string());
    let command = match source {
        DecodeError::Unsupported(foreign) => foreign.command(&file),
        // A zip archive that holds none or several.
        _ => format!("unzip {}", quote(&file)),
    };
    format!("unpack it with `{command}`, then name the .img file in the cluster file: image: PATH")
}

impl FetchError {
    /// What to do about it, where this module knows.
    pub(crate) fn hint(&self) -> Option<Hint> {
        advise(self)
    }
}

/// How to confirm a host without a terminal.
pub(super) fn confirm(host: &ImageHost) -> Hint {
    hint!["if you know that host: ", builder(["images", "trust"]).args([host.to_string()])]
}

fn advise(error: &FetchError) -> Option<Hint> {
    let advice = match error {
        FetchError::Unconfirmed { host, .. } => return Some(confirm(host)),
        FetchError::Misdirected { .. } => {
            return Some(hint![
                "to pin the publisher's newest release: ",
                builder(["images", "pull", "--update"]),
                "; if it is a mirror of yours, name its list: ",
                builder(["images", "pull", "--os-list", "URL"])
            ]);
        }
        FetchError::Locate(error) => return error.hint().map(Hint::from),
        FetchError::Unpack { source: DecodeError::UnknownFormat, .. } => {
            "check that it is an OS image: .img, .img.xz, .img.gz, .img.zst or .zip"
        }
        FetchError::Unpack { what, downloaded, source } if source.is_of_use() => {
            return Some(unpack_by_hand(what, downloaded.as_deref(), source).into());
        }
        FetchError::Unpack { source: DecodeError::NotDisk, .. } => {
            "check that it is the image of a whole SD card, with its partition table"
        }
        FetchError::Unpack { source: DecodeError::Read(_), .. } => return None,
        FetchError::Unpack { .. } | FetchError::Empty { .. } => "download or copy it again",
        FetchError::WrongDigest(_) => {
            "download it again; if the sha256 in the cluster file is for another release, correct it"
        }
        FetchError::Changed(_) => "run again when nothing writes to it",
        FetchError::Full { .. } => "free some space, or choose another folder with --cache DIR",
        FetchError::Newest { source, .. } if source.unconfirmed().is_some() => {
            return source.unconfirmed().map(|host| confirm(&host));
        }
        FetchError::Newest { known: Some(known), .. } => {
            let text = "check the network and run again, or name a release in the cluster file: image: ";
            return Some(format!("{text}{known}").into());
        }
        FetchError::Newest { .. } => {
            "check the network and run again, or name the image by its URL and sha256 in the cluster file"
        }
        FetchError::Contradiction { .. } => {
            return Some(hint![
                "one of them was tampered with or is wrong: choose another release from `",
                builder(["images", "list"]),
                "`"
            ]);
        }
        _ => return None,
    };
    Some(advice.into())
}
