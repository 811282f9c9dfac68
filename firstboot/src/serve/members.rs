//! Which entries of Swarm's node list belong to which planned node.
//!
//! Docker's host name is the word of the machine itself, so an entry is a node's only if the node has proved it (see
//! [`crate::proof`]). Managers need no proof: they control the swarm anyway. Agents that cannot prove anything are known by
//! the host name, as they were before there were proofs.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use cluster::card::Card;
use cluster::identity::{Holder, Role};
use cluster::name::Hostname;
use cluster::wire::{Proof, Report, Stranger};

use tokio::time::timeout;

use super::{Api, Peer};
use crate::agent::status::chain;
use crate::engine::Node;
use crate::journal::Journal;
use crate::proof::Statement;

/// How long the engine has to name the swarm's root: less than a node waits for the answer to its report.
const PATIENCE: Duration = Duration::from_secs(2);

/// The node list, with the owner of each entry.
#[derive(Debug)]
pub(crate) struct Members<'n> {
    entries: Vec<(&'n Node, Option<Hostname>)>,
}

impl<'n> Members<'n> {
    /// `proved` has the Swarm ids of each node, `by_name` the nodes whose agents cannot prove anything.
    pub(crate) fn new(
        nodes: &'n [Node],
        proved: &BTreeMap<Hostname, Vec<String>>,
        by_name: &BTreeSet<Hostname>,
    ) -> Self {
        let entries = nodes.iter().map(|node| (node, owner(node, proved, by_name).cloned()));
        Self { entries: entries.collect() }
    }

    /// The entries of a planned node: one, and those of its earlier lives.
    pub(crate) fn of(&self, name: &Hostname) -> impl Iterator<Item = &'n Node> {
        self.entries.iter().filter(move |(_, owner)| owner.as_ref() == Some(name)).map(|(node, _)| *node)
    }

    /// The planned node that an entry belongs to.
    pub(crate) fn owner(&self, id: &str) -> Option<&Hostname> {
        self.entries.iter().find(|(node, _)| node.id == id)?.1.as_ref()
    }

    /// All entries with their owners.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'n Node, Option<&Hostname>)> {
        self.entries.iter().map(|(node, owner)| (*node, owner.as_ref()))
    }

    /// Entries that belong to no planned node.
    pub(crate) fn strangers(&self) -> impl Iterator<Item = &'n Node> {
        self.iter().filter(|(_, owner)| owner.is_none()).map(|(node, _)| node)
    }

    /// The same for the board. A node that has just joined has not proved its entry yet: that one is not shown.
    pub(super) fn unclaimed(&self, heard: &HashMap<Hostname, (Report, Instant)>) -> Vec<Stranger> {
        let is_claimed = |node: &&Node| {
            let claims = |(name, (report, _)): (&Hostname, &(Report, Instant))| {
                name.as_str() == node.description.hostname && report.swarm_node.as_ref() == Some(&node.id)
            };
            heard.iter().any(claims)
        };
        let mut strangers: Vec<_> = self.strangers().filter(|node| !is_claimed(node)).collect();
        strangers.sort_by_key(|node| (&node.description.hostname, &node.id));
        let shown = strangers.into_iter().map(|node| Stranger {
            id: node.id.clone(),
            name: node.description.hostname.clone(),
            state: node.status.state.clone(),
        });
        shown.collect()
    }
}

/// Two nodes that have proved the same entry share a key: it is neither's.
fn owner<'a>(
    node: &Node,
    proved: &'a BTreeMap<Hostname, Vec<String>>,
    by_name: &'a BTreeSet<Hostname>,
) -> Option<&'a Hostname> {
    let mut owners = proved.iter().filter(|(_, ids)| ids.contains(&node.id)).map(|(name, _)| name);
    match (owners.next(), owners.next()) {
        (Some(owner), None) => Some(owner),
        (Some(_), Some(_)) => None,
        (None, _) => by_name.iter().find(|name| name.as_str() == node.description.hostname),
    }
}

/// The nodes that are known by their host names: those whose last report came from an agent that cannot prove anything, and
/// those that were members with such an agent and have not been heard of since this manager started.
fn known_by_name(card: &Card, journal: &Journal, agents: &HashMap<Hostname, bool>) -> BTreeSet<Hostname> {
    let by_name = card.nodes.iter().map(|planned| &planned.name).filter(|name| match agents.get(*name) {
        Some(proves) => !proves,
        None => journal.joined.contains(*name) && !journal.entries.contains_key(*name),
    });
    by_name.cloned().collect()
}

impl Api {
    /// The owners of these entries, as far as this manager knows.
    pub(crate) fn members<'n>(&self, nodes: &'n [Node]) -> Members<'n> {
        let agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.pi.journal.look(|journal| {
            Members::new(nodes, &journal.entries, &known_by_name(&self.pi.card, journal, &agents))
        })
    }

    /// Notes whether a node's agent can prove its entry.
    pub(super) fn note_agent(&self, name: &Hostname, proves: bool) {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), proves);
    }

    /// Notes entries that are proved, or claimed by a manager.
    pub(crate) fn claim(&self, name: &Hostname, ids: &[String]) {
        // On a full disk it counts all the same.
        let kept = self.pi.journal.enact(|journal| {
            for id in ids {
                journal.claim(name, id);
            }
        });
        if let Err(error) = kept {
            tracing::debug!("{}", chain(&error));
        }
    }

    /// Judges what a node says of its own entry; returns the nonce for the proof that the manager wants next.
    pub(super) async fn identify(
        &self,
        peer: &Peer,
        report: &Report,
        proof: Option<Proof>,
    ) -> Option<String> {
        let Holder::Node { role, name } = &peer.identity.holder else { return None };
        let id = report.swarm_node.as_ref()?;
        if self.pi.journal.look(|journal| journal.entries.get(name).is_some_and(|ids| ids.contains(id))) {
            return None;
        }
        if *role == Role::Manager {
            if self.entries.allows(name, Instant::now()) {
                self.claim(name, std::slice::from_ref(id));
            }
            return None;
        }
        if !report.proves {
            return None;
        }
        // Only what is in the list has an owner; one that has just joined is there in a moment.
        let nodes = self.nodes.read(&self.pi.engine).await?;
        if nodes.iter().all(|node| node.id != *id) {
            return None;
        }
        let asked = self.nonces.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        if let Some((proof, nonce)) = proof.zip(asked) {
            let statement = Statement {
                cluster: &self.pi.card.cluster_id,
                node: name,
                key: &peer.key,
                entry: id,
                nonce: &nonce,
            };
            let judged = match timeout(PATIENCE, self.pi.engine.swarm()).await {
                Ok(Ok(swarm)) => {
                    statement.check(&proof, &swarm.tls_info.trust_root).map_err(|error| chain(&error))
                }
                Ok(Err(error)) => Err(chain(&error)),
                Err(_) => Err("Docker does not answer".to_owned()),
            };
            match judged {
                // A node that joins without end wears out neither disk nor log. It is asked again with its next report.
                Ok(()) if !self.entries.allows(name, Instant::now()) => return None,
                Ok(()) => {
                    if let Some(times) = self.logged.count((peer.key.clone(), "proof")) {
                        tracing::info!("{name} has proved that it is {id}{times}");
                    }
                    self.claim(name, std::slice::from_ref(id));
                    return None;
                }
                // While Swarm changes its root this happens to every node.
                Err(why) => tracing::debug!("{name} has not proved that it is {id}: {why}"),
            }
        }
        let nonce = format!("{:032x}", rand::random::<u128>());
        let mut nonces = self.nonces.lock().unwrap_or_else(PoisonError::into_inner);
        nonces.insert(name.clone(), nonce.clone());
        Some(nonce)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    fn name(text: &str) -> Hostname {
        Hostname::try_from(text).unwrap()
    }

    /// The list as it is if each entry belongs to the node that it is called after.
    pub(crate) fn as_called(nodes: &[Node]) -> Members<'_> {
        let names = nodes.iter().map(|node| name(&node.description.hostname)).collect();
        Members::new(nodes, &BTreeMap::new(), &names)
    }

    fn node(id: &str, hostname: &str) -> Node {
        let json = json!({"ID": id, "Description": {"Hostname": hostname}, "Status": {"State": "ready"}});
        serde_json::from_value(json).unwrap()
    }

    fn proved(entries: &[(&str, &[&str])]) -> BTreeMap<Hostname, Vec<String>> {
        let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
        entries.iter().map(|(node, entries)| (name(node), ids(entries))).collect()
    }

    fn owners(members: &Members<'_>) -> Vec<Option<String>> {
        members.iter().map(|(_, owner)| owner.map(ToString::to_string)).collect()
    }

    #[test]
    fn an_entry_is_whose_proof_it_has_whatever_it_is_called() {
        let nodes = [node("a", "red01"), node("b", "red01"), node("c", "kitchen"), node("d", "red02")];
        let proved = proved(&[("red01", &["b"]), ("red02", &["c"])]);
        let members = Members::new(&nodes, &proved, &BTreeSet::new());
        let (red01, red02) = (Some("red01".to_owned()), Some("red02".to_owned()));
        assert_eq!(owners(&members), [None, red01, red02, None]);
        assert_eq!(members.of(&name("red01")).map(|node| node.id.as_str()).collect::<Vec<_>>(), ["b"]);
        assert_eq!(members.strangers().map(|node| node.id.as_str()).collect::<Vec<_>>(), ["a", "d"]);
    }

    #[test]
    fn an_old_agents_entry_is_known_by_name_unless_somebody_else_has_proved_it() {
        let nodes = [node("a", "red01"), node("b", "red01")];
        let by_name = BTreeSet::from([name("red01")]);
        let members = Members::new(&nodes, &proved(&[("red02", &["b"])]), &by_name);
        assert_eq!(owners(&members), [Some("red01".to_owned()), Some("red02".to_owned())]);
    }

    #[test]
    fn an_entry_that_two_have_proved_is_neithers() {
        let nodes = [node("a", "red01")];
        let members =
            Members::new(&nodes, &proved(&[("red01", &["a"]), ("red02", &["a"])]), &[name("red01")].into());
        assert_eq!(owners(&members), [None]);
    }

    #[test]
    fn strangers_are_those_that_no_node_of_their_name_claims() {
        let nodes = [node("own", "red01"), node("joined", "red01"), node("other", "red01")];
        let proved = proved(&[("red00", &["own"])]);
        let members = Members::new(&nodes, &proved, &BTreeSet::new());
        let shown = |claims: &[(&str, &str)]| {
            let heard = claims.iter().map(|(node, id)| {
                let report =
                    json!({"stage": "swarm", "word": "", "error": null, "address": null, "swarm_node": id});
                (name(node), (serde_json::from_value(report).unwrap(), Instant::now()))
            });
            let strangers = members.unclaimed(&heard.collect()).into_iter();
            strangers
                .map(|stranger| format!("{} {} {}", stranger.name, stranger.id, stranger.state))
                .collect::<Vec<_>>()
        };
        let all = ["red01 joined ready", "red01 other ready"];
        assert_eq!(shown(&[]), all);
        assert_eq!(shown(&[("red02", "joined")]), all, "another node's word");
        // A node that is about to prove its entry.
        assert_eq!(shown(&[("red01", "joined")]), all[1..]);
    }

    #[test]
    fn only_members_with_an_agent_that_cannot_prove_are_known_by_name() {
        let card = super::super::tests::card("red00", &[("red01", &[]), ("red02", &[]), ("red03", &[])]);
        let journal = Journal {
            joined: [name("red01"), name("red02"), name("red03")].into(),
            entries: proved(&[("red02", &[])]),
            ..Journal::default()
        };
        let agents = HashMap::from([(name("red00"), false), (name("red03"), true)]);
        assert_eq!(known_by_name(&card, &journal, &agents), [name("red00"), name("red01")].into());
    }
}
