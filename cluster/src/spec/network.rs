//! Fixed addresses, and the labels written beside them.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;

use super::Refusal;
use super::address::{self, Subnet};
use super::fields::{self, Fields, Keys};
use super::nodes::{OnePerRange, expand, which_node};
use super::problem::{Collector, Place};
use super::secrets;
use super::tree::{Content, Entry, Node};
use crate::card::StaticAddress;
use crate::name::Hostname;

pub(super) static NETWORK: Keys = Keys { of: "network", names: &["addresses", "gateway", "dns"] };
pub(super) static PER_NODE: Keys = Keys { of: "per_node", names: &["address", "gateway", "dns", "labels"] };

/// A value and where it was written.
#[derive(Debug, Clone)]
pub(super) struct Given<T> {
    value: T,
    place: Place,
}

/// What one node has of its own.
#[derive(Debug, Clone, Default)]
pub(super) struct Own {
    /// Whether an address was written, be it right or wrong.
    addressed: bool,
    address: Option<Given<Subnet>>,
    gateway: Option<Given<Ipv4Addr>>,
    dns: Option<Given<Vec<Ipv4Addr>>>,
    pub(super) labels: BTreeMap<String, String>,
}

impl Own {
    /// The fixed address, if there is one.
    pub(super) fn address(&self) -> Option<StaticAddress> {
        self.address.as_ref().map(|address| StaticAddress {
            ip: address.value.ip,
            prefix: address.value.prefix,
            gateway: self.gateway.as_ref().map(|gateway| gateway.value),
            dns: self.dns.as_ref().map(|dns| dns.value.clone()).unwrap_or_default(),
        })
    }

    /// Reports gateway and name servers of who has no fixed address.
    fn left_to_dhcp(&self, whose: &str, key: &str, problems: &mut Collector<'_>) {
        let places =
            [self.gateway.as_ref().map(|gateway| gateway.place), self.dns.as_ref().map(|dns| dns.place)];
        for place in places.into_iter().flatten() {
            let message = format!("{whose} fixed address, so DHCP sets this");
            problems.add(place, message, format!("write {key} beside it, or remove it"));
        }
    }
}

/// A node being put together.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) name: Hostname,
    pub(super) own: Own,
}

/// Reads `network` and `per_node` and pairs them with the nodes; no names if these are not all known.
pub(super) fn read(
    root: &Fields<'_>,
    names: Option<&[Hostname]>,
    problems: &mut Collector<'_>,
) -> Vec<Draft> {
    let all = root.get("network", problems).and_then(|node| Fields::open(&NETWORK, node, problems));
    let shared = all.as_ref().map(|fields| settings(fields, problems)).unwrap_or_default();
    let mut drafts: Vec<Draft> =
        names.into_iter().flatten().map(|name| Draft { name: name.clone(), own: shared.clone() }).collect();
    if let Some(fields) = &all {
        addresses(fields, names, &mut drafts, problems);
    }
    per_node(root, names, &mut drafts, problems);
    if names.is_some() && !drafts.iter().any(|draft| draft.own.addressed) {
        shared.left_to_dhcp("no node has a", "`addresses`", problems);
    }
    compare(&drafts, problems);
    drafts
}

/// Reports a refusal at its place.
pub(super) fn reported<T>(
    result: Result<T, Refusal>,
    place: Place,
    problems: &mut Collector<'_>,
) -> Option<Given<T>> {
    match result {
        Ok(value) => Some(Given { value, place }),
        Err(refusal) => {
            problems.add(place, refusal.message, refusal.advice);
            None
        }
    }
}

/// `gateway` and `dns`, which `network` and a node's own keys share.
fn settings(fields: &Fields<'_>, problems: &mut Collector<'_>) -> Own {
    let gateway = fields
        .text("gateway", problems)
        .and_then(|(text, place)| reported(address::ip(text), place, problems));
    let servers = fields.texts("dns", problems);
    let dns = servers.first().map(|(_, place)| Given {
        place: *place,
        value: servers
            .iter()
            .filter_map(|(text, place)| reported(address::ip(text), *place, problems))
            .map(|server| server.value)
            .collect(),
    });
    Own { gateway, dns, ..Own::default() }
}

/// `network.addresses`: one for each node, in the nodes' order.
fn addresses(
    fields: &Fields<'_>,
    names: Option<&[Hostname]>,
    drafts: &mut [Draft],
    problems: &mut Collector<'_>,
) {
    for draft in drafts.iter_mut() {
        draft.own.addressed = fields.has("addresses");
    }
    let texts = fields.texts("addresses", problems);
    let Some(expanded) = expand(&texts, "addresses", problems) else {
        return;
    };
    if let (Some(names), Some((_, place))) = (names, texts.first())
        && expanded.len() != names.len()
    {
        let message = format!(
            "{} for {}",
            count(expanded.len(), "address", "addresses"),
            count(names.len(), "node", "nodes")
        );
        problems.add(*place, message, "write one address for each node, in the nodes' order");
    }
    let mut drafts = drafts.iter_mut();
    let mut refused = OnePerRange::default();
    for (text, place) in expanded {
        let draft = drafts.next();
        match address::node(&text) {
            Ok(value) => {
                if let Some(draft) = draft {
                    draft.own.address = Some(Given { value, place });
                }
            }
            Err(refusal) => refused.add(place, refusal, problems),
        }
    }
}

fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// `per_node`: wins over what `network` says.
fn per_node(
    root: &Fields<'_>,
    names: Option<&[Hostname]>,
    drafts: &mut [Draft],
    problems: &mut Collector<'_>,
) {
    let node = root.get("per_node", problems);
    let entries = node.and_then(|node| fields::mapping(node, &[], node_name, problems));
    let mut by_name: HashMap<String, &mut Draft> =
        drafts.iter_mut().map(|draft| (draft.name.to_string(), draft)).collect();
    for entry in entries.unwrap_or_default() {
        // What belongs to no node is read all the same: its problems are problems, too.
        let own = one_node(&entry.value, problems);
        if let Some(draft) = by_name.get_mut(&entry.key) {
            let shared = std::mem::take(&mut draft.own);
            let addressed = own.addressed || shared.addressed;
            if !addressed {
                own.left_to_dhcp(&format!("{} has no", draft.name), "an `address`", problems);
            }
            draft.own = Own {
                addressed,
                address: own.address.or(shared.address),
                gateway: own.gateway.or(shared.gateway),
                dns: own.dns.or(shared.dns),
                labels: own.labels,
            };
        } else if let Some(names) = names {
            problems.add_with(entry.key_place, || {
                let name = node_name(entry).map_or_else(|| "this".to_owned(), |name| format!("`{name}`"));
                (format!("{name} is not a node"), which_node(&entry.key, names))
            });
        }
    }
}

/// The name of an entry of `per_node` as messages may quote it: a mapping belongs to a node, anything else may be what
/// was meant for another key.
fn node_name(entry: &Entry) -> Option<&str> {
    let is_mapping = matches!(entry.value.content, Content::Mapping(_));
    (is_mapping && secrets::is_harmless_name(entry)).then_some(&entry.key)
}

/// The name of a label as messages may quote it.
fn label_name(entry: &Entry) -> Option<&str> {
    secrets::is_harmless_name(entry).then_some(&entry.key)
}

fn one_node(node: &Node, problems: &mut Collector<'_>) -> Own {
    let Some(fields) = Fields::open(&PER_NODE, node, problems) else {
        return Own::default();
    };
    let address = fields
        .text("address", problems)
        .and_then(|(text, place)| reported(address::node(text), place, problems));
    let addressed = fields.has("address");
    Own { addressed, address, labels: labels(&fields, problems), ..settings(&fields, problems) }
}

/// Docker takes any text as a label; what a shell or a constraint could not carry is refused.
fn labels(fields: &Fields<'_>, problems: &mut Collector<'_>) -> BTreeMap<String, String> {
    let node = fields.get("labels", problems);
    let entries = node.and_then(|node| fields::mapping(node, &[], label_name, problems));
    let mut labels = BTreeMap::new();
    for entry in entries.unwrap_or_default() {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
        if entry.key.is_empty() || !entry.key.chars().all(allowed) {
            problems.add(
                entry.key_place,
                "this is not the name of a label",
                "use letters, digits and . _ - /",
            );
        }
        let name = label_name(entry).unwrap_or("label");
        let Some((value, place)) = fields::text(&entry.value, name, problems) else {
            continue;
        };
        if value.contains(|c: char| c.is_control() || c == '=') {
            let message = format!("the label `{name}` holds a line break, a tab or =");
            problems.add(place, message, "write one line without =");
        }
        labels.insert(entry.key.clone(), value.to_owned());
    }
    labels
}

/// Rules between addresses.
fn compare(drafts: &[Draft], problems: &mut Collector<'_>) {
    let mut taken: BTreeMap<Ipv4Addr, &Hostname> = BTreeMap::new();
    for Draft { name, own } in drafts {
        let Some(address) = &own.address else {
            continue;
        };
        let ip = address.value.ip;
        if let Some(other) = taken.insert(ip, name) {
            problems.add(
                address.place,
                format!("{other} and {name} both have the address {ip}"),
                "give each its own",
            );
        }
    }
    for Draft { own, .. } in drafts {
        let (Some(address), Some(gateway)) = (&own.address, &own.gateway) else {
            continue;
        };
        if let Some(node) = taken.get(&gateway.value) {
            let message = format!("the gateway {} is also the address of {node}", gateway.value);
            problems.add(gateway.place, message, "write your router's address, or give the node another");
        } else {
            reported(address::host_of(address.value, gateway.value), gateway.place, problems);
        }
    }
}
