//! The agent's calls of apt, in trees of Debian 12 (apt 2.6) and Debian 13 (apt 3.0), against repositories made here.
//!
//! Needs root, and a Debian mirror for the trees, which are kept under `target/tmp`.
#![expect(clippy::unwrap_used, reason = "these are tests: a panic is how they fail")]

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use cluster::card::{CardDocker, DockerSource, Start};
use firstboot::agent::status::chain;
use firstboot::host::real::RealHost;
use firstboot::host::{Host as _, Program};
use firstboot::steps::docker::install::{install, prepare};
use tempfile::TempDir;
use tests::repo::{Repo, Server};

const SOURCES: &str = "etc/apt/sources.list.d/docker.sources";
const OLD_LIST: &str = "etc/apt/sources.list.d/docker.list";

/// A system with apt, a repository in the place of the distribution's, and one in the place of Docker's.
struct World {
    suite: &'static str,
    root: PathBuf,
    host: RealHost,
    repo: Repo,
    server: Server,
    lab: TempDir,
}

/// Debian's required packages and apt, as they come.
fn tree(suite: &str) -> PathBuf {
    images::require_root("making a tree").unwrap();
    images::require(&["mmdebstrap", "dpkg-deb"]).unwrap();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let tree = folder.join(format!("apt-{suite}"));
    if !tree.is_dir() {
        let making = tempfile::tempdir_in(folder).unwrap();
        let new = making.path().join("root");
        let mirror = images::apt::Mirror::of_machine(Path::new("/")).unwrap().archive;
        images::run(
            "mmdebstrap",
            ["--variant=apt", "--quiet", "--include=ca-certificates", suite, &new.to_string_lossy(), &mirror],
        )
        .unwrap();
        fs::rename(&new, &tree).unwrap();
    }
    tree
}

impl World {
    fn new(suite: &'static str) -> Self {
        let lab = tempfile::tempdir().unwrap();
        let root = lab.path().join("root");
        images::run("cp", ["--archive", &tree(suite).to_string_lossy(), &root.to_string_lossy()]).unwrap();
        let architecture = images::host_architecture().unwrap();
        let mut packages = vec![
            ("iptables", "1.8"),
            ("docker.io", "26.1"),
            ("docker-ce", "5:29.0.0-1"),
            ("docker-ce-cli", "5:29.0.0-1"),
            ("containerd.io", "2.1"),
            ("broken", "1"),
        ];
        if suite == "trixie" {
            packages.push(("docker-cli", "26.1"));
        }
        let repo =
            Repo::of_empty_packages(&lab.path().join("repo"), suite, &architecture, &packages).unwrap();
        let server = repo.serve(Ipv4Addr::LOCALHOST).unwrap();
        let world = Self { suite, host: RealHost::new(root.clone()), root, repo, server, lab };
        world.write("etc/apt/keyrings/debian.asc", world.repo.key());
        world.reset();
        world
    }

    /// Only the distribution's repository, no lists, none of our packages.
    fn reset(&self) {
        for folder in ["etc/apt/sources.list.d", "etc/apt/preferences.d", "var/lib/apt/lists"] {
            let folder = self.root.join(folder);
            fs::remove_dir_all(&folder).unwrap();
            fs::create_dir(&folder).unwrap();
        }
        for file in ["etc/apt/sources.list", "etc/apt/keyrings/docker.asc"] {
            drop(fs::remove_file(self.root.join(file)));
        }
        self.write(
            "etc/apt/sources.list.d/debian.list",
            &format!(
                "deb [signed-by=/etc/apt/keyrings/debian.asc] {} {} stable\n",
                self.server.url(),
                self.suite
            ),
        );
        let ours = "dpkg --purge docker.io docker-cli iptables docker-ce docker-ce-cli containerd.io broken";
        self.run(&["sh", "-c", &format!("{ours} 2>/dev/null")]);
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn has(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    /// Whether a program in the tree succeeds.
    fn run(&self, words: &[&str]) -> bool {
        Command::new("chroot").arg(&self.root).args(words).output().unwrap().status.success()
    }

    /// Another repository beside the distribution's.
    fn other(&self, name: &str) -> (Repo, Server) {
        let architecture = images::host_architecture().unwrap();
        let folder = self.lab.path().join(name);
        let repo = Repo::of_empty_packages(&folder, self.suite, &architecture, &[("other", "1")]).unwrap();
        let server = repo.serve(Ipv4Addr::LOCALHOST).unwrap();
        (repo, server)
    }

    fn install_as(&self, docker: &CardDocker, again: bool) -> Result<Vec<String>, String> {
        let prepared = prepare(&self.host, docker, Start::Hook, again).map_err(|error| chain(&error))?;
        install(&self.host, &prepared, again).map_err(|error| chain(&error))
    }

    fn install(&self) -> Result<Vec<String>, String> {
        self.install_as(
            &CardDocker { source: DockerSource::Debian, version: None, url: None, key: None },
            false,
        )
    }

    /// Installs Docker's own packages.
    fn install_dockers(&self) -> Result<Vec<String>, String> {
        let docker = CardDocker {
            source: DockerSource::Docker,
            version: None,
            url: Some(self.server.url()),
            key: Some(self.repo.key().to_owned()),
        };
        self.install_as(&docker, false)
    }

    fn assert_installed(&self, package: &str) {
        let program = Program::new("dpkg-query", ["--show", "--showformat=${Status}", package]);
        assert_eq!(self.host.run(&program).unwrap(), b"install ok installed", "{package}");
    }
}

/// All warnings, one of which contains `words`.
fn assert_warns(installed: Result<Vec<String>, String>, words: &str) -> String {
    let warnings = installed.unwrap();
    assert!(!warnings.is_empty() && warnings.iter().any(|warning| warning.contains(words)), "{warnings:?}");
    warnings.concat()
}

fn installs_in_spite_of_broken_sources(world: &World) {
    assert_eq!(world.install().unwrap(), Vec::<String>::new());
    world.assert_installed("docker.io");
    assert_eq!(world.has("var/lib/dpkg/info/docker-cli.list"), world.suite == "trixie");

    world.reset();
    let (other, server) = world.other("keyless");
    let line =
        format!("deb [signed-by=/etc/apt/keyrings/lost.asc] {} {} stable\n", server.url(), world.suite);
    world.write("etc/apt/sources.list.d/keyless.list", &line);
    assert_warns(world.install(), "is not signed");
    world.assert_installed("docker.io");

    world.reset();
    let url = world.server.url().replace("http://", "http://me:secret@");
    world.write(
        "etc/apt/sources.list.d/gone.list",
        &format!("deb [signed-by=/etc/apt/keyrings/debian.asc] {url} potato stable\n"),
    );
    let warnings = assert_warns(world.install(), "does not have a Release file");
    assert!(!warnings.contains("secret") && !warnings.contains("me:"), "{warnings}");
    world.assert_installed("docker.io");

    world.reset();
    other.expire().unwrap();
    world.write("etc/apt/keyrings/other.asc", other.key());
    let line =
        format!("deb [signed-by=/etc/apt/keyrings/other.asc] {} {} stable\n", server.url(), world.suite);
    world.write("etc/apt/sources.list.d/expired.list", &line);
    assert_warns(world.install(), "is expired");
    world.assert_installed("docker.io");
}

fn explains_missing_packages(world: &World) {
    world.reset();
    // Nobody listens on the port of a server that has ended.
    let (_, server) = world.other("away");
    let url = server.url();
    drop(server);
    let line = format!("deb [signed-by=/etc/apt/keyrings/debian.asc] {url} {} stable\n", world.suite);
    world.write("etc/apt/sources.list.d/debian.list", &line);
    let error = world.install().unwrap_err();
    let (cause, effect) =
        (error.find("connect to 127.0.0.1"), error.find("Unable to locate package docker.io"));
    assert!(cause.is_some() && cause < effect, "{error}");

    world.reset();
    world.write("etc/apt/preferences.d/mine", "Package: docker.io\nPin: release *\nPin-Priority: -1\n");
    let error = world.install().unwrap_err();
    assert!(error.contains("/etc/apt/preferences.d/mine forbids docker.io"), "{error}");
}

fn leaves_apt_working(world: &World) {
    let parses = || world.run(&["apt-get", "indextargets", "--format", ""]);
    world.reset();
    let old = |key: &str| format!("deb [signed-by={key}] {}/ {} stable\n", world.server.url(), world.suite);
    fs::remove_file(world.root.join("etc/apt/sources.list.d/debian.list")).unwrap();
    world.write(OLD_LIST, &old("/etc/apt/keyrings/lost.gpg"));
    let error = world.install_dockers().unwrap_err();
    assert!(error.starts_with("/etc/apt/sources.list.d/docker.list, line 1, "), "{error}");
    assert!(parses() && !world.has(SOURCES));

    // The same with the key that is wanted.
    world.write("etc/apt/keyrings/old.asc", world.repo.key());
    world.write(OLD_LIST, &old("/etc/apt/keyrings/old.asc"));
    assert_eq!(world.install_dockers().unwrap(), Vec::<String>::new());
    world.assert_installed("docker-ce");
    assert!(!world.has(SOURCES));

    // A conflict that only apt sees.
    world.reset();
    fs::remove_file(world.root.join("etc/apt/sources.list.d/debian.list")).unwrap();
    world.write(
        OLD_LIST,
        &format!("deb [allow-insecure=yes] {} {} stable\n", world.server.url(), world.suite),
    );
    let error = world.install_dockers().unwrap_err();
    assert!(error.contains("docker.list, line 1; ours was taken out again: Conflicting values"), "{error}");
    assert!(parses() && !world.has(SOURCES) && !world.has("etc/apt/keyrings/docker.asc"));

    // An ordinary machine, which then has our source.
    world.reset();
    fs::remove_file(world.root.join("etc/apt/sources.list.d/debian.list")).unwrap();
    assert_eq!(world.install_dockers().unwrap(), Vec::<String>::new());
    world.assert_installed("docker-ce");
    assert!(parses() && world.has(SOURCES));

    // What an agent of before left: our source beside an entry that names another file with the same key.
    world.write("etc/apt/keyrings/old.asc", world.repo.key());
    world.write(OLD_LIST, &old("/etc/apt/keyrings/old.asc"));
    assert!(!parses(), "apt accepts both");
    assert_eq!(world.install_dockers().unwrap(), Vec::<String>::new());
    assert!(parses() && !world.has(SOURCES));

    // The same with another key: it is named, and apt works meanwhile.
    world.reset();
    fs::remove_file(world.root.join("etc/apt/sources.list.d/debian.list")).unwrap();
    world.install_dockers().unwrap();
    world.write(OLD_LIST, &old("/etc/apt/keyrings/lost.gpg"));
    assert!(world.install_dockers().is_err() && parses() && !world.has(SOURCES));
}

/// A power cut after the renames and before the flush leaves lists of zero bytes.
fn fetches_lists_again_that_a_power_cut_emptied(world: &World) {
    world.reset();
    assert!(world.run(&["apt-get", "-qq", "update"]));
    let lists = fs::read_dir(world.root.join("var/lib/apt/lists")).unwrap();
    let lists = lists.map(|list| list.unwrap().path());
    let packages: Vec<_> = lists.filter(|list| list.to_string_lossy().ends_with("_Packages")).collect();
    assert!(!packages.is_empty());
    for list in &packages {
        fs::write(list, "").unwrap();
    }
    assert!(world.run(&["apt-get", "-qq", "update"]));
    assert!(!world.run(&["apt-get", "-qq", "install", "docker.io"]), "apt itself fetches them again");
    assert_eq!(world.install().unwrap(), Vec::<String>::new());
    world.assert_installed("docker.io");
}

fn passes_over_packages_of_others(world: &World) {
    world.reset();
    assert!(world.run(&["apt-get", "-qq", "update"]));
    assert!(!world.run(&["apt-get", "-qq", "install", "broken"]));
    for again in [false, true] {
        let docker = CardDocker { source: DockerSource::Debian, version: None, url: None, key: None };
        let warnings = world.install_as(&docker, again).unwrap();
        assert!(warnings.concat().starts_with("dpkg cannot configure broken, "), "{warnings:?}");
        world.assert_installed("docker.io");
    }
}

fn works_on(suite: &'static str) {
    let world = World::new(suite);
    installs_in_spite_of_broken_sources(&world);
    explains_missing_packages(&world);
    leaves_apt_working(&world);
    fetches_lists_again_that_a_power_cut_emptied(&world);
    passes_over_packages_of_others(&world);
}

#[test]
fn docker_is_installed_on_bookworm_in_spite_of_broken_sources() {
    works_on("bookworm");
}

#[test]
fn docker_is_installed_on_trixie_in_spite_of_broken_sources() {
    works_on("trixie");
}
