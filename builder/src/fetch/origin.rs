//! Whose server an image comes from, for people to read.

use std::path::Path;

use cluster::spec::ImageSource;
use reqwest::Url;

use super::locate::{self, Located, Place};
use crate::catalog::is_publishers;
use crate::lock::Lock;
use crate::trusted_hosts::ImageHost;

/// The server that an image is downloaded from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Its name or address.
    pub host: ImageHost,
    /// Whether the publisher of the images in the catalog runs it.
    pub is_publisher: bool,
}

/// The server that an image comes from, by the cluster file and its lock; `None` for a local file. Asks nobody.
pub fn origin(source: &ImageSource, folder: &Path) -> Option<Origin> {
    let url = match locate::locate(source, folder).ok()? {
        Located::Place { place: Place::Remote(url), .. } => url,
        Located::Place { .. } => return None,
        Located::Series { series, .. } => {
            Url::parse(&Lock::read(folder).ok()?.find(&series.name)?.url).ok()?
        }
    };
    Some(Origin { host: ImageHost::of(&url)?, is_publisher: is_publishers(&url) })
}
