//! The real binary seeds a directory tree from a folder that stands in for the FAT.
//!
//! The tree has no programs, so what needs one must be reported and nothing else be held up by it.
//! Never start the binary here without `--root`: beside a payload it would seed the machine that runs the test.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rcgen::{CertificateParams, KeyPair};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use ssh_key::private::{Ed25519Keypair, Ed25519PrivateKey};
use ssh_key::public::Ed25519PublicKey;
use ssh_key::{LineEnding, PrivateKey};
use tempfile::TempDir;

const HASH: &str = "$6$salt$hashofapassword";
const CARD: &str = r#"{
  "version": 1, "cluster": "red", "cluster_id": "0123456789abcdef", "node": "red03", "role": "worker",
  "not_before": 1790000000,
  "nodes": [{"name": "red00", "role": "manager", "address": null, "labels": {}},
            {"name": "red03", "role": "worker", "address": null, "labels": {}}],
  "user": {"name": "ann", "authorized_keys": ["ssh-ed25519 AAAA ann@laptop"]},
  "address": {"ip": "10.1.1.3", "prefix": 24, "gateway": "10.1.1.1", "dns": ["10.1.1.1"]},
  "wifi": null, "timezone": null, "locale": null, "keymap": "de",
  "docker": {"source": "debian", "version": null, "url": null, "key": null},
  "swarm": {"interface": null, "address_pool": null, "cert_expiry_seconds": 7776000,
            "join_window_seconds": 3600, "managers_run_tasks": false}
}"#;

struct Bed {
    folder: TempDir,
    key: String,
    host_key: String,
}

impl Bed {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap().pem();
        // A true pair: with builder in the same compilation, ssh-key looks closer.
        let seed = [7; 32];
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
        let public = Ed25519PublicKey(pair.public_key().as_ref().try_into().unwrap());
        let private = Ed25519PrivateKey::from_bytes(&seed);
        let host_key = PrivateKey::from(Ed25519Keypair { public, private });
        let host_key = host_key.to_openssh(LineEnding::LF).unwrap().to_string();
        let bed = Self { folder: tempfile::tempdir().unwrap(), key: key.serialize_pem(), host_key };
        let hook = cluster::hook::tokens("/boot/firmware").join(" ");
        let secrets = format!(r#"{{"version": 1, "password_hash": "{HASH}", "wifi_psk": null}}"#);
        for (path, text) in [
            ("root/etc/hosts", "127.0.0.1\tlocalhost\n127.0.1.1\traspberrypi\n"),
            ("root/etc/passwd", "root:x:0:0::/root:/bin/bash\nann:x:1000:1000::/home/ann:/bin/bash\n"),
            ("root/etc/group", "ann:x:1000:\n"),
            ("root/etc/default/keyboard", "XKBLAYOUT=\"gb\"\n"),
            ("root/etc/ssh/sshd_config", "Include /etc/ssh/sshd_config.d/*.conf\n"),
            ("root/usr/lib/systemd/system/ssh.service", ""),
            ("root/usr/lib/systemd/system/NetworkManager.service", ""),
            ("fat/cmdline.txt", &format!("root=PARTUUID=1-02 rootwait {hook}\n")),
            ("fat/userconf.txt", &format!("ann:{HASH}\n")),
            ("fat/swarm/card.json", CARD),
            ("fat/swarm/secrets.json", &secrets),
            ("fat/swarm/ca.pem", &certificate),
            ("fat/swarm/node.pem", &certificate),
            ("fat/swarm/node-key.pem", &bed.key),
            ("fat/swarm/ssh-host-key", &bed.host_key),
            ("fat/swarm/ssh-host-key.pub", "ssh-ed25519 BBBB red03\n"),
        ] {
            let path = bed.path(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        fs::copy(env!("CARGO_BIN_EXE_firstboot"), bed.path("fat/swarm/run")).unwrap();
        bed
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    fn mode(&self, path: &str) -> u32 {
        fs::metadata(self.path(path)).unwrap().permissions().mode() & 0o7777
    }

    fn seed(&self) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_firstboot"));
        command.arg("seed").arg("--root").arg(self.path("root")).arg("--payload").arg(self.path("fat/swarm"));
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin").output().unwrap()
    }
}

/// Every file under a folder, with its text.
fn files(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_symlink() {
            found.push((path.clone(), fs::read_link(path).unwrap().display().to_string()));
        } else if path.is_dir() {
            found.extend(files(&path));
        } else {
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
            found.push((path, text));
        }
    }
    found.sort();
    found
}

#[test]
fn a_tree_without_programs_gets_every_file_and_a_report_of_the_rest() {
    let bed = Bed::new();
    let output = bed.seed();
    assert!(output.status.success(), "{output:?}");

    assert_eq!(bed.text("fat/cmdline.txt").trim_end(), "root=PARTUUID=1-02 rootwait");
    assert_eq!(bed.text("root/etc/hostname"), "red03\n");
    assert_eq!(bed.text("root/etc/hosts"), "127.0.0.1\tlocalhost\n127.0.1.1\tred03\n");
    let profile = "root/etc/NetworkManager/system-connections/firstboot-ethernet.nmconnection";
    assert!(bed.text(profile).contains("address1=10.1.1.3/24,10.1.1.1\n"));
    assert_eq!(bed.mode(profile), 0o600);
    assert_eq!(bed.text("root/etc/ssh/firstboot_host_ed25519_key"), bed.host_key);
    assert_eq!(bed.mode("root/etc/ssh/firstboot_host_ed25519_key"), 0o600);
    assert_eq!(bed.text("root/etc/default/keyboard"), "XKBLAYOUT=\"de\"\n");

    assert_eq!(
        fs::read(bed.path("root/usr/local/lib/firstboot/firstboot")).unwrap(),
        fs::read(bed.path("fat/swarm/run")).unwrap()
    );
    assert_eq!(bed.mode("root/usr/local/lib/firstboot/firstboot"), 0o755);
    assert_eq!(bed.mode("root/var/lib/firstboot"), 0o700);
    assert_eq!(bed.text("root/var/lib/firstboot/node-key.pem"), bed.key);
    assert_eq!(bed.mode("root/var/lib/firstboot/node-key.pem"), 0o600);
    let wanted = bed.path("root/etc/systemd/system/multi-user.target.wants/firstboot.service");
    assert_eq!(fs::read_link(wanted).unwrap(), Path::new("/etc/systemd/system/firstboot.service"));

    let status = bed.text("fat/swarm/status.txt");
    assert!(
        status.contains("red03, a worker of the cluster red") && status.contains("- password: chpasswd"),
        "{status}"
    );
    assert_eq!(String::from_utf8(output.stderr).unwrap(), status);
}

#[test]
fn no_secret_stays_on_the_fat() {
    let bed = Bed::new();
    bed.seed();
    for (path, text) in files(&bed.path("fat")).iter().filter(|(path, _)| !path.ends_with("run")) {
        assert!(!text.contains(HASH) && !text.contains("PRIVATE KEY"), "{} holds a secret", path.display());
    }
    assert!(!bed.path("fat/userconf.txt").exists());
}

#[test]
fn a_second_run_by_hand_is_harmless() {
    let bed = Bed::new();
    bed.seed();
    let node = || {
        let mut files = files(&bed.path("root"));
        // What could not be done is each run's own word.
        files.retain(|(path, _)| !path.ends_with("seed-problems.json"));
        files
    };
    let first = node();
    assert!(bed.seed().status.success());
    assert!(node() == first);
}

#[test]
fn a_command_line_that_cannot_be_freed_of_the_hook_is_no_success() {
    let bed = Bed::new();
    fs::remove_file(bed.path("fat/cmdline.txt")).unwrap();
    fs::create_dir(bed.path("fat/cmdline.txt")).unwrap();
    assert_eq!(bed.seed().status.code(), Some(1));
    assert!(bed.text("fat/swarm/status.txt").contains("kernel command line: cannot read /cmdline.txt"));
}

#[test]
fn without_a_payload_a_command_is_demanded() {
    let output = Command::new(env!("CARGO_BIN_EXE_firstboot")).env_clear().output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("card.json"));
}
