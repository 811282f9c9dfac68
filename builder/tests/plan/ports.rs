//! Cards of other systems than the 64-bit Raspberry Pi OS: 32 bits, and Ubuntu Server.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cluster::card::{Card, Start};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::bench::{Bench, CLUSTER, HASH, PSK, bench, bench_with, shown};
use crate::cards::fsck;
use crate::fixture::{Recipe, read_boot_file};

fn text(image: &Path, path: &str) -> String {
    String::from_utf8(read_boot_file(image, path)).unwrap()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn every_card_has_a_script_in_front_of_its_agent_that_knows_it() {
    for recipe in [Recipe::trixie_32(), Recipe::trixie(), Recipe::ubuntu()] {
        let bench = bench(&recipe);
        let built = bench.apply(&bench.card(0));
        fsck(&built, recipe.boot_bytes(), bench.folder.path());
        let agent = fs::read(bench.options.firstboot.as_ref().unwrap()).unwrap();
        assert_eq!(read_boot_file(&built, "swarm/agent"), agent);
        let script = text(&built, "swarm/run");
        assert!(script.starts_with("#!/bin/sh\n") && script.contains(&format!("\"{}  ", sha256(&agent))));
        assert!(!script.replace("\"$@\"", "").contains('@'), "nothing is left to be filled in");
    }
}

/// A card's FAT as folders, and in front of the machine's programs some that say what the test wants.
struct Bed {
    folder: TempDir,
}

impl Bed {
    /// On such a processor, with a program in the agent's place that the script takes for the agent.
    fn new(machine: &str) -> Self {
        let bench = bench(&Recipe::trixie_32());
        let built = bench.apply(&bench.card(1));
        let bed = Self { folder: tempfile::tempdir().unwrap() };
        fs::set_permissions(bed.folder.path(), Permissions::from_mode(0o755)).unwrap();
        for folder in ["fat/swarm", "bin"] {
            fs::create_dir_all(bed.path(folder)).unwrap();
        }
        for file in [
            "cmdline.txt",
            "swarm/node-key.pem",
            "swarm/secrets.json",
            "swarm/ssh-host-key",
            "swarm/authorized_keys",
        ] {
            fs::write(bed.path("fat").join(file), read_boot_file(&built, file)).unwrap();
        }
        fs::create_dir(bed.path("home")).unwrap();
        bed.set_shell("/usr/sbin/nologin");
        bed.program("bin/usermod", "echo \"usermod $*\"");
        bed.program("bin/ssh-keygen", "echo \"ssh-keygen $*\" >&2");
        // Of this machine nothing is removed.
        bed.program("bin/rm", "case $* in */etc/*) echo \"rm $*\" >&2 ;; *) exec /bin/rm \"$@\" ;; esac");
        bed.program("bin/chown", "echo \"chown ${*%/*}\" >&2");
        bed.program("bin/uname", &format!("[ \"$*\" = -m ] && echo {machine}"));
        bed.program("bin/systemctl", "echo \"systemctl $*\"");
        // The one who sleeps would sleep for ever.
        bed.program("bin/sleep", "kill $PPID");
        bed.program("fat/swarm/agent", "echo \"agent $*\"");
        let agent = fs::read(bench.options.firstboot.as_ref().unwrap()).unwrap();
        let ours = fs::read(bed.path("fat/swarm/agent")).unwrap();
        let script = text(&built, "swarm/run").replace(&sha256(&agent), &sha256(&ours));
        fs::write(bed.path("fat/swarm/run"), script).unwrap();
        bed
    }

    /// What the image gave its user to log in with.
    fn set_shell(&self, shell: &str) {
        let home = self.path("home");
        self.program("bin/getent", &format!("echo 'pi:x:1000:1000::{}:{shell}'", home.display()));
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn program(&self, path: &str, script: &str) {
        fs::write(self.path(path), format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(self.path(path), Permissions::from_mode(0o755)).unwrap();
    }

    fn cmdline(&self) -> String {
        fs::read_to_string(self.path("fat/cmdline.txt")).unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("sh");
        command.arg(self.path("fat/swarm/run")).args(arguments).current_dir("/").env_clear();
        command.env("PATH", format!("{}:/usr/bin:/bin", self.path("bin").display()));
        command
    }

    fn run(&self, arguments: &[&str]) -> (Output, String) {
        let output = self.command(arguments).output().unwrap();
        let said = String::from_utf8(output.stdout.clone()).unwrap();
        (output, said)
    }
}

const GIVES_SHELL: &str = "usermod --shell /bin/bash pi\n";
/// What the script starts where there is no agent.
const NORMAL_BOOT: &str = "usermod --shell /bin/bash pi\nsystemctl --no-block reboot\n";

#[test]
fn a_processor_that_runs_the_agent_gets_it() {
    for machine in ["armv7l", "armv8l", "aarch64"] {
        let bed = Bed::new(machine);
        let before = bed.cmdline();
        let (output, said) = bed.run(&["seed", "two words"]);
        assert!(output.status.success() && said == "agent seed two words\n", "{machine}: {said}");
        assert_eq!(bed.cmdline(), before);
        assert!(bed.path("fat/swarm/node-key.pem").exists() && !bed.path("fat/swarm/status.txt").exists());
    }
}

#[test]
fn a_program_that_is_damaged_is_not_run_and_its_user_can_log_in() {
    for machine in ["aarch64", "armv7l"] {
        for spoil in [None, Some("")] {
            let bed = Bed::new(machine);
            let agent = bed.path("fat/swarm/agent");
            match spoil {
                Some(bytes) => fs::write(&agent, bytes).unwrap(),
                None => fs::remove_file(&agent).unwrap(),
            }
            let (output, said) = bed.run(&[]);
            assert!(output.status.success() && said == NORMAL_BOOT, "{output:?}");
            assert!(!bed.cmdline().contains("systemd."), "the next boot is a normal one");
            let status = fs::read_to_string(bed.path("fat/swarm/status.txt")).unwrap();
            assert!(status.contains("swarm/agent, is damaged or missing"), "{status}");
            let talk = String::from_utf8(output.stderr).unwrap();
            assert!(talk.ends_with(&status), "the console has it, too");
            assert!(
                talk.contains("ssh-keygen -A\n"),
                "sshd starts in a boot in which nobody makes keys: {talk}"
            );
            assert!(talk.contains("rm -f /etc/ssh/sshd_config.d/rename_user.conf\n"), "{talk}");
            let keys = fs::read(bed.path("home/.ssh/authorized_keys")).unwrap();
            assert!(!keys.is_empty() && keys == fs::read(bed.path("fat/swarm/authorized_keys")).unwrap());
            let mode = |path: &str| fs::metadata(bed.path(path)).unwrap().mode() & 0o777;
            assert_eq!((mode("home/.ssh"), mode("home/.ssh/authorized_keys")), (0o700, 0o600));
            assert!(!bed.path("fat/swarm/node-key.pem").exists());
        }
    }
}

#[test]
fn without_an_agent_the_user_gets_a_login_shell_or_keeps_one() {
    for (shell, is_changed) in [
        ("/usr/sbin/nologin", true),
        ("/sbin/nologin", true),
        ("/bin/false", true),
        ("", true),
        ("/no/such/shell", true),
        // Every Debian lists these.
        ("/bin/sh", false),
        ("/bin/bash", false),
    ] {
        let bed = Bed::new("armv6l");
        bed.set_shell(shell);
        let (output, said) = bed.run(&[]);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(said.contains(GIVES_SHELL), is_changed, "{shell}: {said}");
    }
}

#[test]
fn the_first_pis_start_normally_and_are_told_why_they_are_no_nodes() {
    let bed = Bed::new("armv6l");
    let before = bed.cmdline();
    let inode = fs::metadata(bed.path("fat/cmdline.txt")).unwrap().ino();
    let (output, said) = bed.run(&[]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(said, NORMAL_BOOT);
    let after = bed.cmdline();
    let (kept, ours) = before.split_at(before.find(" systemd.run=").unwrap());
    assert_eq!(after, format!("{kept}{}\n", " ".repeat(ours.len() - 1)), "blanks, and nothing else");
    assert_eq!(fs::metadata(bed.path("fat/cmdline.txt")).unwrap().ino(), inode, "in place");
    let status = fs::read_to_string(bed.path("fat/swarm/status.txt")).unwrap();
    assert!(status.contains("ARMv6") && status.contains("Docker has no packages"), "{status}");
    assert!(String::from_utf8(output.stderr).unwrap().ends_with(&status));
    for secret in cluster::card::SECRET_FILES {
        assert!(!bed.path("fat/swarm").join(secret).exists(), "{secret}");
    }
    // Somebody starts it by hand afterwards.
    bed.set_shell("/bin/bash");
    let (output, said) = bed.run(&[]);
    assert!(!output.status.success() && said.is_empty() && bed.cmdline() == after, "{said}");
}

#[test]
fn words_that_others_change_on_the_line_meanwhile_are_no_obstacle() {
    // Trixie's own first boot takes out " resize" and draws another disk id.
    let bed = Bed::new("armv6l");
    let changed = bed.cmdline().replace(" resize", "").replace("4f2c9ea0", "0badcafe");
    fs::write(bed.path("fat/cmdline.txt"), changed.trim_end()).unwrap();
    bed.run(&[]);
    let after = bed.cmdline();
    assert_eq!(after.len(), changed.trim_end().len());
    assert!(after.contains("PARTUUID=0badcafe-02") && !after.contains("systemd"), "{after}");
}

#[test]
fn a_card_that_cannot_be_written_is_no_reboot_loop() {
    let bed = Bed::new("armv6l");
    let before = bed.cmdline();
    fs::set_permissions(bed.path("fat/cmdline.txt"), Permissions::from_mode(0o444)).unwrap();
    let mut command = bed.command(&[]);
    if fs::metadata(bed.folder.path()).unwrap().uid() == 0 {
        // Nothing is read-only for root.
        command.uid(65534).gid(65534);
    }
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said, format!("{GIVES_SHELL}systemctl start --no-block multi-user.target\n"));
    assert_eq!(output.status.code(), None, "it went on sleeping: {}", output.status);
    assert_eq!(bed.cmdline(), before);
}

fn ubuntu_with(more: &str) -> Bench {
    bench_with(&Recipe::ubuntu(), &format!("{CLUSTER}{more}"))
}

/// With the identities' own id named, which is another one in every run.
fn seed_file(bench: &Bench, node: usize, path: &str) -> String {
    let built = bench.apply(&bench.card(node));
    let id = shown(builder::pki::existing(&bench.project)).cluster_id;
    text(&built, path).replace(id.as_str(), "CLUSTER-ID")
}

#[test]
fn an_ubuntu_card_is_set_up_by_cloud_init_alone() {
    for recipe in [Recipe::ubuntu(), Recipe::ubuntu_with_two_kernels()] {
        let bench = bench(&recipe);
        let card = bench.card(1);
        let built = bench.apply(&card);
        fsck(&built, recipe.boot_bytes(), bench.folder.path());
        let ours = ["meta-data", "user-data"];
        for (name, content) in recipe.boot.iter().filter(|(name, _)| !ours.contains(&name.as_str())) {
            assert_eq!(&read_boot_file(&built, name), content, "{name}");
        }
        let written: Vec<&str> = card.files.iter().map(|file| file.path.as_str()).collect();
        assert!(written.iter().all(|path| path.starts_with("swarm/") || ours.contains(path)), "{written:?}");
        assert!(!written.contains(&"swarm/cmdline.orig"));
        let payload = Card::from_json(&read_boot_file(&built, "swarm/card.json")).unwrap();
        assert_eq!(payload.start, Start::CloudInit);
        assert!(card.files.iter().filter(|file| !file.path.contains('/')).all(|file| file.before.is_some()));
    }
}

#[test]
fn cloud_init_makes_name_and_user_and_starts_the_seed_stage() {
    let bench = ubuntu_with("");
    insta::assert_snapshot!(seed_file(&bench, 1, "user-data"));
    assert_eq!(seed_file(&bench, 1, "meta-data"), "dsmode: local\ninstance-id: \"CLUSTER-ID-red01\"\n");
    assert_eq!(seed_file(&bench, 2, "meta-data"), "dsmode: local\ninstance-id: \"CLUSTER-ID-red02\"\n");
}

#[test]
fn cloud_init_makes_the_network_where_it_is_not_dhcp_on_the_wire() {
    let addresses =
        "network: {addresses: '192.168.1.[10-12]/24', gateway: 192.168.1.1, dns: [192.168.1.1, 9.9.9.9]}\n";
    let wifi = format!("wifi: {{country: DE, ssid: 'home \"5\"', psk: {PSK}}}\n");
    let all = [
        ubuntu_with(addresses),
        ubuntu_with(&wifi),
        ubuntu_with(&format!("{addresses}{wifi}swarm: {{interface: wlan0}}\n")),
        ubuntu_with("wifi: {country: DE, ssid: open}\n"),
    ];
    let hidden = |psk: &str| {
        let bench = ubuntu_with(&format!("wifi: {{country: DE, ssid: lab, hidden: true{psk}}}\n"));
        seed_file(&bench, 2, "network-config")
    };
    assert!(hidden("").contains("        \"lab\": {hidden: true}\n"), "{}", hidden(""));
    let wanted = format!("        \"lab\": {{hidden: true, password: \"{PSK}\"}}\n");
    assert!(hidden(&format!(", psk: {PSK}")).contains(&wanted), "{wanted}");
    let texts = all.each_ref().map(|bench| seed_file(bench, 2, "network-config"));
    insta::assert_snapshot!(texts.join("\n"));
}

#[test]
fn a_password_is_allowed_only_where_there_is_one_and_its_hash_is_not_cloud_inits() {
    let hash = format!("  password_hash: '{HASH}'\n");
    let with = seed_file(&ubuntu_with(&hash), 0, "user-data");
    assert!(with.contains("\nssh_pwauth: true\n") && !with.contains(HASH), "{with}");
    assert!(seed_file(&ubuntu_with(""), 0, "user-data").contains("\nssh_pwauth: false\n"));
}
