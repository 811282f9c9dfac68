//! A folder with a cache, and images that are packed.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::LazyLock;
use std::time::Duration;

use builder::cache::Cache;
use builder::digest::{self, Digest};
use builder::error::Failure;
use builder::fetch::{Base, Fetcher};
use builder::report::Progress;
use builder::trusted_hosts::TrustedHosts;
use cluster::spec::ImageSource;
use tempfile::TempDir;

/// Bytes of the image. It does not pack, so the file is about as long.
pub(crate) const SIZE: usize = 3 << 20;

/// Short waits: what is tested is what follows them.
const PAUSES: [Duration; 3] = [Duration::from_millis(1); 3];

pub(crate) struct Bench(TempDir);

impl Bench {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn cache(&self) -> Cache {
        Cache::open(Some(&self.path("cache"))).unwrap()
    }

    /// Fetches in this process.
    pub(crate) fn fetch(&self, url: &str, sha256: Digest) -> Result<Base, Failure> {
        let source = ImageSource { location: url.to_owned(), sha256: Some(sha256.to_string()) };
        let (cache, progress) = (self.cache(), Progress::new(true, false));
        let hosts = self.trusts(url);
        Fetcher::new(&cache, &hosts, &progress).with_pauses(&PAUSES).base(&source, self.0.path())
    }

    /// The user's confirmed hosts, in the home folder of the program.
    pub(crate) fn hosts(&self) -> TrustedHosts {
        TrustedHosts::at(&self.path(".config/builder/trusted-hosts.json")).unwrap()
    }

    /// The same with the host of that address.
    pub(crate) fn trusts(&self, url: &str) -> TrustedHosts {
        let mut hosts = self.hosts();
        hosts.confirm(&url.parse().unwrap()).unwrap();
        hosts
    }

    /// Fetches, and compares with the image.
    pub(crate) fn brings(&self, url: &str, sha256: Digest) -> Base {
        let base = self.fetch(url, sha256).unwrap_or_else(|failure| panic!("{}", failure.render()));
        assert!(fs::read(&base.path).unwrap() == image(), "other bytes than the image's");
        assert_eq!(self.names("cache/downloads"), [""; 0], "a download that was used is removed");
        base
    }

    /// What is said when it cannot be fetched; nothing is in the cache then.
    pub(crate) fn refuses(&self, url: &str, sha256: Digest) -> String {
        self.refuses_as(1, url, sha256)
    }

    /// The same with another exit code.
    pub(crate) fn refuses_as(&self, code: u8, url: &str, sha256: Digest) -> String {
        let failure = self.fetch(url, sha256).unwrap_err();
        assert_eq!(failure.kind().code(), code);
        assert_eq!(self.names("cache/images"), [""; 0]);
        let text = failure.render();
        assert!(text.contains("hint: "), "{text}");
        text
    }

    /// The files in a folder.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Bytes of the only unfinished download.
    pub(crate) fn so_far(&self) -> usize {
        let names = self.names("cache/downloads");
        let [note, partial] = names.as_slice() else { panic!("{names:?}") };
        assert!(note.ends_with(".json") && partial.ends_with(".partial"));
        usize::try_from(fs::metadata(self.path("cache/downloads").join(partial)).unwrap().len()).unwrap()
    }

    /// The real program, in a home of its own.
    pub(crate) fn builder(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_builder"));
        command.current_dir(self.0.path()).env_clear().env("HOME", self.0.path());
        command.args(["--cache", "cache"]).args(words);
        command
    }

    pub(crate) fn run(&self, words: &[&str]) -> Ended {
        Ended::from(&self.builder(words).output().unwrap())
    }
}

/// How the program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) said: String,
}

impl From<&Output> for Ended {
    fn from(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Self { code: output.status.code(), out: text(&output.stdout), said: text(&output.stderr) }
    }
}

impl Ended {
    /// What a success has printed.
    pub(crate) fn done(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.said);
        self.out
    }

    /// What a failure with that exit code has said.
    pub(crate) fn failed(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.said);
        assert!(self.said.contains("hint: "), "{}", self.said);
        self.said
    }
}

static IMAGE: LazyLock<Vec<u8>> = LazyLock::new(|| other_image(1));
static XZ: LazyLock<Vec<u8>> = LazyLock::new(|| packed(&IMAGE, "xz -0 -c os.img"));

/// A disk image whose bytes do not pack.
pub(crate) fn image() -> Vec<u8> {
    IMAGE.clone()
}

/// The same, packed.
pub(crate) fn xz() -> Vec<u8> {
    XZ.clone()
}

/// Another for every seed.
pub(crate) fn other_image(seed: u32) -> Vec<u8> {
    let mut state = seed;
    let mut image = vec![0; SIZE];
    image.fill_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    });
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    image
}

/// Packed by a program of the system, which reads the image from its standard input.
pub(crate) fn packed(image: &[u8], pack: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("os.img"), image).unwrap();
    let output = Command::new("sh").args(["-c", pack]).current_dir(folder.path()).output().unwrap();
    assert!(output.status.success());
    output.stdout
}

pub(crate) fn sum(bytes: &[u8]) -> Digest {
    digest::of_bytes(bytes)
}
