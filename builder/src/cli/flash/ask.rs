//! The question before cards are erased.

use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use cluster::name::Hostname;

use super::outcome::FlashError;
use super::slots::Slot;
use crate::device::contents::{self, Contents};
use crate::error::Failure;
use crate::flash::journal::Journal;
use crate::interrupt::Interrupt;

/// How often it is asked whether Ctrl-C was pressed meanwhile.
const LOOK: Duration = Duration::from_millis(100);

/// Asks, unless it was answered on the command line.
#[derive(Debug)]
pub(super) struct Question {
    yes: bool,
}

impl Question {
    pub(super) const fn new(yes: bool) -> Self {
        Self { yes }
    }

    /// Says what each card is going to be and what is on it, and asks.
    pub(super) fn may_erase(
        &self,
        nodes: &[Hostname],
        slots: &[Slot],
        (journal, cluster_id): (&Journal, &str),
        interrupt: &Interrupt,
    ) -> Result<bool, Failure> {
        if self.yes {
            return Ok(true);
        }
        if !io::stdin().is_terminal() {
            return Err(FlashError::NobodyToAsk.into());
        }
        let mut talk = io::stderr().lock();
        let mut text = String::from("to be erased:\n");
        for (node, slot) in nodes.iter().zip(slots) {
            let found = describe(&contents::look(&slot.disk), journal, cluster_id);
            let (device, disk) = (slot.given.display(), slot.disk.describe());
            text.push_str(&format!("  {device} ({disk}), now {found}: becomes the card of {node}\n"));
        }
        text.push_str("type yes to go on: ");
        talk.write_all(text.as_bytes()).and_then(|()| talk.flush()).map_err(FlashError::Ask)?;
        let answer = read_line(interrupt)?;
        Ok(answer.trim() == "yes")
    }
}

/// A line from the terminal. Reading goes on over signals, so it is a thread's, which nobody waits for after Ctrl-C.
fn read_line(interrupt: &Interrupt) -> Result<String, FlashError> {
    let (told, answer) = channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        // Nobody wants it any more.
        let _unheard = told.send(io::stdin().lock().read_line(&mut line).map(|_| line));
    });
    loop {
        match answer.recv_timeout(LOOK) {
            Ok(line) => return line.map_err(FlashError::Ask),
            Err(RecvTimeoutError::Timeout) if interrupt.asked() => return Err(FlashError::Declined),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(FlashError::Ask(io::ErrorKind::BrokenPipe.into()));
            }
        }
    }
}

/// What is on a card, with what this computer remembers of it.
pub(crate) fn describe(contents: &Contents, journal: &Journal, cluster_id: &str) -> String {
    let Contents::Card { cluster_id: id, node, .. } = contents else { return contents.to_string() };
    let finished = journal.finished_card(id, node);
    let remembered = finished.map(|finished| {
        let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(finished.unix_s);
        let verified = if finished.verified { ", verified" } else { "" };
        format!(", flashed {}{verified}", humantime::format_rfc3339_seconds(at))
    });
    let other = if id == cluster_id || cluster_id.is_empty() { "" } else { " (another cluster)" };
    format!("{contents}{}{other}", remembered.unwrap_or_default())
}
