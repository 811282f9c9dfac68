//! Built cards, read by programs that are not ours, and compared with the base byte for byte.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "these are tests: a panic is how they fail"
)]

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::process::Command;

use tests::product::Product;
use tests::shelf::{FAT_OFFSET, Shelf};

/// Where the FAT partition of the Pi OS-like image ends and the root partition begins.
const ROOT_OFFSET: u64 = FAT_OFFSET + (512 << 20);

#[test]
fn five_cards_pass_fsck_and_differ_from_the_base_only_on_the_fat() {
    let product = Product::from_env().unwrap();
    let file = include_str!("../../examples/red.yaml");
    let shelf = Shelf::build(&product, file).unwrap();
    let base = shelf.unpacked_image().unwrap();

    for node in ["red00", "red01", "red02", "red03", "red04"] {
        let card = shelf.card(node);
        let fat = shelf.folder().join("fat.img");
        copy_range(&card, &fat, FAT_OFFSET, ROOT_OFFSET - FAT_OFFSET);
        let checked = Command::new("fsck.fat").arg("-n").arg(&fat).output().unwrap();
        assert!(checked.status.success(), "{node}: {}", String::from_utf8_lossy(&checked.stdout));

        let copied = shelf.folder().join(format!("fat-{node}"));
        std::fs::create_dir(&copied).unwrap();
        shelf.copy_fat(node, &["::swarm", "::cmdline.txt", "::config.txt"], &copied).unwrap();
        let json = std::fs::read(copied.join("swarm/card.json")).unwrap();
        assert_eq!(cluster::card::Card::from_json(&json).unwrap().node.as_str(), node);

        assert_same(&card, &base, 0..FAT_OFFSET, node);
        let size = std::fs::metadata(&base).unwrap().len();
        assert_eq!(std::fs::metadata(&card).unwrap().len(), size, "{node}");
        assert_same(&card, &base, ROOT_OFFSET..size, node);
    }
}

fn copy_range(from: &std::path::Path, to: &std::path::Path, offset: u64, length: u64) {
    let (source, target) = (File::open(from).unwrap(), File::create(to).unwrap());
    target.set_len(length).unwrap();
    let mut block = vec![0; 1 << 20];
    for at in (0..length).step_by(1 << 20) {
        source.read_exact_at(&mut block, offset + at).unwrap();
        if block.iter().any(|byte| *byte != 0) {
            target.write_all_at(&block, at).unwrap();
        }
    }
}

fn assert_same(card: &std::path::Path, base: &std::path::Path, range: std::ops::Range<u64>, node: &str) {
    let (card, base) = (File::open(card).unwrap(), File::open(base).unwrap());
    let (mut one, mut other) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut at = range.start;
    while at < range.end {
        let length = usize::try_from((range.end - at).min(1 << 20)).unwrap();
        card.read_exact_at(&mut one[..length], at).unwrap();
        base.read_exact_at(&mut other[..length], at).unwrap();
        assert!(one[..length] == other[..length], "{node} differs from the base within 1 MiB of byte {at}");
        at += length as u64;
    }
}
