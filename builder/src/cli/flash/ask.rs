//! The question before cards are erased.

use std::io::{self, IsTerminal, Write};

use cluster::name::Hostname;

use super::outcome::FlashError;
use super::slots::Slot;
use crate::cli::ask::{QUESTION, is_yes, read_line};
use crate::device::contents::{self, Contents};
use crate::error::Failure;
use crate::flash::journal::Journal;
use crate::interrupt::Interrupt;

/// Asks, unless it was answered on the command line.
#[derive(Debug)]
pub(super) struct Question {
    yes: bool,
}

impl Question {
    pub(super) const fn new(yes: bool) -> Self {
        Self { yes }
    }

    /// Says what each card is going to be and what is on it, and asks. Ctrl-C is a no.
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
        text.push_str(QUESTION);
        talk.write_all(text.as_bytes()).and_then(|()| talk.flush()).map_err(FlashError::Ask)?;
        let answer = read_line(interrupt).map_err(FlashError::Ask)?;
        Ok(answer.is_some_and(|answer| is_yes(&answer)))
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
