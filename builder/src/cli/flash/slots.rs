//! Card readers that were named or found.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::str::FromStr;

use cluster::name::Hostname;
use thiserror::Error;

use super::outcome::FlashError;
use crate::device::{Bus, Demand, Disk, Kernel, Refusal};
use crate::error::{Failure, Kind};
use crate::privilege;

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

impl Slot {
    /// What is wanted of the disk in it, given what is wanted of all.
    pub(super) fn demand(&self, common: &Demand) -> Demand {
        Demand { serial: self.serial.clone(), ..common.clone() }
    }
}

/// The readers to use: the named ones, or all that may be used. Every reason against every named one is told. `unasked` if
/// nobody is going to be asked: then readers have to be named.
pub(super) fn find(
    kernel: &Kernel,
    given: &[Given],
    nodes: &[Hostname],
    (demand, unasked): (&Demand, bool),
) -> Result<Vec<Slot>, Failure> {
    let slots = if given.is_empty() { found(kernel, demand)? } else { named(kernel, given, demand)? };
    if given.len() > nodes.len() {
        return Err(FlashError::MoreDevices { devices: given.len(), nodes: nodes.len() }.into());
    }
    if slots.is_empty() {
        return Err(FlashError::NoReader.into());
    }
    if slots.len() > nodes.len() {
        return Err(FlashError::WhichReader { readers: paths(slots), nodes: nodes.len() }.into());
    }
    if unasked && given.is_empty() {
        return Err(FlashError::Unnamed { readers: paths(slots) }.into());
    }
    Ok(slots)
}

fn paths(slots: Vec<Slot>) -> Vec<PathBuf> {
    slots.into_iter().map(|slot| slot.given).collect()
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

/// All that may be used; where there is none, what speaks against those with a card in them.
fn found(kernel: &Kernel, demand: &Demand) -> Result<Vec<Slot>, Failure> {
    let disks = kernel.disks().map_err(|source| Failure::new(Kind::Failed, FlashError::Disks(source)))?;
    let (mut slots, mut against) = (Vec::new(), Vec::new());
    for disk in disks {
        let refusals = kernel.refusals(&disk, demand);
        if refusals.is_empty() {
            slots.push(Slot { given: disk.path.clone(), serial: None, disk });
        } else if disk.removable && disk.size > 0 {
            against.extend(refusals);
        }
    }
    if slots.is_empty() && !against.is_empty() { Err(refused(against)) } else { Ok(slots) }
}

/// Ejects a card where the reader can, so that the desktop does not mount what is going to be taken out.
pub(super) fn eject(disk: &Disk) {
    if disk.bus == Bus::Usb {
        let mut eject = Command::new("eject");
        // Who has no such program takes the card out all the same: everything is on it.
        eject.arg(&disk.path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let _not_ejected = privilege::as_root(|| eject.status());
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::device::list::tests::{add_reader, kernel};

    /// The usual reader and more; files serve for devices where only their contents are looked at.
    fn readers(root: &Path, more: &[(&str, u32)]) -> Kernel {
        let mut kernel = kernel(root);
        kernel.dev = root.join("dev");
        std::fs::create_dir(&kernel.dev).unwrap();
        for (name, minor) in more {
            add_reader(&kernel, name, *minor);
        }
        for name in more.iter().map(|(name, _)| *name).chain(["sdb"]) {
            for part in ["", "1", "2"] {
                std::fs::write(kernel.dev.join(format!("{name}{part}")), vec![0; 4096]).unwrap();
            }
        }
        kernel
    }

    fn look(kernel: &Kernel, count: usize, unasked: bool) -> Result<usize, Failure> {
        let nodes = ["red00", "red01"].map(|name| Hostname::try_from(name).unwrap());
        let nodes = &nodes[..count];
        let demand = Demand { limit: u64::MAX, ..Demand::default() };
        find(kernel, &[], nodes, (&demand, unasked)).map(|slots| slots.len())
    }

    #[test]
    fn readers_are_found_but_not_chosen_between() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(look(&readers(root.path(), &[]), 2, false).unwrap(), 1);
        let root = tempfile::tempdir().unwrap();
        let two = readers(root.path(), &[("sdc", 32)]);
        assert_eq!(look(&two, 2, false).unwrap(), 2);
        let refused = look(&two, 1, false).unwrap_err().render();
        assert!(refused.contains("dev/sdb, ") && refused.contains("say which: --device"), "{refused}");
    }

    #[test]
    fn without_a_question_only_named_readers_are_taken() {
        let root = tempfile::tempdir().unwrap();
        let two = readers(root.path(), &[("sdc", 32)]);
        let failure = look(&two, 2, true).unwrap_err();
        assert_eq!(failure.kind(), Kind::Usage);
        let dev = two.dev.display();
        let hint = format!("name those that may be erased: --device {dev}/sdb --device {dev}/sdc");
        assert!(failure.render().contains(&hint), "{}", failure.render());
    }

    #[test]
    fn where_no_reader_may_be_used_the_reasons_are_told() {
        let root = tempfile::tempdir().unwrap();
        let two = readers(root.path(), &[("sdc", 32)]);
        let mounts = "30 22 8:17 / /media/ada/bootfs rw - vfat /dev/x rw\n";
        std::fs::write(two.proc.join("self/mountinfo"), mounts).unwrap();
        assert_eq!(look(&two, 2, false).unwrap(), 1, "the other one may be used");
        std::fs::write(two.sys.join("block/sdc/ro"), "1\n").unwrap();
        let failure = look(&two, 2, false).unwrap_err();
        assert_eq!(failure.kind(), Kind::DeviceRefused);
        let text = failure.render();
        for part in
            ["sdb1 is mounted at /media/ada/bootfs", "umount", "sdc is write-protected", "slide the lock"]
        {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
        // A reader without a card is no reason to be told.
        for name in ["sdb", "sdc"] {
            std::fs::write(two.sys.join("block").join(name).join("size"), "0\n").unwrap();
        }
        assert!(look(&two, 2, false).unwrap_err().render().contains("put cards into their readers"));
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
