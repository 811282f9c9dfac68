//! The files a card gets: what they are called and what is in them. Pure: the same input gives the same bytes.

use std::borrow::Cow;
use std::collections::BTreeSet;

use cluster::card::{self, Card, CardSecrets, CardUser, Planned, Start};
use cluster::hook;
use cluster::identity::Role;
use cluster::spec::{Cluster, Node};

use super::change::Showing;
use super::cloud_init;
use crate::agent::Agent;
use crate::image::{CMDLINE, Image};
use crate::pki::{Identities, NodeMaterial};

/// [`card::RUN`]: starts the agent, or lets the Pi boot without it.
const RUN_SCRIPT: &str = include_str!("run.sh");

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
    pub(super) image: &'a Image,
    /// What becomes of the kernel command line, where it is ours to edit.
    pub(super) cmdline: Option<&'a str>,
    /// Seconds since 1970 that are surely past.
    pub(super) not_before: u64,
}

/// All files of one node's card.
pub(super) fn files<'a>(common: Common<'a>, node: &Node, material: &NodeMaterial) -> Vec<File<'a>> {
    let inside = |name: &str| format!("{}/{name}", card::FOLDER);
    let owned = |text: &str| text.as_bytes().to_vec();
    let mut files = Vec::new();
    let (agent, sha256) = (common.agent.bytes.as_slice(), common.agent.sha256.clone());
    let script = run_script(common.image.release.mount(), &sha256.to_string());
    files.push(File::new(inside(card::RUN), script.into_bytes(), Showing::Digest));
    files.push(File::new(inside(card::AGENT), agent, Showing::Known(sha256)));
    let mut add = |path: String, bytes: Vec<u8>, showing| files.push(File::new(path, bytes, showing));
    let start = common.image.release.start();
    let payload = card(common.cluster, common.identities, node, common.not_before, start);
    add(inside(card::CARD), json(&payload), Showing::Text);
    add(inside(card::SECRETS), json(&secrets(common.cluster)), Showing::Secret);
    add(inside(card::CA), owned(&material.ca_pem), Showing::Digest);
    add(inside(card::NODE_CERT), owned(&material.cert_pem), Showing::Digest);
    add(inside(card::NODE_KEY), owned(material.key_pem.expose()), Showing::Secret);
    add(inside(card::HOST_KEY), owned(material.host_key.expose()), Showing::Secret);
    add(inside(card::HOST_KEY_PUBLIC), owned(&material.host_key_public), Showing::Digest);
    add(inside(card::README), owned(&readme(common, node)), Showing::Text);
    add(inside(card::STATUS), not_started(), Showing::Digest);
    let Some(cmdline) = common.cmdline else {
        for file in cloud_init::files(common, node) {
            add(file.name.to_owned(), file.text.into_bytes(), file.showing);
        }
        return files;
    };
    let original = format!("{}\n", common.image.cmdline);
    add(inside(card::CMDLINE_ORIGINAL), original.into_bytes(), Showing::Text);
    // cloud-init has the keys in its own file.
    let keys: String = common.cluster.user.authorized_keys.iter().flat_map(|key| [key, "\n"]).collect();
    add(inside(card::AUTHORIZED_KEYS), keys.into_bytes(), Showing::Digest);
    // Should the hook not run, these two still let somebody log in.
    add("ssh".to_owned(), Vec::new(), Showing::Text);
    add("userconf.txt".to_owned(), userconf(common.cluster), Showing::Secret);
    // Last, as the card does nothing of ours without it.
    add(CMDLINE.to_owned(), owned(cmdline), Showing::Text);
    files
}

/// The script with the hook's words as they stand on the kernel command line, and as many blanks.
fn run_script(mount: &str, sha256: &str) -> String {
    let words = hook::tokens(mount).join(" ");
    RUN_SCRIPT
        .replace("@BLANK@", &" ".repeat(words.len()))
        .replace("@WORDS@", &words)
        .replace("@SHA256@", sha256)
        .replace("@SECRETS@", &card::SECRET_FILES.join(" "))
}

/// A node's payload. `not_before`: seconds since 1970 that are surely past.
pub(crate) fn card(
    cluster: &Cluster,
    identities: &Identities,
    node: &Node,
    not_before: u64,
    start: Start,
) -> Card {
    let planned = |node: &Node| Planned {
        name: node.name.clone(),
        role: node.role,
        address: node.address.as_ref().map(|address| address.ip),
        labels: node.labels.clone(),
    };
    Card {
        version: version(cluster),
        cluster: cluster.name.clone(),
        cluster_id: identities.cluster_id.clone(),
        node: node.name.clone(),
        role: node.role,
        not_before,
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
        start,
        revoked: match node.role {
            Role::Manager => identities.revoked.clone(),
            Role::Worker => BTreeSet::new(),
        },
        proxy: cluster.proxy.is_some(),
    }
}

fn version(cluster: &Cluster) -> u32 {
    let has_hidden_wifi = cluster.wifi.as_ref().is_some_and(|wifi| wifi.hidden);
    card::version_for(cluster.proxy.is_some(), has_hidden_wifi)
}

fn secrets(cluster: &Cluster) -> CardSecrets {
    CardSecrets {
        version: version(cluster),
        password_hash: cluster.user.password_hash.clone(),
        wifi_psk: cluster.wifi_psk.clone(),
        proxy: cluster.proxy.clone(),
    }
}

/// What Pi OS's own user set-up takes, `name:hash`; `!` is a hash that no password has.
fn userconf(cluster: &Cluster) -> Vec<u8> {
    let hash = cluster.user.password_hash.as_ref().map_or("!", |hash| hash.expose());
    format!("{}:{hash}\n", cluster.user.name).into_bytes()
}

fn readme(common: Common<'_>, node: &Node) -> String {
    let (name, role, cluster) = (&node.name, node.role.as_str(), &common.cluster.name);
    let (folder, run, status, original) = (card::FOLDER, card::RUN, card::STATUS, card::CMDLINE_ORIGINAL);
    let (first_boot, without) = match common.image.release.start() {
        Start::Hook => (
            format!(
                "At the first boot the program {folder}/{run} sets the Pi up, takes its\n\
                 words off cmdline.txt and destroys the secrets on this partition. What it did is in {folder}/{status}."
            ),
            format!("put the content of {folder}/{original} into cmdline.txt"),
        ),
        Start::CloudInit => (
            format!(
                "At the first boot cloud-init makes the user and the network, and starts\n\
                 the program {folder}/{run}, which destroys the secrets on this partition. What it did is in {folder}/{status}."
            ),
            "take bootcmd and runcmd out of user-data".to_owned(),
        ),
    };
    format!(
        "This is the card of {name}, a {role} of the cluster {cluster}.\n\
         \n\
         Put it into a Raspberry Pi and power it on. {first_boot}\n\
         \n\
         Until then this card holds keys: whoever has it can pose as this Pi.\n\
         Only one Pi may ever use it. For another Pi make another card.\n\
         \n\
         To start without the set-up, {without} before the first boot.\n",
    )
}

/// The place that the seed stage can write to even when the FAT is full.
fn not_started() -> Vec<u8> {
    let mut text = b"This card has not been started yet.".to_vec();
    text.resize(card::STATUS_LENGTH - 1, b' ');
    text.push(b'\n');
    text
}

/// Lines for people, with the end of the last one.
fn json(value: &impl serde::Serialize) -> Vec<u8> {
    // Strings, numbers and lists of them: nothing in the payload can fail to become JSON.
    let mut bytes = serde_json::to_vec_pretty(value).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}
