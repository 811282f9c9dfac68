//! What a card still says that cannot be used as a whole: enough for a person to log in, and for the node to say so.
//!
//! Each field is taken by itself, as far as it can be read, up to the place where the damage begins. Nothing of it is
//! enough to be a member of a swarm: what is missing there would be found out by whoever relies on it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::{Card, CardDocker, CardSwarm, CardUser, DockerSource, Planned, Start, VERSION};
use crate::identity::{Holder, Identity, Role};
use crate::name::{ClusterId, ClusterName, Hostname, UserName};

/// How public keys begin (sshd(8), "AUTHORIZED_KEYS FILE FORMAT").
const KEY_TYPES: [&str; 4] = ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"];

/// What the rest of the card and the machine say where the payload does not.
#[derive(Debug, Clone)]
pub struct Hints {
    /// Who the node's certificate says it is. It is believed before the payload.
    pub identity: Option<Identity>,
    /// The name the machine has.
    pub node: Option<Hostname>,
    /// The user's name.
    pub user: Option<UserName>,
    /// The user's keys, lines of `authorized_keys`.
    pub authorized_keys: Vec<String>,
    /// What started the seed stage.
    pub start: Start,
}

impl Card {
    /// Takes what can be taken. Every other field is as if the cluster file had not named it.
    pub fn salvage(json: &[u8], hints: Hints) -> Self {
        let fields = read_fields(json);
        let own = match &hints.identity {
            Some(Identity { cluster, holder: Holder::Node { role, name } }) => Some((cluster, *role, name)),
            _ => None,
        };
        let user = fields.get("user").and_then(Value::as_object);
        let user_field = |key: &str| user.and_then(|user| user.get(key));
        let mut authorized_keys: Vec<String> =
            user_field("authorized_keys").and_then(typed).unwrap_or_default();
        for key in find_keys(json).into_iter().chain(hints.authorized_keys) {
            if !authorized_keys.contains(&key) {
                authorized_keys.push(key);
            }
        }
        let field = |key: &str| fields.get(key);
        Self {
            version: VERSION,
            cluster: field("cluster").and_then(typed).unwrap_or_else(ClusterName::unknown),
            cluster_id: own
                .map(|(cluster, ..)| cluster.clone())
                .or_else(|| field("cluster_id").and_then(typed))
                .unwrap_or_else(ClusterId::unknown),
            node: own
                .map(|(.., name)| name.clone())
                .or_else(|| field("node").and_then(typed))
                .or(hints.node)
                .unwrap_or_else(Hostname::of_image),
            role: own
                .map(|(_, role, _)| role)
                .or_else(|| field("role").and_then(typed))
                .unwrap_or(Role::Worker),
            not_before: field("not_before").and_then(typed).unwrap_or_default(),
            nodes: field("nodes")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(planned)
                .collect(),
            user: CardUser {
                name: user_field("name").and_then(typed).or(hints.user).unwrap_or_else(UserName::of_image),
                authorized_keys,
            },
            address: field("address").and_then(typed),
            wifi: field("wifi").and_then(typed),
            timezone: field("timezone").and_then(typed),
            locale: field("locale").and_then(typed),
            keymap: field("keymap").and_then(typed),
            docker: field("docker").and_then(typed).unwrap_or(CardDocker {
                source: DockerSource::Docker,
                version: None,
                url: None,
                key: None,
            }),
            swarm: field("swarm").and_then(typed).unwrap_or(CardSwarm {
                interface: None,
                address_pool: None,
                cert_expiry_seconds: 0,
                join_window_seconds: 0,
                managers_run_tasks: false,
            }),
            start: field("start").and_then(typed).unwrap_or(hints.start),
            // A damaged card gives nobody anything that could be refused to somebody.
            revoked: BTreeSet::new(),
            proxy: false,
        }
    }
}

fn typed<T: DeserializeOwned>(value: &Value) -> Option<T> {
    T::deserialize(value).ok()
}

/// Enough of a planned node to find it. A newer builder may say more of it.
fn planned(value: &Value) -> Option<Planned> {
    Some(Planned {
        name: typed(value.get("name")?)?,
        role: typed(value.get("role")?)?,
        address: value.get("address").and_then(typed::<Ipv4Addr>),
        labels: BTreeMap::new(),
    })
}

/// The fields of an object as far as it can be read.
fn read_fields(json: &[u8]) -> BTreeMap<String, Value> {
    let mut fields = BTreeMap::new();
    // What ends the reading is what the caller was told of the card already.
    drop(Collect(&mut fields).deserialize(&mut serde_json::Deserializer::from_slice(json)));
    fields
}

struct Collect<'a>(&'a mut BTreeMap<String, Value>);

impl<'de> DeserializeSeed<'de> for Collect<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Collect<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((key, value)) = map.next_entry()? {
            self.0.insert(key, value);
        }
        Ok(())
    }
}

/// Public keys between quotes, wherever they stand. A key that is torn fits nobody's private key and does no harm.
fn find_keys(json: &[u8]) -> Vec<String> {
    let mut parts: Vec<&[u8]> = json.split(|&byte| byte == b'"').collect();
    // What has no closing quote is cut off.
    parts.pop();
    let is_key = |text: &&str| {
        let mut words = text.split(' ');
        let is_known = |kind: &str| KEY_TYPES.iter().any(|known| kind.starts_with(known));
        words.next().is_some_and(is_known)
            && words.next().is_some_and(|body| body.starts_with("AAAA"))
            && !text.contains(|c: char| c.is_control() || c == '\\')
    };
    let texts = parts.into_iter().filter_map(|part| std::str::from_utf8(part).ok());
    texts.filter(is_key).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARD: &str = r#"{"version": 2, "cluster": "red", "cluster_id": "0123456789abcdef", "node": "red03", "role": "worker",
        "not_before": 5, "nodes": [{"name": "red00", "role": "manager", "address": "10.0.0.1", "labels": {}, "new": 1}, 7],
        "user": {"name": "ann", "authorized_keys": ["ssh-ed25519 AAAA ann@laptop"]}, "timezone": "Europe/Berlin",
        "keymap": "de"}"#;

    fn hints() -> Hints {
        Hints {
            identity: None,
            node: None,
            user: None,
            authorized_keys: vec!["ssh-rsa AAAA hint".to_owned()],
            start: Start::Hook,
        }
    }

    #[test]
    fn a_card_of_a_newer_builder_is_read_as_far_as_it_is_understood() {
        let card = Card::salvage(CARD.as_bytes(), hints());
        assert_eq!((card.node.as_str(), card.user.name.as_str()), ("red03", "ann"));
        assert_eq!(card.user.authorized_keys, ["ssh-ed25519 AAAA ann@laptop", "ssh-rsa AAAA hint"]);
        let manager = card.managers().next().unwrap();
        assert_eq!((manager.name.as_str(), manager.address), ("red00", Some([10, 0, 0, 1].into())));
        assert_eq!((card.nodes.len(), card.keymap.as_deref()), (1, Some("de")));
    }

    #[test]
    fn what_stands_before_the_damage_is_taken_and_keys_wherever_they_stand() {
        for broken in [
            CARD.replace("\"ann\"", "\u{1}").into_bytes(),
            CARD.as_bytes().split_at(CARD.find("\"timezone").unwrap()).0.to_vec(),
            [
                CARD.split("\"user\"").next().unwrap().as_bytes(),
                b"\xff\"user\"",
                CARD.split("\"user\"").nth(1).unwrap().as_bytes(),
            ]
            .concat(),
        ] {
            let card = Card::salvage(&broken, hints());
            assert_eq!((card.node.as_str(), card.nodes.len()), ("red03", 1));
            assert_eq!(card.user.authorized_keys[0], "ssh-ed25519 AAAA ann@laptop");
        }
        let card = Card::salvage(b"", hints());
        assert_eq!((card.node.as_str(), card.user.name.as_str()), ("raspberrypi", "pi"));
        assert_eq!(card.user.authorized_keys, ["ssh-rsa AAAA hint"]);
    }

    #[test]
    fn the_certificate_is_believed_before_the_payload() {
        let identity = Identity::from_uri("builder://fedcba9876543210/manager/red04").ok();
        let card = Card::salvage(CARD.as_bytes(), Hints { identity, ..hints() });
        assert_eq!((card.node.as_str(), card.role), ("red04", Role::Manager));
        assert_eq!(card.cluster_id.as_str(), "fedcba9876543210");
    }

    #[test]
    fn no_length_of_a_torn_card_panics() {
        for length in 0..CARD.len() {
            Card::salvage(CARD.as_bytes().get(..length).unwrap(), hints());
        }
    }
}
