//! Our software off machines again, over SSH: of nodes that were taken out of a `hostnames.yaml`, and of all after the end.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cluster::host::Host;
use cluster::name::{ClusterId, Hostname};
use cluster::range::fold;
use cluster::secret::Secret;
use cluster::text::printable;
use thiserror::Error;

use super::exec::summary::Summary;
use crate::error::{Failure, Kind};
use crate::interrupt::Interrupt;
use crate::report::Progress;
use crate::running::deliver::{Docker, removal};
use crate::ssh::Ssh;
use crate::ssh::batch::{End, Limits};
use crate::ssh::collect::{Answer, collect};
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
    pub(super) ssh: Arc<Ssh>,
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

/// Begins the line in which an agent names the packages that would go.
const PURGES: &str = "purges: ";

/// Asks the machines which packages would go with their Docker, and returns a line for each answer, with all that gave it.
/// Nothing is changed. Machines that cannot be reached are left out: the removal names them.
///
/// # Errors
/// When no machine can be asked from here.
pub(super) fn preview(reach: &Reach<'_>, interrupt: &Interrupt) -> Result<Vec<String>, Failure> {
    let nodes = reach.nodes.iter().enumerate();
    let simulate = |(index, node)| removal(index, (&reach.cluster, node), Docker::Simulate, reach.password);
    let limits = Limits { jobs: JOBS, timeout: Some(PATIENCE) };
    let answers = collect(&reach.ssh, nodes.map(simulate).collect(), limits, interrupt, |_, _| ())
        .map_err(|source| Failure::new(Kind::Failed, RemovalError::Run(source)))?;
    let said = answers.iter().filter_map(|(index, answer)| Some((reach.nodes.get(*index)?, answer)));
    Ok(shown(said))
}

/// Equal answers once.
fn shown<'a>(answers: impl Iterator<Item = (&'a Hostname, &'a Answer)>) -> Vec<String> {
    let mut said: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (node, answer) in answers {
        if let Some(line) = say(answer) {
            said.entry(line).or_default().push(node.to_string());
        }
    }
    said.into_iter().map(|(line, nodes)| format!("{}: {line}", fold(&nodes))).collect()
}

/// What a machine said, in words.
fn say(Answer { end, out, err, .. }: &Answer) -> Option<String> {
    match end {
        End::Exit(0) => {
            let packages = out.lines().find_map(|line| line.trim_end().strip_prefix(PURGES.trim_end()));
            Some(match packages.map(str::trim) {
                Some("") => "no package goes".to_owned(),
                Some(packages) => format!("purges the packages {}", printable(packages)),
                None => "has no agent".to_owned(),
            })
        }
        // clap's exit code for a command line that it does not know.
        End::Exit(2) => Some(
            "its agent is an older one and does not say which packages go: Docker's, and what needs them"
                .to_owned(),
        ),
        End::Exit(_) => err.lines().last().map(printable),
        _ => None,
    }
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
    let docker = if docker { Docker::Remove } else { Docker::Keep };
    let jobs =
        nodes.map(|(index, node)| removal(index, (&reach.cluster, node), docker, reach.password)).collect();
    let limits = Limits { jobs: JOBS, timeout: Some(PATIENCE) };
    let (mut summary, mut free) = (Summary::new(&hosts, around), Vec::new());
    let ran = collect(&reach.ssh, jobs, limits, &interrupt, |index, answer| {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_answers_to_what_goes_are_shown_once() {
        let answer = |end, out: &str, err: &str| Answer {
            end,
            out: out.to_owned(),
            err: err.to_owned(),
            host_key: None,
        };
        let needed = "podman would be removed with runc: nothing was removed.\u{1b}[2J";
        let answers = [
            answer(End::Exit(0), "Welcome!\npurges: docker-ce docker-ce-cli containerd.io\n", ""),
            answer(End::Exit(0), "purges: \n", ""),
            answer(End::Exit(0), "purges: docker-ce docker-ce-cli containerd.io\n", ""),
            answer(End::Exit(0), "", ""),
            answer(End::Exit(2), "", "error: unexpected argument '--simulate' found\n"),
            answer(End::Exit(1), "", &format!("warning\n{needed}\n")),
            answer(End::TimedOut { after: PATIENCE, got_in: true }, "", ""),
        ];
        let names: Vec<_> =
            (0..7).map(|number| Hostname::try_from(format!("red0{number}").as_str()).unwrap()).collect();
        assert_eq!(
            shown(names.iter().zip(&answers)),
            [
                "red03: has no agent",
                "red04: its agent is an older one and does not say which packages go: Docker's, and what needs them",
                "red01: no package goes",
                "red05: podman would be removed with runc: nothing was removed.\u{fffd}[2J",
                "red[00,02]: purges the packages docker-ce docker-ce-cli containerd.io",
            ]
        );
    }
}
