//! Taking a mapping's keys one by one: unknown, missing, twice, empty and of the wrong kind.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::problem::{Collector, Place};
use super::secrets;
use super::tree::{Content, Entry, Node, Style};

/// Which keys a mapping takes, in the order the guide explains them.
#[derive(Debug)]
pub(super) struct Keys {
    /// The mapping's own key; empty for the whole file.
    pub(super) of: &'static str,
    /// Its keys.
    pub(super) names: &'static [&'static str],
}

/// A mapping being read.
#[derive(Clone)]
pub(super) struct Fields<'n> {
    keys: &'static Keys,
    /// The whole mapping.
    pub(super) place: Place,
    entries: &'n [Entry],
    /// The first entry of each known key.
    known: BTreeMap<&'static str, &'n Entry>,
    /// The known keys that unknown ones were probably meant to be.
    misspelt: BTreeSet<&'static str>,
}

/// Unknown keys of a mapping that are compared with the known ones. Nobody misspells more, and a file can have millions.
const STRANGERS: usize = 100;
/// Longest text, in bytes. The longest that anybody needs is the line of an RSA key of 16384 bits, with options.
const LONGEST_TEXT: usize = 16 * 1024;
/// Longest word that is compared with others, in bytes: the comparison takes the product of two lengths.
const LONGEST_WORD: usize = 64;
/// Keys that take secrets, or whose own check says what is wrong with one.
const MAY_BE_SECRET: [&str; 3] = ["authorized_keys", "image", "url"];

impl<'n> Fields<'n> {
    /// Opens a mapping; reports what is not one, and keys that are unknown or there twice.
    pub(super) fn open(keys: &'static Keys, node: &'n Node, problems: &mut Collector<'_>) -> Option<Self> {
        let entries = mapping(node, keys.names, name_of_key, problems)?;
        let (mut known, mut misspelt) = (BTreeMap::new(), Vec::new());
        for entry in entries {
            if let Some(name) = keys.names.iter().find(|name| **name == entry.key) {
                problems.show(entry.key_place);
                known.entry(*name).or_insert(entry);
                continue;
            }
            problems.add_with(entry.key_place, || {
                let name = name_of_key(entry).map_or_else(|| "this".to_owned(), |name| format!("`{name}`"));
                let message = match keys.of {
                    "" => format!("{name} is not a key of a cluster file"),
                    of => format!("{name} is not a key of {of}"),
                };
                (message, did_you_mean(&entry.key, keys.names.iter().copied()))
            });
            if misspelt.len() < STRANGERS {
                misspelt.push(nearest(&entry.key, keys.names.iter().copied()));
            }
        }
        let misspelt = misspelt.into_iter().flatten().collect();
        Some(Self { keys, place: node.place, entries, known, misspelt })
    }

    /// A key's value; `None` if the key is absent or has no value, the latter being reported.
    pub(super) fn get(&self, key: &'static str, problems: &mut Collector<'_>) -> Option<&'n Node> {
        self.value(key, &format!("write a value after `{key}:`, or remove the line"), problems)
    }

    fn value(&self, key: &'static str, advice: &str, problems: &mut Collector<'_>) -> Option<&'n Node> {
        debug_assert!(self.keys.names.contains(&key), "{key} is missing in the list of keys");
        let entry = self.known.get(key)?;
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
        self.known.contains_key(key)
    }

    /// Whether an unknown key was probably meant to be this one, so that nothing more needs to be said about it.
    pub(super) fn misspells(&self, key: &str) -> bool {
        self.misspelt.contains(key)
    }

    /// The place of a key that is there, otherwise that of the mapping's first.
    pub(super) fn key_place(&self, key: &str) -> Place {
        self.known.get(key).map_or_else(|| self.head(), |entry| entry.key_place)
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

/// The entries of a mapping; reports anything else, and keys that are there twice. `name` is what a key may be called in
/// messages.
pub(super) fn mapping<'n>(
    node: &'n Node,
    keys: &[&str],
    name: fn(&Entry) -> Option<&str>,
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
    let mut seen: HashMap<&str, usize> = HashMap::with_capacity(entries.len());
    let mut strangers = 0;
    for entry in entries {
        let is_stranger = !keys.is_empty() && !keys.contains(&entry.key.as_str());
        strangers += usize::from(is_stranger);
        if strangers <= STRANGERS && name(entry).is_some() {
            problems.show(entry.key_place);
        }
        if let Some(line) = seen.get(entry.key.as_str()) {
            problems.add_with(entry.key_place, || {
                let name = name(entry).map_or_else(|| "this key".to_owned(), |name| format!("`{name}`"));
                (format!("{name} is here twice, first in line {line}"), "keep one of the two".to_owned())
            });
        } else {
            seen.insert(&entry.key, entry.key_place.line);
        }
    }
    Some(entries)
}

/// A scalar's text; reports anything else and the empty text.
pub(super) fn text<'n>(node: &'n Node, key: &str, problems: &mut Collector<'_>) -> Option<(&'n str, Place)> {
    match &node.content {
        Content::Text(text) if !text.trim().is_empty() => {
            return may_be_read(text, node, key, problems).then_some((text, node.place));
        }
        Content::Text(_) | Content::Nothing => {
            problems.show(node.place);
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

/// Checks what holds for every text, and allows it to be shown unless it is a secret.
fn may_be_read(text: &str, node: &Node, key: &str, problems: &mut Collector<'_>) -> bool {
    let place = first_line(node.place);
    if text.len() > LONGEST_TEXT {
        let advice = format!("write at most {LONGEST_TEXT} bytes");
        problems.add(place, format!("the text of `{key}` is too long"), advice);
        return false;
    }
    if ends_before_hash(node, key, problems) {
        problems.hide_text(text);
        let advice = "put the whole text in quotes, or move the comment to a line of its own";
        problems.add(place, format!("YAML ends the text of `{key}` before the #"), advice);
        return false;
    }
    if secrets::is_secret_key(key) {
        problems.hide_text(text);
        return true;
    }
    if secrets::is_secret_text(text) {
        problems.hide_text(text);
        if MAY_BE_SECRET.contains(&key) {
            return true;
        }
        problems.add(
            place,
            format!("`{key}` holds what looks like a password, its hash or a private key"),
            "write it where it belongs, or remove it",
        );
        return false;
    }
    // YAML appends further lines without a word, so what was meant to be a key becomes part of a text. A key line may be
    // long enough to be broken, and has a check of its own.
    if is_folded(node, problems) && !(key == "authorized_keys" && text.contains("AAAA")) {
        let message = format!("the text of `{key}` goes on in the next line");
        problems.add(place, message, "write it in one line, and keys without blanks before them");
        return false;
    }
    if secrets::may_hold_secret(text) {
        problems.hide_text(text);
    } else {
        problems.show(node.place);
    }
    true
}

/// Whether a text has several lines in the file.
fn is_folded(node: &Node, problems: &Collector<'_>) -> bool {
    let Place { line, end_line, .. } = node.place;
    if line == end_line {
        return false;
    }
    let lines = (line..=end_line).map(|number| (number, problems.line(number)));
    let written = lines.filter(|(number, line)| {
        let columns = node.place.columns_in(*number, line.chars().count());
        columns.is_some_and(|(from, to)| !line.chars().take(to).skip(from).all(char::is_whitespace))
    });
    written.take(2).count() > 1
}

/// Whether a text without quotes is probably cut short by what YAML takes for a comment: any behind a pass phrase, and one
/// without a blank, as in `Room #5`, behind a network's name.
fn ends_before_hash(node: &Node, key: &str, problems: &Collector<'_>) -> bool {
    if node.style != Style::Plain || !["psk", "ssid"].contains(&key) {
        return false;
    }
    let rest = problems.rest_of_line(node.place).trim_start();
    rest.strip_prefix('#').is_some_and(|comment| key == "psk" || !comment.starts_with([' ', '#']))
}

/// A place, as far as it lies in its first line.
const fn first_line(place: Place) -> Place {
    if place.line == place.end_line { place } else { Place::point(place.line, place.column) }
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

/// A key as messages may quote it; `None` if it may be part of a secret.
fn name_of_key(entry: &Entry) -> Option<&str> {
    let known = || super::all_keys().flat_map(|keys| keys.names).copied();
    let is_harmless = secrets::is_harmless_key(entry)
        || secrets::is_known_key(&entry.key)
        || nearest(&entry.key, known()).is_some();
    is_harmless.then_some(&entry.key)
}

/// The known word that was probably meant.
fn nearest<'w>(word: &str, known: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    if word.len() > LONGEST_WORD {
        return None;
    }
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
