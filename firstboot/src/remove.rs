//! Taking our software off a machine again: the agent, its state and its keys, and Docker if the agent installed it.
//!
//! Power or connection lost here: done again. The state goes last, because it says what there is to do. Images and volumes
//! of Docker stay: they are the user's.

use std::path::Path;

use cluster::card::{CARD, Card, DockerSource};
use thiserror::Error;

use crate::adopt::{self, AdoptError, UNIT};
use crate::engine::Engine;
use crate::host::{Host, HostError, Program};
use crate::journal::{self, Progress, Stored};
use crate::seed::{BINARY, STATE};
use crate::steps::docker::plan::{KEYRING, PREFERENCES, SOURCES, System, plan};
use crate::steps::docker::settings::{DAEMON, DROP_IN};

/// What Debian's `docker.io` brings along.
const BROUGHT_ALONG: [&str; 2] = ["containerd", "runc"];

/// Why something is left.
#[derive(Debug, Error)]
pub enum RemoveError {
    /// The machine.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The swarm.
    #[error(transparent)]
    Swarm(#[from] AdoptError),
}

/// Removes what we installed. With `docker`, Docker too, unless it was there before us.
///
/// # Errors
/// See [`RemoveError`]; may be repeated.
pub async fn remove(host: &dyn Host, engine: &Engine, docker: bool) -> Result<(), RemoveError> {
    let state = Path::new(STATE);
    let unit = Path::new("/etc/systemd/system").join(UNIT);
    if host.read(&unit)?.is_some() {
        host.run(&Program::new("systemctl", ["disable", "--now", UNIT]))?;
    }
    let card = host.read(&state.join(CARD))?.and_then(|json| Card::from_json(&json).ok());
    // Without our payload the swarm is not ours to leave.
    if card.is_some() && engine.version().await.is_ok() {
        adopt::leave(engine).await?;
    }
    if docker
        && let Some(card) = &card
        && was_installed_by_us(host)
    {
        remove_docker(host, card)?;
    }
    host.remove(&unit)?;
    host.run(&Program::new("systemctl", ["daemon-reload"]))?;
    let folder = Path::new(BINARY).parent().unwrap_or(Path::new(BINARY));
    let words = ["-r", "-f", "--", &folder.to_string_lossy(), STATE];
    host.run(&Program::new("rm", words))?;
    Ok(())
}

fn was_installed_by_us(host: &dyn Host) -> bool {
    match journal::read(host, &Path::new(STATE).join(journal::FILE)) {
        Stored::Valid(journal) => journal.install != Progress::Never,
        Stored::Absent | Stored::Damaged(_) => false,
    }
}

fn remove_docker(host: &dyn Host, card: &Card) -> Result<(), HostError> {
    let arch = host.run(&Program::new("dpkg", ["--print-architecture"]))?;
    let release = host.read(Path::new("/etc/os-release"))?.unwrap_or_default();
    let (release, arch) = (String::from_utf8_lossy(&release), String::from_utf8_lossy(&arch));
    let mut packages =
        System::read(&release, &arch).map(|system| plan(&card.docker, &system).packages).unwrap_or_default();
    if card.docker.source == DockerSource::Debian {
        packages.extend(BROUGHT_ALONG.map(str::to_owned));
    }
    // A purge of what was never installed is an error for names that apt does not know.
    packages.retain(|package| host.run(&Program::new("dpkg", ["--status", package])).is_ok());
    if !packages.is_empty() {
        let mut purge = Program::new("apt-get", ["purge", "--yes", "-q"]);
        purge.args.extend(packages);
        purge.env.push(("DEBIAN_FRONTEND".to_owned(), "noninteractive".to_owned()));
        host.run(&purge)?;
    }
    for file in [DAEMON, DROP_IN, SOURCES, KEYRING, PREFERENCES] {
        host.remove(Path::new(file))?;
    }
    Ok(())
}
