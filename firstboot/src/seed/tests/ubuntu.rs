//! A card that cloud-init has set up as far as it does, and then started the seed stage.

use std::path::Path;
use std::sync::Arc;

use cluster::card::{Card, Start};

use super::super::STATE;
use super::pi::{HASH, PSK, Pi, card, contains, disk, edit, fat_files, host_key, node_key, root_files};
use crate::host::fake::{Fault, Files, Node, Power};

const DISABLED: &str = "/etc/cloud/cloud-init.disabled";
const USER_DATA: &str = "#cloud-config\nruncmd:\n- [/boot/firmware/swarm/run]\n";

fn fat() -> Files {
    let mut fat = fat_files();
    fat.remove(Path::new("/userconf.txt"));
    fat.extend(disk(&[
        ("/cmdline.txt", b"console=tty1 root=LABEL=writable rootwait fixrtc\n"),
        ("/swarm/card.json", &serde_json::to_vec(&Card { start: Start::CloudInit, ..card() }).unwrap()),
        ("/user-data", USER_DATA.as_bytes()),
        ("/meta-data", b"instance-id: 0123456789abcdef-red03\n"),
        ("/network-config", format!("password: \"{PSK}\"\n").as_bytes()),
    ]));
    fat
}

/// The root after name, user, keys and network were made.
fn root() -> Files {
    let mut root = root_files();
    for pi_os in ["NetworkManager", "rfkill", "userconf"] {
        root.retain(|path, _| !path.to_string_lossy().contains(pi_os));
    }
    for file in ["/etc/passwd", "/etc/group", "/etc/shadow"] {
        edit(&mut root, file, |text| text.replace("pi:", "ann:").replace("/pi:", "/ann:"));
    }
    super::pi::move_home(&mut root, "/home/pi", "/home/ann");
    root.extend(disk(&[
        ("/home/ann/.ssh/authorized_keys", b"ssh-ed25519 AAAA ann@laptop\n"),
        ("/etc/hostname", b"red03\n"),
        ("/etc/hosts", b"127.0.1.1 red03 red03\n127.0.0.1 localhost\n"),
        ("/etc/netplan/50-cloud-init.yaml", PSK.as_bytes()),
        ("/etc/systemd/system/sockets.target.wants/ssh.socket", b""),
        ("/usr/lib/systemd/system/ssh.socket", b""),
    ]));
    root
}

#[test]
fn a_card_set_up_by_cloud_init_becomes_the_same_node() {
    let pi = Pi::power_on(Arc::default(), root(), fat());
    let outcome = pi.seed();
    assert!(outcome.problems.is_empty() && outcome.hook_is_out, "{outcome:?}");

    let same = Pi::fresh();
    same.seed();
    for path in [
        "/etc/hostname",
        "/etc/sudoers.d/010_ann",
        "/etc/shadow",
        "/home/ann/.ssh/authorized_keys",
        "/etc/ssh/firstboot_host_ed25519_key",
        "/etc/ssh/sshd_config.d/10-firstboot.conf",
        "/etc/default/locale",
        "/etc/default/keyboard",
        "/var/lib/firstboot/node-key.pem",
        DISABLED,
    ] {
        assert_eq!((pi.text(path), pi.mode(path)), (same.text(path), same.mode(path)), "{path}");
    }
    assert!(pi.text("/etc/hosts").contains("127.0.1.1\tred03\n"));
    for link in ["/etc/localtime", "/etc/systemd/system/multi-user.target.wants/firstboot.service"] {
        assert_eq!(pi.link(link), same.link(link), "{link}");
    }
    let made = pi.root.files();
    assert!(
        !made
            .keys()
            .any(|path| path.starts_with("/etc/NetworkManager") || path.ends_with("userconfig.service"))
    );
    assert_eq!(
        pi.link("/etc/systemd/system/multi-user.target.wants/ssh.service"),
        None,
        "its socket is enough"
    );
    assert!(pi.power.log().contains(&"run systemctl --no-block try-restart ssh.service".to_owned()));
}

#[test]
fn nothing_secret_stays_on_the_fat_and_cloud_init_would_still_know_its_instance() {
    let pi = Pi::power_on(Arc::default(), root(), fat());
    let outcome = pi.seed();
    let fat = pi.fat.files();
    for secret in [HASH, PSK, node_key(), host_key()] {
        assert!(!contains(&fat, secret) && !format!("{outcome:?}").contains(secret), "{secret}");
    }
    for file in ["/user-data", "/meta-data"] {
        assert_eq!(fat.get(Path::new(file)), self::fat().get(Path::new(file)), "{file}");
    }
}

/// cloud-init starts the seed stage at every boot until it is switched off.
#[test]
fn power_lost_at_any_effect_and_the_next_boot_end_as_one_undisturbed_run() {
    let undisturbed = Pi::power_on(Arc::default(), root(), fat());
    undisturbed.seed();
    let log = undisturbed.power.log();
    let off = log.iter().position(|effect| *effect == format!("write {DISABLED}")).unwrap();
    for (k, effect) in log.iter().enumerate() {
        let first = Pi::power_on(Power::with(Fault::DieAt(k)), root(), fat());
        first.seed();
        let next = Pi::power_on(Arc::default(), first.root.files(), first.fat.files());
        let is_off = next.root.files().contains_key(Path::new(DISABLED));
        assert_eq!(is_off, k > off, "{k}");
        if !is_off {
            let outcome = next.seed();
            assert!(outcome.problems.is_empty(), "after power lost at {effect}: {outcome:?}");
        }
        assert_eq!(next.root.files(), undisturbed.root.files(), "after power lost at {effect}");
        let fat = next.fat.files();
        assert!(!contains(&fat, PSK) && !contains(&fat, "PRIVATE KEY"), "after power lost at {effect}");
    }
}

#[test]
fn a_network_that_was_left_as_it_was_stays_on_the_fat() {
    let mut fat = fat();
    let card = Card { start: Start::CloudInit, wifi: None, ..card() };
    fat.extend(disk(&[("/swarm/card.json", &serde_json::to_vec(&card).unwrap())]));
    let pi = Pi::power_on(Arc::default(), root(), fat);
    assert!(pi.seed().problems.is_empty());
    assert!(pi.fat.files().contains_key(Path::new("/network-config")));
}

#[test]
fn where_the_binary_has_a_file_of_its_own_it_is_installed_and_not_the_script() {
    let mut fat = fat();
    fat.extend(disk(&[("/swarm/run", b"#!/bin/sh\n"), ("/swarm/agent", b"the program")]));
    let pi = Pi::power_on(Arc::default(), root(), fat);
    assert!(pi.seed().problems.is_empty());
    assert_eq!(pi.text(super::super::BINARY), "the program");
    assert!(matches!(&pi.root.files()[&Path::new(STATE).join("seed.json")], Node::File { .. }));
}
