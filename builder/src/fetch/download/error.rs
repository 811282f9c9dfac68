//! Why a download failed, and what to type then.

use reqwest::{StatusCode, Url};
use thiserror::Error;

use super::super::client::ClientError;
use super::super::error::confirm;
use super::super::partial::PartialError;
use super::super::redirect::RedirectError;
use crate::error::{Failure, Kind, builder, hint, quote};
use crate::image::decode::DecodeError;
use crate::report::Bytes;
use crate::trusted_hosts::ImageHost;

/// Why a download failed.
#[derive(Debug, Error)]
pub enum DownloadError {
    /// The client could not be set up.
    #[error("cannot download {url}")]
    Prepare {
        /// The URL.
        url: Box<Url>,
        /// Why.
        #[source]
        source: ClientError,
    },
    /// No connection, or it broke before everything was there.
    #[error("cannot download {url}")]
    Transfer {
        /// The URL.
        url: Box<Url>,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The way there is not one to go.
    #[error("cannot download {url}")]
    Redirect {
        /// The URL.
        url: Box<Url>,
        /// Why not.
        #[source]
        source: RedirectError,
    },
    /// The server answered something else.
    #[error("cannot download {url}: the server answered {status}")]
    Status {
        /// The URL.
        url: Box<Url>,
        /// Its answer.
        status: StatusCode,
    },
    /// The server ended politely, but too early.
    #[error("cannot download {url}: the server ended after {length} of {total} bytes")]
    Short {
        /// The URL.
        url: Box<Url>,
        /// Bytes that came, with earlier ones.
        length: u64,
        /// Bytes of the whole.
        total: u64,
    },
    /// The server has another file than the promised one.
    #[error("cannot download {url}: the server has {announced} bytes there, the image has {promised}")]
    OtherSize {
        /// The URL.
        url: Box<Url>,
        /// Bytes, as the server says.
        announced: u64,
        /// Bytes, as catalog or lock say.
        promised: u64,
    },
    /// It does not end where it should.
    #[error("cannot download {url}: the server sends more than {limit}")]
    TooLong {
        /// The URL.
        url: Box<Url>,
        /// What it should be at most.
        limit: Bytes,
    },
    /// Something else came.
    #[error(
        "{url} is no image: the server sent {}",
        if *page { "a web page" } else { "neither a disk image nor one packed as .xz, .gz, .zst or .zip" }
    )]
    NoImage {
        /// The URL.
        url: Box<Url>,
        /// Whether it looks like HTML.
        page: bool,
    },
    /// An archive comes that builder cannot unpack.
    #[error("cannot unpack the image {url}")]
    Unsupported {
        /// The URL.
        url: Box<Url>,
        /// Why not.
        #[source]
        source: DecodeError,
    },
    /// What was received could not be kept.
    #[error("cannot write a download into the cache")]
    Write(#[source] PartialError),
}

impl DownloadError {
    /// Whether asking again can help.
    pub(in crate::fetch) fn is_transient(&self) -> bool {
        match self {
            Self::Transfer { .. } | Self::Short { .. } => true,
            Self::Status { status, .. } => is_passing(*status),
            _ => false,
        }
    }

    /// Whether what came is worth nothing.
    pub(in crate::fetch) const fn spoils(&self) -> bool {
        matches!(self, Self::TooLong { .. } | Self::NoImage { .. } | Self::Unsupported { .. })
    }
}

fn is_passing(status: StatusCode) -> bool {
    status.is_server_error() || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&status)
}

/// The commands that bring the image by hand. Only its beginning was downloaded.
fn fetch_and_unpack(url: &Url, source: &DecodeError) -> String {
    let name = url.path().rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("os.img");
    let unpack = match source {
        DecodeError::Unsupported(foreign) => foreign.command(name),
        _ => "look at what it is".to_owned(),
    };
    let (name, url) = (quote(name), quote(url.as_str()));
    format!(
        "bring and unpack it with `curl -fL -o {name} {url} && {unpack}`, then name the .img file in the cluster \
         file: image: PATH"
    )
}

impl From<DownloadError> for Failure {
    fn from(error: DownloadError) -> Self {
        const SIGN_IN: &str = "open it in a browser: if the network wants you to sign in, do that and run again; \
                               else check the URL";
        if let DownloadError::Unsupported { url, source } = &error {
            let hint = fetch_and_unpack(url, source);
            return Self::new(Kind::Failed, error).hint(hint);
        }
        let hint = match &error {
            DownloadError::Unsupported { .. } => None,
            DownloadError::Prepare { .. } => None,
            DownloadError::Transfer { .. } | DownloadError::Short { .. } => {
                Some("check the network and run again: it goes on where it stopped".into())
            }
            DownloadError::Status { status, .. } if is_passing(*status) => {
                Some("the server is in trouble: run again later; it goes on where it stopped".into())
            }
            DownloadError::Status { .. } => Some(hint![
                "check the image's URL in the cluster file, or choose another from `",
                builder(["images", "list"]),
                "`"
            ]),
            DownloadError::Redirect { source: RedirectError::Unconfirmed(next), .. } => {
                ImageHost::of(next).map(|host| confirm(&host))
            }
            DownloadError::Redirect {
                source: RedirectError::Downgrade(_) | RedirectError::Scheme(_),
                ..
            } => Some("name an https: address that needs no such redirect".into()),
            DownloadError::Redirect { .. } | DownloadError::NoImage { page: true, .. } => {
                Some(SIGN_IN.into())
            }
            DownloadError::NoImage { .. } => {
                let text =
                    "check the image's URL: it is to be that of an .img, .img.xz, .img.gz, .img.zst or .zip";
                Some(text.into())
            }
            DownloadError::OtherSize { .. } | DownloadError::TooLong { .. } => {
                let text = "something else is there now: choose another release from `";
                Some(hint![text, builder(["images", "list"]), "`"])
            }
            DownloadError::Write(_) => {
                Some("free some space, or choose another folder with --cache DIR".into())
            }
        };
        let failure = Self::new(Kind::Failed, error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}
