//! Built cards, read by programs that are not ours, and compared with the base byte for byte.
#![expect(clippy::unwrap_used, reason = "these are tests: a panic is how they fail")]

use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::process::Command;

use tests::desk::{Desk, FAT_OFFSET};
use tests::product::Product;

/// Where the FAT partition of the Pi OS-like image ends and the root partition begins.
const ROOT_OFFSET: u64 = FAT_OFFSET + (512 << 20);

#[test]
fn five_cards_pass_fsck_and_differ_from_the_base_only_on_the_fat() {
    let product = Product::from_env().unwrap();
    let file = include_str!("../../examples/red.yaml");
    let desk = Desk::build(&product, file).unwrap();
    let base = desk.unpacked_image().unwrap();

    for node in ["red00", "red01", "red02", "red03", "red04"] {
        let card = desk.card(node);
        let fat = desk.folder().join("fat.img");
        copy_range(&card, &fat, FAT_OFFSET, ROOT_OFFSET - FAT_OFFSET);
        let checked = Command::new("fsck.fat").arg("-n").arg(&fat).output().unwrap();
        assert!(checked.status.success(), "{node}: {}", String::from_utf8_lossy(&checked.stdout));

        let copied = desk.folder().join(format!("fat-{node}"));
        std::fs::create_dir(&copied).unwrap();
        desk.copy_fat(node, &["::swarm", "::cmdline.txt", "::config.txt"], &copied).unwrap();
        let json = std::fs::read(copied.join("swarm/card.json")).unwrap();
        assert_eq!(cluster::card::Card::from_json(&json).unwrap().node.as_str(), node);

        assert_same(&card, &base, 0..FAT_OFFSET, node);
        let size = std::fs::metadata(&base).unwrap().len();
        assert_eq!(std::fs::metadata(&card).unwrap().len(), size, "{node}");
        assert_same(&card, &base, ROOT_OFFSET..size, node);
    }
}

fn copy_range(from: &Path, to: &Path, offset: u64, length: u64) {
    let copied = Command::new("dd")
        .args(["bs=1M", "iflag=skip_bytes,count_bytes", "conv=sparse", "status=none"])
        .args([format!("if={}", from.display()), format!("of={}", to.display())])
        .args([format!("skip={offset}"), format!("count={length}")])
        .status()
        .unwrap();
    assert!(copied.success());
    File::options().write(true).open(to).unwrap().set_len(length).unwrap();
}

fn assert_same(card: &Path, base: &Path, range: Range<u64>, node: &str) {
    let (skip, bytes) = (range.start.to_string(), (range.end - range.start).to_string());
    let compared = Command::new("cmp").args(["-i", &skip, "-n", &bytes]).args([card, base]).output().unwrap();
    assert!(compared.status.success(), "{node}: {}", String::from_utf8_lossy(&compared.stdout));
}
