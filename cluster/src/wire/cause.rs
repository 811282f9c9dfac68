//! What is wrong with a node, for programs: a stable code, and what it concerns.
//!
//! The message beside a code is for people and may change; the code does not. A reader that does not know a code (of a
//! newer agent) takes it for none and shows the message.

use serde::{Deserialize, Deserializer, Serialize};

use crate::text;

/// Most characters of a [`Cause`]'s subject.
const SUBJECT_LIMIT: usize = 120;

/// Defines [`ProblemCode`], so that its word and the list of all codes cannot drift apart.
macro_rules! problem_codes {
    ($($(#[$doc:meta])* $code:ident = $word:literal,)*) => {
        /// A problem that a person can solve. The doc comment names the subject, if the code has one.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum ProblemCode {
            $($(#[$doc])* #[serde(rename = $word)] $code,)*
        }

        impl ProblemCode {
            /// All codes.
            pub const ALL: &[Self] = &[$(Self::$code,)*];

            /// The code as it is written on the wire and in a node's log.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$code => $word,)*
                }
            }
        }
    };
}

problem_codes! {
    /// The manager rejects the node's certificate, because the operator revoked it.
    Revoked = "revoked",
    /// The manager's plan does not contain this node in its role.
    NotPlanned = "not_planned",
    /// The node asks for a token after the join window, and was never a member.
    JoinWindowClosed = "join_window_closed",
    /// The operator dissolved the swarm.
    Dissolved = "dissolved",
    /// The operator removed the node from the swarm.
    Removed = "removed",
    /// The node left the swarm because the operator ordered it.
    LeftAsOrdered = "left_as_ordered",
    /// The manager's node list still has a live entry of the node's earlier life.
    OldEntry = "old_entry",
    /// Two machines report under one name.
    DuplicateNode = "duplicate_node",
    /// No address is known for any manager. Subject: the managers.
    ManagerNotFound = "manager_not_found",
    /// The manager does not answer. Subject: the manager.
    ManagerSilent = "manager_silent",
    /// Whatever answers at the manager's address has no certificate of this cluster. Subject: the manager.
    ManagerUntrusted = "manager_untrusted",
    /// Another cluster's manager answers where the node looks for its own. Subject: that manager's name, cluster identity
    /// and address.
    ForeignManager = "foreign_manager",
    /// Several interfaces have an IPv4 address, and no default route says which one the swarm is to use. Subject: the
    /// interfaces with their addresses.
    AddressAmbiguous = "address_ambiguous",
    /// The interface that the cluster file names has no IPv4 address. Subject: the interface.
    InterfaceWithoutAddress = "interface_without_address",
    /// The network gives IPv6 addresses only. Subject: the interfaces with their addresses.
    Ipv6Only = "ipv6_only",
    /// The manager's API answers, but Swarm's port does not. Subject: the port.
    SwarmPortUnreachable = "swarm_port_unreachable",
    /// The node has no route to the manager.
    NoRoute = "no_route",
    /// Another program listens on a port that Swarm needs. Subject: the port.
    PortTaken = "port_taken",
    /// Another program listens on the port of Swarm's gossip, so overlay networks do not work. Subject: the port.
    OverlayPortTaken = "overlay_port_taken",
    /// The disk is full. Subject: the path.
    DiskFull = "disk_full",
    /// The file system is read-only, which Linux makes of a file system with errors. Subject: the path.
    DiskReadOnly = "disk_read_only",
    /// The disk cannot be read or written. Subject: the path.
    DiskBroken = "disk_broken",
    /// A certificate or a signature is not valid yet, or not any more, by this node's clock.
    ClockWrong = "clock_wrong",
    /// The names of package servers cannot be resolved. Subject: the server.
    NoNameServer = "no_name_server",
    /// A package server does not answer. Subject: the server.
    PackageServerUnreachable = "package_server_unreachable",
    /// A package repository's signature cannot be verified. Subject: the repository.
    RepositoryUntrusted = "repository_untrusted",
    /// A package repository's index is out of date. Subject: the repository.
    RepositoryExpired = "repository_expired",
    /// A package repository does not have this release. Subject: the repository.
    RepositoryMissing = "repository_missing",
    /// No repository has the package, or the wanted version. Subject: the package.
    PackageMissing = "package_missing",
    /// A downloaded index or package is not what the repository's index says.
    DownloadDamaged = "download_damaged",
    /// A package cannot be configured. Subject: the package.
    PackageBroken = "package_broken",
    /// Installing Docker would remove packages that were there before. Subject: the packages.
    PackageConflict = "package_conflict",
    /// Another program is installing packages.
    PackagesLocked = "packages_locked",
    /// The operating system is not supported.
    SystemUnsupported = "system_unsupported",
    /// Docker does not answer.
    DockerSilent = "docker_silent",
    /// The swarm is locked, and waits for its key.
    SwarmLocked = "swarm_locked",
    /// The swarm that this manager started is gone from Docker.
    SwarmGone = "swarm_gone",
    /// The swarm's certificates expired, and Docker cannot renew them.
    SwarmExpired = "swarm_expired",
    /// Docker's swarm does not work on this node.
    SwarmBroken = "swarm_broken",
    /// Too few managers are reachable.
    NoQuorum = "no_quorum",
    /// What the card brought for the agent is missing or damaged.
    PayloadDamaged = "payload_damaged",
}

impl ProblemCode {
    /// The code with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == word)
    }
}

/// A code, and what it concerns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Unchecked")]
pub struct Cause {
    code: ProblemCode,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
}

/// A cause as another machine wrote it.
#[derive(Deserialize)]
struct Unchecked {
    code: ProblemCode,
    #[serde(default)]
    subject: Option<String>,
}

impl From<Unchecked> for Cause {
    fn from(unchecked: Unchecked) -> Self {
        let cause = Self::new(unchecked.code);
        match unchecked.subject {
            Some(subject) => cause.about(&subject),
            None => cause,
        }
    }
}

impl From<ProblemCode> for Cause {
    fn from(code: ProblemCode) -> Self {
        Self::new(code)
    }
}

impl Cause {
    /// A cause without a subject.
    pub const fn new(code: ProblemCode) -> Self {
        Self { code, subject: None }
    }

    /// The cause with a subject: bounded, and without control characters and the brackets that enclose it in a log.
    #[must_use]
    pub fn about(self, subject: &str) -> Self {
        let plain = |c: char| if text::is_harmful(c) || matches!(c, '[' | ']') { '_' } else { c };
        let subject: String = subject.trim().chars().map(plain).take(SUBJECT_LIMIT).collect();
        let subject = subject.trim().to_owned();
        Self { subject: (!subject.is_empty()).then_some(subject), ..self }
    }

    /// The code.
    pub const fn code(&self) -> ProblemCode {
        self.code
    }

    /// What the problem concerns; [`ProblemCode`] says what kind of thing that is.
    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// Code and subject as a log has them, such as `disk_full /var/lib/docker`.
    pub(crate) fn to_words(&self) -> String {
        match &self.subject {
            Some(subject) => format!("{} {subject}", self.code.as_str()),
            None => self.code.as_str().to_owned(),
        }
    }

    /// Reads [`Self::to_words`].
    pub(crate) fn from_words(words: &str) -> Option<Self> {
        let (code, subject) = words.split_once(' ').unwrap_or((words, ""));
        Some(Self::new(ProblemCode::from_word(code)?).about(subject))
    }
}

/// Reads a cause, and takes one that this version does not know for none.
pub(crate) fn lenient<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Cause>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).ok())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::wire::{NodeError, Problem};

    #[test]
    fn codes_are_distinct_snake_case_words() {
        let words: BTreeSet<_> = ProblemCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(words.len(), ProblemCode::ALL.len());
        for code in ProblemCode::ALL {
            let word = code.as_str();
            assert!(word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'), "{word}");
            assert_eq!(serde_json::to_value(code).unwrap(), word);
            assert_eq!(ProblemCode::from_word(word), Some(*code));
        }
    }

    /// Cards in the field carry these words, so they are written out here.
    #[test]
    fn published_codes_keep_their_words() {
        let words: Vec<_> = ProblemCode::ALL.iter().map(|code| code.as_str()).collect();
        insta::assert_snapshot!(words.join("\n"));
    }

    #[test]
    fn errors_of_older_agents_have_no_cause() {
        let error: NodeError = serde_json::from_str(r#"{"message":"x","permanent":true}"#).unwrap();
        assert_eq!(error.cause, None);
        let problem: Problem = serde_json::from_str(r#"{"message":"x"}"#).unwrap();
        assert_eq!(problem.cause, None);
        assert_eq!(serde_json::to_string(&problem).unwrap(), r#"{"message":"x"}"#);
    }

    #[test]
    fn causes_of_newer_agents_are_none() {
        for cause in [r#"{"code":"melted"}"#, r#"{"code":7}"#, r#""disk_full""#, "null", "[1]"] {
            let json = format!(r#"{{"message":"x","permanent":false,"cause":{cause}}}"#);
            let error: NodeError = serde_json::from_str(&json).unwrap();
            assert_eq!((error.message.as_str(), error.cause), ("x", None), "{cause}");
        }
        let newer =
            r#"{"message":"x","permanent":false,"cause":{"code":"disk_full","subject":"/","since":3}}"#;
        let error: NodeError = serde_json::from_str(newer).unwrap();
        assert_eq!(error.cause, Some(Cause::new(ProblemCode::DiskFull).about("/")));
    }

    #[test]
    fn a_subject_is_bounded_and_cannot_paint() {
        let json = serde_json::json!({"code": "disk_full", "subject": format!("\u{1b}[\u{202e}{}", "x".repeat(500))});
        let cause: Cause = serde_json::from_value(json).unwrap();
        assert!(cause.subject().unwrap().starts_with("___x"));
        assert_eq!(cause.subject().unwrap().chars().count(), SUBJECT_LIMIT);
        assert_eq!(Cause::new(ProblemCode::DiskFull).about(" ").subject(), None);
    }
}
