//! The binaries for Pis, run by user-mode emulation: the programs that no other test here can run as they will be run.
#![expect(clippy::unwrap_used, reason = "these are tests: a panic is how they fail")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tests::desk::Desk;
use tests::product::Product;

/// Small images of any system, which need no root and no packages to make.
#[expect(dead_code, reason = "the fixture is shared; these tests need one release of it")]
#[path = "../../builder/tests/fixture/image.rs"]
mod fixture;

/// Runs an agent on a processor of its own: the oldest that a supported Pi has.
fn emulate(agent: &Path, args: &[&str]) -> Output {
    let (emulator, processor) = match agent.to_string_lossy().ends_with("armv7") {
        true => ("qemu-arm-static", "cortex-a7"),
        false => ("qemu-aarch64-static", "cortex-a53"),
    };
    Command::new(emulator).args(["-cpu", processor]).arg(agent).args(args).output().unwrap()
}

#[test]
fn the_binaries_for_pis_say_their_version() {
    let product = Product::from_env().unwrap();
    for arch in ["aarch64", "armv7"] {
        let said = emulate(&product.agent(arch), &["--version"]);
        assert!(said.status.success(), "{arch}: {}", String::from_utf8_lossy(&said.stderr));
        let version = concat!("firstboot ", env!("CARGO_PKG_VERSION"), "\n");
        assert_eq!(String::from_utf8_lossy(&said.stdout), version, "{arch}");
        let bytes = fs::metadata(product.agent(arch)).unwrap().len();
        assert!(bytes <= 5_000_000, "{arch}: {bytes} bytes");
    }
}

#[test]
fn an_armv6_cannot_run_the_binary_for_32_bits() {
    // What the script in front of it is for.
    let product = Product::from_env().unwrap();
    // Where the emulator may leave a dump of its memory.
    let folder = tempfile::tempdir().unwrap();
    let ended = Command::new("qemu-arm-static")
        .current_dir(&folder)
        .args(["-cpu", "arm1176"])
        .arg(product.agent("armv7"))
        .arg("--version")
        .output()
        .unwrap();
    assert!(!ended.status.success() && ended.stdout.is_empty(), "{ended:?}");
}

/// A root file system without a single program: what the seed stage does with files alone must be done.
fn bare_root(root: &Path) {
    for folder in ["etc/ssh", "etc/systemd/system", "usr/local/lib", "var/lib", "home/pi", "proc"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    for (file, text) in [
        ("etc/hostname", "raspberrypi\n"),
        ("etc/hosts", "127.0.0.1\tlocalhost\n127.0.1.1\t\traspberrypi\n"),
        ("etc/passwd", "root:x:0:0:root:/root:/bin/bash\npi:x:1000:1000:,,,:/home/pi:/bin/bash\n"),
        ("etc/group", "root:x:0:\nsudo:x:27:\npi:x:1000:\n"),
    ] {
        fs::write(root.join(file), text).unwrap();
    }
}

#[test]
fn the_arm64_seed_stage_takes_a_real_card_onto_a_root_tree() {
    let product = Product::from_env().unwrap();
    let desk = Desk::build(&product, &Desk::small_cluster("{source: debian}", "red[00-01]")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let fat = folder.path().join("fat");
    fs::create_dir(&fat).unwrap();
    desk.copy_fat("red01", &["::swarm", "::cmdline.txt", "::userconf.txt", "::ssh"], &fat).unwrap();
    seed_and_check(&product.agent("aarch64"), folder.path());
}

#[test]
fn the_armhf_seed_stage_takes_a_real_card_onto_a_root_tree() {
    let product = Product::from_env().unwrap();
    let folder = tempfile::tempdir().unwrap();
    fixture::Recipe::trixie_32().make(folder.path(), "pios.img");
    let keys = "authorized_keys: ['ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f me@laptop']";
    let cluster =
        format!("version: 1\ncluster: red\nimage: pios.img\nnodes: red[00-01]\nuser: {{name: pi, {keys}}}\n");
    fs::write(folder.path().join("cluster.yaml"), cluster).unwrap();
    let built = Command::new(&product.builder)
        .current_dir(&folder)
        .args(["build", "-o", "cards", "red01"])
        .env("HOME", folder.path())
        .env_remove("SUDO_UID")
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let fat = folder.path().join("fat");
    fs::create_dir(&fat).unwrap();
    let drive = fixture::at(&folder.path().join("cards/red01.img"), fixture::Recipe::boot_offset());
    let fat_text = fat.to_string_lossy();
    let names = ["::swarm", "::cmdline.txt", "::userconf.txt", "::ssh", &fat_text];
    fixture::run(Command::new("mcopy").args(["-s", "-n", "-i", &drive]).args(names));

    let agent = fs::read(product.agent("armv7")).unwrap();
    assert!(fs::read(fat.join("swarm/agent")).unwrap() == agent, "the card has this agent");
    seed_and_check(&product.agent("armv7"), folder.path());
    let installed = fs::read(folder.path().join("root/usr/local/lib/firstboot/firstboot")).unwrap();
    assert!(installed == agent, "the program is installed and not the script");
}

/// Runs the seed stage of the card in `fat` onto a new tree in `root`, both in `folder`.
fn seed_and_check(agent: &Path, folder: &Path) {
    let (fat, root) = (folder.join("fat"), folder.join("root"));
    bare_root(&root);
    let node_key = fs::read(fat.join("swarm/node-key.pem")).unwrap();

    let (root_arg, payload) = (root.to_string_lossy(), fat.join("swarm"));
    let seeded = emulate(agent, &["seed", "--root", &root_arg, "--payload", &payload.to_string_lossy()]);
    assert!(seeded.status.success(), "{}", String::from_utf8_lossy(&seeded.stderr));

    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
    assert_eq!(read("etc/hostname"), "red01\n");
    assert!(read("etc/hosts").contains("127.0.1.1\tred01"), "{}", read("etc/hosts"));
    assert!(read("home/pi/.ssh/authorized_keys").starts_with("ssh-ed25519 "));
    assert_eq!(fs::read(root.join("var/lib/firstboot/node-key.pem")).unwrap(), node_key);
    assert!(root.join("etc/systemd/system/multi-user.target.wants/firstboot.service").is_symlink());
    for secret in ["swarm/node-key.pem", "swarm/secrets.json", "swarm/ssh-host-key", "userconf.txt"] {
        assert!(!fat.join(secret).exists(), "{secret}");
    }
    let cmdline = fs::read_to_string(fat.join("cmdline.txt")).unwrap();
    assert!(!cmdline.split_whitespace().any(cluster::hook::is_hook_token), "{cmdline}");
    assert!(cmdline.split_whitespace().any(|word| word == "cgroup_enable=memory"), "{cmdline}");
}
