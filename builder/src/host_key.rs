//! The SSH host key of a machine, by which a machine is known.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The fingerprint of an SSH host key as `ssh` shows it: `SHA256:` and the digest in base64 without padding.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostKey(String);

/// A text that is not a fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("it is not the SHA-256 fingerprint of a host key")]
pub struct NotFingerprint;

/// What every fingerprint begins with.
const PREFIX: &str = "SHA256:";
/// Characters of a SHA-256 digest in base64 without padding.
const DIGITS: usize = 43;

impl TryFrom<String> for HostKey {
    type Error = NotFingerprint;

    fn try_from(text: String) -> Result<Self, NotFingerprint> {
        let is_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/');
        match text.strip_prefix(PREFIX) {
            Some(digest) if digest.len() == DIGITS && digest.chars().all(is_base64) => Ok(Self(text)),
            _ => Err(NotFingerprint),
        }
    }
}

impl From<HostKey> for String {
    fn from(key: HostKey) -> Self {
        key.0
    }
}

impl fmt::Display for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "SHA256:0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";

    #[test]
    fn only_whole_fingerprints_are_read() {
        assert_eq!(HostKey::try_from(ONE.to_owned()).unwrap().to_string(), ONE);
        for wrong in ["", "SHA256:", "MD5:aa:bb", &ONE[..49], &format!("{ONE}="), &ONE.replace('a', " ")] {
            assert_eq!(HostKey::try_from(wrong.to_owned()), Err(NotFingerprint), "{wrong}");
        }
    }
}
