//! The HTTP client of all downloads: who waits how long, who is followed where, and small answers as a whole.

use std::time::Duration;

use reqwest::{Response, StatusCode, Url};
use thiserror::Error;

use super::redirect::{self, Follow};

/// How long a server may stay silent before it counts as gone.
const SILENCE: Duration = Duration::from_secs(60);
/// For a connection to come about.
const CONNECT: Duration = Duration::from_secs(30);

/// The client could not be set up.
#[derive(Debug, Error)]
#[error("cannot prepare a download")]
pub struct ClientError(#[source] Box<dyn std::error::Error + Send + Sync>);

/// A client, and the runtime it works in.
#[derive(Debug)]
pub(super) struct Client {
    runtime: tokio::runtime::Runtime,
    http: reqwest::Client,
}

/// Why a small answer did not come.
#[derive(Debug, Error)]
pub enum GetError {
    /// The client could not be set up.
    #[error(transparent)]
    Prepare(ClientError),
    /// No connection, or it broke.
    #[error("the connection failed")]
    Transfer(#[source] reqwest::Error),
    /// The way there is not one to go.
    #[error("its redirect is not followed")]
    Redirect(#[source] redirect::RedirectError),
    /// The server answered something else.
    #[error("the server answered {0}")]
    Status(StatusCode),
    /// More than anybody sends who means well.
    #[error("the server sends more than {0} bytes")]
    TooLong(usize),
}

impl Client {
    pub(super) fn new(follow: Follow) -> Result<Self, ClientError> {
        let error = |source: Box<dyn std::error::Error + Send + Sync>| ClientError(source);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| error(source.into()))?;
        // An error means that another part of the program has chosen the same one already.
        let _chosen = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .redirect(redirect::policy(follow))
            .user_agent(concat!("builder/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|source| error(source.into()))?;
        Ok(Self { runtime, http })
    }

    /// Waits for the end of `future`, which may use [`Self::http`].
    pub(super) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub(super) const fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// A whole answer of at most `limit` bytes.
    pub(super) fn get(&self, url: &Url, limit: usize) -> Result<Vec<u8>, GetError> {
        self.run(async {
            let mut response = self.http.get(url.clone()).send().await.map_err(classify)?;
            if response.status() != StatusCode::OK {
                return Err(GetError::Status(response.status()));
            }
            read(&mut response, limit).await
        })
    }
}

async fn read(response: &mut Response, limit: usize) -> Result<Vec<u8>, GetError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(classify)? {
        if body.len() + chunk.len() > limit {
            return Err(GetError::TooLong(limit));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Without the URL, which the message has already.
fn classify(error: reqwest::Error) -> GetError {
    match redirect::found_in(&error) {
        Some(redirect) => GetError::Redirect(redirect),
        None => GetError::Transfer(error.without_url()),
    }
}
