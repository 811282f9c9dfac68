//! Disks that cannot be written: the boot goes on, nothing is destroyed that is nowhere else, and somebody is told.

use std::path::Path;
use std::sync::Arc;

use cluster::card;

use super::super::{BINARY, PROBLEMS, STATE, hook};
use super::pi::{HASH, KEY, Pi, contains, fat_files, node_key, root_files};
use crate::host::fake::{Files, Limit, Node};

/// What lies on a disk, in the blocks of [`Limit::Room`].
fn used(files: &Files) -> usize {
    let blocks = |node: &Node| match node {
        Node::File { bytes, .. } => bytes.len().div_ceil(512),
        _ => 0,
    };
    files.values().map(blocks).sum::<usize>() * 512
}

#[test]
fn a_read_only_fat_gives_a_node_at_every_start_and_never_a_reboot() {
    let pi = Pi::on_bad_ground(Limit::Healthy, Limit::ReadOnly);
    let outcome = pi.seed();
    assert!(!outcome.hook_is_out, "the caller must not fail: systemd would reboot, for ever");
    assert_eq!(pi.fat.files(), fat_files());
    assert!(
        outcome.text.contains("could not be written") && outcome.text.contains("lock"),
        "{}",
        outcome.text
    );
    // The console has the text. The board has it, too.
    assert!(
        pi.text(&format!("{STATE}/{PROBLEMS}"))
            .contains("kernel command line: cannot overwrite /cmdline.txt")
    );
    assert_eq!(pi.text("/home/ann/.ssh/authorized_keys"), format!("{KEY}\n"));
    assert_eq!(pi.text("/etc/shadow"), format!("ann:{HASH}:1:::::\n"));
    assert!(pi.link("/etc/systemd/system/multi-user.target.wants/firstboot.service").is_some());

    // The next start runs the seed stage again, and it changes nothing.
    let root = pi.root.files();
    let outcome = pi.seed();
    assert!(!outcome.hook_is_out);
    assert_eq!(pi.root.files(), root);
}

#[test]
fn a_full_fat_costs_nothing_but_the_note_that_the_run_began() {
    let pi = Pi::on_bad_ground(Limit::Healthy, Limit::Room(used(&fat_files())));
    let outcome = pi.seed();
    assert!(outcome.hook_is_out, "{outcome:?}");
    assert!(pi.root.files().contains_key(&Path::new(STATE).join("seed.json")));
    assert!(contains(&pi.fat.files(), &outcome.text), "the secrets have made room");
    assert!(!contains(&pi.fat.files(), node_key()));
}

#[test]
fn a_full_fat_has_a_place_to_say_what_is_wrong() {
    let mut fat = fat_files();
    // Without the program the agent is not installed, and so nothing is destroyed that would make room.
    fat.remove(Path::new("/swarm/run"));
    let full = Limit::Room(used(&fat));
    let pi = Pi::power_on(Arc::default(), root_files(), fat.clone());
    let pi = Pi { fat: pi.fat.with_limit(full), ..pi };
    let outcome = pi.seed();
    assert!(outcome.hook_is_out);
    let files = pi.fat.files();
    let Node::File { bytes, .. } = &files[Path::new("/swarm/status.txt")] else { panic!() };
    assert_eq!(bytes.len(), card::STATUS_LENGTH);
    assert_eq!(String::from_utf8(bytes.clone()).unwrap().trim_end(), outcome.text.trim_end());
}

#[test]
fn a_full_root_boots_normally_and_leaves_everything_on_the_fat() {
    let pi = Pi::on_bad_ground(Limit::Room(0), Limit::Healthy);
    let outcome = pi.seed();
    assert!(outcome.hook_is_out && !hook::is_set(&pi.fat).unwrap());
    assert_eq!(pi.root.files(), root_files());
    let fat = pi.fat.files();
    for kept in ["/userconf.txt", "/swarm/node-key.pem", "/swarm/secrets.json"] {
        assert_eq!(fat.get(Path::new(kept)), fat_files().get(Path::new(kept)), "Pi OS makes the user of it");
    }
    assert!(contains(&fat, &outcome.text) && outcome.text.contains("- agent: cannot"), "{}", outcome.text);
}

#[test]
fn a_root_with_room_for_the_user_but_not_for_the_agent_has_the_user() {
    // The account is made by programs, which need next to nothing; the agent's binary has 4096 bytes here.
    let room = used(&root_files()) + 40 * 512;
    let pi = Pi::fresh();
    let pi = Pi { root: pi.root.with_limit(Limit::Room(room)), ..pi };
    let mut fat = fat_files();
    fat.insert("/swarm/run".into(), Node::File { bytes: vec![0x7f; 64 * 512], mode: 0o755, owner: None });
    let pi = Pi { fat: Pi::power_on(Arc::clone(&pi.power), Files::new(), fat).fat, ..pi };
    let outcome = pi.seed();
    assert!(outcome.hook_is_out);
    assert_eq!(pi.text("/home/ann/.ssh/authorized_keys"), format!("{KEY}\n"));
    assert!(!pi.root.files().contains_key(Path::new(BINARY)));
    assert!(outcome.text.contains("- agent: cannot write"), "{}", outcome.text);
    assert!(contains(&pi.fat.files(), node_key()), "the key is nowhere else");
}
