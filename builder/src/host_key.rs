//! The SSH host key of a machine, by which a machine is known.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The fingerprint of an SSH host key as `ssh` shows it: `SHA256:` and the digest in base64 without padding; with the type in
/// front where that is known, as in `ssh-ed25519 SHA256:…`. Keys with the same fingerprint are equal.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostKey {
    /// Records of older builders have none.
    kind: Option<String>,
    fingerprint: String,
}

/// A text that is not a fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("it is not the SHA-256 fingerprint of a host key")]
pub struct NotFingerprint;

/// What every fingerprint begins with.
const PREFIX: &str = "SHA256:";
/// Characters of a SHA-256 digest in base64 without padding.
const DIGITS: usize = 43;

impl HostKey {
    /// The type of the key, such as `ssh-ed25519`, where it is known.
    pub fn kind(&self) -> Option<&str> {
        self.kind.as_deref()
    }

    /// What has `ssh` ask a server for this type of key first, as a value of `HostKeyAlgorithms` (ssh_config(5)).
    pub fn preferred(&self) -> Option<String> {
        // The signature algorithms of an RSA key have other names than the key (RFC 8332).
        let algorithms = self.kind().map(|kind| kind.replace("ssh-rsa", "rsa-sha2-512"));
        algorithms.map(|algorithms| format!("^{algorithms}"))
    }
}

impl PartialEq for HostKey {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for HostKey {}

impl PartialOrd for HostKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for HostKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.fingerprint.cmp(&other.fingerprint)
    }
}

impl TryFrom<String> for HostKey {
    type Error = NotFingerprint;

    fn try_from(text: String) -> Result<Self, NotFingerprint> {
        let (kind, fingerprint) = match text.split_once(' ') {
            Some((kind, fingerprint)) => (Some(kind), fingerprint),
            None => (None, text.as_str()),
        };
        let is_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/');
        let digest = fingerprint.strip_prefix(PREFIX).ok_or(NotFingerprint)?;
        // It becomes a word of a setting of `ssh`, where `+`, `-` and `^` at the beginning and commas have a meaning.
        let is_kind = |kind: &str| {
            kind.starts_with(|c: char| c.is_ascii_lowercase())
                && kind.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '@'))
        };
        if digest.len() != DIGITS || !digest.chars().all(is_base64) || !kind.is_none_or(is_kind) {
            return Err(NotFingerprint);
        }
        Ok(Self { kind: kind.map(str::to_owned), fingerprint: fingerprint.to_owned() })
    }
}

impl From<HostKey> for String {
    fn from(key: HostKey) -> Self {
        key.to_string()
    }
}

impl fmt::Display for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(kind) = &self.kind {
            write!(f, "{kind} ")?;
        }
        f.write_str(&self.fingerprint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "SHA256:0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";

    fn read(text: impl Into<String>) -> Result<HostKey, NotFingerprint> {
        HostKey::try_from(text.into())
    }

    #[test]
    fn only_whole_fingerprints_are_read() {
        for text in
            [ONE.to_owned(), format!("ssh-ed25519 {ONE}"), format!("sk-ssh-ed25519@openssh.com {ONE}")]
        {
            assert_eq!(read(text.clone()).unwrap().to_string(), text);
        }
        for wrong in ["", "SHA256:", "MD5:aa:bb", &ONE[..49], &format!("{ONE}="), &ONE.replace('a', " ")] {
            assert_eq!(read(wrong), Err(NotFingerprint), "{wrong}");
        }
        for kind in ["", "-ed25519", "^ssh-ed25519", "ssh-ed25519,ssh-rsa", "ssh-ed25519 ssh-rsa", "Ed25519"]
        {
            assert_eq!(read(format!("{kind} {ONE}")), Err(NotFingerprint), "{kind}");
        }
    }

    #[test]
    fn a_key_is_known_by_its_fingerprint_whatever_is_said_of_its_type() {
        assert_eq!(read(ONE), read(format!("ssh-ed25519 {ONE}")));
        assert_ne!(read(ONE), read(ONE.replace('0', "1")));
    }

    #[test]
    fn asks_for_the_type_of_the_key_first() {
        let preferred = |kind: &str| read(format!("{kind} {ONE}")).unwrap().preferred().unwrap();
        assert_eq!(preferred("ecdsa-sha2-nistp256"), "^ecdsa-sha2-nistp256");
        assert_eq!(preferred("ssh-rsa"), "^rsa-sha2-512");
        assert_eq!(read(ONE).unwrap().preferred(), None);
    }
}
