//! One file's change, as it may be shown: secrets are only counted.

use serde::Serialize;
use similar::TextDiff;

use crate::agent::sha256_hex;

/// How a file's content may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Showing {
    /// As it is.
    Text,
    /// Size and SHA-256.
    Digest,
    /// The same, with the SHA-256 already known.
    Known(String),
    /// Size only: of something short even a digest tells too much.
    Secret,
}

/// What becomes of one file on the FAT.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileChange {
    /// Path from the FAT's root.
    pub path: String,
    /// Its text before; `None` for a new file.
    pub before: Option<String>,
    /// What is in it afterwards.
    #[serde(flatten)]
    pub after: Content,
}

/// A file's content, as it may be shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Content {
    /// Text.
    Text {
        /// All of it.
        text: String,
    },
    /// Bytes, or text nobody wants to read.
    Binary {
        /// How many.
        bytes: usize,
        /// SHA-256, hexadecimal.
        sha256: String,
    },
    /// Keys and hashes.
    Secret {
        /// How many bytes.
        bytes: usize,
    },
}

impl FileChange {
    pub(super) fn new(path: &str, before: Option<&str>, bytes: &[u8], showing: Showing) -> Self {
        let after = match showing {
            Showing::Text => Content::Text { text: String::from_utf8_lossy(bytes).into_owned() },
            Showing::Digest => Content::Binary { bytes: bytes.len(), sha256: sha256_hex(bytes) },
            Showing::Known(sha256) => Content::Binary { bytes: bytes.len(), sha256 },
            Showing::Secret => Content::Secret { bytes: bytes.len() },
        };
        Self { path: path.to_owned(), before: before.map(str::to_owned), after }
    }

    /// The change in the form of a unified diff; what is no text in one line.
    pub fn diff(&self) -> String {
        let before = self.before.as_deref();
        match &self.after {
            Content::Text { text } if text.is_empty() => format!("+++ {} (empty)\n", self.path),
            Content::Text { text } => {
                unified(before.map_or("/dev/null", |_| &self.path), before, &self.path, text)
            }
            Content::Binary { bytes, sha256 } => {
                let short = sha256.get(..12).unwrap_or(sha256);
                format!("+++ {} ({bytes} bytes, sha256 {short})\n", self.path)
            }
            Content::Secret { bytes } => format!("+++ {} (secret, {bytes} bytes)\n", self.path),
        }
    }

    /// The same, but compared with what another node gets, where both are texts that take the place of the same.
    pub fn diff_from(&self, other: &Self, node: &str) -> String {
        match (&self.after, &other.after) {
            (Content::Text { text }, Content::Text { text: theirs }) if self.before == other.before => {
                unified(&format!("{} of {node}", other.path), Some(theirs), &self.path, text)
            }
            _ => self.diff(),
        }
    }
}

fn unified(old_name: &str, old: Option<&str>, new_name: &str, new: &str) -> String {
    let diff = TextDiff::from_lines(old.unwrap_or_default(), new);
    diff.unified_diff().context_radius(1).header(old_name, new_name).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_a_change_as_a_unified_diff() {
        let change = FileChange::new("cmdline.txt", Some("a b\n"), b"a b c\n", Showing::Text);
        assert_eq!(change.diff(), "--- cmdline.txt\n+++ cmdline.txt\n@@ -1 +1 @@\n-a b\n+a b c\n");
        let new = FileChange::new("swarm/x", None, b"one\ntwo\n", Showing::Text);
        assert_eq!(new.diff(), "--- /dev/null\n+++ swarm/x\n@@ -0,0 +1,2 @@\n+one\n+two\n");
        let theirs = FileChange::new("swarm/x", None, b"one\n2\n", Showing::Text);
        assert_eq!(
            new.diff_from(&theirs, "red00"),
            "--- swarm/x of red00\n+++ swarm/x\n@@ -1,2 +1,2 @@\n one\n-2\n+two\n"
        );
    }

    #[test]
    fn counts_secrets_and_nothing_more() {
        let secret = FileChange::new("swarm/node-key.pem", None, b"hunter2", Showing::Secret);
        assert_eq!(secret.diff(), "+++ swarm/node-key.pem (secret, 7 bytes)\n");
        let everything = format!("{secret:?}{}", serde_json::to_string(&secret).unwrap());
        assert!(!everything.contains("hunter2") && !everything.contains("sha256"));
    }

    #[test]
    fn tells_binaries_apart_by_their_digest() {
        let binary = FileChange::new("swarm/run", None, b"", Showing::Digest);
        assert_eq!(binary.diff(), "+++ swarm/run (0 bytes, sha256 e3b0c44298fc)\n");
    }
}
