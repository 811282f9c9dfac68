//! The package sources that the machine has, and how Docker's fits in.
//!
//! apt refuses every command, the owner's too, while two entries for one address and suite name different keys. http and
//! https count as the same address to it. So the entries are read before anything is written (sources.list(5), both formats).

use std::path::{Path, PathBuf};

use super::key;
use super::plan::{KEYRING, Repository, SOURCES, is_source_of_ours};
use crate::host::{Host, HostError};

const LIST: &str = "/etc/apt/sources.list";
const PARTS: &str = "/etc/apt/sources.list.d";
/// Keys that count for every entry that names none.
const TRUSTED: &str = "/etc/apt/trusted.gpg";
const TRUSTED_PARTS: &str = "/etc/apt/trusted.gpg.d";

/// One address and suite of an entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its file.
    pub file: String,
    /// The line it begins at, from 1.
    pub line: usize,
    /// Whether it has packages to install, and not only their sources.
    pub binary: bool,
    uri: String,
    suite: String,
    components: Vec<String>,
    /// All, if it names none.
    architectures: Vec<String>,
    signed_by: Option<String>,
    /// Whether `trusted` is set, whatever to.
    trusted: bool,
}

/// What to do about Docker's repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// No entry has it: write the key and a source.
    Add,
    /// An entry in this file has it already, with the wanted key: write nothing.
    Reuse(String),
    /// An entry in this file has it already, but our key file, which it names, is missing: write the key.
    AddKey(String),
    /// An entry names this key file or block, which has the wanted key, but does not bring the packages: write a source
    /// that names the same.
    AddSignedBy(String),
    /// It cannot be added without breaking apt; why, and what to do.
    Conflict(String),
}

/// Finds out how `repository`, for packages of `architecture`, fits into the machine's sources. Changes nothing.
pub(super) fn judge(
    host: &dyn Host,
    repository: &Repository,
    architecture: &str,
) -> Result<Verdict, HostError> {
    let ours = parse_stanzas(SOURCES, &repository.source);
    let others = read(host, &repository.source)?;
    let keyring = host.read(Path::new(KEYRING))?;
    // Ours of an earlier cluster file is replaced together with its key.
    let is_replaced =
        host.read(Path::new(SOURCES))?.is_some_and(|text| is_source_of_ours(&String::from_utf8_lossy(&text)));
    let keyring_holds = keyring.as_ref().map(|file| key::holds(file, &repository.key));
    let mut verdict = Verdict::Add;
    for (ours, other) in ours.iter().flat_map(|ours| others.iter().map(move |other| (ours, other))) {
        if !other.names_the_same_as(ours) {
            // The key file is about to be written; whoever else uses it keeps it.
            let is_ours = is_replaced && other.file == SOURCES;
            if other.is_signed_by(KEYRING) && keyring_holds == Some(false) && !is_ours {
                return Ok(foreign_keyring(other));
            }
            continue;
        }
        if other.trusted {
            return Ok(conflict(other, "trusted without a signature"));
        }
        let usable = other.brings(ours, architecture);
        let Some(signed_by) = &other.signed_by else {
            // Entries that name no key get along with those that do.
            if usable && is_trusted(host, &repository.key)? {
                return Ok(Verdict::Reuse(other.file.clone()));
            }
            continue;
        };
        let holds = if signed_by == KEYRING {
            keyring_holds.unwrap_or(true)
        } else {
            admits(host, signed_by, &repository.key)?
        };
        match (holds, usable) {
            (false, _) => {
                return Ok(conflict(other, &format!("with another key (Signed-By: {})", shown(signed_by))));
            }
            (true, true) if signed_by == KEYRING && keyring.is_none() => {
                return Ok(Verdict::AddKey(other.file.clone()));
            }
            (true, true) => return Ok(Verdict::Reuse(other.file.clone())),
            (true, false) if signed_by == KEYRING => {}
            (true, false) => verdict = Verdict::AddSignedBy(signed_by.clone()),
        }
    }
    Ok(verdict)
}

/// The entries that name the same repository, as file and line. Most get along with ours; whether all do, only apt knows: it
/// compares half a dozen options more, and 2.6 also minds a missing key, though only in a file that is read after ours.
pub(super) fn elsewhere(host: &dyn Host, repository: &Repository) -> Result<Vec<String>, HostError> {
    let ours = parse_stanzas(SOURCES, &repository.source);
    let others = read(host, &repository.source)?;
    let same = others.iter().filter(|other| ours.iter().any(|ours| other.names_the_same_as(ours)));
    Ok(same.map(|other| format!("{}, line {}", other.file, other.line)).collect())
}

/// Whether an entry names our key file.
pub(super) fn is_key_in_use(host: &dyn Host) -> Result<bool, HostError> {
    Ok(read(host, "")?.iter().any(|entry| entry.is_signed_by(KEYRING)))
}

fn foreign_keyring(user: &Entry) -> Verdict {
    Verdict::Conflict(format!(
        "{KEYRING} holds another key than Docker's, and {}, line {}, uses it: rename the key file, and correct its name \
         there; the node then continues by itself",
        user.file, user.line
    ))
}

/// A key block is not shown.
fn shown(signed_by: &str) -> &str {
    if signed_by.contains("BEGIN PGP") { "a key block" } else { signed_by }
}

fn conflict(entry: &Entry, how: &str) -> Verdict {
    let Entry { file, line, .. } = entry;
    let remedy = if file == LIST {
        format!("put a # before that line of {file}")
    } else {
        format!("switch that file off with: sudo mv {file} {file}.disabled")
    };
    Verdict::Conflict(format!(
        "{file}, line {line}, already names Docker's repository, {how}: {remedy}; the node then continues by itself"
    ))
}

impl Entry {
    fn is_signed_by(&self, name: &str) -> bool {
        self.signed_by.as_deref() == Some(name)
    }

    /// Whether apt takes both for one: it compares addresses without their scheme.
    fn names_the_same_as(&self, other: &Self) -> bool {
        address(&self.uri) == address(&other.uri)
            && self.suite.trim_end_matches('/') == other.suite.trim_end_matches('/')
    }

    fn brings(&self, wanted: &Self, architecture: &str) -> bool {
        self.binary
            && wanted.components.iter().all(|component| self.components.contains(component))
            && (self.architectures.is_empty() || self.architectures.iter().any(|own| own == architecture))
    }
}

/// The part of an address that apt tells repositories apart by.
fn address(uri: &str) -> String {
    let address = uri.split_once("://").map_or(uri, |(_, address)| address);
    let (host, path) = address.split_at(address.find('/').unwrap_or(address.len()));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    format!("{host}{}", path.trim_end_matches('/'))
}

/// Every entry that is switched on, except a file of ours.
fn read(host: &dyn Host, ours: &str) -> Result<Vec<Entry>, HostError> {
    let mut entries = Vec::new();
    if let Some(bytes) = host.read(Path::new(LIST))? {
        entries.extend(parse_lines(LIST, &String::from_utf8_lossy(&bytes)));
    }
    for name in host.list(Path::new(PARTS))? {
        let path = format!("{PARTS}/{name}");
        let parse = match name.rsplit_once('.') {
            Some((_, "list")) => parse_lines,
            Some((_, "sources")) => parse_stanzas,
            _ => continue,
        };
        let Some(bytes) = host.read(Path::new(&path))? else { continue };
        let text = String::from_utf8_lossy(&bytes);
        if path != SOURCES || text != ours {
            entries.extend(parse(&path, &text));
        }
    }
    Ok(entries)
}

/// `deb [option=value ...] uri suite component ...`, one a line.
fn parse_lines(file: &str, text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some((kind, rest)) = line.split_once(char::is_whitespace) else { continue };
        let rest = rest.trim_start();
        let (options, rest) = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once(']').unwrap_or((rest, "")),
            None => ("", rest),
        };
        let option = |name: &str| {
            options
                .split_whitespace()
                .find_map(|option| Some(option.strip_prefix(name)?.strip_prefix('=')?.to_owned()))
        };
        let mut words = rest.split_whitespace().map(str::to_owned);
        if let (true, Some(uri), Some(suite)) =
            (kind == "deb" || kind == "deb-src", words.next(), words.next())
        {
            entries.push(Entry {
                file: file.to_owned(),
                line: number + 1,
                binary: kind == "deb",
                uri,
                suite,
                components: words.collect(),
                architectures: option("arch")
                    .map(|list| list.split(',').map(str::to_owned).collect())
                    .unwrap_or_default(),
                signed_by: option("signed-by"),
                trusted: option("trusted").is_some(),
            });
        }
    }
    entries
}

/// Stanzas of `Field: value`, with further lines of a value indented.
fn parse_stanzas(file: &str, text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut fields: Vec<(String, String)> = Vec::new();
    let mut begin = 0;
    for (number, line) in text.lines().chain([""]).enumerate() {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            entries.extend(stanza(file, begin, &fields));
            fields.clear();
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push('\n');
                // A dot stands for an empty line.
                value.push_str(
                    line.trim().strip_prefix('.').filter(|rest| rest.is_empty()).unwrap_or(line.trim()),
                );
            }
        } else if let Some((field, value)) = line.split_once(':') {
            if fields.is_empty() {
                begin = number + 1;
            }
            fields.push((field.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    entries
}

fn stanza(file: &str, line: usize, fields: &[(String, String)]) -> Vec<Entry> {
    let field = |name: &str| fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.trim());
    let words = |name: &str| -> Vec<String> {
        field(name)
            .unwrap_or_default()
            .split([' ', '\t', '\n', ','])
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect()
    };
    // What apt takes for "no" (StringToBool).
    if field("enabled")
        .is_some_and(|value| ["no", "false", "without", "off", "disable", "0"].contains(&value))
    {
        return Vec::new();
    }
    let template = Entry {
        file: file.to_owned(),
        line,
        binary: words("types").iter().any(|kind| kind == "deb"),
        components: words("components"),
        architectures: words("architectures"),
        signed_by: field("signed-by").filter(|value| !value.is_empty()).map(str::to_owned),
        trusted: field("trusted").is_some(),
        ..Entry::default()
    };
    let suites = words("suites");
    words("uris")
        .iter()
        .flat_map(|uri| {
            suites.iter().map(|suite| Entry { uri: uri.clone(), suite: suite.clone(), ..template.clone() })
        })
        .collect()
}

/// Whether a `Signed-By` admits the key: it names files, fingerprints of keys that apt trusts, or is a key block.
fn admits(host: &dyn Host, signed_by: &str, wanted: &str) -> Result<bool, HostError> {
    if signed_by.contains("BEGIN PGP") {
        return Ok(key::holds(signed_by.as_bytes(), wanted));
    }
    for name in signed_by.split([',', ' ', '\n', '\t']).filter(|name| !name.is_empty()) {
        let found = if name.starts_with('/') {
            host.read(Path::new(name))?.is_some_and(|file| key::holds(&file, wanted))
        } else {
            is_trusted(host, wanted)?
        };
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_trusted(host: &dyn Host, wanted: &str) -> Result<bool, HostError> {
    let parts = host.list(Path::new(TRUSTED_PARTS))?;
    let parts = parts.iter().map(|name| Path::new(TRUSTED_PARTS).join(name));
    for path in parts.chain([PathBuf::from(TRUSTED)]) {
        if host.read(&path)?.is_some_and(|file| key::holds(&file, wanted)) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use super::super::plan::DOCKER_KEY;
    use super::*;
    use crate::host::fake::{FakeHost, Files, Node};

    const URL: &str = "https://download.docker.com/linux/debian";

    fn repository() -> Repository {
        Repository {
            key: DOCKER_KEY.to_owned(),
            source: format!(
                "Types: deb\nURIs: {URL}\nSuites: trixie\nComponents: stable\nArchitectures: arm64\nSigned-By: {KEYRING}\n"
            ),
        }
    }

    fn verdict(files: &[(&str, &str)]) -> Verdict {
        let file = |text: &str| Node::File { bytes: text.as_bytes().to_vec(), mode: 0o644, owner: None };
        let mut disk = Files::new();
        for (path, text) in files {
            let folder = Path::new(path).parent().unwrap();
            disk.insert(folder.into(), Node::Folder { mode: 0o755, owner: None });
            disk.insert(path.into(), file(text));
        }
        let host = FakeHost::new(Arc::default(), disk, SystemTime::UNIX_EPOCH);
        judge(&host, &repository(), "arm64").unwrap()
    }

    const DOCKER_LIST: &str = "/etc/apt/sources.list.d/docker.list";
    const OLD_KEY: &str = "/etc/apt/keyrings/docker.gpg";

    fn line(options: &str, url: &str, rest: &str) -> String {
        format!("# Docker\ndeb [{options}] {url} {rest} # from the manual\n")
    }

    #[test]
    fn replaces_our_source_of_an_earlier_cluster_file_with_its_key() {
        let ours = repository().source;
        let uri = ours.lines().find_map(|line| line.strip_prefix("URIs: ")).unwrap().to_owned();
        let before = ours.replace(&uri, "https://mirror.example/docker");
        assert_eq!(verdict(&[(SOURCES, &before), (KEYRING, "the mirror's key")]), Verdict::Add);
        let theirs = line(&format!("signed-by={KEYRING}"), "https://other.example/docker", "trixie stable");
        let files = [(SOURCES, before.as_str()), (DOCKER_LIST, &theirs), (KEYRING, "the mirror's key")];
        assert!(matches!(verdict(&files), Verdict::Conflict(_)), "another entry uses the key");
    }

    #[test]
    fn an_ordinary_system_gets_our_source() {
        assert_eq!(verdict(&[]), Verdict::Add);
        let debian = "deb http://deb.example.org/debian trixie main\n";
        assert_eq!(
            verdict(&[(LIST, debian), (SOURCES, &repository().source), (KEYRING, DOCKER_KEY)]),
            Verdict::Add
        );
    }

    #[test]
    fn reuses_an_entry_with_the_pinned_key() {
        let old = line(&format!("arch=arm64 signed-by={OLD_KEY}"), URL, "trixie stable");
        assert_eq!(
            verdict(&[(DOCKER_LIST, &old), (OLD_KEY, DOCKER_KEY)]),
            Verdict::Reuse(DOCKER_LIST.to_owned())
        );
        let same = line(&format!("signed-by={KEYRING}"), URL, "trixie stable test");
        assert_eq!(
            verdict(&[(DOCKER_LIST, &same), (KEYRING, DOCKER_KEY)]),
            Verdict::Reuse(DOCKER_LIST.to_owned())
        );
        assert_eq!(verdict(&[(DOCKER_LIST, &same)]), Verdict::AddKey(DOCKER_LIST.to_owned()));
        let plain = format!("deb {URL} trixie stable\n");
        let trusted = ("/etc/apt/trusted.gpg.d/docker.asc", DOCKER_KEY);
        assert_eq!(verdict(&[(LIST, &plain), trusted]), Verdict::Reuse(LIST.to_owned()));
        assert_eq!(verdict(&[(LIST, &plain)]), Verdict::Add, "an entry without a key conflicts with none");
        let block: String = DOCKER_KEY
            .lines()
            .map(|line| format!(" {}\n", if line.is_empty() { "." } else { line }))
            .collect();
        let stanza = format!(
            "types: deb deb-src\nuris:\n {URL}/\nSuites: trixie\nComponents: stable\nSigned-By:\n{block}"
        );
        assert_eq!(verdict(&[(SOURCES, &stanza)]), Verdict::Reuse(SOURCES.to_owned()));
    }

    #[test]
    fn names_an_entry_with_another_key() {
        // apt tells neither schemes nor final slashes apart (2.6.2 and 3.0.4).
        for url in [
            URL,
            "http://download.docker.com/linux/debian/",
            "https://me:pw@download.docker.com/linux/debian",
        ] {
            let old = line(&format!("arch=armhf signed-by={OLD_KEY}"), url, "trixie test");
            for key in [vec![], vec![(OLD_KEY, "another key")]] {
                let files = [vec![(DOCKER_LIST, old.as_str())], key].concat();
                let Verdict::Conflict(why) = verdict(&files) else { panic!("{url}") };
                assert_eq!(
                    why,
                    "/etc/apt/sources.list.d/docker.list, line 2, already names Docker's repository, with another key \
                     (Signed-By: /etc/apt/keyrings/docker.gpg): switch that file off with: sudo mv \
                     /etc/apt/sources.list.d/docker.list /etc/apt/sources.list.d/docker.list.disabled; the node then \
                     continues by itself"
                );
            }
        }
        let Verdict::Conflict(why) = verdict(&[(LIST, &line("trusted=yes", URL, "trixie stable"))]) else {
            panic!()
        };
        assert!(
            why.contains("line 2") && why.contains("put a # before that line of /etc/apt/sources.list"),
            "{why}"
        );
    }

    #[test]
    fn passes_over_entries_that_do_not_conflict() {
        let key = format!("signed-by={OLD_KEY}");
        for old in [
            line(&key, URL, "bookworm stable"),
            line(&key, "https://mirror.example/linux/debian", "trixie stable"),
            line(&key, URL, "trixie stable").replace("deb [", "# deb ["),
            "deb broken".to_owned(),
        ] {
            assert_eq!(verdict(&[(DOCKER_LIST, &old)]), Verdict::Add, "{old}");
        }
        let off = format!(
            "Enabled: no\nTypes: deb\nURIs: {URL}\nSuites: trixie\nComponents: stable\nSigned-By: {OLD_KEY}\n"
        );
        assert_eq!(verdict(&[("/etc/apt/sources.list.d/off.sources", &off)]), Verdict::Add);
        let ignored = line(&key, URL, "trixie stable");
        assert_eq!(verdict(&[("/etc/apt/sources.list.d/docker.list.save", &ignored)]), Verdict::Add);
    }

    #[test]
    fn names_the_same_key_beside_an_entry_without_the_packages() {
        for rest in ["trixie test", "trixie nightly"] {
            let old = line(&format!("signed-by={OLD_KEY}"), URL, rest);
            assert_eq!(
                verdict(&[(DOCKER_LIST, &old), (OLD_KEY, DOCKER_KEY)]),
                Verdict::AddSignedBy(OLD_KEY.to_owned())
            );
        }
    }

    #[test]
    fn leaves_a_key_file_that_others_use() {
        let mirror = line(&format!("signed-by={KEYRING}"), "https://mirror.example/docker", "trixie stable");
        let Verdict::Conflict(why) = verdict(&[(DOCKER_LIST, &mirror), (KEYRING, "its key")]) else {
            panic!()
        };
        assert!(why.starts_with("/etc/apt/keyrings/docker.asc holds another key than Docker's"), "{why}");
        assert_eq!(verdict(&[(KEYRING, "nobody's key")]), Verdict::Add);
    }
}
