//! The installation of Docker on a machine in memory: what is run, in which order, and what a power cut leaves.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use cluster::card::{Card, DockerSource, Start};
use cluster::wire::{Cause, ProblemCode, Stage};
use firstboot::host::Program;
use firstboot::host::fake::{FakeHost, Fault, Files, Node, Power};
use firstboot::journal::Progress;
use firstboot::steps::docker::proxy;

use crate::engine::{DOCKERD, Engine};
use crate::world::{Pi, World, eventually};

/// Exists from the begin of an installation until systemd has read its units.
pub(crate) const UNREAD_UNITS: &str = "/var/lib/firstboot/dpkg/systemctl.since";

/// A machine with apt. Installing Docker leaves a mark in the files.
pub(crate) fn with_apt(program: &Program, files: &mut Files) -> Result<Vec<u8>, String> {
    let line = program.line();
    if line == "dpkg --print-architecture" {
        return Ok(b"arm64\n".to_vec());
    }
    if line.starts_with("apt-get install") {
        let file = Node::File { bytes: b"the engine".to_vec(), mode: 0o755, owner: None };
        files.insert(DOCKERD.into(), file);
    }
    if [
        "apt-get",
        "apt-cache",
        "dpkg",
        "find /var/lib/apt/lists ",
        "systemctl start",
        "systemctl reset-failed",
        "systemctl daemon-reload",
    ]
    .iter()
    .any(|start| line.starts_with(start))
    {
        return Ok(Vec::new());
    }
    crate::world::play(program, files)
}

fn file(text: &str) -> Node {
    Node::File { bytes: text.as_bytes().to_vec(), mode: 0o644, owner: None }
}

/// A machine that waits to be installed by the agent, before its power is switched on.
fn files(world: &World) -> Files {
    files_of(world, world.card("red01"))
}

pub(crate) fn files_of(world: &World, mut card: Card) -> Files {
    card.docker.source = DockerSource::Docker;
    let name = card.node.as_str();
    let mut files = world.files(name, &world.ca.node(card.role.as_str(), name), None);
    files.insert(
        PathBuf::from(firstboot::agent::STATE).join("card.json"),
        file(&serde_json::to_string(&card).unwrap()),
    );
    files.insert("/etc/os-release".into(), file("ID=debian\nVERSION_CODENAME=trixie\n"));
    files.insert("/var/lib/man-db/auto-update".into(), file(""));
    files.insert("/var/lib/dpkg/info/man-db.list".into(), file("/usr/bin/mandb\n"));
    for folder in ["/etc/systemd/system", "/etc/apt/preferences.d", "/var/lib/man-db"] {
        files.insert(folder.into(), Node::Folder { mode: 0o755, owner: None });
    }
    files
}

fn switch_on(world: &World, name: &str, files: Files, power: Arc<Power>) -> Pi {
    let engine = Engine::new(world.folder.path(), name, &world.swarm);
    let clock = UNIX_EPOCH + Duration::from_secs(1_790_000_000);
    let host = Arc::new(FakeHost::new(Arc::clone(&power), files, clock).with_programs(with_apt));
    world.run(host, power, engine, Ipv4Addr::LOCALHOST)
}

fn text(pi: &Pi, path: &str) -> String {
    match pi.host.files().get(Path::new(path)) {
        Some(Node::File { bytes, .. }) => String::from_utf8(bytes.clone()).unwrap(),
        other => panic!("{path}: {other:?}"),
    }
}

fn at(log: &[String], start: &str) -> usize {
    log.iter()
        .position(|effect| effect.starts_with(start))
        .unwrap_or_else(|| panic!("{start} not in {log:#?}"))
}

#[tokio::test]
async fn settings_and_signed_repository_are_in_place_before_the_packages() {
    let world = World::new(&["red01"]);
    let pi = switch_on(&world, "red01", files(&world), Arc::default());
    eventually(async || pi.journal().install == Progress::Completed).await;
    let log = pi.power.log();
    let install = at(&log, "run apt-get install");
    for before in
        ["write /etc/docker/daemon.json", "write /etc/systemd/system/docker.service.d/", "run apt-get update"]
    {
        assert!(at(&log, before) < install, "{before}");
    }
    assert!(at(&log, "write /etc/apt/keyrings/docker.asc") < at(&log, "run apt-get update"));
    assert!(
        text(&pi, "/etc/apt/sources.list.d/docker.sources")
            .contains("Signed-By: /etc/apt/keyrings/docker.asc")
    );
    assert!(log[install].contains("--no-install-recommends") && log[install].contains("DPkg::Lock::Timeout"));
    assert!(!log[install].contains("--reinstall"));
    assert!(log[install].contains(" --no-remove "), "what the owner had stays");
    assert!(at(&log, "write /etc/apt/preferences.d/docker") < at(&log, "run apt-get update"));
    let pins = text(&pi, "/etc/apt/preferences.d/docker");
    assert!(pins.ends_with("Package: *\nPin: origin \"download.docker.com\"\nPin-Priority: 1\n"), "{pins}");
    assert_eq!(text(&pi, "/var/lib/man-db/auto-update"), "", "the man page index is switched on again");
}

const PROXY: &str = r#"{"http":"http://ada:hunter2@proxy.example:3128","https":null,"no_proxy":[]}"#;

fn proxy_file() -> PathBuf {
    PathBuf::from(firstboot::agent::STATE).join(cluster::proxy::FILE)
}

#[tokio::test]
async fn apt_and_docker_have_the_proxy_before_the_first_download() {
    let world = World::new(&["red01"]);
    let mut files = files(&world);
    files.insert(proxy_file(), file(PROXY));
    let pi = switch_on(&world, "red01", files, Arc::default());
    eventually(async || pi.journal().install == Progress::Completed).await;
    let log = pi.power.log();
    for path in [proxy::APT, proxy::ENVIRONMENT, proxy::DROP_IN] {
        assert!(at(&log, &format!("write {path}")) < at(&log, "run apt-get update"), "{path}");
    }
    for path in [proxy::APT, proxy::ENVIRONMENT] {
        assert!(text(&pi, path).contains("hunter2"));
        assert!(
            matches!(pi.host.files().get(Path::new(path)), Some(Node::File { mode: 0o600, .. })),
            "{path}"
        );
    }
    assert!(text(&pi, proxy::DROP_IN).contains(proxy::ENVIRONMENT));
    assert!(!format!("{log:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_changed_proxy_is_set_without_another_installation_or_a_restart_of_docker() {
    let world = World::new(&["red01"]);
    let mut pi = switch_on(&world, "red01", files(&world), Arc::default());
    eventually(async || pi.journal().install == Progress::Completed).await;
    pi.pull_plug().await;
    let mut files = pi.host.files();
    assert!(!files.contains_key(Path::new(proxy::APT)));
    files.insert(proxy_file(), file(PROXY));
    let mut with = switch_on(&world, "red01", files, Arc::default());
    with.engine.start();
    eventually(async || with.power.log().iter().any(|effect| effect == "run systemctl daemon-reload")).await;
    with.pull_plug().await;
    assert!(text(&with, proxy::ENVIRONMENT).contains("hunter2"));
    // And taken away again.
    let mut files = with.host.files();
    files.remove(&proxy_file());
    std::fs::remove_file(&with.engine.socket).unwrap();
    let without = switch_on(&world, "red01", files, Arc::default());
    without.engine.start();
    eventually(async || without.power.log().iter().any(|effect| effect == "run systemctl daemon-reload"))
        .await;
    for path in [proxy::APT, proxy::ENVIRONMENT, proxy::DROP_IN] {
        assert!(!without.host.files().contains_key(Path::new(path)), "{path}");
    }
    for log in [with.power.log(), without.power.log()] {
        let disturbs = |effect: &String| effect.starts_with("run apt-get") || effect.contains("restart");
        assert!(!log.iter().any(disturbs), "{log:#?}");
    }
}

#[tokio::test]
async fn ubuntu_gets_avahi_by_which_nodes_find_each_other() {
    let world = World::new(&["red01"]);
    let ubuntu = Card { start: Start::CloudInit, ..world.card("red01") };
    for (card, has_avahi, wanted) in
        [(world.card("red01"), false, false), (ubuntu.clone(), false, true), (ubuntu, true, false)]
    {
        let mut files = files_of(&world, card);
        if has_avahi {
            files.insert("/usr/lib/systemd/system/avahi-daemon.service".into(), file(""));
        }
        let mut pi = switch_on(&world, "red01", files, Arc::default());
        eventually(async || pi.journal().install == Progress::Completed).await;
        pi.pull_plug().await;
        let log = pi.power.log();
        assert_eq!(log[at(&log, "run apt-get install")].ends_with(" avahi-daemon"), wanted);
    }
}

#[tokio::test]
async fn an_installation_that_lost_its_power_is_made_good() {
    let world = World::new(&["red01"]);
    let mut whole = switch_on(&world, "red01", files(&world), Arc::default());
    eventually(async || whole.journal().install == Progress::Completed).await;
    whole.pull_plug().await;
    let install = at(&whole.power.log(), "run apt-get install");

    // The power goes while apt is at work, and with it everything dpkg had not flushed.
    let mut dying = switch_on(&world, "red01", files(&world), Power::with(Fault::DieAt(install)));
    eventually(async || dying.power.is_gone()).await;
    dying.pull_plug().await;
    assert_eq!(dying.journal().install, Progress::Started);

    let again = switch_on(&world, "red01", dying.host.files(), Arc::default());
    // Even an engine that answers is not taken for a good installation.
    again.engine.start();
    eventually(async || again.journal().install == Progress::Completed).await;
    let log = again.power.log();
    assert!(at(&log, "run dpkg --configure -a") < at(&log, "run apt-get install"));
    assert!(log[at(&log, "run apt-get install")].contains("--reinstall"));
    assert_eq!(text(&again, "/var/lib/man-db/auto-update"), "", "the man page index is switched on again");
}

#[tokio::test]
async fn a_docker_that_was_there_before_us_is_started_and_never_replaced() {
    let world = World::new(&[]);
    let mut files = files_of(&world, world.card("red00"));
    files.insert(DOCKERD.into(), file("somebody's engine"));
    // Stopped when we came.
    let pi = switch_on(&world, "red00", files, Arc::default());
    let starts =
        || pi.power.log().iter().filter(|effect| *effect == "run systemctl start docker.service").count();
    eventually(async || starts() == 1).await;
    pi.engine.start();
    // And silent again later, when the agent next looks at it.
    let is_ready = || pi.journal().marks.iter().any(|mark| mark.stage == Stage::Ready);
    eventually(async || is_ready()).await;
    pi.engine.stop();
    eventually(async || starts() == 2).await;
    pi.engine.start_again();
    let log = pi.power.log();
    let changes = ["run apt-get", "run dpkg", "write /etc", "make the folder /etc", "remove /"];
    // A manager is announced whatever Docker it has.
    let docker = log.iter().filter(|effect| !effect.contains("/etc/avahi/services"));
    let changed: Vec<_> =
        docker.filter(|effect| changes.iter().any(|change| effect.starts_with(change))).collect();
    assert!(changed.is_empty(), "{changed:#?}");
    assert_eq!((pi.journal().install, text(&pi, DOCKERD)), (Progress::Never, "somebody's engine".to_owned()));
}

#[tokio::test]
async fn a_damaged_journal_is_no_reason_to_replace_a_docker_that_was_there_before_us() {
    let world = World::new(&["red01"]);
    for (drop_in, replaced) in [(None, false), (Some(""), true)] {
        let mut files = files(&world);
        files.insert(PathBuf::from(firstboot::agent::STATE).join("journal.json"), file("{"));
        files.insert(DOCKERD.into(), file("an engine"));
        if let Some(text) = drop_in {
            files.insert(firstboot::steps::docker::settings::DROP_IN.into(), file(text));
        }
        let mut pi = switch_on(&world, "red01", files, Arc::default());
        let starts = |effect: &String| effect == "run systemctl start docker.service";
        eventually(async || pi.power.log().iter().any(starts)).await;
        pi.pull_plug().await;
        let installs = pi.power.log().iter().any(|effect| effect.starts_with("run apt-get install"));
        assert_eq!(installs, replaced, "{:#?}", pi.power.log());
    }
}

const OLD_LIST: &str = "/etc/apt/sources.list.d/docker.list";
const SOURCES: &str = "/etc/apt/sources.list.d/docker.sources";
/// The words of apt 3.0.4.
const GONE: &str =
    "E: The repository 'http://me:pw@gone.example/debian x Release' does not have a Release file.";

fn with_list(world: &World, line: &str) -> Files {
    let mut files = files(world);
    files.insert("/etc/apt/sources.list.d".into(), Node::Folder { mode: 0o755, owner: None });
    files.insert(OLD_LIST.into(), file(line));
    files
}

fn host_with(
    files: Files,
    player: impl Fn(&Program, &mut Files) -> Result<Vec<u8>, String> + Send + Sync + 'static,
) -> (FakeHost, Arc<Power>) {
    let power = Arc::<Power>::default();
    let clock = UNIX_EPOCH + Duration::from_secs(1_790_000_000);
    (FakeHost::new(Arc::clone(&power), files, clock).with_programs(player), power)
}

fn run(world: &World, (host, power): (FakeHost, Arc<Power>)) -> Pi {
    let engine = Engine::new(world.folder.path(), "red01", &world.swarm);
    world.run(Arc::new(host), power, engine, Ipv4Addr::LOCALHOST)
}

#[tokio::test]
async fn a_broken_source_becomes_a_warning() {
    let world = World::new(&["red01"]);
    let _manager = world.switch_on("red00", None);
    world.wait_for_api().await;
    let host = host_with(files(&world), |program, files| {
        if program.line().starts_with("apt-get update") {
            return Err(format!("{GONE}\n"));
        }
        with_apt(program, files)
    });
    let pi = run(&world, host);
    eventually(async || pi.journal().install == Progress::Completed).await;
    let warnings = async || {
        let board = world.board().await;
        board
            .nodes
            .into_iter()
            .find_map(|node| Some(node.report?.warnings).filter(|warnings| !warnings.is_empty()))
    };
    eventually(async || warnings().await.is_some()).await;
    assert_eq!(
        warnings().await.unwrap(),
        [
            "package lists are incomplete: The repository 'http://***@gone.example/debian x Release' does not have a Release file."
        ]
    );
}

#[tokio::test]
async fn a_missing_package_is_explained_by_what_update_said() {
    let world = World::new(&["red01"]);
    let _manager = world.switch_on("red00", None);
    world.wait_for_api().await;
    let (host, power) = host_with(files(&world), |program, files| {
        if program.line().starts_with("apt-get install") {
            return Err("E: Unable to locate package docker-ce\n".to_owned());
        }
        with_apt(program, files)
    });
    // apt-get update succeeds without a network.
    let host = host.with_complaints(|program| {
        let update = program.line().starts_with("apt-get update");
        if update { "W: Failed to fetch http://a/InRelease  Temporary failure resolving 'a'\n" } else { "" }
            .to_owned()
    });
    let _pi = run(&world, (host, power));
    let message = async || {
        let mut nodes = world.board().await.nodes.into_iter();
        nodes.find(|node| node.name.as_str() == "red01")?.report?.error.map(|error| error.message)
    };
    eventually(async || message().await.is_some()).await;
    let message = message().await.unwrap();
    let (first, last) =
        (message.find("Temporary failure resolving"), message.find("Unable to locate package"));
    assert!(first.is_some() && first < last, "{message}");
}

#[tokio::test]
async fn a_conflicting_source_is_named_before_anything_is_written() {
    let world = World::new(&["red01"]);
    let old = "deb [signed-by=/usr/share/keyrings/old.gpg] https://download.docker.com/linux/debian trixie stable\n";
    let pi = run(&world, host_with(with_list(&world, old), with_apt));
    let is_told =
        || pi.power.log().iter().filter(|effect| effect.contains("dpkg --print-architecture")).count() > 1;
    eventually(async || is_told()).await;
    let files = pi.host.files();
    assert!(
        !files.contains_key(Path::new(SOURCES))
            && !files.contains_key(Path::new("/etc/apt/keyrings/docker.asc"))
    );
    assert!(!pi.power.log().iter().any(|effect| effect.contains("apt-get")), "{:#?}", pi.power.log());
    // Its owner switches the file off.
    pi.host.place(OLD_LIST, file(""));
    eventually(async || pi.journal().install == Progress::Completed).await;
}

#[tokio::test]
async fn our_source_is_taken_out_where_apt_cannot_read_it() {
    let world = World::new(&["red01"]);
    let conflict = "E: Conflicting values set for option Allow-Insecure regarding source https://download.docker.com/linux/debian/ trixie";
    let pi = run(
        &world,
        host_with(files(&world), move |program, files| {
            let line = program.line();
            let breaks = files.contains_key(Path::new(SOURCES));
            if breaks
                && ["apt-get update", "apt-get indextargets"].iter().any(|start| line.starts_with(start))
            {
                return Err(conflict.to_owned());
            }
            with_apt(program, files)
        }),
    );
    let is_out = || pi.power.log().iter().any(|effect| effect == &format!("remove {SOURCES}"));
    eventually(async || is_out()).await;
    assert!(!pi.power.log().iter().any(|effect| effect.contains("apt-get install")));
}

#[tokio::test]
async fn somebody_elses_files_are_kept_beside_ours() {
    let world = World::new(&["red01"]);
    let theirs =
        "Types: deb\nURIs: https://download.docker.com/linux/debian\nSuites: bookworm\nComponents: stable\n";
    let mut files = with_list(&world, "");
    files.insert(SOURCES.into(), file(theirs));
    let pi = run(&world, host_with(files, with_apt));
    eventually(async || pi.journal().install == Progress::Completed).await;
    assert_eq!(text(&pi, &format!("{SOURCES}.save")), theirs);
    assert!(text(&pi, SOURCES).contains("Suites: trixie\n"));
}

#[tokio::test]
async fn a_foreign_package_that_dpkg_cannot_configure_is_a_warning() {
    let world = World::new(&["red01"]);
    for ours_too in [false, true] {
        let pi = run(
            &world,
            host_with(files(&world), move |program, files| {
                let line = program.line();
                let broken = if ours_too { "docker-ce" } else { "printer-driver" };
                let errors = format!(
                    "Errors were encountered while processing:\n {broken}\nE: Sub-process /usr/bin/dpkg returned an error code (1)\n"
                );
                if line.starts_with("dpkg --configure") || line.starts_with("apt-get install") {
                    return Err(errors);
                }
                if line.starts_with("dpkg-query --show --showformat=${Status}") {
                    let state = if ours_too { "install ok half-configured" } else { "install ok installed" };
                    return Ok(format!("{state}\ninstall ok installed\n").into_bytes());
                }
                with_apt(program, files)
            }),
        );
        let tried =
            || pi.power.log().iter().filter(|effect| effect.starts_with("run apt-get install")).count();
        if ours_too {
            eventually(async || tried() > 1).await;
            assert_eq!(pi.journal().install, Progress::Started);
        } else {
            eventually(async || pi.journal().install == Progress::Completed).await;
            assert_eq!(tried(), 1);
        }
        pi.task.abort();
    }
}

/// dpkg, where the owner has these packages.
fn owners(program: &Program, packages: &[&str]) -> Option<Vec<u8>> {
    let states: Vec<_> = packages.iter().map(|package| (*package, "install ok installed")).collect();
    dpkg_states(program, &states)
}

/// What `dpkg-query` prints of the packages that it is asked for, given those that it knows.
pub(crate) fn dpkg_states(program: &Program, known: &[(&str, &str)]) -> Option<Vec<u8>> {
    let line = program.line();
    let asked = line.strip_prefix("dpkg-query --show --showformat=${Package} ${Status}\\n ")?;
    let shown = asked.split(' ').filter_map(|name| known.iter().find(|(package, _)| *package == name));
    Some(shown.map(|(package, state)| format!("{package} {state}\n")).collect::<String>().into_bytes())
}

#[tokio::test]
async fn another_packagers_containerd_is_named_before_anything_is_written() {
    let world = World::new(&["red01"]);
    let _manager = world.switch_on("red00", None);
    world.wait_for_api().await;
    let host = host_with(files(&world), |program, files| {
        let is_removed = files.contains_key(Path::new("/removed"));
        let there: &[&str] = if is_removed { &[] } else { &["containerd", "runc"] };
        owners(program, there).map_or_else(|| with_apt(program, files), Ok)
    });
    let pi = run(&world, host);
    let error = async || {
        let mut nodes = world.board().await.nodes.into_iter();
        nodes.find(|node| node.name.as_str() == "red01")?.report?.error
    };
    eventually(async || error().await.is_some()).await;
    let error = error().await.unwrap();
    let cause = Cause::new(ProblemCode::PackageConflict).about("containerd, runc");
    assert_eq!((error.permanent, error.cause), (false, Some(cause)));
    assert_eq!(
        error.message,
        "installing docker-ce would remove containerd, runc, so nothing was changed: take Debian's Docker, which uses them \
         (docker.source: debian in the cluster file), or type on this node: sudo apt-get remove containerd runc"
    );
    let changes = ["run apt-get", "write /etc", "make the folder /etc"];
    let log = pi.power.log();
    assert!(!log.iter().any(|effect| changes.iter().any(|change| effect.starts_with(change))), "{log:#?}");
    assert_eq!(pi.journal().install, Progress::Never);
    // Their owner removes them.
    pi.host.place("/removed", file(""));
    eventually(async || pi.journal().install == Progress::Completed).await;
}

#[tokio::test]
async fn packages_that_apt_would_remove_are_named_and_stay() {
    let world = World::new(&["red01"]);
    let _manager = world.switch_on("red00", None);
    world.wait_for_api().await;
    let host = host_with(files(&world), |program, files| {
        let line = program.line();
        match (line.starts_with("apt-get install --simulate"), line.starts_with("apt-get install")) {
            (true, _) => {
                Ok(b"Reading package lists...\nRemv podman-docker [4.3.1]\nInst docker-ce-cli (5:29)\n"
                    .to_vec())
            }
            (_, true) if line.contains("--no-remove") => {
                Err("E: Packages need to be removed but remove is disabled.\n".to_owned())
            }
            _ => with_apt(program, files),
        }
    });
    let pi = run(&world, host);
    let message = async || {
        let mut nodes = world.board().await.nodes.into_iter();
        nodes.find(|node| node.name.as_str() == "red01")?.report?.error.map(|error| error.message)
    };
    eventually(async || message().await.is_some()).await;
    assert_eq!(
        message().await.unwrap(),
        "installing docker-ce would remove podman-docker, so nothing was changed: type on this node: sudo apt-get remove podman-docker"
    );
    assert!(!pi.host.files().contains_key(Path::new(DOCKERD)));
}

#[tokio::test]
async fn packages_of_dockers_that_the_owner_had_before_are_written_down_once() {
    let world = World::new(&["red01"]);
    let mut card = world.card("red01");
    card.docker.source = DockerSource::Debian;
    let mut files = files(&world);
    let state = PathBuf::from(firstboot::agent::STATE);
    files.insert(state.join("card.json"), file(&serde_json::to_string(&card).unwrap()));
    // The first attempt fails, and leaves more packages.
    let host = host_with(files, |program, files| {
        let tried = files.contains_key(Path::new("/tried"));
        if program.line().starts_with("apt-get install") && !tried {
            files.insert("/tried".into(), file(""));
            return Err("E: Failed to fetch http://a/b.deb\n".to_owned());
        }
        let there: &[&str] = if tried { &["runc", "containerd"] } else { &["runc"] };
        owners(program, there).map_or_else(|| with_apt(program, files), Ok)
    });
    let pi = run(&world, host);
    eventually(async || pi.journal().install == Progress::Completed).await;
    assert_eq!(pi.journal().owners_packages.into_iter().collect::<Vec<_>>(), ["runc"]);
}
