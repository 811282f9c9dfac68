//! Nodes that were brought in over SSH, `running.json`: machines with host keys of their own, which are the affair of the
//! user's ssh.

use std::net::Ipv4Addr;
use std::path::Path;

use cluster::card::DockerSource;
use cluster::host::Host;
use cluster::identity::Role;
use cluster::name::Hostname;
use serde::{Deserialize, Serialize};

use super::error::{PkiError, Whose};
use super::folder::{self, Folder, Missing, NewFile, REVOKED};
use super::{VERSION, existing, from_json_up_to, refresh_ssh, to_json};
use crate::error::Failure;
use crate::host_key::HostKey;
use crate::project::Project;

const RUNNING: &str = "running.json";

/// The version of a record with host keys. Older builders refuse fields that they do not know, and would call them damage.
const WITH_HOST_KEYS: u32 = 2;

/// What `builder config` brought in last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Running {
    version: u32,
    /// Who logs in, where the command line said so.
    pub user: Option<String>,
    /// Where Docker came from.
    pub docker: DockerSource,
    /// The machines, managers first, otherwise in the file's order.
    pub hosts: Vec<RunningHost>,
}

/// One machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunningHost {
    /// As the file names it, such as `pi@10.1.1.3`.
    pub host: String,
    /// As it calls itself, and so the name of the node.
    pub name: Hostname,
    /// What it does.
    pub role: Role,
    /// Where the other nodes find it, if that is known beforehand.
    pub address: Option<Ipv4Addr>,
    /// The SSH host key of the machine that the node's key was delivered to. Records of older builders have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_key: Option<HostKey>,
}

impl Running {
    /// A record of these machines.
    pub fn new(user: Option<String>, docker: DockerSource, hosts: Vec<RunningHost>) -> Self {
        let is_bound = hosts.iter().any(|host| host.host_key.is_some());
        let version = if is_bound { WITH_HOST_KEYS } else { VERSION };
        Self { version, user, docker, hosts }
    }

    /// How a node is reached; `None` for nodes that were not brought in over SSH.
    pub fn host(&self, name: &Hostname) -> Option<Host> {
        let found = self.hosts.iter().find(|host| host.name == *name)?;
        let host = Host::try_from(found.host.as_str()).ok()?;
        Some(Host { user: host.user.clone().or_else(|| self.user.clone()), ..host })
    }
}

/// The record in a secrets folder; `None` where nothing was brought in yet.
///
/// # Errors
/// A folder or record that cannot be used.
pub fn running(secrets: &Path) -> Result<Option<Running>, Failure> {
    match Folder::open(secrets.to_owned())? {
        Some(folder) => Ok(read(&folder)?),
        None => Ok(None),
    }
}

pub(super) fn read(folder: &Folder) -> Result<Option<Running>, PkiError> {
    let text = folder.read(RUNNING)?;
    let path = || folder.path(RUNNING);
    text.map(|text| from_json_up_to(WITH_HOST_KEYS, &text, path(), Whose::Running)).transpose()
}

/// Adds the record to files that are to be written, unless it is there as it is. It goes before keys, and behind certificates that
/// are revoked: a run that is killed after the record must not leave a former machine's key that seems to be good.
///
/// # Errors
/// When the folder has a record that cannot be used.
pub(super) fn add(
    running: &Running,
    folder: Option<&Folder>,
    files: &mut Vec<NewFile>,
) -> Result<(), PkiError> {
    let text = to_json(running)?;
    if let Some(folder) = folder {
        read(folder)?;
        if folder.read(RUNNING)?.as_ref() == Some(&text) {
            return Ok(());
        }
    }
    let is_revoked = |file: &NewFile| file.name.split_once('/').is_some_and(|(folder, _)| folder == REVOKED);
    files.sort_by_key(|file| !is_revoked(file));
    let place = files.partition_point(is_revoked);
    files.insert(place, NewFile { replaces: true, ..NewFile::new(RUNNING, text) });
    Ok(())
}

/// Keeps the record, and brings the SSH files up to date.
///
/// # Errors
/// As [`existing`].
pub fn remember_running(project: &Project, running: &Running) -> Result<(), Failure> {
    let path = project.secrets_folder();
    let _lock = folder::lock(&path, Missing::Refuse)?;
    let folder = Folder::open(path.clone())?.ok_or(PkiError::Absent { folder: path })?;
    let mut files = Vec::new();
    add(running, Some(&folder), &mut files)?;
    folder.write_all(&files)?;
    Ok(refresh_ssh(project, &folder, &existing(project)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_is_written_before_keys_and_after_revocations() {
        let names =
            ["nodes/red01-key.pem", "nodes/red01.pem", "revoked/red02.0123.pem", "nodes/red02-key.pem"];
        let mut files: Vec<_> = names.map(|name| NewFile::new(name, "")).into();
        add(&Running::new(None, DockerSource::Docker, Vec::new()), None, &mut files).unwrap();
        let names: Vec<_> = files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "revoked/red02.0123.pem",
                RUNNING,
                "nodes/red01-key.pem",
                "nodes/red01.pem",
                "nodes/red02-key.pem"
            ]
        );
    }
}
