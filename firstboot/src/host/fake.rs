//! A machine in memory, for tests: it writes down every effect, and fails or loses its power at a chosen one.
//!
//! Effects are what changes the machine: writing, overwriting, making, linking, removing, running, setting the clock.
//! Machines that share a [`Power`] (a root file system and a FAT, say) count their effects together.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::{Host, HostError, Output, Owner, Program};

/// What lies at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A file.
    File {
        /// Its content.
        bytes: Vec<u8>,
        /// Permission bits.
        mode: u32,
        /// Its owner; root without it.
        owner: Option<Owner>,
    },
    /// A folder.
    Folder {
        /// Permission bits.
        mode: u32,
        /// Its owner; root without it.
        owner: Option<Owner>,
    },
    /// A symbolic link. Reading does not follow it.
    Link(PathBuf),
}

/// Everything there is, by absolute path.
pub type Files = BTreeMap<PathBuf, Node>;

/// What goes wrong, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The effect with this number (from 0) fails; everything else works.
    FailAt(usize),
    /// The power goes at this effect: it is not done (an overwrite: half done), and nothing after it.
    DieAt(usize),
}

/// The supply of one or more machines: counts their effects and holds the fault.
#[derive(Debug, Default)]
pub struct Power {
    fault: Option<Fault>,
    overlooked: Option<fn(&str) -> bool>,
    log: Mutex<Vec<String>>,
}

/// What an effect comes upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Supply {
    Good,
    Fault,
    /// It goes right now.
    Going,
    Gone,
}

impl Power {
    /// Power with a fault to come.
    pub fn with(fault: Fault) -> Arc<Self> {
        Arc::new(Self { fault: Some(fault), ..Self::default() })
    }

    /// Power that does not count some effects, such as programs that only look: how often they run is chance.
    pub fn overlooking(fault: Option<Fault>, overlooked: fn(&str) -> bool) -> Arc<Self> {
        Arc::new(Self { fault, overlooked: Some(overlooked), log: Mutex::default() })
    }

    /// The effects so far, in words, the one that met the fault included.
    pub fn log(&self) -> Vec<String> {
        lock(&self.log).clone()
    }

    /// Whether the power is gone.
    pub fn is_gone(&self) -> bool {
        matches!(self.fault, Some(Fault::DieAt(at)) if lock(&self.log).len() > at)
    }

    /// Counts an effect; an error is what happens instead of it. For machines this module does not play, too.
    pub fn spend(&self, effect: &str) -> Result<(), Error> {
        self.supply(effect).into_result()
    }

    fn supply(&self, effect: &str) -> Supply {
        if self.is_gone() {
            return Supply::Gone;
        }
        if self.overlooked.is_some_and(|overlooked| overlooked(effect)) {
            return Supply::Good;
        }
        let mut log = lock(&self.log);
        let number = log.len();
        log.push(effect.to_owned());
        match self.fault {
            Some(Fault::FailAt(at)) if at == number => Supply::Fault,
            Some(Fault::DieAt(at)) if at == number => Supply::Going,
            _ => Supply::Good,
        }
    }
}

impl Supply {
    fn into_result(self) -> Result<(), Error> {
        match self {
            Self::Good => Ok(()),
            Self::Fault => Err(Error::other("a fault put here by the test")),
            Self::Going | Self::Gone => Err(Error::other("the power is gone")),
        }
    }
}

/// Plays a program: may change the files; what it returns is its standard output, or its standard error when it failed.
pub type Player = dyn Fn(&Program, &mut Files) -> Result<Vec<u8>, String> + Send + Sync;

/// What a program that succeeds writes to standard error.
pub type Complaints = dyn Fn(&Program) -> String + Send + Sync;

/// The machine.
pub struct FakeHost {
    power: Arc<Power>,
    files: Mutex<Files>,
    clock: Mutex<SystemTime>,
    since_boot: Mutex<Duration>,
    player: Box<Player>,
    torn: Box<Player>,
    complaints: Box<Complaints>,
    limit: Mutex<Limit>,
}

/// What a disk has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Nothing that matters.
    Healthy,
    /// Nothing can be changed.
    ReadOnly,
    /// So many bytes fit, counted in blocks of 512. A file that is written needs room beside the one it replaces.
    Room(usize),
}

impl fmt::Debug for FakeHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeHost").field("files", &lock(&self.files).keys()).finish_non_exhaustive()
    }
}

impl FakeHost {
    /// A machine with these files on its disk and this time on its clock, and without any program.
    pub fn new(power: Arc<Power>, files: Files, clock: SystemTime) -> Self {
        let player = |program: &Program, _: &mut Files| Err(format!("{} is not installed", program.name));
        let torn = |_: &Program, _: &mut Files| Ok(Vec::new());
        let (files, clock) = (Mutex::new(files), Mutex::new(clock));
        Self {
            power,
            files,
            clock,
            since_boot: Mutex::default(),
            player: Box::new(player),
            torn: Box::new(torn),
            complaints: Box::new(|_| String::new()),
            limit: Mutex::new(Limit::Healthy),
        }
    }

    /// Gives it a disk that is not what it was.
    #[must_use]
    pub fn with_limit(self, limit: Limit) -> Self {
        self.set_limit(limit);
        self
    }

    /// Changes what its disk has come to.
    pub fn set_limit(&self, limit: Limit) {
        *lock(&self.limit) = limit;
    }

    /// Lets time pass: the clock and the time since the start go on together. Neither moves otherwise.
    pub fn pass(&self, time: Duration) {
        *lock(&self.clock) += time;
        *lock(&self.since_boot) += time;
    }

    /// Gives it programs.
    #[must_use]
    pub fn with_programs(
        mut self,
        player: impl Fn(&Program, &mut Files) -> Result<Vec<u8>, String> + Send + Sync + 'static,
    ) -> Self {
        self.player = Box::new(player);
        self
    }

    /// Says what programs leave behind that lose their power half way.
    #[must_use]
    pub fn with_torn_programs(
        mut self,
        torn: impl Fn(&Program, &mut Files) -> Result<Vec<u8>, String> + Send + Sync + 'static,
    ) -> Self {
        self.torn = Box::new(torn);
        self
    }

    /// Sets what programs write to standard error although they succeed.
    #[must_use]
    pub fn with_complaints(
        mut self,
        complaints: impl Fn(&Program) -> String + Send + Sync + 'static,
    ) -> Self {
        self.complaints = Box::new(complaints);
        self
    }

    /// What somebody else puts on the disk.
    pub fn place(&self, path: impl Into<PathBuf>, node: Node) {
        lock(&self.files).insert(path.into(), node);
    }

    /// The disk as it is now.
    pub fn files(&self) -> Files {
        lock(&self.files).clone()
    }

    fn spend(&self, verb: &'static str, path: &Path) -> Result<(), HostError> {
        self.power.spend(&format!("{verb} {}", path.display())).map_err(file_error(verb, path))?;
        if *lock(&self.limit) == Limit::ReadOnly {
            return Err(file_error(verb, path)(ErrorKind::ReadOnlyFilesystem.into()));
        }
        Ok(())
    }

    /// Whether there is room for so many bytes more.
    fn check_room(&self, verb: &'static str, path: &Path, bytes: usize) -> Result<(), HostError> {
        let Limit::Room(room) = *lock(&self.limit) else { return Ok(()) };
        let blocks = |bytes: usize| bytes.div_ceil(512) * 512;
        let size = |node: &Node| if let Node::File { bytes, .. } = node { blocks(bytes.len()) } else { 0 };
        let used: usize = lock(&self.files).values().map(size).sum();
        if used + blocks(bytes) > room {
            return Err(file_error(verb, path)(ErrorKind::StorageFull.into()));
        }
        Ok(())
    }

    fn check_parent(&self, verb: &'static str, path: &Path) -> Result<(), HostError> {
        match path.parent().map(|parent| lock(&self.files).get(parent).cloned()) {
            Some(Some(Node::Folder { .. } | Node::Link(_))) => Ok(()),
            _ => Err(file_error(verb, path)(ErrorKind::NotFound.into())),
        }
    }
}

impl Host for FakeHost {
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, HostError> {
        if self.power.is_gone() {
            Supply::Gone.into_result().map_err(file_error("read", path))?;
        }
        match lock(&self.files).get(path) {
            Some(Node::File { bytes, .. }) => Ok(Some(bytes.clone())),
            Some(Node::Folder { .. }) => Err(file_error("read", path)(ErrorKind::IsADirectory.into())),
            Some(Node::Link(_)) | None => Ok(None),
        }
    }

    fn list(&self, path: &Path) -> Result<Vec<String>, HostError> {
        let files = lock(&self.files);
        let inside = files.keys().filter(|key| key.parent() == Some(path));
        Ok(inside.filter_map(|key| Some(key.file_name()?.to_string_lossy().into_owned())).collect())
    }

    fn write(&self, path: &Path, bytes: &[u8], mode: u32, owner: Option<Owner>) -> Result<(), HostError> {
        self.spend("write", path)?;
        self.check_parent("write", path)?;
        self.check_room("write", path, bytes.len())?;
        lock(&self.files).insert(path.to_owned(), Node::File { bytes: bytes.to_owned(), mode, owner });
        Ok(())
    }

    fn overwrite(&self, path: &Path, new: &[u8]) -> Result<(), HostError> {
        let spent = self.spend("overwrite", path);
        let mut files = lock(&self.files);
        let Some(Node::File { bytes, .. }) = files.get_mut(path) else {
            return Err(file_error("overwrite", path)(ErrorKind::NotFound.into()));
        };
        if bytes.len() != new.len() {
            return Err(file_error("overwrite", path)(ErrorKind::InvalidInput.into()));
        }
        // A sector is written whole or not at all; anything longer may be torn.
        let done = match (&spent, self.power.is_gone()) {
            (Ok(()), _) => new.len(),
            (Err(_), true) if new.len() > 512 => new.len() / 2,
            _ => 0,
        };
        for (old, new) in bytes.iter_mut().zip(new).take(done) {
            *old = *new;
        }
        spent
    }

    fn make_folder(&self, path: &Path, mode: u32, owner: Option<Owner>) -> Result<(), HostError> {
        self.spend("make the folder", path)?;
        if !lock(&self.files).contains_key(path) {
            self.check_room("make the folder", path, 1)?;
        }
        let mut files = lock(&self.files);
        for parent in path.ancestors().skip(1) {
            files.entry(parent.to_owned()).or_insert(Node::Folder { mode: 0o755, owner: None });
        }
        files.insert(path.to_owned(), Node::Folder { mode, owner });
        Ok(())
    }

    fn link(&self, target: &Path, link: &Path) -> Result<(), HostError> {
        self.spend("link", link)?;
        self.check_parent("link", link)?;
        self.check_room("link", link, 1)?;
        lock(&self.files).insert(link.to_owned(), Node::Link(target.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<(), HostError> {
        self.spend("remove", path)?;
        lock(&self.files).remove(path);
        Ok(())
    }

    fn output(&self, program: &Program) -> Result<Output, HostError> {
        let supply = self.power.supply(&format!("run {}", program.line()));
        let torn = match supply {
            Supply::Going => (self.torn)(program, &mut lock(&self.files)).map(drop),
            _ => Ok(()),
        };
        let played = torn
            .and_then(|()| supply.into_result().map_err(|error| error.to_string()))
            .and_then(|()| (self.player)(program, &mut lock(&self.files)));
        let success = played.is_ok();
        let (stdout, stderr) = match played {
            Ok(stdout) => (stdout, (self.complaints)(program).into_bytes()),
            Err(stderr) => (Vec::new(), stderr.into_bytes()),
        };
        let status = if success { "exit status: 0" } else { "exit status: 1" }.to_owned();
        Ok(Output { success, status, stdout, stderr })
    }

    fn now(&self) -> SystemTime {
        *lock(&self.clock)
    }

    fn since_boot(&self) -> Duration {
        *lock(&self.since_boot)
    }

    fn set_clock(&self, to: SystemTime) -> Result<(), HostError> {
        self.power.spend("set the clock").map_err(HostError::Clock)?;
        *lock(&self.clock) = to;
        Ok(())
    }

    fn sync(&self) {}
}

fn file_error(verb: &'static str, path: &Path) -> impl FnOnce(Error) -> HostError {
    move |source| HostError::File { verb, path: path.to_owned(), source }
}

/// A test that panicked elsewhere is no reason to panic here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
