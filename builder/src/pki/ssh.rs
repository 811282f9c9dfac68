//! What makes `ssh -F red.secrets/ssh_config red03` work: host keys, `known_hosts`, `ssh_config`, last known addresses.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use cluster::name::Hostname;
use serde::{Deserialize, Serialize};
use ssh_key::rand_core::OsRng;
use ssh_key::{Algorithm, HashAlg, LineEnding, PrivateKey, PublicKey};
use thiserror::Error;

use super::error::{PkiError, Whose};
use super::folder::{Folder, NODES};
use crate::error::Failure;
use crate::host_key::HostKey;

/// [`Addresses`] within the secrets folder.
pub(super) const ADDRESSES: &str = "addresses.json";
pub(super) const KNOWN_HOSTS: &str = "known_hosts";
pub(super) const CONFIG: &str = "ssh_config";

/// Where nodes were last heard from.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Addresses {
    pub(super) version: u32,
    pub(super) addresses: BTreeMap<Hostname, Ipv4Addr>,
}

/// Why a host key cannot be used.
#[derive(Debug, Error)]
pub(super) enum HostKeyError {
    #[error("it is not an unencrypted ed25519 key in OpenSSH format")]
    NotKey,
    #[error("it is not the public half of the key beside it")]
    OtherKey,
    #[error("a host key could not be made")]
    Make(#[source] ssh_key::Error),
}

/// A new host key: private and public half in OpenSSH format.
pub(super) fn make_host_key(node: &Hostname) -> Result<(String, String), HostKeyError> {
    let mut key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).map_err(HostKeyError::Make)?;
    key.set_comment(node.as_str());
    let private = key.to_openssh(LineEnding::LF).map_err(HostKeyError::Make)?;
    Ok((private.to_string(), public_line(key.public_key())?))
}

/// The public half of a stored host key.
pub(super) fn public_half(private: &str) -> Result<String, HostKeyError> {
    let key = PrivateKey::from_openssh(private).map_err(|_| HostKeyError::NotKey)?;
    if key.is_encrypted() || key.algorithm() != Algorithm::Ed25519 {
        return Err(HostKeyError::NotKey);
    }
    public_line(key.public_key())
}

/// Refuses a public half that is not the stored private key's.
pub(super) fn check_public_half(private: &str, public: &str) -> Result<(), HostKeyError> {
    let stored = PublicKey::from_openssh(public.trim_end()).map_err(|_| HostKeyError::NotKey)?;
    let own = PrivateKey::from_openssh(private).map_err(|_| HostKeyError::NotKey)?;
    if stored.key_data() == own.public_key().key_data() { Ok(()) } else { Err(HostKeyError::OtherKey) }
}

fn public_line(key: &PublicKey) -> Result<String, HostKeyError> {
    Ok(key.to_openssh().map_err(HostKeyError::Make)? + "\n")
}

/// The SSH host keys that the cards of nodes bring, by node: those of all nodes of which a secrets folder has anything. Who shows
/// one of them was made from that card, since its private half is nowhere else.
///
/// # Errors
/// A folder or file that cannot be used.
pub fn card_host_keys(secrets: &Path) -> Result<BTreeMap<Hostname, HostKey>, Failure> {
    let Some(folder) = Folder::open(secrets.to_owned())? else { return Ok(BTreeMap::new()) };
    let mut keys = BTreeMap::new();
    for file in folder.names(NODES)? {
        let node = file.strip_suffix("-ssh-host-key.pub").and_then(|name| Hostname::try_from(name).ok());
        let Some(node) = node else { continue };
        let name = format!("{NODES}/{file}");
        let damaged = || PkiError::Damaged {
            path: folder.path(&name),
            whose: Whose::Node(node.to_string()),
            source: HostKeyError::NotKey.into(),
        };
        let Some(text) = folder.read(&name)? else { continue };
        let key = PublicKey::from_openssh(text.trim_end()).map_err(|_| damaged())?;
        let key = format!("{} {}", key.algorithm(), key.fingerprint(HashAlg::Sha256));
        let key = HostKey::try_from(key).map_err(|_| damaged())?;
        keys.insert(node, key);
    }
    Ok(keys)
}

/// What no node gets of the operator, whatever the operator's own configuration says: the SSH agent, and the X server with it
/// the keyboard. With these a node could log in elsewhere, or type, as the operator. `ClearAllForwardings`, which
/// [`crate::ssh`] sets, ends forwarded ports and `Tunnel` but neither of them.
const KEPT: &str = "    ForwardAgent no\n    ForwardX11 no\n";

/// One node for [`known_hosts`] and [`config`].
pub(super) struct Host<'a> {
    pub(super) name: &'a Hostname,
    pub(super) way: Way<'a>,
}

/// How a node is reached, and what it is known by.
pub(super) enum Way<'a> {
    /// It has a card of ours.
    Card {
        /// Fixed, else last known.
        address: Option<Ipv4Addr>,
        /// Public host key, OpenSSH format.
        key: &'a str,
    },
    /// It had a host key of its own before we came, which the user's ssh knows under the name that the user gave.
    Own(cluster::host::Host),
}

/// The text of `known_hosts` (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT").
pub(super) fn known_hosts(hosts: &[Host<'_>]) -> String {
    let mut text = String::new();
    for Host { name, way } in hosts {
        let Way::Card { address, key } = way else { continue };
        let address = address.map(|address| format!(",{address}")).unwrap_or_default();
        text.push_str(&format!("{name},{name}.local{address} {}\n", key.trim_end()));
    }
    text
}

/// The text of `ssh_config` (ssh_config(5)). A node with a card of ours answers to its host key alone, whatever address led
/// there; `user` logs in where nothing else is said.
///
/// # Errors
/// As [`config_path`].
pub(super) fn config(hosts: &[Host<'_>], user: &str, known_hosts: &Path) -> io::Result<String> {
    let file = config_path(known_hosts)?;
    let mut text = String::new();
    for Host { name, way } in hosts {
        let address = match way {
            Way::Card { address, .. } => address,
            Way::Own(host) => {
                let user = host.user.as_deref().unwrap_or(user);
                text.push_str(&format!("Host {name}\n    User {user}\n{KEPT}"));
                // Where a node's own name leads, the user's configuration may say.
                if host.name != name.as_str() {
                    text.push_str(&format!("    HostName {}\n", host.name));
                }
                if let Some(port) = host.port {
                    text.push_str(&format!("    Port {port}\n"));
                }
                continue;
            }
        };
        let address = address.map_or_else(|| format!("{name}.local"), |address| address.to_string());
        text.push_str(&format!(
            "Host {name}\n\
             \x20   HostName {address}\n\
             \x20   User {user}\n\
             \x20   HostKeyAlias {name}\n\
             \x20   UserKnownHostsFile {file}\n\
             \x20   GlobalKnownHostsFile /dev/null\n\
             \x20   StrictHostKeyChecking yes\n\
             \x20   IdentitiesOnly no\n\
             {KEPT}"
        ));
    }
    Ok(text)
}

/// A path as ssh_config(5) takes it: in double quotes, `%` doubled since it begins a token.
///
/// # Errors
/// For a path with a control character: a line break would begin another setting.
pub(crate) fn config_path(path: &Path) -> io::Result<String> {
    let text = path.display().to_string();
    if text.contains(char::is_control) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "its name has a control character"));
    }
    Ok(format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\"").replace('%', "%%")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host<'a>(name: &'a Hostname, address: Option<Ipv4Addr>) -> Host<'a> {
        Host { name, way: Way::Card { address, key: "ssh-ed25519 AAAA red\n" } }
    }

    #[test]
    fn a_known_address_is_preferred_to_mdns() {
        let (zero, one) = (Hostname::try_from("red00").unwrap(), Hostname::try_from("red01").unwrap());
        let hosts = [host(&zero, Some(Ipv4Addr::new(10, 0, 0, 5))), host(&one, None)];
        let text = config(&hosts, "pi", Path::new("/home/ada/100% Pi/known_hosts")).unwrap();
        assert!(text.contains("Host red00\n    HostName 10.0.0.5\n    User pi\n"), "{text}");
        assert!(text.contains("Host red01\n    HostName red01.local\n"), "{text}");
        assert!(text.contains("UserKnownHostsFile \"/home/ada/100%% Pi/known_hosts\"\n"), "{text}");
        assert_eq!(
            known_hosts(&hosts),
            "red00,red00.local,10.0.0.5 ssh-ed25519 AAAA red\nred01,red01.local ssh-ed25519 AAAA red\n"
        );
    }

    #[test]
    fn a_path_cannot_add_a_setting() {
        let hosts = [];
        for path in ["/home/ada/a\n    ProxyCommand id\n/known_hosts", "/home/a\rb/known_hosts"] {
            assert!(config(&hosts, "pi", Path::new(path)).is_err(), "{path:?}");
        }
        assert_eq!(config_path(Path::new("/a\"b%")).unwrap(), "\"/a\\\"b%%\"");
    }

    #[test]
    fn what_ran_before_us_is_reached_and_known_as_the_user_does() {
        let name = Hostname::try_from("red00").unwrap();
        let own =
            |text: &str| [Host { name: &name, way: Way::Own(cluster::host::Host::try_from(text).unwrap()) }];
        assert_eq!(known_hosts(&own("10.1.1.1")), "");
        let text = config(&own("ada@10.1.1.1"), "pi", Path::new("/known_hosts")).unwrap();
        assert_eq!(text, format!("Host red00\n    User ada\n{KEPT}    HostName 10.1.1.1\n"));
        let text = config(&own("red00"), "pi", Path::new("/known_hosts")).unwrap();
        assert_eq!(text, format!("Host red00\n    User pi\n{KEPT}"));
    }

    /// `Include` may put this text before or behind a configuration that forwards.
    #[test]
    fn nodes_get_neither_agent_nor_display() {
        let name = Hostname::try_from("red00").unwrap();
        let card = Way::Card { address: None, key: "ssh-ed25519 AAAA red\n" };
        for way in [card, Way::Own(cluster::host::Host::named("10.1.1.1".to_owned()))] {
            let text = config(&[Host { name: &name, way }], "pi", Path::new("/known_hosts")).unwrap();
            for option in ["ForwardAgent no", "ForwardX11 no"] {
                assert!(text.lines().any(|line| line.trim() == option), "{text}");
            }
        }
    }

    #[test]
    fn tells_a_foreign_public_half() {
        let name = Hostname::try_from("red00").unwrap();
        let (private, public) = make_host_key(&name).unwrap();
        let (_, other) = make_host_key(&name).unwrap();
        assert_eq!(public_half(&private).unwrap(), public);
        assert!(check_public_half(&private, &public).is_ok());
        assert!(matches!(check_public_half(&private, &other), Err(HostKeyError::OtherKey)));
        assert!(matches!(public_half("nonsense"), Err(HostKeyError::NotKey)));
    }
}
