//! Which host key a server has proved, from what `ssh` writes to its log.

use crate::host_key::HostKey;

/// What `ssh` (OpenSSH 6.8 and newer) writes of a key, and of a key with a certificate, at `LogLevel DEBUG1`.
const LINES: [&str; 2] = ["debug1: Server host key: ", "debug1: Server host certificate: "];

/// The host key that the server of a connection has proved, from all that `ssh` wrote to its log until then; `None` if it wrote
/// of none, or of two.
///
/// `ssh` writes a server's own messages (SSH_MSG_DEBUG) into the same log, with their line ends, so a server can add such a line.
/// It cannot keep `ssh` from writing the true one. The log has to be whole up to a moment when the server has proved its key.
pub(super) fn proved(log: &str) -> Option<HostKey> {
    let fingerprint = |line: &str| {
        let rest = LINES.iter().find_map(|start| line.strip_prefix(start))?;
        let mut words = rest.split_whitespace();
        let (kind, fingerprint) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        Some(format!("{kind} {}", fingerprint.trim_end_matches(',')))
    };
    let mut found = log.lines().filter_map(fingerprint);
    let first = found.next()?;
    // A connection that lasts agrees on new keys and proves the host key again.
    if found.any(|other| other != first) { None } else { HostKey::try_from(first).ok() }
}

/// The log without the lines that only [`proved`] is about.
pub(super) fn without_debug(log: &str) -> String {
    log.lines().filter(|line| !line.starts_with("debug1: ")).map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "SHA256:0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";
    const OTHER: &str = "SHA256:0123456789abcdefghijklmnopqrstuvwxyzABCDEFH";

    fn log(keys: &[&str]) -> String {
        let lines = keys.iter().map(|key| format!("debug1: Server host key: ssh-ed25519 {key}\n"));
        format!("debug1: Connection established.\n{}Authenticated to x\n", lines.collect::<String>())
    }

    #[test]
    fn a_key_that_is_shown_twice_is_one() {
        let one = format!("ssh-ed25519 {ONE}");
        let key = |keys: &[&str]| proved(&log(keys)).map(String::from);
        assert_eq!(key(&[ONE]).as_deref(), Some(one.as_str()));
        assert_eq!(key(&[ONE, ONE]).as_deref(), Some(one.as_str()));
        let certificate = "debug1: Server host certificate: ssh-ed25519-cert-v01@openssh.com ";
        let line =
            format!("{certificate}{ONE}, serial 1 ID \"red03\" CA ssh-ed25519 {OTHER} valid forever\n");
        let certified = format!("ssh-ed25519-cert-v01@openssh.com {ONE}");
        assert_eq!(proved(&line).map(String::from), Some(certified));
    }

    /// A server's debug message is written with its line ends (`LOG_STDERR_VIS` of OpenSSH's log.c).
    #[test]
    fn a_server_cannot_add_another_machines_key() {
        assert_eq!(proved(&log(&[ONE, OTHER])), None);
        let before = format!("debug1: Remote: x\ndebug1: Server host key: ssh-ed25519 {ONE}\n");
        assert_eq!(proved(&(before + &log(&[OTHER]))), None);
        assert_eq!(proved(&log(&[ONE, "nonsense"])), None);
        assert_eq!(proved(&log(&[])), None);
    }

    #[test]
    fn debug_lines_are_no_words_of_trouble() {
        let log = "debug1: connect to address 10.1.1.3 port 22: Connection refused\nssh: connect to host x\n";
        assert_eq!(without_debug(log), "ssh: connect to host x\n");
    }
}
