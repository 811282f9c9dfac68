//! Cards that fail: found, named, and nobody else's trouble; what is gone on with ends as if nothing had been.

use std::fs::File;
use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use builder::flash::card::{CardError, Done, Zeros};
use builder::flash::content::{BLOCK, Patches};
use builder::flash::{self, Manner, Order, Phase, Source};
use builder::image::overlay::Write;

use crate::medium::{Fault, Faulty};

/// The last block is a short one.
const SIZE: usize = 24 * BLOCK + 4096 + 512;
/// Cards are larger than images.
const CARD: usize = SIZE + 3 * BLOCK;

/// A base with holes, blocks of zeros that are none, and data.
struct Bench {
    base: File,
    content: Vec<u8>,
}

impl Bench {
    fn new() -> Self {
        let mut content = vec![0; SIZE];
        let mut state = 1u32;
        for block in [0, 1, 2, 5, 9, 10, 17, 18, 19, 20, 23, 24] {
            let end = ((block + 1) * BLOCK).min(SIZE);
            for byte in &mut content[block * BLOCK..end] {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *byte = state.to_be_bytes()[0];
            }
        }
        let mut base = tempfile::tempfile().unwrap();
        base.set_len(SIZE as u64).unwrap();
        for (index, block) in content.chunks(BLOCK).enumerate() {
            use std::os::unix::fs::FileExt;
            // Block 6 holds zeros without being a hole.
            if block.iter().any(|byte| *byte != 0) || index == 6 {
                base.write_all_at(block, (index * BLOCK) as u64).unwrap();
            }
        }
        base.flush().unwrap();
        Self { base, content }
    }

    /// What a card is to hold.
    fn card(&self, writes: &[Write]) -> Vec<u8> {
        let mut card = self.content.clone();
        for write in writes {
            let at = usize::try_from(write.offset).unwrap();
            card[at..at + write.bytes.len()].copy_from_slice(&write.bytes);
        }
        card
    }

    fn source(&self) -> Source<'_> {
        Source { file: &self.base, size: SIZE as u64 }
    }

    fn flash_one(&self, card: &Faulty, resume: usize) -> (Result<Done, CardError>, usize) {
        let patches = Patches::new(&own());
        let safe = Mutex::new(0);
        let note = |blocks| *safe.lock().unwrap() = blocks;
        let order = Order { medium: card, patches: &patches, resume, note: Box::new(note) };
        let result = flash::flash(&self.source(), &[order], &manner()).remove(0);
        (result, safe.into_inner().unwrap())
    }
}

/// One write across two blocks, one in a hole, one in the first block, one that makes zeros of data.
fn own() -> Vec<Write> {
    [(512, 512, 1), (BLOCK - 1024, 4096, 2), (7 * BLOCK + 512, 1024, 3), (9 * BLOCK, BLOCK, 0)]
        .map(|(offset, length, byte)| Write { offset: offset as u64, bytes: vec![byte; length] })
        .to_vec()
}

fn manner() -> Manner<'static> {
    Manner { verify: true, asked_to_end: &|| false, step: &|_, _, _| () }
}

fn assert_whole(bench: &Bench, card: &Faulty) {
    assert!(card.content()[..SIZE] == bench.card(&own()), "the card differs from its plan");
    assert!(card.content()[CARD - (1 << 20)..].iter().all(|byte| *byte == 0), "the end is not emptied");
}

#[test]
fn a_card_holds_its_plan_and_nothing_old() {
    let bench = Bench::new();
    for card in [Faulty::new(CARD, Fault::None), Faulty::that_zeroes(CARD), Faulty::new(CARD, Fault::Short)] {
        let (done, _) = bench.flash_one(&card, 0);
        let done = done.unwrap();
        assert_whole(&bench, &card);
        assert!(done.verified && done.rewritten.is_empty() && done.resumed == 0);
    }
}

#[test]
fn empty_blocks_are_left_to_a_drive_that_can() {
    let bench = Bench::new();
    let (written, zeroed) = (Faulty::new(CARD, Fault::None), Faulty::that_zeroes(CARD));
    assert_eq!(bench.flash_one(&written, 0).0.unwrap().zeros, Zeros::Written);
    assert_eq!(bench.flash_one(&zeroed, 0).0.unwrap().zeros, Zeros::Drive);
    assert!(zeroed.written() + 11 * BLOCK as u64 <= written.written(), "they were not sent");
}

#[test]
fn different_cards_come_from_one_read_and_a_broken_one_holds_up_nobody() {
    let bench = Bench::new();
    let cards = [
        Faulty::new(CARD, Fault::None),
        Faulty::new(CARD, Fault::GoneAfter(6 * BLOCK as u64)),
        Faulty::new(CARD, Fault::None),
    ];
    let plans: Vec<Vec<Write>> =
        (1..=3).map(|node| vec![Write { offset: 3 * 512, bytes: vec![node; 512] }]).collect();
    let patches: Vec<_> = plans.iter().map(|writes| Patches::new(writes)).collect();
    let orders: Vec<_> = cards
        .iter()
        .zip(&patches)
        .map(|(medium, patches)| Order { medium, patches, resume: 0, note: Box::new(|_| ()) })
        .collect();
    let results = flash::flash(&bench.source(), &orders, &manner());
    assert!(matches!(results[1], Err(CardError::Gone(_))), "{:?}", results[1]);
    for place in [0, 2] {
        assert!(results[place].is_ok());
        assert!(cards[place].content()[..SIZE] == bench.card(&plans[place]));
    }
    assert_ne!(results[0].as_ref().unwrap().digest, results[2].as_ref().unwrap().digest);
    assert!(is_unbootable(&cards[1]));
}

/// Without a partition table.
fn is_unbootable(card: &Faulty) -> bool {
    card.content()[440..512].iter().all(|byte| *byte == 0)
}

#[test]
fn what_a_card_does_not_keep_is_found_and_named() {
    let bench = Bench::new();
    let sector = |block: usize| (block * BLOCK + 7 * 512) as u64;
    let refused = |fault| {
        let card = Faulty::new(CARD, fault);
        let error = bench.flash_one(&card, 0).0.unwrap_err();
        assert!(error.is_bad_card(), "{error}");
        assert!(is_unbootable(&card), "{fault:?} left a card that could boot");
        error.to_string()
    };
    let at = sector(5);
    assert_eq!(refused(Fault::NoRead(at)), format!("the card cannot be read at byte {}", 5 * BLOCK));
    assert_eq!(
        refused(Fault::NoReadFrom(at)),
        format!("the card cannot be read at byte {}", 5 * BLOCK + (1 << 20))
    );
    // To the page that was tried alone.
    assert_eq!(refused(Fault::NoWrite(at)), format!("the card cannot be written at byte {}", 5 * BLOCK));
    assert_eq!(
        refused(Fault::Corrupts(at + 3)),
        format!("the card is bad: it does not keep what is written at byte {at}")
    );
    // In a block of zeros, in one of the node's own sectors, and in the block that is written last.
    for at in [sector(3), 7 * BLOCK as u64 + 512, 0, sector(0)] {
        assert!(refused(Fault::Corrupts(at)).ends_with(&format!("at byte {at}")));
    }
}

#[test]
fn a_card_that_ends_before_its_own_size_is_found_before_minutes_are_spent_on_it() {
    let bench = Bench::new();
    let card = Faulty::new(CARD, Fault::EndsAt(18 * BLOCK as u64));
    let error = bench.flash_one(&card, 0).0.unwrap_err();
    assert!(matches!(error, CardError::Ends { .. }) && error.is_bad_card(), "{error}");
    assert_eq!(card.written(), BLOCK as u64, "its end is tried first");
    assert!(is_unbootable(&card));
}

#[test]
fn a_card_that_is_smaller_than_it_says_and_hides_it_is_found() {
    let bench = Bench::new();
    let card = Faulty::new(CARD, Fault::WrapsAt(16 * BLOCK as u64));
    let error = bench.flash_one(&card, 0).0.unwrap_err();
    assert!(matches!(error, CardError::Bad { .. }), "{error}");
}

#[test]
fn a_write_that_was_lost_once_is_made_good_and_told() {
    let bench = Bench::new();
    let card = Faulty::new(CARD, Fault::LosesOnce(17 * BLOCK as u64 + 512));
    let done = bench.flash_one(&card, 0).0.unwrap();
    assert_eq!(done.rewritten, [17 * BLOCK as u64]);
    assert_whole(&bench, &card);
}

#[test]
fn an_unplugged_card_is_gone_on_with_and_ends_as_if_nothing_had_been() {
    let bench = Bench::new();
    // Not every place is worth a run: before, at and after a note of what is safe, while it is read back, and within the
    // first block at the end.
    let (card, reader) = (Fault::GoneAfter as fn(u64) -> Fault, Fault::ReaderGoneAfter as fn(u64) -> Fault);
    let both = [0u64, 1, 15, 17, 30, 48].map(|blocks| [(blocks, card), (blocks, reader)]);
    for (blocks, fault) in both.into_iter().flatten() {
        let card = Faulty::new(CARD, fault(blocks * BLOCK as u64));
        let (result, safe) = bench.flash_one(&card, 0);
        let error = result.unwrap_err();
        assert!(matches!(error, CardError::Gone(_)), "{blocks}: {error:?}");
        assert!(!error.is_bad_card(), "nobody throws it away");
        let card = card.mended();
        assert!(is_unbootable(&card) || blocks == 0);
        let before = card.written();
        let done = bench.flash_one(&card, safe).0.unwrap();
        assert_whole(&bench, &card);
        assert_eq!(done.resumed, (safe * BLOCK).min(SIZE) as u64, "{blocks}");
        let saved = (safe.saturating_sub(1) * BLOCK) as u64;
        let most = (SIZE + BLOCK + (1 << 20) + 4096) as u64;
        let again = card.written() - before;
        assert!(again + saved <= most, "{blocks}: {again} bytes were written, {saved} of {most} were safe");
    }
}

#[test]
fn another_card_in_the_same_reader_is_written_from_its_beginning() {
    let bench = Bench::new();
    let card = Faulty::new(CARD, Fault::None);
    let done = bench.flash_one(&card, 16).0.unwrap();
    assert_eq!(done.resumed, 0, "its first block is not empty");
    assert_whole(&bench, &card);

    let blank = Faulty::that_zeroes(CARD);
    builder::device::Medium::zero(&blank, 0, CARD as u64).unwrap();
    assert_eq!(bench.flash_one(&blank, 16).0.unwrap().resumed, 0, "its other blocks are not ours");
    assert_whole(&bench, &blank);
}

#[test]
fn what_cannot_be_read_since_its_writing_was_cut_off_is_written_again() {
    let bench = Bench::new();
    let card = Faulty::new(CARD, Fault::GoneAfter(22 * BLOCK as u64));
    let (_, safe) = bench.flash_one(&card, 0);
    // One of the places that are looked at before a card is gone on with.
    let card = card.with(Fault::NoReadBeforeWrite(5 * BLOCK as u64));
    let (done, safe) = bench.flash_one(&card, safe);
    assert_eq!(done.unwrap().resumed, 0, "begun anew");
    assert_eq!(safe, 0, "nothing is left to go on with");
    assert_whole(&bench, &card);
}

#[test]
fn what_rotted_before_it_was_gone_on_with_is_written_again() {
    let bench = Bench::new();
    let card = Faulty::new(CARD, Fault::GoneAfter(22 * BLOCK as u64));
    let (_, safe) = bench.flash_one(&card, 0);
    assert_eq!(safe, 16);
    // A block that is not among those that are looked at before.
    card.change(2 * BLOCK + 9);
    let card = card.mended();
    let done = bench.flash_one(&card, safe).0.unwrap();
    assert_eq!(done.rewritten, [2 * BLOCK as u64]);
    assert_whole(&bench, &card);
}

#[test]
fn ctrl_c_ends_every_card_without_a_boot_sector() {
    let bench = Bench::new();
    let cards = [Faulty::new(CARD, Fault::None), Faulty::new(CARD, Fault::None)];
    for last in [Phase::Write, Phase::Verify] {
        let asked = AtomicBool::new(false);
        let step = |_: usize, phase: Phase, _: u64| asked.store(phase == last, Ordering::Relaxed);
        let manner = Manner { verify: true, asked_to_end: &|| asked.load(Ordering::Relaxed), step: &step };
        let patches = Patches::new(&own());
        let orders: Vec<_> = cards
            .iter()
            .map(|medium| Order { medium, patches: &patches, resume: 0, note: Box::new(|_| ()) })
            .collect();
        for result in flash::flash(&bench.source(), &orders, &manner) {
            assert!(matches!(result, Err(CardError::Interrupted)), "{result:?}");
        }
        assert!(cards.iter().all(is_unbootable));
    }
}

#[test]
fn comparing_writes_nothing_and_names_the_sector() {
    let bench = Bench::new();
    let card = Faulty::new(CARD, Fault::None);
    bench.flash_one(&card, 0).0.unwrap();
    let (written, patches) = (card.written(), Patches::new(&own()));
    let compare = || {
        let order = Order { medium: &card, patches: &patches, resume: 0, note: Box::new(|_| ()) };
        flash::compare(&bench.source(), &[order], &manner()).remove(0)
    };
    assert_eq!(compare().unwrap().digest, bench.flash_one(&Faulty::that_zeroes(CARD), 0).0.unwrap().digest);
    card.change(10 * BLOCK + 5 * 512 + 1);
    let error = compare().unwrap_err();
    assert_eq!(error.to_string(), format!("it differs from its plan at byte {}", 10 * BLOCK + 5 * 512));
    assert_eq!(card.written(), written);
}

#[test]
fn a_base_that_cannot_be_read_fails_all_cards_and_leaves_none_bootable() {
    let bench = Bench::new();
    let card = Faulty::new(CARD, Fault::None);
    let patches = Patches::new(&own());
    let order = Order { medium: &card, patches: &patches, resume: 0, note: Box::new(|_| ()) };
    // Cut short behind our back.
    bench.base.set_len(20 * BLOCK as u64).unwrap();
    let result = flash::flash(&bench.source(), &[order], &manner()).remove(0);
    assert!(matches!(result, Err(CardError::Base(_))), "{result:?}");
    assert!(is_unbootable(&card));
}
