//! Whether a file of cloud-init's seed is as its publisher left it. Lines are looked at one by one, without YAML: what a
//! publisher ships is short and known, and anything else was put there by somebody.

use super::Release;

/// What a release ships.
pub(super) fn of(release: Release) -> fn(&str) -> bool {
    match release {
        Release::Ubuntu => is_ubuntus,
        _ => is_pi_os,
    }
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Comments only, apart from two keys of `meta-data`.
fn is_pi_os(text: &str) -> bool {
    lines(text).all(|line| match line.split_once(':') {
        Some(("dsmode", _)) => true,
        Some(("instance_id" | "instance-id", id)) => id.trim() == "rpios-image",
        _ => false,
    })
}

/// Keys that say nothing of a certain machine, whatever their value.
const GENERAL: [&str; 19] = [
    // user-data
    "chpasswd",
    "expire",
    "keyboard",
    "layout",
    "list",
    "model",
    "ssh_pwauth",
    "type",
    "users",
    "variant",
    // meta-data
    "dsmode",
    // network-config
    "dhcp4",
    "dhcp6",
    "ethernets",
    "match",
    "network",
    "optional",
    "renderer",
    "version",
];

/// The default user with the password `ubuntu`, which expires, and DHCP on every wired interface.
fn is_ubuntus(text: &str) -> bool {
    let value = |text: &str| text.trim().trim_matches(['"', '\'']).to_owned();
    lines(text).all(|line| {
        let line = line.strip_prefix("- ").unwrap_or(line).trim();
        let Some((key, rest)) = line.split_once(':') else { return false };
        let rest = value(rest);
        match key.trim() {
            "instance_id" | "instance-id" => rest == "cloud-image",
            "ubuntu" | "password" => rest == "ubuntu",
            "name" => matches!(rest.as_str(), "ubuntu" | "e*" | "en*" | "eth*"),
            "eth0" | "all" | "zz-all-en" | "zz-all-eth" => rest.is_empty(),
            key => GENERAL.contains(&key),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ubuntus_own_files_are_as_shipped() {
        for shipped in [
            // Until 22.04, and since then.
            "#cloud-config\n# comment\nchpasswd:\n  expire: true\n  list:\n  - ubuntu:ubuntu\nssh_pwauth: true\n",
            "#cloud-config\nchpasswd:\n  expire: true\n  users:\n  - name: ubuntu\n    password: ubuntu\n    type: text\nssh_pwauth: false\n",
            "dsmode: local\ninstance_id: cloud-image\n",
            "version: 2\nethernets:\n  eth0:\n    dhcp4: true\n    optional: true\n",
            "network:\n  version: 2\n  ethernets:\n    zz-all-en:\n      match:\n        name: \"en*\"\n      dhcp4: true\n",
        ] {
            assert!(is_ubuntus(shipped), "{shipped}");
        }
    }

    #[test]
    fn anything_of_a_certain_machine_or_person_was_put_there() {
        for filled in [
            "hostname: mine\n",
            "users:\n- name: ann\n",
            "chpasswd:\n  list:\n  - ubuntu:secret\n",
            "chpasswd:\n  list:\n  - ann:ubuntu\n",
            "password: secret\n",
            "ssh_authorized_keys:\n- ssh-ed25519 AAAA\n",
            "instance-id: mine\n",
            "wifis:\n  wlan0:\n    access-points:\n      home: {password: secret}\n",
            "eth0: {addresses: [10.0.0.1/24]}\n",
            "runcmd: [reboot]\n",
            "a line of its own\n",
        ] {
            assert!(!is_ubuntus(filled), "{filled}");
        }
        assert!(!is_pi_os("chpasswd:\n"));
    }
}
