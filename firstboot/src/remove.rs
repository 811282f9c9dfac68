//! Taking our software off a machine again: the agent, its state and its keys, and Docker if the agent installed it.
//!
//! Power or connection lost here: done again. The state goes last, because it says what there is to do. Images and volumes
//! of Docker stay: they are the user's. Debian's package would take them along, see `NUKES`.

use std::collections::BTreeSet;
use std::path::Path;

use cluster::card::{CARD, Card, NODE_CERT};
use cluster::identity::{Holder, Identity};
use cluster::name::{ClusterId, ClusterName, Hostname};
use thiserror::Error;

use crate::adopt::{self, AdoptError, UNIT};
use crate::agent::announce;
use crate::engine::Engine;
use crate::host::{Host, HostError, Program};
use crate::journal::{self, JournalError, Progress, Stored};
use crate::memory_cgroup;
use crate::seed::{BINARY, STATE};
use crate::steps::docker::settings::{DAEMON, DROP_IN, is_ours};
use crate::steps::docker::{apt, owners, proxy, repository};
use crate::tls::holder_of_pem;

/// Debian's packages of Docker's that other software may have come to need.
const SHARED: [&str; 2] = ["containerd", "runc"];

/// Purging Debian's docker.io runs a script that empties `/var/lib/docker`: the second, which removing the package copies from
/// the first if that is there (its `prerm` and `postrm`, 20.10.24 and 26.1.5). A copy may also be left of a docker.io that
/// was removed long ago.
const NUKES: [&str; 2] =
    ["/usr/share/docker.io/contrib/nuke-graph-directory.sh", "/var/lib/docker/nuke-graph-directory.sh"];

/// Why something is left.
#[derive(Debug, Error)]
pub enum RemoveError {
    /// The machine.
    #[error(transparent)]
    Host(#[from] HostError),
    /// It is another node.
    #[error("this machine is {0} of the cluster {1}: nothing was removed")]
    Another(Hostname, ClusterName),
    /// It is another node, by its certificate.
    #[error("this machine's certificate is not the one of {0} in this cluster: nothing was removed")]
    OtherCertificate(Hostname),
    /// It cannot be seen which node it is.
    #[error(
        "this machine may be another node than {0}: {STATE} has no payload and no certificate that can be read. Nothing was \
         removed; if it is the right machine, log in and type: sudo {BINARY} remove"
    )]
    Unknown(Hostname),
    /// The owner's packages need ours.
    #[error(
        "{} would be removed with {}: nothing was removed. If it may go, type on this node: sudo apt-get remove {}; to keep \
         Docker: sudo {BINARY} remove", others.join(", "), ours.join(", "), others.join(" ")
    )]
    Needed {
        /// What was to be purged.
        ours: Vec<String>,
        /// What needs it.
        others: Vec<String>,
    },
    /// The journal, which says what was here before us.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The swarm.
    #[error(transparent)]
    Swarm(#[from] AdoptError),
}

/// Which node is meant; a machine may have another's address by now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meant {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: Hostname,
}

/// The packages that [`remove`] purges with Docker: those that the agent installed, if nothing of the owner's needs them. apt is
/// asked; nothing is changed. `None`: Docker is not ours to remove.
///
/// # Errors
/// [`RemoveError::Needed`]; [`RemoveError::Another`].
pub fn packages(host: &dyn Host, meant: Option<&Meant>) -> Result<Option<Vec<String>>, RemoveError> {
    read_card(host, meant)?;
    // It was written with the packages, and stays as long as they do, whatever became of the agent meanwhile.
    if host.read(Path::new(DROP_IN))?.is_none() {
        return Ok(None);
    }
    let before = owners_packages(host)?;
    let installed = owners::installed(host);
    let is_ours = |package: &&str| !before.contains(*package) && installed.contains(*package);
    let mut ours: Vec<_> = owners::DOCKER.into_iter().filter(is_ours).collect();
    while !ours.is_empty() {
        let simulated = host.run(&apt::purge(&ours, true))?;
        let others = apt::removals(&simulated).into_iter().filter(|name| !ours.contains(&name.as_str()));
        let others: Vec<_> = others.collect();
        if others.is_empty() {
            break;
        }
        if !ours.iter().any(|package| SHARED.contains(package)) {
            return Err(RemoveError::Needed { ours: owned(&ours), others });
        }
        ours.retain(|package| !SHARED.contains(package));
    }
    Ok(Some(owned(&ours)))
}

/// The packages of Docker's that the owner had before us. Where no journal tells, they are all that the owner may have had: all but
/// the engine, because the drop-in is there only where the agent installed that.
fn owners_packages(host: &dyn Host) -> Result<BTreeSet<String>, RemoveError> {
    let state = Path::new(STATE);
    // The journal that took the place of a damaged one knows nothing of what was there before.
    let was_damaged = host.read(&state.join(journal::DAMAGED))?.is_some();
    match journal::read(host, &state.join(journal::FILE))? {
        // One without an installation is of an agent that was brought again, to the Docker of the one before.
        Stored::Valid(journal) if !was_damaged && !matches!(journal.install, Progress::Unknown) => {
            Ok(journal.owners_packages)
        }
        Stored::Valid(_) | Stored::Absent | Stored::Damaged { .. } => {
            let unsure = owners::DOCKER.into_iter().filter(|package| !owners::ENGINES.contains(package));
            Ok(unsure.map(str::to_owned).collect())
        }
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// The payload, if it can be read.
fn read_card(host: &dyn Host, meant: Option<&Meant>) -> Result<Option<Card>, RemoveError> {
    let json = host.read(&Path::new(STATE).join(CARD))?;
    let card = json.as_ref().and_then(|json| Card::from_json(json).ok());
    if let Some(meant) = meant {
        judge(host, card.as_ref(), json.is_some(), meant)?;
    }
    Ok(card)
}

/// Removes what we installed, if this is the node that is meant. With `docker`, Docker too, as far as [`packages`] says.
///
/// # Errors
/// See [`RemoveError`]; may be repeated.
pub async fn remove(
    host: &dyn Host,
    engine: &Engine,
    docker: bool,
    meant: Option<&Meant>,
) -> Result<(), RemoveError> {
    let unit = Path::new("/etc/systemd/system").join(UNIT);
    let card = read_card(host, meant)?;
    // Before anything is changed: it may not be possible.
    let packages = if docker { packages(host, meant)? } else { None };
    if host.read(&unit)?.is_some() {
        host.run(&Program::new("systemctl", ["disable", "--now", UNIT]))?;
    }
    // Without our payload the swarm is not ours to leave.
    if card.is_some() && engine.version().await.is_ok() {
        adopt::leave(engine).await?;
    }
    if let Some(packages) = packages {
        remove_docker(host, &packages)?;
    }
    memory_cgroup::restore(host)?;
    host.remove(Path::new(announce::FILE))?;
    host.remove(&unit)?;
    host.run(&Program::new("systemctl", ["daemon-reload"]))?;
    let folder = Path::new(BINARY).parent().unwrap_or(Path::new(BINARY));
    let words = ["-r", "-f", "--", &folder.to_string_lossy(), STATE];
    host.run(&Program::new("rm", words))?;
    Ok(())
}

/// Refuses if this machine is, or may be, another node than the one that is meant. Without a payload that can be read, its
/// certificate tells. Without either there is nobody that this machine could be: the state goes last.
fn judge(host: &dyn Host, card: Option<&Card>, has_payload: bool, meant: &Meant) -> Result<(), RemoveError> {
    if let Some(card) = card {
        if card.cluster_id != meant.cluster || card.node != meant.node {
            return Err(RemoveError::Another(card.node.clone(), card.cluster.clone()));
        }
        return Ok(());
    }
    let pem = host.read(&Path::new(STATE).join(NODE_CERT))?;
    match pem.as_deref().map(holder_of_pem) {
        Some(Some(Identity { cluster, holder: Holder::Node { name, .. } })) => {
            let is_meant = cluster == meant.cluster && name == meant.node;
            if is_meant { Ok(()) } else { Err(RemoveError::OtherCertificate(meant.node.clone())) }
        }
        Some(_) => Err(RemoveError::Unknown(meant.node.clone())),
        None if has_payload => Err(RemoveError::Unknown(meant.node.clone())),
        None => Ok(()),
    }
}

fn remove_docker(host: &dyn Host, packages: &[String]) -> Result<(), HostError> {
    if !packages.is_empty() {
        for script in NUKES {
            host.remove(Path::new(script))?;
        }
        let packages: Vec<_> = packages.iter().map(String::as_str).collect();
        host.run(&apt::purge(&packages, false))?;
    }
    let settings = host.read(Path::new(DAEMON))?;
    if settings.is_some_and(|settings| is_ours(&settings)) {
        host.remove(Path::new(DAEMON))?;
    }
    repository::remove(host)?;
    proxy::remove(host)?;
    // Last: it says that Docker is ours to remove.
    host.remove(Path::new(DROP_IN))
}
