//! The seed stage as a whole on a machine in memory, disturbed at every effect.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cluster::wire::{Mark, Stage};

use self::pi::{
    FOLDER, HASH, MADE, PROXY, PSK, Pi, cmdline, contains, disk, edit, fat_files, host_key, node_key, play,
    root_files, secrets,
};
use super::*;
use crate::host::Owner;
use crate::host::fake::{FakeHost, Fault, Node, Power};

mod damage;
mod ground;
mod image;
pub(super) mod pi;
mod ubuntu;

#[test]
fn a_card_becomes_a_node() {
    let pi = Pi::fresh();
    let outcome = pi.seed();
    assert!(outcome.problems.is_empty() && outcome.hook_is_out, "{outcome:?}");

    assert_eq!(pi.text("/etc/hostname"), "red03\n");
    assert!(pi.text("/etc/hosts").contains("127.0.1.1\tred03\n"));
    assert!(pi.text("/etc/passwd").contains("\nann:x:1000:1000::/home/ann:/bin/bash\n"));
    assert!(pi.text("/etc/group").contains("\nann:x:1000:"));
    assert_eq!(pi.text("/etc/shadow"), format!("ann:{HASH}:1:::::\n"));
    assert_eq!(pi.text("/home/ann/.ssh/authorized_keys"), "ssh-ed25519 AAAA ann@laptop\n");
    let owner = Some(Owner { user: 1000, group: 1000 });
    let files = pi.root.files();
    assert!(
        matches!(&files[Path::new("/home/ann/.ssh")], Node::Folder { mode: 0o700, owner: o } if *o == owner)
    );
    assert!(
        matches!(&files[Path::new("/home/ann/.ssh/authorized_keys")], Node::File { mode: 0o600, owner: o, .. } if *o == owner)
    );
    assert_eq!(pi.text("/etc/sudoers.d/010_ann"), "ann ALL=(ALL) NOPASSWD: ALL\n");
    assert_eq!(pi.mode("/etc/sudoers.d/010_ann"), 0o440);

    assert_eq!(pi.text("/etc/ssh/firstboot_host_ed25519_key"), host_key());
    assert_eq!(pi.mode("/etc/ssh/firstboot_host_ed25519_key"), 0o600);
    assert!(pi.link("/etc/systemd/system/multi-user.target.wants/ssh.service").is_some());
    assert!(!pi.fat.files().contains_key(Path::new("/ssh")), "Pi OS has nothing left to switch on");

    let profiles = "/etc/NetworkManager/system-connections";
    assert!(
        pi.text(&format!("{profiles}/firstboot-ethernet.nmconnection"))
            .contains("address1=10.1.1.3/24,10.1.1.1")
    );
    assert!(
        pi.text(&format!("{profiles}/firstboot-wifi.nmconnection")).contains("psk=correct\\shorse\\sbattery")
    );
    for profile in ["ethernet", "wifi"] {
        assert_eq!(pi.mode(&format!("{profiles}/firstboot-{profile}.nmconnection")), 0o600);
    }
    assert!(pi.text("/var/lib/NetworkManager/NetworkManager.state").contains("WirelessEnabled=true"));
    assert_eq!(pi.text("/var/lib/systemd/rfkill/platform-fe300000.mmcnr:wlan"), "0\n");

    assert_eq!(pi.link("/etc/localtime"), Some("/usr/share/zoneinfo/Europe/Berlin".into()));
    assert_eq!(pi.text("/etc/default/locale"), "LANG=de_DE.UTF-8\n");
    assert!(pi.power.log().contains(&"run locale-gen".to_owned()));

    assert_eq!(pi.mode(BINARY), 0o755);
    assert_eq!(pi.mode(STATE), 0o700);
    for name in ["card.json", "ca.pem", "node.pem", "node-key.pem", "proxy.json"] {
        assert_eq!(pi.mode(&format!("{STATE}/{name}")), 0o600, "{name}");
    }
    assert!(pi.text(&format!("{STATE}/proxy.json")).contains(PROXY));
    assert!(pi.link("/etc/systemd/system/multi-user.target.wants/firstboot.service").is_some());
    assert_eq!(pi.link("/etc/systemd/system/userconfig.service"), Some("/dev/null".into()));
    assert_eq!(pi.text("/etc/cloud/cloud-init.disabled"), "");

    let mark: Mark = serde_json::from_str(&pi.text("/var/lib/firstboot/seed.json")).unwrap();
    assert_eq!(mark, Mark { stage: Stage::Seed, unix_ms: MADE * 1000, uptime_ms: 12_500 });
}

#[test]
fn nothing_secret_is_left_on_the_fat_or_told_to_anybody() {
    let pi = Pi::fresh();
    let outcome = pi.seed();
    let told = format!("{outcome:?} {:?}", pi.power.log());
    for secret in [HASH, PSK, PROXY, node_key(), host_key(), "PRIVATE KEY"] {
        assert!(!contains(&pi.fat.files(), secret), "{secret} is on the FAT");
        assert!(!told.contains(secret), "{secret} was told");
    }
    // Overwritten first: a removed file's bytes stay on the card.
    let log = pi.power.log();
    for path in ["/swarm/secrets.json", "/swarm/node-key.pem", "/swarm/ssh-host-key", "/userconf.txt"] {
        let place = |verb: &str| log.iter().position(|line| *line == format!("{verb} {path}")).unwrap();
        assert!(place("overwrite") < place("remove"));
    }
}

#[test]
fn the_hook_goes_last_and_the_line_keeps_its_length() {
    let pi = Pi::fresh();
    pi.seed();
    let log = pi.power.log();
    let hook = log.iter().position(|line| line == "overwrite /cmdline.txt").unwrap();
    // Only the notes of having ended and of how come after it.
    assert_eq!(log[hook + 1..], ["remove /swarm/begun", "write /swarm/status.txt"]);
    let Node::File { bytes, .. } = &pi.fat.files()[Path::new("/cmdline.txt")] else { panic!() };
    let line = String::from_utf8(bytes.clone()).unwrap();
    assert_eq!(line.len(), cmdline().len());
    assert_eq!(
        line.split_whitespace().collect::<Vec<_>>(),
        ["root=PARTUUID=1-02", "rootwait", "cgroup_enable=memory"]
    );
}

#[test]
fn power_lost_at_any_effect_and_a_second_run_end_as_one_undisturbed_run() {
    let undisturbed = Pi::fresh();
    undisturbed.seed();
    let effects = undisturbed.power.log().len();
    assert!(effects > 40, "{effects}");
    for k in 0..effects {
        let first = Pi::power_on(Power::with(Fault::DieAt(k)), root_files(), fat_files());
        let outcome = first.seed();
        assert!(!outcome.problems.is_empty());
        let second = Pi::power_on(Arc::default(), first.root.files(), first.fat.files());
        let at = &undisturbed.power.log()[k];
        // What follows is what the next boot does by itself, not somebody who runs the seed stage again.
        if hook::is_set(&second.fat).unwrap() {
            let outcome = second.seed();
            assert!(outcome.problems.is_empty(), "after power lost at {at}: {outcome:?}");
            assert_eq!(
                second.power.log().first().map(String::as_str),
                Some(if k == 0 { "write /swarm/begun" } else { "overwrite /cmdline.txt" })
            );
            assert_eq!(second.fat.files(), undisturbed.fat.files(), "after power lost at {at}");
        }
        for (path, node) in undisturbed.root.files() {
            assert_eq!(
                second.root.files().get(&path),
                Some(&node),
                "{} after power lost at {at}",
                path.display()
            );
        }
        assert_eq!(second.root.files().len(), undisturbed.root.files().len(), "after power lost at {at}");
    }
}

#[test]
fn a_run_that_is_cut_every_time_ends_in_a_normal_boot() {
    let first = Pi::power_on(Power::with(Fault::DieAt(5)), root_files(), fat_files());
    first.seed();
    let second = Pi::power_on(Power::with(Fault::DieAt(5)), first.root.files(), first.fat.files());
    assert!(hook::is_set(&second.fat).unwrap(), "the next boot goes on where the power was cut");
    second.seed();
    let third = Pi::power_on(Arc::default(), second.root.files(), second.fat.files());
    assert!(!hook::is_set(&third.fat).unwrap(), "and the one after it is a normal one");
}

#[test]
fn a_third_run_changes_nothing() {
    let pi = Pi::fresh();
    pi.seed();
    let again = Pi::power_on(Arc::default(), pi.root.files(), pi.fat.files());
    assert!(again.seed().problems.is_empty());
    assert_eq!(again.root.files(), pi.root.files());
    assert_eq!(again.fat.files(), pi.fat.files());
}

#[test]
fn whatever_fails_is_told_and_never_costs_agent_hook_or_secrets() {
    let effects = Pi::fresh_log();
    for (k, effect) in effects.iter().enumerate() {
        let pi = Pi::power_on(Power::with(Fault::FailAt(k)), root_files(), fat_files());
        let outcome = pi.seed();
        // A userconf that fails is made up for with usermod, and a new status.txt with the place of the old one.
        let is_made_up_for = effect.contains("userconf ") || effect == "write /swarm/status.txt";
        assert_eq!(outcome.problems.is_empty(), is_made_up_for, "{effect}: {outcome:?}");
        assert_eq!(outcome.hook_is_out, effect != "overwrite /cmdline.txt", "{k}: {effect}");
        let installed = pi.root.files().contains_key(Path::new("/var/lib/firstboot/seed.json"));
        if installed {
            assert!(pi.link("/etc/systemd/system/multi-user.target.wants/firstboot.service").is_some());
            assert_eq!(pi.text("/var/lib/firstboot/node-key.pem"), node_key().repeat(20));
        } else {
            assert!(contains(&pi.fat.files(), node_key()), "the key is nowhere after {effect}");
        }
        let vital = ["/usr/local", "/var/lib/firstboot", "firstboot.service", "multi-user.target.wants"];
        assert!(installed || vital.iter().any(|word| effect.contains(word)), "no agent because of {effect}");
    }
}

#[test]
fn a_card_without_its_payload_is_still_freed_of_the_hook() {
    let folder = Path::new(FOLDER);
    let mut fat = fat_files();
    fat.remove(Path::new("/swarm/card.json"));
    let pi = Pi::power_on(Arc::default(), root_files(), fat);
    assert!(is_wanted(&pi.fat, folder));
    assert!(pi.seed().hook_is_out);
    assert!(!is_wanted(&pi.fat, folder));
    assert!(is_wanted(&Pi::fresh().fat, folder));
}

#[test]
fn a_hook_that_cannot_be_taken_out_is_told_to_the_caller_and_the_node_is_made_all_the_same() {
    let hook = Pi::fresh_log().iter().position(|effect| effect == "overwrite /cmdline.txt").unwrap();
    let pi = Pi::power_on(Power::with(Fault::FailAt(hook)), root_files(), fat_files());
    let outcome = pi.seed();
    assert!(!outcome.hook_is_out);
    assert!(outcome.text.contains("could not be written"));
    assert_eq!(pi.text("/etc/hostname"), "red03\n");
}

#[test]
fn damaged_secrets_are_not_quoted() {
    let mut fat = fat_files();
    let json = format!("{{\"version\":1,\"password_hash\":\"x\",\"wifi_psk\":{{\"{PSK}\":1}}}}");
    fat.insert(
        "/swarm/secrets.json".into(),
        Node::File { bytes: json.into_bytes(), mode: 0o644, owner: None },
    );
    let pi = Pi::power_on(Arc::default(), root_files(), fat);
    let outcome = pi.seed();
    assert!(outcome.text.contains("secrets.json is damaged"));
    assert!(!format!("{outcome:?} {:?}", pi.root.files()).contains(PSK));
}

#[test]
fn a_rename_cut_short_is_finished() {
    // userconf got as far as the login name: home and group still have the old one.
    let mut root = root_files();
    edit(&mut root, "/etc/passwd", |text| text.replace("\npi:", "\nann:"));
    let pi = Pi::power_on(Arc::default(), root, fat_files());
    let outcome = pi.seed();
    assert!(outcome.problems.is_empty(), "{outcome:?}");
    assert!(pi.text("/etc/passwd").contains("\nann:x:1000:1000::/home/ann:/bin/bash\n"));
    assert!(pi.text("/etc/group").contains("\nann:x:1000:"));
    assert!(pi.text("/etc/group").contains("sudo:x:27:ann,"));
    assert!(pi.root.files().contains_key(Path::new("/home/ann/.bashrc")));
}

#[test]
fn without_a_password_none_is_accepted() {
    let mut fat = fat_files();
    let json = serde_json::to_vec(&CardSecrets { password_hash: None, ..secrets() }).unwrap();
    fat.insert("/swarm/secrets.json".into(), Node::File { bytes: json, mode: 0o644, owner: None });
    let pi = Pi::power_on(Arc::default(), root_files(), fat);
    pi.seed();
    assert_eq!(pi.text("/etc/shadow"), "ann:*:1:::::\n");
    assert!(pi.text("/etc/ssh/sshd_config.d/10-firstboot.conf").contains("PasswordAuthentication no\n"));
}

#[test]
fn an_account_that_could_not_be_made_is_left_to_the_os() {
    let clock = SystemTime::UNIX_EPOCH;
    let power: Arc<Power> = Arc::default();
    let root = FakeHost::new(power.clone(), root_files(), clock);
    let fat = FakeHost::new(power, fat_files(), clock);
    let outcome = run(&root, &fat, Path::new(FOLDER));
    assert!(outcome.problems.iter().any(|(part, _)| *part == "user"));
    assert!(fat.files().contains_key(Path::new("/userconf.txt")));
    assert!(!root.files().contains_key(Path::new("/etc/systemd/system/userconfig.service")));
    // The agent is there nevertheless, and the other secrets are gone.
    assert!(root.files().contains_key(Path::new(BINARY)));
    assert!(!contains(&fat.files(), "PRIVATE KEY"));
}

#[test]
fn both_names_of_the_locale_agree_on_trixie() {
    let mut root = root_files();
    root.insert("/etc/default/locale".into(), Node::Link("../locale.conf".into()));
    root.extend(disk(&[("/etc/locale.conf", b"# by update-locale\n")]));
    let pi = Pi::power_on(Arc::default(), root, fat_files());
    assert!(pi.seed().problems.is_empty());
    assert_eq!(pi.text("/etc/locale.conf"), "# by update-locale\nLANG=de_DE.UTF-8\n");
    assert_eq!(pi.link("/etc/default/locale"), Some("../locale.conf".into()));
}

#[test]
fn the_clock_goes_forward_only() {
    let later = UNIX_EPOCH + Duration::from_secs(MADE + 5);
    let power: Arc<Power> = Arc::default();
    let root = FakeHost::new(power.clone(), root_files(), later).with_programs(play);
    let fat = FakeHost::new(power.clone(), fat_files(), later);
    run(&root, &fat, Path::new(FOLDER));
    assert!(!power.log().contains(&"set the clock".to_owned()));
    assert!(Pi::fresh_log().contains(&"set the clock".to_owned()));
}
