//! Docker's repository in apt's configuration. Files of the owner are never lost, and apt never stays broken because of ours.

use std::path::Path;

use super::apt::{self, Complaints};
use super::install::failed;
use super::key;
use super::plan::{KEYRING, PREFERENCES, Plan, SOURCES, System, is_source_of_ours};
use super::preferences;
use super::sources::{Verdict, elsewhere, is_key_in_use, judge};
use crate::host::{Host, HostError};
use crate::steps::StepError;

/// What is done, in messages.
const ADD: &str = "add Docker's package repository";

/// What was added to apt's configuration.
#[derive(Debug, Default)]
pub(super) struct Added {
    /// Our files, each with what was in its place before.
    files: Vec<(&'static str, Option<Vec<u8>>)>,
    /// Where else the repository is named.
    elsewhere: Vec<String>,
}

/// Adds repository and preferences of the plan, as far as the machine does not have them.
pub(super) fn add(host: &dyn Host, plan: &Plan, system: &System) -> Result<Added, StepError> {
    let mut files = Vec::new();
    let mut added = Added::default();
    if let Some(repository) = &plan.repository {
        added.elsewhere = elsewhere(host, repository).map_err(|source| failed(ADD, source))?;
        let verdict = judge(host, repository, &system.arch).map_err(|source| failed(ADD, source))?;
        // Beside another entry ours is one too many: with another `Signed-By` apt refuses every command. Agents of before wrote it.
        if matches!(verdict, Verdict::Conflict(_) | Verdict::Reuse(_) | Verdict::AddKey(_)) {
            let path = Path::new(SOURCES);
            let there = host.read(path).map_err(|source| failed(ADD, source))?;
            if there.as_deref() == Some(repository.source.as_bytes()) {
                host.remove(path).map_err(|source| failed(ADD, source))?;
            }
        }
        match verdict {
            Verdict::Conflict(why) => return Err(StepError::Later(why)),
            Verdict::Reuse(file) => tracing::info!("{file} has Docker's repository already"),
            Verdict::AddKey(_) => files.push((KEYRING, repository.key.clone())),
            Verdict::AddSignedBy(key) => files.push((SOURCES, repository.signed_by(&key))),
            Verdict::Add => {
                files.push((KEYRING, repository.key.clone()));
                files.push((SOURCES, repository.source.clone()));
            }
        }
    }
    files.extend(plan.preferences.clone().map(|text| (PREFERENCES, text)));
    for (path, text) in files {
        added.files.push((path, put(host, path, &text).map_err(|source| failed(ADD, source))?));
    }
    Ok(added)
}

impl Added {
    /// After apt failed: whether it can read its sources. If it cannot, our files are taken out again.
    pub(super) fn check(&self, host: &dyn Host, complaints: &Complaints) -> Result<(), StepError> {
        let readable =
            || apt::sources_are_readable(host).map_err(|source| failed("read package lists", source));
        if readable()? {
            return Ok(());
        }
        // The source goes before the key, so that what still needs the key can be seen.
        for (path, before) in self.files.iter().rev() {
            let restored = match before {
                Some(before) => host.write(Path::new(path), before, 0o644, None),
                None if *path == KEYRING && is_key_in_use(host).map_err(|source| failed(ADD, source))? => {
                    Ok(())
                }
                None => host.remove(Path::new(path)),
            };
            restored.map_err(|source| failed("take Docker's package repository out again", source))?;
        }
        let why = complaints.line();
        if !readable()? {
            return Err(StepError::Later(format!(
                "apt cannot read its sources; correct what it names, and the node continues by itself: {why}"
            )));
        }
        let elsewhere = match self.elsewhere.join("; ") {
            files if files.is_empty() => files,
            files => format!(", which is also named in {files}"),
        };
        Err(StepError::Later(format!(
            "apt cannot read its sources together with Docker's repository{elsewhere}; ours was taken out again: {why}"
        )))
    }
}

/// Takes our files out of apt's configuration for good. Files that the owner wrote there or still needs stay.
pub(crate) fn remove(host: &dyn Host) -> Result<(), HostError> {
    for (path, is_ours) in
        [(SOURCES, is_source_of_ours as fn(&str) -> bool), (PREFERENCES, preferences::is_ours)]
    {
        let path = Path::new(path);
        if host.read(path)?.is_some_and(|text| is_ours(&String::from_utf8_lossy(&text))) {
            host.remove(path)?;
        }
    }
    if is_key_in_use(host)? { Ok(()) } else { host.remove(Path::new(KEYRING)) }
}

/// Writes a file of ours and returns what it replaced. Somebody else's file is kept beside it, under a name that apt ignores.
fn put(host: &dyn Host, path: &'static str, text: &str) -> Result<Option<Vec<u8>>, HostError> {
    let before = host.read(Path::new(path))?.filter(|before| before != text.as_bytes());
    if let Some(before) = &before {
        if path == KEYRING && key::holds(before, text) {
            return Ok(None);
        }
        let there = String::from_utf8_lossy(before);
        let ours = match path {
            SOURCES => is_source_of_ours(&there),
            PREFERENCES => preferences::is_ours(&there),
            // Without a package source that names it, see `judge`.
            _ => false,
        };
        if !ours {
            let copy = format!("{path}.save");
            tracing::warn!("{path} was there before: kept as {copy}");
            // A URL in it may hold a password.
            host.write(Path::new(&copy), before, 0o600, None)?;
        }
    }
    place(host, path, text)?;
    Ok(before)
}

/// Writes a file, readable by all, if it is not there as wanted.
pub(super) fn place(host: &dyn Host, path: &str, text: &str) -> Result<(), HostError> {
    let path = Path::new(path);
    if host.read(path)?.as_deref() == Some(text.as_bytes()) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        host.make_folder(folder, 0o755, None)?;
    }
    host.write(path, text.as_bytes(), 0o644, None)
}
