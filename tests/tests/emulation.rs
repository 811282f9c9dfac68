//! The arm64 binary, run by user-mode emulation: the one program that no other test here can run as it will be run.
#![expect(clippy::unwrap_used, reason = "these are tests: a panic is how they fail")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tests::desk::Desk;
use tests::product::Product;

fn emulate(agent: &Path, args: &[&str]) -> Output {
    Command::new("qemu-aarch64-static").arg(agent).args(args).output().unwrap()
}

#[test]
fn the_arm64_binary_says_its_version() {
    let product = Product::from_env().unwrap();
    let said = emulate(&product.agent("aarch64"), &["--version"]);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    assert_eq!(String::from_utf8_lossy(&said.stdout), concat!("firstboot ", env!("CARGO_PKG_VERSION"), "\n"));
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
    let (fat, root) = (folder.path().join("fat"), folder.path().join("root"));
    fs::create_dir(&fat).unwrap();
    desk.copy_fat("red01", &["::swarm", "::cmdline.txt", "::userconf.txt", "::ssh"], &fat).unwrap();
    bare_root(&root);
    let node_key = fs::read(fat.join("swarm/node-key.pem")).unwrap();

    let (root_arg, payload) = (root.to_string_lossy(), fat.join("swarm"));
    let seeded = emulate(
        &product.agent("aarch64"),
        &["seed", "--root", &root_arg, "--payload", &payload.to_string_lossy()],
    );
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
