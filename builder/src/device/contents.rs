//! What is on a disk, in a line for people, so that nobody erases the wrong one.

use std::fs::File;
use std::io::{Seek, SeekFrom};

use cluster::card::{self, Card};

use super::guard::signature;
use super::list::Disk;
use crate::image::fat::Fat;
use crate::image::partitions;
use crate::report::Bytes;

/// Bytes read of a card's payload at most.
const LIMIT: u64 = 256 * 1024;

/// What is on a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contents {
    /// A card that builder made.
    Card {
        /// The cluster's name.
        cluster: String,
        /// The cluster's id.
        cluster_id: String,
        /// Whose card it is.
        node: String,
        /// Whether a Pi has started from it since.
        used: bool,
    },
    /// Something else, partition by partition; empty where nothing is known.
    Other(Vec<String>),
    /// It may not be looked at.
    Unknown,
}

/// Looks. Nothing is written.
pub fn look(disk: &Disk) -> Contents {
    let Ok(file) = File::open(&disk.path) else { return Contents::Unknown };
    if let Some(card) = card_on(&file) {
        return card;
    }
    let whole = std::iter::once((&disk.path, disk.size)).filter(|_| disk.partitions.is_empty());
    let parts = disk.partitions.iter().map(|part| (&part.path, part.size));
    let told = whole.chain(parts).filter_map(|(path, size)| {
        let found = signature(path).unwrap_or_default();
        let kind = found.kind?;
        let label = found.label.map(|label| format!(" \"{label}\"")).unwrap_or_default();
        Some(format!("{kind}{label} {}", Bytes(size)))
    });
    Contents::Other(told.collect())
}

fn card_on(mut file: &File) -> Option<Contents> {
    let size = file.seek(SeekFrom::End(0)).ok()?;
    let partitions = partitions::find(&file, size).ok()?;
    let fat = Fat::open(&file, partitions.boot).ok()?;
    let read = |name: &str| fat.read(&file, &format!("{}/{name}", card::FOLDER), LIMIT).ok().flatten();
    let card = Card::from_json(&read(card::CARD)?).ok()?;
    Some(Contents::Card {
        cluster: card.cluster.to_string(),
        cluster_id: card.cluster_id.to_string(),
        node: card.node.to_string(),
        used: read(card::STATUS).is_some(),
    })
}

impl std::fmt::Display for Contents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Card { cluster, node, used, .. } => {
                let used = if *used { ", was started" } else { "" };
                write!(f, "the card of {node} of {cluster}{used}")
            }
            Self::Other(parts) if parts.is_empty() => f.write_str("nothing known"),
            Self::Other(parts) => f.write_str(&parts.join(", ")),
            Self::Unknown => f.write_str("unknown: reading it takes root"),
        }
    }
}
