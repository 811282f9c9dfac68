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

/// A system with apt, and a repository in the place of the distribution's and of Docker's.
struct World {
    suite: &'static str,
    root: PathBuf,
    host: RealHost,
    repo: Repo,
    server: Server,
    lab: TempDir,
}

const OURS: &str = "docker.io docker-cli iptables docker-ce docker-ce-cli containerd.io broken containerd runc podman extras";

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
            ("iptables", "1.8", ""),
            ("docker.io", "26.1", "Depends: containerd, runc\n"),
            ("containerd", "1.7", "Depends: runc\n"),
            ("runc", "1.1", ""),
            ("podman", "4.3", "Depends: runc\n"),
            ("extras", "1", "Depends: docker.io\n"),
            ("docker-ce", "5:29.0.0-1", ""),
            ("docker-ce-cli", "5:29.0.0-1", ""),
            ("containerd.io", "2.1", ""),
            ("broken", "1", ""),
        ];
        if suite == "trixie" {
            packages.push(("docker-cli", "26.1", ""));
        }
        let repo = lab.path().join("repo");
        let repo = Repo::of_empty_packages(&repo, suite, &architecture, "Debian", &packages).unwrap();
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
        self.run(&["sh", "-c", &format!("dpkg --purge --force-depends {OURS} 2>/dev/null")]);
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
        self.beside(name, "Other", &[("other", "1", "")])
    }

    fn beside(&self, name: &str, origin: &str, packages: &[(&str, &str, &str)]) -> (Repo, Server) {
        let architecture = images::host_architecture().unwrap();
        let folder = self.lab.path().join(name);
        let repo = Repo::of_empty_packages(&folder, self.suite, &architecture, origin, packages).unwrap();
        let server = repo.serve(Ipv4Addr::new(127, 0, 0, 2)).unwrap();
        (repo, server)
    }

    /// What a program in the tree prints.
    fn says(&self, words: &[&str]) -> String {
        let output = Command::new("chroot").arg(&self.root).args(words).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    fn version(&self, package: &str) -> String {
        self.says(&["dpkg-query", "--show", "--showformat=${Version}", package])
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
        (error.find("connect to 127.0.0.2"), error.find("Unable to locate package docker.io"));
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

/// A repository in the place of Docker's that also has what Debian has, only newer.
const GREEDY: [(&str, &str, &str); 6] = [
    ("docker-ce", "5:30.0.0-1", ""),
    ("docker-ce-cli", "5:30.0.0-1", ""),
    ("containerd.io", "2.2", "Conflicts: containerd, runc\nReplaces: containerd, runc\n"),
    ("docker-buildx-plugin", "9", ""),
    ("iptables", "99", ""),
    ("tar", "99", ""),
];

fn takes_only_dockers_packages_from_dockers_repository(world: &World) {
    let upgrades = || {
        let plan = world.says(&["apt-get", "--simulate", "dist-upgrade"]);
        plan.lines().any(|line| line.starts_with("Inst tar "))
    };
    // The official repository is known by its host, whatever it says of itself; a mirror by what it says.
    for (name, origin, host) in
        [("official", "Debian", "download.docker.com"), ("mirror", "Docker", "127.0.0.2")]
    {
        world.reset();
        world.write("etc/hosts", "127.0.0.2 download.docker.com\n");
        let (repo, server) = world.beside(name, origin, &GREEDY);
        let docker = CardDocker {
            source: DockerSource::Docker,
            version: None,
            url: Some(server.url().replace("127.0.0.2", host)),
            key: Some(repo.key().to_owned()),
        };
        assert_eq!(world.install_as(&docker, false).unwrap(), Vec::<String>::new());
        assert_eq!(
            (world.version("docker-ce").as_str(), world.version("iptables").as_str()),
            ("5:30.0.0-1", "1.8")
        );
        assert!(!upgrades(), "{name}: {}", world.says(&["apt-cache", "policy", "tar"]));
        // Its own packages come from there, those that are not asked for as well.
        assert!(world.run(&["apt-get", "-y", "install", "docker-buildx-plugin"]), "{name}");
        // Without our file it would have been otherwise.
        fs::remove_file(world.root.join("etc/apt/preferences.d/docker")).unwrap();
        assert!(upgrades(), "{name}: the test sees nothing");
        world.run(&["dpkg", "--purge", "docker-buildx-plugin"]);
    }
}

fn removes_nothing_of_the_owners(world: &World) {
    world.reset();
    let (repo, server) = world.beside("conflicting", "Docker", &GREEDY);
    let docker = CardDocker {
        source: DockerSource::Docker,
        version: None,
        url: Some(server.url()),
        key: Some(repo.key().to_owned()),
    };
    assert!(world.run(&["apt-get", "-qq", "update"]));
    assert!(world.run(&["apt-get", "-qq", "-y", "install", "containerd", "runc", "podman"]));
    for again in [false, true] {
        let error = world.install_as(&docker, again).unwrap_err();
        assert!(
            error.contains("installing docker-ce would remove ")
                && error.contains(", so nothing was changed: "),
            "{error}"
        );
        // podman depends on runc.
        assert!(["containerd", "runc", "podman"].iter().all(|name| error.contains(name)), "{error}");
        ["containerd", "runc", "podman"].iter().for_each(|package| world.assert_installed(package));
        assert!(!world.has("var/lib/dpkg/info/docker-ce.list"));
    }
    assert!(world.run(&["apt-get", "-qq", "-y", "remove", "containerd", "runc", "podman"]));
    assert_eq!(world.install_as(&docker, true).unwrap(), Vec::<String>::new());
    world.assert_installed("docker-ce");
}

fn purges_nothing_that_others_need(world: &World) {
    world.reset();
    assert_eq!(world.install().unwrap(), Vec::<String>::new());
    let packages = || firstboot::remove::packages(&world.host, None);
    assert_eq!(packages().unwrap(), None, "nothing says that it is ours");
    // dpkg-query fails for the package that it does not know.
    let found = firstboot::steps::docker::apt::installed(&world.host, &["docker-ce", "runc", "docker.io"]);
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["docker.io", "runc"]);
    world.write(firstboot::steps::docker::settings::DROP_IN.trim_start_matches('/'), "");
    let cli = if world.suite == "trixie" { "docker-cli " } else { "" };
    let going = || packages().unwrap().unwrap().join(" ");
    assert_eq!(going(), "docker.io", "nothing says whose the others were");
    let state = world.root.join(firstboot::agent::STATE.trim_start_matches('/'));
    fs::create_dir_all(&state).unwrap();
    fs::write(state.join("journal.json"), r#"{"version": 1, "install": "completed"}"#).unwrap();
    assert_eq!(going(), format!("docker.io {cli}containerd runc"));
    assert!(world.run(&["apt-get", "-qq", "-y", "install", "podman"]));
    assert_eq!(going(), format!("docker.io {cli}").trim_end());
    assert!(world.run(&["apt-get", "-qq", "-y", "install", "extras"]));
    let error = packages().unwrap_err().to_string();
    assert!(error.starts_with("extras would be removed with docker.io"), "{error}");
    ["docker.io", "podman", "extras"].iter().for_each(|package| world.assert_installed(package));
    fs::remove_dir_all(state).unwrap();
    fs::remove_file(world.root.join(firstboot::steps::docker::settings::DROP_IN.trim_start_matches('/')))
        .unwrap();
}

fn works_on(suite: &'static str) {
    let world = World::new(suite);
    installs_in_spite_of_broken_sources(&world);
    explains_missing_packages(&world);
    leaves_apt_working(&world);
    fetches_lists_again_that_a_power_cut_emptied(&world);
    passes_over_packages_of_others(&world);
    takes_only_dockers_packages_from_dockers_repository(&world);
    removes_nothing_of_the_owners(&world);
    purges_nothing_that_others_need(&world);
}

#[test]
fn docker_is_installed_on_bookworm_in_spite_of_broken_sources() {
    works_on("bookworm");
}

#[test]
fn docker_is_installed_on_trixie_in_spite_of_broken_sources() {
    works_on("trixie");
}
