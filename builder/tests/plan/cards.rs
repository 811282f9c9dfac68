//! What is on a card.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use builder::pki;
use builder::plan::show;
use cluster::card::{Card, CardSecrets};

use crate::bench::{CLUSTER, HASH, PSK, bench, bench_with, shown};
use crate::fixture::{Recipe, at, read_boot_file, run};

fn all_releases() -> [Recipe; 3] {
    [Recipe::bookworm(), Recipe::trixie(), Recipe::trixie_cloud_init()]
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
    for (recipe, gpt) in all_releases().into_iter().zip([false, true, true]) {
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
    for recipe in [Recipe::bookworm(), Recipe { gpt: true, ..Recipe::trixie_cloud_init() }] {
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

#[test]
fn other_types_of_a_boot_partition_are_read_by_what_they_hold() {
    for kind in [0x06, 0x0b, 0x0e, 0xef] {
        let bench = bench(&Recipe::trixie());
        File::options().write(true).open(&bench.image).unwrap().write_all_at(&[kind], 450).unwrap();
        let built = bench.apply(&bench.card(0));
        fsck(&built, Recipe::trixie().boot_bytes(), bench.folder.path());
    }
}

/// Where things lie in the boot partition, as its boot sector says.
struct Layout {
    tables: [u64; 2],
    root: u64,
}

fn layout(image: &File) -> Layout {
    let mut boot = [0; 512];
    image.read_exact_at(&mut boot, Recipe::boot_offset()).unwrap();
    let field = |at: usize| u64::from(u32::from_le_bytes(boot[at..at + 4].try_into().unwrap()));
    let reserved = u64::from(u16::from_le_bytes(boot[14..16].try_into().unwrap()));
    let first = Recipe::boot_offset() + reserved * 512;
    Layout { tables: [first, first + field(36) * 512], root: field(44) }
}

/// Has a file of several clusters in its root folder.
fn with_long_file() -> Recipe {
    let mut recipe = Recipe::trixie();
    recipe.put("start4.elf", &"firmware".repeat(2048));
    recipe
}

/// The first cluster of a file in the root folder that takes several.
fn long_file(image: &File) -> u64 {
    let mut boot = [0; 512];
    image.read_exact_at(&mut boot, Recipe::boot_offset()).unwrap();
    let cluster = usize::from(boot[13]) * 512;
    let Layout { tables: [first, second], root } = layout(image);
    let data = second + (second - first);
    let mut folder = vec![0; cluster];
    image.read_exact_at(&mut folder, data + (root - 2) * cluster as u64).unwrap();
    let is_file = |slot: &&[u8]| slot[0] != 0xe5 && slot[11] & 0x18 == 0;
    let size = |slot: &[u8]| u32::from_le_bytes(slot[28..32].try_into().unwrap()) as usize;
    let slots = folder.chunks_exact(32).take_while(|slot| slot[0] != 0);
    let slot = slots.filter(is_file).find(|slot| size(slot) > cluster).unwrap();
    let [high, low] = [20, 26].map(|at| u64::from(u16::from_le_bytes(slot[at..at + 2].try_into().unwrap())));
    high << 16 | low
}

/// Ends the chain of a file after its first cluster, in these tables.
fn cut_file(image: &File, tables: &[usize]) {
    let first = long_file(image);
    for table in tables {
        let at = layout(image).tables[*table] + first * 4;
        image.write_all_at(&0x0fff_ffffu32.to_le_bytes(), at).unwrap();
    }
}

#[test]
fn a_file_cut_off_in_both_tables_is_refused() {
    let bench = bench(&with_long_file());
    cut_file(&File::options().read(true).write(true).open(&bench.image).unwrap(), &[0, 1]);
    let planner = bench.planner();
    assert!(planner.image().remarks.is_empty(), "nothing is freed: {:?}", planner.image().remarks);
    let refusal = planner.card(&bench.project.cluster.nodes[1].name).unwrap_err().render();
    assert!(refusal.contains("some of its files are cut off"), "{refusal}");
}

/// What fsck.fat says of the boot partition, whatever its exit code.
fn complaint(image: &Path, boot_bytes: u64, scratch: &Path) -> String {
    let fat = scratch.join("before.img");
    let mut bytes = vec![0; boot_bytes.try_into().unwrap()];
    File::open(image).unwrap().read_exact_at(&mut bytes, Recipe::boot_offset()).unwrap();
    fs::write(&fat, bytes).unwrap();
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
    let output = Command::new("fsck.fat").arg("-n").arg(&fat).env("PATH", path).output().unwrap();
    assert!(!output.status.success(), "fsck.fat finds nothing wrong: the test breaks nothing");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_boot_partition_that_is_not_in_order_is_repaired_on_the_card() {
    type Break = fn(&File);
    let cases: [(Break, &str); 7] = [
        // Power failed when the first table had a file's old end and the copy its new one.
        (|image| cut_file(image, &[0]), "both equal table 2"),
        // As Linux marks what is mounted.
        (
            |image| image.write_all_at(&[1], Recipe::boot_offset() + 0x41).unwrap(),
            "was not unmounted cleanly",
        ),
        (
            |image| {
                // As Windows does, in both tables.
                for table in layout(image).tables {
                    image.write_all_at(&0x07ff_ffffu32.to_le_bytes(), table + 4).unwrap();
                }
                image.write_all_at(&[1], Recipe::boot_offset() + 0x41).unwrap();
            },
            "was not unmounted cleanly",
        ),
        (
            // The copy has lost the root folder.
            |image| {
                let Layout { tables, root } = layout(image);
                image.write_all_at(&[0; 4], tables[1] + root * 4).unwrap();
            },
            "both equal table 1",
        ),
        (
            // The first has.
            |image| {
                let Layout { tables, root } = layout(image);
                image.write_all_at(&[0; 4], tables[0] + root * 4).unwrap();
            },
            "both equal table 2",
        ),
        (
            // Clusters that a power cut left behind.
            |image| {
                for table in layout(image).tables {
                    image.write_all_at(&0x0fff_ffffu32.to_le_bytes(), table + 40_000 * 4).unwrap();
                }
            },
            "1 clusters of its boot partition belong to no file",
        ),
        (
            |image| {
                let Layout { tables, .. } = layout(image);
                image.write_all_at(&0x0fff_ffffu32.to_le_bytes(), tables[1] + 40_000 * 4).unwrap();
                image.write_all_at(&[1], Recipe::boot_offset() + 0x41).unwrap();
            },
            "both equal table 1",
        ),
    ];
    for (index, (break_it, remark)) in cases.into_iter().enumerate() {
        let recipe = with_long_file();
        let bench = bench(&recipe);
        break_it(&File::options().read(true).write(true).open(&bench.image).unwrap());
        complaint(&bench.image, recipe.boot_bytes(), bench.folder.path());
        let planner = bench.planner();
        assert!(
            planner.image().remarks.iter().any(|said| said.contains(remark)),
            "{index}: {:?}",
            planner.image().remarks
        );
        let card = bench.card(1);
        let said = show::text(&bench.project.cluster, &planner, None, std::slice::from_ref(&card));
        assert!(said.contains("\nnote    ") && said.contains(remark), "{said}");
        let built = bench.apply(&card);
        fsck(&built, recipe.boot_bytes(), bench.folder.path());
        // Nothing but the boot partition changes, and the user's image not at all.
        let end = Recipe::boot_offset() + recipe.boot_bytes();
        let inside =
            |write: &builder::plan::Write| write.offset >= Recipe::boot_offset() && write.offset < end;
        assert!(card.writes.iter().all(inside));
        for (name, content) in recipe.boot.iter().filter(|(name, _)| name != "cmdline.txt") {
            assert_eq!(&read_boot_file(&built, name), content, "{name}");
        }
    }
}

#[test]
fn a_release_that_nobody_tried_is_said_to_be() {
    let remarks = |recipe: &Recipe| bench(recipe).planner().image().remarks.clone();
    assert!(remarks(&Recipe::ubuntu_with_two_kernels())[0].contains("Ubuntu 26.04 was ever booted"));
    assert_eq!(remarks(&Recipe::ubuntu()), [""; 0]);
    assert_eq!(remarks(&Recipe::trixie_cloud_init()), [""; 0]);
}
