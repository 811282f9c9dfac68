//! One read of the base for all cards: blocks that every card's thread gets to see, in memory that is bounded.
//!
//! The slowest card sets the pace: a block's memory comes back when the last card is done with it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use super::content::{BLOCK, Blocks, Expected, digest};
use crate::aligned::{Aligned, is_zero};
use crate::build::extents;

/// Blocks in memory: 48 MiB.
const MEMORY: usize = 12;
/// Blocks that wait for one card at most.
const QUEUE: usize = 8;

/// A block of the base.
#[derive(Debug, Clone)]
pub(super) struct Block {
    /// Which one.
    pub(super) index: usize,
    /// Its digest.
    pub(super) expected: Expected,
    /// Its bytes, where there are any but zeros.
    pub(super) bytes: Option<Arc<Loan>>,
}

/// Memory that goes back when the last card has let go of it.
#[derive(Debug)]
pub(super) struct Loan {
    memory: Option<Aligned>,
    length: usize,
    back: Sender<Aligned>,
}

impl Loan {
    pub(super) fn bytes(&self) -> &[u8] {
        self.memory.as_ref().and_then(|memory| memory.get(..self.length)).unwrap_or_default()
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let Some(memory) = self.memory.take() {
            // Nobody wants it back when the end is near.
            let _unwanted = self.back.send(memory);
        }
    }
}

/// Where a card's thread gets its blocks from, in order.
pub(super) type Stream = Receiver<Block>;

/// Where the reader puts them.
#[derive(Debug)]
pub(super) struct Reader {
    cards: Vec<Option<SyncSender<Block>>>,
}

/// A reader and a stream for each of so many cards.
pub(super) fn open(cards: usize) -> (Reader, Vec<Stream>) {
    let (senders, streams) = (0..cards).map(|_| sync_channel(QUEUE)).unzip::<_, _, Vec<_>, Vec<_>>();
    (Reader { cards: senders.into_iter().map(Some).collect() }, streams)
}

impl Reader {
    /// Reads the base once and gives every block to every card that still listens.
    ///
    /// # Errors
    /// When the base cannot be read: then the streams end early.
    pub(super) fn run(mut self, base: &File, blocks: Blocks) -> io::Result<()> {
        let (back, empty) = channel();
        for _ in 0..MEMORY {
            // The receiver is held right here.
            let _sent = back.send(Aligned::new(BLOCK));
        }
        let mut data = extents(base, blocks.size)?.into_iter().peekable();
        for index in 0..blocks.count() {
            let (start, length) = (blocks.offset(index), blocks.length(index));
            while data.next_if(|(_, end)| *end <= start).is_some() {}
            let is_hole = data.peek().is_none_or(|(first, _)| *first >= start + length as u64);
            let block = if is_hole {
                // Behind the end of a file that was cut short there is a hole, too.
                if base.metadata()?.len() < start + length as u64 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Block { index, expected: Expected::Zeros, bytes: None }
            } else {
                // The other end is held above, so this waits for memory and never fails.
                let mut memory = empty.recv().unwrap_or_else(|_| Aligned::new(BLOCK));
                let part = memory.get_mut(..length).unwrap_or_default();
                base.read_exact_at(part, start)?;
                if is_zero(part) {
                    let _sent = back.send(memory);
                    Block { index, expected: Expected::Zeros, bytes: None }
                } else {
                    let expected = Expected::Bytes(digest(part));
                    let loan = Loan { memory: Some(memory), length, back: back.clone() };
                    Block { index, expected, bytes: Some(Arc::new(loan)) }
                }
            };
            for card in &mut self.cards {
                // Who does not listen any more has failed, and says why.
                if card.as_ref().is_some_and(|sender| sender.send(block.clone()).is_err()) {
                    *card = None;
                }
            }
            if self.cards.iter().all(Option::is_none) {
                break;
            }
        }
        Ok(())
    }
}
