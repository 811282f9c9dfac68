//! The secrets folder as files: private from their creation, whole or absent, and refused when others own or can read them.
//!
//! The folder appears under its name only when its first files are on the disk. Until then it is called `.partial`, as in
//! `red.secrets.partial`, and a run that is killed leaves it to the next. Builders that change the folder lock a file in it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::error::{PkiError, Whose};
use crate::dir::{self, Dir, Refusal};
use crate::report;
use crate::scratch::{self, Existing, Scratch};

/// Where node material lies within the folder.
pub(super) const NODES: &str = "nodes";
/// Where revoked node material lies within the folder.
pub(super) const REVOKED: &str = "revoked";
/// Locked by a builder that changes something.
const LOCK: &str = ".lock";
/// Endings of everything that is written into a new folder, here and by older builders.
const ENDINGS: [&str; 7] =
    [".pem", ".json", "-ssh-host-key", "-ssh-host-key.pub", ".gitignore", "known_hosts", "ssh_config"];

/// A file to be written into the folder; the name is relative to it.
pub(super) struct NewFile {
    pub(super) name: String,
    pub(super) text: String,
    /// Takes the place of an older version. Everything else must not exist yet.
    pub(super) replaces: bool,
}

impl NewFile {
    pub(super) fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into(), replaces: false }
    }
}

/// A secrets folder that exists, belongs to us, and is open to nobody else.
pub(super) struct Folder {
    dir: Dir,
    nodes: Dir,
    path: PathBuf,
}

/// Keeps other builders from changing the folder, until it is dropped.
pub(super) struct Lock {
    _file: Option<File>,
    /// The folder in the making, if there is none yet.
    partial: Option<Dir>,
}

/// What to do about a folder that does not exist.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Make,
    Refuse,
}

impl Drop for Lock {
    /// Removes a folder in the making into which nothing came.
    fn drop(&mut self) {
        let Some(partial) = &self.partial else { return };
        if partial.names().is_ok_and(|names| names == [LOCK]) && partial.remove(LOCK).is_ok() {
            let parent = beside(partial.path());
            // What cannot be removed is used by the next builder.
            let _left = parent.map(|parent| parent.remove_sub(name_of(partial.path())));
        }
    }
}

impl Folder {
    /// The folder at a path; `None` when there is nothing.
    pub(super) fn open(path: PathBuf) -> Result<Option<Self>, PkiError> {
        let Some(dir) = open_private(&beside(&path)?, name_of(&path), &path)? else { return Ok(None) };
        let missing = || PkiError::Missing { path: path.join(NODES), whose: Whose::Cluster };
        let nodes = open_private(&dir, NODES.as_ref(), &path)?.ok_or_else(missing)?;
        Ok(Some(Self { dir, nodes, path }))
    }

    /// Makes the folder with its first files. It appears under its name only when they are all on the disk.
    pub(super) fn create(lock: &Lock, path: PathBuf, files: &[NewFile]) -> Result<Self, PkiError> {
        let partial = lock.partial.clone().ok_or_else(|| PkiError::Replaced { path: path.clone() })?;
        empty(&partial)?;
        let nodes = make_private(&partial, NODES.as_ref(), partial.path())?;
        let folder = Self { path: partial.path().to_owned(), dir: partial, nodes };
        folder.write_all(files)?;
        let parent = beside(&path)?;
        parent.rename(name_of(&folder.path), &parent, name_of(&path)).map_err(failed("make", &path))?;
        parent.sync().map_err(failed("write", &path))?;
        // Who can write to the folder above can put another in the place of ours at any time.
        match Self::open(path.clone())? {
            Some(named) if is_same(&named.dir, &folder.dir) => Ok(named),
            _ => Err(PkiError::Replaced { path }),
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A file's text; `None` when it does not exist.
    pub(super) fn read(&self, name: &str) -> Result<Option<String>, PkiError> {
        let path = self.path(name);
        let Some((folder, file)) = self.place(name)? else { return Ok(None) };
        let opened = match folder.file(file, OFlags::RDONLY) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(failed("read", &path))?,
        };
        let mode = opened.metadata().map_err(failed("look at", &path))?.mode();
        refuse_exposed(&path, mode, &self.path)?;
        io::read_to_string(opened).map(Some).map_err(failed("read", &path))
    }

    /// Writes files one after the other, each whole or not at all.
    pub(super) fn write_all(&self, files: &[NewFile]) -> Result<(), PkiError> {
        files.iter().try_for_each(|file| self.write(file))
    }

    /// Names in one of its folders, sorted; none when that does not exist.
    pub(super) fn names(&self, folder: &str) -> Result<Vec<String>, PkiError> {
        let path = self.path(folder);
        let Some(found) = self.folder(folder)? else { return Ok(Vec::new()) };
        let names = found.names().map_err(failed("read", &path))?;
        Ok(names.iter().map(|name| name.to_string_lossy().into_owned()).collect())
    }

    /// Moves files of [`NODES`] to [`REVOKED`], in this order, each from its name to another. What is not there needs
    /// no moving; what is there already is never replaced.
    pub(super) fn revoke(&self, names: &[(String, String)]) -> Result<(), PkiError> {
        let revoked = make_private(&self.dir, REVOKED.as_ref(), &self.path)?;
        for (from, to) in names {
            let (from_path, to_path) = (self.nodes.path().join(from), revoked.path().join(to));
            if self.nodes.look(from).map_err(failed("look at", &from_path))?.is_none() {
                continue;
            }
            if revoked.look(to).map_err(failed("look at", &to_path))?.is_some() {
                let source = io::ErrorKind::AlreadyExists.into();
                return Err(PkiError::File { verb: "write", path: to_path, source });
            }
            self.nodes.rename(from, &revoked, to).map_err(failed("move", &from_path))?;
            // On the disk before the next one goes: the order says what a killed run leaves.
            revoked.sync().map_err(failed("write", &to_path))?;
            self.nodes.sync().map_err(failed("write", &from_path))?;
        }
        Ok(())
    }

    fn write(&self, file: &NewFile) -> Result<(), PkiError> {
        let path = self.path(&file.name);
        let missing =
            || PkiError::File { verb: "write", path: path.clone(), source: io::ErrorKind::NotFound.into() };
        let is_revoked = file.name.split_once('/').is_some_and(|(folder, _)| folder == REVOKED);
        if is_revoked {
            make_private(&self.dir, REVOKED.as_ref(), &self.path)?;
        }
        let (folder, name) = self.place(&file.name)?.ok_or_else(missing)?;
        let existing = if file.replaces { Existing::Replace } else { Existing::Keep };
        // Mode 0600 from the first instant.
        let written = Scratch::new_in(&folder).and_then(|new| {
            new.write(file.text.as_bytes())?;
            new.publish(name, existing)
        });
        written.map_err(|error| failed("write", &path)(error.into_source()))?;
        // That a key is revoked is on the disk before another replaces it.
        if is_revoked { folder.sync().map_err(failed("write", &path)) } else { Ok(()) }
    }

    /// The folder that a file lies in, and its name there; `None` if there is no such folder.
    fn place<'a>(&self, name: &'a str) -> Result<Option<(Dir, &'a str)>, PkiError> {
        match name.split_once('/') {
            Some((folder, name)) => Ok(self.folder(folder)?.map(|folder| (folder, name))),
            None => Ok(Some((self.dir.clone(), name))),
        }
    }

    fn folder(&self, name: &str) -> Result<Option<Dir>, PkiError> {
        match name {
            NODES => Ok(Some(self.nodes.clone())),
            name => open_private(&self.dir, name.as_ref(), &self.path),
        }
    }
}

/// Keeps other builders from changing the secrets folder at `path`, and says so if it has to wait for one.
pub(super) fn lock(path: &Path, missing: Missing) -> Result<Lock, PkiError> {
    let parent = beside(path)?;
    loop {
        let (folder, is_partial) = match open_private(&parent, name_of(path), path)? {
            Some(folder) => (folder, false),
            None if missing == Missing::Refuse => return Err(PkiError::Absent { folder: path.to_owned() }),
            None => {
                let name = partial_name(path);
                (make_private(&parent, &name, &parent.path().join(&name))?, true)
            }
        };
        let Some(file) = lock_in(&folder)? else { continue };
        // While we waited, another builder may have finished the folder, or somebody have moved it.
        let now = open_private(&parent, name_of(path), path)?;
        if now.is_some_and(|now| is_same(&now, &folder)) {
            return Ok(Lock { _file: file.0, partial: None });
        }
        let now = parent.open_sub(partial_name(path)).map_err(failed("open", folder.path()))?;
        if is_partial && now.is_some_and(|now| is_same(&now, &folder)) && !exists(&parent, path)? {
            return Ok(Lock { _file: file.0, partial: Some(folder) });
        }
    }
}

/// A lock, or nothing where nothing can be written, and so nothing has to be locked.
struct Locked(Option<File>);

/// Locks a folder; `None` if another builder removed it meanwhile.
fn lock_in(folder: &Dir) -> Result<Option<Locked>, PkiError> {
    use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    let path = folder.path();
    let waiting = || report::notice(&format!("waiting for another builder that changes {}", path.display()));
    match folder.lock(LOCK, waiting) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if matches!(error.kind(), ReadOnlyFilesystem | PermissionDenied) => Ok(Some(Locked(None))),
        locked => locked.map(|file| Some(Locked(Some(file)))).map_err(failed("lock", &path.join(LOCK))),
    }
}

fn exists(parent: &Dir, path: &Path) -> Result<bool, PkiError> {
    Ok(parent.look(name_of(path)).map_err(failed("look at", path))?.is_some())
}

fn is_same(one: &Dir, other: &Dir) -> bool {
    matches!((one.id(), other.id()), (Ok(one), Ok(other)) if one == other)
}

/// Removes what a killed run left in a folder in the making. Nothing else is ever removed.
fn empty(partial: &Dir) -> Result<(), PkiError> {
    let nodes = partial.open_sub(NODES).map_err(failed("open", &partial.path().join(NODES)))?;
    let mut found = Vec::new();
    for folder in std::iter::once(partial).chain(&nodes) {
        for name in folder.names().map_err(failed("read", folder.path()))? {
            let path = folder.path().join(&name);
            match () {
                () if name == LOCK || path == partial.path().join(NODES) => {}
                () if is_ours(&name) => found.push((folder, name, path)),
                () => return Err(PkiError::File { verb: "empty", path, source: Refusal::NotOurs.into() }),
            }
        }
    }
    for (folder, name, path) in found {
        folder.remove(name).map_err(failed("remove", &path))?;
    }
    if nodes.is_some() {
        partial.remove_sub(NODES).map_err(failed("remove", &partial.path().join(NODES)))?;
    }
    Ok(())
}

fn is_ours(name: &OsStr) -> bool {
    let text = name.to_string_lossy();
    // `.new-` is what older builders called files in the making.
    scratch::is_temporary(name) || text.starts_with(".new-") || ENDINGS.iter().any(|end| text.ends_with(end))
}

/// Opens a folder of ours; `secrets` is the secrets folder that it is or lies in, or the one in the making.
fn open_private(parent: &Dir, name: &OsStr, secrets: &Path) -> Result<Option<Dir>, PkiError> {
    let path = parent.path().join(name);
    let Some(found) = parent.open_sub(name).map_err(failed("open", &path))? else { return Ok(None) };
    let mode = found.metadata().map_err(failed("look at", &path))?.mode();
    refuse_exposed(&path, mode, secrets)?;
    Ok(Some(found))
}

/// As [`open_private`], and makes the folder if it is missing.
fn make_private(parent: &Dir, name: &OsStr, secrets: &Path) -> Result<Dir, PkiError> {
    let path = parent.path().join(name);
    parent.make_sub(name, dir::PRIVATE_FOLDER).map_err(failed("make", &path))?;
    // A file system that keeps no modes: better found out before there are secrets on it.
    open_private(parent, name, secrets)?.ok_or(PkiError::Replaced { path })
}

fn refuse_exposed(path: &Path, mode: u32, folder: &Path) -> Result<(), PkiError> {
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(PkiError::Exposed { path: path.to_owned(), mode: mode & 0o777, folder: folder.to_owned() })
}

/// The folder that the secrets folder lies in.
fn beside(path: &Path) -> Result<Dir, PkiError> {
    let parent = path.parent().unwrap_or(path);
    Dir::open(parent).map_err(failed("open", parent))
}

fn name_of(path: &Path) -> &OsStr {
    path.file_name().unwrap_or_default()
}

fn partial_name(path: &Path) -> OsString {
    let mut name = name_of(path).to_owned();
    name.push(".partial");
    name
}

fn failed(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PkiError {
    let path = path.to_owned();
    move |source| PkiError::of(verb, path, source)
}

#[cfg(test)]
mod tests;
