//! One image in the OS list.

use reqwest::Url;
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use crate::catalog::{Release, is_date};
use crate::digest::{Digest, DigestError};

/// Why an entry cannot be used.
#[derive(Debug, Error)]
pub enum LeafError {
    /// A field is missing or of another kind.
    #[error("a field is missing or wrong")]
    Field(#[source] serde_json::Error),
    /// The address is none.
    #[error("its URL is none")]
    Url,
    /// The address leads somewhere else.
    #[error("its image is neither where the OS list is nor at the publisher's over https:, but at {0}")]
    Foreign(Box<Url>),
    /// Tomorrow something else is there.
    #[error("its URL {0} is a moving one, which means another image tomorrow")]
    Moving(Box<Url>),
    /// The date is none.
    #[error("its release_date is not a date like 2026-10-06")]
    Date,
    /// A digest is none.
    #[error("one of its digests is none")]
    Digest(#[source] DigestError),
    /// Nothing tells whether the right bytes came.
    #[error("it has no SHA-256, so that nothing tells whether the right bytes came")]
    Unpinned,
    /// No disk has such a size.
    #[error("its sizes are not those of an image")]
    Size,
}

/// The fields that matter here.
#[derive(Deserialize)]
struct Leaf {
    url: String,
    release_date: String,
    image_download_size: Option<u64>,
    image_download_sha256: Option<String>,
    extract_size: Option<u64>,
    extract_sha256: Option<String>,
}

/// Reads an entry whose image is where `is_near` allows.
pub(super) fn read(item: &Value, is_near: impl Fn(&Url) -> bool) -> Result<Release, LeafError> {
    let leaf = Leaf::deserialize(item).map_err(LeafError::Field)?;
    let url = Url::parse(&leaf.url).map_err(|_| LeafError::Url)?;
    if !is_near(&url) {
        return Err(LeafError::Foreign(Box::new(url)));
    }
    if url.path().contains("latest") {
        return Err(LeafError::Moving(Box::new(url)));
    }
    if !is_date(&leaf.release_date) {
        return Err(LeafError::Date);
    }
    // Absent or empty: Raspberry Pi OS has been listed either way without a digest of the file.
    let digest = |text: Option<String>| {
        let text = text.filter(|text| !text.is_empty());
        text.map(Digest::try_from).transpose().map_err(LeafError::Digest)
    };
    let release = Release {
        release_date: leaf.release_date,
        url: url.into(),
        image_download_size: leaf.image_download_size.filter(|size| *size > 0),
        image_download_sha256: digest(leaf.image_download_sha256)?,
        extract_size: leaf.extract_size.filter(|size| *size > 0),
        extract_sha256: digest(leaf.extract_sha256)?,
    };
    if release.digests().next().is_none() {
        return Err(LeafError::Unpinned);
    }
    if release.extract_size.is_some_and(|size| !size.is_multiple_of(512)) {
        return Err(LeafError::Size);
    }
    Ok(release)
}
