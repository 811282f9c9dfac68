//! What this computer remembers of the cards it writes: how far an interrupted one had got, and which were finished when.
//!
//! In the cache folder, so anything may be deleted at any time: a card is then written from its beginning, and one that
//! is put in again is told by what is on it alone. No secrets are in it.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::content::Patches;
use crate::cache::{Cache, CacheError, record};
use crate::device::Disk;
use crate::digest::{self, Digest};
use crate::dir::Dir;

/// The format of both kinds of records.
const VERSION: u32 = 1;

/// How far a card has got.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Unfinished {
    version: u32,
    /// What was being written.
    content: Digest,
    /// Blocks that are safe.
    blocks: usize,
}

/// A card that was finished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finished {
    version: u32,
    /// The cluster's id.
    pub cluster: String,
    /// Whose card it is.
    pub node: String,
    /// When, in seconds since 1970.
    pub unix_s: u64,
    /// Whether it was read back.
    pub verified: bool,
    /// [`super::card::Done::digest`].
    pub digest: Digest,
}

/// The records.
#[derive(Debug, Clone)]
pub struct Journal {
    folder: Dir,
}

impl Journal {
    /// Opens them.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(cache: &Cache) -> Result<Self, CacheError> {
        Ok(Self { folder: cache.cards()? })
    }

    /// What tells that a card in a device is to hold the same as before.
    pub fn content(base: &str, patches: &Patches) -> Digest {
        let own = patches.digest().map(|digest| digest.to_string()).unwrap_or_default();
        digest::of_bytes(format!("{base} {own}").as_bytes())
    }

    /// How many blocks of that content an interrupted run had made safe on the card in that device.
    pub fn safe_blocks(&self, disk: &Disk, content: Digest) -> usize {
        let record = record::read::<Unfinished>(&self.folder, &unfinished(disk, content));
        record.filter(|record| record.version == VERSION && record.content == content).map_or(0, |r| r.blocks)
    }

    /// Remembers how many are safe.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn note(&self, disk: &Disk, content: Digest, blocks: usize) -> Result<(), CacheError> {
        record::write(
            &self.folder,
            &unfinished(disk, content),
            &Unfinished { version: VERSION, content, blocks },
        )
    }

    /// Remembers a finished card.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn finish(
        &self,
        (disk, content): (&Disk, Digest),
        (cluster, node): (String, String),
        verified: bool,
        digest: Digest,
    ) -> Result<(), CacheError> {
        // It has done its duty, and one that stays is compared with the card before it is believed.
        let _absent = self.folder.remove(unfinished(disk, content));
        let unix_s =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let name = finished(&cluster, &node);
        record::write(
            &self.folder,
            &name,
            &Finished { version: VERSION, cluster, node, unix_s, verified, digest },
        )
    }

    /// When a node's card was finished last on this computer.
    pub fn finished_card(&self, cluster: &str, node: &str) -> Option<Finished> {
        record::read::<Finished>(&self.folder, &finished(cluster, node))
            .filter(|record| record.version == VERSION)
    }
}

/// Readers are told apart by their serials; two without one, by where they are. The slots of one reader have one serial, and
/// cheap readers all the same, so what is being written belongs to it.
fn unfinished(disk: &Disk, content: Digest) -> String {
    let serial = disk.serial.clone().unwrap_or_else(|| disk.path.display().to_string());
    record_name(&format!("device {} {serial} {} {content}", disk.bus, disk.size))
}

fn finished(cluster: &str, node: &str) -> String {
    record_name(&format!("node {cluster} {node}"))
}

fn record_name(what: &str) -> String {
    format!("{}.json", digest::of_bytes(what.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Bus;
    use crate::device::list::Number;
    use crate::plan::Write;

    fn disk(serial: &str) -> Disk {
        Disk {
            path: "/dev/sdb".into(),
            number: Number(8, 16),
            size: 1 << 30,
            bus: Bus::Usb,
            model: None,
            serial: Some(serial.into()),
            removable: true,
            read_only: false,
            sequence: None,
            partitions: Vec::new(),
        }
    }

    #[test]
    fn only_the_same_content_on_the_same_device_is_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(&Cache::open(Some(folder.path())).unwrap()).unwrap();
        let content =
            |byte| Journal::content("base", &Patches::new(&[Write { offset: 0, bytes: vec![byte; 512] }]));
        journal.note(&disk("A"), content(1), 64).unwrap();
        assert_eq!(journal.safe_blocks(&disk("A"), content(1)), 64);
        assert_eq!(journal.safe_blocks(&disk("A"), content(2)), 0);
        assert_eq!(journal.safe_blocks(&disk("B"), content(1)), 0);
        // The other slot of the same reader: neither takes the other's record away.
        journal.note(&disk("A"), content(2), 16).unwrap();
        journal.finish((&disk("A"), content(1)), ("c1".into(), "red00".into()), true, content(1)).unwrap();
        assert_eq!(journal.safe_blocks(&disk("A"), content(1)), 0);
        assert_eq!(journal.safe_blocks(&disk("A"), content(2)), 16);
        let finished = journal.finished_card("c1", "red00").unwrap();
        assert!(finished.verified && finished.unix_s > 1_700_000_000);
        assert_eq!(journal.finished_card("c2", "red00"), None);
    }
}
