//! Writes many cards, each different, from one read of the base, and reads them back.
//!
//! Image, plan and device are given; nothing is decided here but what is on a card. See [`card`] for the order of effects.

use std::fs::File;
use std::io;

use crate::device::Medium;

pub mod card;
pub mod content;
pub mod journal;
mod readback;
mod stream;

use card::{CardError, Done, Job};
use content::{Blocks, Patches};

/// What is being done to a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It is written.
    Write,
    /// It is read back.
    Verify,
}

/// One card to write.
pub struct Order<'a> {
    /// Where to.
    pub medium: &'a dyn Medium,
    /// What the node has over the base.
    pub patches: &'a Patches,
    /// Blocks of [`content::BLOCK`] bytes that an interrupted run had flushed; 0 for a new card.
    pub resume: usize,
    /// Is told how many blocks are safe on the card, from its own thread.
    pub note: Box<dyn Fn(usize) + Sync + 'a>,
}

impl std::fmt::Debug for Order<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Order").field("resume", &self.resume).finish_non_exhaustive()
    }
}

/// The image all cards are made from.
#[derive(Debug)]
pub struct Source<'a> {
    /// Its file.
    pub file: &'a File,
    /// Bytes, whole sectors.
    pub size: u64,
}

/// How it is to be done, and who is told.
pub struct Manner<'a> {
    /// Whether cards are read back.
    pub verify: bool,
    /// Whether to end, in order.
    pub asked_to_end: &'a (dyn Fn() -> bool + Sync),
    /// Is told which card has got on by how many bytes, from that card's thread.
    pub step: &'a (dyn Fn(usize, Phase, u64) + Sync),
}

impl std::fmt::Debug for Manner<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Manner").field("verify", &self.verify).finish_non_exhaustive()
    }
}

/// What one card's thread tells of itself, and asks.
#[derive(Clone, Copy)]
struct Watch<'a> {
    card: usize,
    manner: &'a Manner<'a>,
}

impl Watch<'_> {
    fn tell(&self, phase: Phase, bytes: usize) {
        (self.manner.step)(self.card, phase, bytes as u64);
    }

    /// Tells, and ends the work if that was asked for.
    fn step(&self, phase: Phase, bytes: usize) -> Result<(), CardError> {
        self.tell(phase, bytes);
        if (self.manner.asked_to_end)() { Err(CardError::Interrupted) } else { Ok(()) }
    }
}

/// Writes all cards at once. One result per card, in the order given; a card that fails does not hold up the others.
pub fn flash(source: &Source<'_>, orders: &[Order<'_>], manner: &Manner<'_>) -> Vec<Result<Done, CardError>> {
    each(source, orders, manner, card::flash)
}

/// Compares all cards at once with what they should hold. Nothing is written.
pub fn compare(
    source: &Source<'_>,
    orders: &[Order<'_>],
    manner: &Manner<'_>,
) -> Vec<Result<Done, CardError>> {
    each(source, orders, manner, card::compare)
}

fn each(
    source: &Source<'_>,
    orders: &[Order<'_>],
    manner: &Manner<'_>,
    work: fn(&Job<'_>, stream::Stream) -> Result<Done, CardError>,
) -> Vec<Result<Done, CardError>> {
    let blocks = Blocks { size: source.size };
    let (reader, streams) = stream::open(orders.len());
    std::thread::scope(|scope| {
        let cards: Vec<_> = orders
            .iter()
            .zip(streams)
            .enumerate()
            .map(|(card, (order, stream))| {
                let job = Job {
                    medium: order.medium,
                    base: source.file,
                    blocks,
                    patches: order.patches,
                    verify: manner.verify,
                    resume: order.resume,
                    note: &*order.note,
                    watch: Watch { card, manner },
                };
                scope.spawn(move || work(&job, stream))
            })
            .collect();
        let unreadable = reader.run(source.file, blocks).err();
        let results = cards.into_iter().map(|card| {
            let result = card.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            match result {
                // The card's thread only knows that no more came.
                Err(CardError::Base(ended)) => Err(CardError::Base(match &unreadable {
                    Some(why) => io::Error::new(why.kind(), why.to_string()),
                    None => ended,
                })),
                result => result,
            }
        });
        results.collect()
    })
}
