//! Which machines can become nodes, under which names, and what keeps the others out. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use cluster::host::Host;
use cluster::identity::Role;
use cluster::name::{ClusterId, Hostname};
use thiserror::Error;

use super::engine::{Clash, Wanted};
use super::probe::{Found, Root};
use crate::elf::Arch;
use crate::error::{Hint, again, builder, hint};
use crate::host_key::HostKey;

pub mod machine;

use machine::{Holder, Key, Known};

/// Room for Docker's packages and the first images, in KiB.
const ROOM: u64 = 1024 * 1024;
/// Room for the agent where Docker is there already, in KiB.
const ROOM_WITH_DOCKER: u64 = 64 * 1024;
/// Seconds by which a clock may differ from ours before it is worth a word.
const CLOCK: u64 = 120;

/// Said of a machine that takes the place of another.
const REPLACES: &str =
    "it takes the place of another machine: it gets a new key, and the former one is revoked";

/// A machine as the file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// How it is reached.
    pub host: Host,
    /// What it is to do.
    pub role: Role,
    /// Its name, where the file says it: otherwise its own is taken.
    pub name: Option<Hostname>,
    /// Its address, where the file says it.
    pub address: Option<Ipv4Addr>,
}

/// What was found of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It can be a node.
    Fit(Box<Candidate>),
    /// Something keeps it out; what it said, if it could be understood.
    Unfit(Obstacle, Option<Box<Found>>),
    /// It could not be asked; why is `ssh`'s affair.
    Unasked,
}

impl Verdict {
    /// The machine, if it can be a node.
    pub fn candidate(&self) -> Option<&Candidate> {
        match self {
            Self::Fit(candidate) => Some(candidate),
            Self::Unfit(..) | Self::Unasked => None,
        }
    }

    /// What the machine said.
    pub fn found(&self) -> Option<&Found> {
        match self {
            Self::Fit(candidate) => Some(&candidate.found),
            Self::Unfit(_, found) => found.as_deref(),
            Self::Unasked => None,
        }
    }
}

/// A machine that can be a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub name: Hostname,
    /// The agent for it.
    pub arch: Arch,
    /// Which key it gets.
    pub key: Key,
    /// The SSH host key that its node's key is bound to.
    pub host_key: HostKey,
    /// What it said.
    pub found: Found,
    /// What is worth a word and keeps nothing from going on.
    pub notes: Vec<String>,
}

/// What keeps a machine from becoming a node. Reads after the machine's name and a colon.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Obstacle {
    /// It did not answer as asked.
    #[error("it answered something else than what was asked")]
    Garbled,
    /// We cannot become root without a password.
    #[error("sudo wants a password there: {0}")]
    NoSudo(String),
    /// The password that was typed is not the one there.
    #[error("sudo does not accept the password there: {0}")]
    WrongPassword(String),
    /// Too many others have refused the password.
    #[error("the password was not tried there: {0} and another host have refused it")]
    Untried(Host),
    /// The password is not what is wrong.
    #[error("sudo does not work there: {0}")]
    Refused(String),
    /// The Docker that is there.
    #[error("its {0}")]
    Docker(Clash),
    /// Not a Debian with systemd.
    #[error("its system is {0}, and nodes need Debian or a system made of it, with apt and systemd")]
    System(String),
    /// No agent and no Docker for its processor.
    #[error("Docker has no packages for its processor ({0})")]
    Arch(String),
    /// Not enough room.
    #[error("its disk is full: {free} MiB are free, and {needed} MiB are needed")]
    Full {
        /// MiB that are free.
        free: u64,
        /// MiB that are needed.
        needed: u64,
    },
    /// It calls itself what no node can be called.
    #[error("it calls itself `{found}`, which {reason}")]
    Name {
        /// Its own.
        found: String,
        /// Why not.
        reason: cluster::name::NameError,
        /// A name that is free.
        free: String,
    },
    /// It calls itself something else than the cluster file.
    #[error("it calls itself {found}, and the cluster file calls it {planned}")]
    OtherName {
        /// The file's.
        planned: Hostname,
        /// Its own.
        found: String,
    },
    /// Another machine has that name.
    #[error("it calls itself {name}, as {other} does")]
    NameTaken {
        /// The name.
        name: Hostname,
        /// Who else has it.
        other: Host,
        /// A name that is free.
        free: String,
    },
    /// Another machine has the key of that node.
    #[error(
        "it calls itself {name}, and {name} is another machine: {holder}; this one has the SSH host key {own}"
    )]
    OtherMachine {
        /// The name.
        name: Hostname,
        /// Which machine that is.
        holder: Box<Holder>,
        /// What it is known by itself.
        own: Box<HostKey>,
        /// What names both for `--replace`.
        replace: String,
        /// A name that is free; empty where the cluster file gives the name.
        free: String,
    },
    /// `ssh` told no host key, or two.
    #[error("ssh did not tell which host key it has")]
    NoHostKey,
    /// It is in the file twice.
    #[error("it is the same machine as {0}")]
    SameMachine(Host),
    /// It would have to change what it does in a swarm.
    #[error("it is a {} of this swarm, and a node does not change its role", .0.as_str())]
    OtherRole(Role),
    /// A node of another cluster.
    #[error("it belongs to the cluster {0}")]
    OtherCluster(String),
    /// In a swarm.
    #[error("it is in another swarm")]
    InSwarm,
}

impl Obstacle {
    /// What to type, or do, about it; `ssh` is what leads there, such as `ssh pi@10.1.1.3`.
    pub fn advice(&self, ssh: &str) -> Hint {
        let rename = |name: &str| format!("{ssh} sudo hostnamectl set-hostname {name}");
        match self {
            Self::Garbled => format!("look what it prints at a login: {ssh} true").into(),
            Self::NoSudo(_) => {
                hint![again(["config"]).with(["--ask-sudo"]), " asks for the password, once for all hosts"]
            }
            Self::WrongPassword(_) => format!("see which password is right there: {ssh} -t sudo true").into(),
            Self::Untried(_) => hint!["type the password again: ", again(["config"]).with(["--ask-sudo"])],
            Self::Refused(_) => format!("see what sudo says: {ssh} -t sudo true").into(),
            Self::Docker(clash) => clash.advice(ssh),
            Self::System(_) => "install Raspberry Pi OS or Debian on it, or take it out of the file".into(),
            Self::Arch(_) => "take it out of the file".into(),
            Self::Full { .. } => format!("see what takes the room: {ssh} sudo du -xhd1 /").into(),
            Self::Name { free, .. } => format!("give it another: {}", rename(free)).into(),
            Self::OtherName { planned, .. } => rename(planned.as_str()).into(),
            Self::NameTaken { free, .. } => format!("give it one of its own: {}", rename(free)).into(),
            Self::OtherMachine { name, holder, own, replace, free } => {
                let known = holder.host_key().and_then(HostKey::kind);
                let same = known.filter(|known| own.kind().is_some_and(|own| own != *known)).map(|known| {
                    let options = format!("ssh -o HostKeyAlgorithms={known} -o StrictHostKeyChecking=ask");
                    format!(
                        "if it is the same machine, which has shown another type of host key, accept the one of type {known}: {} \
                         true; and run the same command again; ",
                        ssh.replacen("ssh", &options, 1)
                    )
                });
                let replace = again(["config"]).with(["--replace", replace]);
                let text = format!(
                    "if {name} is this machine from now on (set up anew, or in the place of the other), it gets a new key, and \
                     the former one is revoked: "
                );
                let rename =
                    (!free.is_empty()).then(|| format!("; if not, give it another name: {}", rename(free)));
                hint![same.unwrap_or_default() + &text, replace, rename.unwrap_or_default()]
            }
            Self::NoHostKey => format!("see what ssh says: {} true", ssh.replacen("ssh", "ssh -v", 1)).into(),
            Self::SameMachine(_) => "name it once".into(),
            Self::OtherRole(_) => {
                let (config, kill) = (again(["config"]), builder(["kill"]));
                hint![
                    "take it out of the file, run `",
                    config,
                    "`, put it in again, and run it once more; the only manager changes its role after `",
                    kill,
                    "`"
                ]
            }
            Self::OtherCluster(_) | Self::InSwarm => {
                "--take-over has it leave for this one; what only runs there is lost".into()
            }
        }
    }
}

/// Whether others are to be left for our swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Others {
    /// They keep what is theirs.
    Keep,
    /// They are left.
    TakeOver,
}

/// Judges every machine of a file. `found` is what the machine at this place answered: the outer `None` where it could not
/// be asked, the inner where it did not answer as asked. `known` says whose keys are whose, `ours` is the cluster's id, if it has
/// one, `docker` what the swarm needs of it, `now` this computer's clock, seconds since 1970.
pub fn check(
    entries: &[Entry],
    found: &[Option<Option<Found>>],
    known: &Known<'_>,
    ours: Option<&ClusterId>,
    others: Others,
    docker: &Wanted,
    now: u64,
) -> Vec<Verdict> {
    let judged = entries.iter().zip(found).map(|(entry, found)| match found {
        None => Verdict::Unasked,
        Some(None) => Verdict::Unfit(Obstacle::Garbled, None),
        Some(Some(found)) => match one(entry, found, known, ours, (others, docker)) {
            Ok((name, arch, (key, host_key))) => {
                let replaces = known.replaced.contains(&(name.clone(), entry.host.to_string()));
                let note = replaces.then(|| REPLACES.to_owned());
                let (found, notes) = (found.clone(), notes(found, now).into_iter().chain(note).collect());
                Verdict::Fit(Box::new(Candidate { name, arch, key, host_key, found, notes }))
            }
            Err(obstacle) => Verdict::Unfit(obstacle, Some(Box::new(found.clone()))),
        },
    });
    let mut verdicts: Vec<_> = judged.collect();
    let hosts: Vec<_> = entries.iter().map(|entry| &entry.host).collect();
    sort_out(&mut verdicts, &hosts);
    let before = known.earlier.into_iter().flat_map(|earlier| &earlier.hosts);
    let before = before.map(|host| host.name.as_str());
    let named = entries.iter().filter_map(|entry| Some(entry.name.as_ref()?.as_str()));
    let own = found.iter().flatten().flatten().map(|found| found.name.as_str());
    let mut taken: BTreeSet<String> = before.chain(named).chain(own).map(str::to_owned).collect();
    for (place, verdict) in verdicts.iter_mut().enumerate() {
        let own_name = verdict.found().map(|found| found.name.clone()).unwrap_or_default();
        let own_name = &own_name;
        let is_named = entries.get(place).is_some_and(|entry| entry.name.is_some());
        if let Verdict::Unfit(
            Obstacle::Name { free, .. }
            | Obstacle::NameTaken { free, .. }
            | Obstacle::OtherMachine { free, .. },
            _,
        ) = verdict
            && !is_named
        {
            *free = free_name(place, own_name, &taken);
            taken.insert(free.clone());
        }
    }
    verdicts
}

/// Keeps out whoever is a second time in the file, or has a name that one before has. Those that are known to have their node's key
/// go before the others, wherever they are in the file: nobody takes their name from them.
fn sort_out(verdicts: &mut [Verdict], hosts: &[&Host]) {
    let mut names: BTreeMap<Hostname, &Host> = BTreeMap::new();
    let mut boots: BTreeMap<String, &Host> = BTreeMap::new();
    for wanted in [Key::Same, Key::New] {
        for (verdict, host) in verdicts.iter_mut().zip(hosts) {
            let Verdict::Fit(candidate) = verdict else { continue };
            if candidate.key != wanted {
                continue;
            }
            let obstacle = if let Some(other) = boots.get(&candidate.found.boot) {
                Obstacle::SameMachine((*other).clone())
            } else if let Some(other) = names.get(&candidate.name) {
                let (name, other) = (candidate.name.clone(), (*other).clone());
                Obstacle::NameTaken { name, other, free: String::new() }
            } else {
                names.insert(candidate.name.clone(), host);
                boots.insert(candidate.found.boot.clone(), host);
                continue;
            };
            *verdict = Verdict::Unfit(obstacle, Some(Box::new(candidate.found.clone())));
        }
    }
    // Who has the name of a machine that is there is nobody to be asked about.
    for verdict in verdicts {
        if let Verdict::Unfit(Obstacle::OtherMachine { name, .. }, found) = verdict
            && let Some(other) = names.get(name)
        {
            let (name, other) = (name.clone(), (*other).clone());
            let obstacle = Obstacle::NameTaken { name, other, free: String::new() };
            *verdict = Verdict::Unfit(obstacle, found.take());
        }
    }
}

/// A free name for a machine, as near to its own as a node's name can be: `kitchen-pi` for `Kitchen-Pi`. Names that say
/// nothing are numbered by the place in the file, as the lesson does.
fn free_name(place: usize, own: &str, taken: &BTreeSet<String>) -> String {
    let near = near_name(own).filter(|near| near != "raspberrypi" && !taken.contains(near));
    let mut names = (place..).map(|number| format!("red{number:02}"));
    near.or_else(|| names.find(|name| !taken.contains(name))).unwrap_or_default()
}

/// The nearest name that a node can have; `None` where nothing of it is left, or it is a node's name as it is.
fn near_name(own: &str) -> Option<String> {
    let label = own.split('.').find(|label| !label.is_empty())?.to_ascii_lowercase();
    let name: String =
        label.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(63).collect();
    let name = name.trim_matches('-').to_owned();
    (name != own && Hostname::try_from(name.as_str()).is_ok()).then_some(name)
}

fn one(
    entry: &Entry,
    found: &Found,
    known: &Known<'_>,
    ours: Option<&ClusterId>,
    (others, docker): (Others, &Wanted),
) -> Result<(Hostname, Arch, (Key, HostKey)), Obstacle> {
    if let Some(planned) = &entry.name
        && planned.as_str() != found.name
    {
        return Err(Obstacle::OtherName { planned: planned.clone(), found: found.name.clone() });
    }
    let name = Hostname::try_from(found.name.as_str()).map_err(|reason| {
        let found = found.name.clone();
        Obstacle::Name { found, reason, free: String::new() }
    })?;
    if !found.systemd || found.arch.is_empty() {
        return Err(Obstacle::System(found.system.clone()));
    }
    let arch = found.agent_arch().ok_or_else(|| Obstacle::Arch(found.machine.clone()))?;
    // Before it is said what could be typed there.
    let key = known.key(entry, found, &name, ours)?;
    match &found.root {
        Root::Yes | Root::Sudo | Root::Password => {}
        Root::No(why) => return Err(Obstacle::NoSudo(why.clone())),
        Root::Refused { said, wrong: true } => return Err(Obstacle::WrongPassword(said.clone())),
        Root::Refused { said, wrong: false } => return Err(Obstacle::Refused(said.clone())),
    }
    let needed = if found.docker { ROOM_WITH_DOCKER } else { ROOM };
    if let Some(free) = found.free_kib
        && free < needed
    {
        return Err(Obstacle::Full { free: free / 1024, needed: needed / 1024 });
    }
    let is_before = known.earlier.is_some_and(|earlier| earlier.hosts.iter().any(|host| host.name == name));
    // Whoever is in no swarm, not yet or not any more, gets another certificate, and does what that says.
    if let Some(card) = found.card.as_ref().filter(|card| is_before && Some(&card.cluster_id) == ours)
        && card.role != entry.role
        && found.swarm
    {
        return Err(Obstacle::OtherRole(card.role));
    }
    match &found.card {
        Some(card) if Some(&card.cluster_id) == ours => {}
        _ if others == Others::TakeOver => {}
        Some(card) => return Err(Obstacle::OtherCluster(card.cluster.to_string())),
        None if found.swarm => return Err(Obstacle::InSwarm),
        None => {}
    }
    // A Docker that is in a swarm is one that can be.
    if !found.swarm
        && let Some(clash) = found.engine.clash(docker, found.docker, found.address)
    {
        return Err(Obstacle::Docker(clash));
    }
    Ok((name, arch, key))
}

fn notes(found: &Found, now: u64) -> Vec<String> {
    let off = found.time.map(|time| (time.abs_diff(now), time > now));
    let clock = off.filter(|(off, _)| *off > CLOCK).map(|(off, ahead)| {
        let off = humantime::format_duration(std::time::Duration::from_secs(off / 60 * 60));
        let side = if ahead { "ahead of" } else { "behind" };
        format!("its clock is {off} {side} this computer's: the agent waits for network time")
    });
    let memory = (found.memory_cgroup == Some(false)).then(|| match found.pi_os {
        true => "its memory cgroup is off: the agent turns it on; memory limits hold from its next reboot on".to_owned(),
        false => "its memory cgroup is off, so memory limits do nothing there: add cgroup_enable=memory to its kernel's \
                  command line, and reboot it"
            .to_owned(),
    });
    clock.into_iter().chain(memory).collect()
}

#[cfg(test)]
pub(super) mod tests;
