//! The OS images known by name: releases, each pinned by its checksum, and series, whose newest release the official
//! OS list names. The fields of a release are named as in that list (rpi-imager, `doc/json-schema/os-list-schema.json`).

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

mod publisher;

pub(crate) use publisher::is_publishers;

const CATALOG: &str = include_str!("../../images/catalog.json");

/// The whole catalog.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalog {
    /// The format of the file; 2.
    pub version: u32,
    /// Names that mean another release every few months.
    pub series: Vec<Series>,
    /// Names that mean one release for ever.
    pub images: Vec<Entry>,
}

/// Images of one kind, release after release.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Series {
    /// What a cluster file calls its newest release.
    pub name: String,
    /// What a person calls it.
    pub description: String,
    /// `armel`, `armhf` or `armv8`.
    pub architecture: String,
    /// What the addresses of its releases, and of no others, have in their paths.
    pub path: String,
}

/// One published image.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What a cluster file calls it.
    pub name: String,
    /// What a person calls it.
    pub description: String,
    /// `armel`, `armhf` or `armv8`.
    pub architecture: String,
    /// What is published.
    pub release: Release,
}

/// Where an image is published, and what is known of it for certain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// `YYYY-MM-DD`.
    pub release_date: String,
    /// Never a moving address.
    pub url: String,
    /// Bytes to download.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_download_size: Option<u64>,
    /// SHA-256 of the file as published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_download_sha256: Option<Digest>,
    /// Bytes when unpacked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extract_size: Option<u64>,
    /// SHA-256 of the unpacked image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extract_sha256: Option<Digest>,
}

impl Release {
    /// Takes over what only `other` knows of the same image; `None` if both know something and differ.
    #[must_use]
    pub fn completed_by(&self, other: &Self) -> Option<Self> {
        fn either<T: Copy + PartialEq>(ours: Option<T>, theirs: Option<T>) -> Option<Option<T>> {
            match (ours, theirs) {
                (Some(ours), Some(theirs)) if ours != theirs => None,
                _ => Some(ours.or(theirs)),
            }
        }
        Some(Self {
            image_download_size: either(self.image_download_size, other.image_download_size)?,
            image_download_sha256: either(self.image_download_sha256, other.image_download_sha256)?,
            extract_size: either(self.extract_size, other.extract_size)?,
            extract_sha256: either(self.extract_sha256, other.extract_sha256)?,
            ..self.clone()
        })
    }

    /// What tells it from every other image: nothing else has either.
    pub fn digests(&self) -> impl Iterator<Item = Digest> {
        [self.image_download_sha256, self.extract_sha256].into_iter().flatten()
    }
}

impl Catalog {
    /// The catalog built into this program.
    ///
    /// # Errors
    /// When the program was built from a damaged catalog.
    pub fn built_in() -> Result<Self, serde_json::Error> {
        serde_json::from_str(CATALOG)
    }

    /// The release of that name.
    pub fn find(&self, name: &str) -> Option<&Entry> {
        self.images.iter().find(|entry| entry.name == name)
    }

    /// The series of that name.
    pub fn series(&self, name: &str) -> Option<&Series> {
        self.series.iter().find(|series| series.name == name)
    }

    /// The release that is published there.
    pub fn at(&self, url: &str) -> Option<&Entry> {
        self.images.iter().find(|entry| entry.release.url == url)
    }

    /// The newest release of a series that this program knows.
    pub fn newest_known(&self, series: &Series) -> Option<&Entry> {
        self.images
            .iter()
            .filter(|entry| entry.release.url.contains(&series.path))
            .max_by_key(|entry| &entry.release.release_date)
    }

    /// All names.
    pub fn all_names(&self) -> impl Iterator<Item = &str> {
        let series = self.series.iter().map(|series| series.name.as_str());
        series.chain(self.images.iter().map(|entry| entry.name.as_str()))
    }

    /// All names, for messages.
    pub fn names(&self) -> String {
        self.all_names().collect::<Vec<_>>().join(", ")
    }
}

/// Whether a release date is `YYYY-MM-DD`: it is compared as text, and shown.
pub(crate) fn is_date(text: &str) -> bool {
    text.len() == 10
        && text.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_pinned_to_one_release() {
        let catalog = Catalog::built_in().unwrap();
        assert_eq!(catalog.version, 2);
        for Entry { name, release, .. } in &catalog.images {
            let date = &release.release_date;
            assert!(release.url.starts_with("https://") && release.url.contains(date), "{}", release.url);
            assert!(!release.url.contains("latest"));
            assert!(release.digests().next().is_some(), "{name} is pinned by nothing");
            assert!(release.extract_size.is_none_or(|size| size.is_multiple_of(512)));
            let series = catalog.series.iter().find(|series| release.url.contains(&series.path)).unwrap();
            assert_eq!(*name, format!("{}-{date}", series.name));
        }
    }

    #[test]
    fn names_are_unlike_paths_and_unlike_each_other() {
        let catalog = Catalog::built_in().unwrap();
        let text = catalog.names();
        let mut names: Vec<_> = text.split(", ").collect();
        assert!(names.contains(&"raspios-lite-arm64") && names.contains(&"raspios-legacy-lite-arm64"));
        assert!(names.iter().all(|name| !name.contains(['/', '.', ':'])));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), catalog.series.len() + catalog.images.len());
    }

    #[test]
    fn no_address_belongs_to_two_series() {
        let catalog = Catalog::built_in().unwrap();
        for one in &catalog.series {
            assert!(catalog.series.iter().filter(|other| one.path.contains(&other.path)).count() == 1);
        }
        let newest = catalog.newest_known(catalog.series("raspios-lite-arm64").unwrap()).unwrap();
        assert_eq!(newest.name, "raspios-lite-arm64-2026-10-06");
    }

    #[test]
    fn what_two_know_of_one_image_is_put_together_or_contradicts() {
        let whole = &Catalog::built_in().unwrap().images.remove(0).release;
        let listed = Release { image_download_sha256: None, image_download_size: None, ..whole.clone() };
        assert_eq!(listed.completed_by(whole).as_ref(), Some(whole));
        let other = Release { extract_size: Some(512), ..listed };
        assert_eq!(other.completed_by(whole), None);
    }
}
