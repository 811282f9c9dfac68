//! Downloading over http and https.

use std::fs::File;
use std::io::Write;
use std::time::Duration;

use reqwest::{Client, Response, StatusCode, Url};
use thiserror::Error;

use super::digest::{Digest, Hasher};
use crate::error::{Failure, Kind};
use crate::report::{Progress, Task};

/// How long a server may stay silent before it counts as gone.
const SILENCE: Duration = Duration::from_secs(60);

/// Why a download failed.
#[derive(Debug, Error)]
pub enum DownloadError {
    /// The client could not be set up.
    #[error("cannot prepare the download of {url}")]
    Prepare {
        /// The URL.
        url: Url,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No connection, or it broke before everything was there.
    #[error("cannot download {url}")]
    Transfer {
        /// The URL.
        url: Url,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The server answered something else.
    #[error("cannot download {url}: the server answered {status}")]
    Status {
        /// The URL.
        url: Url,
        /// Its answer.
        status: StatusCode,
    },
    /// What was received could not be written.
    #[error("cannot write the download of {url} into the cache")]
    Write {
        /// The URL.
        url: Url,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

impl From<DownloadError> for Failure {
    fn from(error: DownloadError) -> Self {
        let hint = match &error {
            DownloadError::Prepare { .. } => None,
            DownloadError::Transfer { .. } => Some("check the network and run again"),
            DownloadError::Status { .. } => Some("check the image's URL in the cluster file"),
            DownloadError::Write { .. } => Some("free some space, or choose another folder with --cache DIR"),
        };
        let failure = Self::new(Kind::Failed, error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

/// Downloads `url` into an empty file and gives the digest of what came. A body shorter than announced is an error.
pub(super) fn download(url: &Url, into: &File, progress: &Progress) -> Result<Digest, DownloadError> {
    let prepare = |source| DownloadError::Prepare { url: url.clone(), source };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| prepare(e.into()))?;
    // An error means that another part of the program has chosen the same one already.
    let _chosen = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder()
        .connect_timeout(Duration::from_secs(30))
        .read_timeout(SILENCE)
        .build()
        .map_err(|e| prepare(e.into()))?;
    runtime.block_on(async {
        let transfer = |source: reqwest::Error| DownloadError::Transfer {
            url: url.clone(),
            source: source.without_url(),
        };
        let response = client.get(url.clone()).send().await.map_err(transfer)?;
        if response.status() != StatusCode::OK {
            return Err(DownloadError::Status { url: url.clone(), status: response.status() });
        }
        let task = progress.task("download", response.content_length());
        let digest = receive(response, into, &task, url).await?;
        task.finish();
        Ok(digest)
    })
}

async fn receive(
    mut response: Response,
    mut into: &File,
    task: &Task,
    url: &Url,
) -> Result<Digest, DownloadError> {
    let transfer =
        |source: reqwest::Error| DownloadError::Transfer { url: url.clone(), source: source.without_url() };
    let mut hasher = Hasher::default();
    while let Some(chunk) = response.chunk().await.map_err(transfer)? {
        into.write_all(&chunk).map_err(|source| DownloadError::Write { url: url.clone(), source })?;
        hasher.update(&chunk);
        task.advance(chunk.len() as u64);
    }
    Ok(hasher.finish())
}
