//! sshd: on, with the host key the operator's `known_hosts` already has, and without passwords where none is set.
//!
//! Our key does not take the place of `ssh_host_ed25519_key`: Pi OS deletes `ssh_host_*_key*` and makes new ones, in
//! one release before the seed stage, in another beside it or at the next boot. Under a name of its own, given to sshd
//! by a drop-in, it survives all of them; naming one key also keeps sshd from offering those the operator does not know.

use std::path::Path;

use cluster::card::{self, Start};

use super::{Seed, SeedError, units};
use crate::host::Program;

/// Where the key lies: beside sshd's own files, so that clearing the agent's state does not lock anybody out.
const KEY: &str = "/etc/ssh/firstboot_host_ed25519_key";
const KEY_PUBLIC: &str = "/etc/ssh/firstboot_host_ed25519_key.pub";
const CONFIG: &str = "/etc/ssh/sshd_config";
/// Sorts before the files of the image and of cloud-init: sshd takes the first value it finds.
const DROP_IN: &str = "/etc/ssh/sshd_config.d/10-firstboot.conf";
/// In the FAT's root: asks Pi OS to switch sshd on (its sshswitch.service), should the seed stage not come to it.
const REQUEST: &str = "/ssh";
const INCLUDE: &str = "Include /etc/ssh/sshd_config.d/*.conf";

/// Power lost here: each file is old or new; the drop-in names the key only once it is there.
pub(super) fn install_host_key(seed: &Seed<'_>) -> Result<(), SeedError> {
    if seed.is_installed()? {
        return Ok(());
    }
    let (key, public) = (seed.payload(card::HOST_KEY)?, seed.payload(card::HOST_KEY_PUBLIC)?);
    // sshd does not start where the only key it is told of cannot be read.
    if ssh_key::PrivateKey::from_openssh(&key).is_err() {
        return Err(SeedError::HostKey(card::HOST_KEY));
    }
    if seed.root.list(Path::new("/etc/ssh"))?.is_empty() {
        return Err(SeedError::NotInImage("SSH server".to_owned()));
    }
    seed.root.write(Path::new(KEY), &key, 0o600, None)?;
    Ok(seed.root.write(Path::new(KEY_PUBLIC), &public, 0o644, None)?)
}

/// Power lost here: sshd is off or on, its drop-in old or new, and the distribution is still asked to switch it on, or not.
pub(super) fn enable(seed: &Seed<'_>) -> Result<(), SeedError> {
    let unit = "ssh.service";
    let file = units::find(seed, unit)?.ok_or_else(|| SeedError::NotInImage("SSH server".to_owned()))?;
    let has_socket = units::is_enabled(seed, "sockets.target", "ssh.socket")?;
    // Ubuntu's socket starts the server at the first connection.
    if seed.card.start == Start::Hook || !has_socket {
        units::enable(seed, "multi-user.target", unit, &file)?;
        seed.root.link(&file, &Path::new(units::FOLDER).join("sshd.service"))?;
    }
    // On Raspberry Pi OS only Debian's presets enable it, beside the service, where systemd applies them at the first boot.
    if seed.card.start == Start::Hook && has_socket {
        units::disable(seed, "sockets.target", "ssh.socket")?;
    }

    let config = seed.read_text(CONFIG)?;
    if let Some(config) = include_drop_ins(&config) {
        seed.write_text(CONFIG, &config, 0o644)?;
    }
    // Once the secrets are gone nobody knows whether there was a password: the drop-in of the first run stays.
    if let Some(hash) = seed.password_hash()? {
        seed.root.make_folder(Path::new("/etc/ssh/sshd_config.d"), 0o755, None)?;
        seed.write_text(DROP_IN, &drop_in(seed.has(KEY)?, hash.is_some()), 0o644)?;
    }
    if seed.card.start == Start::CloudInit {
        // It runs already, with the host keys that cloud-init made. A reload would lose the port that a socket unit holds.
        seed.root.run(&Program::new("systemctl", ["--no-block", "try-restart", unit]))?;
    }
    // Nothing is left to do for Pi OS's own service, which would have systemd read all its units three times over.
    if seed.fat.read(Path::new(REQUEST))?.is_some() {
        seed.fat.remove(Path::new(REQUEST))?;
    }
    Ok(())
}

/// Makes the keys that sshd looks for by itself, where there are none and ours is not there either: without any it does not start.
/// Debian 13's own sshd-keygen.service makes them in systemd's first boot only, so after a reboot or a power cut in that boot
/// nobody would.
///
/// Power lost here: done again. ssh-keygen renames each key when it is whole.
pub(super) fn ensure_keys(seed: &Seed<'_>) -> Result<(), SeedError> {
    let is_key = |name: &String| name.starts_with("ssh_host_") && name.ends_with("_key");
    if !seed.has(KEY)? && !seed.root.list(Path::new("/etc/ssh"))?.iter().any(is_key) {
        seed.root.run(&Program::new("ssh-keygen", ["-A"]))?;
    }
    Ok(())
}

fn drop_in(own_key: bool, password: bool) -> String {
    let mut text = String::from("# Written by firstboot.\n");
    if own_key {
        text += &format!("HostKey {KEY}\n");
    }
    if !password {
        text += "PasswordAuthentication no\n";
    }
    text
}

/// sshd's configuration with the drop-ins read first; `None` when it reads them already.
fn include_drop_ins(config: &str) -> Option<String> {
    let reads = |line: &str| {
        let mut words = line.split_whitespace();
        words.next().is_some_and(|word| word.eq_ignore_ascii_case("include"))
            && words.any(|word| word.contains("sshd_config.d/"))
    };
    (!config.lines().any(reads)).then(|| format!("{INCLUDE}\n{config}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_off_only_where_none_is_set() {
        assert!(drop_in(true, false).contains("\nPasswordAuthentication no\n"));
        assert!(!drop_in(true, true).contains("Password"));
    }

    #[test]
    fn a_key_that_is_not_there_is_not_named() {
        // sshd does not start when the only key it is told of is missing.
        assert!(!drop_in(false, true).contains("HostKey"));
    }

    #[test]
    fn drop_ins_are_included_once_and_first() {
        assert_eq!(include_drop_ins("#x\n  include /etc/ssh/sshd_config.d/*.conf\n"), None);
        let added = include_drop_ins("#Include /etc/ssh/sshd_config.d/*.conf\nUsePAM yes\n").unwrap();
        assert!(added.starts_with("Include /etc/ssh/sshd_config.d/*.conf\n"));
        assert_eq!(include_drop_ins(&added), None);
    }
}
