//! What `ssh` says when it does not get through, and what to do about each.

use std::io;

use cluster::text::printable;

mod advice;

pub use advice::{Around, advise};

/// Why a command was not run on a machine, or not to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What kind.
    pub kind: Kind,
    /// The line of `ssh` that says so, fit for a terminal.
    pub said: String,
    /// The file that has the other key, where the host key is another than the known one.
    pub known_in: Option<String>,
    /// Whether the server dropped the connection before anything was agreed, as one with too many logins at once does.
    pub is_early: bool,
}

/// The kinds that differ in what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A host key that nobody accepted yet.
    UnknownKey,
    /// Another host key than the accepted one.
    ChangedKey,
    /// None of our keys is let in.
    Denied,
    /// The name leads nowhere.
    Name,
    /// The machine is there, and no SSH server.
    Refused,
    /// No way there.
    NoRoute,
    /// No answer.
    Silent,
    /// No common algorithm.
    NoAgreement,
    /// The connection ended before we were let in.
    Closed,
    /// The connection ended while the command ran.
    Lost,
    /// Another machine answered than the one that was asked before.
    OtherMachine,
    /// A mistake in the user's own ssh configuration.
    Settings,
    /// Something else.
    Other,
}

impl Kind {
    /// In words, after the machine's name.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::UnknownKey => "its host key is not known",
            Self::ChangedKey => "it shows another host key than the one that is known",
            Self::Denied => "it does not let us in: permission denied",
            Self::Name => "its name leads nowhere",
            Self::Refused => "it cannot be reached: connection refused",
            Self::NoRoute => "it cannot be reached: there is no way to it",
            Self::Silent => "it cannot be reached: it does not answer",
            Self::NoAgreement => "it has no algorithm in common with this computer",
            Self::Closed => "it closed the connection before it let us in",
            Self::Lost => "the connection broke while the command ran",
            Self::OtherMachine => "another machine answers there than a moment ago: its SSH host key differs",
            Self::Settings => "ssh does not take its configuration",
            Self::Other => "ssh failed",
        }
    }

    /// Whether the machine could not be reached at all.
    pub const fn is_unreachable(self) -> bool {
        matches!(self, Self::Name | Self::Refused | Self::NoRoute | Self::Silent)
    }
}

impl Trouble {
    fn new(kind: Kind, line: &str) -> Self {
        Self { kind, said: printable(line.trim()), known_in: None, is_early: false }
    }

    /// `ssh` itself could not be started or waited for.
    pub(super) fn not_started(error: &io::Error) -> Self {
        Self::new(Kind::Other, &error.to_string())
    }

    /// What was to be sent is for another machine.
    pub(super) fn other_machine() -> Self {
        Self::new(Kind::OtherMachine, "nothing was sent to it")
    }

    /// Somebody killed `ssh`.
    pub(super) fn killed() -> Self {
        Self::new(Kind::Other, "it was killed")
    }
}

/// What a line holds, and what that means. The first that is found counts: rather why it ended than that it ended.
const TABLE: [(&str, Kind); 25] = [
    ("REMOTE HOST IDENTIFICATION HAS CHANGED", Kind::ChangedKey),
    ("REVOKED HOST KEY DETECTED", Kind::ChangedKey),
    ("host key is known for ", Kind::UnknownKey),
    ("Host key verification failed", Kind::UnknownKey),
    ("Bad configuration option", Kind::Settings),
    ("bad configuration options", Kind::Settings),
    ("Bad owner or permissions on ", Kind::Settings),
    ("Could not resolve hostname ", Kind::Name),
    (": Connection refused", Kind::Refused),
    (": No route to host", Kind::NoRoute),
    (": Network is unreachable", Kind::NoRoute),
    (": Host is down", Kind::NoRoute),
    (": Connection timed out", Kind::Silent),
    (": Operation timed out", Kind::Silent),
    ("timed out during banner exchange", Kind::Silent),
    ("Connection timed out", Kind::Silent),
    ("Permission denied (", Kind::Denied),
    ("Too many authentication failures", Kind::Denied),
    ("no matching ", Kind::NoAgreement),
    ("kex_exchange_identification: ", Kind::Closed),
    ("ssh_dispatch_run_fatal: ", Kind::Closed),
    ("Connection closed by ", Kind::Closed),
    ("Connection reset by ", Kind::Closed),
    ("Disconnected from ", Kind::Closed),
    ("Received disconnect from ", Kind::Closed),
];

/// What `ssh` says when the server ends a connection without a word: before its banner, or within the key exchange.
const EARLY: [&str; 3] = ["kex_exchange_identification: ", "Connection closed by ", "Connection reset by "];

/// What `ssh` says, mostly on standard error, when a connection ends that had let us in.
const LOST: [(&str, &str); 5] = [
    ("Connection to ", " closed by remote host."),
    ("Timeout, server ", " not responding."),
    ("client_loop: send disconnect: ", ""),
    ("Read from remote host ", ""),
    ("Connection reset by ", ""),
];

/// Whether `ssh` noted that it was let in.
pub(super) fn got_in(log: &str) -> bool {
    log.lines().any(|line| line.starts_with("Authenticated to "))
}

/// What is behind `ssh`'s exit code 255: `log` is what it wrote to its file, `tail` the end of standard error, where the
/// `ssh` of a jump host writes. `None`: the command itself ended with 255, or a signal ended it.
pub(super) fn find(log: &str, tail: &str) -> Option<Trouble> {
    let lines = || log.lines().chain(tail.lines()).filter(|line| !line.trim().is_empty());
    if got_in(log) {
        let lost = |line: &&str| {
            let line = line.trim_end();
            LOST.iter().any(|(start, end)| line.starts_with(start) && line.ends_with(end))
        };
        // Only the last words can be the connection's: what came before, the command said.
        let last = [log.lines().rfind(lost), tail.lines().last().filter(lost)];
        return last.into_iter().flatten().next().map(|line| Trouble::new(Kind::Lost, line));
    }
    let found = TABLE.iter().find_map(|(text, kind)| {
        let line = lines().find(|line| line.contains(text))?;
        if *kind != Kind::ChangedKey {
            // Only ssh's own log counts: through a connection that another `ssh` holds open, standard error is the command's,
            // which has run then. A jump host that was reached and fails ("channel 0: open failed") would fail again.
            let is_early = *kind == Kind::Closed
                && log.lines().any(|line| EARLY.iter().any(|start| line.starts_with(start)))
                && !lines().any(|line| line.contains(" open failed: "));
            return Some(Trouble { is_early, ..Trouble::new(*kind, line) });
        }
        // The banner around a changed key says nothing of whose it is.
        let named = lines().find(|line| line.starts_with("Host key for "));
        let place = lines().find_map(|line| line.strip_prefix("Offending ")?.split_once(" key in "));
        let file = place.and_then(|(_, place)| place.rsplit_once(':')).map(|(file, _)| printable(file));
        Some(Trouble { known_in: file, ..Trouble::new(*kind, named.unwrap_or(line)) })
    });
    // Through a connection that another `ssh` holds open, nothing is said.
    found.or_else(|| lines().next_back().map(|line| Trouble::new(Kind::Other, line)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(log: &str, tail: &str) -> Option<Kind> {
        find(log, tail).map(|trouble| trouble.kind)
    }

    const IN: &str = "Authenticated to 127.0.0.1 ([127.0.0.1]:40022) using \"publickey\".\n";
    const SUM: &str = "Transferred: sent 3460, received 3220 bytes, in 1.5 seconds\n\
                       Bytes per second: sent 2288.9, received 2130.1\n";

    /// The words of OpenSSH 9.2, as it wrote them, but for the two systems' own words for errors.
    #[test]
    fn knows_what_openssh_says() {
        let unknown = "No ED25519 host key is known for [127.0.0.2]:40022 and you have requested strict checking.\n\
                       Host key verification failed.\n";
        for (log, wanted) in [
            (unknown, Kind::UnknownKey),
            ("ssh: connect to host 127.0.0.1 port 40023: Connection refused\n", Kind::Refused),
            ("ssh: connect to host 10.9.9.9 port 22: No route to host\n", Kind::NoRoute),
            ("ssh: connect to host 10.9.9.9 port 22: Connection timed out\n", Kind::Silent),
            ("ssh: connect to host 10.9.9.9 port 22: Operation timed out\n", Kind::Silent),
            (
                "Connection timed out during banner exchange\nConnection to 127.0.0.3 port 40022 timed out\n",
                Kind::Silent,
            ),
            ("ssh: Could not resolve hostname red07.local: Name or service not known\n", Kind::Name),
            ("pi@127.0.0.1: Permission denied (publickey,password,keyboard-interactive).\n", Kind::Denied),
            (
                "Received disconnect from 127.0.0.1 port 22:2: Too many authentication failures\n\
                 Disconnected from 127.0.0.1 port 22\n",
                Kind::Denied,
            ),
            (
                "Unable to negotiate with 127.0.0.1 port 40022: no matching host key type found. Their offer: ssh-ed25519\n",
                Kind::NoAgreement,
            ),
            (
                "kex_exchange_identification: Connection closed by remote host\n\
                 Connection closed by 127.0.0.1 port 40022\n",
                Kind::Closed,
            ),
            ("ssh_dispatch_run_fatal: Connection to 127.0.0.9 port 40022: Broken pipe\n", Kind::Closed),
        ] {
            assert_eq!(kind(log, ""), Some(wanted), "{log}");
        }
    }

    #[test]
    fn a_changed_key_is_told_with_whose_it_is() {
        let banner = "@@@@@@@@@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n@@@@@@@@@@@\n\
                      Offending ED25519 key in /home/ada/.ssh/known_hosts:1\n\
                      Host key for [127.0.0.2]:40022 has changed and you have requested strict checking.\n\
                      Host key verification failed.\n";
        let trouble = find(banner, "").unwrap();
        assert_eq!(trouble.kind, Kind::ChangedKey);
        assert!(trouble.said.starts_with("Host key for [127.0.0.2]:40022 "), "{}", trouble.said);
        assert_eq!(trouble.known_in.as_deref(), Some("/home/ada/.ssh/known_hosts"));
    }

    #[test]
    fn a_jump_host_and_the_configuration_speak_on_standard_error() {
        let closed = "kex_exchange_identification: Connection closed by remote host\n\
                      Connection closed by UNKNOWN port 65535\n";
        let jump = "No ED25519 host key is known for jump and you have requested strict checking.\n\
                    Host key verification failed.\n";
        assert_eq!(kind(closed, jump), Some(Kind::UnknownKey));
        let bad = "/home/ada/.ssh/config: line 1: Bad configuration option: nonsense\n\
                   /home/ada/.ssh/config: terminating, 1 bad configuration options\n";
        assert_eq!(kind("", bad), Some(Kind::Settings));
    }

    #[test]
    fn the_commands_own_255_is_no_trouble() {
        assert_eq!(find(&format!("{IN}{SUM}"), "ssh: connect to host x port 22: Connection refused\n"), None);
        assert_eq!(find("", ""), None, "through a connection that another ssh holds open");
        let lost = find(&format!("{IN}{SUM}"), "Connection to 127.0.0.1 closed by remote host.\n").unwrap();
        assert_eq!(lost.kind, Kind::Lost);
        let log = format!("{IN}Timeout, server 127.0.0.1 not responding.\n{SUM}");
        assert_eq!(kind(&log, ""), Some(Kind::Lost));
    }

    /// The words of OpenSSH 9.2 through a jump host whose sshd drops connections (`MaxStartups`), and through one that may not
    /// go on to the machine.
    #[test]
    fn knows_which_connections_to_try_again() {
        let closed = "kex_exchange_identification: Connection closed by remote host\n\
                      Connection closed by UNKNOWN port 65535\n";
        let dropped = "kex_exchange_identification: read: Connection reset by peer\n\
                       Connection reset by 127.0.0.1 port 40022\n";
        let forbidden =
            "channel 0: open failed: administratively prohibited: open failed\nstdio forwarding failed\n";
        let is_early = |log: &str, tail: &str| find(log, tail).unwrap().is_early;
        assert!(is_early(closed, dropped) && is_early(closed, "") && is_early(dropped, ""));
        assert!(!is_early(closed, forbidden));
        assert!(!is_early("ssh_dispatch_run_fatal: Connection to 127.0.0.9 port 40022: Broken pipe\n", ""));
        assert!(!is_early("ssh: connect to host 127.0.0.1 port 40023: Connection refused\n", ""));
        assert!(!is_early(
            "pi@127.0.0.1: Permission denied (publickey).\nConnection closed by 127.0.0.1 port 22\n",
            ""
        ));
        let lost = find(&format!("{IN}{SUM}"), "Connection to 127.0.0.1 closed by remote host.\n").unwrap();
        assert!(!lost.is_early, "the command may have run");
        // Through another ssh's connection nothing is in the log: these are the command's own words.
        assert!(!is_early("", "Connection closed by 10.1.1.9 port 22\n"));
        assert!(!is_early("", "kex_exchange_identification: read: Connection reset by peer\n"));
    }

    #[test]
    fn anything_else_is_quoted() {
        let trouble = find("something \x1b[31mnew\n", "").unwrap();
        assert_eq!((trouble.kind, trouble.said.as_str()), (Kind::Other, "something \u{fffd}[31mnew"));
    }
}
