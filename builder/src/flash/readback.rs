//! Reads a card back and says where it is not as wanted.

use std::os::unix::fs::FileExt;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};

use sha2::{Digest as _, Sha256};

use super::Phase;
use super::card::{CardError, Job};
use super::content::{Expected, PIECE};
use crate::aligned::{Aligned, is_zero};
use crate::device::medium::read_exact;

/// Pieces that are read ahead of the one that is being looked at.
const AHEAD: usize = 2;

/// Whether pieces of a block that come one after the other are what is expected of it.
enum Check {
    Zeros { kept: bool },
    Bytes { hasher: Sha256, expected: [u8; 32] },
}

impl Check {
    fn new(expected: Expected) -> Self {
        match expected {
            Expected::Zeros => Self::Zeros { kept: true },
            Expected::Bytes(expected) => Self::Bytes { hasher: Sha256::default(), expected },
        }
    }

    fn update(&mut self, piece: &[u8]) {
        match self {
            Self::Zeros { kept } => *kept &= is_zero(piece),
            Self::Bytes { hasher, .. } => hasher.update(piece),
        }
    }

    /// Whether all of it was as expected.
    fn verdict(self) -> bool {
        match self {
            Self::Zeros { kept } => kept,
            Self::Bytes { hasher, expected } => <[u8; 32]>::from(hasher.finalize()) == expected,
        }
    }
}

/// What the reading thread has.
enum Piece {
    Read {
        block: usize,
        memory: Aligned,
        length: usize,
    },
    /// The rest of the block is left out.
    Unreadable {
        block: usize,
        memory: Aligned,
    },
}

/// All blocks but the first that are not as expected, or cannot be read. The card is read while what came before is
/// looked at.
pub(super) fn suspects(job: &Job<'_>, expected: &[Expected]) -> Result<Vec<usize>, CardError> {
    std::thread::scope(|scope| {
        let (pieces, read) = sync_channel(AHEAD);
        let (back, empty) = channel();
        for _ in 0..=AHEAD {
            // The receiver is held right here.
            let _sent = back.send(Aligned::new(PIECE));
        }
        let reading = scope.spawn(move || read_all(job, &empty, &pieces));
        let mut suspects = Vec::new();
        let mut open: Option<(usize, Check)> = None;
        let mut close = |open: Option<(usize, Check)>| -> Result<(), CardError> {
            let Some((block, check)) = open else { return Ok(()) };
            if !check.verdict() {
                suspects.push(block);
            }
            job.watch.step(Phase::Verify, job.blocks.length(block))
        };
        for piece in read {
            let block = match piece {
                Piece::Read { block, .. } | Piece::Unreadable { block, .. } => block,
            };
            if open.as_ref().is_none_or(|(current, _)| *current != block) {
                let wanted = expected.get(block).copied().unwrap_or(Expected::Zeros);
                close(open.replace((block, Check::new(wanted))))?;
            }
            let memory = match (piece, &mut open) {
                (Piece::Read { memory, length, .. }, Some((_, check))) => {
                    check.update(memory.get(..length).unwrap_or_default());
                    memory
                }
                // What cannot be read is not kept, whatever came before.
                (Piece::Read { memory, .. } | Piece::Unreadable { memory, .. }, open) => {
                    *open = Some((block, Check::Zeros { kept: false }));
                    memory
                }
            };
            // Nobody wants it back when the end is near.
            let _unwanted = back.send(memory);
        }
        close(open)?;
        reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(suspects)
    })
}

fn read_all(job: &Job<'_>, empty: &Receiver<Aligned>, pieces: &SyncSender<Piece>) -> Result<(), CardError> {
    for block in 1..job.blocks.count() {
        for start in (0..job.blocks.length(block)).step_by(PIECE) {
            let Ok(mut memory) = empty.recv() else { return Ok(()) };
            let length = (job.blocks.length(block) - start).min(PIECE);
            let at = job.blocks.offset(block) + start as u64;
            let read = read_exact(job.medium, memory.get_mut(..length).unwrap_or_default(), at);
            let piece = match read.map_err(|source| CardError::while_reading(job.medium, at, source)) {
                Ok(()) => Piece::Read { block, memory, length },
                Err(error @ CardError::Gone(_)) => return Err(error),
                Err(_) => Piece::Unreadable { block, memory },
            };
            let is_whole = matches!(piece, Piece::Read { .. });
            // Who looks has been interrupted.
            if pieces.send(piece).is_err() {
                return Ok(());
            }
            if !is_whole {
                break;
            }
        }
    }
    Ok(())
}

/// Whether the card has something else than expected in a block; roughly where.
pub(super) fn differs(
    job: &Job<'_>,
    index: usize,
    expected: Expected,
    buffer: &mut Aligned,
) -> Result<Option<u64>, CardError> {
    let offset = job.blocks.offset(index);
    let mut check = Check::new(expected);
    for start in (0..job.blocks.length(index)).step_by(PIECE) {
        let length = (job.blocks.length(index) - start).min(PIECE);
        let part = buffer.get_mut(..length).unwrap_or_default();
        let at = offset + start as u64;
        read_exact(job.medium, part, at)
            .map_err(|source| CardError::while_reading(job.medium, at, source))?;
        check.update(part);
    }
    Ok((!check.verdict()).then_some(offset))
}

/// The first sector in which the card differs from what it should hold.
pub(super) fn first_difference(
    job: &Job<'_>,
    index: usize,
    buffer: &mut Aligned,
) -> Result<Option<u64>, CardError> {
    let mut wanted = Aligned::new(PIECE);
    for start in (0..job.blocks.length(index)).step_by(PIECE) {
        let length = fill_from_base(job, index, start, &mut wanted)?;
        let at = job.blocks.offset(index) + start as u64;
        let (wanted, part) = (wanted.get(..length), buffer.get_mut(..length));
        let (wanted, part) = (wanted.unwrap_or_default(), part.unwrap_or_default());
        read_exact(job.medium, part, at)
            .map_err(|source| CardError::while_reading(job.medium, at, source))?;
        let mut sectors = wanted.chunks(512).zip(part.chunks(512));
        if let Some(sector) = sectors.position(|(wanted, found)| wanted != found) {
            return Ok(Some(at + sector as u64 * 512));
        }
    }
    Ok(None)
}

/// A part of a block of this card, from the image's file; how long it is.
pub(super) fn fill_from_base(
    job: &Job<'_>,
    index: usize,
    start: usize,
    buffer: &mut Aligned,
) -> Result<usize, CardError> {
    let length = (job.blocks.length(index) - start).min(PIECE);
    let part = buffer.get_mut(..length).unwrap_or_default();
    job.base.read_exact_at(part, job.blocks.offset(index) + start as u64).map_err(CardError::Base)?;
    job.patches.lay_over(index, start, part);
    Ok(length)
}
