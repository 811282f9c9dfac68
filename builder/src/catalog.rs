//! The OS images known by name, each pinned to one release by its checksum. The leaf fields are named as in
//! Raspberry Pi Imager's list (rpi-imager, `doc/json-schema/os-list-schema.json`).

use serde::Deserialize;

use crate::fetch::digest::Digest;

const CATALOG: &str = include_str!("../../images/catalog.json");

/// The whole catalog.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalog {
    /// The format of the file; 1.
    pub version: u32,
    /// The images.
    pub images: Vec<Entry>,
}

/// One published image.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What a cluster file calls it.
    pub name: String,
    /// What a person calls it.
    pub description: String,
    /// `YYYY-MM-DD`.
    pub release_date: String,
    /// `armel`, `armhf` or `armv8`.
    pub architecture: String,
    /// Where it is published; never a moving address.
    pub url: String,
    /// Bytes to download.
    pub image_download_size: u64,
    /// SHA-256 of the file as published.
    pub image_download_sha256: Digest,
    /// Bytes when unpacked.
    pub extract_size: u64,
    /// SHA-256 of the unpacked image.
    pub extract_sha256: Digest,
}

impl Catalog {
    /// The catalog built into this program.
    pub fn built_in() -> Result<Self, serde_json::Error> {
        serde_json::from_str(CATALOG)
    }

    /// The image of that name.
    pub fn find(&self, name: &str) -> Option<&Entry> {
        self.images.iter().find(|entry| entry.name == name)
    }

    /// All names, for messages.
    pub fn names(&self) -> String {
        self.images.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_pinned_to_one_release() {
        let catalog = Catalog::built_in().unwrap();
        assert_eq!(catalog.version, 1);
        assert!(catalog.find("raspios-lite-arm64").is_some());
        for entry in &catalog.images {
            assert!(
                entry.url.starts_with("https://") && entry.url.contains(&entry.release_date),
                "{}",
                entry.url
            );
            assert!(!entry.url.contains("latest"));
            assert_eq!(entry.extract_size % 512, 0);
            assert!(!entry.name.contains(['/', '.', ':']), "a name must not look like a path or URL");
        }
    }
}
