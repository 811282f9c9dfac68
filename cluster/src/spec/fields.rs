//! Taking a mapping's keys one by one: unknown, missing, twice, empty and of the wrong kind.

use super::problem::{Collector, Place};
use super::tree::{Content, Entry, Node};

/// Which keys a mapping takes, in the order the guide explains them.
#[derive(Debug)]
pub(super) struct Keys {
    /// The mapping's own key; empty for the whole file.
    pub(super) of: &'static str,
    /// Its keys.
    pub(super) names: &'static [&'static str],
}

/// A mapping being read.
#[derive(Clone, Copy)]
pub(super) struct Fields<'n> {
    keys: &'static Keys,
    /// The whole mapping.
    pub(super) place: Place,
    entries: &'n [Entry],
}

impl<'n> Fields<'n> {
    /// Opens a mapping; reports what is not one, and keys that are unknown or there twice.
    pub(super) fn open(keys: &'static Keys, node: &'n Node, problems: &mut Collector<'_>) -> Option<Self> {
        let entries = mapping(node, keys.names, problems)?;
        for entry in entries {
            if !keys.names.contains(&entry.key.as_str()) {
                let message = match keys.of {
                    "" => format!("`{}` is not a key of a cluster file", shown(&entry.key)),
                    of => format!("`{}` is not a key of {of}", shown(&entry.key)),
                };
                problems.add(entry.key_place, message, did_you_mean(&entry.key, keys.names.iter().copied()));
            }
        }
        Some(Self { keys, place: node.place, entries })
    }

    /// A key's value; `None` if the key is absent or has no value, the latter being reported.
    pub(super) fn get(&self, key: &'static str, problems: &mut Collector<'_>) -> Option<&'n Node> {
        self.value(key, &format!("write a value after `{key}:`, or remove the line"), problems)
    }

    fn value(&self, key: &'static str, advice: &str, problems: &mut Collector<'_>) -> Option<&'n Node> {
        debug_assert!(self.keys.names.contains(&key), "{key} is missing in the list of keys");
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        match entry.value.content {
            Content::Nothing => {
                problems.add(entry.key_place, format!("`{key}` has no value"), advice);
                None
            }
            Content::Unusable => None,
            _ => Some(&entry.value),
        }
    }

    /// A key's value; its absence is reported at the mapping, with an example of what to write.
    pub(super) fn need(
        &self,
        key: &'static str,
        example: &str,
        problems: &mut Collector<'_>,
    ) -> Option<&'n Node> {
        if !self.has(key) {
            if self.misspells(key) {
                return None;
            }
            let message = match self.keys.of {
                "" => format!("`{key}` is missing"),
                of => format!("`{of}` lacks `{key}`"),
            };
            problems.add(self.head(), message, format!("write `{key}: {example}`"));
            return None;
        }
        self.value(key, &format!("write `{key}: {example}`"), problems)
    }

    /// Whether the key is there, whatever its value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// Whether an unknown key was probably meant to be this one, so that nothing more needs to be said about it.
    pub(super) fn misspells(&self, key: &str) -> bool {
        let strange = self.entries.iter().filter(|entry| !self.keys.names.contains(&entry.key.as_str()));
        strange.into_iter().any(|entry| nearest(&entry.key, self.keys.names.iter().copied()) == Some(key))
    }

    /// The place of a key that is there, otherwise that of the mapping's first.
    pub(super) fn key_place(&self, key: &str) -> Place {
        self.entries
            .iter()
            .find(|entry| entry.key == key)
            .map_or_else(|| self.head(), |entry| entry.key_place)
    }

    fn head(&self) -> Place {
        self.entries.first().map_or(self.place, |entry| entry.key_place)
    }

    /// A key's text.
    pub(super) fn text(&self, key: &'static str, problems: &mut Collector<'_>) -> Option<(&'n str, Place)> {
        self.get(key, problems).and_then(|node| text(node, key, problems))
    }

    /// A key's `true` or `false`.
    pub(super) fn flag(&self, key: &'static str, problems: &mut Collector<'_>) -> Option<bool> {
        let (text, place) = self.text(key, problems)?;
        match text {
            "true" => Some(true),
            "false" => Some(false),
            _ => {
                problems.add(place, format!("`{key}` is a yes-or-no question"), "write true or false");
                None
            }
        }
    }

    /// A key's list of texts; a single text counts as a list of one. Empty if absent.
    pub(super) fn texts(&self, key: &'static str, problems: &mut Collector<'_>) -> Vec<(&'n str, Place)> {
        self.get(key, problems).map(|node| texts(node, key, problems)).unwrap_or_default()
    }
}

/// The entries of a mapping; reports anything else, and keys that are there twice.
pub(super) fn mapping<'n>(
    node: &'n Node,
    keys: &[&str],
    problems: &mut Collector<'_>,
) -> Option<&'n [Entry]> {
    let Content::Mapping(entries) = &node.content else {
        if !matches!(node.content, Content::Unusable) {
            let advice = match keys {
                [] => "write `key: value` pairs".to_owned(),
                keys => format!("write `key: value` pairs with the keys {}", keys.join(", ")),
            };
            problems.add(node.place, format!("{} stands where keys are wanted", kind(node)), advice);
        }
        return None;
    };
    for (index, entry) in entries.iter().enumerate() {
        let earlier = entries.iter().take(index).find(|earlier| earlier.key == entry.key);
        if let Some(earlier) = earlier {
            let message =
                format!("`{}` is here twice, first in line {}", shown(&entry.key), earlier.key_place.line);
            problems.add(entry.key_place, message, "keep one of the two");
        }
    }
    Some(entries)
}

/// A scalar's text; reports anything else and the empty text.
pub(super) fn text<'n>(node: &'n Node, key: &str, problems: &mut Collector<'_>) -> Option<(&'n str, Place)> {
    match &node.content {
        Content::Text(text) if !text.trim().is_empty() => return Some((text, node.place)),
        Content::Text(_) | Content::Nothing => {
            problems.add(node.place, format!("`{key}` has an empty text"), "write a text, or remove it");
        }
        Content::Unusable => {}
        Content::List(_) | Content::Mapping(_) => {
            let message = format!("`{key}` takes one text, not {}", kind(node));
            problems.add(
                node.place,
                message,
                format!("write `{key}: text`; quote a text that begins with [ or {{"),
            );
        }
    }
    None
}

/// The texts of a list, or the only text; reports anything else.
pub(super) fn texts<'n>(node: &'n Node, key: &str, problems: &mut Collector<'_>) -> Vec<(&'n str, Place)> {
    match &node.content {
        Content::List(items) if items.is_empty() => {
            let advice = "write at least one text between the brackets, or remove the line";
            problems.add(node.place, format!("`{key}` is an empty list"), advice);
            Vec::new()
        }
        Content::List(items) => items.iter().filter_map(|item| text(item, key, problems)).collect(),
        Content::Mapping(_) => {
            let message = format!("`{key}` takes a text or a list of texts, not keys");
            problems.add(node.place, message, "write [\"one\", \"two\"]; quote texts with : or { }");
            Vec::new()
        }
        _ => text(node, key, problems).into_iter().collect(),
    }
}

const fn kind(node: &Node) -> &'static str {
    match node.content {
        Content::Nothing | Content::Unusable => "nothing",
        Content::Text(_) => "a text",
        Content::List(_) => "a list",
        Content::Mapping(_) => "a mapping",
    }
}

/// A key as messages quote it: keys come from the file, and may be a pasted novel.
pub(super) fn shown(key: &str) -> String {
    if super::secrets::is_secret_text(key) {
        return "(hidden)".to_owned();
    }
    let mut text: String =
        key.chars().take(40).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.len() < key.len() {
        text.push('…');
    }
    text
}

/// The known word that was probably meant.
fn nearest<'w>(word: &str, known: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    let word = word.to_lowercase().replace('-', "_");
    let (distance, near) = known
        .map(|known| (strsim::damerau_levenshtein(&word, known), known))
        .min_by_key(|(distance, _)| *distance)?;
    (distance <= 1 + near.len() / 5).then_some(near)
}

/// Advice for an unknown word: the nearest of the known ones, or all of them.
pub(super) fn did_you_mean<'w>(word: &str, known: impl Iterator<Item = &'w str> + Clone) -> String {
    match nearest(word, known.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("write one of: {}", known.collect::<Vec<_>>().join(", ")),
    }
}
