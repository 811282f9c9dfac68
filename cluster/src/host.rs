//! Machines that already run, as a person names them to `ssh`: `red03`, `pi@10.1.1.3`, and ranges of such.

use std::fmt;
use std::net::Ipv6Addr;

use thiserror::Error;

use crate::range::{self, RangeError};

/// Longest name of a machine, in characters (RFC 1035 §2.3.4).
const LONGEST: usize = 253;

/// One machine: a name, an address or an alias of the user's ssh configuration, who logs in, and the port. What exists is
/// safe as a word of a command line: it has no space, no quote, and does not begin with a hyphen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host {
    /// Who logs in, where the text says so.
    pub user: Option<String>,
    /// Name or address.
    pub name: String,
    /// TCP port of the SSH server, where the text names one.
    pub port: Option<u16>,
}

impl Host {
    /// A machine that is reached as the user's ssh configuration says.
    pub const fn named(name: String) -> Self {
        Self { user: None, name, port: None }
    }
}

impl fmt::Display for Host {
    /// As it is written: `pi@red03`, `red03:2222`, `[fd00::3]:2222`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match self.port {
            Some(port) if self.name.contains(':') => write!(f, "[{}]:{port}", self.name),
            Some(port) => write!(f, "{}:{port}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// Why a text names no machine. Reads after the text itself.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HostError {
    /// Nothing there, or nothing beside the `@`.
    #[error("names no host")]
    Empty,
    /// A character that neither names nor addresses have.
    #[error("has the character {0:?}, which no host name has")]
    Character(char),
    /// It would be taken for an option.
    #[error("begins with a hyphen")]
    Hyphen,
    /// Longer than any name.
    #[error("is longer than {LONGEST} characters")]
    TooLong,
    /// Four numbers that are no address.
    #[error("looks like an IPv4 address and is none")]
    Address,
    /// Not a TCP port.
    #[error("has no port from 1 to 65535 after the colon")]
    Port,
    /// A range that is none.
    #[error(transparent)]
    Range(#[from] RangeError),
}

impl HostError {
    /// What to write instead.
    pub fn advice(&self) -> String {
        match self {
            Self::Range(error) => error.advice(),
            Self::Address => "write four numbers from 0 to 255, like 10.1.1.3".to_owned(),
            Self::Port => "write the port of its SSH server, like red03:2222 or [fd00::3]:2222".to_owned(),
            Self::Character('<' | '>') => {
                "write the address itself, like 10.1.1.3, without < and >".to_owned()
            }
            _ => "write a name or an address, like red03, pi@red03 or 10.1.1.3".to_owned(),
        }
    }
}

impl TryFrom<&str> for Host {
    type Error = HostError;

    fn try_from(text: &str) -> Result<Self, HostError> {
        let (user, name) = match text.split_once('@') {
            Some((user, name)) => (Some(user), name),
            None => (None, text),
        };
        if let Some(user) = user {
            check_user(user)?;
        }
        let (name, port) = split_port(name)?;
        check_name(name)?;
        Ok(Self { user: user.map(str::to_owned), name: name.to_owned(), port })
    }
}

/// Name and port. The colons of an IPv6 address are no port's, so that stands in brackets where a port follows.
fn split_port(text: &str) -> Result<(&str, Option<u16>), HostError> {
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|port| is_number && *port != 0).ok_or(HostError::Port)
    };
    if let Some((address, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        return match rest.strip_prefix(':') {
            Some(port) => Ok((address, Some(number(port)?))),
            None if rest.is_empty() => Ok((address, None)),
            None => Err(HostError::Port),
        };
    }
    match text.split_once(':') {
        // What follows is an address, or the rest of a URL.
        Some((_, rest)) if rest.contains(|c: char| !c.is_ascii_digit()) => Ok((text, None)),
        Some((name, port)) => Ok((name, Some(number(port)?))),
        None => Ok((text, None)),
    }
}

/// [`range::expand`] for machines: the brackets of `[fd00::3]:2222` hold an address, not a range.
///
/// # Errors
/// As [`range::expand`].
pub fn expand(text: &str) -> Result<Vec<String>, RangeError> {
    let inside = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    match inside {
        Some((inside, _)) if inside.contains(':') => Ok(vec![text.to_owned()]),
        _ => range::expand(text),
    }
}

/// Checks a login name, for machines that exist: more than what Pi OS would be told to make.
///
/// # Errors
/// When it is empty, begins with a hyphen, or holds what no login name has.
pub fn check_user(user: &str) -> Result<(), HostError> {
    check(user, |c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

fn check_name(name: &str) -> Result<(), HostError> {
    // An address may name the interface that leads to it: fe80::1%eth0.
    let address = name.split_once('%').map_or(name, |(address, _)| address);
    if address.parse::<Ipv6Addr>().is_ok() {
        return check(name, |c| c.is_ascii_alphanumeric() || ":.%-_".contains(c));
    }
    check(name, |c| c.is_ascii_alphanumeric() || "._-".contains(c))?;
    let numeric = name.bytes().all(|b| b.is_ascii_digit() || b == b'.') && name.contains('.');
    if numeric && name.parse::<std::net::Ipv4Addr>().is_err() {
        return Err(HostError::Address);
    }
    Ok(())
}

fn check(text: &str, allowed: impl Fn(char) -> bool) -> Result<(), HostError> {
    if text.is_empty() {
        return Err(HostError::Empty);
    }
    if text.starts_with('-') {
        return Err(HostError::Hyphen);
    }
    if let Some(bad) = text.chars().find(|c| !allowed(*c)) {
        return Err(HostError::Character(bad));
    }
    if text.len() > LONGEST {
        return Err(HostError::TooLong);
    }
    Ok(())
}

/// Every machine that a text stands for, in its order: names and ranges, separated by commas.
///
/// # Errors
/// The first part that names none, and why; more than [`range::LIMIT`] machines.
pub fn expand_list(text: &str) -> Result<Vec<Host>, (String, HostError)> {
    let mut hosts = Vec::new();
    for part in parts(text) {
        let part = part.trim();
        let failed = |error: HostError| (part.to_owned(), error);
        for name in expand(part).map_err(|error| failed(error.into()))? {
            hosts.push(Host::try_from(name.as_str()).map_err(|error| (name, error))?);
            if hosts.len() > range::LIMIT {
                return Err(failed(RangeError::TooMany.into()));
            }
        }
    }
    Ok(hosts)
}

/// The parts between commas that are not within brackets.
fn parts(text: &str) -> Vec<&str> {
    let mut inside = false;
    text.split(|c| {
        inside = match c {
            '[' => true,
            ']' => false,
            _ => inside,
        };
        c == ',' && !inside
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn named(text: &str) -> Vec<String> {
        expand_list(text).unwrap().iter().map(ToString::to_string).collect()
    }

    fn refused(text: &str) -> String {
        let (part, error) = expand_list(text).unwrap_err();
        format!("{part:?} {error}; {}", error.advice())
    }

    #[test]
    fn takes_names_addresses_users_and_ranges() {
        assert_eq!(
            named("red[00-01,03],10.1.1.[2-3], pi@blue.local,fe80::1%eth0"),
            ["red00", "red01", "red03", "10.1.1.2", "10.1.1.3", "pi@blue.local", "fe80::1%eth0"]
        );
        let host = Host::try_from("pi@red00").unwrap();
        assert_eq!((host.user.as_deref(), host.name.as_str()), (Some("pi"), "red00"));
    }

    #[test]
    fn takes_ports() {
        for (text, name, port) in [
            ("red03:2222", "red03", Some(2222)),
            ("pi@10.1.1.3:22", "10.1.1.3", Some(22)),
            ("ada@[fd00::3]:2222", "fd00::3", Some(2222)),
            ("[fe80::1%eth0]:22", "fe80::1%eth0", Some(22)),
            ("fd00::3", "fd00::3", None),
            ("fd00::22", "fd00::22", None),
        ] {
            let host = Host::try_from(text).unwrap();
            assert_eq!((host.name.as_str(), host.port), (name, port), "{text}");
            assert_eq!(host.to_string(), text);
        }
        assert_eq!(named("red[00-01]:2222,[fd00::3]:22"), ["red00:2222", "red01:2222", "[fd00::3]:22"]);
        assert_eq!(named("gate:[2201-2202]"), ["gate:2201", "gate:2202"]);
        for text in ["red03:", "red03:0", "red03:65536", "[fd00::3]22", "[fd00::3]:x"] {
            assert_eq!(Host::try_from(text).unwrap_err(), HostError::Port, "{text}");
        }
        assert_eq!(Host::try_from("red03:ssh").unwrap_err(), HostError::Character(':'));
    }

    #[test]
    fn refuses_what_no_host_is_called() {
        insta::assert_snapshot!(
            ["", "red00,", "-oProxyCommand=id", "pi@-l", "@red00", "pi@", "a b", "<IP>", "red00;id", "red[04-00]",
             "red[00-04", "10.1.1.256", "10.1.1", "ssh://red00"]
            .map(refused).join("\n"),
            @r#"
        "" names no host; write a name or an address, like red03, pi@red03 or 10.1.1.3
        "" names no host; write a name or an address, like red03, pi@red03 or 10.1.1.3
        "-oProxyCommand=id" begins with a hyphen; write a name or an address, like red03, pi@red03 or 10.1.1.3
        "pi@-l" begins with a hyphen; write a name or an address, like red03, pi@red03 or 10.1.1.3
        "@red00" names no host; write a name or an address, like red03, pi@red03 or 10.1.1.3
        "pi@" names no host; write a name or an address, like red03, pi@red03 or 10.1.1.3
        "a b" has the character ' ', which no host name has; write a name or an address, like red03, pi@red03 or 10.1.1.3
        "<IP>" has the character '<', which no host name has; write the address itself, like 10.1.1.3, without < and >
        "red00;id" has the character ';', which no host name has; write a name or an address, like red03, pi@red03 or 10.1.1.3
        "red[04-00]" counts down from 04 to 00; write [00-04]
        "red[00-04" has a [ without its ]; write ranges like red[00-04] or red[00,02-04]
        "10.1.1.256" looks like an IPv4 address and is none; write four numbers from 0 to 255, like 10.1.1.3
        "10.1.1" looks like an IPv4 address and is none; write four numbers from 0 to 255, like 10.1.1.3
        "ssh://red00" has the character ':', which no host name has; write a name or an address, like red03, pi@red03 or 10.1.1.3
        "#
        );
        assert!(expand_list("a[1-600],b[1-600]").is_err());
    }

    proptest! {
        #[test]
        fn a_host_is_always_one_word_of_a_command_line(text in "[ -~]{0,20}") {
            if let Ok(host) = Host::try_from(text.as_str()) {
                // Brackets that no port follows say nothing; a port may have zeros in front.
                let again = Host::try_from(host.to_string().as_str());
                prop_assert_eq!(again.as_ref(), Ok(&host));
                prop_assert!(!text.starts_with('-') && !host.name.starts_with('-'));
                prop_assert!(!text.contains(|c: char| c.is_whitespace() || "'\"\\$`;&|<>()".contains(c)));
            }
        }
    }
}
