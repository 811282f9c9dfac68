//! Our software off machines again, over SSH: of nodes that were taken out of a `hostnames.yaml`, and of all after the end.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cluster::host::Host;
use cluster::name::{ClusterId, Hostname};
use cluster::secret::Secret;
use thiserror::Error;

use super::exec::summary::Summary;
use crate::error::{Failure, Kind};
use crate::interrupt::Interrupt;
use crate::remote::printable;
use crate::report::Progress;
use crate::running::deliver::removal;
use crate::ssh::Ssh;
use crate::ssh::batch::{End, Limits};
use crate::ssh::collect::collect;
use crate::ssh::trouble::Around;

/// How long a machine may take: removing Docker's packages is a Pi's work of minutes.
const PATIENCE: Duration = Duration::from_secs(15 * 60);
/// Most machines at once.
const JOBS: usize = 64;

#[derive(Debug, Error)]
enum RemovalError {
    #[error("cannot talk to the machines")]
    Run(#[source] io::Error),
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
}

/// How the machines are reached.
#[derive(Debug)]
pub(super) struct Reach<'a> {
    /// What leads to them.
    pub(super) ssh: Ssh,
    /// The configuration that stands for the user's own.
    pub(super) own: Option<&'a Path>,
    /// Who logs in.
    pub(super) user: Option<String>,
    /// The cluster's own configuration.
    pub(super) ours: Option<&'a Path>,
    /// Whose nodes they are.
    pub(super) cluster: ClusterId,
    /// Which, in the order of the machines.
    pub(super) nodes: Vec<Hostname>,
    /// What `sudo` may ask for.
    pub(super) password: Option<&'a Secret<String>>,
}

/// How that went.
#[derive(Debug)]
pub(super) struct Removed {
    /// Whoever is free of it.
    pub(super) nodes: Vec<Hostname>,
    /// The sentence for when all went well; otherwise as [`Summary::judge`], with what the machines said.
    pub(super) verdict: Result<String, Failure>,
}

/// Removes the agent, and with `docker` the Docker that it installed.
///
/// # Errors
/// When no machine can be asked from here.
pub(super) fn remove(reach: Reach<'_>, docker: bool, progress: Progress) -> Result<Removed, Failure> {
    let failed = |error| Failure::new(Kind::Failed, error);
    let interrupt = Interrupt::listen().map_err(|source| failed(RemovalError::Signals(source)))?;
    let hosts: Vec<Host> = reach.ssh.hosts().to_vec();
    let (ours, own) = (reach.ours.map(Path::to_owned), reach.own.map(Path::to_owned));
    let around = Around { ours, own, user: reach.user, ..Around::default() };
    let nodes = reach.nodes.iter().enumerate();
    let jobs =
        nodes.map(|(index, node)| removal(index, (&reach.cluster, node), docker, reach.password)).collect();
    let limits = Limits { jobs: JOBS, timeout: Some(PATIENCE) };
    let (mut summary, mut free) = (Summary::new(&hosts, around), Vec::new());
    let ran = collect(&Arc::new(reach.ssh), jobs, limits, &interrupt, |index, answer| {
        let Some(host) = hosts.get(index) else { return };
        match (&answer.end, answer.err.lines().last()) {
            (End::Exit(0), _) => {
                free.extend(reach.nodes.get(index).cloned());
                progress.say(&format!("{host}: our software is gone"));
            }
            (_, Some(said)) => progress.say(&format!("{host}: {}", printable(said))),
            _ => {}
        }
        summary.note(index, answer.end.clone());
    });
    ran.map_err(|source| failed(RemovalError::Run(source)))?;
    Ok(Removed { nodes: free, verdict: summary.judge(interrupt.asked()) })
}
