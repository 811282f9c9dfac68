//! The payload: what the builder puts on a card for one node, and what the seed stage takes from it.
//!
//! Everything lies in [`FOLDER`] on the FAT partition. Secrets are in files of their own ([`SECRET_FILES`]), so
//! that they can be overwritten as a whole once they are safe on the root partition.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::identity::Role;
use crate::name::{ClusterId, ClusterName, Hostname, KeyId, UserName};
use crate::proxy::Proxy;
use crate::secret::Secret;

mod salvage;

pub use salvage::Hints;

/// The folder on the FAT partition.
pub const FOLDER: &str = "swarm";
/// What starts the seed stage: a script in front of [`AGENT`]; on older cards of 64-bit systems the agent's binary itself. Not
/// called firstboot: that word must not reach the kernel command line.
pub const RUN: &str = "run";
/// The agent's binary.
pub const AGENT: &str = "agent";
/// [`Card`] as JSON.
pub const CARD: &str = "card.json";
/// [`CardSecrets`] as JSON.
pub const SECRETS: &str = "secrets.json";
/// The cluster's CA certificate, PEM.
pub const CA: &str = "ca.pem";
/// The node's certificate, PEM.
pub const NODE_CERT: &str = "node.pem";
/// The node's private key, PKCS #8 PEM.
pub const NODE_KEY: &str = "node-key.pem";
/// The node's SSH host key, OpenSSH format (private).
pub const HOST_KEY: &str = "ssh-host-key";
/// Its public half, OpenSSH format.
pub const HOST_KEY_PUBLIC: &str = "ssh-host-key.pub";
/// The user's public keys, once more: whoever has one can log in even where [`CARD`] is damaged.
pub const AUTHORIZED_KEYS: &str = "authorized_keys";
/// The kernel command line as the image had it, for a person to repair a card with.
pub const CMDLINE_ORIGINAL: &str = "cmdline.orig";
/// What this card is, for whoever finds it.
pub const README: &str = "README.txt";
/// What the node did, for whoever puts the card into a computer. Written by the Pi; the builder keeps room for it.
pub const STATUS: &str = "status.txt";
/// As many bytes of it as the builder keeps room for: a full FAT takes no new file.
pub const STATUS_LENGTH: usize = 2048;

/// What the agent said and met, an event per line ([`crate::history::Event`]). Written by the Pi.
pub const LOG: &str = "log.txt";

/// Files of [`FOLDER`] that hold secrets and are destroyed on the FAT by the seed stage. `userconf.txt` in the
/// FAT's root is the only other one.
pub const SECRET_FILES: [&str; 3] = [SECRETS, NODE_KEY, HOST_KEY];

/// The payload's version. Any change of the structures below raises it.
pub const VERSION: u32 = 4;
/// The version of a payload without a proxy and a hidden radio network, which agents of before read as well.
const VERSION_WITHOUT_PROXY: u32 = 3;

/// The lowest version that can express a payload.
pub const fn version_for(has_proxy: bool, has_hidden_wifi: bool) -> u32 {
    if has_proxy || has_hidden_wifi { VERSION } else { VERSION_WITHOUT_PROXY }
}

/// One node's payload, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// [`VERSION`] of the builder that wrote it.
    pub version: u32,
    /// The cluster's name.
    pub cluster: ClusterName,
    /// The cluster's identity.
    pub cluster_id: ClusterId,
    /// This node.
    pub node: Hostname,
    /// What it does.
    pub role: Role,
    /// Seconds since 1970 that are surely past: the floor for a clock that has stood still.
    pub not_before: u64,
    /// Every planned node, this one too, in the cluster file's order.
    pub nodes: Vec<Planned>,
    /// Who logs in.
    pub user: CardUser,
    /// This node's fixed address; DHCP without it.
    pub address: Option<StaticAddress>,
    /// The radio network; its pass phrase is in [`CardSecrets`].
    pub wifi: Option<CardWifi>,
    /// IANA name, such as `Europe/Berlin`.
    pub timezone: Option<String>,
    /// Such as `de_DE.UTF-8`.
    pub locale: Option<String>,
    /// XKB layout, such as `de`.
    pub keymap: Option<String>,
    /// Where Docker comes from.
    pub docker: CardDocker,
    /// How the swarm is formed.
    pub swarm: CardSwarm,
    /// What starts the seed stage. Cards of version 1 do not say: they know one way only.
    #[serde(default)]
    pub start: Start,
    /// Keys that a manager does not let in; none on workers' cards, nor on cards before version 3.
    #[serde(default)]
    pub revoked: BTreeSet<KeyId>,
    /// Whether [`CardSecrets`] has a proxy. Since version 4.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub proxy: bool,
}

/// What starts the seed stage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// Words on the kernel command line, before anything of the normal boot.
    #[default]
    Hook,
    /// cloud-init, at the end of a normal boot; name, user and network are its affair.
    CloudInit,
}

/// A planned node, as every card knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Planned {
    /// Its name.
    pub name: Hostname,
    /// Its role.
    pub role: Role,
    /// Its address, when the cluster file fixes it.
    pub address: Option<Ipv4Addr>,
    /// Labels the manager sets on its Swarm node.
    pub labels: BTreeMap<String, String>,
}

/// The user with id 1000.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardUser {
    /// Login name.
    pub name: UserName,
    /// Lines of `authorized_keys`.
    pub authorized_keys: Vec<String>,
}

/// A fixed IPv4 address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaticAddress {
    /// The address.
    pub ip: Ipv4Addr,
    /// Prefix length in bits, 1 to 30.
    pub prefix: u8,
    /// The way out.
    pub gateway: Option<Ipv4Addr>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
}

/// A radio network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardWifi {
    /// ISO 3166-1 code, two capital letters: the radio stays off without it.
    pub country: String,
    /// The network's name, 1 to 32 bytes.
    pub ssid: String,
    /// Whether the network does not announce its name, so that nodes have to ask for it. Since version 4.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hidden: bool,
}

/// Which packages Docker comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DockerSource {
    /// Docker's own signed apt repository: `docker-ce`, `docker-ce-cli`, `containerd.io`.
    Docker,
    /// The distribution's `docker.io` and `docker-cli`.
    Debian,
}

/// Where Docker comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardDocker {
    /// Which packages.
    pub source: DockerSource,
    /// An apt version or pattern such as `5:29.*`; the newest without it.
    pub version: Option<String>,
    /// Base URL of a mirror of Docker's repository, such as `https://mirror.example/linux/debian`; only with [`DockerSource::Docker`].
    pub url: Option<String>,
    /// Armored OpenPGP key that signs that mirror; Docker's own, pinned in the agent, without it.
    pub key: Option<String>,
}

/// How the swarm is formed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardSwarm {
    /// Network interface whose IPv4 address is advertised; that of the default route without it.
    pub interface: Option<String>,
    /// Pool for overlay networks, such as `10.201.0.0/16`.
    pub address_pool: Option<String>,
    /// Life of Swarm's own node certificates, in seconds.
    pub cert_expiry_seconds: u64,
    /// How long after its first start the manager hands out tokens to nodes that never joined, in seconds.
    pub join_window_seconds: u64,
    /// Whether managers take tasks, too; otherwise they are drained.
    pub managers_run_tasks: bool,
}

/// The payload's secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardSecrets {
    /// [`VERSION`] of the builder that wrote it.
    pub version: u32,
    /// The user's crypt(5) hash; logging in by password is off without it.
    pub password_hash: Option<Secret<String>>,
    /// The radio network's pass phrase or 64 hexadecimal digits.
    pub wifi_psk: Option<Secret<String>>,
    /// The way to the internet. Since version 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<Proxy>,
}

/// Why a payload cannot be used. Absent, damaged and too new are three different answers.
#[derive(Debug, Error)]
pub enum CardError {
    /// Written by a builder that knows more than this agent.
    #[error("this card was written by a newer builder (payload version {found}, this agent knows {VERSION})")]
    TooNew {
        /// The version found.
        found: u32,
    },
    /// Not what any builder wrote.
    #[error("the payload is damaged")]
    Damaged(#[source] serde_json::Error),
}

#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

fn read_versioned<T: for<'de> Deserialize<'de>>(json: &[u8]) -> Result<T, CardError> {
    let VersionOnly { version } = serde_json::from_slice(json).map_err(CardError::Damaged)?;
    if version > VERSION {
        return Err(CardError::TooNew { found: version });
    }
    serde_json::from_slice(json).map_err(CardError::Damaged)
}

impl Card {
    /// Reads [`CARD`].
    pub fn from_json(json: &[u8]) -> Result<Self, CardError> {
        read_versioned(json)
    }

    /// The planned managers, first the one that starts the swarm.
    pub fn managers(&self) -> impl Iterator<Item = &Planned> {
        self.nodes.iter().filter(|node| node.role == Role::Manager)
    }
}

impl CardSecrets {
    /// Reads [`SECRETS`].
    pub fn from_json(json: &[u8]) -> Result<Self, CardError> {
        read_versioned(json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_of_before_read_what_has_nothing_new() {
        let plain: Card = Card::from_json(include_bytes!("../tests/corpus/card/plain.json")).unwrap();
        let json = serde_json::to_string(&plain).unwrap();
        assert!(!json.contains("hidden") && !json.contains("proxy"), "{json}");
        let secrets = serde_json::to_string(&CardSecrets::default()).unwrap();
        assert!(!secrets.contains("proxy"), "{secrets}");
        assert_eq!(
            (version_for(false, false), version_for(true, false), version_for(false, true)),
            (3, 4, 4)
        );
    }

    #[test]
    fn a_newer_card_is_told_from_a_damaged_one() {
        let newer = br#"{"version": 99, "something": "new"}"#;
        assert!(matches!(Card::from_json(newer), Err(CardError::TooNew { found: 99 })));
        assert!(matches!(Card::from_json(b"{\"version\": 1"), Err(CardError::Damaged(_))));
        assert!(matches!(Card::from_json(br#"{"version": 1}"#), Err(CardError::Damaged(_))));
    }
}
