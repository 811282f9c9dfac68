//! What the agent remembers over power cuts.
//!
//! The world is the truth: steps probe before they act. The journal holds what cannot be probed: whether a swarm was
//! ever started here (the point of no return), whether an installation was cut short, who has joined, where the
//! manager was. Absent, valid and damaged are three answers, and a damaged journal never leads to a second swarm. One that
//! cannot be read is none of them: it may be good, so nothing takes its place.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cluster::name::{Hostname, KeyId};
use cluster::orders::Orders;
use cluster::wire::{Cause, Mark, Stage};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::election::Ballots;
use crate::host::{Host, HostError};
use crate::window::Count;

/// The journal's version. A newer one than this counts as damaged: it may say what this agent would not heed.
pub const VERSION: u32 = 1;
/// Its name in the state folder.
pub const FILE: &str = "journal.json";
/// The name of a damaged one that was kept aside.
pub const DAMAGED: &str = "journal.json.damaged";

/// Most entries that are remembered of a node. Those of earlier lives are removed from the node list within a minute.
const ENTRIES: usize = 8;

/// How far something went that must not be done twice or left half done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Progress {
    /// Never begun.
    #[default]
    Never,
    /// Begun, and perhaps cut short.
    Started,
    /// Done.
    Completed,
    /// A journal that would have said so was damaged.
    Unknown,
}

/// The journal's content.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// [`VERSION`] of the agent that wrote it.
    pub version: u32,
    /// The installation of Docker's packages.
    #[serde(default)]
    pub install: Progress,
    /// Packages of Docker's that were here before ours were installed: the owner's.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub owners_packages: BTreeSet<String>,
    /// `swarm init` on this node.
    #[serde(default)]
    pub init: Progress,
    /// The managers' last good addresses.
    #[serde(default)]
    pub managers: BTreeMap<Hostname, Ipv4Addr>,
    /// Manager: its part in the agreement on who starts the swarm.
    #[serde(default)]
    pub ballots: Ballots,
    /// Manager: how long the join window has been open; see [`crate::window`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Count>,
    /// Manager: when the join window was opened, by the clock of that time, seconds since 1970. Older agents count from here.
    #[serde(default)]
    pub window_opened: Option<u64>,
    /// Manager: whether that clock was set from the network.
    #[serde(default)]
    pub window_is_sure: bool,
    /// Manager: nodes that were seen ready at least once.
    #[serde(default)]
    pub joined: BTreeSet<Hostname>,
    /// Manager: the Swarm ids that each node has proved to be its own, oldest first. A node that was revoked has none. Only
    /// nodes with an agent that cannot prove anything are missing here although they have joined.
    #[serde(default)]
    pub entries: BTreeMap<Hostname, Vec<String>>,
    /// Manager: the join window has closed, whatever the clock says later.
    #[serde(default)]
    pub window_closed: bool,
    /// Manager: keys that are not let in any more.
    #[serde(default)]
    pub revoked: BTreeSet<KeyId>,
    /// Manager: Swarm ids of revoked nodes, as long as they may be in the node list.
    #[serde(default)]
    pub expelled: BTreeSet<String>,
    /// Manager: how many times there was a reason to change the join tokens.
    #[serde(default)]
    pub rotations_wanted: u64,
    /// Manager: how many of these the last change came after. A count, not a flag: a reason that comes up while the
    /// tokens are being changed needs another change.
    #[serde(default)]
    pub rotations_done: u64,
    /// What the operator has ordered, as far as this node knows.
    #[serde(default)]
    pub orders: Orders,
    /// Up to which number this node has followed the orders; see [`crate::orders`].
    #[serde(default)]
    pub settled: u64,
    /// Manager: Swarm ids of members that nobody planned and that the operator wants gone.
    #[serde(default)]
    pub strangers: BTreeSet<String>,
    /// How the manager's journal said that the swarm is no more, before orders had numbers.
    #[serde(default, skip_serializing)]
    pub(crate) dissolved: bool,
    /// How a node's journal said that it stays out, before orders had numbers.
    #[serde(default, skip_serializing)]
    pub(crate) left: bool,
    /// When stages were first finished.
    #[serde(default)]
    pub marks: Vec<Mark>,
}

impl Journal {
    /// Notes that an entry of the node list is a node's own.
    pub fn claim(&mut self, name: &Hostname, id: &str) {
        let ids = self.entries.entry(name.clone()).or_default();
        if !ids.iter().any(|other| other == id) {
            ids.push(id.to_owned());
            ids.drain(..ids.len().saturating_sub(ENTRIES));
        }
    }

    /// Whether this node has started a swarm or come into one, and has not left it as told.
    pub fn has_swarm(&self) -> bool {
        self.init != Progress::Never || self.marks.iter().any(|mark| mark.stage == Stage::Swarm)
    }
}

/// Why a journal cannot be used.
#[derive(Debug, Error)]
pub enum JournalError {
    /// It cannot be read now.
    #[error("cannot read the journal")]
    Read(#[source] HostError),
    /// It cannot be written.
    #[error("cannot write the journal")]
    Write(#[source] HostError),
    /// It is not what an agent wrote.
    #[error("the journal is damaged")]
    Parse(#[source] serde_json::Error),
    /// It was written by an agent that knows more.
    #[error("the journal was written by a newer agent (version {0}, this one knows {VERSION})")]
    TooNew(u32),
}

impl JournalError {
    /// Whether it may be otherwise after a while: what could not be read is there perhaps, a full disk gets room, and a file
    /// system that is read-only, as at a first start before it was checked, is mounted anew.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Read(_) => true,
            Self::Write(HostError::File { source, .. }) => {
                use ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
                matches!(source.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem)
            }
            Self::Write(_) | Self::Parse(_) | Self::TooNew(_) => false,
        }
    }

    /// What a person can do something about.
    pub fn cause(&self) -> Option<Cause> {
        match self {
            Self::Read(source) | Self::Write(source) => source.cause(),
            Self::Parse(_) | Self::TooNew(_) => None,
        }
    }
}

/// What is found at start.
#[derive(Debug)]
pub enum Stored {
    /// No agent has run here.
    Absent,
    /// A good journal.
    Valid(Box<Journal>),
    /// Something that is not to be trusted, and not to be taken for nothing.
    Damaged {
        /// Why not.
        error: JournalError,
        /// All of it.
        bytes: Vec<u8>,
    },
}

/// Reads a journal.
///
/// # Errors
/// [`JournalError::Read`]: there may be a good one.
pub fn read(host: &dyn Host, path: &Path) -> Result<Stored, JournalError> {
    let Some(bytes) = host.read(path).map_err(JournalError::Read)? else { return Ok(Stored::Absent) };
    let error = match serde_json::from_slice::<Journal>(&bytes) {
        Ok(journal) if journal.version > VERSION => JournalError::TooNew(journal.version),
        Ok(journal) => return Ok(Stored::Valid(Box::new(numbered(journal)))),
        Err(error) => JournalError::Parse(error),
    };
    Ok(Stored::Damaged { error, bytes })
}

/// Orders without a number are older than any that has one.
fn numbered(mut journal: Journal) -> Journal {
    if journal.dissolved || journal.left {
        journal.orders.killed = journal.orders.killed.max(1);
    }
    if journal.left {
        journal.settled = journal.settled.max(1);
    }
    (journal.dissolved, journal.left) = (false, false);
    journal
}

/// The journal in memory and on disk.
#[derive(Debug)]
pub struct JournalFile {
    host: Arc<dyn Host>,
    path: PathBuf,
    content: Mutex<Content>,
}

#[derive(Debug)]
struct Content {
    journal: Journal,
    /// It has something that did not reach the disk.
    unsaved: bool,
}

impl JournalFile {
    /// Opens the journal in the state folder; a good one needs no room on the disk for that. A damaged one is kept aside
    /// under another name, and its successor says [`Progress::Unknown`] wherever that matters.
    ///
    /// # Errors
    /// See [`JournalError::is_transient`].
    pub fn open(host: Arc<dyn Host>, state: &Path) -> Result<Self, JournalError> {
        let path = state.join(FILE);
        let fresh = Journal { version: VERSION, ..Journal::default() };
        let (current, is_new) = match read(host.as_ref(), &path)? {
            Stored::Absent => (fresh, true),
            Stored::Valid(journal) => (*journal, false),
            Stored::Damaged { error, bytes } => {
                tracing::warn!("{}; kept as {DAMAGED}", crate::agent::status::chain(&error));
                let aside = state.join(DAMAGED);
                host.write(&aside, &bytes, 0o600, None).map_err(JournalError::Write)?;
                (Journal { install: Progress::Unknown, init: Progress::Unknown, ..fresh }, true)
            }
        };
        let content = Mutex::new(Content { journal: current, unsaved: false });
        let file = Self { host, path, content };
        if is_new {
            file.update(|_| ())?;
        }
        Ok(file)
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The present content.
    pub fn get(&self) -> Journal {
        self.lock().journal.clone()
    }

    /// Looks at the content without copying it.
    pub fn look<T>(&self, look: impl FnOnce(&Journal) -> T) -> T {
        look(&self.lock().journal)
    }

    /// Changes the content and brings it to disk before returning. Memory changes only if the disk did.
    pub fn update<T>(&self, change: impl FnOnce(&mut Journal) -> T) -> Result<T, JournalError> {
        self.write(change, true)
    }

    /// Changes the content if that makes a difference: what is reported every second must not wear the card out.
    pub fn settle<T>(&self, change: impl FnOnce(&mut Journal) -> T) -> Result<T, JournalError> {
        self.write(change, false)
    }

    /// Changes the content at once, and then brings it to disk: for what is to be in force even if it cannot be written down,
    /// such as a revocation on a full disk. What did not reach the disk does with the next change, or with [`Self::flush`].
    ///
    /// # Errors
    /// When it is in memory only.
    pub fn enact(&self, change: impl FnOnce(&mut Journal)) -> Result<(), JournalError> {
        let mut content = self.lock();
        let before = content.journal.clone();
        change(&mut content.journal);
        content.unsaved |= content.journal != before;
        self.save(&mut content)
    }

    /// Brings to disk what is in memory only.
    ///
    /// # Errors
    /// When it still is.
    pub fn flush(&self) -> Result<(), JournalError> {
        self.save(&mut self.lock())
    }

    fn save(&self, content: &mut Content) -> Result<(), JournalError> {
        if content.unsaved {
            self.put(&content.journal)?;
            content.unsaved = false;
        }
        Ok(())
    }

    fn write<T>(&self, change: impl FnOnce(&mut Journal) -> T, always: bool) -> Result<T, JournalError> {
        // Held throughout: a vote must see what the one before it promised.
        let mut content = self.lock();
        let mut next = content.journal.clone();
        let result = change(&mut next);
        if always || next != content.journal {
            self.put(&next)?;
            *content = Content { journal: next, unsaved: false };
        }
        Ok(result)
    }

    fn put(&self, journal: &Journal) -> Result<(), JournalError> {
        let mut bytes = serde_json::to_vec_pretty(journal).map_err(JournalError::Parse)?;
        bytes.push(b'\n');
        self.host.write(&self.path, &bytes, 0o600, None).map_err(JournalError::Write)
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::host::fake::{FakeHost, Fault, Files, Limit, Node, Power};

    const STATE: &str = "/state";

    fn machine(journal: Option<&str>, power: Arc<Power>) -> Arc<FakeHost> {
        let mut files = Files::from([(STATE.into(), Node::Folder { mode: 0o700, owner: None })]);
        if let Some(text) = journal {
            let node = Node::File { bytes: text.as_bytes().to_vec(), mode: 0o600, owner: None };
            files.insert(Path::new(STATE).join(FILE), node);
        }
        Arc::new(FakeHost::new(power, files, UNIX_EPOCH))
    }

    fn open(host: &Arc<FakeHost>) -> JournalFile {
        let host: Arc<FakeHost> = Arc::clone(host);
        JournalFile::open(host, Path::new(STATE)).unwrap()
    }

    /// `tests/6bc94bb/README.md` says where it comes from.
    #[test]
    fn reads_the_journal_of_an_older_agent() {
        let host = machine(Some(include_str!("../tests/6bc94bb/journal.json")), Arc::default());
        let Stored::Valid(journal) = read(host.as_ref(), &Path::new(STATE).join(FILE)).unwrap() else {
            panic!()
        };
        assert_eq!((journal.install, journal.init), (Progress::Completed, Progress::Never));
        assert_eq!(journal.window_opened, Some(1_796_087_804));
        assert_eq!(
            journal.marks.iter().map(|mark| mark.stage).collect::<Vec<_>>(),
            [Stage::Network, Stage::Clock]
        );
    }

    #[test]
    fn absent_valid_and_damaged_are_three_answers() {
        let stored =
            |text| read(machine(text, Arc::default()).as_ref(), &Path::new(STATE).join(FILE)).unwrap();
        assert!(matches!(stored(None), Stored::Absent));
        assert!(matches!(stored(Some(r#"{"version": 1}"#)), Stored::Valid(_)));
        for text in ["", "{", "[]", r#"{"version": 1, "init": "perhaps"}"#] {
            let stored = stored(Some(text));
            assert!(matches!(stored, Stored::Damaged { error: JournalError::Parse(_), .. }), "{text:?}");
        }
        let newer = stored(Some(r#"{"version": 2}"#));
        assert!(matches!(newer, Stored::Damaged { error: JournalError::TooNew(2), .. }));
    }

    #[test]
    fn one_that_cannot_be_read_now_is_kept_and_not_taken_for_damaged() {
        let host = machine(None, Arc::default());
        let path = Path::new(STATE).join(FILE);
        // What the fake cannot read: a dying card's file, as far as the journal goes.
        host.place(&path, Node::Folder { mode: 0o700, owner: None });
        let before = host.files();
        let machine: Arc<FakeHost> = Arc::clone(&host);
        let error = JournalFile::open(machine, Path::new(STATE)).unwrap_err();
        assert!(error.is_transient() && matches!(error, JournalError::Read(_)), "{error:?}");
        assert_eq!(host.files(), before);
    }

    #[test]
    fn a_good_one_opens_on_a_full_or_read_only_disk_and_a_new_one_waits() {
        for limit in [Limit::Room(0), Limit::ReadOnly] {
            let limited = |text| {
                let host = machine(text, Arc::default());
                host.set_limit(limit);
                host
            };
            assert_eq!(
                open(&limited(Some(r#"{"version": 1, "init": "completed"}"#))).get().init,
                Progress::Completed
            );
            for text in [None, Some("damaged")] {
                let host = limited(text);
                let before = host.files();
                let machine: Arc<FakeHost> = Arc::clone(&host);
                assert!(
                    JournalFile::open(machine, Path::new(STATE)).unwrap_err().is_transient(),
                    "{limit:?}"
                );
                assert_eq!(host.files(), before);
            }
        }
    }

    #[test]
    fn who_started_a_swarm_or_came_into_one_has_one_until_it_has_left() {
        let name = Hostname::try_from("red00").unwrap();
        let started = Journal { init: Progress::Completed, ..Journal::default() };
        let mark = Mark { stage: Stage::Swarm, unix_ms: 1, uptime_ms: 1 };
        let joined = Journal { marks: vec![mark], ..Journal::default() };
        assert!(!Journal::default().has_swarm());
        for mut journal in [started, joined] {
            assert!(journal.has_swarm());
            journal.leave(&name);
            assert!(!journal.has_swarm());
        }
    }

    #[test]
    fn who_left_before_orders_had_numbers_stays_out() {
        let red01 = Hostname::try_from("red01").unwrap();
        let left = machine(Some(r#"{"version": 1, "left": true}"#), Arc::default());
        assert!(open(&left).get().has_left(&red01));
        // And not after the next restart, either.
        assert!(open(&left).get().has_left(&red01));
        let dissolved = machine(Some(r#"{"version": 1, "dissolved": true}"#), Arc::default());
        assert!(open(&dissolved).get().has_to_leave(&red01));
    }

    #[test]
    fn a_damaged_journal_is_kept_and_never_reads_as_never() {
        let host = machine(Some("{\"version\": 1, \"ini"), Arc::default());
        assert_eq!(open(&host).get().init, Progress::Unknown);
        // And not after the next restart, either.
        assert_eq!(open(&host).get().init, Progress::Unknown);
        assert!(host.files().contains_key(&Path::new(STATE).join("journal.json.damaged")));
    }

    #[test]
    fn what_did_not_reach_the_disk_is_not_believed() {
        let host = machine(None, Power::with(Fault::FailAt(1)));
        let journal = open(&host);
        assert!(journal.update(|journal| journal.init = Progress::Started).is_err());
        assert_eq!(journal.get().init, Progress::Never);
    }

    #[test]
    fn what_is_enacted_holds_on_a_full_disk_and_is_written_once_there_is_room() {
        let host = machine(None, Arc::default());
        let (journal, red01) = (open(&host), Hostname::try_from("red01").unwrap());
        host.set_limit(Limit::Room(0));
        assert!(journal.enact(|journal| journal.rotations_wanted = 1).unwrap_err().is_transient());
        assert_eq!(journal.get().rotations_wanted, 1);
        assert_eq!(open(&host).get().rotations_wanted, 0, "it is not on the disk");
        assert!(journal.flush().is_err());
        assert!(journal.update(|journal| journal.settled = 5).is_err());
        assert_eq!(journal.get().settled, 0, "what is believed only from the disk is not mixed in");
        host.set_limit(Limit::Healthy);
        journal.flush().unwrap();
        assert_eq!(open(&host).get().rotations_wanted, 1);
        // Any other write brings it, too.
        host.set_limit(Limit::ReadOnly);
        journal.enact(|journal| journal.rotations_wanted = 2).unwrap_err();
        host.set_limit(Limit::Healthy);
        journal.settle(|journal| journal.joined.insert(red01.clone())).unwrap();
        assert_eq!((open(&host).get().rotations_wanted, open(&host).get().joined.len()), (2, 1));
    }

    #[test]
    fn what_is_enacted_already_is_not_written_again() {
        let power = Arc::<Power>::default();
        let host = machine(None, Arc::clone(&power));
        let journal = open(&host);
        let written = power.log().len();
        journal.enact(|journal| journal.window_closed = false).unwrap();
        journal.flush().unwrap();
        assert_eq!(power.log().len(), written);
    }

    #[test]
    fn what_does_not_change_is_not_written() {
        let power = Arc::<Power>::default();
        let host = machine(None, Arc::clone(&power));
        let journal = open(&host);
        let written = power.log().len();
        journal.settle(|journal| journal.window_closed = false).unwrap();
        assert_eq!(power.log().len(), written);
    }
}
