//! What is on a disk, in a line for people, so that nobody erases the wrong one.

use super::list::Disk;
use super::refusal::needs_root;
use super::signature::signature;
use crate::regular;
use crate::report::Bytes;
use crate::why::FirstStart;
use crate::why::card::{self as evidence, Evidence};

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
    /// It cannot be opened, for this reason.
    Unknown(String),
}

/// Looks. Nothing is written.
pub fn look(disk: &Disk) -> Contents {
    if let Err(error) = regular::open_or_disk(&disk.path) {
        return Contents::Unknown(match needs_root(&error) {
            true => "reading it takes root".to_owned(),
            false => error.to_string(),
        });
    }
    if let Some(card) = card_on(disk) {
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

fn card_on(disk: &Disk) -> Option<Contents> {
    let Evidence { card, first_start, .. } = evidence::read(&disk.path).ok()?;
    Some(Contents::Card {
        cluster: card.cluster.to_string(),
        cluster_id: card.cluster_id.to_string(),
        node: card.node.to_string(),
        used: first_start != FirstStart::NotBegun,
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
            Self::Unknown(why) => write!(f, "unknown: {why}"),
        }
    }
}
