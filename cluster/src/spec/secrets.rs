//! Which parts of a cluster file are secrets, and which of its keys may be shown.

use super::problem::Collector;
use super::tree::{Content, Entry, Node};

/// Words in a key whose value is never shown. There are more than the cluster file's own secret keys have, for the
/// misspelt ones. A proxy's URL often has a password.
const WORDS: [&str; 8] = ["pass", "psk", "pwd", "hash", "secret", "token", "private", "proxy"];
/// Words that say, before `=` or `:`, that a secret follows.
const NAMES: [&str; 6] = ["psk", "password", "passphrase", "passwd", "secret", "token"];
/// Longest key that is shown, in characters.
const LONGEST_KEY: usize = 40;

/// Whether a key's value is never shown.
pub(super) fn is_secret_key(key: &str) -> bool {
    if key.len() > 2 * LONGEST_KEY {
        return true;
    }
    let key = key.to_lowercase();
    let is_proxy = super::proxy::PROXY.names.contains(&key.as_str()) && key != "no_proxy";
    is_proxy || WORDS.iter().any(|word| key.contains(word)) || strsim::damerau_levenshtein(&key, "psk") <= 1
}

/// Whether a text is a secret under any key: a crypt(5) hash, a private key, a URL with a password, or something like
/// `psk=...`.
pub(super) fn is_secret_text(text: &str) -> bool {
    let crypt = text.strip_prefix('$').is_some_and(|rest| rest.contains('$'));
    let login = text.split_once("://").is_some_and(|(_, rest)| rest.contains('@'));
    let named = |text: &str| {
        let ends = |part: &str| NAMES.iter().any(|name| part.trim_end().to_lowercase().ends_with(name));
        let mut parts = text.split(['=', ':']);
        parts.next_back();
        parts.any(ends)
    };
    crypt || login || text.contains("PRIVATE KEY") || text.contains("PuTTY-User-Key-File") || named(text)
}

/// Whether a text speaks of a secret: the line of one may have become part of another value. Such a value is read, but not
/// shown.
pub(super) fn may_hold_secret(text: &str) -> bool {
    let text = text.to_lowercase();
    NAMES.iter().chain(&["$5$", "$6$", "$y$"]).any(|word| text.contains(word))
}

/// Hides every secret of a tree, and notes where its texts stand.
pub(super) fn hide(node: &Node, problems: &mut Collector<'_>) {
    match &node.content {
        Content::Text(text) if is_secret_text(text) => problems.hide(node.place),
        Content::Text(_) => problems.note_text(node.place),
        Content::List(items) => items.iter().for_each(|item| hide(item, problems)),
        Content::Mapping(entries) => {
            for entry in entries {
                problems.note_text(entry.key_place);
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

/// Whether a word is a key of a cluster file or of a list of hosts.
pub(super) fn is_known_key(word: &str) -> bool {
    super::all_keys().any(|keys| keys.names.contains(&word))
}

/// Whether an unknown key cannot be a part of a secret: it looks like a key, and no secret stands before it in its
/// mapping. In `{psk: abc,def: ghi}` YAML ends the pass phrase at the comma, and its rest becomes a key.
pub(super) fn is_harmless_key(entry: &Entry) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b == b'_' || b == b'-';
    !entry.after_secret && entry.key.len() <= LONGEST_KEY && entry.key.bytes().all(allowed)
}

/// Whether a key that people choose themselves, such as a node's name, cannot be a part of a secret.
pub(super) fn is_harmless_name(entry: &Entry) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-/".contains(&b);
    !entry.after_secret && entry.key.len() <= 2 * LONGEST_KEY && entry.key.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_secret_keys_and_their_misspellings() {
        for key in [
            "psk",
            "pks",
            "PSK",
            "password_hash",
            "pasword_hash",
            "passphrase",
            "proxy",
            "https_proxy",
            "http",
        ] {
            assert!(is_secret_key(key), "{key}");
        }
        for key in ["name", "nodes", "ssid", "user", "image_sha256", "disk"] {
            assert!(!is_secret_key(key), "{key}");
        }
    }

    #[test]
    fn knows_values_that_swallowed_a_secret() {
        for text in ["Lab\", psk hunter2", "ssh-ed25519 AAAA anna password_hash $6$a$b", "x $y$a$b"] {
            assert!(may_hold_secret(text), "{text}");
        }
        assert!(!may_hold_secret("ssh-ed25519 AAAA anna@laptop"));
    }

    #[test]
    fn knows_secrets_under_any_key() {
        for text in
            ["$6$salt$hash", "http://me:pw@proxy:3128", "Lab psk=hunter2", "password : x", "a PRIVATE KEY b"]
        {
            assert!(is_secret_text(text), "{text}");
        }
        for text in ["Lab: 2", "os.img", "https://example.org/a?b=c", "5:29.*", "red[00-04]"] {
            assert!(!is_secret_text(text), "{text}");
        }
    }
}
