//! What Raspberry Pi OS images ship and the seed stage has to undo: no login shell, a banner, waits for a network that nobody
//! manages, host keys that are made only once.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::UNIX_EPOCH;

use cluster::card::{self, Card, CardUser};

use super::pi::{BANNER, Pi, card, disk, edit, fat_files, play, root_files};
use crate::host::fake::{FakeHost, Fault, Files, Node, Power};

const WAIT_MASK: &str = "/etc/systemd/system/systemd-networkd-wait-online.service";
const SOCKET: &str = "/etc/systemd/system/sockets.target.wants/ssh.socket";

/// The FAT of a card whose user is called `name`.
fn fat_of(name: &str) -> Files {
    let mut fat = fat_files();
    let user = CardUser { name: name.try_into().unwrap(), ..card().user };
    let json = serde_json::to_vec(&Card { user, ..card() }).unwrap();
    fat.extend(disk(&[("/swarm/card.json", &json), ("/userconf.txt", format!("{name}:!\n").as_bytes())]));
    fat
}

fn with_shell(shell: &str) -> Files {
    let mut root = root_files();
    edit(&mut root, "/etc/passwd", |text| text.replace("/usr/sbin/nologin", shell));
    root
}

fn changes_shell(pi: &Pi) -> bool {
    pi.power.log().iter().any(|effect| effect.starts_with("run usermod --shell"))
}

#[test]
fn gives_pi_a_login_shell_and_removes_the_banner() {
    let pi = Pi::power_on(Arc::default(), root_files(), fat_of("pi"));
    let outcome = pi.seed();
    assert!(outcome.problems.is_empty(), "{outcome:?}");
    assert!(pi.text("/etc/passwd").contains("\npi:x:1000:1000::/home/pi:/bin/bash\n"));
    assert!(!pi.root.files().contains_key(Path::new(BANNER)));
    assert!(
        !pi.power.log().iter().any(|effect| effect.contains("userconf-pi")),
        "there is nothing to rename"
    );
}

#[test]
fn gives_a_login_shell_to_a_user_that_userconf_renamed() {
    // Pi OS's own program gives one only since userconf-pi e58fd5ca; the first images with nologin are older.
    let pi = Pi::power_on(Arc::default(), root_files(), fat_of("anna"));
    assert!(pi.seed().problems.is_empty());
    assert!(pi.text("/etc/passwd").contains("\nanna:x:1000:1000::/home/anna:/bin/bash\n"));
    assert!(!pi.root.files().contains_key(Path::new(BANNER)));
}

#[test]
fn gives_a_login_shell_where_userconf_is_missing_or_fails() {
    let mut without = root_files();
    without.remove(Path::new("/usr/lib/userconf-pi/userconf"));
    let userconf = Pi::fresh_log().iter().position(|effect| effect.contains("userconf-pi/userconf")).unwrap();
    for (root, power) in [(without, Arc::default()), (root_files(), Power::with(Fault::FailAt(userconf)))] {
        let pi = Pi::power_on(power, root, fat_of("anna"));
        let outcome = pi.seed();
        assert!(outcome.problems.is_empty(), "{outcome:?}");
        assert!(pi.text("/etc/passwd").contains("\nanna:x:1000:1000::/home/anna:/bin/bash\n"));
        assert!(!pi.root.files().contains_key(Path::new(BANNER)));
    }
}

#[test]
fn gives_a_login_shell_to_a_user_that_cannot_be_renamed() {
    // Pi OS will rename it from userconf.txt, and keeps the shell.
    let pi = Pi::fresh();
    let root = pi.root.with_programs(|program, files| match program.args.first().map(String::as_str) {
        Some("--login") => Err("usermod: user pi is currently used by process 1".to_owned()),
        _ if program.name.ends_with("userconf") => Err("no".to_owned()),
        _ => play(program, files),
    });
    let pi = Pi { root, ..pi };
    let outcome = pi.seed();
    assert!(outcome.problems.iter().any(|(part, _)| *part == "user"));
    assert!(pi.text("/etc/passwd").contains("\npi:x:1000:1000::/home/pi:/bin/bash\n"));
    assert!(pi.root.files().contains_key(Path::new(BANNER)), "Pi OS still waits for its user");
}

#[test]
fn makes_a_missing_user_with_a_login_shell() {
    let mut root = root_files();
    edit(&mut root, "/etc/passwd", |text| {
        text.lines().filter(|line| !line.starts_with("pi:")).map(|line| format!("{line}\n")).collect()
    });
    let log = {
        let pi = Pi::power_on(Arc::default(), root, fat_of("anna"));
        pi.seed();
        pi.power.log()
    };
    let made = "run useradd --create-home --user-group --uid 1000 --shell /bin/bash anna";
    assert!(log.contains(&made.to_owned()), "{log:?}");
}

#[test]
fn gives_a_login_shell_on_a_damaged_card() {
    let mut fat = fat_of("pi");
    fat.insert(
        Path::new("/swarm").join(card::CARD),
        Node::File { bytes: b"{".to_vec(), mode: 0o644, owner: None },
    );
    let pi = Pi::power_on(Arc::default(), root_files(), fat);
    let outcome = pi.seed();
    assert_eq!(outcome.card.user.name.as_str(), "pi");
    assert!(pi.text("/etc/passwd").contains("\npi:x:1000:1000::/home/pi:/bin/bash\n"));
    assert!(!pi.root.files().contains_key(Path::new(BANNER)));
}

#[test]
fn keeps_a_login_shell_of_the_owners_choice() {
    for shell in ["/usr/bin/fish", "/bin/sh", "/bin/bash"] {
        let pi = Pi::power_on(Arc::default(), with_shell(shell), fat_of("anna"));
        pi.seed();
        assert!(
            pi.text("/etc/passwd").contains(&format!("\nanna:x:1000:1000::/home/anna:{shell}\n")),
            "{shell}"
        );
        assert!(!changes_shell(&pi), "{shell}");
    }
    for refusing in ["", "/bin/false", "/sbin/nologin", "/usr/bin/removed"] {
        let pi = Pi::power_on(Arc::default(), with_shell(refusing), fat_of("anna"));
        pi.seed();
        assert!(pi.text("/etc/passwd").contains("\nanna:x:1000:1000::/home/anna:/bin/bash\n"), "{refusing}");
    }
}

#[test]
fn runs_userconf_without_a_word_to_systemd() {
    // Its four systemctl calls would each have PID 1 read all units again.
    let seen: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
    let pi = Pi::fresh();
    let root = pi.root.with_programs({
        let seen = Arc::clone(&seen);
        move |program, files| {
            if program.name.ends_with("userconf") {
                seen.lock().unwrap().extend(program.env.clone());
            }
            play(program, files)
        }
    });
    let pi = Pi { root, ..pi };
    pi.seed();
    assert_eq!(*seen.lock().unwrap(), [("SYSTEMD_OFFLINE".to_owned(), "1".to_owned())]);
}

#[test]
fn masks_the_wait_of_a_networkd_that_manages_nothing() {
    let pi = Pi::fresh();
    pi.seed();
    assert_eq!(pi.link(WAIT_MASK), Some("/dev/null".into()));

    // The file that Raspberry Pi's NetworkManager keeps for netplan.
    let ours = "network:\n  version: 2\n  renderer: NetworkManager\n";
    let theirs = "network:\n  version: 2\n  ethernets: {eth0: {dhcp4: true}}\n";
    for (path, text, is_masked) in [
        ("/etc/netplan/90-NM.yaml", ours, true),
        ("/etc/netplan/50-lan.yaml", theirs, false),
        ("/etc/systemd/network/10-eth0.network", "[Match]\n", false),
        ("/run/systemd/network/10-eth0.network", "[Match]\n", false),
        ("/etc/systemd/network/99-default.link", "[Match]\n", true),
    ] {
        let mut root = root_files();
        root.extend(disk(&[(path, text.as_bytes())]));
        let pi = Pi::power_on(Arc::default(), root, fat_files());
        assert!(pi.seed().problems.is_empty(), "{path}");
        assert_eq!(pi.link(WAIT_MASK).is_some(), is_masked, "{path}");
    }

    for missing in ["NetworkManager.service", "systemd-networkd-wait-online.service"] {
        let mut root = root_files();
        root.retain(|path, _| !path.ends_with(missing));
        let pi = Pi::power_on(Arc::default(), root, fat_files());
        pi.seed();
        assert_eq!(pi.link(WAIT_MASK), None, "{missing}");
    }
}

#[test]
fn starts_sshd_by_its_service_where_presets_enabled_its_socket_too() {
    let mut root = root_files();
    root.extend(disk(&[(SOCKET, b""), ("/usr/lib/systemd/system/ssh.socket", b"")]));
    let pi = Pi::power_on(Arc::default(), root, fat_files());
    assert!(pi.seed().problems.is_empty());
    assert!(!pi.root.files().contains_key(Path::new(SOCKET)));
    assert!(pi.link("/etc/systemd/system/multi-user.target.wants/ssh.service").is_some());
}

/// How often host keys were made.
fn keys_made(pi: &Pi) -> usize {
    pi.power.log().iter().filter(|effect| *effect == "run ssh-keygen -A").count()
}

#[test]
fn makes_sshds_own_keys_where_ours_is_missing() {
    let mut fat = fat_files();
    fat.insert(
        Path::new("/swarm").join(card::HOST_KEY),
        Node::File { bytes: b"spoilt".to_vec(), mode: 0o644, owner: None },
    );
    let pi = Pi::power_on(Arc::default(), root_files(), fat.clone());
    pi.seed();
    assert_eq!(keys_made(&pi), 1, "the next boot is not systemd's first one: nobody else would");
    assert!(pi.root.files().contains_key(Path::new("/etc/ssh/ssh_host_ed25519_key")));

    // Bookworm has made its own by then.
    let mut root = root_files();
    root.extend(disk(&[("/etc/ssh/ssh_host_ed25519_key", b"key")]));
    let pi = Pi::power_on(Arc::default(), root, fat);
    pi.seed();
    assert_eq!(keys_made(&pi), 0);

    let pi = Pi::fresh();
    pi.seed();
    assert_eq!(keys_made(&pi), 0, "sshd has ours");
}

#[test]
fn keeps_cloud_init_out_of_the_boot_that_goes_on() {
    let root = disk(&[("/usr/lib/systemd/system/cloud-init.target", b"")]);
    let host = FakeHost::new(Arc::default(), root, UNIX_EPOCH).with_programs(|_, _| Ok(Vec::new()));
    host.place("/run/systemd/system", Node::Folder { mode: 0o755, owner: None });
    super::super::go_on(&host, &card()).unwrap();
    let mask = Path::new("/run/systemd/system/cloud-init.target");
    assert_eq!(host.files().get(mask), Some(&Node::Link("/dev/null".into())));
}
