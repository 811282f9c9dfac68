//! What a machine says of itself. The script changes nothing, and takes what is on every Debian.

use std::net::Ipv4Addr;

use cluster::card::Card;

use crate::elf::Arch;
use crate::remote::printable;

/// Read by `sh -s`, so that no login shell has a say in it. Each answer is a line with [`MARK`] in front: what a login
/// prints on its own is not one of ours.
pub const SCRIPT: &str = include_str!("probe.sh");
const MARK: &str = "builder:";

/// What a machine answered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// As it calls itself.
    pub name: String,
    /// Architecture of its packages, as dpkg calls it; empty without dpkg.
    pub arch: String,
    /// Architecture of its kernel, as uname calls it.
    pub machine: String,
    /// Such as `Debian GNU/Linux 13 (trixie)`.
    pub system: String,
    /// Whether systemd runs it.
    pub systemd: bool,
    /// Another with every start, on every machine.
    pub boot: String,
    /// Its clock, seconds since 1970.
    pub time: Option<u64>,
    /// Free on the file system of `/var`, in KiB.
    pub free_kib: Option<u64>,
    /// From where it would send to other networks.
    pub address: Option<Ipv4Addr>,
    /// Whether we may be root there: at once, or by sudo without a password.
    pub root: Root,
    /// SHA-256 of the installed agent.
    pub agent: Option<String>,
    /// SHA-256 of the node's certificate.
    pub certificate: Option<String>,
    /// SHA-256 of the file with the node's proxy.
    pub proxy: Option<String>,
    /// The payload that is there.
    pub card: Option<Card>,
    /// Whether the agent runs.
    pub active: bool,
    /// Whether Docker is installed.
    pub docker: bool,
    /// Whether it is in a swarm, or was when Docker last ran.
    pub swarm: bool,
}

/// How we become root on a machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Root {
    /// We are.
    #[default]
    Yes,
    /// By `sudo -n`.
    Sudo,
    /// Not at all; what was said about it.
    No(String),
}

impl Root {
    /// What goes in front of a command that needs root.
    pub const fn prefix(&self) -> &'static str {
        match self {
            Self::Sudo => "sudo -n ",
            Self::Yes | Self::No(_) => "",
        }
    }
}

/// Reads an answer; `None` if it is none, or is cut off.
pub fn read(answer: &str) -> Option<Found> {
    let value = |key: &str| {
        answer
            .lines()
            .find_map(|line| line.strip_prefix(MARK)?.strip_prefix(key)?.strip_prefix(' '))
            .map(str::trim)
    };
    let text = |key: &str| value(key).map(printable).unwrap_or_default();
    value("end")?;
    let digest = |key: &str| {
        let digest = value(key)?.get(..64)?;
        digest.chars().all(|c| c.is_ascii_hexdigit()).then(|| digest.to_owned())
    };
    Some(Found {
        name: text("name"),
        arch: text("arch"),
        machine: text("machine"),
        system: text("system"),
        systemd: value("systemd").is_some(),
        boot: text("boot"),
        time: value("time").and_then(|time| time.parse().ok()),
        free_kib: value("free").and_then(free),
        address: value("route").and_then(source),
        root: match value("root") {
            Some("yes") => Root::Yes,
            Some("sudo") => Root::Sudo,
            _ => Root::No(text("sudo")),
        },
        agent: digest("agent"),
        certificate: digest("certificate"),
        proxy: digest("proxy"),
        card: value("card").and_then(|json| Card::from_json(json.as_bytes()).ok()),
        active: value("active") == Some("active"),
        docker: value("docker").is_some_and(|path| !path.is_empty()),
        // What Docker says of itself counts; without an answer, what lies there.
        swarm: match value("swarm") {
            Some("inactive") => false,
            Some("") | None => value("state").is_some_and(|path| !path.is_empty()),
            Some(_) => true,
        },
    })
}

/// The fourth column of `df -Pk` (POSIX).
fn free(line: &str) -> Option<u64> {
    line.split_whitespace().nth(3)?.parse().ok()
}

/// The word after `src` in what `ip route get` says (ip-route(8)).
fn source(line: &str) -> Option<Ipv4Addr> {
    line.split_whitespace().skip_while(|word| *word != "src").nth(1)?.parse().ok()
}

impl Found {
    /// Which agent runs there; `None` for processors that cannot be nodes. The first Pi and the Zero are ARMv6.
    pub fn agent_arch(&self) -> Option<Arch> {
        match self.arch.as_str() {
            "arm64" => Some(Arch::Aarch64),
            "armhf" if !self.machine.starts_with("armv6") => Some(Arch::Arm32),
            "amd64" => Some(Arch::X86_64),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "Welcome to red03!\nbuilder:name red03\nbuilder:arch arm64\nbuilder:machine aarch64\n\
        builder:boot 6f1c\nbuilder:time 1780000000\nbuilder:systemd yes\nbuilder:system Debian GNU/Linux 13 (trixie)\n\
        builder:route 192.0.2.1 via 10.1.1.254 dev eth0 src 10.1.1.3 uid 1000 \\    cache\n\
        builder:free /dev/mmcblk0p2 30000000 4000000 24500000 15% /\nbuilder:root sudo\nbuilder:agent \n\
        builder:certificate \nbuilder:card \nbuilder:active inactive\nbuilder:docker /usr/bin/dockerd\n\
        builder:swarm active\nbuilder:state \nbuilder:end yes\n";

    #[test]
    fn reads_what_a_pi_answers() {
        let found = read(ANSWER).unwrap();
        assert_eq!(found.name, "red03");
        assert_eq!(found.agent_arch(), Some(Arch::Aarch64));
        assert_eq!(found.address, Some(Ipv4Addr::new(10, 1, 1, 3)));
        assert_eq!((found.free_kib, found.time), (Some(24_500_000), Some(1_780_000_000)));
        assert_eq!(found.root, Root::Sudo);
        assert!(found.systemd && found.docker && found.swarm && !found.active);
        assert_eq!((found.agent, found.certificate, found.card), (None, None, None));
    }

    #[test]
    fn an_answer_that_is_cut_off_is_none() {
        assert_eq!(read(ANSWER.trim_end_matches("builder:end yes\n")), None);
        assert_eq!(read(""), None);
    }

    #[test]
    fn an_old_pi_and_other_systems_have_no_agent() {
        let arch = |arch: &str, machine: &str| {
            Found { arch: arch.to_owned(), machine: machine.to_owned(), ..Found::default() }.agent_arch()
        };
        assert_eq!(arch("armhf", "armv7l"), Some(Arch::Arm32));
        assert_eq!(arch("armhf", "armv6l"), None);
        assert_eq!(arch("", "aarch64"), None);
    }

    #[test]
    fn docker_that_does_not_answer_is_judged_by_what_it_left() {
        let with = |swarm: &str, state: &str| {
            let answer = ANSWER.replace("swarm active", &format!("swarm {swarm}"));
            read(&answer.replace("state \n", &format!("state {state}\n"))).unwrap().swarm
        };
        assert!(!with("inactive", "/var/lib/docker/swarm/docker-state.json"));
        assert!(with("", "/var/lib/docker/swarm/docker-state.json"));
        assert!(!with("", ""));
        assert!(with("pending", "") && with("locked", "") && with("error", ""));
    }

    #[test]
    fn the_script_runs_here_and_is_understood() {
        use std::io::Write as _;
        use std::process::{Command, Stdio};
        let mut shell =
            Command::new("sh").arg("-s").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        shell.stdin.take().unwrap().write_all(SCRIPT.as_bytes()).unwrap();
        let answer = shell.wait_with_output().unwrap();
        let found = read(&String::from_utf8_lossy(&answer.stdout)).unwrap();
        let name = Command::new("uname").arg("-n").output().unwrap().stdout;
        assert_eq!(found.name, String::from_utf8_lossy(&name).trim());
        assert!(found.time.is_some() && found.free_kib.is_some() && !found.boot.is_empty());
    }
}
