//! Key files that a cluster file names: SSH public keys, and the key that signs a Docker mirror.

use std::io::Read;
use std::path::Path;

use cluster::spec::{ImageSource, Outside, Refusal};
use ssh_key::{Algorithm, PublicKey};

use crate::error::one_line;
use crate::{fetch, home};

/// Largest key file, in bytes. An `authorized_keys` of a hundred RSA keys has 80 KB.
const FILE_LIMIT: u64 = 256 * 1024;

/// Reads the files beside a cluster file.
#[derive(Debug)]
pub(super) struct KeyFiles<'p> {
    /// Where relative paths start.
    pub(super) folder: &'p Path,
    /// Whether the image has to be there, too.
    pub(super) with_image: bool,
}

impl Outside for KeyFiles<'_> {
    fn authorized_keys(&self, entry: &str) -> Result<Vec<String>, Refusal> {
        if is_private(entry) {
            return Err(Refusal::new(
                "this is a private key",
                "write the public one, and keep this one to yourself",
            ));
        }
        if looks_like_key(entry) {
            return key_line(entry.trim()).map(|line| vec![line]);
        }
        let text = self.read(entry, missing_public_key)?;
        if is_private(&text) {
            let advice = format!("write `{entry}.pub`, the public half");
            return Err(Refusal::new(format!("{entry} is a private key"), advice));
        }
        let mut keys = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                keys.push(key_line(line).map_err(|refusal| {
                    Refusal::new(format!("{entry}, line {number}: {}", refusal.message), refusal.advice)
                })?);
            }
        }
        if keys.is_empty() {
            return Err(Refusal::new(
                format!("{entry} holds no key"),
                "name a file made by `ssh-keygen -t ed25519`",
            ));
        }
        Ok(keys)
    }

    fn image(&self, image: &ImageSource) -> Result<(), Refusal> {
        if !self.with_image {
            return Ok(());
        }
        fetch::examine(image, self.folder).map_err(|error| {
            let advice = error.hint().map(|hint| hint.show(None).text);
            let advice = advice.unwrap_or_else(|| "name an image that you may read".to_owned());
            Refusal::new(one_line(&error), advice)
        })
    }

    fn armored_key(&self, path: &str) -> Result<String, Refusal> {
        let text = self.read(path, |_| {
            "write the path of a file that is there, seen from the cluster file".to_owned()
        })?;
        let armor = text.trim_start_matches('\u{feff}').trim_start();
        if armor.starts_with("-----BEGIN PGP PUBLIC KEY BLOCK-----")
            && armor.contains("-----END PGP PUBLIC KEY BLOCK-----")
        {
            return Ok(armor.to_owned());
        }
        let message = if is_private(&text) {
            format!("{path} is a private key")
        } else {
            format!("{path} is not an armored OpenPGP public key")
        };
        Err(Refusal::new(message, "make one with `gpg --armor --export KEY-ID`"))
    }
}

impl KeyFiles<'_> {
    /// A key file's text; `missing` says what to do when there is no such file.
    fn read(&self, written: &str, missing: fn(&str) -> String) -> Result<String, Refusal> {
        let path = super::resolve(self.folder, written);
        let shown = path.strip_prefix(".").unwrap_or(&path).display();
        let mut bytes = Vec::new();
        let read =
            crate::regular::open(&path).and_then(|file| file.take(FILE_LIMIT + 1).read_to_end(&mut bytes));
        match read {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(Refusal::new(format!("there is no file {shown}"), missing(written)))
            }
            Err(error) => {
                let message = format!("cannot read {shown}: {error}");
                Err(Refusal::new(message, "name a key file you may read"))
            }
            Ok(length) if u64::try_from(length).is_ok_and(|length| length > FILE_LIMIT) => {
                Err(Refusal::new(format!("{written} is too long for a key file"), "name a key file"))
            }
            Ok(_) => String::from_utf8(bytes).map_err(|_| {
                Refusal::new(format!("{written} is not a text"), "name a key file in text form")
            }),
        }
    }
}

/// What to do about a public key that is not there.
fn missing_public_key(written: &str) -> String {
    if let Some(found) = own_public_keys().first() {
        return format!("write `{found}`, which is there, or a key line itself");
    }
    match written.strip_suffix(".pub") {
        Some(private) => {
            format!("make it with `ssh-keygen -t ed25519 -f {private}`, or write a key line itself")
        }
        None => "write the path of a file that is there, seen from the cluster file".to_owned(),
    }
}

/// The user's own public keys, `~/.ssh/id_*.pub`, as the cluster file writes them, best first.
pub(crate) fn own_public_keys() -> Vec<String> {
    // In the order in which ssh(1) prefers them.
    const NAMES: [&str; 5] = ["id_ed25519", "id_ed25519_sk", "id_ecdsa", "id_ecdsa_sk", "id_rsa"];
    let Some(folder) = home::home().map(|home| home.join(".ssh")) else {
        return Vec::new();
    };
    let there = NAMES.iter().map(|name| format!("{name}.pub")).filter(|name| folder.join(name).is_file());
    there.map(|name| format!("~/.ssh/{name}")).collect()
}

/// OpenSSH, PKCS and PuTTY formats.
fn is_private(text: &str) -> bool {
    text.contains("PRIVATE KEY") || text.contains("PuTTY-User-Key-File")
}

/// Whether a text is a key line, possibly with options before the key, rather than a path.
fn looks_like_key(entry: &str) -> bool {
    let algorithm =
        |word: &str| ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"].iter().any(|p| word.starts_with(p));
    entry.split_whitespace().any(algorithm) || entry.contains("AAAA")
}

/// A line of `authorized_keys` (sshd(8)), as it stands. Options may hold spaces, so the key is looked for after each.
fn key_line(line: &str) -> Result<String, Refusal> {
    let starts = std::iter::once(0).chain(line.match_indices(' ').map(|(at, _)| at + 1));
    let key = starts.filter_map(|at| line.get(at..)).find_map(|rest| PublicKey::from_openssh(rest).ok());
    match key {
        None => Err(Refusal::new(
            "this is not a whole OpenSSH public key",
            "copy the one line of a .pub file, without line breaks, in quotes",
        )),
        Some(key) if key.algorithm() == Algorithm::Dsa => {
            Err(Refusal::new("sshd no longer takes DSA keys", "make a new one with `ssh-keygen -t ed25519`"))
        }
        Some(_) if line.chars().any(char::is_control) => {
            Err(Refusal::new("this key line holds a tab or line break", "write it in one line with spaces"))
        }
        Some(_) => Ok(line.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

    fn keys(folder: &Path, entry: &str) -> Result<Vec<String>, Refusal> {
        KeyFiles { folder, with_image: false }.authorized_keys(entry)
    }

    #[test]
    fn takes_key_lines_as_they_stand() {
        for line in [
            KEY.to_owned(),
            format!("{KEY} anna on her laptop"),
            format!("command=\"echo hello\",no-pty {KEY} anna"),
        ] {
            assert_eq!(keys(Path::new("/nowhere"), &line), Ok(vec![line]));
        }
    }

    #[test]
    fn reads_every_key_of_a_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("class.pub"), format!("# the class\n\n{KEY} anna\r\n{KEY} ben\n"))
            .unwrap();
        assert_eq!(keys(folder.path(), "class.pub"), Ok(vec![format!("{KEY} anna"), format!("{KEY} ben")]));
    }

    #[test]
    fn refuses_a_private_key_without_showing_it() {
        let folder = tempfile::tempdir().unwrap();
        let private = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjE\n";
        std::fs::write(folder.path().join("id_ed25519"), private).unwrap();
        for entry in ["id_ed25519", private] {
            let refusal = keys(folder.path(), entry).unwrap_err();
            assert!(refusal.message.contains("is a private key"), "{refusal:?}");
            assert!(!format!("{refusal:?}").contains("b3Blbn"), "{refusal:?}");
        }
        assert!(keys(folder.path(), "id_ed25519").unwrap_err().advice.contains("`id_ed25519.pub`"));
    }

    #[test]
    fn refuses_what_sshd_would_not_take() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("half.pub"), format!("{KEY} anna\n{}\n", &KEY[..60])).unwrap();
        std::fs::write(folder.path().join("empty.pub"), "# nothing\n").unwrap();
        assert!(keys(folder.path(), "half.pub").unwrap_err().message.starts_with("half.pub, line 2: "));
        assert_eq!(keys(folder.path(), "empty.pub").unwrap_err().message, "empty.pub holds no key");
        assert!(keys(folder.path(), &KEY[..60]).is_err());
        assert!(keys(folder.path(), "nothing.pub").unwrap_err().message.starts_with("there is no file "));
    }

    #[test]
    fn takes_armored_public_keys_only() {
        let folder = tempfile::tempdir().unwrap();
        let armor = |kind: &str| {
            format!("-----BEGIN PGP {kind} KEY BLOCK-----\n\nmQ\n-----END PGP {kind} KEY BLOCK-----\n")
        };
        for (name, text) in
            [("good.asc", armor("PUBLIC")), ("bad.asc", armor("PRIVATE")), ("x.gpg", "\u{99}".to_owned())]
        {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let read = |path: &str| KeyFiles { folder: folder.path(), with_image: false }.armored_key(path);
        assert_eq!(read("good.asc"), Ok(armor("PUBLIC")));
        assert_eq!(read("bad.asc").unwrap_err().message, "bad.asc is a private key");
        assert_eq!(read("x.gpg").unwrap_err().message, "x.gpg is not an armored OpenPGP public key");
    }
}
