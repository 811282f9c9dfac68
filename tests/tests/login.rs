//! Whatever the image gave its user: everybody named in a cluster file can log in, with key and with password, at the first boot and at
//! every later one, and a card whose agent is damaged still lets its user in.
//!
//! Real systemd, sshd and network, in the rack; nobody waits for Docker here. Needs root and what `cargo xtask test` makes.
#![expect(clippy::unwrap_used, reason = "these are tests: a panic is how they fail")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use tests::desk::{Desk, FAT_OFFSET};
use tests::inspect::Root;
use tests::product::Product;
use tests::rack::Rack;
use tests::wait;

/// Several nodes start on two cores.
const PATIENCE: Duration = Duration::from_secs(180);
const PASSWORD: &str = "correct horse";
/// Of that, by `openssl passwd -6`.
const HASH: &str =
    "$6$rackrackrack$NM0Xh9NRI0DMJAWJw8sBNpVXnLpe/lvXTdXCG1xP8.khp6weK.5dQtsM1PAwRvoXf/F5FJHN050oegkDOWett0";
/// What the image's user is called, and what `builder init` suggests.
const PI: &str = "pi";
/// How long networkd's wait would hold up the boot.
const NETWORKD_TIMEOUT: Duration = Duration::from_secs(120);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Key,
    Password,
}

/// A desk with the cards of some nodes, and their user.
struct Lab {
    desk: Desk,
    user: &'static str,
}

impl Lab {
    fn new(product: &Product, user: &'static str, nodes: &str) -> Self {
        let file = format!(
            "version: 1\ncluster: login\nimage: pios-like.img.xz\nnodes: {nodes}\n\
             user: {{name: {user}, password_hash: '{HASH}', authorized_keys: [~/.ssh/id_ed25519.pub]}}\n\
             docker: {{source: debian}}\n"
        );
        let desk = Desk::build(product, &file).unwrap();
        let askpass = desk.folder().join("askpass");
        fs::write(&askpass, format!("#!/bin/sh\necho '{PASSWORD}'\n")).unwrap();
        fs::set_permissions(&askpass, Permissions::from_mode(0o755)).unwrap();
        Self { desk, user }
    }

    /// Runs a command over SSH as `builder` set it up, with host keys checked. `None` while nobody answers.
    fn try_ssh(&self, rack: &Rack, node: &str, way: Way, command: &str, options: &[&str]) -> Option<Output> {
        let address = rack.address(node)?;
        let mut ssh = Command::new("ssh");
        ssh.arg("-F").arg(self.desk.secrets().unwrap().join("ssh_config"));
        ssh.args(["-o", "ConnectTimeout=5", "-o", &format!("HostName={address}")]);
        ssh.args(options.iter().flat_map(|option| ["-o", option]));
        match way {
            Way::Key => {
                ssh.args(["-o", "BatchMode=yes", "-i"]).arg(self.desk.folder().join(".ssh/id_ed25519"))
            }
            Way::Password => ssh
                .args(["-o", "PreferredAuthentications=password", "-o", "NumberOfPasswordPrompts=1"])
                .env("SSH_ASKPASS_REQUIRE", "force")
                .env("SSH_ASKPASS", self.desk.folder().join("askpass")),
        };
        let output =
            ssh.args([node, command]).env_remove("SSH_AUTH_SOCK").stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let is_up =
            !["Connection refused", "No route to host", "timed out", "Connection reset", "not allowed yet"]
                .iter()
                .any(|reason| said.contains(reason));
        is_up.then_some(output)
    }

    /// The same, once the node answers.
    fn ssh(&self, rack: &Rack, node: &str, way: Way, command: &str, options: &[&str]) -> Output {
        wait::every(Duration::from_secs(1), "an answer on port 22", PATIENCE, || {
            rack.is_on(node)?;
            Ok(self.try_ssh(rack, node, way, command, options))
        })
        .unwrap_or_else(|error| {
            let console = fs::read(rack.console(node).unwrap()).unwrap_or_default();
            panic!("{node}: {error:?}\n{}", String::from_utf8_lossy(&console))
        })
    }

    /// The user gets a shell, is root without a password, and reads nothing but what was asked for.
    fn assert_can_log_in(&self, rack: &Rack, node: &str) {
        let expected = format!("{}\n/bin/bash\n0\n", self.user);
        self.assert_ssh_says(rack, node, "id -un; echo $SHELL; sudo -n id -u", &expected, &[]);
    }

    /// A command says this over SSH, with key and with password, and nothing on standard error.
    fn assert_ssh_says(&self, rack: &Rack, node: &str, command: &str, expected: &str, options: &[&str]) {
        for way in [Way::Key, Way::Password] {
            let output = self.ssh(rack, node, way, command, options);
            let said = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert_eq!((said.0.as_ref(), said.1.as_ref()), (expected, ""), "{node}, {way:?}");
            assert!(output.status.success(), "{node}, {way:?}: {}", output.status);
        }
    }
}

fn says(rack: &Rack, node: &str, words: &[&str]) -> String {
    let output = rack.exec(node, words).unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Spoils the agent on a built card, as a worn-out card does.
fn damage_agent(lab: &Lab, node: &str) {
    let spoilt = lab.desk.folder().join("spoilt");
    fs::write(&spoilt, "not what was written").unwrap();
    let drive = format!("{}@@{FAT_OFFSET}", lab.desk.card(node).display());
    images::run("mcopy", ["-o", "-i", &drive, &spoilt.to_string_lossy(), "::swarm/agent"]).unwrap();
}

/// Has systemd apply Debian's own presets at the first boot, as on an image without a preset file of its own.
fn remove_preset(lab: &Lab, node: &str) {
    let root = Root::mount(&lab.desk.card(node)).unwrap();
    fs::remove_file(root.path("usr/lib/systemd/system-preset/00-pios.preset")).unwrap();
}

#[test]
fn users_log_in_whatever_the_image_gave_them() {
    let product = Product::from_env().unwrap();
    let pi = Lab::new(&product, PI, "rose[00-02]");
    let anna = Lab::new(&product, "anna", "lily00");
    let image = Root::mount(&pi.desk.card("rose00")).unwrap();
    assert!(image.text("etc/passwd").unwrap().contains("\npi:x:1000:1000::/home/pi:/usr/sbin/nologin\n"));
    assert!(image.path("etc/ssh/sshd_config.d/rename_user.conf").exists());
    drop(image);
    let (whole, damaged, plain) = ("rose00", "rose01", "rose02");
    damage_agent(&pi, damaged);
    remove_preset(&pi, plain);

    let rack = Rack::new("login").unwrap();
    for (lab, node) in [(&pi, whole), (&anna, "lily00"), (&pi, damaged), (&pi, plain)] {
        rack.insert(node, &lab.desk.card(node)).unwrap();
        rack.power_on(node).unwrap();
    }

    for (lab, node) in [(&pi, whole), (&anna, "lily00"), (&pi, plain)] {
        lab.assert_can_log_in(&rack, node);
        assert_eq!(rack.boots(node).unwrap(), 1, "{node}");
    }

    // Debian's presets have enabled networkd; nothing waits for it, and nothing did.
    let uptime = says(
        &rack,
        plain,
        &["systemctl", "show", "--property=ActiveEnterTimestampMonotonic", "--value", "ssh.service"],
    );
    let started = Duration::from_micros(uptime.parse().unwrap());
    let booted =
        says(&rack, plain, &["systemctl", "show", "--property=UserspaceTimestampMonotonic", "--value"]);
    let took = started - Duration::from_micros(booted.parse().unwrap());
    assert!(took < NETWORKD_TIMEOUT / 2, "sshd started {} s after PID 1", took.as_secs());
    let states = |unit: &str| says(&rack, plain, &["systemctl", "is-enabled", unit]);
    assert_eq!(states("systemd-networkd.service"), "enabled", "the presets were applied");
    assert_eq!(states("systemd-networkd-wait-online.service"), "masked");
    assert_eq!(states("ssh.socket"), "disabled", "the service listens by itself");

    // The image makes its user of userconf.txt in a second boot, and sshd starts in that boot for the first time.
    let unknown = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"];
    let command = "id -un; echo $SHELL; ls /etc/ssh/sshd_config.d";
    pi.assert_ssh_says(&rack, damaged, command, "pi\n/bin/bash\n", &unknown);
    assert_eq!(rack.boots(damaged).unwrap(), 2);
    let status = says(&rack, damaged, &["cat", "/boot/firmware/swarm/status.txt"]);
    assert!(status.contains("is damaged or missing"), "{status}");

    for (lab, node) in [(&pi, whole), (&anna, "lily00")] {
        rack.power_off(node).unwrap();
        rack.power_on(node).unwrap();
        lab.assert_can_log_in(&rack, node);
    }
}
