//! Hosts besides the publisher's that images may be downloaded from: those that the user confirmed.
//!
//! A cluster file and its lock may come from somebody else, so neither can confirm a host. The user's confirmations are
//! in `trusted-hosts.json` in the configuration folder of the user, under `sudo` of the invoking user. They are of two
//! kinds. An *image host* may serve an image that the cluster file names by URL. A *mirror* may also serve the images
//! that have a name: its list was once given with `--os-list`. A confirmed image host is not a mirror, because a lock
//! could otherwise replace the publisher's image by any other file of that host.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use reqwest::Url;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::catalog::is_publishers;
use crate::dir::{Dir, PRIVATE_FOLDER};
use crate::error::{Failure, Kind, hint, program};
use crate::json::{self, Unread};
use crate::scratch::{Existing, Scratch};
use crate::{home, regular};

/// The file's name.
const NAME: &str = "trusted-hosts.json";
/// The format.
const VERSION: u32 = 1;
/// Largest file, in bytes: thousands of hosts.
const LIMIT: u64 = 1 << 20;

/// A host, with its port unless that is 80 or 443: `example.org`, `10.1.1.5:8080`, `[fd00::5]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageHost(String);

/// The text is not a host.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("it is not a host like example.org or 10.1.1.5:8080")]
pub struct NotHost;

impl ImageHost {
    /// The host of an `http:` or `https:` URL.
    pub fn of(url: &Url) -> Option<Self> {
        let host = url.host_str().filter(|host| !host.is_empty())?;
        // A scheme's own port goes without saying, and either scheme may follow from the other by a redirect.
        Some(Self(match url.port().filter(|port| ![80, 443].contains(port)) {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }))
    }
}

impl FromStr for ImageHost {
    type Err = NotHost;

    /// Reads a host as a person writes it. A URL stands for its host.
    fn from_str(text: &str) -> Result<Self, NotHost> {
        let url = match text.contains("://") {
            true => Url::parse(text).ok().filter(|url| ["http", "https"].contains(&url.scheme())),
            false => {
                let url = Url::parse(&format!("https://{text}/")).ok();
                url.filter(|url| url.path() == "/" && url.query().is_none() && url.fragment().is_none())
            }
        };
        let url = url.filter(|url| url.username().is_empty() && url.password().is_none()).ok_or(NotHost)?;
        // `*` is a host to the standard of URLs, and a pattern to people.
        Self::of(&url).filter(|host| !host.0.contains('*')).ok_or(NotHost)
    }
}

impl TryFrom<String> for ImageHost {
    type Error = NotHost;

    fn try_from(text: String) -> Result<Self, NotHost> {
        text.parse()
    }
}

impl From<ImageHost> for String {
    fn from(host: ImageHost) -> Self {
        host.0
    }
}

impl fmt::Display for ImageHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The confirmed hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedHosts {
    /// Where they are kept; `None` for a user without a home folder, who can confirm none.
    file: Option<PathBuf>,
    image_hosts: BTreeSet<ImageHost>,
    /// Origins such as `https://mirror.example.org`. With the scheme: a mirror over https is not one over http.
    mirrors: BTreeSet<String>,
}

/// The file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    #[serde(default)]
    image_hosts: BTreeSet<ImageHost>,
    #[serde(default)]
    mirrors: BTreeSet<String>,
}

/// Why the confirmed hosts cannot be used.
#[derive(Debug, Error)]
pub enum TrustError {
    /// The user has no home folder.
    #[error("this user has no home folder to keep confirmed hosts in")]
    NoHome,
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// Somebody else may have confirmed a host in it.
    #[error("others than you may write {}", .0.display())]
    Exposed(PathBuf),
    /// The file is not a list of hosts.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        #[source]
        source: serde_json::Error,
    },
    /// The file is longer than any list of hosts.
    #[error("{} is damaged: it is too long", .0.display())]
    TooLong(PathBuf),
    /// A newer builder wrote it.
    #[error("{} has version {version}; this builder knows version {VERSION}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// It cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl From<TrustError> for Failure {
    fn from(error: TrustError) -> Self {
        let hint = match &error {
            TrustError::Damaged { path, .. } | TrustError::TooLong(path) => {
                Some(hint!["delete it, then confirm the hosts again: ", program(["rm"]).path(path)])
            }
            TrustError::Exposed(path) => Some(hint![
                "delete it, or, if all hosts in it are yours, make it yours alone: ",
                program(["chmod", "600"]).path(path)
            ]),
            TrustError::Version { .. } => Some("use the builder that wrote it, or a newer one".into()),
            TrustError::NoHome | TrustError::Read { .. } | TrustError::Write { .. } => {
                Some("set XDG_CONFIG_HOME to a folder that you can write to".into())
            }
        };
        let failure = Self::new(Kind::Failed, error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl TrustedHosts {
    /// Reads the user's confirmed hosts. Without a file there are none.
    ///
    /// # Errors
    /// See [`TrustError`]. A damaged file is never an absent one.
    pub fn read() -> Result<Self, TrustError> {
        match home::config() {
            Some(folder) => Self::at(&folder.join(NAME)),
            None => Ok(Self::default()),
        }
    }

    /// Reads the hosts that are kept in a file.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn at(path: &Path) -> Result<Self, TrustError> {
        let path = path.to_owned();
        let file = match regular::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self { file: Some(path), ..Self::default() });
            }
            Err(source) => return Err(TrustError::Read { path, source }),
        };
        let read = |file: &File| {
            let found = file.metadata()?;
            let mut text = Vec::new();
            file.take(LIMIT + 1).read_to_end(&mut text)?;
            Ok((found, text))
        };
        let (found, text) = read(&file).map_err(|source| TrustError::Read { path: path.clone(), source })?;
        if ![0, rustix::process::geteuid().as_raw()].contains(&found.uid()) || found.mode() & 0o022 != 0 {
            return Err(TrustError::Exposed(path));
        }
        if text.len() as u64 > LIMIT {
            return Err(TrustError::TooLong(path));
        }
        let Document { image_hosts, mirrors, .. } =
            json::read_versioned(&text, VERSION..=VERSION).map_err(|unread| match unread {
                Unread::Version(version) => TrustError::Version { path: path.clone(), version },
                Unread::Damaged(source) => TrustError::Damaged { path: path.clone(), source },
            })?;
        Ok(Self { file: Some(path), image_hosts, mirrors })
    }

    /// Whether an image that the cluster file names by URL may be downloaded from there.
    pub fn may_serve(&self, url: &Url) -> bool {
        let is_known = |host: &ImageHost| self.image_hosts.contains(host);
        is_publishers(url) || self.is_mirror(url) || ImageHost::of(url).as_ref().is_some_and(is_known)
    }

    /// Whether an image that has a name in the catalog may be there: at the publisher's, or at a mirror.
    pub fn may_serve_named(&self, url: &Url) -> bool {
        is_publishers(url) || self.is_mirror(url)
    }

    fn is_mirror(&self, url: &Url) -> bool {
        self.mirrors.contains(&url.origin().ascii_serialization())
    }

    /// The confirmed image hosts.
    pub fn image_hosts(&self) -> impl Iterator<Item = &ImageHost> {
        self.image_hosts.iter()
    }

    /// The origins of mirrors.
    pub fn mirrors(&self) -> impl Iterator<Item = &str> {
        self.mirrors.iter().map(String::as_str)
    }

    /// Keeps that the user confirmed an image host.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn confirm(&mut self, host: &ImageHost) -> Result<(), TrustError> {
        self.change(|known| _ = known.image_hosts.insert(host.clone()))
    }

    /// Keeps that the user named a list at this address with `--os-list`.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn confirm_mirror(&mut self, list: &Url) -> Result<(), TrustError> {
        let origin = list.origin().ascii_serialization();
        self.change(|known| _ = known.mirrors.insert(origin))
    }

    /// Forgets a host, also as a mirror. Returns whether it was known.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn forget(&mut self, host: &ImageHost) -> Result<bool, TrustError> {
        let mut was_known = false;
        self.change(|known| {
            let before = known.mirrors.len();
            known.mirrors.retain(|mirror| mirror.parse::<ImageHost>().as_ref() != Ok(host));
            was_known = known.image_hosts.remove(host) || known.mirrors.len() < before;
        })?;
        Ok(was_known)
    }

    /// Changes what the file has by now, and writes it as a whole if that changes it.
    fn change(&mut self, change: impl FnOnce(&mut Self)) -> Result<(), TrustError> {
        let path = self.file.clone().ok_or(TrustError::NoHome)?;
        let write = |source: Box<dyn std::error::Error + Send + Sync>| TrustError::Write {
            path: path.clone(),
            source,
        };
        let parent = path.parent().unwrap_or(Path::new("."));
        let (folder, made) = Dir::make(parent, PRIVATE_FOLDER).map_err(|source| write(source.into()))?;
        made.keep();
        // Another run may confirm another host at the same time.
        let lock = File::open(parent).map_err(|source| write(source.into()))?;
        let _best_effort = lock.lock();
        let before = Self::at(&path)?;
        *self = before.clone();
        change(self);
        if *self == before {
            return Ok(());
        }
        self.write(&folder).map_err(write)
    }

    /// Only the owner can read the file: it says which hosts the user deals with.
    fn write(&self, folder: &Dir) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let (image_hosts, mirrors) = (self.image_hosts.clone(), self.mirrors.clone());
        let text = serde_json::to_string_pretty(&Document { version: VERSION, image_hosts, mirrors })?;
        let scratch = Scratch::new_in(folder)?;
        scratch.file().write_all(format!("{text}\n").as_bytes())?;
        scratch.publish(NAME, Existing::Replace)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn host(text: &str) -> ImageHost {
        text.parse().unwrap()
    }

    fn file() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("builder").join(NAME);
        (folder, path)
    }

    #[test]
    fn hosts_are_written_in_one_way() {
        for (written, meant) in [
            ("example.org", "example.org"),
            ("EXAMPLE.org:443", "example.org"),
            ("example.org:80", "example.org"),
            ("http://example.org/os.img.xz", "example.org"),
            ("https://example.org:8443/x", "example.org:8443"),
            ("10.1.1.5:8080", "10.1.1.5:8080"),
            ("[fd00::5]:8080", "[fd00::5]:8080"),
            ("bücher.example", "xn--bcher-kva.example"),
        ] {
            assert_eq!(host(written).to_string(), meant, "{written}");
        }
        for wrong in [
            "",
            ":80",
            "example.org/os.img",
            "a b",
            "pi@example.org",
            "example.org?x",
            "file:///etc/passwd",
            "*",
        ] {
            assert!(wrong.parse::<ImageHost>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn nobody_but_the_publisher_is_trusted_at_first() {
        let (_folder, path) = file();
        let hosts = TrustedHosts::at(&path).unwrap();
        assert!(hosts.may_serve(&url("https://downloads.raspberrypi.com/os.img.xz")));
        for other in ["https://example.org/os.img.xz", "http://127.0.0.1/os.img.xz", "http://localhost:1/x"] {
            assert!(!hosts.may_serve(&url(other)) && !hosts.may_serve_named(&url(other)), "{other}");
        }
        assert!(!path.exists(), "reading writes nothing");
    }

    #[test]
    fn a_confirmed_host_is_kept_with_its_port_and_is_not_a_mirror() {
        let (_folder, path) = file();
        let mut hosts = TrustedHosts::at(&path).unwrap();
        hosts.confirm(&host("example.org")).unwrap();
        let again = TrustedHosts::at(&path).unwrap();
        assert_eq!(again, hosts);
        assert!(
            again.may_serve(&url("https://example.org/a")) && again.may_serve(&url("http://example.org/a"))
        );
        assert!(!again.may_serve_named(&url("https://example.org/a")));
        for other in
            ["https://example.org:8443/a", "https://www.example.org/a", "https://example.org.evil.test/"]
        {
            assert!(!again.may_serve(&url(other)), "{other}");
        }
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn a_mirror_is_known_by_its_scheme_too() {
        let (_folder, path) = file();
        let mut hosts = TrustedHosts::at(&path).unwrap();
        hosts.confirm_mirror(&url("https://mirror.test:8443/list.json")).unwrap();
        assert!(hosts.may_serve_named(&url("https://mirror.test:8443/os.img.xz")));
        assert!(!hosts.may_serve_named(&url("http://mirror.test:8443/os.img.xz")));
        assert!(!hosts.may_serve_named(&url("https://mirror.test/os.img.xz")));
    }

    #[test]
    fn a_forgotten_host_is_no_longer_trusted() {
        let (_folder, path) = file();
        let mut hosts = TrustedHosts::at(&path).unwrap();
        hosts.confirm(&host("example.org")).unwrap();
        hosts.confirm_mirror(&url("https://example.org/list.json")).unwrap();
        assert!(hosts.forget(&host("example.org")).unwrap());
        assert!(!hosts.forget(&host("example.org")).unwrap());
        assert!(!TrustedHosts::at(&path).unwrap().may_serve(&url("https://example.org/a")));
    }

    #[test]
    fn two_runs_keep_each_other_s_hosts() {
        let (_folder, path) = file();
        let [mut one, mut two] = [&path, &path].map(|path| TrustedHosts::at(path).unwrap());
        one.confirm(&host("one.test")).unwrap();
        two.confirm(&host("two.test")).unwrap();
        assert_eq!(TrustedHosts::at(&path).unwrap().image_hosts().count(), 2);
    }

    #[test]
    fn a_file_that_others_may_write_or_that_is_damaged_is_refused() {
        let (_folder, path) = file();
        TrustedHosts::at(&path).unwrap().confirm(&host("example.org")).unwrap();
        for mode in [0o620, 0o602, 0o666] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let failure = Failure::from(TrustedHosts::at(&path).unwrap_err()).render();
            assert!(
                failure.contains("others than you may write") && failure.contains("chmod 600"),
                "{failure}"
            );
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let long = " ".repeat(2 << 20);
        for (text, reason) in [
            ("", "is damaged"),
            (r#"{"version": 1, "hosts": []}"#, "is damaged"),
            (r#"{"version": 1, "image_hosts": ["a/b"]}"#, "is damaged"),
            (r#"{"version": 2}"#, "has version 2"),
            (&long, "it is too long"),
        ] {
            std::fs::write(&path, text).unwrap();
            let failure = Failure::from(TrustedHosts::at(&path).unwrap_err()).render();
            assert!(failure.contains(reason) && failure.contains("hint: "), "{failure}");
        }
    }
}
