//! Cards in virtual machines of the Pi's own architecture, which boot the cards' own kernels; what `builder rehearse`
//! does, for tests that pull plugs or boot cards that are not a cluster's.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, anyhow, bail};
use builder::rehearse::{self, End, Lan, Machine, MachineSpec, Qemu};
use builder::remote::Address;
use cluster::wire;

/// As a small SD card: the root partition has room to grow.
const CARD_SIZE: u64 = 8 << 30;
/// Docker's installation needs about half of it.
const MEMORY_MIB: u32 = 1024;

/// Virtual machines and their network. Dropping it pulls every plug and removes the copies of the cards.
#[derive(Debug)]
pub struct Emulator {
    slots: Vec<Slot>,
    lan: Lan,
    qemu: Qemu,
    folder: tempfile::TempDir,
    cpus: u32,
}

#[derive(Debug)]
struct Slot {
    spec: MachineSpec,
    machine: Option<Machine>,
    powered_on_at: Option<SystemTime>,
    boots: u32,
    /// Where this computer reaches its API, once that is known.
    api: Option<Address>,
    /// And its SSH server.
    ssh: Option<SocketAddr>,
}

impl Emulator {
    /// A network for so many machines, of so many processors each.
    pub fn new(machines: usize, cpus: u32) -> Result<Self> {
        let qemu = Qemu::find().map_err(told)?;
        let folder = tempfile::tempdir()?;
        let lan = Lan::start(&qemu, folder.path(), machines, None).map_err(told)?;
        Ok(Self { slots: Vec::new(), lan, qemu, folder, cpus })
    }

    /// Puts a copy of a card into the next machine.
    pub fn insert(&mut self, name: &str, card: &Path) -> Result<()> {
        let disk = self.folder.path().join(format!("{name}.img"));
        rehearse::card::copy(card, &disk, CARD_SIZE)?;
        let spec = MachineSpec {
            name: name.to_owned(),
            index: self.slots.len(),
            disk,
            folder: self.folder.path().to_owned(),
            memory_mib: MEMORY_MIB,
            cpus: self.cpus,
            clock: None,
            follower: None,
        };
        self.slots.push(Slot { spec, machine: None, powered_on_at: None, boots: 0, api: None, ssh: None });
        Ok(())
    }

    /// Powers a machine on, for the first time or again.
    pub fn power_on(&mut self, name: &str) -> Result<()> {
        let (qemu, lan) = (self.qemu.clone(), &self.lan);
        let slot = find(&mut self.slots, name)?;
        match &mut slot.machine {
            Some(machine) => machine.power_on().map_err(told)?,
            None => slot.machine = Some(Machine::start(&qemu, lan, slot.spec.clone()).map_err(told)?),
        }
        slot.powered_on_at = Some(SystemTime::now());
        slot.boots += 1;
        Ok(())
    }

    /// Sets the clock that a machine has when it is powered on the next time.
    pub fn set_clock(&mut self, name: &str, to: SystemTime) -> Result<()> {
        find(&mut self.slots, name)?.machine.as_mut().context("it was never on")?.set_clock(to);
        Ok(())
    }

    /// Takes the power away.
    pub fn pull_plug(&mut self, name: &str) -> Result<()> {
        find(&mut self.slots, name)?.machine.as_mut().context("it was never on")?.kill();
        Ok(())
    }

    /// Honours reboots. A machine that went off by itself is an error.
    pub fn attend(&mut self) -> Result<()> {
        for slot in &mut self.slots {
            let Some(machine) = &mut slot.machine else { continue };
            match machine.ended() {
                None => {}
                Some(End::Reboot) => {
                    machine.power_on().map_err(told)?;
                    slot.boots += 1;
                }
                Some(end) => bail!("{} ended: {end:?}\n{}", slot.spec.name, tail(&log(slot))),
            }
        }
        Ok(())
    }

    /// Where this computer reaches a machine's API; `None` while it has no address.
    pub fn api(&mut self, name: &str) -> Result<Option<Address>> {
        let slot = find(&mut self.slots, name)?;
        if slot.api.is_none()
            && let Some(ip) = self.lan.address_of(rehearse::mac(slot.spec.index))
        {
            let here = self.lan.forward(ip, wire::PORT).map_err(told)?;
            slot.api = Some(here.to_string().parse().map_err(|error| anyhow!("{error}"))?);
        }
        Ok(slot.api.clone())
    }

    /// Where this computer reaches a machine's SSH server; `None` while it has no address.
    pub fn ssh(&mut self, name: &str) -> Result<Option<SocketAddr>> {
        let slot = find(&mut self.slots, name)?;
        if slot.ssh.is_none()
            && let Some(ip) = self.lan.address_of(rehearse::mac(slot.spec.index))
        {
            slot.ssh = Some(self.lan.forward(ip, 22).map_err(told)?);
        }
        Ok(slot.ssh)
    }

    /// When a machine was powered on last; reboots do not count.
    pub fn powered_on_at(&self, name: &str) -> Result<SystemTime> {
        self.slot(name)?.powered_on_at.context("it was never on")
    }

    /// How often a machine has started, reboots included.
    pub fn boots(&self, name: &str) -> Result<u32> {
        Ok(self.slot(name)?.boots)
    }

    /// The copy that a machine has as its card.
    pub fn disk(&self, name: &str) -> Result<PathBuf> {
        Ok(self.slot(name)?.spec.disk.clone())
    }

    /// Everything a machine has said on its serial line, each line after the seconds since power-on.
    pub fn console(&self, name: &str) -> Result<String> {
        Ok(log(self.slot(name)?))
    }

    /// The end of every console, for a failure's message.
    pub fn consoles(&self) -> String {
        self.slots.iter().map(|slot| format!("--- {}\n{}\n", slot.spec.name, tail(&log(slot)))).collect()
    }

    fn slot(&self, name: &str) -> Result<&Slot> {
        self.slots.iter().find(|slot| slot.spec.name == name).with_context(|| format!("no machine {name}"))
    }
}

/// How often boards and consoles are looked at.
pub const LOOK: Duration = Duration::from_secs(1);

fn find<'a>(slots: &'a mut [Slot], name: &str) -> Result<&'a mut Slot> {
    slots.iter_mut().find(|slot| slot.spec.name == name).with_context(|| format!("no machine {name}"))
}

fn log(slot: &Slot) -> String {
    let path = slot.spec.folder.join(format!("{}.log", slot.spec.name));
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(40)..).unwrap_or_default().join("\n")
}

fn told(error: impl std::error::Error + Send + Sync + 'static) -> anyhow::Error {
    error.into()
}
