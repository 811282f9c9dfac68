//! Which machines are nodes from now on, and which are none any more, from what was found and who was a node before. Pure.
//!
//! Nobody is taken out by mistake: a machine that could not be asked may be any node of before, so as long as there is one of
//! which nobody can say which it is, all of them stay. The same goes for a machine that has the name of another.

use cluster::identity::Role;
use cluster::name::{ClusterId, Hostname};

use super::check::{Entry, Obstacle, Verdict, machine};
use super::probe::{Found, Root};
use crate::pki::{Running, RunningHost};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// The nodes from now on: managers first, otherwise in the file's order.
    pub hosts: Vec<RunningHost>,
    /// Nodes of before that the file has no more.
    pub gone: Vec<RunningHost>,
    /// Those of the nodes that the file has no more, unless one of its machines that could not be asked, or that has the name of
    /// another, is one of them.
    pub held: Vec<RunningHost>,
}

/// Makes the plan: those that can be nodes, and those that were and cannot be brought in now; these stay what they were.
pub fn plan(entries: &[Entry], verdicts: &[Verdict], earlier: Option<&Running>) -> Plan {
    let earlier = earlier.map_or(&[][..], |earlier| earlier.hosts.as_slice());
    let is_fit = |before: &RunningHost| {
        verdicts.iter().filter_map(Verdict::candidate).any(|candidate| candidate.name == before.name)
    };
    let (mut hosts, mut doubt) = (Vec::<RunningHost>::new(), false);
    for (entry, verdict) in entries.iter().zip(verdicts) {
        if let Verdict::Fit(candidate) = verdict {
            let literal = entry.host.name.parse().ok();
            // Workers have to find their managers; nobody has to find a worker.
            let own = candidate.found.address.filter(|_| entry.role == Role::Manager);
            // Behind a port may be another machine than the one that has the address.
            let (first, second) =
                if entry.host.port.is_some() { (candidate.found.address, literal) } else { (literal, own) };
            hosts.push(RunningHost {
                host: entry.host.to_string(),
                name: candidate.name.clone(),
                role: entry.role,
                address: entry.address.or(first).or(second),
                host_key: Some(candidate.host_key.clone()),
            });
            continue;
        }
        let named = |before: &RunningHost| is_named(entry, verdict.found(), &before.name);
        let is_open =
            |before: &&RunningHost| !is_fit(before) && hosts.iter().all(|host| host.name != before.name);
        let open = || earlier.iter().filter(is_open);
        let before =
            open().find(|before| named(before)).or_else(|| open().find(|before| is_at(entry, before)));
        // A name that nobody had says enough. One that is another machine's says nothing of which node this was.
        let is_unknown = before.is_none() && verdict.found().is_none();
        let is_lost = is_other(verdict) && !before.is_some_and(|before| is_at(entry, before));
        doubt |= entry.name.is_none() && (is_unknown || is_lost);
        let before = before.cloned();
        hosts.extend(before);
    }
    let is_missing = |before: &&RunningHost| hosts.iter().all(|host| host.name != before.name);
    let missing: Vec<_> = earlier.iter().filter(is_missing).cloned().collect();
    let (gone, held) = if doubt { (Vec::new(), missing) } else { (missing, Vec::new()) };
    hosts.extend(held.iter().cloned());
    hosts.sort_by_key(|host| host.role != Role::Manager);
    Plan { hosts, gone, held }
}

/// Whether a machine has the name of another.
const fn is_other(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Unfit(Obstacle::OtherMachine { .. } | Obstacle::NameTaken { .. }, _))
}

/// Whether a machine is the node of this name, as the file or the machine itself says.
fn is_named(entry: &Entry, found: Option<&Found>, name: &Hostname) -> bool {
    match &entry.name {
        Some(planned) => planned == name,
        None => found.is_some_and(|found| found.name == name.as_str()),
    }
}

/// Whether a machine is where this node was, however that is written.
fn is_at(entry: &Entry, before: &RunningHost) -> bool {
    entry.name.is_none() && machine::is_place(entry, before)
}

/// Whether each of these managers was seen, and is none of this cluster's any more: nobody has to leave their swarm then, and
/// nobody could be told to.
pub fn is_over<'a>(
    mut managers: impl Iterator<Item = &'a Hostname>,
    verdicts: &[Verdict],
    ours: &ClusterId,
) -> bool {
    // Without root what is there cannot be seen; a card that is not understood has a certificate beside it.
    let is_free = |found: &Found| match (&found.root, &found.card) {
        (Root::No(_), _) => false,
        (_, Some(card)) => card.cluster_id != *ours,
        (_, None) => found.certificate.is_none(),
    };
    managers.all(|manager| {
        // What another machine says under a manager's name is not what the manager says.
        let own = || verdicts.iter().filter(|verdict| !is_other(verdict)).filter_map(Verdict::found);
        let all = || own().filter(|found| found.name == manager.as_str());
        all().next().is_some() && all().all(is_free)
    })
}

#[cfg(test)]
mod tests;
