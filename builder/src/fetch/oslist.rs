//! The official list of OS images, in the format of Raspberry Pi Imager (rpi-imager, `doc/json-schema/
//! os-list-schema.json`): where the newest release of a series is, and what it unpacks to.
//!
//! A list is a tree of groups (`subitems`), links to further lists (`subitems_url`) and images. Whoever writes one may
//! mean ill or err, so all of it is bounded: bytes per list, nesting, lists in all, links in a row. Links and images
//! are taken from where the list itself is, or over https from the publisher's own server. What is there besides the
//! wanted series is not even looked at, so that no other entry can spoil it.

use reqwest::Url;
use serde_json::Value;
use thiserror::Error;

use super::client::{Client, ClientError, GetError};
use super::redirect::RedirectError;
use crate::catalog::{Release, Series, is_publishers};
use crate::trusted_hosts::ImageHost;

mod leaf;

pub use leaf::LeafError;

/// The official list.
pub(super) const OFFICIAL: &str = "https://downloads.raspberrypi.com/os_list_imagingutility_v4.json";
/// Bytes of one list. The official one has less than one mebibyte.
const LIST_LIMIT: usize = 8 << 20;
/// Links followed in a row.
const DEPTH: usize = 3;
/// Lists read in all.
const LISTS: usize = 32;

/// Why the list does not tell the release.
#[derive(Debug, Error)]
pub enum ListError {
    /// The client could not be set up.
    #[error("cannot read the OS list")]
    Prepare(#[source] ClientError),
    /// It did not come.
    #[error("cannot read the OS list {url}")]
    Get {
        /// The list.
        url: Box<Url>,
        /// Why.
        #[source]
        source: GetError,
    },
    /// It is no JSON.
    #[error("the OS list {url} is not one: it is no JSON")]
    Json {
        /// The list.
        url: Box<Url>,
        /// Where.
        #[source]
        source: serde_json::Error,
    },
    /// It is some other JSON.
    #[error("the OS list {0} is not one: it has no os_list")]
    NoList(Box<Url>),
    /// The entry of the wanted image is not what it has to be.
    #[error("the OS list {url} has an entry for {series} that cannot be used")]
    Leaf {
        /// The list.
        url: Box<Url>,
        /// The wanted series.
        series: String,
        /// What is wrong with it.
        #[source]
        source: LeafError,
    },
    /// There is none.
    #[error("the OS list {url} does not have {series}")]
    Absent {
        /// The list.
        url: Box<Url>,
        /// The wanted series.
        series: String,
        /// What kept us from looking further, if anything did.
        #[source]
        source: Option<Box<Self>>,
    },
    /// A list that is linked is somewhere else.
    #[error("the list {0} was not read: it is neither where the OS list is nor the publisher's own")]
    Foreign(Box<Url>),
    /// Too many of them.
    #[error("not all lists were read: there are more than {LISTS}")]
    TooMany,
}

impl ListError {
    /// The host to which a list redirects, if the user has not confirmed it.
    pub(super) fn unconfirmed(&self) -> Option<ImageHost> {
        match self {
            Self::Get { source: GetError::Redirect(RedirectError::Unconfirmed(next)), .. } => {
                ImageHost::of(next)
            }
            Self::Absent { source: Some(source), .. } => source.unconfirmed(),
            _ => None,
        }
    }
}

/// Asks the list at `url` for the newest release of a series.
///
/// # Errors
/// See [`ListError`].
pub(super) fn newest(client: &Client, url: &Url, series: &Series) -> Result<Release, ListError> {
    search(url, series, |url| client.get(url, LIST_LIMIT))
}

/// Reads lists level by level, until one level has the series. What is wrong with further lists matters only if it is
/// found nowhere.
fn search(
    list: &Url,
    series: &Series,
    mut get: impl FnMut(&Url) -> Result<Vec<u8>, GetError>,
) -> Result<Release, ListError> {
    let (mut seen, mut level, mut trouble) = (vec![list.clone()], vec![list.clone()], None);
    for depth in 0..=DEPTH {
        let (mut found, mut next) = (Vec::new(), Vec::new());
        for url in std::mem::take(&mut level) {
            match get(&url).map_err(|source| ListError::Get { url: Box::new(url.clone()), source }).and_then(
                |text| {
                    let items = items(&url, &text)?;
                    releases(&items, &url, list, series, &mut found)?;
                    Ok(items)
                },
            ) {
                Ok(items) => links(&items, &mut next),
                Err(error) if depth == 0 => return Err(error),
                Err(error) => _ = trouble.get_or_insert(error),
            }
        }
        if let Some(newest) = found.into_iter().max_by(|one, other| one.release_date.cmp(&other.release_date))
        {
            return Ok(newest);
        }
        for link in next {
            let Some(url) = list.join(&link).ok().filter(|url| !seen.contains(url)) else { continue };
            if !is_near(list, &url) {
                trouble.get_or_insert(ListError::Foreign(Box::new(url)));
            } else if seen.len() >= LISTS {
                trouble.get_or_insert(ListError::TooMany);
            } else {
                seen.push(url.clone());
                level.push(url);
            }
        }
    }
    Err(ListError::Absent {
        url: Box::new(list.clone()),
        series: series.name.clone(),
        source: trouble.map(Box::new),
    })
}

/// Whether a list may send us there: to where it is itself, or over https to the publisher.
pub(super) fn is_near(list: &Url, url: &Url) -> bool {
    url.origin() == list.origin() || is_publishers(url)
}

fn items(url: &Url, text: &[u8]) -> Result<Vec<Value>, ListError> {
    // serde_json ends at 128 levels, so nothing below can go deeper.
    let mut value: Value = serde_json::from_slice(text)
        .map_err(|source| ListError::Json { url: Box::new(url.clone()), source })?;
    match value.get_mut("os_list").map(Value::take) {
        Some(Value::Array(items)) => Ok(items),
        _ => Err(ListError::NoList(Box::new(url.clone()))),
    }
}

/// Adds the releases of the series that are among the items and in their groups.
fn releases(
    items: &[Value],
    url: &Url,
    list: &Url,
    series: &Series,
    found: &mut Vec<Release>,
) -> Result<(), ListError> {
    for item in items {
        if let Some(Value::Array(items)) = item.get("subitems") {
            releases(items, url, list, series, found)?;
        }
        let Some(address) = item.get("url").and_then(Value::as_str) else { continue };
        if is_of(series, address) {
            let error =
                |source| ListError::Leaf { url: Box::new(url.clone()), series: series.name.clone(), source };
            found.push(leaf::read(item, |address| is_near(list, address)).map_err(error)?);
        }
    }
    Ok(())
}

/// Returns whether the address belongs to a release of the series. Text that is not a URL is searched for the series as a whole.
fn is_of(series: &Series, address: &str) -> bool {
    match Url::parse(address) {
        Ok(url) => url.path().contains(&series.path),
        Err(_) => address.contains(&series.path),
    }
}

/// Adds the addresses of further lists.
fn links(items: &[Value], into: &mut Vec<String>) {
    for item in items {
        if let Some(Value::Array(items)) = item.get("subitems") {
            links(items, into);
        }
        into.extend(item.get("subitems_url").and_then(Value::as_str).map(str::to_owned));
    }
}

#[cfg(test)]
mod tests;
