//! What a card says of its node: the FAT's files, and two on the root partition. Nothing is written.

use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use cluster::card::{self, Card, CardError};
use cluster::history::{Event, Kind};
use cluster::hook;
use cluster::wire::{Mark, Stage};
use serde::Deserialize;
use thiserror::Error;

use super::{Case, FirstStart, Seen, Trouble};
use crate::error::{Failure, Kind as FailureKind, again, builder, hint, one_line};
use crate::image::CMDLINE;
use crate::image::fat::{Fat, FatError};
use crate::image::partitions::{self, PartitionError};
use crate::image::root;
use crate::privilege;
use crate::regular;

/// Bytes read of a text file at most: far more than the log has.
const LIMIT: u64 = 256 * 1024;
/// On the FAT while a first start is under way.
const BEGUN: &str = "begun";
/// What the first start leaves on the root partition, and what the agent does.
const SEED: &str = "/var/lib/firstboot/seed.json";
const JOURNAL: &str = "/var/lib/firstboot/journal.json";

/// A card that was read.
#[derive(Debug)]
pub struct Evidence {
    /// Whose card it is.
    pub card: Card,
    /// How far its first start got.
    pub first_start: FirstStart,
    /// `status.txt`.
    pub status: Option<String>,
    /// `log.txt`, oldest first.
    pub events: Vec<Event>,
    /// The last stage the agent noted as finished.
    pub finished: Option<Stage>,
    /// Why the root partition could not be read; without it the agent's own notes are missing.
    pub root_problem: Option<String>,
}

/// Why a card cannot be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The device or image.
    #[error("cannot open {path}")]
    Open {
        /// Which one.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Its partition table.
    #[error("{path} is no card")]
    Partitions {
        /// Which one.
        path: PathBuf,
        /// Why not.
        #[source]
        source: PartitionError,
    },
    /// Its boot partition.
    #[error("the card in {path} cannot be read")]
    Fat {
        /// Which one.
        path: PathBuf,
        /// Why not.
        #[source]
        source: FatError,
    },
    /// No payload.
    #[error("{path} is not a card that builder made: it has no {}/{}", card::FOLDER, card::CARD)]
    NotOurs {
        /// Which one.
        path: PathBuf,
    },
    /// A payload that cannot be read.
    #[error("the card in {path} was made by a newer builder, or is damaged")]
    Payload {
        /// Which one.
        path: PathBuf,
        /// Why not.
        #[source]
        source: CardError,
    },
}

impl ReadError {
    /// As shown to a user who asked for the card of `node`.
    pub fn into_failure(self, node: &str) -> Failure {
        let hint = match &self {
            Self::Open { path, source }
                if source.kind() == io::ErrorKind::PermissionDenied && !privilege::has_root() =>
            {
                let again = again(["why", node, "--card", &path.display().to_string()]);
                hint!["reading a device takes root: ", again.sudo()]
            }
            Self::Open { .. } => "name the card reader's device, such as /dev/sdb, or an image".into(),
            Self::Partitions { .. } => {
                "name the whole device, such as /dev/sdb or /dev/mmcblk0, not one of its partitions".into()
            }
            Self::Fat { .. } | Self::Payload { .. } => {
                let (card, image) = (builder(["flash", node]), builder(["build", "--force", node]));
                hint!["write the card again: ", card, ", or its image: ", image]
            }
            Self::NotOurs { .. } => "is this the right card?".into(),
        };
        Failure::new(FailureKind::Failed, self).hint(hint)
    }
}

/// Reads a card or its image.
///
/// # Errors
/// When it is not a card that builder made, or its boot partition cannot be read. A root partition that cannot be
/// read is no error.
pub fn read(path: &Path) -> Result<Evidence, ReadError> {
    let open = |source| ReadError::Open { path: path.to_owned(), source };
    let mut file = regular::open_or_disk(path).map_err(open)?;
    // A device has no length of its own.
    let size = file.seek(SeekFrom::End(0)).map_err(open)?;
    let found = partitions::find(&file, size);
    let partitions = found.map_err(|source| ReadError::Partitions { path: path.to_owned(), source })?;
    let broken = |source| ReadError::Fat { path: path.to_owned(), source };
    let fat = Fat::open(&file, partitions.boot).map_err(broken)?;
    let bytes = |name: &str| fat.read(&file, name, LIMIT).map_err(broken);
    let ours = |name: &str| bytes(&format!("{}/{name}", card::FOLDER));
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();

    let json = ours(card::CARD)?.ok_or_else(|| ReadError::NotOurs { path: path.to_owned() })?;
    let card =
        Card::from_json(&json).map_err(|source| ReadError::Payload { path: path.to_owned(), source })?;
    let events = ours(card::LOG)?.map(text).unwrap_or_default();
    let events: Vec<Event> = events.lines().filter_map(|line| line.parse().ok()).collect();
    let is_hooked = bytes(CMDLINE)?.is_some_and(|line| hook::blank_tokens(&line).is_some());
    let (is_begun, status) = (ours(BEGUN)?.is_some(), ours(card::STATUS)?.map(text));

    let (notes, root_problem) = match root::read_files(&file, partitions.root, &[SEED, JOURNAL]) {
        Ok(files) => (files, None),
        Err(error) => (Vec::new(), Some(one_line(&error))),
    };
    let note = |index: usize| notes.get(index).and_then(Option::as_ref);
    let first_start = match (is_begun, note(0).is_some()) {
        (true, _) => FirstStart::CutShort,
        (false, true) => FirstStart::Done,
        // The agent's own words are proof enough, and where the root partition tells nothing, it is not to blame.
        (false, false) if !events.is_empty() || (root_problem.is_some() && status.is_some()) => {
            FirstStart::Done
        }
        (false, false) if is_hooked || status.is_none() => FirstStart::NotBegun,
        (false, false) => FirstStart::NotInstalled,
    };
    Ok(Evidence {
        card,
        first_start,
        status,
        events,
        finished: note(1).and_then(|json| last_mark(json)),
        root_problem,
    })
}

/// The last stage in a journal's marks; `None` for anything that is no journal.
fn last_mark(journal: &[u8]) -> Option<Stage> {
    #[derive(Deserialize)]
    struct Marks {
        #[serde(default)]
        marks: Vec<Mark>,
    }
    let Marks { marks } = serde_json::from_slice(journal).ok()?;
    marks.into_iter().map(|mark| mark.stage).max()
}

impl Evidence {
    /// What is to be judged.
    pub fn case(&self) -> Case {
        let manager = self.card.managers().next().filter(|manager| manager.name != self.card.node);
        let last = self.events.last();
        let trouble = last.filter(|event| event.kind != Kind::Said);
        Case {
            node: self.card.node.to_string(),
            secrets: format!("{}.secrets", self.card.cluster).into(),
            manager: manager.map(|manager| manager.name.to_string()),
            is_adopted: false,
            seen: Seen::Card(self.first_start),
            stage: last.map(|event| event.stage).or(self.finished),
            trouble: trouble.map(|event| Trouble {
                message: event.text.clone(),
                cause: event.cause.clone(),
                gave_up: event.kind == Kind::GaveUp,
            }),
        }
    }
}
