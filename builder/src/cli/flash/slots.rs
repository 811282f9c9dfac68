//! Card readers that were named or found, and waiting for the next card in one.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::time::Duration;

use cluster::name::Hostname;
use thiserror::Error;

use super::outcome::FlashError;
use crate::device::{Bus, Demand, Disk, Kernel, Refusal};
use crate::error::{Failure, Kind};
use crate::interrupt::Interrupt;

/// How often a reader is looked at for a new card. The kernel itself looks every two seconds.
const LOOK: Duration = Duration::from_millis(250);

/// A device as the user names it: a path, and for a fixed disk its serial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) path: PathBuf,
    pub(super) serial: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("give a device such as /dev/sdb")]
pub(super) struct GivenError;

impl FromStr for Given {
    type Err = GivenError;
    fn from_str(text: &str) -> Result<Self, GivenError> {
        let (path, serial) = match text.split_once('=') {
            Some((path, serial)) => (path, Some(serial.to_owned())),
            None => (text, None),
        };
        if path.is_empty() || serial.as_deref() == Some("") {
            return Err(GivenError);
        }
        Ok(Self { path: path.into(), serial })
    }
}

/// A reader, and what was in it when it was looked at.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) given: PathBuf,
    pub(super) serial: Option<String>,
    pub(super) disk: Disk,
}

/// The readers to use: the named ones, or all that may be used. Every reason against every named one is told.
pub(super) fn find(
    kernel: &Kernel,
    given: &[Given],
    nodes: &[Hostname],
    demand: &Demand,
) -> Result<Vec<Slot>, Failure> {
    let slots = if given.is_empty() { found(kernel, demand)? } else { named(kernel, given, demand)? };
    if given.len() > nodes.len() {
        return Err(FlashError::MoreDevices { devices: given.len(), nodes: nodes.len() }.into());
    }
    if slots.is_empty() {
        return Err(FlashError::NoReader.into());
    }
    if slots.len() > nodes.len() {
        let readers = slots.into_iter().map(|slot| slot.given).collect();
        return Err(FlashError::WhichReader { readers, nodes: nodes.len() }.into());
    }
    Ok(slots)
}

fn named(kernel: &Kernel, given: &[Given], demand: &Demand) -> Result<Vec<Slot>, Failure> {
    let mut refusals = Vec::new();
    let mut slots: Vec<Slot> = Vec::new();
    for Given { path, serial } in given {
        let disk = match kernel.disk_at(path) {
            Ok(disk) => disk,
            Err(refusal) => {
                refusals.push(refusal);
                continue;
            }
        };
        let demand = Demand { serial: serial.clone(), ..demand.clone() };
        refusals.extend(kernel.refusals(&disk, &demand));
        if slots.iter().any(|slot| slot.disk.number == disk.number) {
            refusals.push(Refusal::Twice(path.clone()));
        }
        slots.push(Slot { given: path.clone(), serial: serial.clone(), disk });
    }
    if refusals.is_empty() { Ok(slots) } else { Err(refused(refusals)) }
}

/// One failure of all reasons.
fn refused(mut refusals: Vec<Refusal>) -> Failure {
    if refusals.len() == 1 {
        return refusals.remove(0).into();
    }
    let mut hints: Vec<_> = refusals.iter().map(Refusal::hint).collect();
    hints.dedup();
    let error = FlashError::Refused(refusals);
    hints.into_iter().fold(Failure::new(Kind::DeviceRefused, error), Failure::hint)
}

fn found(kernel: &Kernel, demand: &Demand) -> Result<Vec<Slot>, Failure> {
    let disks = kernel.disks().map_err(|source| Failure::new(Kind::Failed, FlashError::Disks(source)))?;
    let usable = disks.into_iter().filter(|disk| kernel.refusals(disk, demand).is_empty());
    Ok(usable.map(|disk| Slot { given: disk.path.clone(), serial: None, disk }).collect())
}

/// Waits until another card is in the reader.
pub(super) fn wait_for_next(kernel: &Kernel, slot: &mut Slot, interrupt: &Interrupt) -> Result<(), Failure> {
    let mut was_empty = false;
    while !interrupt.asked() {
        match kernel.disk_at(&slot.given) {
            Ok(disk) if disk.size > 0 && (was_empty || disk.sequence != slot.disk.sequence) => {
                slot.disk = disk;
                return Ok(());
            }
            Ok(disk) => was_empty |= disk.size == 0,
            Err(Refusal::Absent { .. }) => was_empty = true,
            Err(refusal) => return Err(refusal.into()),
        }
        // Nothing tells an ordinary program of a new card without udev.
        std::thread::sleep(LOOK);
    }
    Err(FlashError::Interrupted.into())
}

/// Ejects a card where the reader can, so that the desktop does not mount what is going to be taken out.
pub(super) fn eject(disk: &Disk) {
    if disk.bus == Bus::Usb {
        let mut eject = Command::new("eject");
        // Who has no such program takes the card out all the same: everything is on it.
        let _not_ejected =
            eject.arg(&disk.path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::list::tests::{add_reader, kernel};

    #[test]
    fn readers_are_found_but_not_chosen_between() {
        let root = tempfile::tempdir().unwrap();
        let mut kernel = kernel(root.path());
        // Files serve for devices where only their contents are looked at.
        kernel.dev = root.path().join("dev");
        std::fs::create_dir(&kernel.dev).unwrap();
        let nodes = ["red00", "red01"].map(|name| Hostname::try_from(name).unwrap());
        let demand = Demand { limit: u64::MAX, ..Demand::default() };
        let found = |kernel: &Kernel, nodes: &[Hostname]| find(kernel, &[], nodes, &demand);
        for name in ["sdb", "sdc"] {
            for part in ["", "1", "2"] {
                std::fs::write(kernel.dev.join(format!("{name}{part}")), vec![0; 4096]).unwrap();
            }
        }
        assert_eq!(found(&kernel, &nodes).unwrap().len(), 1);
        add_reader(&kernel, "sdc", 32);
        assert_eq!(found(&kernel, &nodes).unwrap().len(), 2);
        let refused = found(&kernel, &nodes[..1]).unwrap_err().render();
        assert!(refused.contains("dev/sdb, ") && refused.contains("say which: --device"), "{refused}");
    }

    #[test]
    fn a_device_may_be_named_twice() {
        let given = |text: &str| text.parse::<Given>().ok().map(|given| (given.path, given.serial));
        assert_eq!(given("/dev/sdb"), Some(("/dev/sdb".into(), None)));
        assert_eq!(given("/dev/sda=S1=x"), Some(("/dev/sda".into(), Some("S1=x".into()))));
        for text in ["", "=S1", "/dev/sda="] {
            assert_eq!(given(text), None, "{text}");
        }
    }
}
