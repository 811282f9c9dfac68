//! Cards boot from their own bytes on machines of the Pi's architecture: kernel, initramfs, vfat, ext4, systemd, apt and
//! Docker, in QEMU, driven by nothing but what is on the FAT partition.
//!
//! One manager and one worker always; the ignored tests take two hours together, and `cargo xtask test --all` runs them.
//! All need root for looking into a card's root partition afterwards, and what `cargo xtask test` makes.
#![expect(clippy::unwrap_used, reason = "these are tests: a panic is how they fail")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use cluster::wire::{Board, Stage};
use images::Release;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rustix::process::{Pid, Signal, kill_process};
use tests::desk::Desk;
use tests::emulator::{Emulator, LOOK};
use tests::inspect::{Fat, Root};
use tests::product::Product;
use tests::wait;

/// Machines emulated on two shared cores install Docker in minutes; a formed swarm ends the wait.
const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// One emulation at a time: each is as fast as the cores allow.
static CORES: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    CORES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The product with the bootable image of a release.
fn product(release: Release) -> Product {
    let product = Product::from_env().unwrap();
    let image = images::bootable(release, product.image.parent().unwrap()).unwrap();
    Product { image, ..product }
}

fn cluster_file(nodes: &str) -> String {
    format!(
        "version: 1\ncluster: red\nimage: pios-like.img.xz\nnodes: {nodes}\ntimezone: Europe/Berlin\n\
         user: {{name: ada, authorized_keys: [~/.ssh/id_ed25519.pub]}}\ndocker: {{source: debian}}\n"
    )
}

fn is_formed(board: &Board) -> bool {
    let knows = |node: &cluster::wire::BoardNode| {
        node.report.as_ref().is_some_and(|report| report.stage == Stage::Ready)
    };
    board.formed && board.nodes.iter().all(knows)
}

fn wait_for_board(desk: &Desk, emulator: &mut Emulator, manager: &str, wanted: impl Fn(&Board) -> bool) {
    let seen = wait::every(LOOK, "the board as wanted", PATIENCE, || {
        emulator.attend()?;
        let Some(api) = emulator.api(manager)? else { return Ok(None) };
        Ok(desk.board(Some(api))?.filter(&wanted))
    });
    seen.unwrap_or_else(|error| panic!("{error:?}\n{}", emulator.consoles()));
}

/// Boots cards of all nodes until they are a swarm, and then takes their power away.
fn form(release: Release, range: &str, nodes: &[&str]) -> (Desk, Emulator) {
    let manager = nodes.first().unwrap();
    let desk = Desk::build(&product(release), &cluster_file(range)).unwrap();
    let cpus = if nodes.len() > 1 { 1 } else { 2 };
    let mut emulator = Emulator::new(nodes.len(), cpus).unwrap();
    for node in nodes {
        emulator.insert(node, &desk.card(node)).unwrap();
        emulator.power_on(node).unwrap();
    }
    wait_for_board(&desk, &mut emulator, manager, is_formed);
    for node in nodes {
        emulator.pull_plug(node).unwrap();
    }
    (desk, emulator)
}

/// Name, user, keys, sshd's key, time zone: all from the cluster file, and nothing secret left on the FAT.
fn assert_made(desk: &Desk, node: &str, card: &Path) {
    let root = Root::mount(card).unwrap();
    assert_eq!(root.text("etc/hostname").unwrap(), format!("{node}\n"));
    assert!(root.text("etc/hosts").unwrap().contains(&format!("127.0.1.1\t{node}\n")), "{node}");
    assert!(root.text("etc/passwd").unwrap().contains("\nada:x:1000:1000:"), "{node}");
    let public = std::fs::read_to_string(desk.folder().join(".ssh/id_ed25519.pub")).unwrap();
    assert_eq!(root.text("home/ada/.ssh/authorized_keys").unwrap(), public, "{node}");
    let zone = std::fs::read_link(root.path("etc/localtime")).unwrap();
    assert!(zone.ends_with("Europe/Berlin"), "{node}: {}", zone.display());
    let id = root.text("etc/machine-id").unwrap();
    assert_eq!(id.trim().len(), 32, "{node}: {id}");

    let nodes = desk.secrets().unwrap().join("nodes");
    let key = |name: &str| std::fs::read_to_string(nodes.join(format!("{node}-{name}"))).unwrap();
    let host_key = root.text("etc/ssh/firstboot_host_ed25519_key").unwrap();
    assert_eq!(host_key, key("ssh-host-key"), "{node}");

    let fat = Fat::of(card);
    let (files, cmdline) = (fat.files().unwrap(), fat.text("cmdline.txt").unwrap());
    for secret in ["node-key.pem", "ssh-host-key\n", "secrets.json", "userconf.txt"] {
        assert!(!files.contains(secret), "{node} still has {secret}:\n{files}");
    }
    for name in ["key.pem", "ssh-host-key"] {
        let key = key(name);
        let line = key.lines().nth(1).unwrap();
        // Else the search after it would find nothing for the wrong reason.
        assert!(Fat::of(&desk.card(node)).holds_anywhere(line).unwrap(), "{node}");
        assert!(!fat.holds_anywhere(line).unwrap(), "{node} still has the bytes of its {name}");
    }
    let status = fat.text("swarm/status.txt").unwrap();
    assert!(
        status.starts_with(&format!("This card belongs to {node},")) && !status.contains("Not done"),
        "{status}"
    );
    assert!(!cmdline.split_whitespace().any(cluster::hook::is_hook_token), "{node}: {cmdline}");
}

/// What the firmware and initramfs of a Raspberry Pi OS are told, and did.
fn assert_booted_as_pi_os(node: &str, before: &Path, card: &Path) {
    let cmdline = Fat::of(card).text("cmdline.txt").unwrap();
    let has = |word: &str| cmdline.split_whitespace().any(|present| present == word);
    assert!(has("cgroup_enable=memory"), "{node}: {cmdline}");
    assert!(!has("resize") && !cmdline.contains("init="), "{node}: {cmdline}");
    let disk = |cmdline: &str| cmdline.split_once("PARTUUID=").unwrap().1[..8].to_owned();
    assert_ne!(disk(&cmdline), disk(&Fat::of(before).text("cmdline.txt").unwrap()), "{node}");
    let fstab = Root::mount(card).unwrap().text("etc/fstab").unwrap();
    assert!(fstab.contains(&format!("PARTUUID={}-02", disk(&cmdline))), "{node}: {fstab}");
}

/// Ends with the test, whatever becomes of it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended by itself where the test went well.
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

/// What `builder rehearse` says before the lines that lead into the machines.
const RUNNING: &str = "the machines run until Ctrl-C";

#[test]
fn a_manager_and_a_worker_rehearse_and_their_cards_stay_as_they_were() {
    let _alone = alone();
    let nodes = ["lime00", "lime01"];
    let desk = Desk::build(&product(Release::Trixie), &cluster_file("lime[00-01]")).unwrap();
    let digests = || nodes.map(|node| images::capture("sha256sum", [desk.card(node)]).unwrap());
    let before = digests();

    let talk = desk.folder().join("talk");
    let mut rehearsal = desk.command(["rehearse", "--keep", "--json"]);
    let talking = std::fs::File::create(&talk).unwrap();
    let mut rehearsal = Running(rehearsal.stdout(Stdio::piped()).stderr(talking).spawn().unwrap());
    let mut boards = BufReader::new(rehearsal.0.stdout.take().unwrap()).lines();
    let formed = boards.any(|board| {
        let board: serde_json::Value = serde_json::from_str(&board.unwrap()).unwrap();
        board["formed"] == true
    });
    // It ends by itself when the time is up.
    let said = || std::fs::read_to_string(&talk).unwrap();
    assert!(formed, "{}", said());
    wait::until("the ways in", PATIENCE, || Ok(said().contains(RUNNING).then_some(()))).unwrap();

    for node in nodes {
        let way =
            said().lines().find_map(|line| line.strip_prefix(&format!("{node}: ssh ")).map(str::to_owned));
        let options = "-i .ssh/id_ed25519 -o BatchMode=yes";
        let line = format!("ssh {options} {} 'hostname; id -un; sudo -n id -u; uname -m'", way.unwrap());
        let mut ssh = Command::new("sh");
        let who = ssh.args(["-c", &line]).current_dir(desk.folder()).output().unwrap();
        let who = String::from_utf8_lossy(&who.stdout).into_owned();
        assert_eq!(who, format!("{node}\nada\n0\naarch64\n"), "{line}");
    }
    kill_process(Pid::from_child(&rehearsal.0), Signal::INT).unwrap();
    assert!(rehearsal.0.wait().unwrap().success(), "{}", said());
    assert_eq!(digests(), before);

    for node in nodes {
        let kept = |kind: &str| desk.folder().join(format!("red.rehearsal/{node}.{kind}"));
        assert_made(&desk, node, &kept("img"));
        assert_booted_as_pi_os(node, &desk.card(node), &kept("img"));
        let console = std::fs::read_to_string(kept("log")).unwrap();
        assert_eq!(console.matches("[builder] power on\n").count(), 1, "the seed stage's boot went on");
    }
}

#[test]
#[ignore = "three emulated Pis; cargo xtask test --all"]
fn a_manager_and_two_workers_boot_from_their_cards() {
    let _alone = alone();
    let nodes = ["cyan00", "cyan01", "cyan02"];
    let (desk, emulator) = form(Release::Trixie, "cyan[00-02]", &nodes);
    for node in nodes {
        let card = emulator.disk(node).unwrap();
        assert_made(&desk, node, &card);
        assert_booted_as_pi_os(node, &desk.card(node), &card);
        assert_eq!(emulator.boots(node).unwrap(), 1, "the seed stage's boot went on");
    }
}

#[test]
#[ignore = "a quarter of an hour on two busy cores; cargo xtask test --all"]
fn bookworm_boots_from_its_card() {
    let _alone = alone();
    let (desk, emulator) = form(Release::Bookworm, "blue00", &["blue00"]);
    let card = emulator.disk("blue00").unwrap();
    assert_made(&desk, "blue00", &card);
    assert_booted_as_pi_os("blue00", &desk.card("blue00"), &card);
    assert_eq!(emulator.boots("blue00").unwrap(), 2, "its own reboot and no other");
}

#[test]
#[ignore = "a quarter of an hour on two busy cores; cargo xtask test --all"]
fn cloud_init_neither_renames_nor_questions_nor_runs() {
    let _alone = alone();
    let (desk, emulator) = form(Release::TrixieCloudInit, "grey00", &["grey00"]);
    let card = emulator.disk("grey00").unwrap();
    assert_made(&desk, "grey00", &card);
    assert_booted_as_pi_os("grey00", &desk.card("grey00"), &card);
    assert_eq!(emulator.boots("grey00").unwrap(), 1);
    let root = Root::mount(&card).unwrap();
    assert!(root.path("usr/bin/cloud-init").exists(), "the image has cloud-init");
    assert!(!root.path("var/lib/cloud/instance").exists(), "and it did not take the card for its own");
}

#[test]
#[ignore = "a quarter of an hour on two busy cores; cargo xtask test --all"]
fn ubuntu_is_set_up_by_its_cloud_init() {
    let _alone = alone();
    let (desk, emulator) = form(Release::Ubuntu, "gold00", &["gold00"]);
    let card = emulator.disk("gold00").unwrap();
    assert_made(&desk, "gold00", &card);
    assert_eq!(emulator.boots("gold00").unwrap(), 1);
}

#[test]
#[ignore = "two emulated Pis, booted twice; cargo xtask test --all"]
fn a_swarm_that_was_off_for_a_year_comes_back() {
    let _alone = alone();
    let nodes = ["teal00", "teal01"];
    let (desk, mut emulator) = form(Release::Trixie, "teal[00-01]", &nodes);
    let later = SystemTime::now() + Duration::from_secs(366 * 86_400);
    for node in nodes {
        emulator.set_clock(node, later).unwrap();
        emulator.power_on(node).unwrap();
    }
    wait_for_board(&desk, &mut emulator, "teal00", is_formed);
    for node in nodes {
        emulator.pull_plug(node).unwrap();
        // It was there then.
        let log = Fat::of(&emulator.disk(node).unwrap()).text("swarm/log.txt").unwrap();
        let year = humantime::format_rfc3339_seconds(later).to_string()[..5].to_owned();
        assert!(log.lines().any(|line| line.starts_with(&year)), "{node}: {log}");
    }
}

/// Past the test runner, which shows nothing of a test that passes.
fn say(text: &str) {
    use std::io::Write as _;
    std::io::stderr().write_all(format!("{text}\n").as_bytes()).unwrap();
}

/// Which moments the power is cut at: printed, and repeatable with `BUILDER_SEED`.
fn seed() -> u64 {
    let given = std::env::var("BUILDER_SEED").ok().map(|seed| seed.parse().unwrap());
    let seed = given.unwrap_or_else(|| rand::rng().random());
    say(&format!("BUILDER_SEED={seed}"));
    seed
}

#[test]
#[ignore = "ten boots and ten more; cargo xtask test --all"]
fn a_card_whose_power_is_cut_comes_up() {
    let _alone = alone();
    let desk = Desk::build(&product(Release::Trixie), &cluster_file("pink00")).unwrap();
    let mut random = StdRng::seed_from_u64(seed());
    // The seed stage takes seconds: half of the cuts are within them, half in the minute after.
    let cuts: Vec<f64> =
        (0..10).map(|cut| random.random_range(0.0..if cut % 2 == 0 { 6.0 } else { 66.0 })).collect();
    // Two at a time, one for each processor, on networks of their own.
    std::thread::scope(|scope| {
        for cuts in cuts.chunks(5) {
            scope.spawn(|| cut_power(&desk, cuts));
        }
    });
}

/// Cuts a card's power at each of these moments, in seconds after the seed stage began, and powers it on again.
fn cut_power(desk: &Desk, cuts: &[f64]) {
    for (place, &after) in cuts.iter().enumerate() {
        let mut emulator = Emulator::new(1, 1).unwrap();
        emulator.insert("pink00", &desk.card("pink00")).unwrap();
        emulator.power_on("pink00").unwrap();
        let begun = wait::until("the seed stage", PATIENCE, || {
            emulator.attend()?;
            Ok(emulator.console("pink00")?.contains(SEED_BEGINS).then(Instant::now))
        });
        let begun = begun.unwrap_or_else(|error| panic!("{error:?}\n{}", emulator.consoles()));
        // Not a wait for anything: the moment itself is what is tested.
        std::thread::sleep(Duration::from_secs_f64(after).saturating_sub(begun.elapsed()));
        emulator.pull_plug("pink00").unwrap();
        emulator.power_on("pink00").unwrap();
        // Docker's installation is most of the time and not what is cut: the last one goes through it.
        let last = place + 1 == cuts.len();
        wait_for_board(
            desk,
            &mut emulator,
            "pink00",
            |board| if last { is_formed(board) } else { is_up(board) },
        );
        emulator.pull_plug("pink00").unwrap();
        assert_made(desk, "pink00", &emulator.disk("pink00").unwrap());
        say(&format!("power cut {after:.2} s after the seed stage began: it comes up"));
    }
}

/// Whether the agent has got as far as Docker, without trouble.
fn is_up(board: &Board) -> bool {
    let report = |node: &cluster::wire::BoardNode| node.report.clone();
    board
        .nodes
        .iter()
        .filter_map(report)
        .any(|report| report.stage >= Stage::Docker && report.error.is_none())
}

/// What systemd says on the console when it starts us.
const SEED_BEGINS: &str = "Starting kernel-command-line";
