//! The agent and its payload onto machines, over SSH: the binary first, where it is another than the one that is there, then
//! the payload. What is secret goes through standard input, never into words that a process list shows.

use std::sync::Arc;

use cluster::card::{self, Card, Start};
use cluster::delivery::Delivery;
use cluster::name::{ClusterId, Hostname};
use cluster::secret::Secret;
use cluster::spec::{Cluster, Node};

use super::check::{Candidate, Others};
use crate::agent::{Agent, sha256_hex};
use crate::elf::Arch;
use crate::error::Failure;
use crate::pki::{Identities, RunningHost};
use crate::plan;
use crate::ssh::batch::Job;

/// Where the agent lies.
const FOLDER: &str = "/usr/local/lib/firstboot";
/// The agent, in the seed stage's place for it (firstboot's `seed::BINARY`).
pub const PROGRAM: &str = "/usr/local/lib/firstboot/firstboot";

/// What a machine is to get.
#[derive(Debug)]
pub struct Parcel {
    /// In the order of the file.
    pub index: usize,
    /// Whether the agent has to be sent.
    pub agent: bool,
    /// Whether the payload has to be.
    pub payload: bool,
    /// Which agent.
    pub arch: Arch,
    prefix: &'static str,
    delivery: Delivery,
}

impl Parcel {
    /// Packs what a machine is to get, and sees what of it is there already. `hosts` are all nodes from now on.
    ///
    /// # Errors
    /// When the node's identity is not there.
    pub fn pack(
        index: usize,
        candidate: &Candidate,
        (cluster, hosts): (&Cluster, &[RunningHost]),
        (identities, agent): (&Identities, &Agent),
        others: Others,
    ) -> Result<Self, Failure> {
        let material = identities.node(&candidate.name)?;
        let card = card(cluster, hosts, identities, candidate);
        let found = &candidate.found;
        let is_there = found.active
            && found.card.as_ref() == Some(&card)
            && found.certificate.as_deref() == Some(&sha256_hex(material.cert_pem.as_bytes()))
            && found.proxy == cluster.proxy.as_ref().map(|proxy| sha256_hex(proxy.to_json().expose()));
        let agent = found.agent.as_deref() != Some(&agent.sha256);
        Ok(Self {
            index,
            agent,
            // The agent that runs goes on being the old one until it is told.
            payload: agent || !is_there,
            arch: candidate.arch,
            prefix: found.root.prefix(),
            delivery: Delivery {
                card,
                ca_pem: material.ca_pem,
                cert_pem: material.cert_pem,
                key_pem: material.key_pem,
                take_over: others == Others::TakeOver,
                proxy: cluster.proxy.clone(),
            },
        })
    }

    /// Sends the agent, whole or not at all.
    pub fn send_agent(&self, agent: &Agent, bytes: &Arc<Secret<Vec<u8>>>) -> Job {
        let (prefix, sha256) = (self.prefix, &agent.sha256);
        let partial = format!("{PROGRAM}.partial");
        // In single quotes any login shell leaves it alone.
        let line = format!(
            "{prefix}sh -c 'umask 022; mkdir -p {FOLDER} && cat > {partial} && \
             echo {sha256} {partial} | sha256sum --check --status && chmod 755 {partial} && sync {partial} && \
             mv -f {partial} {PROGRAM} || {{ rm -f {partial}; exit 1; }}'"
        );
        Job { index: self.index, words: Arc::new(vec![line]), input: Some(Arc::clone(bytes)) }
    }

    /// Sends the payload, and has the agent take over.
    pub fn send_payload(&self) -> Job {
        let line = format!("{}{PROGRAM} adopt", self.prefix);
        // Strings, numbers and lists of them always serialise.
        let json = serde_json::to_vec(&self.delivery).unwrap_or_default();
        Job { index: self.index, words: Arc::new(vec![line]), input: Some(Arc::new(Secret::new(json))) }
    }
}

/// Takes our software off a machine if it is this node of this cluster: another may have its address by now. `docker`, if that
/// came with it, too. Nothing is asked first, so who logs in may be root or not, and there may be nothing.
pub fn removal(index: usize, (cluster, node): (&ClusterId, &Hostname), docker: bool) -> Job {
    let option = if docker { " --docker" } else { "" };
    let line = format!(
        "sh -c 's=; [ \"$(id -u)\" = 0 ] || s=\"sudo -n\"; [ -x {PROGRAM} ] || exit 0; \
         exec $s {PROGRAM} remove --cluster {cluster} --node {node}{option}'"
    );
    Job { index, words: Arc::new(vec![line]), input: None }
}

/// A node's payload: nothing of what is the machine's own affair.
fn card(cluster: &Cluster, hosts: &[RunningHost], identities: &Identities, candidate: &Candidate) -> Card {
    let role = hosts.iter().find(|host| host.name == candidate.name).map(|host| host.role);
    let node = Node {
        name: candidate.name.clone(),
        role: role.unwrap_or(cluster::identity::Role::Worker),
        address: None,
        labels: std::collections::BTreeMap::new(),
    };
    let card = plan::card(cluster, identities, &node, identities.created, Start::default());
    let nodes = card.nodes.into_iter().map(|planned| {
        let address = hosts.iter().find(|host| host.name == planned.name).and_then(|host| host.address);
        cluster::card::Planned { address: planned.address.or(address), ..planned }
    });
    let version = card::version_for(card.proxy, false);
    Card { version, nodes: nodes.collect(), wifi: None, timezone: None, locale: None, keymap: None, ..card }
}
