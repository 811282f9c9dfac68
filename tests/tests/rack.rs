//! The rack itself, with a card made by hand: a shell script stands for the agent's seed stage.
//!
//! Needs root and the Pi OS-like image that `cargo xtask test` makes; unpacked, it is kept below the target folder.
#![expect(clippy::unwrap_used, reason = "these are tests and their helpers: a panic is how they fail")]

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use cluster::hook;
use tests::product::Product;
use tests::rack::Rack;
use tests::repo::Repo;
use tests::wait;

const FAT: &str = "8388608";

/// Renames the node, makes sshd's keys (its own unit does so in systemd's first boot only, before which this reboots), leaves traces on
/// the FAT, takes its own words out of the command line. Then it fails, as a seed stage does that cannot go on: systemd reboots.
const SEED: &str = r#"#!/bin/sh
cd /boot/firmware || exit 1
sed -i 's/ systemd\..*//' cmdline.txt
echo red07 >/etc/hostname
sed -i 's/raspberrypi/red07/' /etc/hosts
ssh-keygen -A
ip -oneline link show up >swarm/links
systemctl is-active NetworkManager >swarm/network-manager
rm LICENCE.broadcom
mkdir swarm/deeper
echo new >swarm/deeper/file
exit 1
"#;

static IMAGE: LazyLock<PathBuf> = LazyLock::new(|| {
    let packed = Product::from_env().unwrap().image;
    let name = packed.file_stem().unwrap();
    let image = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if !image.exists() {
        let script = r#"set -o pipefail; xz -dc -T0 "$1" | cp --sparse=always /dev/stdin "$2.part" && mv "$2.part" "$2""#;
        let names = [packed, image.clone()].map(PathBuf::into_os_string);
        images::run("bash", ["-ec", script, "bash"].map(Into::into).into_iter().chain(names)).unwrap();
    }
    image
});

fn mtools(program: &str, card: &Path, words: &[&str]) -> String {
    let volume = format!("{}@@{FAT}", card.display());
    let words = ["-i", &volume].into_iter().chain(words.iter().copied());
    String::from_utf8(images::capture(program, words).unwrap()).unwrap()
}

/// A card with `seed` as its seed stage.
fn card(folder: &Path, seed: &str) -> PathBuf {
    let card = folder.join("red07.img");
    images::run("cp", ["--sparse=always", &IMAGE.to_string_lossy(), &card.to_string_lossy()]).unwrap();
    let line = mtools("mtype", &card, &["::cmdline.txt"]);
    let line = format!("{} {}\n", line.trim_end(), hook::tokens("/boot/firmware").join(" "));
    for (name, text) in
        [("cmdline.txt", line.as_str()), ("run", seed), ("userconf.txt", "ada:!\n"), ("ssh", "")]
    {
        fs::write(folder.join(name), text).unwrap();
    }
    mtools("mmd", &card, &["::swarm"]);
    let local = |name: &str| folder.join(name).to_string_lossy().into_owned();
    mtools("mcopy", &card, &["-o", &local("cmdline.txt"), &local("userconf.txt"), &local("ssh"), "::"]);
    mtools("mcopy", &card, &[&local("run"), "::swarm/run"]);
    card
}

fn says(rack: &Rack, node: &str, words: &[&str]) -> String {
    let output = rack.exec(node, words).unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn wait_for_address(rack: &Rack, node: &str) -> std::net::Ipv4Addr {
    wait::until("an address", Duration::from_secs(90), || {
        rack.is_on(node)?;
        Ok(rack.address(node))
    })
    .unwrap()
}

/// Everything on this host that carries a rack's name.
fn traces(rack: &str) -> Vec<String> {
    let mut traces = Vec::new();
    for line in [
        "losetup --list --noheadings --output BACK-FILE",
        "ip -brief link",
        "iptables -w -S",
        "findmnt --noheadings --raw --output TARGET",
        "ls -1 /run/netns /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /var/tmp",
    ] {
        let mut words = line.split(' ');
        let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
        traces.extend(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned));
    }
    let dashed = rack.replace("rack", "rack-") + "-";
    traces.retain(|trace| {
        let mut words = trace.split([' ', '/', '@', ':']);
        words.any(|word| word == rack || word.starts_with(&format!("{rack}-")) || word.starts_with(&dashed))
    });
    traces
}

#[test]
fn a_card_boots_reboots_and_comes_up_as_a_pi_would() {
    let lab = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let card = card(lab.path(), SEED);
    let rack = Rack::new("hand-made").unwrap();
    rack.insert("first", &card).unwrap();
    rack.power_on("first").unwrap();
    assert!(rack.power_on("first").is_err(), "on already");

    let address = wait_for_address(&rack, "first");
    assert_eq!(rack.boots("first").unwrap(), 2, "the seed stage's reboot was honoured");
    assert_eq!(rack.dhcp_names("first").unwrap(), ["red07"], "the first request already carried the name");
    assert_eq!(address.octets()[..3], rack.gateway().octets()[..3]);

    let state = wait::until("the system is up", Duration::from_secs(90), || {
        let state = says(&rack, "first", &["systemctl", "is-system-running"]);
        Ok((!["initializing", "starting", ""].contains(&state.as_str())).then_some(state))
    });
    let failed = says(&rack, "first", &["systemctl", "--failed", "--no-legend"]);
    assert_eq!(state.unwrap(), "running", "{failed}");
    assert_eq!(
        says(&rack, "first", &["nmcli", "--get-values", "GENERAL.STATE", "device", "show", "eth0"]),
        "100 (connected)"
    );
    assert_eq!(says(&rack, "first", &["id", "--name", "--user", "1000"]), "ada", "userconf.txt was taken");
    assert_eq!(says(&rack, "first", &["systemctl", "is-active", "ssh", "avahi-daemon"]), "active\nactive");
    assert!(says(&rack, "first", &["getent", "ahostsv4", "deb.example.invalid"]).is_empty());
    let size: u64 = says(&rack, "first", &["stat", "--file-system", "--format=%b", "/"]).parse().unwrap();
    assert!(size * 4096 > 7 << 30, "root fills the SD card: {size} blocks");
    for process in ["1", "self"] {
        let bounds = says(&rack, "first", &["grep", "CapBnd", &format!("/proc/{process}/status")]);
        let mask = u64::from_str_radix(bounds.split_whitespace().last().unwrap(), 16).unwrap();
        assert_eq!(mask & 1 << 25, 0, "no process in a node may set the host's clock: {bounds}");
    }

    rack.power_off("first").unwrap();
    let card = rack.card("first").unwrap();
    let line = mtools("mtype", &card, &["::cmdline.txt"]);
    assert!(line.ends_with(" rootwait\n"), "hook and resize are gone: {line}");
    let old = mtools("mtype", &lab.path().join("red07.img"), &["::cmdline.txt"]);
    let id = |line: &str| line.split_once("PARTUUID=").unwrap().1[..8].to_owned();
    assert_ne!(id(&line), id(&old), "the first boot renamed the disk");
    let mut table = [0; 4];
    fs::File::open(&card).unwrap().read_exact_at(&mut table, 440).unwrap();
    assert_eq!(id(&line), format!("{:08x}", u32::from_le_bytes(table)));
    let links = mtools("mtype", &card, &["::swarm/links"]);
    assert!(links.contains("lo:") && !links.contains("eth0"), "the seed stage has no network: {links}");
    assert_eq!(mtools("mtype", &card, &["::swarm/network-manager"]), "inactive\n");
    assert_eq!(mtools("mtype", &card, &["::swarm/deeper/file"]), "new\n");
    assert!(
        !mtools("mdir", &card, &["-b", "::"]).contains("LICENCE"),
        "a removed file is gone from the card"
    );
    assert!(!mtools("mdir", &card, &["-b", "::"]).contains("userconf.txt"));

    rack.power_on("first").unwrap();
    wait_for_address(&rack, "first");
    let bridge = rack.bridge();
    let kinds = ["card.img", " UP ", "-i ", "/root", &format!("{bridge}-first"), "-hand-made"];
    for kind in kinds {
        assert!(traces(&bridge).iter().any(|trace| trace.contains(kind)), "{kind}: {:?}", traces(&bridge));
    }
    drop(rack);
    assert_eq!(traces(&bridge), Vec::<String>::new());
}

#[test]
fn a_pulled_plug_stops_every_process_and_the_node_boots_again() {
    let lab = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let card = card(lab.path(), SEED);
    let rack = Rack::new("plug").unwrap();
    rack.insert("first", &card).unwrap();
    rack.power_on("first").unwrap();
    wait_for_address(&rack, "first");
    assert!(rack.exec("first", &["touch", "/root/written"]).unwrap().status.success());
    rack.pull_plug("first").unwrap();
    assert!(!rack.is_on("first").unwrap());
    assert!(rack.exec("first", &["true"]).is_err());
    assert_eq!(rack.address("first"), None);
    rack.power_on("first").unwrap();
    wait_for_address(&rack, "first");
    assert!(rack.exec("first", &["test", "-e", "/root/written"]).unwrap().status.success());
    assert_eq!(rack.boots("first").unwrap(), 3);
}

#[test]
fn docker_forms_a_swarm_of_nodes_installed_from_a_repository_of_dockers_layout() {
    let lab = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let card = card(lab.path(), SEED);
    let rack = Rack::new("docker").unwrap();
    let repo = Repo::new(&lab.path().join("repo"), "trixie", &images::host_architecture().unwrap()).unwrap();
    let server = repo.serve(rack.gateway()).unwrap();
    let nodes = ["first", "second"];
    for node in nodes {
        rack.insert(node, &card).unwrap();
        rack.power_on(node).unwrap();
    }
    let addresses = nodes.map(|node| wait_for_address(&rack, node));
    assert_ne!(addresses[0], addresses[1]);
    let script = format!(
        "cat >/etc/apt/keyrings/docker.asc <<'END'\n{}END\n\
         echo 'deb [signed-by=/etc/apt/keyrings/docker.asc] {} trixie stable' >/etc/apt/sources.list.d/docker.list\n\
         apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -qy install --no-install-recommends docker-ce\n",
        repo.key(),
        server.url()
    );
    std::thread::scope(|scope| {
        for node in nodes {
            scope.spawn(|| {
                let output = rack.exec(node, &["sh", "-ec", &script]).unwrap();
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            });
        }
    });
    assert_eq!(says(&rack, "first", &["dpkg-query", "-Wf", "${Version}", "docker-ce"]), repo.version());
    let init =
        ["docker", "swarm", "init", "--availability", "drain", "--advertise-addr", &addresses[0].to_string()];
    assert!(rack.exec("first", &init).unwrap().status.success());
    let token = says(&rack, "first", &["docker", "swarm", "join-token", "--quiet", "worker"]);
    let join = rack
        .exec("second", &["docker", "swarm", "join", "--token", &token, &format!("{}:2377", addresses[0])]);
    assert!(join.unwrap().status.success());
    wait::until("both nodes are ready", Duration::from_secs(60), || {
        let list =
            says(&rack, "first", &["docker", "node", "ls", "--format", "{{.Status}} {{.Availability}}"]);
        let mut lines: Vec<&str> = list.lines().collect();
        lines.sort_unstable();
        Ok((lines == ["Ready Active", "Ready Drain"]).then_some(()))
    })
    .unwrap();
}
