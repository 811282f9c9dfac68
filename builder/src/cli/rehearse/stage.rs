//! The machines of a rehearsal, from the copied cards to the last one's end.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::mpsc::Sender;
use std::thread::available_parallelism;

use cluster::identity::Role;
use cluster::name::Hostname;
use cluster::wire::PORT;

use super::outcome::{RehearsalError, log_hint};
use super::{Cast, RehearseArgs};
use crate::cli::status::Screen;
use crate::error::{Failure, Kind, again, builder, hint};
use crate::interrupt::Interrupt;
use crate::plan;
use crate::project::Project;
use crate::rehearse::{End, Folder, Lan, Machine, MachineSpec, Network, Qemu, RehearseError, card, mac};

/// Where every Pi has its SSH server.
const SSH: u16 = 22;
/// More processors than this make a boot no faster.
const CPUS: usize = 2;

/// Running machines. Dropping it ends them, then their network, and removes what they ran from.
#[derive(Debug)]
pub(super) struct Stage {
    machines: Vec<Machine>,
    lan: Lan,
    folder: Folder,
    names: Vec<Hostname>,
    addresses: Vec<Option<Ipv4Addr>>,
    manager: usize,
    manager_name: Hostname,
    /// The manager's address for which there is a port here.
    forwarded: Option<Ipv4Addr>,
}

/// The chosen nodes and their cards, in the cluster file's order.
pub(super) fn cast(project: &Project, words: &[String], cards: &Path) -> Result<Cast, Failure> {
    let names = plan::select(&project.cluster, words)?;
    let manager = manager(project)?;
    if !names.contains(&manager) {
        let all = ["rehearse"].into_iter().chain(words.iter().map(String::as_str));
        let all = again(all).with([manager.as_str()]);
        return Err(Failure::new(Kind::Usage, RehearsalError::NoManager(manager.to_string())).hint(all));
    }
    let path = |name: &Hostname| cards.join(format!("{name}.img"));
    let cast: Cast = names.into_iter().map(|name| (name.clone(), path(&name))).collect();
    let missing = cast.iter().filter(|(_, path)| !path.is_file());
    let missing: Vec<_> = missing.map(|(name, _)| name.to_string()).collect();
    if !missing.is_empty() {
        let are_all = missing.len() == cast.len() && words.is_empty();
        let build = builder(["build", "-o"]).path(cards).args(missing.iter().filter(|_| !are_all).cloned());
        let hint = hint!["make them first: ", build];
        let error = RehearsalError::NoCard(missing, cards.to_owned());
        return Err(Failure::new(Kind::Failed, error).hint(hint));
    }
    Ok(cast)
}

fn manager(project: &Project) -> Result<Hostname, Failure> {
    let manager = project.cluster.nodes.iter().find(|node| node.role == Role::Manager);
    Ok(manager.ok_or(crate::remote::RemoteError::NoManager)?.name.clone())
}

/// A node's number among the chosen ones.
pub(super) fn find(cast: &Cast, name: &str) -> Result<usize, Failure> {
    cast.iter().position(|(node, _)| node.as_str() == name).ok_or_else(|| {
        let names: Vec<_> = cast.iter().map(|(node, _)| node.as_str()).collect();
        let error = RehearsalError::NotCast(name.to_owned());
        Failure::new(Kind::Usage, error).hint(format!("give --console one of {}", names.join(", ")))
    })
}

impl Stage {
    /// Copies the cards and switches the machines on. `follower` gets the console of one of them.
    pub(super) fn set(
        project: &Project,
        qemu: &Qemu,
        cast: Cast,
        args: &RehearseArgs,
        follower: Option<(usize, Sender<String>)>,
        interrupt: &Interrupt,
        screen: &mut Screen<'_>,
    ) -> Result<Self, Failure> {
        let chosen = |name: &Hostname| cast.iter().any(|(node, _)| node == name);
        let nodes: Vec<_> = project.cluster.nodes.iter().filter(|node| chosen(&node.name)).collect();
        let network = Network::for_nodes(&nodes).map_err(RehearseError::Network)?;
        let names: Vec<_> = cast.iter().map(|(name, _)| name.clone()).collect();
        let manager_name = manager(project)?;
        let manager = names.iter().position(|name| *name == manager_name).unwrap_or_default();

        let path = project.folder.join(format!("{}.rehearsal", project.cluster.name));
        if path
            .canonicalize()
            .is_ok_and(|folder| args.cards.canonicalize().is_ok_and(|cards| cards == folder))
        {
            let error = RehearsalError::InOwnFolder(path);
            return Err(Failure::new(Kind::Usage, error)
                .hint("move them to another folder, and name it with --cards DIR"));
        }
        let all = project.cluster.nodes.iter().map(|node| node.name.to_string()).collect();
        let folder = Folder::open(&path, all, args.keep)?;
        screen.say(&format!("logs of the machines: {}", folder.path().display()));
        let stopped = || Err(Failure::new(Kind::NotAsWanted, RehearsalError::Stopped));
        for (name, card) in &cast {
            if interrupt.asked() {
                return stopped();
            }
            screen.say(&format!("{name}: copying {}", card.display()));
            let copied = card::copy(card, &folder.disk(name.as_str()), args.card_size.bytes());
            copied.map_err(|source| RehearseError::Copy { card: card.clone(), source })?;
        }
        let lan = Lan::start(qemu, folder.path(), cast.len(), Some(network))?;
        let addresses = vec![None; cast.len()];
        let mut stage = Self {
            machines: Vec::new(),
            lan,
            folder,
            names,
            addresses,
            manager,
            manager_name,
            forwarded: None,
        };
        let cores = available_parallelism().map_or(1, usize::from);
        let cpus = u32::try_from((cores / cast.len().max(1)).clamp(1, CPUS)).unwrap_or(1);
        for (index, name) in stage.names.iter().enumerate() {
            if interrupt.asked() {
                return stopped();
            }
            let follows =
                |(followed, sender): &(usize, _)| (*followed == index).then(|| Sender::clone(sender));
            let spec = MachineSpec {
                name: name.to_string(),
                index,
                disk: stage.folder.disk(name.as_str()),
                folder: stage.folder.path().to_owned(),
                memory_mib: args.memory.mebibytes(),
                cpus,
                clock: None,
                follower: follower.as_ref().and_then(follows),
            };
            stage.machines.push(Machine::start(qemu, &stage.lan, spec)?);
            screen.say(&format!("{name}: power on"));
        }
        Ok(stage)
    }

    /// Switches on again what rebooted, and tells what is new.
    pub(super) fn tend(&mut self, screen: &mut Screen<'_>) -> Result<(), Failure> {
        if self.lan.has_ended() {
            let hint = format!("what it complained of: {}", self.folder.path().join("network.log").display());
            return Err(Failure::new(Kind::Failed, RehearsalError::NoNetwork).hint(hint));
        }
        let machines = self.machines.iter_mut().zip(&self.names).zip(&mut self.addresses).enumerate();
        for (index, ((machine, name), address)) in machines {
            let failed =
                |kind, error| Err(Failure::new(kind, error).hint(log_hint(self.folder.path(), name)));
            match machine.ended() {
                None => {}
                Some(End::Reboot) => {
                    screen.say(&format!("{name}: reboots"));
                    machine.power_on()?;
                }
                Some(End::PowerOff) => {
                    return failed(Kind::NotAsWanted, RehearsalError::Off(name.clone()));
                }
                Some(End::Died) => return failed(Kind::Failed, RehearsalError::Died(name.clone())),
            }
            let heard = self.lan.address_of(mac(index));
            if heard.is_some() && *address != heard {
                *address = heard;
                screen.say(&format!("{name}: has the address {}", heard.unwrap_or(Ipv4Addr::UNSPECIFIED)));
            }
        }
        Ok(())
    }

    /// Where the manager's API can be reached, each time that is new.
    pub(super) fn manager(&mut self) -> Result<Option<SocketAddr>, Failure> {
        let address = self.addresses.get(self.manager).copied().flatten();
        match address {
            Some(ip) if self.forwarded != address => {
                self.forwarded = address;
                Ok(Some(self.lan.forward(ip, PORT)?))
            }
            _ => Ok(None),
        }
    }

    /// Where each node's SSH server can be reached.
    pub(super) fn doors(&self) -> Result<Vec<(&Hostname, SocketAddr)>, Failure> {
        let known = self.names.iter().zip(&self.addresses);
        let known = known.filter_map(|(name, address)| Some((name, (*address)?)));
        known.map(|(name, address)| Ok((name, self.lan.forward(address, SSH)?))).collect()
    }

    pub(super) fn names(&self) -> &[Hostname] {
        &self.names
    }

    pub(super) const fn manager_name(&self) -> &Hostname {
        &self.manager_name
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }
}
