//! Who is let in, beyond what the plan says: when the join window is over, which members have to go, and when the join
//! tokens have to change. The journal says what is wanted; what fails stays wanted, and the next round tries it again.
//!
//! Power lost here: every wish is on the disk before anything is done about it, and is taken back only afterwards.

use cluster::card::Card;
use thiserror::Error;

use super::Pi;
use crate::engine::{Engine, EngineError, Refusal};
use crate::journal::{Journal, JournalError};

/// Somebody else may change the swarm at the same time; hardly more often than this.
const TRIES: u32 = 5;

/// What could not be done yet.
#[derive(Debug, Error)]
pub(crate) enum DoorError {
    /// The tokens are still the old ones.
    #[error("the join tokens could not be changed")]
    Rotate(#[source] EngineError),
    /// A revoked node is still a member.
    #[error("a revoked node could not be removed from the swarm")]
    Expel(#[source] EngineError),
    /// A revoked manager has to become a worker before it can be removed.
    #[error("a revoked manager is being made a worker first")]
    Demoting,
    /// What was done could not be written down.
    #[error("progress could not be recorded")]
    Journal(#[source] JournalError),
}

/// When nodes that never joined may.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) closed: bool,
    pub(crate) opened: Option<u64>,
    pub(crate) now: u64,
    pub(crate) seconds: u64,
}

impl Window {
    /// The window at a time, in seconds since 1970.
    pub(crate) const fn new(journal: &Journal, card: &Card, now: u64) -> Self {
        Self {
            closed: journal.window_closed,
            opened: journal.window_opened,
            now,
            seconds: card.swarm.join_window_seconds,
        }
    }

    /// A clock that went back leaves the window open: it says nothing about how long it has been. But a window that
    /// was seen closed stays closed.
    pub(crate) fn is_open(self) -> bool {
        !self.closed && self.opened.is_none_or(|opened| self.now.saturating_sub(opened) <= self.seconds)
    }
}

/// Opens the window, at the first moment with a believable clock. Counted from the card's floor, it begins anew with network
/// time, which may be years later: else it would be over before anybody could join. That happens once.
pub(crate) fn open_window(journal: &mut Journal, now: u64, synced: bool) {
    let is_first_network_time = synced && !journal.window_is_sure;
    if journal.window_opened.is_none() || is_first_network_time {
        journal.window_opened = Some(now);
    }
    if is_first_network_time {
        (journal.window_is_sure, journal.window_closed) = (true, false);
    }
}

/// Once the window is over, by whatever clock there is, the tokens that were given out in it are worth nothing any more.
pub(crate) fn close_window(pi: &Pi, now: u64) -> Result<(), JournalError> {
    let is_over =
        pi.journal.look(|journal| !journal.window_closed && !Window::new(journal, &pi.card, now).is_open());
    if is_over {
        tracing::info!("the join window is over");
        pi.journal.update(|journal| {
            journal.window_closed = true;
            journal.rotations_wanted += 1;
        })?;
    }
    Ok(())
}

/// Does what the journal wants done.
pub(crate) async fn enforce(pi: &Pi) -> Result<(), DoorError> {
    let journal = pi.journal.get();
    // Tokens first: a member that is removed must not find the way back.
    if journal.rotations_done < journal.rotations_wanted {
        rotate(&pi.engine).await.map_err(DoorError::Rotate)?;
        tracing::info!("the join tokens were changed");
        pi.journal
            .update(|now| now.rotations_done = now.rotations_done.max(journal.rotations_wanted))
            .map_err(DoorError::Journal)?;
    }
    if journal.expelled.is_empty() {
        return Ok(());
    }
    let nodes = pi.engine.nodes().await.map_err(DoorError::Expel)?;
    let mut demoting = false;
    for id in &journal.expelled {
        if let Some(node) = nodes.iter().find(|node| node.id == *id) {
            if node.manager_status.is_some() {
                pi.engine.demote(node).await.map_err(DoorError::Expel)?;
                demoting = true;
                continue;
            }
            match pi.engine.expel_node(id).await {
                Ok(()) => tracing::warn!("removed the revoked node {} ({id})", node.description.hostname),
                Err(error) if error.refusal() == Some(Refusal::NoSuchNode) => {}
                Err(error) => return Err(DoorError::Expel(error)),
            }
        }
        pi.journal
            .update(|journal| journal.expelled.retain(|other| other != id))
            .map_err(DoorError::Journal)?;
    }
    if demoting { Err(DoorError::Demoting) } else { Ok(()) }
}

/// Changes both join tokens.
pub(crate) async fn rotate(engine: &Engine) -> Result<(), EngineError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match engine.rotate_tokens().await {
            Err(error) if error.refusal() == Some(Refusal::OutOfSequence) && tries < TRIES => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_back_opens_no_window_that_was_closed() {
        let window = Window { closed: false, opened: Some(1000), now: 10, seconds: 600 };
        assert!(window.is_open(), "a clock that went back does not close it, either");
        assert!(Window { opened: None, ..window }.is_open());
        assert!(!Window { now: 1601, ..window }.is_open());
        assert!(!Window { closed: true, ..window }.is_open());
    }
}
