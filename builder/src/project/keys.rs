//! Key files that a cluster file names: SSH public keys, and the key that signs a Docker mirror.

use std::io::{ErrorKind, Read};
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
    /// What the cluster file is read for.
    pub(super) purpose: Purpose,
}

/// What a cluster file is read for, which decides what is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To find everything that is wrong, the image included.
    Check,
    /// To make cards. The image is opened later.
    Cards,
    /// To manage a cluster that may run already.
    Manage,
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
        if let Some(refusal) = foreign(entry, &text) {
            return Err(refusal);
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
        if self.purpose != Purpose::Check {
            return Ok(());
        }
        fetch::examine(image, self.folder).map_err(|error| {
            let advice = error.hint().map(|hint| hint.show(None).text);
            let advice = advice.unwrap_or_else(|| "name an image that you may read".to_owned());
            Refusal::new(one_line(&error), advice)
        })
    }

    fn can_rename_nodes(&self) -> bool {
        self.purpose != Purpose::Manage
    }

    fn armored_key(&self, path: &str) -> Result<String, Refusal> {
        let text = self.read(path, |_| {
            "write the path of a file that is there, seen from the cluster file".to_owned()
        })?;
        let armor = text.trim_start();
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
    /// A key file's text without a byte order mark; `missing` says what to do when there is no such file.
    fn read(&self, written: &str, missing: fn(&str) -> String) -> Result<String, Refusal> {
        let path = super::resolve(self.folder, written);
        let shown = path.strip_prefix(".").unwrap_or(&path).display();
        let mut bytes = Vec::new();
        let read =
            crate::regular::open(&path).and_then(|file| file.take(FILE_LIMIT + 1).read_to_end(&mut bytes));
        match read {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Refusal::new(format!("there is no file {shown}"), missing(written)));
            }
            Err(error) => {
                let message = format!("cannot read {shown}: {error}");
                return Err(Refusal::new(message, "name a key file you may read"));
            }
            Ok(_) => {}
        }
        if u64::try_from(bytes.len()).is_ok_and(|length| length > FILE_LIMIT) {
            return Err(Refusal::new(format!("{written} is too long for a key file"), "name a key file"));
        }
        if super::input::is_utf16(&bytes) {
            let advice = convert(written, "iconv -f UTF-16 -t UTF-8");
            return Err(Refusal::new(format!("{written} is encoded in UTF-16"), advice));
        }
        let text = String::from_utf8(bytes)
            .map_err(|_| Refusal::new(format!("{written} is not a text"), "name a key file in text form"))?;
        Ok(text.trim_start_matches('\u{feff}').to_owned())
    }
}

/// A command that makes another key file, and what to do with it.
fn convert(file: &str, command: &str) -> String {
    let new = format!("{}-openssh.pub", file.strip_suffix(".pub").unwrap_or(file));
    format!("run `{command} {} > {}`, and write `{new}`", typed(file), typed(&new))
}

/// A path as it is typed: `~/` must stay outside of quotes.
fn typed(path: &str) -> String {
    match path.strip_prefix("~/") {
        Some(rest) => format!("~/{}", crate::error::quote(rest)),
        None => crate::error::quote(path),
    }
}

/// Why a file of another format than OpenSSH's public keys is refused.
fn foreign(file: &str, text: &str) -> Option<Refusal> {
    let refusal = |what: &str, advice: String| Some(Refusal::new(format!("{file} is {what}"), advice));
    let begins = |head: &str| text.lines().any(|line| line.trim_start().starts_with(head));
    if begins("PuTTY-User-Key-File") {
        let new = format!("{}.pub", file.strip_suffix(".ppk").unwrap_or(file));
        let command = format!("puttygen {} -O public-openssh -o {}", typed(file), typed(&new));
        return refusal("a private key of PuTTY", format!("run `{command}`, and write `{new}`"));
    }
    if is_private(text) {
        return refusal("a private key", format!("write `{file}.pub`, the public half"));
    }
    let name_another = || "name a file made by `ssh-keygen -t ed25519`".to_owned();
    // RFC 4716; PuTTY's "Save public key".
    if begins("---- BEGIN SSH2 PUBLIC KEY ----") {
        return refusal("a public key in PuTTY's format (RFC 4716)", convert(file, "ssh-keygen -i -f"));
    }
    if begins("-----BEGIN PUBLIC KEY-----") {
        return refusal("a public key in PKCS #8 format", convert(file, "ssh-keygen -i -m PKCS8 -f"));
    }
    if begins("-----BEGIN RSA PUBLIC KEY-----") {
        return refusal("a public key in PEM format", convert(file, "ssh-keygen -i -m PEM -f"));
    }
    if begins("-----BEGIN CERTIFICATE-----") {
        return refusal("an X.509 certificate", name_another());
    }
    if begins("-----BEGIN PGP") {
        return refusal("an OpenPGP key", name_another());
    }
    None
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
    entry.split_whitespace().any(|word| is_key_type(word) || is_certificate(word)) || entry.contains("AAAA")
}

/// Whether a word is the type of a key (`ssh-keygen -Q key`), and not a certificate's.
fn is_key_type(word: &str) -> bool {
    let known = ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"].iter().any(|prefix| word.starts_with(prefix));
    known && !is_certificate(word)
}

/// Whether a word is the type of an OpenSSH certificate, such as `ssh-ed25519-cert-v01@openssh.com`.
fn is_certificate(word: &str) -> bool {
    word.contains("-cert-v0")
}

/// A line of `authorized_keys` (sshd(8)) with one key. Options may hold blanks, so the key is looked for after each. sshd
/// takes several blanks and tabs between the fields; single blanks are written.
fn key_line(line: &str) -> Result<String, Refusal> {
    let after_blank = |(at, c): (usize, char)| is_blank(c).then_some(at + 1);
    let starts = std::iter::once(0).chain(line.char_indices().filter_map(after_blank));
    let parsed =
        starts.filter(|at| !line.get(*at..).unwrap_or_default().starts_with(is_blank)).find_map(|at| {
            let (options, rest) = line.split_at_checked(at)?;
            let (kind, rest) = rest.split_once(is_blank)?;
            let rest = rest.trim_start_matches(is_blank);
            let (blob, comment) = rest.split_once(is_blank).unwrap_or((rest, ""));
            let key = PublicKey::from_openssh(&format!("{kind} {blob}")).ok()?;
            Some((key, [options.trim(), kind, blob, comment.trim()]))
        });
    let Some((key, fields)) = parsed else {
        if line.split(is_blank).any(is_certificate) {
            let advice =
                "write the key that was certified: the .pub file whose name does not end in -cert.pub";
            return Err(Refusal::new("this is a certificate, not a key", advice));
        }
        return Err(Refusal::new(
            "this is not a whole OpenSSH public key",
            "copy the one line of a .pub file, without line breaks, in quotes",
        ));
    };
    if key.algorithm() == Algorithm::Dsa {
        return Err(Refusal::new(
            "sshd no longer takes DSA keys",
            "make a new one with `ssh-keygen -t ed25519`",
        ));
    }
    let [.., comment] = fields;
    let words: Vec<&str> = comment.split_whitespace().collect();
    let is_key =
        |pair: &[&str]| matches!(pair, [kind, blob] if is_key_type(kind) && blob.starts_with("AAAA"));
    if words.windows(2).any(is_key) {
        return Err(Refusal::new(
            "two keys stand in one line, and sshd reads only the first",
            "begin each key with `- `, all of them in the same column",
        ));
    }
    if line.chars().any(|c| c.is_control() && c != '\t') {
        return Err(Refusal::new(
            "this key line holds a control character",
            "write it in one line with spaces",
        ));
    }
    let fields: Vec<&str> = fields.into_iter().filter(|field| !field.is_empty()).collect();
    Ok(fields.join(" "))
}

/// What sshd takes between two fields.
const fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

    fn keys(folder: &Path, entry: &str) -> Result<Vec<String>, Refusal> {
        KeyFiles { folder, purpose: Purpose::Cards }.authorized_keys(entry)
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
    fn takes_blanks_and_tabs_as_sshd_does() {
        let [kind, blob] = KEY.split(' ').collect::<Vec<_>>()[..] else { panic!() };
        for line in
            [format!("{kind}  {blob}   anna"), format!("{kind}\t{blob}\tanna"), format!(" {KEY} \t anna ")]
        {
            assert_eq!(keys(Path::new("/nowhere"), &line), Ok(vec![format!("{KEY} anna")]), "{line:?}");
        }
        let line = format!("command=\"a\tb\" \t{kind}\t{blob}");
        assert_eq!(keys(Path::new("/nowhere"), &line), Ok(vec![format!("command=\"a\tb\" {KEY}")]));
    }

    #[test]
    fn refuses_two_keys_in_one_line() {
        // What YAML makes of `- key1 anna` with an indented `key2 ben` below it.
        let line = format!("{KEY} anna {KEY} ben");
        let refusal = keys(Path::new("/nowhere"), &line).unwrap_err();
        assert_eq!(refusal.message, "two keys stand in one line, and sshd reads only the first");
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("class.pub"), format!("{KEY} anna\n{line}\n")).unwrap();
        assert!(
            keys(folder.path(), "class.pub").unwrap_err().message.starts_with("class.pub, line 2: two keys")
        );
        // A word about a key is no key.
        assert!(keys(Path::new("/nowhere"), &format!("{KEY} anna, made by ssh-keygen here")).is_ok());
    }

    #[test]
    fn names_the_formats_of_other_programs() {
        let folder = tempfile::tempdir().unwrap();
        let utf16: Vec<u8> = format!("\u{feff}{KEY}\r\n").encode_utf16().flat_map(u16::to_le_bytes).collect();
        let files: [(&str, &[u8]); 8] = [
            (
                "anna.pub",
                b"---- BEGIN SSH2 PUBLIC KEY ----\nComment: \"a\"\nAAAA\n---- END SSH2 PUBLIC KEY ----\n",
            ),
            ("anna.ppk", b"PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n"),
            ("pkcs8.pub", b"-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----\n"),
            ("my key.pem", b"-----BEGIN RSA PUBLIC KEY-----\nMIIB\n-----END RSA PUBLIC KEY-----\n"),
            ("tls.crt", b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"),
            ("id-cert.pub", b"ssh-ed25519-cert-v01@openssh.com AAAAIHNzaC1lZDI1NTE5LWNlcnQ anna\n"),
            ("utf16.pub", &utf16),
            ("marked.pub", b"\xef\xbb\xbfssh-ed25519 AAAA\n"),
        ];
        let told = files.map(|(name, bytes)| {
            std::fs::write(folder.path().join(name), bytes).unwrap();
            let refusal = keys(folder.path(), name).unwrap_err();
            format!("{}; {}", refusal.message, refusal.advice)
        });
        insta::assert_snapshot!(told.join("\n"), @r"
        anna.pub is a public key in PuTTY's format (RFC 4716); run `ssh-keygen -i -f anna.pub > anna-openssh.pub`, and write `anna-openssh.pub`
        anna.ppk is a private key of PuTTY; run `puttygen anna.ppk -O public-openssh -o anna.pub`, and write `anna.pub`
        pkcs8.pub is a public key in PKCS #8 format; run `ssh-keygen -i -m PKCS8 -f pkcs8.pub > pkcs8-openssh.pub`, and write `pkcs8-openssh.pub`
        my key.pem is a public key in PEM format; run `ssh-keygen -i -m PEM -f 'my key.pem' > 'my key.pem-openssh.pub'`, and write `my key.pem-openssh.pub`
        tls.crt is an X.509 certificate; name a file made by `ssh-keygen -t ed25519`
        id-cert.pub, line 1: this is a certificate, not a key; write the key that was certified: the .pub file whose name does not end in -cert.pub
        utf16.pub is encoded in UTF-16; run `iconv -f UTF-16 -t UTF-8 utf16.pub > utf16-openssh.pub`, and write `utf16-openssh.pub`
        marked.pub, line 1: this is not a whole OpenSSH public key; copy the one line of a .pub file, without line breaks, in quotes
        ");
        std::fs::write(folder.path().join("bom.pub"), format!("\u{feff}{KEY} anna\r\n")).unwrap();
        assert_eq!(keys(folder.path(), "bom.pub"), Ok(vec![format!("{KEY} anna")]));
    }

    #[test]
    fn does_not_wait_for_a_pipe() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)
            .unwrap();
        std::os::unix::fs::symlink("pipe", folder.path().join("link.pub")).unwrap();
        for (name, kind) in
            [("pipe", "a named pipe"), ("link.pub", "a named pipe"), ("/dev/zero", "a device")]
        {
            let key_files = KeyFiles { folder: folder.path(), purpose: Purpose::Cards };
            for refusal in [keys(folder.path(), name).map(drop), key_files.armored_key(name).map(drop)] {
                let message = refusal.unwrap_err().message;
                assert!(message.ends_with(&format!("it is {kind}, not a file")), "{message}");
            }
        }
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
        let read = |path: &str| KeyFiles { folder: folder.path(), purpose: Purpose::Cards }.armored_key(path);
        assert_eq!(read("good.asc"), Ok(armor("PUBLIC")));
        assert_eq!(read("bad.asc").unwrap_err().message, "bad.asc is a private key");
        assert_eq!(read("x.gpg").unwrap_err().message, "x.gpg is not an armored OpenPGP public key");
    }
}
