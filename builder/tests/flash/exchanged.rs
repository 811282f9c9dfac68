//! Another card in the reader that is being written. Loop devices have no cards in them, so what the kernel tells of one is
//! copied, and changed as a kernel does it when it finds another card.

use std::fs::{self, File};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use builder::device::{Demand, Kernel, claim};
use builder::flash::card::CardError;
use builder::flash::content::{BLOCK, Patches};
use builder::flash::{self, Manner, Order, Phase, Source};

use crate::bench::{Bench, Loop};

/// What the kernel tells of a loop device, in a folder; the card in it is the seventh.
fn copied(reader: &Loop, sys: &Path) -> Kernel {
    let name = reader.device.file_name().unwrap();
    let (from, to) = (Path::new("/sys/block").join(name), sys.join("block").join(name));
    fs::create_dir_all(to.join("loop")).unwrap();
    for file in ["dev", "size", "ro", "removable", "loop/backing_file"] {
        fs::write(to.join(file), fs::read(from.join(file)).unwrap()).unwrap();
    }
    fs::write(to.join("diskseq"), "7\n").unwrap();
    let number = fs::read_to_string(to.join("dev")).unwrap();
    fs::create_dir_all(sys.join("dev/block")).unwrap();
    std::os::unix::fs::symlink(&to, sys.join("dev/block").join(number.trim())).unwrap();
    Kernel { sys: sys.to_owned(), ..Kernel::default() }
}

#[test]
fn another_card_is_not_written_on() {
    // The whole card is as large as its image, but for the end, which is emptied first.
    let bench = Bench::new(16);
    let image = File::open(bench.path("pios.img")).unwrap();
    let size = image.metadata().unwrap().len();
    let block = BLOCK as u64;
    // After three blocks were written; and when all is written and read back but the first.
    for (phase, exchanged_at) in [(Phase::Write, 3 * block), (Phase::Verify, size - block)] {
        let reader = bench.reader("card", bench.image_mib() + 4);
        let sys = tempfile::tempdir().unwrap();
        let kernel = copied(&reader, sys.path());
        let disk = kernel.disk_at(&reader.device).unwrap();
        assert_eq!(disk.sequence, Some(7));
        let demand = Demand { serial: disk.serial.clone(), limit: u64::MAX, ..Demand::default() };
        let claimed = claim::claim(&kernel, &reader.device, &disk, &demand).unwrap();
        let seen = AtomicU64::new(0);
        let sequence = sys.path().join("block").join(reader.device.file_name().unwrap()).join("diskseq");
        let step = |_, now: Phase, bytes: u64| {
            if now == phase && seen.fetch_add(bytes, Ordering::Relaxed) + bytes == exchanged_at {
                fs::write(&sequence, "8\n").unwrap();
            }
        };
        let manner = Manner { verify: true, asked_to_end: &|| false, step: &step };
        let patches = Patches::new(&[]);
        let order = Order { medium: &claimed, patches: &patches, resume: 0, note: Box::new(|_| ()) };
        let error = flash::flash(&Source { file: &image, size }, &[order], &manner).remove(0).unwrap_err();
        assert!(matches!(error, CardError::Gone(_)) && !error.is_bad_card(), "{error:?}");
        assert_eq!(fs::read_to_string(&sequence).unwrap(), "8\n", "it was exchanged");
        let card = reader.content();
        assert!(card[..BLOCK].iter().all(|byte| *byte == 0), "it got a first block");
        if phase == Phase::Write {
            let (from, to) = (3 * BLOCK, usize::try_from(size).unwrap());
            assert!(card[from..to].iter().all(|byte| *byte == 0xa5), "the other card was written");
        }
    }
}
