//! Who is let in, beyond what the plan says: when the join window is over, which members have to go, and when the join
//! tokens have to change. The journal says what is wanted; what fails stays wanted, and the next round tries it again.
//!
//! Power lost here: every wish is on the disk before anything is done about it, and is taken back only afterwards. On a disk
//! that takes nothing, wishes are in memory only ([`JournalFile::enact`](crate::journal::JournalFile::enact)).

use thiserror::Error;

use super::Pi;
use crate::engine::{Engine, EngineError, Refusal};
use crate::journal::{Journal, JournalError};
use crate::window::Moment;

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

/// Whether nodes that were never members may join now.
pub(crate) fn is_open(pi: &Pi) -> bool {
    let now = Moment::now(pi.host.as_ref());
    pi.journal.look(|journal| journal.is_window_open(&now, pi.card.swarm.join_window_seconds))
}

/// Opens the join window at the first moment with a believable clock, and counts how long it has been open.
pub(crate) fn count(pi: &Pi, synced: bool) -> Result<(), JournalError> {
    let now = Moment::now(pi.host.as_ref());
    let seconds = pi.card.swarm.join_window_seconds;
    pi.journal.settle(|journal| journal.count_window(&now, seconds, synced, &pi.card.node))
}

/// Opens the join window again, for its whole time.
pub(crate) fn reopen_window(pi: &Pi) -> Result<(), JournalError> {
    let (now, seconds) = (Moment::now(pi.host.as_ref()), pi.card.swarm.join_window_seconds);
    let synced = pi.status.is_clock_synced();
    // In one write: between two, a power cut would leave it to the next count.
    pi.journal.settle(|journal| {
        journal.reopen_window();
        journal.count_window(&now, seconds, synced, &pi.card.node);
    })
}

/// Once the window is over, the tokens that were given out in it are worth nothing any more.
pub(crate) fn close_window(pi: &Pi) -> Result<(), JournalError> {
    if is_open(pi) || pi.journal.look(|journal| journal.window_closed) {
        return Ok(());
    }
    tracing::info!("the join window is over");
    // A disk that is full does not keep it open.
    pi.journal.enact(|journal| {
        journal.window_closed = true;
        journal.rotations_wanted += 1;
    })
}

/// Does what the journal wants done.
pub(crate) async fn enforce(pi: &Pi) -> Result<(), DoorError> {
    let journal = pi.journal.get();
    let mut unsaved = None;
    // Tokens first: a member that is removed must not find the way back.
    if journal.rotations_done < journal.rotations_wanted {
        rotate(&pi.engine).await.map_err(DoorError::Rotate)?;
        tracing::info!("the join tokens were changed");
        // On a full disk it is done all the same: otherwise each round would change them.
        let done = |now: &mut Journal| now.rotations_done = now.rotations_done.max(journal.rotations_wanted);
        unsaved = pi.journal.enact(done).err();
    }
    let nodes = match journal.expelled.is_empty() {
        true => Vec::new(),
        false => pi.engine.nodes().await.map_err(DoorError::Expel)?,
    };
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
        let gone = |journal: &mut Journal| journal.expelled.retain(|other| other != id);
        unsaved = pi.journal.enact(gone).err();
    }
    match unsaved {
        _ if demoting => Err(DoorError::Demoting),
        Some(error) => Err(DoorError::Journal(error)),
        None => Ok(()),
    }
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
