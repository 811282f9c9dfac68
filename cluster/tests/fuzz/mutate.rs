//! Damage done to good inputs: bytes flipped, cut, doubled, and words put in that parsers are known to stumble over.
//!
//! The damage follows from a seed, which is printed: `FUZZ_SEED` repeats a run, `FUZZ_CASES` makes it longer. The tests of
//! builder and firstboot take this file along.

use std::cell::Cell;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, RngSeed, TestRunner};

/// How long a run takes at most, unless it was made longer. The cases are counted so that a usual computer needs a
/// fraction of it.
const ENOUGH: Duration = Duration::from_secs(60);
/// After this long without an end a case is taken to have none.
const TOO_LONG: Duration = Duration::from_secs(120);

/// What parsers stumble over.
const WORDS: [&[u8]; 24] = [
    b"\0",
    b"\xff",
    b"\xed\xa0\x80",
    b"\r\n",
    b"\r\n\r\n",
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"{",
    b"}",
    b"[[[[[[[[",
    b"null",
    b"true",
    b"-1",
    b"1e999",
    b"18446744073709551616",
    b"99999999999999999999999999",
    b"../../",
    b"%00",
    b"%2e%2e%2f",
    b"\xe2\x80\xae",
    b":",
    b",",
];

/// One thing done to the bytes.
#[derive(Debug, Clone)]
pub(crate) enum Damage {
    Flip(Index, u8),
    Cut(Index, Index),
    Double(Index, Index),
    Insert(Index, &'static [u8]),
    End(Index),
}

/// Any damage.
pub(crate) fn damage() -> impl Strategy<Value = Damage> {
    let place = any::<Index>;
    prop_oneof![
        (place(), any::<u8>()).prop_map(|(at, bits)| Damage::Flip(at, bits)),
        (place(), place()).prop_map(|(from, to)| Damage::Cut(from, to)),
        (place(), place()).prop_map(|(from, to)| Damage::Double(from, to)),
        (place(), select(&WORDS)).prop_map(|(at, word)| Damage::Insert(at, word)),
        place().prop_map(Damage::End),
    ]
}

/// The bytes after the damage.
pub(crate) fn apply(mut bytes: Vec<u8>, damages: &[Damage]) -> Vec<u8> {
    for damage in damages {
        let place = |index: &Index| index.index(bytes.len() + 1);
        let range = |from, to| place(from).min(place(to))..place(from).max(place(to));
        match damage {
            Damage::Flip(at, bits) => {
                let at = place(at);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= bits;
                }
            }
            Damage::Cut(from, to) => drop(bytes.drain(range(from, to))),
            Damage::Double(from, to) => {
                // Not without end: eight doublings of everything are enough.
                let part = bytes[range(from, to)].to_vec();
                let at = place(to);
                bytes.splice(at..at, part);
            }
            Damage::Insert(at, word) => {
                let at = place(at);
                bytes.splice(at..at, word.iter().copied());
            }
            Damage::End(at) => bytes.truncate(place(at)),
        }
    }
    bytes
}

/// Every file of a folder of the corpus.
pub(crate) fn corpus(folder: &Path) -> Vec<Vec<u8>> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files.into_iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Gives all files of a folder to a check, as they are and damaged.
pub(crate) fn each_damaged(folder: &Path, cases: u32, check: impl Fn(&[u8])) {
    let files = corpus(folder);
    for good in &files {
        check(good);
    }
    let damaged =
        (select(files), prop::collection::vec(damage(), 1..8)).prop_map(|(good, how)| apply(good, &how));
    run(&folder.display().to_string(), cases, &damaged, |bytes| check(bytes));
}

/// Gives damaged inputs to a check, which must come to an end and fail never. What failed is shown, as small as it can
/// be made. The name is what the seed is printed with.
#[expect(
    clippy::print_stdout,
    reason = "a test's output is shown when it fails, and the seed is what repeats it"
)]
pub(crate) fn run<T: std::fmt::Debug>(
    name: &str,
    cases: u32,
    damaged: &impl Strategy<Value = T>,
    check: impl Fn(&T),
) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seed = number("FUZZ_SEED").unwrap_or(20_261_122);
    let wanted = number("FUZZ_CASES").and_then(|cases| u32::try_from(cases).ok());
    let enough = wanted.is_none().then_some(ENOUGH);
    let cases = wanted.unwrap_or(cases);
    println!("FUZZ_SEED={seed} FUZZ_CASES={cases} on {name}");
    let config = Config {
        cases,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_shrink_time: 60_000,
        ..Config::default()
    };
    let watched = watched(format!("FUZZ_SEED={seed} on {name}"));
    let (begun, done) = (Instant::now(), Cell::new(0_u32));
    let result = TestRunner::new(config).run(damaged, |input| {
        if enough.is_none_or(|enough| begun.elapsed() < enough) {
            watched.send(()).unwrap();
            check(&input);
            done.set(done.get() + 1);
        }
        Ok(())
    });
    if let Err(failure) = result {
        panic!("FUZZ_SEED={seed}: {failure}");
    }
    println!("{} cases in {:.1} s", done.get(), begun.elapsed().as_secs_f64());
}

/// Ends the whole test program when a case has no end: a thread that runs in circles cannot be stopped otherwise. To be
/// told of the beginning of each case.
fn watched(what: String) -> mpsc::Sender<()> {
    let (begins, heard) = mpsc::channel();
    thread::spawn(move || {
        let mut case = 0;
        loop {
            match heard.recv_timeout(TOO_LONG) {
                Ok(()) => case += 1,
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    // Not by a macro, whose output would be kept for the end of a test that has none.
                    drop(writeln!(std::io::stderr(), "{what}: case {case} does not come to an end"));
                    std::process::abort();
                }
            }
        }
    });
    begins
}
