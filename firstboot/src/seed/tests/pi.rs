//! A card and a Pi in memory that look like Pi OS, as far as the seed stage looks.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, UNIX_EPOCH};

use cluster::card::{
    Card, CardDocker, CardSecrets, CardSwarm, CardUser, CardWifi, DockerSource, Planned, STATUS_LENGTH,
    Start, StaticAddress, VERSION,
};
use cluster::identity::Role;
use cluster::proxy::Proxy;
use cluster::secret::Secret;
use rcgen::{CertificateParams, KeyPair, SanType};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use ssh_key::private::{Ed25519Keypair, Ed25519PrivateKey};
use ssh_key::public::Ed25519PublicKey;
use ssh_key::{LineEnding, PrivateKey};

use super::{Outcome, run};
use crate::host::Program;
use crate::host::fake::{FakeHost, Files, Limit, Node, Power};

pub(super) const FOLDER: &str = "/swarm";
pub(super) const HASH: &str = "$y$j9T$salt$hashofapassword";
pub(super) const PSK: &str = "correct horse battery";
pub(super) const PROXY: &str = "http://ann:hunter2@proxy.example:3128";
pub(super) const KEY: &str = "ssh-ed25519 AAAA ann@laptop";
/// In place on the image until Pi OS has a user.
pub(super) const BANNER: &str = "/etc/ssh/sshd_config.d/rename_user.conf";
/// Comes with systemd itself.
pub(super) const NETWORKD_WAIT: &str = "/usr/lib/systemd/system/systemd-networkd-wait-online.service";
/// When the card was made; the Pi's clock stands a year before.
pub(super) const MADE: u64 = 1_790_000_000;

/// The node's certificate and key, and an SSH host key. A certificate that signed itself is as good as a CA's here.
struct Identity {
    certificate: String,
    key: String,
    host_key: String,
}

static IDENTITY: LazyLock<Identity> = LazyLock::new(|| {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    let uri = "builder://0123456789abcdef/worker/red03";
    params.subject_alt_names.push(SanType::URI(uri.try_into().unwrap()));
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    // A true pair: with builder in the same compilation, ssh-key looks closer.
    let seed = [7; 32];
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
    let public = Ed25519PublicKey(pair.public_key().as_ref().try_into().unwrap());
    let pair = Ed25519Keypair { public, private: Ed25519PrivateKey::from_bytes(&seed) };
    let host_key = PrivateKey::from(pair).to_openssh(LineEnding::LF).unwrap().to_string();
    Identity { certificate, key: key.serialize_pem(), host_key }
});

pub(super) fn node_key() -> &'static str {
    &IDENTITY.key
}

pub(super) fn host_key() -> &'static str {
    &IDENTITY.host_key
}

pub(in crate::seed) fn card() -> Card {
    let ip = |last| std::net::Ipv4Addr::new(10, 1, 1, last);
    let node = |name: &str, role, address| Planned {
        name: name.try_into().unwrap(),
        role,
        address,
        labels: Default::default(),
    };
    Card {
        version: VERSION,
        cluster: "red".try_into().unwrap(),
        cluster_id: "0123456789abcdef".try_into().unwrap(),
        node: "red03".try_into().unwrap(),
        role: Role::Worker,
        not_before: MADE,
        nodes: vec![node("red00", Role::Manager, None), node("red03", Role::Worker, Some(ip(3)))],
        user: CardUser { name: "ann".try_into().unwrap(), authorized_keys: vec![KEY.to_owned()] },
        address: Some(StaticAddress { ip: ip(3), prefix: 24, gateway: Some(ip(1)), dns: vec![ip(1)] }),
        wifi: Some(CardWifi { country: "DE".to_owned(), ssid: "lab".to_owned(), hidden: false }),
        timezone: Some("Europe/Berlin".to_owned()),
        locale: Some("de_DE.UTF-8".to_owned()),
        keymap: Some("de".to_owned()),
        docker: CardDocker { source: DockerSource::Docker, version: None, url: None, key: None },
        swarm: CardSwarm {
            interface: None,
            address_pool: None,
            cert_expiry_seconds: 7_776_000,
            join_window_seconds: 3600,
            managers_run_tasks: false,
        },
        start: Start::Hook,
        revoked: std::collections::BTreeSet::new(),
        proxy: true,
    }
}

pub(super) fn secrets() -> CardSecrets {
    CardSecrets {
        version: VERSION,
        password_hash: Some(Secret::new(HASH.to_owned())),
        wifi_psk: Some(Secret::new(PSK.to_owned())),
        proxy: Some(Proxy { http: Some(Secret::new(PROXY.to_owned())), ..Proxy::default() }),
    }
}

pub(in crate::seed) fn disk(files: &[(&str, &[u8])]) -> Files {
    let mut disk = Files::new();
    for (path, bytes) in files {
        for parent in Path::new(path).ancestors().skip(1) {
            disk.insert(parent.to_owned(), Node::Folder { mode: 0o755, owner: None });
        }
        disk.insert(path.into(), Node::File { bytes: bytes.to_vec(), mode: 0o644, owner: None });
    }
    disk
}

pub(super) fn cmdline() -> String {
    format!(
        "root=PARTUUID=1-02 rootwait cgroup_enable=memory {}\n",
        cluster::hook::tokens("/boot/firmware").join(" ")
    )
}

/// The FAT as the builder leaves it.
pub(super) fn fat_files() -> Files {
    disk(&[
        ("/cmdline.txt", cmdline().as_bytes()),
        ("/userconf.txt", format!("ann:{HASH}\n").as_bytes()),
        ("/ssh", b""),
        ("/swarm/run", &[0x7f; 4096]),
        ("/swarm/card.json", &serde_json::to_vec(&card()).unwrap()),
        ("/swarm/secrets.json", &serde_json::to_vec(&secrets()).unwrap()),
        ("/swarm/ca.pem", IDENTITY.certificate.as_bytes()),
        ("/swarm/node.pem", IDENTITY.certificate.as_bytes()),
        // Long enough to be torn by a power cut.
        ("/swarm/node-key.pem", node_key().repeat(20).as_bytes()),
        ("/swarm/ssh-host-key", host_key().as_bytes()),
        ("/swarm/ssh-host-key.pub", b"ssh-ed25519 BBBB red03"),
        ("/swarm/authorized_keys", format!("{KEY}\n").as_bytes()),
        ("/swarm/status.txt", &[b' '; STATUS_LENGTH]),
    ])
}

/// The root as Raspberry Pi OS has shipped it since April 2026, as far as the seed stage looks: `pi` cannot log in, and Pi OS waits
/// for somebody to name a user. `images/README.md` names the sources.
pub(super) fn root_files() -> Files {
    disk(&[
        ("/proc/uptime", b"12.50 9.00\n"),
        ("/etc/hosts", b"127.0.0.1\tlocalhost\n127.0.1.1\t\traspberrypi\n"),
        ("/etc/passwd", b"root:x:0:0::/root:/bin/bash\nsystemd-timesync:x:991:990::/:/bin/false\npi:x:1000:1000::/home/pi:/usr/sbin/nologin\n"),
        ("/etc/group", b"sudo:x:27:pi\npi:x:1000:\n"),
        ("/etc/shadow", b"pi:!:1:::::\n"),
        ("/etc/shells", b"# /etc/shells: valid login shells\n/bin/sh\n/bin/bash\n/usr/bin/fish\n"),
        ("/etc/sudoers", b"root ALL=(ALL) ALL\n"),
        ("/etc/sudoers.d/README", b""),
        ("/etc/ssh/sshd_config", b"Include /etc/ssh/sshd_config.d/*.conf\n"),
        (BANNER, b"Banner /usr/share/userconf-pi/sshd_banner\n"),
        ("/etc/default/keyboard", b"XKBLAYOUT=\"gb\"\n"),
        ("/etc/default/locale", b"LANG=en_GB.UTF-8\n"),
        ("/etc/locale.gen", b"# de_DE.UTF-8 UTF-8\nen_GB.UTF-8 UTF-8\n"),
        ("/etc/cloud/cloud.cfg", b""),
        ("/home/pi/.bashrc", b""),
        ("/usr/lib/userconf-pi/userconf", b"#!/bin/sh\n"),
        ("/usr/lib/systemd/system/ssh.service", b""),
        ("/usr/lib/systemd/system/getty@.service", b""),
        ("/usr/lib/systemd/system/userconfig.service", b""),
        ("/usr/lib/systemd/system/NetworkManager.service", b""),
        (NETWORKD_WAIT, b""),
        ("/usr/share/zoneinfo/Europe/Berlin", b"TZif"),
        ("/var/lib/systemd/timesync/clock", b""),
        ("/var/lib/systemd/rfkill/platform-fe300000.mmcnr:wlan", b"1\n"),
        ("/var/lib/NetworkManager/NetworkManager.state", b"[main]\nWirelessEnabled=false\n"),
    ])
}

pub(super) fn edit(files: &mut Files, path: &str, change: impl Fn(String) -> String) {
    if let Some(Node::File { bytes, .. }) = files.get_mut(Path::new(path)) {
        *bytes = change(String::from_utf8(bytes.clone()).unwrap()).into_bytes();
    }
}

pub(super) fn move_home(files: &mut Files, from: &str, to: &str) {
    let inside: Vec<PathBuf> = files.keys().filter(|path| path.starts_with(from)).cloned().collect();
    for path in inside {
        let node = files.remove(&path).unwrap();
        files.insert(Path::new(to).join(path.strip_prefix(from).unwrap()), node);
    }
}

/// The programs of a Pi, as far as the seed stage runs them.
pub(super) fn play(program: &Program, files: &mut Files) -> Result<Vec<u8>, String> {
    let args: Vec<&str> = program.args.iter().map(String::as_str).collect();
    match (program.name.as_str(), args.as_slice()) {
        ("/usr/lib/userconf-pi/userconf", [new]) => {
            for path in ["/etc/passwd", "/etc/group", "/etc/shadow"] {
                edit(files, path, |text| {
                    text.replace("pi:", &format!("{new}:")).replace("/pi:", &format!("/{new}:"))
                });
            }
            edit(files, "/etc/group", |text| text.replace(":pi", &format!(":{new}")));
            move_home(files, "/home/pi", &format!("/home/{new}"));
            // It ends with cancel-rename. The account's shell it has changed only since userconf-pi e58fd5ca.
            files.remove(Path::new(BANNER));
        }
        ("usermod", ["--login", new, old]) => {
            for path in ["/etc/passwd", "/etc/shadow"] {
                edit(files, path, |text| text.replace(&format!("\n{old}:"), &format!("\n{new}:")));
            }
        }
        ("usermod", ["--move-home", "--home", home, _]) => {
            edit(files, "/etc/passwd", |text| text.replace("/home/pi:", &format!("{home}:")));
            move_home(files, "/home/pi", home);
        }
        ("usermod", ["--shell", shell, user]) => {
            edit(files, "/etc/passwd", |text| {
                let with_shell = |line: &str| match line.rsplit_once(':') {
                    Some((rest, _)) if line.starts_with(&format!("{user}:")) => format!("{rest}:{shell}\n"),
                    _ => format!("{line}\n"),
                };
                text.lines().map(with_shell).collect()
            });
        }
        ("ssh-keygen", ["-A"]) => {
            for kind in ["rsa", "ecdsa", "ed25519"] {
                let key = Node::File { bytes: b"key".to_vec(), mode: 0o600, owner: None };
                files.insert(format!("/etc/ssh/ssh_host_{kind}_key").into(), key);
            }
        }
        ("usermod", ["--append", "--groups", group, user]) => {
            edit(files, "/etc/group", |text| {
                text.replace(&format!("{group}:x:27:"), &format!("{group}:x:27:{user},"))
            });
        }
        ("groupmod", ["--new-name", new, old]) => {
            edit(files, "/etc/group", |text| text.replace(&format!("\n{old}:"), &format!("\n{new}:")));
        }
        ("chpasswd", ["--encrypted"]) => {
            let (user, hash) = std::str::from_utf8(&program.stdin).unwrap().trim().split_once(':').unwrap();
            edit(files, "/etc/shadow", |_| format!("{user}:{hash}:1:::::\n"));
        }
        ("locale-gen", []) => {}
        ("systemctl", ["--no-block", "try-restart", "ssh.service"]) => {}
        other => return Err(format!("not expected: {other:?}")),
    }
    Ok(Vec::new())
}

pub(super) struct Pi {
    pub(super) power: Arc<Power>,
    pub(super) root: FakeHost,
    pub(super) fat: FakeHost,
}

impl Pi {
    pub(super) fn power_on(power: Arc<Power>, root: Files, fat: Files) -> Self {
        let clock = UNIX_EPOCH + Duration::from_secs(MADE - 31_536_000);
        Self {
            root: FakeHost::new(power.clone(), root, clock).with_programs(play),
            fat: FakeHost::new(power.clone(), fat, clock),
            power,
        }
    }

    /// The same with disks that are not what they were, where programs cannot write either.
    pub(super) fn on_bad_ground(root: Limit, fat: Limit) -> Self {
        let pi = Self::fresh();
        let programs = move |program: &Program, files: &mut Files| match root {
            Limit::Healthy => play(program, files),
            _ if program.name == "systemctl" => Ok(Vec::new()),
            _ => Err("No space left on device".to_owned()),
        };
        Self {
            root: pi.root.with_programs(programs).with_limit(root),
            fat: pi.fat.with_limit(fat),
            power: pi.power,
        }
    }

    pub(super) fn fresh() -> Self {
        Self::power_on(Arc::default(), root_files(), fat_files())
    }

    pub(super) fn fresh_log() -> Vec<String> {
        let pi = Self::fresh();
        pi.seed();
        pi.power.log()
    }

    pub(super) fn seed(&self) -> Outcome {
        run(&self.root, &self.fat, Path::new(FOLDER))
    }

    pub(super) fn text(&self, path: &str) -> String {
        match self.root.files().get(Path::new(path)) {
            Some(Node::File { bytes, .. }) => String::from_utf8(bytes.clone()).unwrap(),
            other => panic!("{path} is {other:?}"),
        }
    }

    pub(super) fn mode(&self, path: &str) -> u32 {
        match self.root.files().get(Path::new(path)) {
            Some(Node::File { mode, .. } | Node::Folder { mode, .. }) => *mode,
            other => panic!("{path} is {other:?}"),
        }
    }

    pub(super) fn link(&self, path: &str) -> Option<PathBuf> {
        match self.root.files().get(Path::new(path)) {
            Some(Node::Link(target)) => Some(target.clone()),
            _ => None,
        }
    }
}

/// Everything on a disk that a person could find with a text search.
pub(super) fn contains(files: &Files, needle: &str) -> bool {
    files.values().any(|node| {
        matches!(node, Node::File { bytes, .. } if bytes.windows(needle.len()).any(|window| window == needle.as_bytes()))
    })
}
