//! Cards computed from images of every supported release, laid over a copy, and read back by independent programs;
//! what is refused; what is shown.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use builder::error::Failure;
use builder::pki;
use builder::plan::{CardPlan, PlanOptions, Planner, show};
use builder::project::Project;
use cluster::card::{self, Card, CardSecrets};
use cluster::spec;
use fixture::{AARCH64, ARM, Recipe, X86_64, at, elf, read_boot_file, run};
use tempfile::TempDir;

#[path = "fixture/image.rs"]
mod fixture;

const HASH: &str = "$6$rounds=5000$saltsaltsalt$notarealhashbutlongenoughtolooklikeone";
const PSK: &str = "a pass phrase nobody may see";
const CLUSTER: &str = "\
version: 1
cluster: red
image: pios.img
nodes: red[00-02]
user:
  name: ada
  authorized_keys: ['ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f ada@laptop']
";

/// A folder with a cluster file, an image and an agent.
struct Bench {
    folder: TempDir,
    project: Project,
    image: PathBuf,
    options: PlanOptions,
}

fn bench(recipe: &Recipe) -> Bench {
    bench_with(recipe, CLUSTER)
}

fn bench_with(recipe: &Recipe, cluster: &str) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let image = recipe.make(folder.path(), "pios.img");
    let file = folder.path().join("cluster.yaml");
    fs::write(&file, cluster).unwrap();
    let agent = folder.path().join("firstboot-aarch64");
    fs::write(&agent, agent_of(1_500_000)).unwrap();
    let read = spec::read(cluster, "cluster.yaml").unwrap_or_else(|problems| panic!("{problems}"));
    let project = Project { cluster: read, file, folder: folder.path().to_owned() };
    Bench { folder, project, image, options: PlanOptions { firstboot: Some(agent) } }
}

/// A program with a tail of bytes that do not repeat.
fn agent_of(bytes: u32) -> Vec<u8> {
    let mut agent = elf::tiny(AARCH64, false);
    let mut state = 1u32;
    agent.resize_with(bytes.try_into().unwrap(), || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    });
    agent
}

impl Bench {
    fn planner(&self) -> Planner {
        shown(Planner::open(&self.project, &self.image, &self.options))
    }

    fn card(&self, node: usize) -> CardPlan {
        shown(self.planner().card(&self.project.cluster.nodes[node].name))
    }

    /// The image with a card's writes laid over it.
    fn apply(&self, card: &CardPlan) -> PathBuf {
        let path = self.folder.path().join(format!("{}.img", card.node));
        fs::copy(&self.image, &path).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        card.writes.iter().for_each(|write| file.write_all_at(&write.bytes, write.offset).unwrap());
        path
    }

    fn refusal(&self) -> String {
        let base = fs::read(&self.image).unwrap();
        let failure = Planner::open(&self.project, &self.image, &self.options).expect_err("a refusal");
        assert_eq!(failure.kind().code(), 1);
        assert!(!self.project.secrets_folder().exists(), "refused before a byte is written");
        assert!(fs::read(&self.image).unwrap() == base);
        failure.render()
    }
}

fn shown<T>(result: Result<T, Failure>) -> T {
    result.unwrap_or_else(|failure| panic!("{}", failure.render()))
}

fn all_releases() -> [Recipe; 4] {
    [Recipe::bullseye(), Recipe::bookworm(), Recipe::trixie(), Recipe::trixie_cloud_init()]
}

/// The silent fsck.fat: one line with its version, one with the counts, and no complaint.
fn fsck(image: &Path, boot_bytes: u64, scratch: &Path) {
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
            read_boot_file(&built, "swarm/run"),
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
        let free: String = said.lines().last().unwrap().chars().filter(char::is_ascii_digit).collect();
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
fn a_preview_makes_no_secrets_folder() {
    let bench = bench(&Recipe::trixie());
    let planner = shown(Planner::preview(&bench.project, &bench.image, &bench.options));
    shown(planner.card(&bench.project.cluster.nodes[0].name));
    assert!(!bench.project.secrets_folder().exists());
}

#[test]
fn a_static_address_and_the_radio_are_on_the_card() {
    let more = format!(
        "network: {{addresses: '192.168.1.[10-12]/24', gateway: 192.168.1.1}}\n\
         wifi: {{country: DE, ssid: home, psk: {PSK}}}\n"
    );
    let bench = bench_with(&Recipe::bookworm(), &format!("{CLUSTER}  password_hash: {HASH}\n{more}"));
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
fn refuses_images_that_are_not_as_published() {
    let with = |change: fn(&mut Recipe)| {
        let mut recipe = Recipe::trixie_cloud_init();
        change(&mut recipe);
        bench(&recipe).refusal()
    };
    let cases: [(fn(&mut Recipe), &str); 13] = [
        (|r| r.put("cmdline.txt", "console=tty1 rootwait\n"), "it was booted before"),
        (|r| r.machine_id = "0123456789abcdef0123456789abcdef\n", "its /etc/machine-id is drawn"),
        (
            |r| r.put("cmdline.txt", "rootwait resize systemd.run=/boot/firstrun.sh\n"),
            "has systemd.run=/boot/firstrun.sh",
        ),
        (|r| r.put("swarm/card.json", "{}"), "it has a folder swarm"),
        (|r| r.put("custom.toml", "config_version = 1"), "it has custom.toml"),
        (|r| r.put("firstrun.sh", "#!/bin/sh"), "it has firstrun.sh"),
        (|r| r.put("userconf.txt", "pi:x"), "it has userconf.txt"),
        (|r| r.put("user-data", "#cloud-config\nhostname: mine\n"), "its user-data is filled in"),
        (|r| r.label = "system-boot", "it is Ubuntu, which is not supported yet"),
        (|r| r.put("dietpi.txt", ""), "it is DietPi"),
        (|r| r.label = "armbi_boot", "it is Armbian"),
        (
            |r| r.codename = "bookworm",
            "is that of Trixie with cloud-init, but its root partition holds bookworm",
        ),
        (|r| r.mount = "/boot", "mounts it at /boot"),
    ];
    for (change, reason) in cases {
        let said = with(change);
        assert!(said.contains(reason), "{reason}: {said}");
        assert!(
            said.starts_with("error: no card can be made from pios.img\ncaused by: ")
                && said.contains("\nhint: "),
            "{said}"
        );
    }
}

#[test]
fn refuses_an_architecture_without_an_agent() {
    let mut recipe = Recipe::bookworm();
    recipe.machine = ARM;
    let said = bench(&recipe).refusal();
    assert!(said.contains("32-bit") && said.contains("ARMv6"), "{said}");
    recipe.machine = 243;
    let said = bench(&recipe).refusal();
    assert!(said.contains("ELF machine 243"), "{said}");
}

#[test]
fn refuses_an_agent_for_another_architecture() {
    let mut recipe = Recipe::trixie();
    recipe.machine = X86_64;
    let said = bench(&recipe).refusal();
    assert!(
        said.contains("is for aarch64, but the image is for x86_64\nhint: run `cargo xtask agent`"),
        "{said}"
    );
}

#[test]
fn refuses_a_boot_partition_without_room_and_says_how_much_is_missing() {
    let mut bench = bench(&Recipe::trixie());
    let room = 160 * 1024 * 1024;
    let fill = bench.folder.path().join("fill");
    File::create(&fill).unwrap().set_len(Recipe::trixie().boot_bytes() - 8 * 1024 * 1024).unwrap();
    run(Command::new("mcopy")
        .args(["-i", &at(&bench.image, Recipe::boot_offset())])
        .arg(&fill)
        .arg("::/fill"));
    let agent = bench.folder.path().join("big");
    fs::write(&agent, agent_of(12_000_000)).unwrap();
    bench.options.firstboot = Some(agent);
    let said = bench.refusal();
    assert!(said.contains("its boot partition is too full: "), "{said}");
    let missing: u64 = said.split("too full: ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(missing > 3_000_000 && missing < room, "{said}");
}

#[test]
fn refuses_what_is_no_image() {
    let whole = bench(&Recipe::trixie());
    let refused = |name: &str, change: fn(&File)| {
        let image = whole.folder.path().join(name);
        fs::copy(&whole.image, &image).unwrap();
        change(&File::options().read(true).write(true).open(&image).unwrap());
        Planner::open(&whole.project, &image, &whole.options).expect_err(name).render()
    };
    let cases: [(&str, fn(&File), &str); 6] = [
        ("no-table", |f| f.write_all_at(&[0; 512], 0).unwrap(), "it has no partition table"),
        ("no-fat-entry", |f| f.write_all_at(&[0x83], 450).unwrap(), "it has no FAT partition"),
        ("no-linux-entry", |f| f.write_all_at(&[0x0c], 466).unwrap(), "it has no Linux partition"),
        (
            "no-fat",
            |f| f.write_all_at(&[0; 512], Recipe::boot_offset()).unwrap(),
            "its boot partition is no FAT32",
        ),
        (
            "no-ext4",
            |f| f.write_all_at(&[0; 2048], Recipe::boot_offset() + Recipe::trixie().boot_bytes()).unwrap(),
            "its root partition is no ext4",
        ),
        ("cut", |f| f.set_len(Recipe::boot_offset() + 512).unwrap(), "it is cut short"),
    ];
    for (name, change, reason) in cases {
        let said = refused(name, change);
        assert!(said.contains(reason), "{name}: {said}");
    }
    let missing =
        Planner::open(&whole.project, Path::new("/nowhere.img"), &whole.options).unwrap_err().render();
    assert!(missing.contains("cannot open /nowhere.img"), "{missing}");
}

/// Everything the two forms of output and the debug form say.
fn everything_shown(bench: &Bench) -> [String; 3] {
    let planner = bench.planner();
    let nodes = bench.project.cluster.nodes.iter();
    let cards: Vec<_> = nodes.map(|node| shown(planner.card(&node.name))).collect();
    [
        show::text(&bench.project.cluster, &planner, &cards),
        show::document(&bench.project.cluster, &planner, &cards).to_string(),
        format!("{planner:?}{cards:?}"),
    ]
}

#[test]
fn no_secret_is_shown() {
    let more = format!("  password_hash: {HASH}\nwifi: {{country: DE, ssid: home, psk: {PSK}}}\n");
    let bench = bench_with(&Recipe::trixie(), &format!("{CLUSTER}{more}"));
    let shown_texts = everything_shown(&bench);
    let identities = shown(pki::existing(&bench.project));
    let mut secrets = vec![HASH.to_owned(), PSK.to_owned(), "PRIVATE KEY".to_owned()];
    for node in &bench.project.cluster.nodes {
        let material = shown(identities.node(&node.name));
        for key in [material.key_pem.expose(), material.host_key.expose()] {
            secrets.extend(
                key.lines().filter(|line| line.len() > 20 && !line.starts_with("-----")).map(str::to_owned),
            );
        }
    }
    assert!(secrets.len() > 9);
    for text in shown_texts {
        assert!(text.contains("red02"), "{text}");
        secrets.iter().for_each(|secret| assert!(!text.contains(secret), "{secret} is shown"));
    }
}

#[test]
fn the_plan_reads_like_a_diff() {
    let bench = bench(&Recipe::trixie_cloud_init());
    let [text, ..] = everything_shown(&bench);
    let mut text = text.replace(&bench.folder.path().display().to_string(), "FOLDER");
    // Keys and certificates are new in every run.
    let created = shown(pki::existing(&bench.project));
    text = text.replace(created.cluster_id.as_str(), "CLUSTER-ID");
    text = text.replace(&created.created.to_string(), "CREATED");
    let lines = text.lines().map(|line| match line.split_once(" (") {
        Some((name, _)) if name.ends_with(".pem") || name.contains("ssh-host-key") => format!("{name} (…)"),
        _ if line.starts_with("= ") => "= … sectors change, … MiB stay free on the boot partition".to_owned(),
        _ => line.to_owned(),
    });
    insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"));
}

fn builder(bench: &Bench, args: &[&str]) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_builder"));
    command.env_clear().env("HOME", bench.folder.path()).current_dir(bench.folder.path());
    command
        .args(["plan", "--cache", "cache", "--firstboot", "firstboot-aarch64"])
        .args(args)
        .output()
        .unwrap()
}

#[test]
fn the_command_prints_one_document() {
    let bench = bench(&Recipe::trixie());
    let output = builder(&bench, &["--json", "red[01-02]"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["image"]["release"], "trixie");
    let cards = document["cards"].as_array().unwrap();
    assert_eq!(
        cards.iter().map(|card| card["node"].as_str().unwrap()).collect::<Vec<_>>(),
        ["red01", "red02"]
    );
    let cmdline =
        cards[0]["files"].as_array().unwrap().iter().find(|file| file["path"] == "cmdline.txt").unwrap();
    assert!(cmdline["before"].as_str().unwrap().ends_with("resize\n"));
    assert!(cmdline["text"].as_str().unwrap().contains("/boot/firmware/swarm/run"));
    let run = cards[0]["files"]
        .as_array()
        .unwrap()
        .iter()
        .find(|file| file["path"] == format!("{}/run", card::FOLDER));
    assert_eq!(run.unwrap()["kind"], "binary");
    assert!(!bench.project.secrets_folder().exists());
}

#[test]
fn the_command_refuses_nodes_that_are_not_planned() {
    let bench = bench(&Recipe::trixie());
    for word in ["red09", "red[00-09]", "red[2-1]"] {
        let output = builder(&bench, &[word]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(
            output.stdout.is_empty() && said.contains("hint: name some of red00, red01, red02"),
            "{said}"
        );
    }
}

#[test]
fn without_an_agent_it_says_what_to_run() {
    let bench = bench(&Recipe::trixie());
    fs::remove_file(bench.options.firstboot.as_ref().unwrap()).unwrap();
    let output = builder(&bench, &[]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.contains("cannot read the agent firstboot-aarch64") && said.contains("cargo xtask agent"),
        "{said}"
    );
}
