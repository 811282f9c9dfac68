//! The secrets folder as files: private from their creation, whole or absent, and refused when others could read them.

use std::fs::{self, DirBuilder, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::error::{PkiError, Whose};
use crate::owner;

/// Where node material lies within the folder.
pub(super) const NODES: &str = "nodes";
/// Where revoked node material lies within the folder.
pub(super) const REVOKED: &str = "revoked";

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

/// A secrets folder that exists and that only its owner can look into.
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The folder at a path; `None` when there is nothing.
    pub(super) fn open(path: PathBuf) -> Result<Option<Self>, PkiError> {
        if look(&path)?.is_none() {
            return Ok(None);
        }
        for folder in [path.clone(), path.join(NODES)] {
            let Some(found) = look(&folder)? else {
                return Err(PkiError::Missing { path: folder, whose: Whose::Cluster });
            };
            if !found.is_dir() {
                return Err(PkiError::WrongType { path: folder, wanted: "folder" });
            }
            refuse_exposed(&folder, &found, &path)?;
        }
        Ok(Some(Self { path }))
    }

    /// Makes the folder with its first files. It appears under its name only when they are all on the disk, so
    /// a run that is killed leaves nothing but a folder of another name, which the next run throws away.
    pub(super) fn create(path: PathBuf, files: &[NewFile]) -> Result<Self, PkiError> {
        let partial = path.with_extension("secrets.partial");
        if look(&partial)?.is_some() {
            fs::remove_dir_all(&partial).map_err(failed("remove", &partial))?;
        }
        private_folder(&partial)?;
        if let Some(made) = look(&partial)? {
            // A file system that keeps no modes: better found out before there are secrets on it.
            refuse_exposed(&partial, &made, &path)?;
        }
        let folder = Self { path: partial };
        private_folder(&folder.path.join(NODES))?;
        folder.write_all(files)?;
        fs::rename(&folder.path, &path).map_err(failed("make", &path))?;
        sync_folder(path.parent().unwrap_or(&path))?;
        Ok(Self { path })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A file's text; `None` when it does not exist.
    pub(super) fn read(&self, name: &str) -> Result<Option<String>, PkiError> {
        let path = self.path(name);
        let Some(found) = look(&path)? else { return Ok(None) };
        if !found.is_file() {
            return Err(PkiError::WrongType { path, wanted: "file" });
        }
        refuse_exposed(&path, &found, &self.path)?;
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(source) => Err(PkiError::File { verb: "read", path, source }),
        }
    }

    /// Writes files one after the other, each whole or not at all.
    pub(super) fn write_all(&self, files: &[NewFile]) -> Result<(), PkiError> {
        if files.is_empty() {
            return Ok(());
        }
        for file in files {
            self.write(file)?;
        }
        sync_folder(&self.path.join(NODES))?;
        sync_folder(&self.path)
    }

    /// Names in one of its folders, sorted; none when that does not exist.
    pub(super) fn names(&self, folder: &str) -> Result<Vec<String>, PkiError> {
        let path = self.path(folder);
        if look(&path)?.is_none() {
            return Ok(Vec::new());
        }
        let entries = fs::read_dir(&path).map_err(failed("read", &path))?;
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let mut names = names.collect::<io::Result<Vec<_>>>().map_err(failed("read", &path))?;
        names.sort();
        Ok(names)
    }

    /// Moves files of [`NODES`] to [`REVOKED`], in this order, each from its name to another. What is not there needs
    /// no moving; what is there already is never replaced.
    pub(super) fn revoke(&self, names: &[(String, String)]) -> Result<(), PkiError> {
        let (nodes, revoked) = (self.path(NODES), self.path(REVOKED));
        if look(&revoked)?.is_none() {
            private_folder(&revoked)?;
        }
        for (from, to) in names {
            let (from, to) = (nodes.join(from), revoked.join(to));
            if look(&from)?.is_none() {
                continue;
            }
            if look(&to)?.is_some() {
                let source = io::ErrorKind::AlreadyExists.into();
                return Err(PkiError::File { verb: "write", path: to, source });
            }
            fs::rename(&from, &to).map_err(failed("move", &from))?;
            // On the disk before the next one goes: the order says what a killed run leaves.
            sync_folder(&revoked)?;
            sync_folder(&nodes)?;
        }
        Ok(())
    }

    fn write(&self, file: &NewFile) -> Result<(), PkiError> {
        let path = self.path(&file.name);
        let folder = path.parent().unwrap_or(&self.path);
        // Mode 0600 from the first instant: that is what the tempfile crate creates with.
        let mut new = tempfile::Builder::new()
            .prefix(".new-")
            .tempfile_in(folder)
            .map_err(failed("create a file in", folder))?;
        owner::hand_over(new.as_file(), folder).map_err(failed("write", &path))?;
        new.write_all(file.text.as_bytes()).map_err(failed("write", &path))?;
        new.as_file().sync_all().map_err(failed("write", &path))?;
        let kept = if file.replaces { new.persist(&path) } else { new.persist_noclobber(&path) };
        kept.map(drop).map_err(|error| PkiError::File { verb: "write", path, source: error.error })
    }
}

/// Keeps other runs of the builder out of a folder until dropped. File systems without locks go without.
pub(super) fn lock(folder: &Path) -> Result<File, PkiError> {
    let file = File::open(folder).map_err(failed("open", folder))?;
    let _best_effort = file.lock();
    Ok(file)
}

/// What is at a path, not following links; a link is refused, for where it leads may be anybody's.
fn look(path: &Path) -> Result<Option<Metadata>, PkiError> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => Err(PkiError::Link { path: path.to_owned() }),
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(PkiError::File { verb: "look at", path: path.to_owned(), source }),
    }
}

fn refuse_exposed(path: &Path, found: &Metadata, folder: &Path) -> Result<(), PkiError> {
    let mode = found.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(PkiError::Exposed { path: path.to_owned(), mode, folder: folder.to_owned() })
}

fn private_folder(path: &Path) -> Result<(), PkiError> {
    DirBuilder::new().mode(0o700).create(path).map_err(failed("make", path))?;
    let parent = path.parent().unwrap_or(path);
    File::open(path).and_then(|made| owner::hand_over(made, parent)).map_err(failed("make", path))
}

fn sync_folder(path: &Path) -> Result<(), PkiError> {
    // An empty path is what `parent` makes of a bare file name.
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    File::open(path).and_then(|folder| folder.sync_all()).map_err(failed("write", path))
}

fn failed(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PkiError {
    let path = path.to_owned();
    move |source| PkiError::File { verb, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_never_overwritten_unless_it_is_said_to_replace_one() {
        let outside = tempfile::tempdir().unwrap();
        let folder = Folder::create(outside.path().join("red.secrets"), &[NewFile::new("a", "1")]).unwrap();
        assert!(folder.write_all(&[NewFile::new("a", "2")]).is_err());
        assert_eq!(folder.read("a").unwrap().unwrap(), "1");
        folder.write_all(&[NewFile { replaces: true, ..NewFile::new("a", "3") }]).unwrap();
        assert_eq!(folder.read("a").unwrap().unwrap(), "3");
    }

    #[test]
    fn everything_is_private_from_its_creation() {
        let outside = tempfile::tempdir().unwrap();
        let folder = Folder::create(outside.path().join("red.secrets"), &[NewFile::new("a", "1")]).unwrap();
        let mode = |name: &str| fs::metadata(folder.path(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(""), mode(NODES), mode("a")), (0o700, 0o700, 0o600));
    }

    #[test]
    fn what_a_killed_first_run_left_is_thrown_away() {
        let outside = tempfile::tempdir().unwrap();
        let partial = outside.path().join("red.secrets.partial");
        private_folder(&partial).unwrap();
        fs::write(partial.join("ca-key.pem"), "half").unwrap();
        let folder = Folder::create(outside.path().join("red.secrets"), &[NewFile::new("a", "1")]).unwrap();
        assert!(!partial.exists());
        assert!(folder.read("ca-key.pem").unwrap().is_none());
    }
}
