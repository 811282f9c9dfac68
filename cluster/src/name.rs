//! Names with a rule: what exists has been checked.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a name was refused. Reads after the name itself.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameError {
    /// Nothing there.
    #[error("is empty")]
    Empty,
    /// Longer than the rule allows; the limit in characters.
    #[error("is longer than {0} characters")]
    TooLong(usize),
    /// A character the rule does not allow.
    #[error("has the character {0:?}; {1}")]
    Character(char, &'static str),
    /// The first or last character is not allowed there.
    #[error("{0}")]
    Edge(&'static str),
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                let check: fn(&str) -> Result<(), NameError> = $check;
                check(&text)?;
                Ok(Self(text))
            }
        }

        impl TryFrom<&str> for $name {
            type Error = NameError;
            fn try_from(text: &str) -> Result<Self, NameError> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// A node's host name: one DNS label of lower-case letters, digits and hyphens (RFC 1123 §2.1), at most 63.
    Hostname, check_label
}
name! {
    /// A cluster's name: the same rule as [`Hostname`], since it becomes part of DNS names.
    ClusterName, check_label
}
name! {
    /// The login name on a node: `^[a-z][a-z0-9-]*$`, at most 32 and not `root`, which is what Pi OS's own
    /// `userconf` accepts (userconf-pi, `userconf-service`).
    UserName, check_user
}
name! {
    /// A cluster's identity: 16 lower-case hexadecimal digits drawn when its CA was made. Two clusters of one name differ in it.
    ClusterId, check_id
}

name! {
    /// A public key's identity: the SHA-256 of its SubjectPublicKeyInfo (RFC 5280 §4.1.2.7, DER) in 64 lower-case
    /// hexadecimal digits. It stays the same when a certificate is issued anew over the same key.
    KeyId, check_key
}

/// What stands for names that cannot be read any more.
impl ClusterName {
    pub(crate) fn unknown() -> Self {
        Self("unknown".to_owned())
    }
}

/// For clusters that no file names.
impl ClusterName {
    /// The nearest name to a text, such as a file's: what no name has becomes a hyphen. `swarm` where nothing is left.
    pub fn like(text: &str) -> Self {
        let lower = text.to_lowercase();
        let fit: String = lower
            .chars()
            .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' })
            .take(63)
            .collect();
        match fit.trim_matches('-') {
            "" => Self("swarm".to_owned()),
            fit => Self(fit.to_owned()),
        }
    }
}

impl ClusterId {
    pub(crate) fn unknown() -> Self {
        Self("0".repeat(16))
    }
}

impl Hostname {
    /// The nearest name to what somebody calls a machine, without its domain: `kitchen-pi` for `Kitchen_Pi.example.org`.
    /// `None` where no letter or digit is left, or only digits.
    pub fn like(text: &str) -> Option<Self> {
        let label = text.split('.').next().unwrap_or_default().to_lowercase();
        let fit: String = label
            .chars()
            .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' })
            .take(63)
            .collect();
        let fit = fit.trim_matches('-');
        let is_name = fit.contains(|c: char| c.is_ascii_lowercase());
        is_name.then(|| Self(fit.to_owned()))
    }
}

/// What Raspberry Pi OS calls itself and its user.
impl Hostname {
    pub(crate) fn of_image() -> Self {
        Self("raspberrypi".to_owned())
    }
}

impl UserName {
    /// Raspberry Pi OS's user.
    pub fn of_image() -> Self {
        Self("pi".to_owned())
    }
}

fn check_label(text: &str) -> Result<(), NameError> {
    const RULE: &str = "use lower-case letters, digits and hyphens";
    check(text, 63, RULE, |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')?;
    if text.starts_with('-') || text.ends_with('-') {
        return Err(NameError::Edge("begins or ends with a hyphen"));
    }
    Ok(())
}

fn check_user(text: &str) -> Result<(), NameError> {
    const RULE: &str = "use lower-case letters, digits and hyphens";
    check(text, 32, RULE, |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')?;
    if !text.starts_with(|c: char| c.is_ascii_lowercase()) {
        return Err(NameError::Edge("does not begin with a letter"));
    }
    if text == "root" {
        return Err(NameError::Edge("is root, which Pi OS does not rename its user to"));
    }
    Ok(())
}

fn check_id(text: &str) -> Result<(), NameError> {
    check(text, 16, "use hexadecimal digits", is_hexadecimal)?;
    if text.len() != 16 {
        return Err(NameError::Edge("has not 16 digits"));
    }
    Ok(())
}

fn check_key(text: &str) -> Result<(), NameError> {
    check(text, 64, "use hexadecimal digits", is_hexadecimal)?;
    if text.len() != 64 {
        return Err(NameError::Edge("has not 64 digits"));
    }
    Ok(())
}

const fn is_hexadecimal(c: char) -> bool {
    matches!(c, '0'..='9' | 'a'..='f')
}

impl KeyId {
    /// From the digest.
    pub fn from_sha256(digest: [u8; 32]) -> Self {
        Self(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

fn check(text: &str, limit: usize, rule: &'static str, allowed: fn(char) -> bool) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if let Some(bad) = text.chars().find(|c| !allowed(*c)) {
        return Err(NameError::Character(bad, rule));
    }
    if text.len() > limit {
        return Err(NameError::TooLong(limit));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_the_lesson_uses() {
        for name in ["red00", "a", "9lives", "x-1"] {
            assert_eq!(Hostname::try_from(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn refuses_names_dns_would_not_carry() {
        assert_eq!(Hostname::try_from(""), Err(NameError::Empty));
        assert!(matches!(Hostname::try_from("Red00"), Err(NameError::Character('R', _))));
        assert!(matches!(Hostname::try_from("red_0"), Err(NameError::Character('_', _))));
        assert!(matches!(Hostname::try_from("red0-"), Err(NameError::Edge(_))));
        assert_eq!(Hostname::try_from("a".repeat(64)), Err(NameError::TooLong(63)));
    }

    #[test]
    fn a_cluster_can_be_named_after_any_text() {
        let like = |text: &str| String::from(ClusterName::like(text));
        assert_eq!(like("hostnames"), "hostnames");
        assert_eq!(like("Unser Rack_2"), "unser-rack-2");
        assert_eq!(like("--"), "swarm");
        assert!(check_label(&like(&"ä".repeat(99))).is_ok() && check_label(&like(&"a".repeat(99))).is_ok());
    }

    #[test]
    fn a_node_gets_the_nearest_name() {
        let like = |text: &str| Hostname::like(text).map(String::from);
        for (text, near) in [
            ("Kitchen-Pi", "kitchen-pi"),
            ("red00.example.org", "red00"),
            ("Anna's Pi", "anna-s-pi"),
            ("-red-", "red"),
        ] {
            assert_eq!(like(text).as_deref(), Some(near));
        }
        for text in ["", "...", "192.168.1.1", "--", "ä"] {
            assert_eq!(like(text), None, "{text}");
        }
        assert!(check_label(&like(&"a".repeat(99)).unwrap()).is_ok());
    }

    #[test]
    fn refuses_users_pi_os_would_refuse() {
        assert!(UserName::try_from("pi").is_ok());
        assert!(UserName::try_from("root").is_err());
        assert!(UserName::try_from("9pi").is_err());
        assert!(UserName::try_from("a".repeat(33)).is_err());
    }

    #[test]
    fn an_id_is_sixteen_hexadecimal_digits() {
        assert!(ClusterId::try_from("0123456789abcdef").is_ok());
        assert!(ClusterId::try_from("0123456789abcde").is_err());
        assert!(ClusterId::try_from("0123456789ABCDEF").is_err());
    }

    #[test]
    fn a_key_is_named_by_the_sixty_four_digits_of_its_digest() {
        let key = KeyId::from_sha256([0xa0; 32]);
        assert_eq!(key.as_str(), "a0".repeat(32));
        assert_eq!(KeyId::try_from("a0".repeat(32)), Ok(key));
        assert!(KeyId::try_from("a0".repeat(31)).is_err());
        assert!(KeyId::try_from("A0".repeat(32)).is_err());
    }
}
