//! Names and roles of the nodes.

use super::fields::{self, Fields};
use super::problem::{Collector, Place};
use super::{Node, Outside, Refusal, checks, network};
use crate::identity::Role;
use crate::name::Hostname;
use crate::range;

/// Reads everything about nodes: `nodes`, `managers`, `network` and `per_node`.
pub(super) fn read(
    root: &Fields<'_>,
    outside: &dyn Outside,
    problems: &mut Collector<'_>,
) -> Option<Vec<Node>> {
    let names = names(root, outside, problems);
    let managers = managers(root, names.as_deref(), problems);
    let drafts = network::read(root, names.as_deref(), problems);
    let managers = managers?;
    let nodes = drafts.into_iter().map(|draft| {
        let role = if managers.contains(&draft.name) { Role::Manager } else { Role::Worker };
        let address = draft.own.address();
        Node { name: draft.name, role, address, labels: draft.own.labels }
    });
    Some(nodes.collect())
}

/// Reports one thing of a kind about each range: its thousand names share a place and, mostly, the mistake.
#[derive(Debug, Default)]
pub(super) struct OnePerRange(Option<Place>);

impl OnePerRange {
    pub(super) fn add(&mut self, place: Place, refusal: Refusal, problems: &mut Collector<'_>) {
        if self.0.replace(place) != Some(place) {
            problems.add(place, refusal.message, refusal.advice);
        }
    }

    /// Whether nothing was reported.
    const fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

/// The texts that ranges stand for, each with the place of its range; `None` if one could not be expanded.
pub(super) fn expand(
    texts: &[(&str, Place)],
    key: &str,
    problems: &mut Collector<'_>,
) -> Option<Vec<(String, Place)>> {
    let mut expanded = Vec::new();
    let mut whole = true;
    for (text, place) in texts {
        match range::expand(text) {
            Ok(values) if expanded.len() + values.len() > range::LIMIT => {
                problems.add(
                    *place,
                    format!("`{key}` stands for more than {} texts", range::LIMIT),
                    "write fewer",
                );
                return None;
            }
            Ok(values) => expanded.extend(values.into_iter().map(|value| (value, *place))),
            Err(error) => {
                problems.add(*place, format!("`{text}` {error}"), error.advice());
                whole = false;
            }
        }
    }
    whole.then_some(expanded)
}

/// The nodes' names; `None` if they are not all known, so that nothing is to be compared with them.
fn names(root: &Fields<'_>, outside: &dyn Outside, problems: &mut Collector<'_>) -> Option<Vec<Hostname>> {
    let node = root.need("nodes", "red[00-04]", problems)?;
    let texts = fields::texts(node, "nodes", problems);
    let expanded = expand(&texts, "nodes", problems)?;
    let mut names: Vec<Hostname> = Vec::new();
    let (mut refused, mut twice) = (OnePerRange::default(), OnePerRange::default());
    for (text, place) in &expanded {
        let number = checks::number(text).filter(|_| outside.can_rename_nodes());
        match number.map_or_else(|| checks::hostname(text), Err) {
            Err(mut refusal) => {
                // Of a range this is only the first name.
                let is_range = texts.iter().any(|(written, of)| of == place && written.contains('['));
                if let Some(near) = Hostname::like(text).filter(|_| is_range) {
                    refusal.advice = format!("write names like {near}");
                }
                refused.add(*place, refusal, problems);
            }
            Ok(name) if names.contains(&name) => {
                let message = format!("the node {name} is named twice");
                twice.add(*place, Refusal::new(message, "name each node once"), problems);
            }
            Ok(name) => names.push(name),
        }
    }
    (refused.is_empty() && !names.is_empty()).then_some(names)
}

/// The managers' names: those of `managers`, otherwise the first node.
fn managers(
    root: &Fields<'_>,
    nodes: Option<&[Hostname]>,
    problems: &mut Collector<'_>,
) -> Option<Vec<Hostname>> {
    if !root.has("managers") {
        return nodes?.first().map(|first| vec![first.clone()]);
    }
    let texts = root.texts("managers", problems);
    let expanded = expand(&texts, "managers", problems)?;
    let place = texts.first()?.1;
    if !matches!(expanded.len(), 1 | 3 | 5) {
        // An even number can lose no more of them than the odd one below it.
        let message = format!("a swarm has one, three or five managers, not {}", expanded.len());
        problems.add(place, message, "name one, three or five");
    }
    let nodes = nodes?;
    let mut managers: Vec<Hostname> = Vec::new();
    let (mut unknown, mut twice) = (OnePerRange::default(), OnePerRange::default());
    for (text, place) in &expanded {
        match nodes.iter().find(|node| node.as_str() == text) {
            None => {
                let message = format!("the manager `{text}` is not a node");
                unknown.add(*place, Refusal::new(message, which_node(text, nodes)), problems);
            }
            Some(node) if managers.contains(node) => {
                let message = format!("the manager {node} is named twice");
                twice.add(*place, Refusal::new(message, "name each manager once"), problems);
            }
            Some(node) => managers.push(node.clone()),
        }
    }
    Some(managers)
}

/// Advice for a name that is no node's.
pub(super) fn which_node(text: &str, nodes: &[Hostname]) -> String {
    match nodes {
        [first, .., last] if nodes.len() > 8 => {
            format!("write one of the {} names from {first} to {last}", nodes.len())
        }
        nodes => fields::did_you_mean(text, nodes.iter().map(Hostname::as_str)),
    }
}
