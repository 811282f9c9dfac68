//! What a machine says of itself. The script changes nothing, and takes what is on every Debian.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use cluster::card::Card;
use cluster::secret::Secret;
use cluster::text::printable;

use super::engine::Engine;
use crate::elf::Arch;
use crate::host_key::HostKey;

/// Read by `sh -s`, so that no login shell has a say in it. Each answer is a line with [`MARK`] in front: what a login
/// prints on its own is not one of ours.
const SCRIPT: &str = concat!(include_str!("try.sh"), include_str!("probe.sh"));
const MARK: &str = "builder:";

/// A function of the shell that tries `$password` once; `$why` is what `sudo` said.
const TRY: &str = include_str!("try.sh");

/// The script as `sh -s` reads it. A password that `sudo` may ask for is in its text, which is in no argument, no environment
/// and no file.
pub fn script(password: Option<&Secret<String>>) -> Secret<Vec<u8>> {
    Secret::new(format!("{}\n{SCRIPT}", assignment(password)).into_bytes())
}

/// A script for `sh -s` that runs a program as root, after one try of the password where `sudo` asks for it.
pub fn as_root(password: &Secret<String>, program: &str) -> Secret<Vec<u8>> {
    let assignment = assignment(Some(password));
    let text = format!(
        "{assignment}\n{TRY}\
         if [ \"$(id -u)\" = 0 ]; then {program} </dev/null; exit; fi\n\
         if sudo -n true 2>/dev/null; then sudo -n {program} </dev/null; exit; fi\n\
         if ! try 2>/dev/null; then printf \"%s\\n\" \"$why\" >&2; exit 1; fi\n\
         printf \"%s\\n\" \"$password\" | sudo -S -p \"\" {program}\n"
    );
    Secret::new(text.into_bytes())
}

fn assignment(password: Option<&Secret<String>>) -> String {
    let password = password.map(|password| password.expose().replace('\'', r"'\''")).unwrap_or_default();
    format!("password='{password}'")
}

/// What a machine answered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// As it calls itself.
    pub name: String,
    /// The SSH host key that it proved while it answered: the one thing here that is not its word. [`read`] leaves it out.
    pub host_key: Option<HostKey>,
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
    /// Whether we may be root there, and how.
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
    /// The Docker that is there.
    pub engine: Engine,
    /// Whether the memory cgroup is on; `None` where the kernel does not say.
    pub memory_cgroup: Option<bool>,
    /// Whether it is Raspberry Pi OS, whose kernel command line the agent may complete.
    pub pi_os: bool,
}

/// How we become root on a machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Root {
    /// We are.
    #[default]
    Yes,
    /// By `sudo -n`.
    Sudo,
    /// By `sudo -S`, with the password that the operator typed.
    Password,
    /// Not without a password; what was said about it.
    No(String),
    /// Not with the password that was tried; what was said about it.
    Refused {
        /// `sudo`'s words.
        said: String,
        /// Whether the password is wrong: otherwise the user may not use `sudo`, or it does not work there.
        wrong: bool,
    },
}

/// Reads an answer; `None` if it is none, is cut off, or says two things of one. What is read here decides what an operator
/// is told to type on the machine, so nothing is concluded from a part of it.
pub fn read(answer: &str) -> Option<Found> {
    let mut values: BTreeMap<&str, &str> = BTreeMap::new();
    for line in answer.lines() {
        let Some((key, value)) = line.strip_prefix(MARK).and_then(|line| line.split_once(' ')) else {
            continue;
        };
        if values.insert(key, value.trim()).is_some_and(|earlier| earlier != value.trim()) {
            return None;
        }
    }
    let value = |key: &str| values.get(key).copied();
    let text = |key: &str| value(key).map(printable).unwrap_or_default();
    value("end")?;
    // Every machine has both.
    value("name").filter(|name| !name.is_empty())?;
    value("machine").filter(|machine| !machine.is_empty())?;
    let digest = |key: &str| {
        let digest = value(key)?.get(..64)?;
        digest.chars().all(|c| c.is_ascii_hexdigit()).then(|| digest.to_owned())
    };
    let engine = Engine::read(&value);
    Some(Found {
        name: text("name"),
        host_key: None,
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
            Some("password") => Root::Password,
            Some("refused") => refused(value("sudo").unwrap_or_default()),
            _ => Root::No(last_words(value("sudo").unwrap_or_default())),
        },
        agent: digest("agent"),
        certificate: digest("certificate"),
        proxy: digest("proxy"),
        card: value("card").and_then(|json| Card::from_json(json.as_bytes()).ok()),
        active: value("active") == Some("active"),
        docker: value("docker").is_some_and(|path| !path.is_empty()),
        // What Docker says of itself counts; without an answer, what lies there.
        swarm: match engine.swarm.as_deref() {
            Some("inactive") => false,
            None => value("state").is_some_and(|path| !path.is_empty()),
            Some(_) => true,
        },
        engine,
        memory_cgroup: value("controllers").and_then(memory_cgroup),
        pi_os: value("pios").is_some_and(|path| !path.is_empty()),
    })
}

/// The last of `sudo`'s lines, which stand between bars: before it may be a lecture, or a word about the network.
fn last_words(said: &str) -> String {
    let last = said.split('|').map(str::trim).rfind(|line| !line.is_empty());
    printable(last.unwrap_or("it did not say why"))
}

/// What sudo 1.9 ("Sorry, try again.") and sudo-rs 0.2 ("Authentication failed, try again.") say to a wrong password. With
/// `insults` or `badpass_message` (sudoers(5)) only sudo's last line tells it.
const WRONG: [&str; 2] = ["try again", "incorrect password attempt"];

fn refused(said: &str) -> Root {
    let wrong = WRONG.iter().any(|words| said.contains(words));
    Root::Refused { said: last_words(said), wrong }
}

/// The version of the control groups, and then for 2 the list of controllers (cgroup-v2.rst, `cgroup.controllers`), for 1 the
/// line of memory in `/proc/cgroups`, whose last number says whether it is enabled.
fn memory_cgroup(line: &str) -> Option<bool> {
    let mut words = line.split_whitespace();
    match words.next()? {
        "2" => Some(words.any(|controller| controller == "memory")),
        "1" => Some(words.next_back() == Some("1")),
        _ => None,
    }
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
        builder:state \nbuilder:info {\"Swarm\":{\"LocalNodeState\":\"active\"}}\nbuilder:controllers 2 cpuset cpu io pids\n\
        builder:pios /etc/rpi-issue\nbuilder:end yes\n";

    #[test]
    fn reads_what_a_pi_answers() {
        let found = read(ANSWER).unwrap();
        assert_eq!(found.name, "red03");
        assert_eq!(found.agent_arch(), Some(Arch::Aarch64));
        assert_eq!(found.address, Some(Ipv4Addr::new(10, 1, 1, 3)));
        assert_eq!((found.free_kib, found.time), (Some(24_500_000), Some(1_780_000_000)));
        assert_eq!(found.root, Root::Sudo);
        assert!(found.systemd && found.docker && found.swarm && !found.active);
        assert_eq!((found.memory_cgroup, found.pi_os), (Some(false), true));
        assert_eq!((found.agent, found.certificate, found.card), (None, None, None));
    }

    /// ansible/ansible#9679: a terminal title from `.bashrc` ends without a line end.
    #[test]
    fn login_output_does_not_hide_an_answer() {
        let run = |before: &str| {
            let out = sh(&format!("printf '{before}'; {SCRIPT}"));
            read(&out).unwrap().name
        };
        let name = run("");
        for before in [r"\033]0;pi@red03\007", r"\033(B\033[m", "Welcome", r"a\rb", "builder:"] {
            assert_eq!(run(before), name, "{before}");
        }
    }

    #[test]
    fn concludes_nothing_from_a_broken_answer() {
        assert_eq!(read(&ANSWER.replace("builder:name red03", "titlebuilder:name red03")), None);
        assert_eq!(read(&ANSWER.replace("builder:name red03", "builder:name ")), None);
        assert_eq!(read(&format!("builder:name blue\n{ANSWER}")), None, "which one is it?");
    }

    #[test]
    fn tells_a_wrong_password_from_other_refusals() {
        let root = |said: &str| {
            let answer = ANSWER.replace("root sudo", &format!("root refused\nbuilder:sudo {said}"));
            read(&answer).unwrap().root
        };
        let noise = "sudo: unable to resolve host red03: Name or service not known";
        for (said, words, wrong) in [
            (&*format!("{noise}|Sorry, try again."), "Sorry, try again.", true),
            ("|sudo: Authentication failed, try again.", "sudo: Authentication failed, try again.", true),
            ("You silly!|sudo: 1 incorrect password attempt", "sudo: 1 incorrect password attempt", true),
            ("pi is not in the sudoers file.", "pi is not in the sudoers file.", false),
            ("", "it did not say why", false),
        ] {
            assert_eq!(root(said), Root::Refused { said: words.to_owned(), wrong }, "{said}");
        }
    }

    #[test]
    fn the_memory_cgroup_is_read_in_both_versions() {
        for (line, on) in [
            ("2 cpuset cpu io memory pids", Some(true)),
            ("2 cpuset cpu io pids", Some(false)),
            ("2 ", Some(false)),
            ("1 memory\t4\t65\t1", Some(true)),
            ("1 memory\t0\t1\t0", Some(false)),
            ("", None),
        ] {
            assert_eq!(memory_cgroup(line), on, "{line}");
        }
    }

    #[test]
    fn a_password_is_one_word_of_the_script() {
        let password = Secret::new(r#"it's $(id) "a" \ `b`"#.to_owned());
        let script = script(Some(&password));
        assert!(!format!("{script:?}").contains("id"));
        let text = String::from_utf8(script.expose().clone()).unwrap();
        let (first, _) = text.split_once('\n').unwrap();
        assert_eq!(sh(&format!("{first}\nprintf '%s' \"$password\"")), *password.expose());
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
            let answer = ANSWER.replace("\"active\"", &format!("\"{swarm}\""));
            read(&answer.replace("state \n", &format!("state {state}\n"))).unwrap().swarm
        };
        assert!(!with("inactive", "/var/lib/docker/swarm/docker-state.json"));
        assert!(with("", "/var/lib/docker/swarm/docker-state.json"));
        assert!(!with("", ""));
        assert!(with("pending", "") && with("locked", "") && with("error", ""));
    }

    fn sh(script: &str) -> String {
        use std::io::Write as _;
        use std::process::{Command, Stdio};
        let mut shell =
            Command::new("sh").arg("-s").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        String::from_utf8_lossy(&shell.wait_with_output().unwrap().stdout).into_owned()
    }

    #[test]
    fn the_script_runs_here_and_is_understood() {
        let found = read(&sh(SCRIPT)).unwrap();
        let name = std::process::Command::new("uname").arg("-n").output().unwrap().stdout;
        assert_eq!(found.name, String::from_utf8_lossy(&name).trim());
        assert!(found.time.is_some() && found.free_kib.is_some() && !found.boot.is_empty());
        assert!(found.memory_cgroup.is_some());
    }
}
