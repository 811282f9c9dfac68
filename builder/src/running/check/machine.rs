//! Whether a machine is the one that has a node's key. Pure.
//!
//! A machine's name is its own word, and a key is never given for a word: it goes to the machine that it was delivered to before,
//! known by the SSH host key that it proves, wherever it is and however it is written. Any other gets a new key, and under a name
//! that is taken only after the operator has said so.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use cluster::host::Host;
use cluster::name::{ClusterId, Hostname};

use super::{Entry, Obstacle};
use crate::host_key::HostKey;
use crate::pki::{Running, RunningHost};
use crate::running::probe::Found;

/// Which key a machine gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// The node's, which it has already or which was made for it.
    Same,
    /// A new one. If the node had one, that counts as revoked.
    New,
}

/// What is known of the machines that have the nodes' keys.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// What was brought in before.
    pub earlier: Option<&'a Running>,
    /// The SSH host keys of the cards of nodes, made or only planned.
    pub cards: &'a BTreeMap<Hostname, HostKey>,
    /// Nodes of which the operator has said that they are other machines now: each with the machine, as the file has it.
    pub replaced: &'a BTreeSet<(Hostname, String)>,
}

/// The machine that has a node's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// It was brought in over SSH.
    Brought {
        /// As the file named it.
        host: String,
        /// Unknown of those that an older builder brought in.
        host_key: Option<HostKey>,
    },
    /// It has a card.
    Card {
        /// Which the card brought.
        host_key: HostKey,
    },
}

impl Holder {
    /// The host key that it is known by.
    pub fn host_key(&self) -> Option<&HostKey> {
        match self {
            Self::Brought { host_key, .. } => host_key.as_ref(),
            Self::Card { host_key } => Some(host_key),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Brought { host, host_key: Some(key) } => write!(f, "{host} with the SSH host key {key}"),
            Self::Brought { host, host_key: None } => write!(f, "{host}"),
            Self::Card { host_key } => {
                write!(f, "the one that a card was made for, with the SSH host key {host_key}")
            }
        }
    }
}

impl Known<'_> {
    /// The host key of the node that a machine calls itself after, if the machine has shown only a key of another type. It may have
    /// both.
    pub fn key_of_other_type(&self, found: &Found) -> Option<&HostKey> {
        let own = found.host_key.as_ref()?;
        let hosts = self.earlier.into_iter().flat_map(|earlier| &earlier.hosts);
        let before = hosts.filter(|host| host.name.as_str() == found.name);
        let cards = self.cards.iter().filter(|(name, _)| name.as_str() == found.name).map(|(_, key)| key);
        let mut known = before.filter_map(|host| host.host_key.as_ref()).chain(cards);
        let is_other =
            |key: &HostKey| key.kind().is_some_and(|kind| own.kind().is_some_and(|own| own != kind));
        if known.clone().any(|key| key == own) { None } else { known.find(|key| is_other(key)) }
    }

    /// Which key a machine of this name gets, and the host key that it is bound to.
    ///
    /// # Errors
    /// [`Obstacle::OtherMachine`] when another machine has the node's key, [`Obstacle::NoHostKey`] when nobody can say.
    pub fn key(
        &self,
        entry: &Entry,
        found: &Found,
        name: &Hostname,
        ours: Option<&ClusterId>,
    ) -> Result<(Key, HostKey), Obstacle> {
        let own = found.host_key.clone().ok_or(Obstacle::NoHostKey)?;
        let before = self.earlier.and_then(|earlier| earlier.hosts.iter().find(|host| host.name == *name));
        let card = self.cards.get(name);
        // A cluster file may have cards for its nodes; in a list of hosts, a key of a node that is gone is left over.
        let is_planned = entry.name.is_some();
        let holder = match (before, card) {
            (_, Some(card)) if *card == own => return Ok((Key::Same, own)),
            (Some(before), _) if is_same(entry, &own, before) => return Ok((Key::Same, own)),
            (Some(before), _) => {
                Holder::Brought { host: before.host.clone(), host_key: before.host_key.clone() }
            }
            // It says that it has that card: then nothing is brought to it.
            (None, _) if is_planned && says_card(found, ours) => return Ok((Key::Same, own)),
            (None, Some(card)) if is_planned => Holder::Card { host_key: card.clone() },
            (None, _) => return Ok((Key::New, own)),
        };
        let said = (name.clone(), entry.host.to_string());
        if self.replaced.contains(&said) {
            return Ok((Key::New, own));
        }
        let (name, host) = said;
        let replace = if host == name.as_str() { host } else { format!("{name}={host}") };
        let (holder, own) = (Box::new(holder), Box::new(own));
        Err(Obstacle::OtherMachine { name, holder, own, replace, free: String::new() })
    }
}

/// Whether a machine says that it has a payload of our cluster.
fn says_card(found: &Found, ours: Option<&ClusterId>) -> bool {
    found.card.as_ref().is_some_and(|card| Some(&card.cluster_id) == ours)
}

/// Whether a machine is the one of before. Only of those that an older builder brought in, the place has to do.
fn is_same(entry: &Entry, own: &HostKey, before: &RunningHost) -> bool {
    before.host_key.as_ref().map_or_else(|| is_place(entry, before), |known| known == own)
}

/// Whether an entry means the place where a node was, however that is written.
pub(in crate::running) fn is_place(entry: &Entry, before: &RunningHost) -> bool {
    let same = |other: &str| entry.host.name.eq_ignore_ascii_case(other);
    let first_label = entry.host.name.split('.').next().unwrap_or_default();
    let is_address = entry.host.name.parse::<std::net::Ipv4Addr>().is_ok();
    let earlier = Host::try_from(before.host.as_str()).ok();
    // Behind one address may be several machines, one at each port.
    if let Some((one, other)) = earlier.as_ref().and_then(|host| host.port).zip(entry.host.port)
        && one != other
    {
        return false;
    }
    // Who logs in makes no other machine of it.
    earlier.is_some_and(|host| same(&host.name))
        || before.address.is_some_and(|address| same(&address.to_string()))
        || (!is_address && first_label.eq_ignore_ascii_case(before.name.as_str()))
}

#[cfg(test)]
mod tests;
