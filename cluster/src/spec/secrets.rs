//! Which stretches of a cluster file must not be shown in messages.

use super::problem::Collector;
use super::tree::{Content, Node};

/// Words in a key whose value is shown to nobody. Wider than the keys there are, for the misspelt ones.
const WORDS: [&str; 7] = ["pass", "psk", "pwd", "hash", "secret", "token", "private"];

fn is_secret_key(key: &str) -> bool {
    let key = key.to_lowercase();
    WORDS.iter().any(|word| key.contains(word)) || strsim::damerau_levenshtein(&key, "psk") <= 1
}

/// A crypt(5) hash or private key is one under whatever key it was put.
pub(super) fn is_secret_text(text: &str) -> bool {
    let crypt = text.strip_prefix('$').is_some_and(|rest| rest.contains('$'));
    crypt || text.contains("PRIVATE KEY")
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

/// The column, from 0, after the first secret key and its colon in a line that could not be parsed, or at which
/// the line begins to look like a secret.
pub(super) fn after_secret_key(line: &str) -> Option<usize> {
    let mut column = 0;
    for word in line.split_inclusive([':', ',', '{', '[', ' ']) {
        if is_secret_text(line.get(column..).unwrap_or_default().trim_start_matches(['"', '\''])) {
            return Some(line.get(..column).unwrap_or_default().chars().count());
        }
        column += word.len();
        if word.ends_with(':') && is_secret_key(word) {
            return Some(line.get(..column).unwrap_or_default().chars().count());
        }
    }
    None
}
