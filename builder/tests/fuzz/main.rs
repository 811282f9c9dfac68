//! What builder reads of images that others made, and of cards that come back: partition tables, boot partitions, archives,
//! root partitions. Good ones are damaged, byte by byte and field by field; the reader may refuse. It may not panic, read on
//! without end, take memory without measure, write where it has no business, or pass off other bytes as the whole.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "these are tests and their helpers")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;

use rustix::process::{Resource, Rlimit, setrlimit};

mod archives;
mod card;
mod fat;
mod field;
#[path = "../../../cluster/tests/fuzz/mutate.rs"]
#[expect(dead_code, reason = "the engine of several crates' tests")]
mod mutate;
mod root;
mod tables;

/// Address space of the whole test program: what five tests at once need, and far less than a damaged size asks for.
const MEMORY: u64 = 4 << 30;

fn folder(name: &str) -> PathBuf {
    static LIMITED: Once = Once::new();
    LIMITED.call_once(|| {
        let limit = Rlimit { current: Some(MEMORY), maximum: Some(MEMORY) };
        setrlimit(Resource::As, limit).unwrap();
    });
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name)
}

/// What failed once: it does no more, and what became of it is told by name.
#[expect(clippy::print_stdout, reason = "the last name that is shown is the one that failed")]
fn found(name: &str, check: impl Fn(&field::Image) -> bool) -> Vec<(String, bool)> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder("found").join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let check = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().trim_end_matches(".img.zst").to_owned();
        println!("{name}");
        (name, check(&field::Image::new(zstd::decode_all(&fs::read(path).unwrap()[..]).unwrap())))
    };
    paths.iter().map(check).collect()
}

/// The images of a folder of the corpus, unpacked.
fn images(name: &str) -> Vec<field::Image> {
    let packed = mutate::corpus(&folder(name));
    packed.iter().map(|bytes| field::Image::new(zstd::decode_all(&bytes[..]).unwrap())).collect()
}
