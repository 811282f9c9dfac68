//! The machine's own apt sources: the Debian mirror a recipe takes its packages from.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// Where Debian's packages come from on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// The archive, such as `http://mirror.example/debian`.
    pub archive: String,
    /// Its security updates, when the machine uses them.
    pub security: Option<String>,
}

/// One line or stanza of apt's sources.
#[derive(Debug, Default)]
struct Source {
    uris: Vec<String>,
    suites: Vec<String>,
    components: Vec<String>,
}

impl Mirror {
    /// Reads `etc/apt/sources.list` and `etc/apt/sources.list.d/` under `root`.
    ///
    /// # Errors
    /// When a file cannot be read or no Debian archive is among the sources.
    pub fn of_machine(root: &Path) -> Result<Self> {
        let mut sources = Vec::new();
        for file in source_files(root)? {
            let text =
                fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            if file.extension().is_some_and(|extension| extension == "sources") {
                sources.extend(stanzas(&text));
            } else {
                sources.extend(text.lines().filter_map(one_line));
            }
        }
        let pick = |wanted: &dyn Fn(&str, &str) -> bool| {
            sources
                .iter()
                .filter(|source| source.components.iter().any(|component| component == "main"))
                .flat_map(|source| {
                    source.suites.iter().flat_map(|suite| source.uris.iter().map(move |uri| (suite, uri)))
                })
                .find(|(suite, uri)| wanted(suite, uri))
                .map(|(_, uri)| resolve(root, uri))
                .transpose()
        };
        let archive = pick(&|suite, uri| !suite.contains(['-', '/']) && uri.contains("/debian"))?;
        let security = pick(&|suite, uri| suite.ends_with("-security") && uri.contains("/debian"))?;
        let Some(archive) = archive else {
            bail!(
                "no Debian mirror among this machine's apt sources. \
                 Add a line to /etc/apt/sources.list: deb <URL of a mirror>/debian trixie main"
            )
        };
        Ok(Self { archive, security })
    }

    /// The sources of `suite` in apt's deb822 format, signed by `keyring`.
    pub fn sources(&self, suite: &str, keyring: &str) -> String {
        self.sources_of(suite, "main", keyring)
    }

    /// The same with more than the component `main`.
    pub(crate) fn sources_of(&self, suite: &str, components: &str, keyring: &str) -> String {
        let mut text = stanza_of(&self.archive, &format!("{suite} {suite}-updates"), components, keyring);
        if let Some(security) = &self.security {
            text.push('\n');
            text.push_str(&stanza_of(security, &format!("{suite}-security"), components, keyring));
        }
        text
    }

    /// The suite that holds newer packages for `suite`.
    pub(crate) fn backports(&self, suite: &str, keyring: &str) -> String {
        stanza_of(&self.archive, &format!("{suite}-backports"), "main", keyring)
    }
}

fn stanza_of(uri: &str, suites: &str, components: &str, keyring: &str) -> String {
    format!("Types: deb\nURIs: {uri}\nSuites: {suites}\nComponents: {components}\nSigned-By: {keyring}\n")
}

/// An apt with sources and lists of its own in a folder; nothing of this machine's changes.
pub(crate) struct PrivateApt {
    folder: PathBuf,
}

impl PrivateApt {
    /// Makes `folder`, with `sources` as the only ones.
    pub(crate) fn new(folder: &Path, sources: &str) -> Result<Self> {
        for name in ["lists/partial", "cache/archives/partial", "parts"] {
            let path = folder.join(name);
            fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        }
        let apt = Self { folder: folder.to_owned() };
        apt.write("debian.sources", sources)?;
        Ok(apt)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// An option that sets `key` to the path of `name` in the folder.
    pub(crate) fn option(&self, key: &str, name: &str) -> String {
        format!("-o{key}={}", self.folder.join(name).display())
    }

    /// What every call of `apt-get` has to begin with.
    pub(crate) fn options(&self) -> Vec<String> {
        let mut options: Vec<String> = [
            ("Dir::Etc::sourcelist", "debian.sources"),
            ("Dir::Etc::sourceparts", "parts"),
            ("Dir::State::lists", "lists"),
            ("Dir::Cache", "cache"),
        ]
        .map(|(key, name)| self.option(key, name))
        .to_vec();
        options.extend(
            ["-oAPT::Sandbox::User=root", "-oAPT::Update::Error-Mode=any", "-oAcquire::Languages=none"]
                .map(str::to_owned),
        );
        options
    }
}

fn source_files(root: &Path) -> Result<Vec<PathBuf>> {
    let apt = root.join("etc/apt");
    let mut files = Vec::new();
    let single = apt.join("sources.list");
    if single.exists() {
        files.push(single);
    }
    let folder = apt.join("sources.list.d");
    if folder.exists() {
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
            let path = entry.with_context(|| format!("cannot list {}", folder.display()))?.path();
            if path.extension().is_some_and(|extension| extension == "list" || extension == "sources") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// `deb [options] URI suite component…`
fn one_line(line: &str) -> Option<Source> {
    let rest = line.trim().strip_prefix("deb ")?.trim_start();
    let rest = if rest.starts_with('[') { rest.split_once(']')?.1 } else { rest };
    let mut words = rest.split_whitespace().map(str::to_owned);
    Some(Source { uris: vec![words.next()?], suites: vec![words.next()?], components: words.collect() })
}

/// deb822 stanzas, without the disabled ones and those of source packages.
fn stanzas(text: &str) -> Vec<Source> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let is_empty = |line: &&str| line.trim().is_empty();
    lines.split(is_empty).filter_map(stanza).collect()
}

fn stanza(lines: &[&str]) -> Option<Source> {
    let mut source = Source::default();
    let mut key = String::new();
    for line in lines {
        let values = if line.starts_with([' ', '\t']) {
            *line
        } else {
            let (name, values) = line.split_once(':')?;
            key = name.trim().to_ascii_lowercase();
            values
        };
        let mut words = values.split_whitespace().map(str::to_owned);
        match key.as_str() {
            "enabled" if words.next().is_some_and(|word| word.eq_ignore_ascii_case("no")) => return None,
            "types" if !words.any(|word| word == "deb") => return None,
            "uris" => source.uris.extend(words),
            "suites" => source.suites.extend(words),
            "components" => source.components.extend(words),
            _ => {}
        }
    }
    Some(source)
}

/// Cloud images name a file of mirrors instead of a mirror: takes the first one in it.
fn resolve(root: &Path, uri: &str) -> Result<String> {
    let Some(list) = uri.strip_prefix("mirror+file:") else {
        return Ok(uri.trim_end_matches('/').to_owned());
    };
    let path = root.join(list.trim_start_matches('/'));
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let first =
        text.lines().filter(|line| !line.starts_with('#')).find_map(|line| line.split_whitespace().next());
    let first = first.with_context(|| format!("no mirror in {}", path.display()))?;
    Ok(first.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn reads_the_one_line_format_and_skips_other_vendors() {
        let root = machine(&[(
            "etc/apt/sources.list",
            "# deb http://old.example/debian bookworm main\n\
             deb https://vendor.example/linux/debian bookworm stable\n\
             deb [arch=amd64 signed-by=/k] http://mirror.example/debian/ bookworm main contrib\n\
             deb http://mirror.example/debian-security bookworm-security main\n",
        )]);
        let mirror = Mirror::of_machine(root.path()).unwrap();
        assert_eq!(mirror.archive, "http://mirror.example/debian");
        assert_eq!(mirror.security.as_deref(), Some("http://mirror.example/debian-security"));
    }

    #[test]
    fn reads_stanzas_with_comments_inside_and_lists_of_mirrors() {
        let root = machine(&[
            (
                "etc/apt/sources.list.d/debian.sources",
                "Types: deb\n# a comment\nURIs: mirror+file:///etc/apt/mirrors/debian.list\nSuites: trixie\n trixie-updates\n\
                 Components: main\n\nEnabled: no\nTypes: deb\nURIs: http://off.example/debian-security\n\
                 Suites: trixie-security\nComponents: main\n",
            ),
            ("etc/apt/mirrors/debian.list", "# fastest first\nhttps://cloud.example/debian priority:1\n"),
        ]);
        let mirror = Mirror::of_machine(root.path()).unwrap();
        assert_eq!(mirror, Mirror { archive: "https://cloud.example/debian".to_owned(), security: None });
        assert_eq!(
            mirror.sources("trixie", "/k.gpg"),
            "Types: deb\nURIs: https://cloud.example/debian\nSuites: trixie trixie-updates\nComponents: main\nSigned-By: /k.gpg\n"
        );
    }

    #[test]
    fn a_machine_without_a_debian_mirror_is_told_what_to_add() {
        let error = Mirror::of_machine(machine(&[]).path()).unwrap_err().to_string();
        assert!(error.contains("/etc/apt/sources.list"), "{error}");
    }
}
