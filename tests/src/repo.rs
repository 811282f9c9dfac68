//! A signed apt repository of Docker's layout, with a key made for the occasion.
//!
//! Its packages are Debian's own engine, client and containerd under Docker's names and versions. They cannot merely
//! depend on Debian's packages: those conflict with Docker's names.

mod serve;

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

pub use self::serve::Server;

/// Programs a repository is made with.
pub const PROGRAMS: [&str; 4] = ["dpkg-deb", "gpg", "gpgconf", "gzip"];

/// Docker's name, the package of Debian it is made from, version without Docker's suffix for the distribution.
const PACKAGES: [(&str, &str, &str); 3] = [
    ("containerd.io", "containerd", "2.1.5-1"),
    ("docker-ce", "docker.io", "5:29.0.0-1"),
    ("docker-ce-cli", "docker-cli", "5:29.0.0-1"),
];

/// A repository in a folder.
#[derive(Debug)]
pub struct Repo {
    folder: PathBuf,
    codename: String,
    architecture: String,
    /// What its index calls it.
    origin: String,
    key: String,
}

impl Repo {
    /// Makes a repository in the new folder `folder` for one release of Debian and one architecture.
    ///
    /// # Errors
    /// When the folder exists, a program is missing (saying what to type) or fails.
    pub fn new(folder: &Path, codename: &str, architecture: &str) -> Result<Self> {
        images::require(&PROGRAMS)?;
        fs::create_dir(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let mut repo = Self {
            folder: folder.to_owned(),
            codename: codename.to_owned(),
            architecture: architecture.to_owned(),
            origin: "Docker".to_owned(),
            key: String::new(),
        };
        let debs =
            images::download(architecture, &PACKAGES.map(|(_, origin, _)| origin), &folder.join("debian"))?;
        for (name, origin, version) in PACKAGES {
            let is_it = |deb: &&PathBuf| {
                deb.file_name().is_some_and(|file| file.to_string_lossy().starts_with(&format!("{origin}_")))
            };
            let deb = debs.iter().find(is_it).with_context(|| format!("{origin} was not downloaded"))?;
            repo.repack(deb, name, &repo.full_version(version))?;
        }
        repo.index()?;
        repo.key = repo.sign("signer")?;
        Ok(repo)
    }

    /// Makes a repository that calls itself `origin`, of packages that contain nothing, given by name, version and further fields
    /// of their control file. A package called `broken` cannot be configured.
    ///
    /// # Errors
    /// As for [`Repo::new`].
    pub fn of_empty_packages(
        folder: &Path,
        codename: &str,
        architecture: &str,
        origin: &str,
        packages: &[(&str, &str, &str)],
    ) -> Result<Self> {
        images::require(&PROGRAMS)?;
        fs::create_dir(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let mut repo = Self {
            folder: folder.to_owned(),
            codename: codename.to_owned(),
            architecture: architecture.to_owned(),
            origin: origin.to_owned(),
            key: String::new(),
        };
        for (name, version, fields) in packages {
            let tree = folder.join(name);
            let control = format!(
                "Package: {name}\nVersion: {version}\nArchitecture: {architecture}\nMaintainer: Tests <tests@localhost>\n\
                 {fields}Description: empty\n"
            );
            write(&tree.join("DEBIAN/control"), control.as_bytes())?;
            if *name == "broken" {
                let script = tree.join("DEBIAN/postinst");
                write(&script, b"#!/bin/sh\nexit 1\n")?;
                let mode = fs::Permissions::from_mode(0o755);
                fs::set_permissions(&script, mode)
                    .with_context(|| format!("cannot change {}", script.display()))?;
            }
            repo.build(&tree, name, version)?;
        }
        repo.index()?;
        repo.key = repo.sign("signer")?;
        Ok(repo)
    }

    /// Lets the release be valid until 2001 only, signed by the same key.
    ///
    /// # Errors
    /// When a program fails.
    pub fn expire(&self) -> Result<()> {
        let path = self.release().join("Release");
        let release = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let expired = release.replacen("Date: ", "Valid-Until: Mon, 01 Jan 2001 00:00:00 +0000\nDate: ", 1);
        write(&path, expired.as_bytes())?;
        self.sign("signer").map(drop)
    }

    /// The armored public key a client is to trust.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The version of `docker-ce`.
    pub fn version(&self) -> String {
        self.full_version("5:29.0.0-1")
    }

    /// Signs everything anew with a key that is not [`Repo::key`]: a client must refuse the repository.
    ///
    /// # Errors
    /// When a program fails.
    pub fn sign_with_another_key(&self) -> Result<()> {
        self.sign("stranger").map(drop)
    }

    /// Changes a byte of every package after signing: a client must refuse to install.
    ///
    /// # Errors
    /// When a package cannot be read or written.
    pub fn tamper(&self) -> Result<()> {
        for path in self.packages()? {
            let mut bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            if let Some(last) = bytes.last_mut() {
                *last ^= 1;
            }
            write(&path, &bytes)?;
        }
        Ok(())
    }

    /// Serves the repository at an address of this host until the server is dropped.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub fn serve(&self, address: Ipv4Addr) -> Result<Server> {
        Server::start(&self.public(), address)
    }

    /// What is served; keys lie beside it.
    fn public(&self) -> PathBuf {
        self.folder.join("public")
    }

    fn release(&self) -> PathBuf {
        self.public().join("dists").join(&self.codename)
    }

    fn pool(&self) -> String {
        format!("dists/{}/pool/stable/{}", self.codename, self.architecture)
    }

    fn full_version(&self, version: &str) -> String {
        let number = if self.codename == "bookworm" { 12 } else { 13 };
        format!("{version}~debian.{number}~{}", self.codename)
    }

    fn packages(&self) -> Result<Vec<PathBuf>> {
        let pool = self.public().join(self.pool());
        let list = fs::read_dir(&pool).with_context(|| format!("cannot list {}", pool.display()))?;
        let mut paths: Vec<PathBuf> = list.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        Ok(paths)
    }

    /// Gives a package of Debian Docker's name and version.
    fn repack(&self, deb: &Path, name: &str, version: &str) -> Result<()> {
        let tree = self.folder.join(name).to_string_lossy().into_owned();
        images::run("dpkg-deb", ["--raw-extract", &deb.to_string_lossy(), &tree])?;
        let control = Path::new(&tree).join("DEBIAN/control");
        let text =
            fs::read_to_string(&control).with_context(|| format!("cannot read {}", control.display()))?;
        write(&control, rename(&text, name, version).as_bytes())?;
        self.build(Path::new(&tree), name, version)
    }

    /// Packs a tree into the pool.
    fn build(&self, tree: &Path, name: &str, version: &str) -> Result<()> {
        // An epoch is no part of a file's name.
        let version = version.split_once(':').map_or(version, |(_, version)| version);
        let file =
            self.public().join(self.pool()).join(format!("{name}_{version}_{}.deb", self.architecture));
        make_folder_of(&file)?;
        images::run(
            "dpkg-deb",
            [
                "--root-owner-group",
                "-Zgzip",
                "-z1",
                "--build",
                &tree.to_string_lossy(),
                &file.to_string_lossy(),
            ],
        )
    }

    /// Writes `Packages.gz` and `Release`.
    fn index(&self) -> Result<()> {
        let mut index = String::new();
        for path in self.packages()? {
            let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let control = images::capture("dpkg-deb", ["--field", &path.to_string_lossy()])?;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            index.push_str(String::from_utf8_lossy(&control).trim_end());
            index.push_str(&format!(
                "\nFilename: {}/{name}\nSize: {}\nSHA256: {}\n\n",
                self.pool(),
                bytes.len(),
                digest(&bytes)
            ));
        }
        let plain = format!("stable/binary-{}/Packages", self.architecture);
        let path = self.release().join(&plain);
        write(&path, index.as_bytes())?;
        let packed = images::capture("gzip", ["--stdout", "-n", &path.to_string_lossy()])?;
        write(&path.with_extension("gz"), &packed)?;
        let date = images::capture("date", ["--utc", "--rfc-email"])?;
        let release = format!(
            "Origin: {7}\nLabel: Docker CE\nSuite: {0}\nCodename: {0}\nDate: {1}\nArchitectures: {2}\nComponents: stable\n\
             SHA256:\n {3} {4} {plain}\n {5} {6} {plain}.gz\n",
            self.codename,
            String::from_utf8_lossy(&date).trim(),
            self.architecture,
            digest(index.as_bytes()),
            index.len(),
            digest(&packed),
            packed.len(),
            self.origin,
        );
        write(&self.release().join("Release"), release.as_bytes())
    }

    /// Signs the release with the key called `name`, made if there is none, and returns its public half.
    fn sign(&self, name: &str) -> Result<String> {
        let home = self.folder.join("keys").join(name);
        let is_new = !home.is_dir();
        fs::create_dir_all(&home).with_context(|| format!("cannot create {}", home.display()))?;
        let home = home.to_string_lossy().into_owned();
        let gpg = |words: &[&str]| {
            let options =
                ["--homedir", &home, "--batch", "--yes", "--pinentry-mode", "loopback", "--passphrase", ""];
            images::capture("gpg", options.iter().chain(words))
        };
        let release = self.release().join("Release").to_string_lossy().into_owned();
        let signed = self.release().join("InRelease").to_string_lossy().into_owned();
        let made = if is_new {
            gpg(&["--quick-generate-key", name, "rsa3072", "sign", "never"]).map(drop)
        } else {
            Ok(())
        };
        let key = made
            .and_then(|()| gpg(&["--output", &signed, "--clear-sign", &release]))
            .and_then(|_| gpg(&["--armor", "--export"]));
        images::run("gpgconf", ["--homedir", &home, "--kill", "all"])?;
        String::from_utf8(key?).context("gpg prints no text")
    }
}

/// The control file of a package of Debian under another name, depending on its siblings' new names.
fn rename(control: &str, name: &str, version: &str) -> String {
    let mut out = String::new();
    let mut dropped = false;
    for line in control.lines() {
        if line.starts_with(' ') && dropped {
            continue;
        }
        let (key, value) = line.split_once(':').unwrap_or((line, ""));
        dropped = ["Breaks", "Conflicts", "Provides", "Recommends", "Replaces", "Suggests", "Source"]
            .contains(&key);
        match key {
            _ if dropped => {}
            "Package" => out.push_str(&format!("Package: {name}\n")),
            "Version" => out.push_str(&format!("Version: {version}\n")),
            "Depends" => out.push_str(&format!("Depends:{}\n", siblings(name, value))),
            _ => out.push_str(&format!("{line}\n")),
        }
    }
    out
}

/// Debian's dependencies with the siblings' names, and those of Docker's engine.
fn siblings(name: &str, depends: &str) -> String {
    let own =
        |wish: &str| PACKAGES.iter().any(|(_, origin, _)| wish.split_whitespace().next() == Some(origin));
    let mut wishes: Vec<&str> = depends.split(',').map(str::trim).filter(|wish| !own(wish)).collect();
    if name == "docker-ce" {
        wishes.extend(["containerd.io", "docker-ce-cli"]);
    }
    format!(" {}", wishes.join(", "))
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn make_folder_of(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    make_folder_of(path)?;
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Updates from the repository with an apt whose every file is in `folder`, then downloads docker-ce.
    fn fetch(folder: &Path, repo: &Repo) -> Result<()> {
        let server = repo.serve(Ipv4Addr::LOCALHOST)?;
        let key = folder.join("key.asc");
        write(&key, repo.key().as_bytes())?;
        fs::create_dir_all(folder.join("lists/partial"))?;
        fs::create_dir_all(folder.join("cache/archives/partial"))?;
        fs::create_dir_all(folder.join("parts"))?;
        write(&folder.join("status"), b"")?;
        let line = format!("deb [signed-by={}] {} trixie stable\n", key.display(), server.url());
        write(&folder.join("sources.list"), line.as_bytes())?;
        let at = |key: &str, name: &str| format!("-o{key}={}", folder.join(name).display());
        let options = [
            at("Dir::Etc::sourcelist", "sources.list"),
            at("Dir::Etc::sourceparts", "parts"),
            at("Dir::State::lists", "lists"),
            at("Dir::State::status", "status"),
            at("Dir::Cache", "cache"),
            "-oAPT::Sandbox::User=root".to_owned(),
            "-oAPT::Update::Error-Mode=any".to_owned(),
            format!("-oAPT::Architecture={}", repo.architecture),
        ];
        let apt = |words: &[&str]| {
            images::run("apt-get", options.iter().map(String::as_str).chain(words.iter().copied()))
        };
        apt(&["update"])?;
        let download = format!(
            "cd '{}' && exec apt-get {} download docker-ce",
            folder.display(),
            options.map(|option| format!("'{option}'")).join(" ")
        );
        images::run("sh", ["-ec", &download])
    }

    fn new(lab: &Path) -> Repo {
        Repo::new(&lab.join("repo"), "trixie", &images::host_architecture().unwrap()).unwrap()
    }

    #[test]
    fn a_package_of_docker_depends_on_dockers_names() {
        let control = "Package: docker.io\nVersion: 26.1\nDepends: adduser, containerd (>= 1.4), libc6 (>= 2.38)\n\
                       Conflicts: docker-ce,\n docker\nDescription: engine\n more\n";
        assert_eq!(
            rename(control, "docker-ce", "5:29"),
            "Package: docker-ce\nVersion: 5:29\nDepends: adduser, libc6 (>= 2.38), containerd.io, docker-ce-cli\n\
             Description: engine\n more\n"
        );
    }

    #[test]
    fn apt_takes_what_the_key_signed() {
        let lab = tempfile::tempdir().unwrap();
        fetch(&lab.path().join("apt"), &new(lab.path())).unwrap();
    }

    #[test]
    fn apt_refuses_another_key() {
        let lab = tempfile::tempdir().unwrap();
        let repo = new(lab.path());
        repo.sign_with_another_key().unwrap();
        let error = fetch(&lab.path().join("apt"), &repo).unwrap_err().to_string();
        assert!(error.contains("NO_PUBKEY") || error.contains("not signed"), "{error}");
    }

    #[test]
    fn apt_refuses_a_changed_package() {
        let lab = tempfile::tempdir().unwrap();
        let repo = new(lab.path());
        repo.tamper().unwrap();
        let error = fetch(&lab.path().join("apt"), &repo).unwrap_err().to_string();
        assert!(error.contains("Hash Sum mismatch"), "{error}");
    }
}
