//! The files a card gets: what they are called and what is in them. Pure: the same input gives the same bytes.

use std::borrow::Cow;

use cluster::card::{self, Card, CardSecrets, CardUser, Planned};
use cluster::spec::{Cluster, Node};

use super::change::Showing;
use crate::agent::Agent;
use crate::pki::{Identities, NodeMaterial};

/// The kernel command line on the FAT.
pub(super) const CMDLINE: &str = "cmdline.txt";

/// A file for the FAT.
pub(super) struct File<'a> {
    /// Path from the FAT's root.
    pub(super) path: String,
    /// Its content.
    pub(super) bytes: Cow<'a, [u8]>,
    /// How it may be shown.
    pub(super) showing: Showing,
}

impl<'a> File<'a> {
    fn new(path: impl Into<String>, bytes: impl Into<Cow<'a, [u8]>>, showing: Showing) -> Self {
        Self { path: path.into(), bytes: bytes.into(), showing }
    }
}

/// What is the same for every node of a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Common<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) identities: &'a Identities,
    pub(super) agent: &'a Agent,
    /// The image's kernel command line, and what becomes of it.
    pub(super) cmdline: (&'a str, &'a str),
    /// Seconds since 1970 that are surely past.
    pub(super) not_before: u64,
}

/// All files of one node's card.
pub(super) fn files<'a>(common: Common<'a>, node: &Node, material: &NodeMaterial) -> Vec<File<'a>> {
    let inside = |name: &str| format!("{}/{name}", card::FOLDER);
    let owned = |text: &str| text.as_bytes().to_vec();
    let (original, cmdline) = common.cmdline;
    let run = inside(card::RUN);
    let mut files =
        vec![File::new(run, common.agent.bytes.as_slice(), Showing::Known(common.agent.sha256.clone()))];
    let mut add = |path: String, bytes: Vec<u8>, showing| files.push(File::new(path, bytes, showing));
    add(inside(card::CARD), json(&card(common, node)), Showing::Text);
    add(inside(card::SECRETS), json(&secrets(common.cluster)), Showing::Secret);
    add(inside(card::CA), owned(&material.ca_pem), Showing::Digest);
    add(inside(card::NODE_CERT), owned(&material.cert_pem), Showing::Digest);
    add(inside(card::NODE_KEY), owned(material.key_pem.expose()), Showing::Secret);
    add(inside(card::HOST_KEY), owned(material.host_key.expose()), Showing::Secret);
    add(inside(card::HOST_KEY_PUBLIC), owned(&material.host_key_public), Showing::Digest);
    add(inside(card::CMDLINE_ORIGINAL), owned(&format!("{original}\n")), Showing::Text);
    add(inside(card::README), owned(&readme(common.cluster, node)), Showing::Text);
    // Should the hook not run, these two still let somebody log in.
    add("ssh".to_owned(), Vec::new(), Showing::Text);
    add("userconf.txt".to_owned(), userconf(common.cluster), Showing::Secret);
    // Last, as the card does nothing of ours without it.
    add(CMDLINE.to_owned(), owned(cmdline), Showing::Text);
    files
}

fn card(common: Common<'_>, node: &Node) -> Card {
    let cluster = common.cluster;
    let planned = |node: &Node| Planned {
        name: node.name.clone(),
        role: node.role,
        address: node.address.as_ref().map(|address| address.ip),
        labels: node.labels.clone(),
    };
    Card {
        version: card::VERSION,
        cluster: cluster.name.clone(),
        cluster_id: common.identities.cluster_id.clone(),
        node: node.name.clone(),
        role: node.role,
        not_before: common.not_before,
        nodes: cluster.nodes.iter().map(planned).collect(),
        user: CardUser {
            name: cluster.user.name.clone(),
            authorized_keys: cluster.user.authorized_keys.clone(),
        },
        address: node.address.clone(),
        wifi: cluster.wifi.clone(),
        timezone: cluster.timezone.clone(),
        locale: cluster.locale.clone(),
        keymap: cluster.keymap.clone(),
        docker: cluster.docker.clone(),
        swarm: cluster.swarm.clone(),
    }
}

fn secrets(cluster: &Cluster) -> CardSecrets {
    CardSecrets {
        version: card::VERSION,
        password_hash: cluster.user.password_hash.clone(),
        wifi_psk: cluster.wifi_psk.clone(),
    }
}

/// What Pi OS's own user set-up takes, `name:hash`; `!` is a hash that no password has.
fn userconf(cluster: &Cluster) -> Vec<u8> {
    let hash = cluster.user.password_hash.as_ref().map_or("!", |hash| hash.expose());
    format!("{}:{hash}\n", cluster.user.name).into_bytes()
}

fn readme(cluster: &Cluster, node: &Node) -> String {
    let (name, role) = (&node.name, node.role.as_str());
    let (folder, status, original) = (card::FOLDER, card::STATUS, card::CMDLINE_ORIGINAL);
    format!(
        "This is the card of {name}, a {role} of the cluster {}.\n\
         \n\
         Put it into a Raspberry Pi and power it on. At the first boot the program {folder}/run sets the Pi up, takes its\n\
         words off cmdline.txt and destroys the secrets on this partition. What it did is in {folder}/{status}.\n\
         \n\
         Until then this card holds keys: whoever has it can pose as this Pi.\n\
         Only one Pi may ever use it. For another Pi make another card.\n\
         \n\
         To start without the set-up, put the content of {folder}/{original} into cmdline.txt before the first boot.\n",
        cluster.name
    )
}

/// Lines for people, with the end of the last one.
fn json(value: &impl serde::Serialize) -> Vec<u8> {
    // Strings, numbers and lists of them: nothing in the payload can fail to become JSON.
    let mut bytes = serde_json::to_vec_pretty(value).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}
