//! The next card in a reader: waiting for it, and what is said while it is not the right one.
//!
//! Nothing that is put in ends the walk through the nodes. It is looked at, told and waited on.

use std::io;
use std::path::Path;
use std::time::Duration;

use cluster::name::Hostname;

use super::outcome::FlashError;
use super::show::say;
use super::slots::Slot;
use crate::device::presence::is_absent;
use crate::device::{Bus, Claimed, Demand, Disk, Kernel, Refusal, claim};
use crate::error::{Failure, one_line};
use crate::interrupt::Interrupt;
use crate::regular;

/// How often a reader is looked at for a new card. The kernel itself looks every two seconds.
const LOOK: Duration = Duration::from_millis(250);
/// How often a card that was refused is looked at again: that takes reading it.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Whoever waits for the next cards.
pub(super) struct Waiter<'a> {
    pub(super) kernel: &'a Kernel,
    pub(super) demand: &'a Demand,
    pub(super) interrupt: &'a Interrupt,
    /// Whose card it is, if that is done.
    pub(super) done: &'a dyn Fn(&Disk) -> Option<String>,
}

/// What one look at a reader shows.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// No card, or no reader.
    Nothing,
    /// The card that was in it before.
    Same,
    /// Another device, which has the reader's name by now.
    Stranger(Disk),
    /// Another card.
    Card(Disk),
}

impl Waiter<'_> {
    /// Waits until another card is in the reader that may be erased, and claims it before a desktop mounts it.
    pub(super) fn wait(&self, slot: &mut Slot, node: &Hostname) -> Result<Claimed, Failure> {
        let reader = slot.given.display().to_string();
        let request = format!("put the card for {node} into {reader}");
        say(&request);
        let (mut was_empty, mut told) = (false, String::new());
        while !self.interrupt.asked() {
            let mut pause = LOOK;
            let mut tell = |text: String| {
                if told != text {
                    say(&text);
                    told = text;
                }
            };
            let at = || self.kernel.disk_at(&slot.given);
            match look(&at, &|path| regular::open_or_disk(path).map(drop), &slot.disk, was_empty) {
                Ok(Seen::Nothing) => {
                    was_empty = true;
                    told.clear();
                }
                Ok(Seen::Same) => {}
                Ok(Seen::Stranger(disk)) => {
                    was_empty = true;
                    let was = slot.disk.model.clone().unwrap_or_else(|| slot.disk.bus.to_string());
                    tell(format!(
                        "{reader} is another device now ({}), which is left alone: unplug it, plug the reader \
                         ({was}) in, and put the card for {node} into that",
                        disk.describe()
                    ));
                }
                Ok(Seen::Card(disk)) => {
                    // Before anything else, so that nobody can mount it meanwhile; nothing is written by that.
                    let claimed = self.claim(slot, &disk);
                    match ((self.done)(&disk), claimed) {
                        (Some(done), _) => {
                            tell(format!("that is the card of {done}, which is done: {request}"));
                            (slot.disk, was_empty) = (disk, false);
                        }
                        (None, Ok(claimed)) => {
                            slot.disk = claimed.disk().clone();
                            return Ok(claimed);
                        }
                        (None, Err(refusal)) => {
                            pause = LOOK_AGAIN;
                            tell_refusal(&refusal, tell);
                        }
                    }
                }
                Err(refusal) => tell_refusal(&refusal, tell),
            }
            // Nothing tells an ordinary program of a new card without udev.
            std::thread::sleep(pause);
        }
        Err(FlashError::Interrupted.into())
    }

    fn claim(&self, slot: &Slot, disk: &Disk) -> Result<Claimed, Refusal> {
        let demand = slot.demand(self.demand);
        // Looked at first: a device that was opened for writing is probed by the system when it is closed again.
        match self.kernel.refusals(disk, &demand).into_iter().next() {
            Some(refusal) => Err(refusal),
            None => claim::claim(self.kernel, &slot.given, disk, &demand),
        }
    }
}

fn tell_refusal(refusal: &Refusal, mut tell: impl FnMut(String)) {
    // Taken out or exchanged at this moment: the next look shows it.
    let passes = matches!(
        refusal,
        Refusal::Absent { .. } | Refusal::Unknown(_) | Refusal::Empty(_) | Refusal::Changed(_)
    );
    if !passes {
        // None of these hints names a command that reads the cluster file.
        tell(format!("not taken: {}\nhint: {}", one_line(refusal), refusal.hint().show(None).text));
    }
}

/// Looks once. `at` is what the kernel tells of the reader, `open` opens a device.
fn look(
    at: &dyn Fn() -> Result<Disk, Refusal>,
    open: &dyn Fn(&Path) -> io::Result<()>,
    before: &Disk,
    was_empty: bool,
) -> Result<Seen, Refusal> {
    let Some(disk) = present(at())? else { return Ok(Seen::Nothing) };
    if disk.size > 0 && !was_empty && disk.sequence == before.sequence {
        return Ok(Seen::Same);
    }
    // The kernel goes on telling of a card that was taken out, and nothing of one that was put in, until somebody opens it.
    if open(&disk.path).is_err_and(|error| is_absent(&error)) {
        return Ok(Seen::Nothing);
    }
    match present(at())? {
        Some(disk) if disk.size == 0 => Ok(Seen::Nothing),
        Some(disk) if is_reader(before, &disk) => Ok(Seen::Card(disk)),
        Some(disk) => Ok(Seen::Stranger(disk)),
        None => Ok(Seen::Nothing),
    }
}

/// A reader that is pulled out is gone from here first and from there later.
fn present(disk: Result<Disk, Refusal>) -> Result<Option<Disk>, Refusal> {
    match disk {
        Ok(disk) => Ok(Some(disk)),
        Err(Refusal::Absent { .. } | Refusal::Unknown(_)) => Ok(None),
        Err(refusal) => Err(refusal),
    }
}

/// Whether it is the reader it was, by what the kernel tells of it and not by its name. In the slot of an SD controller,
/// model and serial are the card's.
fn is_reader(before: &Disk, now: &Disk) -> bool {
    let name = before.path.file_name().unwrap_or_default().to_string_lossy();
    let has_model = !name.starts_with("mmcblk");
    before.bus == now.bus
        && (!has_model || before.model == now.model)
        && (before.bus == Bus::Mmc || before.serial == now.serial)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use rustix::io::Errno;

    use super::*;
    use crate::device::list::tests::kernel;

    fn reader() -> Disk {
        let root = tempfile::tempdir().unwrap();
        kernel(root.path()).disks().unwrap().remove(0)
    }

    fn next(disk: &Disk) -> Disk {
        Disk { sequence: disk.sequence.map(|sequence| sequence + 1), ..disk.clone() }
    }

    fn opens(_: &Path) -> io::Result<()> {
        Ok(())
    }

    fn no_medium(_: &Path) -> io::Result<()> {
        Err(Errno::NOMEDIUM.into())
    }

    fn seen(disk: Option<&Disk>, open: &dyn Fn(&Path) -> io::Result<()>, was_empty: bool) -> Seen {
        let unknown = || Refusal::Unknown(PathBuf::from("/dev/sdb"));
        look(&|| disk.cloned().ok_or_else(unknown), open, &reader(), was_empty).unwrap()
    }

    #[test]
    fn taking_a_card_out_is_not_putting_one_in() {
        let card = reader();
        assert_eq!(seen(Some(&card), &opens, false), Seen::Same);
        // What the kernel tells between the event and the next open: another number, and the size it was.
        assert_eq!(seen(Some(&next(&card)), &no_medium, false), Seen::Nothing);
        assert_eq!(seen(Some(&Disk { size: 0, ..next(&card) }), &opens, false), Seen::Nothing);
        assert_eq!(seen(None, &opens, false), Seen::Nothing);
        assert_eq!(seen(Some(&next(&card)), &opens, false), Seen::Card(next(&card)));
        // Where cards have no numbers (before Linux 5.15).
        let old = Disk { sequence: None, ..card };
        assert_eq!(seen(Some(&old), &opens, true), Seen::Card(old.clone()));
    }

    #[test]
    fn a_card_is_known_of_only_when_its_reader_was_opened() {
        let card = next(&reader());
        let opened = std::cell::Cell::new(false);
        let at = || Ok(Disk { size: if opened.get() { card.size } else { 0 }, ..card.clone() });
        let open = |_: &Path| {
            opened.set(true);
            Ok(())
        };
        assert_eq!(look(&at, &open, &reader(), true).unwrap(), Seen::Card(card.clone()));
    }

    #[test]
    fn another_device_of_that_name_is_not_the_next_card() {
        let card = next(&reader());
        for stranger in [
            Disk { model: Some("Camera".into()), ..card.clone() },
            Disk { serial: Some("7".into()), ..card.clone() },
            Disk { bus: Bus::Ata, ..card.clone() },
        ] {
            assert_eq!(seen(Some(&stranger), &opens, true), Seen::Stranger(stranger.clone()));
        }
        // An SD controller knows cards only.
        let slot = Disk { path: "/dev/mmcblk0".into(), bus: Bus::Mmc, ..card };
        let other = Disk { model: Some("SC32G".into()), serial: Some("0x1".into()), ..slot.clone() };
        assert!(is_reader(&slot, &other));
        assert!(!is_reader(&slot, &Disk { bus: Bus::Usb, ..other }));
    }
}
