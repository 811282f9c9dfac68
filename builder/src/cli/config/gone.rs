//! Nodes that the file has no more: they are drained, leave, their entries go, and then our software does.

use std::io;
use std::time::Duration;

use cluster::host::Host;
use cluster::identity::Role;
use cluster::name::{ClusterId, Hostname};
use thiserror::Error;

use super::bring::Way;
use super::field::Field;
use crate::cli::ask;
use crate::cli::removal::{self, Reach};
use crate::cli::rm::{self, Fate};
use crate::cli::status::{Screen, Style};
use crate::error::{Failure, Kind, again, builder, hint};
use crate::pki::{self, RunningHost};
use crate::remote::Manager;
use crate::running::check::Verdict;
use crate::running::deliver::PROGRAM;
use crate::running::plan::is_over;
use crate::ssh::Ssh;

/// How long a node may take to leave. The managers take it out by force before that.
const PATIENCE: Duration = Duration::from_secs(180);

/// Why a node that is not in the file goes on being one.
#[derive(Debug, Error)]
enum GoneError {
    #[error("{name} is not in the file any more and cannot be taken out: {why}")]
    Refused { name: String, why: String },
    #[error("{} still in the swarm", .0.join(", "))]
    Remaining(Vec<String>),
}

/// Asks whether they are to go, and whether other machines are to leave another swarm.
///
/// # Errors
/// [`Kind::Usage`] when there is nobody to ask, [`Kind::Failed`] without a yes.
pub(super) fn confirm(gone: &[RunningHost], taken_over: &[String], way: &Way<'_>) -> Result<(), Failure> {
    let mut what = Vec::new();
    if !gone.is_empty() {
        let names: Vec<_> = gone.iter().map(|host| format!("{} ({})", host.name, host.host)).collect();
        what.push(format!(
            "{}: not in the file any more. What runs there is started elsewhere, the node leaves the swarm, and our agent is \
             removed.",
            names.join(", ")
        ));
    }
    if !taken_over.is_empty() {
        let names = taken_over.join(", ");
        what.push(format!("{names}: in another swarm, to be left. Services that only run there are lost."));
    }
    if what.is_empty() {
        return Ok(());
    }
    let again = again(["config"]).with(["--yes"]);
    Ok(ask::confirm_or_interrupt(&what.join("\n"), again, way.interrupt)?)
}

/// Takes them out of the swarm, as the managers of before see it. Where there is no swarm any more, or not yet, there is nothing
/// to be taken out of.
///
/// # Errors
/// When no manager answers, one refuses, or somebody is not gone in time: then they all are still planned.
pub(super) fn take_out(
    field: &Field,
    gone: &[RunningHost],
    verdicts: &[Verdict],
    way: &Way<'_>,
) -> Result<(), Failure> {
    if gone.is_empty() {
        return Ok(());
    }
    let Some(project) = field.project_before() else { return Ok(()) };
    let identities = pki::existing(&project)?;
    let nodes = project.cluster.nodes.iter().filter(|node| node.role == Role::Manager);
    if is_over(nodes.map(|node| &node.name), verdicts, &identities.cluster_id) {
        return Ok(());
    }
    let mut manager = Manager::new(&project, &identities, None)?;
    let names: Vec<_> = gone.iter().map(|host| host.name.to_string()).collect();
    let who = names.join(", ");
    let style = Style { json: false, quiet: way.progress.is_silent(), terminal: false };
    let (mut out, mut talk) = (io::sink(), io::stderr());
    let mut screen = Screen::new(style, false, &mut out, &mut talk);
    let stop = || way.interrupt.asked();
    let fates = rm::take_out(&mut manager, names, PATIENCE, &mut screen, &stop).map_err(|error| {
        let failure = Failure::from(error).hint(format!(
            "not in the file any more: {who}. The managers of before have to be told: put it back, or run the same command \
             again when they answer"
        ));
        let Some(dead) = manager_of(gone) else { return failure };
        failure.hint(format!(
            "if {dead} is gone for good, call the new one the same, there: sudo hostnamectl set-hostname {dead}"
        ))
    })?;
    let mut remaining = Vec::new();
    for (name, fate) in fates {
        match fate {
            // Who never came as far as the managers need not leave.
            Fate::Gone | Fate::Unknown(_) => {}
            Fate::Going => remaining.push(name),
            Fate::Refused(why) => {
                return Err(Failure::new(Kind::NotAsWanted, GoneError::Refused { name, why }).hint(hint![
                    "put it back into the file, or end the swarm first: ",
                    builder(["kill"]),
                    "; then run the same command again"
                ]));
            }
        }
    }
    if remaining.is_empty() {
        return Ok(());
    }
    Err(Failure::new(Kind::NotAsWanted, GoneError::Remaining(remaining))
        .hint("the managers go on with it: run the same command again in a while"))
}

fn manager_of(gone: &[RunningHost]) -> Option<&Hostname> {
    gone.iter().find(|host| host.role == Role::Manager).map(|host| &host.name)
}

/// Takes our software off the machines, but for those that are brought in again under another name, and says who is free of
/// it. They are no nodes any more, so whoever cannot be reached, for it may be dead, only keeps it.
///
/// # Errors
/// When no machine can be asked from here.
pub(super) fn clean(
    field: &Field,
    verdicts: &[Verdict],
    (gone, cluster): (&[RunningHost], &ClusterId),
    way: &Way<'_>,
    own: Option<&std::path::Path>,
) -> Result<Vec<Hostname>, Failure> {
    let progress = way.progress;
    let taken: Vec<_> = verdicts.iter().filter_map(|verdict| verdict.found()?.address).collect();
    let is_free = |host: &Host| {
        field.entries.iter().all(|entry| (&entry.host.name, entry.host.port) != (&host.name, host.port))
            && taken.iter().all(|address| address.to_string() != host.name)
    };
    let gone =
        gone.iter().filter_map(|gone| Some((Host::try_from(gone.host.as_str()).ok()?, gone.name.clone())));
    let (hosts, nodes): (Vec<_>, Vec<_>) = gone.filter(|(host, _)| is_free(host)).unzip();
    if hosts.is_empty() {
        return Ok(Vec::new());
    }
    let named: Vec<_> = nodes.iter().zip(&hosts).map(|(node, host)| (node.clone(), host.clone())).collect();
    let ssh = Ssh::open(hosts, field.ssh_config()?.as_deref(), field.user.clone(), own)?;
    let (user, password) = (field.user.clone(), way.password());
    let reach = Reach {
        ssh: std::sync::Arc::new(ssh),
        own,
        user,
        ours: None,
        cluster: cluster.clone(),
        nodes,
        password,
    };
    let free = removal::remove(reach, false, progress)?.nodes;
    for (node, host) in named.iter().filter(|(node, _)| !free.contains(node)) {
        progress.say(&format!(
            "{node} ({host}) is out of the swarm, but our agent may still be there; to remove it, there: sudo {PROGRAM} \
             remove"
        ));
    }
    Ok(free)
}
