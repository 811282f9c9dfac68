//! The cluster file as checked data. Reading and checking it is in [`check`](self).

use std::collections::BTreeMap;

use crate::card::{CardDocker, CardSwarm, CardWifi, StaticAddress};
use crate::identity::Role;
use crate::name::{ClusterName, Hostname, UserName};
use crate::secret::Secret;

/// A cluster file that passed every check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// The cluster's name.
    pub name: ClusterName,
    /// The OS image.
    pub image: ImageSource,
    /// The nodes in the file's order.
    pub nodes: Vec<Node>,
    /// Who logs in.
    pub user: User,
    /// The radio network.
    pub wifi: Option<CardWifi>,
    /// Its pass phrase.
    pub wifi_psk: Option<Secret<String>>,
    /// IANA time zone.
    pub timezone: Option<String>,
    /// Locale.
    pub locale: Option<String>,
    /// XKB layout.
    pub keymap: Option<String>,
    /// Where Docker comes from. `docker.key` is still the path of a key file here.
    pub docker: CardDocker,
    /// How the swarm is formed.
    pub swarm: CardSwarm,
}

/// Where the image comes from, as the file says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSource {
    /// A catalog name, a path, or an `https:`, `http:` or `file:` URL.
    pub location: String,
    /// SHA-256 of the file as published, compressed or not; 64 lower-case hexadecimal digits. Always there for a URL.
    pub sha256: Option<String>,
}

/// One planned node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: Hostname,
    /// Its role.
    pub role: Role,
    /// Its fixed address; DHCP without it.
    pub address: Option<StaticAddress>,
    /// Labels for its Swarm node.
    pub labels: BTreeMap<String, String>,
}

/// Who logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Login name.
    pub name: UserName,
    /// Each a public key line, or the path of a file with such lines.
    pub authorized_keys: Vec<String>,
    /// crypt(5) hash.
    pub password_hash: Option<Secret<String>>,
}
