//! What is on a card.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use builder::pki;
use cluster::card::{Card, CardSecrets};

use crate::bench::{CLUSTER, HASH, PSK, bench, bench_with, shown};
use crate::fixture::{Recipe, at, read_boot_file, run};

fn all_releases() -> [Recipe; 4] {
    [Recipe::bullseye(), Recipe::bookworm(), Recipe::trixie(), Recipe::trixie_cloud_init()]
}

/// The silent fsck.fat: one line with its version, one with the counts, and no complaint.
pub(crate) fn fsck(image: &Path, boot_bytes: u64, scratch: &Path) {
    let fat = scratch.join("fat.img");
    let mut bytes = vec![0; boot_bytes.try_into().unwrap()];
    File::open(image).unwrap().read_exact_at(&mut bytes, Recipe::boot_offset()).unwrap();
    fs::write(&fat, bytes).unwrap();
    let said = String::from_utf8(run(Command::new("fsck.fat").args(["-n"]).arg(&fat))).unwrap();
    assert_eq!(said.lines().count(), 2, "fsck.fat complains: {said}");
}

#[test]
fn every_release_gives_a_sound_card() {
    for (recipe, gpt) in all_releases().into_iter().zip([false, true, false, true]) {
        let recipe = Recipe { gpt, ..recipe };
        let bench = bench(&recipe);
        let card = bench.card(1);
        let built = bench.apply(&card);
        fsck(&built, recipe.boot_bytes(), bench.folder.path());

        let token = format!("systemd.run={}/swarm/run ", recipe.mount);
        let cmdline = String::from_utf8(read_boot_file(&built, "cmdline.txt")).unwrap();
        let original = String::from_utf8(read_boot_file(&bench.image, "cmdline.txt")).unwrap();
        assert!(cmdline.starts_with(&format!("{} cgroup_enable=memory ", original.trim_end())), "{cmdline}");
        assert!(cmdline.contains(&token) && cmdline.ends_with(" systemd.unit=kernel-command-line.target\n"));
        assert!(cmdline.len() <= 512 && !cmdline.trim_end().contains('\n'));
        assert_eq!(read_boot_file(&built, "swarm/cmdline.orig"), original.as_bytes());

        assert_eq!(
            read_boot_file(&built, "swarm/agent"),
            fs::read(bench.options.firstboot.as_ref().unwrap()).unwrap()
        );
        let payload = Card::from_json(&read_boot_file(&built, "swarm/card.json")).unwrap();
        assert_eq!(payload.node.as_str(), "red01");
        assert_eq!(payload.nodes.len(), 3);
        assert_eq!(
            CardSecrets::from_json(&read_boot_file(&built, "swarm/secrets.json")).unwrap().password_hash,
            None
        );
        assert_eq!(read_boot_file(&built, "userconf.txt"), b"ada:!\n");
        assert_eq!(read_boot_file(&built, "ssh"), b"");
        let material = shown(shown(pki::existing(&bench.project)).node(&payload.node));
        assert_eq!(read_boot_file(&built, "swarm/ca.pem"), material.ca_pem.as_bytes());
        assert_eq!(read_boot_file(&built, "swarm/node.pem"), material.cert_pem.as_bytes());
        assert_eq!(read_boot_file(&built, "swarm/node-key.pem"), material.key_pem.expose().as_bytes());
        assert_eq!(read_boot_file(&built, "swarm/ssh-host-key"), material.host_key.expose().as_bytes());
        assert_eq!(read_boot_file(&built, "swarm/ssh-host-key.pub"), material.host_key_public.as_bytes());

        // What was there is as it was.
        for (name, content) in recipe.boot.iter().filter(|(name, _)| name != "cmdline.txt") {
            assert_eq!(&read_boot_file(&built, name), content, "{name}");
        }
    }
}

#[test]
fn every_file_of_the_plan_is_on_the_card_and_no_other() {
    let bench = bench(&Recipe::trixie_cloud_init());
    let card = bench.card(0);
    let built = bench.apply(&card);
    let listed = |image: &Path| -> Vec<String> {
        let place = at(image, Recipe::boot_offset());
        let list =
            String::from_utf8(run(Command::new("mdir").args(["-b", "-/", "-i", &place, "::/"]))).unwrap();
        let mut names: Vec<_> =
            list.lines().filter_map(|line| line.strip_prefix("::/")).map(str::to_owned).collect();
        names.retain(|name| !name.ends_with('/'));
        names.sort();
        names
    };
    let mut expected = listed(&bench.image);
    expected.extend(card.files.iter().filter(|file| file.before.is_none()).map(|file| file.path.clone()));
    expected.sort();
    assert_eq!(listed(&built), expected);
}

#[test]
fn nothing_outside_the_boot_partition_changes() {
    for recipe in [Recipe::bullseye(), Recipe { gpt: true, ..Recipe::trixie_cloud_init() }] {
        let bench = bench(&recipe);
        let card = bench.card(2);
        let end = Recipe::boot_offset() + recipe.boot_bytes();
        let mut last = Recipe::boot_offset();
        for write in &card.writes {
            assert!(write.offset >= last && write.offset % 512 == 0 && write.bytes.len() % 512 == 0);
            last = write.offset + write.bytes.len() as u64;
        }
        assert!(last <= end);
        assert_eq!(
            card.sectors_changed,
            card.writes.iter().map(|write| write.bytes.len() as u64 / 512).sum::<u64>()
        );

        let (base, built) = (fs::read(&bench.image).unwrap(), fs::read(bench.apply(&card)).unwrap());
        let inside = usize::try_from(Recipe::boot_offset()).unwrap()..usize::try_from(end).unwrap();
        assert!(base[..inside.start] == built[..inside.start] && base[inside.end..] == built[inside.end..]);
    }
}

#[test]
fn the_free_space_is_what_is_left_by_an_independent_count() {
    for mut recipe in [Recipe::trixie(), Recipe::trixie_cloud_init()] {
        recipe.used_card = true;
        let bench = bench(&recipe);
        // A count that another tool left wrong is put right, or fsck.fat would complain at the Pi's first boot.
        let free_count = Recipe::boot_offset() + 512 + 488;
        let base = File::options().write(true).open(&bench.image).unwrap();
        base.write_all_at(&7u32.to_le_bytes(), free_count).unwrap();
        let card = bench.card(0);
        let built = bench.apply(&card);
        fsck(&built, recipe.boot_bytes(), bench.folder.path());
        let place = at(&built, Recipe::boot_offset());
        let said = String::from_utf8(run(Command::new("mdir").args(["-i", &place, "::/"]))).unwrap();
        let free: String = said
            .lines()
            .find(|line| line.ends_with("bytes free"))
            .unwrap()
            .chars()
            .filter(char::is_ascii_digit)
            .collect();
        assert_eq!(free.parse(), Ok(card.free_bytes), "{said}");
    }
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let bench = bench(&Recipe::trixie_cloud_init());
    let first = bench.card(1);
    assert!(first.writes == bench.card(1).writes);
    assert!(first.writes != bench.card(2).writes, "nodes differ");
}

#[test]
fn a_static_address_and_the_radio_are_on_the_card() {
    let more = format!(
        "network: {{addresses: '192.168.1.[10-12]/24', gateway: 192.168.1.1}}\n\
         wifi: {{country: DE, ssid: home, psk: {PSK}}}\n"
    );
    let bench = bench_with(&Recipe::bookworm(), &format!("{CLUSTER}  password_hash: '{HASH}'\n{more}"));
    let built = bench.apply(&bench.card(2));
    let cmdline = String::from_utf8(read_boot_file(&built, "cmdline.txt")).unwrap();
    assert!(cmdline.contains(" cfg80211.ieee80211_regdom=DE systemd.run="), "{cmdline}");
    let payload = Card::from_json(&read_boot_file(&built, "swarm/card.json")).unwrap();
    assert_eq!(payload.address.unwrap().ip.to_string(), "192.168.1.12");
    let secrets = CardSecrets::from_json(&read_boot_file(&built, "swarm/secrets.json")).unwrap();
    assert_eq!(secrets.wifi_psk.unwrap().expose(), PSK);
    assert_eq!(read_boot_file(&built, "userconf.txt"), format!("ada:{HASH}\n").as_bytes());
}

#[test]
fn a_proxy_is_among_the_secrets_only() {
    const URL: &str = "http://ada:hunter2@proxy.example:3128";
    let more = format!(
        "wifi: {{country: DE, ssid: home, hidden: true}}\nproxy: {{https: '{URL}', no_proxy: [a, .b]}}\n"
    );
    for recipe in [Recipe::bookworm(), Recipe::ubuntu()] {
        let bench = bench_with(&recipe, &format!("{CLUSTER}{more}"));
        let built = bench.apply(&bench.card(2));
        let json = read_boot_file(&built, "swarm/card.json");
        let payload = Card::from_json(&json).unwrap();
        assert!(payload.proxy && payload.wifi.unwrap().hidden && payload.version == 4);
        let secrets = CardSecrets::from_json(&read_boot_file(&built, "swarm/secrets.json")).unwrap();
        let proxy = secrets.proxy.unwrap();
        assert_eq!((proxy.http, proxy.https.unwrap().expose().as_str()), (None, URL));
        assert_eq!(proxy.no_proxy, ["a", ".b"]);
        for change in bench.card(2).files.iter().filter(|file| !file.path.ends_with("secrets.json")) {
            let bytes = read_boot_file(&built, &change.path);
            assert!(!String::from_utf8_lossy(&bytes).contains("hunter2"), "{}", change.path);
        }
    }
}

#[test]
fn the_card_knows_a_day_that_is_past() {
    let bench = bench(&Recipe::trixie());
    let card = bench.card(0);
    let built = bench.apply(&card);
    let payload = Card::from_json(&read_boot_file(&built, "swarm/card.json")).unwrap();
    let created = shown(pki::existing(&bench.project)).created;
    let image_made = 1_764_806_400; // 2025-12-04
    assert_eq!(payload.not_before, created.max(image_made));
}

#[test]
fn only_a_managers_card_names_the_keys_that_were_revoked() {
    let bench = bench(&Recipe::trixie());
    let red01 = bench.project.cluster.nodes[1].name.clone();
    shown(pki::open(&bench.project));
    let stolen = shown(pki::keys(&bench.project, &red01)).present.unwrap();
    shown(pki::set_aside(&bench.project, &red01));
    let named = |node: usize| {
        let built = bench.apply(&bench.card(node));
        Card::from_json(&read_boot_file(&built, "swarm/card.json")).unwrap().revoked
    };
    assert_eq!(named(0), [stolen].into());
    assert!(named(1).is_empty() && named(2).is_empty());
}
