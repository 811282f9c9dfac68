//! Writes one card and reads it back.
//!
//! Order of effects: the first block is made zeros, so that neither firmware nor desktop takes the card for whole; the
//! others are written as they come; all but the first are read back, past every cache, and compared with digests that
//! were computed before anything was written; the first block follows, its first page, where the partition table is, last
//! of all; it is read back, and if it is bad, its first page is made zeros again.
//!
//! Power lost or card pulled anywhere: it has no partition table and boots nothing. What was flushed is in the journal, and
//! the same command goes on from there.

use std::fs::File;
use std::io;

use super::content::{Blocks, Expected, PIECE, Patches, card_digest};
use super::readback::{self, differs, fill_from_base, first_difference};
use super::stream::{Block, Stream};
use super::{Phase, Watch};
use crate::aligned::{Aligned, PAGE, is_zero};
use crate::device::Medium;
use crate::device::medium::{read_exact, write_all};
use crate::digest::Digest;

mod error;

pub use error::CardError;

/// After so many blocks the card is flushed and the journal knows: 64 MiB, some three seconds of a card.
const FLUSH_EVERY: usize = 16;
/// Behind the image, the end of the card is emptied, where an earlier GPT has its second copy.
const TAIL: u64 = 1 << 20;
/// Blocks that are compared before an interrupted card is believed to be the same.
const PROBES: usize = 8;

/// How blocks of zeros came to be on the card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Zeros {
    /// There were none, or none yet.
    None,
    /// By a command to the drive, without sending them.
    Drive,
    /// Written like everything else.
    Written,
}

/// A finished card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// Of all that it holds; the same for every card of this node, image and agent.
    pub digest: Digest,
    /// How blocks of zeros came to be there.
    pub zeros: Zeros,
    /// Blocks that had to be written a second time.
    pub rewritten: Vec<u64>,
    /// Whether it was read back.
    pub verified: bool,
    /// Bytes that an interrupted run had written already.
    pub resumed: u64,
}

/// What one card needs.
pub(super) struct Job<'a> {
    pub(super) medium: &'a dyn Medium,
    pub(super) base: &'a File,
    pub(super) blocks: Blocks,
    pub(super) patches: &'a Patches,
    pub(super) verify: bool,
    /// Blocks an interrupted run had flushed.
    pub(super) resume: usize,
    /// Tells how many blocks are safe; none when the card is begun anew, or done.
    pub(super) note: &'a (dyn Fn(usize) + Sync),
    pub(super) watch: Watch<'a>,
}

/// Writes and checks a card as its blocks come along.
pub(super) fn flash(job: &Job<'_>, stream: Stream) -> Result<Done, CardError> {
    let mut card = Card {
        job,
        buffer: Aligned::new(PIECE),
        expected: Vec::with_capacity(job.blocks.count()),
        zeros: Zeros::None,
        drive_zeroes: true,
        rewritten: Vec::new(),
    };
    let safe = card.begin()?;
    for block in stream.iter() {
        card.take(&block, safe)?;
    }
    // The reader says why.
    if card.expected.len() < job.blocks.count() {
        return Err(CardError::Base(io::ErrorKind::UnexpectedEof.into()));
    }
    drop(stream);
    card.flush()?;
    (job.note)(job.blocks.count());
    if job.verify {
        for index in readback::suspects(job, &card.expected)? {
            card.check(index)?;
        }
    }
    card.complete()?;
    // Nothing is left to go on with.
    (job.note)(0);
    Ok(Done {
        digest: card_digest(&card.expected),
        zeros: card.zeros,
        rewritten: card.rewritten,
        verified: job.verify,
        resumed: job.blocks.offset(safe).min(job.blocks.size),
    })
}

/// Compares a card with what it should hold, and gives what it has been proven to be.
pub(super) fn compare(job: &Job<'_>, stream: Stream) -> Result<Done, CardError> {
    let mut buffer = Aligned::new(PIECE);
    let mut expected = Vec::with_capacity(job.blocks.count());
    for block in stream.iter() {
        let wanted = own(job, &block, &mut buffer);
        if let Some(offset) = differs(job, block.index, wanted, &mut buffer)? {
            let exact = first_difference(job, block.index, &mut buffer)?;
            return Err(CardError::Differs { offset: exact.unwrap_or(offset) });
        }
        job.watch.step(Phase::Verify, job.blocks.length(block.index))?;
        expected.push(wanted);
    }
    if expected.len() < job.blocks.count() {
        return Err(CardError::Base(io::ErrorKind::UnexpectedEof.into()));
    }
    let digest = card_digest(&expected);
    Ok(Done { digest, zeros: Zeros::None, rewritten: Vec::new(), verified: true, resumed: 0 })
}

struct Card<'a> {
    job: &'a Job<'a>,
    buffer: Aligned,
    expected: Vec<Expected>,
    zeros: Zeros,
    drive_zeroes: bool,
    rewritten: Vec<u64>,
}

impl Card<'_> {
    /// Makes the card unbootable, unless it is one that an earlier run left so and got some way with: how many blocks.
    fn begin(&mut self) -> Result<usize, CardError> {
        let (job, blocks) = (self.job, self.job.blocks);
        if job.verify && job.resume > 1 && self.is_left_by_us()? {
            return Ok(job.resume.min(blocks.count()));
        }
        (job.note)(0);
        self.write_zeros(0, blocks.length(0) as u64)?;
        let end = job.medium.size();
        let tail = end.saturating_sub(TAIL).max(blocks.size) / PAGE as u64 * PAGE as u64;
        if tail >= blocks.size && tail < end {
            self.write_zeros(tail, (end - tail) / 512 * 512)?;
        }
        self.flush()?;
        Ok(0)
    }

    /// Writes the first block, and of that the first page at the very end.
    fn complete(&mut self) -> Result<(), CardError> {
        let length = self.job.blocks.length(0);
        for start in (0..length).step_by(PIECE).rev() {
            let count = fill_from_base(self.job, 0, start, &mut self.buffer)?;
            let skipped = if start == 0 { PAGE.min(count) } else { 0 };
            let part = self.buffer.get(skipped..count).unwrap_or_default();
            self.write_at(part, (start + skipped) as u64)?;
        }
        self.flush()?;
        let count = fill_from_base(self.job, 0, 0, &mut self.buffer)?;
        self.write_buffer(count.min(PAGE), 0)?;
        self.flush()?;
        if !self.job.verify {
            return Ok(());
        }
        if let Err(error) = self.check(0) {
            // What was pulled out or is broken may not take it; then there is nothing more to be done.
            let _tried = self.write_zeros(0, PAGE as u64).and_then(|()| self.flush());
            return Err(error);
        }
        // Whole by now, whoever asked to end: it boots.
        self.job.watch.tell(Phase::Verify, length);
        Ok(())
    }

    /// Whether the card is in a state in which an earlier run was cut off. Everything is compared again at the end.
    fn is_left_by_us(&mut self) -> Result<bool, CardError> {
        match self.has_our_blocks() {
            // A page whose writing was cut off may be unreadable until it is written again, and so it is.
            Err(error) if error.is_bad_card() => Ok(false),
            answer => answer,
        }
    }

    fn has_our_blocks(&mut self) -> Result<bool, CardError> {
        let (job, blocks) = (self.job, self.job.blocks);
        let head = self.buffer.get_mut(..PAGE).unwrap_or_default();
        read_exact(job.medium, head, 0).map_err(|source| CardError::while_reading(job.medium, 0, source))?;
        if !is_zero(head) {
            return Ok(false);
        }
        let last = job.resume.min(blocks.count()) - 1;
        for probe in 0..PROBES {
            let index = 1 + (last - 1) * probe / (PROBES - 1);
            if first_difference(job, index, &mut self.buffer)?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes the next block of the base; those before `safe` are on the card already.
    fn take(&mut self, block: &Block, safe: usize) -> Result<(), CardError> {
        let (job, index) = (self.job, block.index);
        let expected = own(job, block, &mut self.buffer);
        self.expected.push(expected);
        let length = job.blocks.length(index);
        let is_written = index > 0 && index >= safe;
        match (&block.bytes, expected) {
            _ if !is_written => {}
            (_, Expected::Zeros) => self.erase(index)?,
            (Some(bytes), _) if !job.patches.touch(index) => {
                self.write_at(bytes.bytes(), job.blocks.offset(index))?;
            }
            _ => self.write_pieces(index, block)?,
        }
        job.watch.step(Phase::Write, length)?;
        if is_written && (index + 1).is_multiple_of(FLUSH_EVERY) {
            self.flush()?;
            (job.note)(index + 1);
        }
        Ok(())
    }

    fn write_pieces(&mut self, index: usize, block: &Block) -> Result<(), CardError> {
        for start in (0..self.job.blocks.length(index)).step_by(PIECE) {
            let length = fill(self.job, block, start, &mut self.buffer);
            self.write_buffer(length, self.job.blocks.offset(index) + start as u64)?;
        }
        Ok(())
    }

    /// Makes a block zeros, by the drive if it can.
    fn erase(&mut self, index: usize) -> Result<(), CardError> {
        let (offset, length) = (self.job.blocks.offset(index), self.job.blocks.length(index) as u64);
        if self.drive_zeroes {
            match self.job.medium.zero(offset, length) {
                Ok(()) => {
                    self.zeros = Zeros::Drive;
                    return Ok(());
                }
                // Whatever it says, zeros can be written, or that fails, too.
                Err(_) => self.drive_zeroes = false,
            }
        }
        self.zeros = Zeros::Written;
        self.write_zeros(offset, length)
    }

    fn write_zeros(&mut self, offset: u64, length: u64) -> Result<(), CardError> {
        self.buffer.fill(0);
        let mut done = 0;
        while done < length {
            let count = usize::try_from(length - done).unwrap_or(PIECE).min(PIECE);
            self.write_buffer(count, offset + done)?;
            done += count as u64;
        }
        Ok(())
    }

    fn write_buffer(&self, length: usize, offset: u64) -> Result<(), CardError> {
        self.write_at(self.buffer.get(..length).unwrap_or_default(), offset)
    }

    /// Writes; what fails is tried a second time in small parts, which also tells where it fails.
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), CardError> {
        if write_all(self.job.medium, bytes, offset).is_ok() {
            return Ok(());
        }
        for (place, part) in bytes.chunks(PAGE).enumerate() {
            let at = offset + (place * PAGE) as u64;
            let medium = self.job.medium;
            write_all(medium, part, at).map_err(|source| CardError::while_writing(medium, at, source))?;
        }
        Ok(())
    }

    /// Writes a block of this card from the image's file.
    fn write_own(&mut self, index: usize) -> Result<(), CardError> {
        let blocks = self.job.blocks;
        for start in (0..blocks.length(index)).step_by(PIECE) {
            let length = fill_from_base(self.job, index, start, &mut self.buffer)?;
            self.write_buffer(length, blocks.offset(index) + start as u64)?;
        }
        Ok(())
    }

    /// Reads a block back once more. A bad one is written a second time.
    fn check(&mut self, index: usize) -> Result<(), CardError> {
        let job = self.job;
        let expected = self.expected.get(index).copied().unwrap_or(Expected::Zeros);
        if !matches!(differs(job, index, expected, &mut self.buffer), Ok(None)) {
            self.write_own(index)?;
            self.flush()?;
            if differs(job, index, expected, &mut self.buffer)?.is_some() {
                let offset = first_difference(job, index, &mut self.buffer)?;
                return Err(CardError::Bad { offset: offset.unwrap_or(job.blocks.offset(index)) });
            }
            self.rewritten.push(job.blocks.offset(index));
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), CardError> {
        let medium = self.job.medium;
        medium.flush().map_err(|source| CardError::while_flushing(medium, source))
    }
}

/// What this card is to have there, which is not what the base has where the node has sectors of its own.
fn own(job: &Job<'_>, block: &Block, buffer: &mut Aligned) -> Expected {
    if !job.patches.touch(block.index) {
        return block.expected;
    }
    let mut hasher = sha2::Sha256::default();
    let mut zeros = true;
    for start in (0..job.blocks.length(block.index)).step_by(PIECE) {
        let length = fill(job, block, start, buffer);
        let part = buffer.get(..length).unwrap_or_default();
        zeros &= is_zero(part);
        sha2::Digest::update(&mut hasher, part);
    }
    if zeros { Expected::Zeros } else { Expected::Bytes(sha2::Digest::finalize(hasher).into()) }
}

/// A part of a block with the node's own sectors over it; how long it is.
fn fill(job: &Job<'_>, block: &Block, start: usize, buffer: &mut Aligned) -> usize {
    let length = (job.blocks.length(block.index) - start).min(PIECE);
    let part = buffer.get_mut(..length).unwrap_or_default();
    match block.bytes.as_ref().and_then(|bytes| bytes.bytes().get(start..start + length)) {
        Some(bytes) => part.copy_from_slice(bytes),
        None => part.fill(0),
    }
    job.patches.lay_over(block.index, start, part);
    length
}
