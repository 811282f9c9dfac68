//! Which stretches of a cluster file must not be shown in messages.

use super::problem::{Collector, Place};
use super::tree::{Content, Node};

/// Words in a key whose value is shown to nobody. Wider than the keys there are, for the misspelt ones.
const WORDS: [&str; 8] = ["pass", "psk", "pwd", "hash", "secret", "token", "private", "proxy"];

fn is_secret_key(key: &str) -> bool {
    let key = key.to_lowercase();
    WORDS.iter().any(|word| key.contains(word)) || strsim::damerau_levenshtein(&key, "psk") <= 1
}

/// A crypt(5) hash, a private key or a URL with a password is one under whatever key it was put.
pub(super) fn is_secret_text(text: &str) -> bool {
    let crypt = text.strip_prefix('$').is_some_and(|rest| rest.contains('$'));
    let login = text.split_once("://").is_some_and(|(_, rest)| rest.contains('@'));
    crypt || login || text.contains("PRIVATE KEY")
}

/// Hides every secret of a tree.
pub(super) fn hide(node: &Node, problems: &mut Collector<'_>) {
    match &node.content {
        Content::Text(text) if is_secret_text(text) => problems.hide(node.place),
        Content::List(items) => items.iter().for_each(|item| hide(item, problems)),
        Content::Mapping(entries) => {
            for entry in entries {
                if is_secret_text(&entry.key) {
                    problems.hide(entry.key_place);
                }
                let empty = matches!(entry.value.content, Content::Nothing);
                if is_secret_key(&entry.key) && !empty {
                    problems.hide(entry.value.place);
                } else {
                    hide(&entry.value, problems);
                }
            }
        }
        _ => {}
    }
}

/// Hides secrets in a text that could not be parsed, up to a line: the rest of a line after a secret key, and the
/// lines that may continue it. Rather too much than too little.
pub(super) fn hide_in_text(text: &str, last: usize, problems: &mut Collector<'_>) {
    let mut key_indent = None;
    for (number, line) in (1..).zip(text.lines()).take(last) {
        let indent = line.len() - line.trim_start().len();
        if key_indent.is_some_and(|key| indent <= key && begins_with_key(line)) {
            key_indent = None;
        }
        let from = if key_indent.is_some() { Some(0) } else { secret_column(line) };
        let Some(from) = from else {
            continue;
        };
        key_indent.get_or_insert(indent);
        let end = line.chars().count().max(from);
        problems.hide(Place { line: number, column: from + 1, end_line: number, end_column: end + 1 });
    }
}

fn begins_with_key(line: &str) -> bool {
    let word = line.trim_start_matches([' ', '\t', '-', '{', '"', '\'']);
    let rest = word.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
    rest.len() < word.len() && rest.trim_start_matches(['"', '\'', ' ']).starts_with(':')
}

/// The column, from 0, at which a line begins to be secret: after a secret key's colon, or at a secret text.
fn secret_column(line: &str) -> Option<usize> {
    if line.contains("PRIVATE KEY") {
        return Some(0);
    }
    let mut column = 0;
    for word in line.split_inclusive([' ', ',', '{', '[']) {
        if is_secret_text(word.trim_start_matches(['"', '\''])) {
            return Some(column);
        }
        if let Some((key, _)) = word.split_once(':')
            && is_secret_key(key.trim_matches(['"', '\'']))
        {
            return Some(column + key.chars().count() + 1);
        }
        column += word.chars().count();
    }
    None
}
