//! Revoked nodes: which keys a node has and had, and moving them out of the way of its next ones.
//!
//! A run that is killed on the way leaves a certificate without its key, which every other command refuses and the next
//! revocation puts right. The opposite must not be: over a key without a certificate, [`super::open`] would issue one.

use std::collections::BTreeSet;

use cluster::name::{Hostname, KeyId};

use super::error::{PkiError, Whose};
use super::folder::{self, Folder, Missing, REVOKED};
use super::{authority, existing, node, refresh_ssh};
use crate::error::Failure;
use crate::project::Project;

/// The endings of a node's files in the order in which they are moved: the certificate last.
const ENDINGS: [&str; 4] = ["-key.pem", "-ssh-host-key", "-ssh-host-key.pub", ".pem"];

/// Digits of a key's id in the name of a file that was set aside.
const DIGITS: usize = 16;

/// Where the certificate of a key that was set aside lies within the folder.
pub(super) fn certificate_name(node: &Hostname, key: &KeyId) -> String {
    format!("{REVOKED}/{}.pem", stem(node, key))
}

/// What the names of files of a key that was set aside begin with.
fn stem(node: &Hostname, key: &KeyId) -> String {
    let digits: String = key.as_str().chars().take(DIGITS).collect();
    format!("{node}.{digits}")
}

/// A node's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// That of the card made last; `None` when there is none, or it was set aside.
    pub present: Option<KeyId>,
    /// Those that were set aside.
    pub former: BTreeSet<KeyId>,
}

/// The keys a node has and had.
///
/// # Errors
/// When the folder does not exist, or a file of the node cannot be used.
pub fn keys(project: &Project, name: &Hostname) -> Result<Keys, Failure> {
    Ok(read_keys(&open(project)?, name)?)
}

/// Moves a node's material aside, so that the next build makes it anew, and takes it out of `known_hosts`.
///
/// # Errors
/// As [`keys`], and when a file cannot be moved.
pub fn set_aside(project: &Project, name: &Hostname) -> Result<(), Failure> {
    let _lock = folder::lock(&project.secrets_folder(), Missing::Refuse)?;
    let folder = open(project)?;
    let Some(present) = read_keys(&folder, name)?.present else { return Ok(()) };
    let stem = stem(name, &present);
    let moved = ENDINGS.map(|ending| (format!("{name}{ending}"), format!("{stem}{ending}")));
    folder.revoke(&moved)?;
    Ok(refresh_ssh(project, &folder, &existing(project)?)?)
}

fn open(project: &Project) -> Result<Folder, PkiError> {
    let path = project.secrets_folder();
    Folder::open(path.clone())?.ok_or(PkiError::Absent { folder: path })
}

fn read_keys(folder: &Folder, name: &Hostname) -> Result<Keys, PkiError> {
    let present = node::Files::read(Some(folder), name)?.key_id()?;
    Ok(Keys { present, former: former(folder, Some(name))? })
}

/// The keys that were set aside, of one node or of all.
pub(super) fn former(folder: &Folder, of: Option<&Hostname>) -> Result<BTreeSet<KeyId>, PkiError> {
    let mut former = BTreeSet::new();
    for file in folder.names(REVOKED)? {
        let is_certificate = file.strip_suffix(".pem").is_some_and(|stem| !stem.ends_with("-key"));
        // Host names have no dots.
        let is_of = |name: &Hostname| file.split_once('.').is_some_and(|(node, _)| node == name.as_str());
        if !is_certificate || !of.is_none_or(is_of) {
            continue;
        }
        let path = format!("{REVOKED}/{file}");
        if let Some(pem) = folder.read(&path)? {
            let damaged = |error| PkiError::Damaged {
                path: folder.path(&path),
                whose: Whose::Former,
                source: Box::new(error),
            };
            former.insert(authority::certificate_key_id(&pem).map_err(damaged)?);
        }
    }
    Ok(former)
}
