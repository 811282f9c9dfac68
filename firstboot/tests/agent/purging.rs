//! Docker's packages when the agent is removed: its own go, the owner's stay.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use firstboot::engine::Engine as Client;
use firstboot::host::fake::{FakeHost, Files, Power};
use firstboot::host::{Host as _, Program};
use firstboot::remove;
use firstboot::steps::docker::plan::{KEYRING, PREFERENCES, SOURCES};
use firstboot::steps::docker::settings::{DROP_IN, DROP_IN_TEXT};

use crate::adopting::{adopt, delivery, engine, file, machine, play, state};
use crate::installing::dpkg_states;
use crate::world::{NOW, World};

#[tokio::test]
async fn the_docker_that_came_with_the_agent_goes_with_it_and_settings_of_others_stay() {
    let world = World::new(&["red01"]);
    let (_engine, client) = engine(&world, "red01");
    let host = machine(&Arc::default(), Files::new());
    adopt(&host, &client, &delivery(&world, "red01")).await.unwrap();
    let folders = [
        "/etc/docker",
        "/etc/systemd/system/docker.service.d",
        "/etc/apt/keyrings",
        "/etc/apt/preferences.d",
        "/etc/apt/sources.list.d",
    ];
    for folder in folders {
        host.make_folder(Path::new(folder), 0o755, None).unwrap();
    }
    // The owner's source, which names the key, and our pin.
    let source = "Types: deb\nURIs: https://download.docker.com/linux/debian\nSuites: bookworm\nComponents: stable test\n\
                  Signed-By: /etc/apt/keyrings/docker.asc\n";
    host.write(Path::new(SOURCES), source.as_bytes(), 0o644, None).unwrap();
    host.write(Path::new(KEYRING), b"its key", 0o644, None).unwrap();
    let pin = b"Package: docker.io docker-cli\nPin: version 26.*\nPin-Priority: 990\n";
    host.write(Path::new(PREFERENCES), pin, 0o644, None).unwrap();
    host.write(Path::new(DROP_IN), DROP_IN_TEXT.as_bytes(), 0o644, None).unwrap();
    host.write(&state("journal.json"), INSTALLED.as_bytes(), 0o600, None).unwrap();
    host.write(Path::new("/etc/docker/daemon.json"), b"{\"dns\": []}", 0o644, None).unwrap();
    for folder in NUKES.map(|script| Path::new(script).parent().unwrap()) {
        host.make_folder(folder, 0o755, None).unwrap();
    }
    for script in NUKES {
        host.write(Path::new(script), b"#!/bin/sh\n", 0o755, None).unwrap();
    }
    let power = Arc::<Power>::default();
    let clock = UNIX_EPOCH + Duration::from_secs(NOW);
    let host = FakeHost::new(Arc::clone(&power), host.files(), clock).with_programs(with_dpkg);
    remove::remove(&host, &client, true, None).await.unwrap();
    let log = power.log();
    let purges: Vec<_> = log.iter().filter(|effect| effect.contains("apt-get purge")).collect();
    assert_eq!(purges.len(), 2, "{log:?}");
    assert!(purges[0].contains(" --simulate ") && !purges[1].contains(" --simulate "), "{log:?}");
    let changes = |effect: &&String| !effect.contains("dpkg-query");
    assert_eq!(log.iter().find(changes), Some(purges[0]), "before anything is changed: {log:?}");
    assert!(host.files().contains_key(Path::new("/etc/docker/daemon.json")), "it was somebody else's");
    assert!(!host.files().contains_key(Path::new(DROP_IN)));
    let is_there = |path| host.files().contains_key(Path::new(path));
    assert_eq!([SOURCES, KEYRING, PREFERENCES].map(is_there), [true, true, false]);
}

/// What Debian's docker.io brings, and copies when it is removed, to have `/var/lib/docker` emptied when it is purged.
const NUKES: [&str; 2] =
    ["/usr/share/docker.io/contrib/nuke-graph-directory.sh", "/var/lib/docker/nuke-graph-directory.sh"];

const PURGE: &str = "apt-get purge --yes -q -o DPkg::Lock::Timeout=300";

/// A machine with these packages of Docker's, on which a purge would remove others, too.
fn with_packages(
    installed: &'static [&'static str],
    needs: impl Fn(&str) -> Option<&'static str> + Send + Sync + 'static,
) -> impl Fn(&Program, &mut Files) -> Result<Vec<u8>, String> {
    move |program, files| {
        let line = program.line();
        let states: Vec<_> = installed.iter().map(|package| (*package, "install ok installed")).collect();
        if let Some(shown) = dpkg_states(program, &states) {
            return Ok(shown);
        }
        let Some(packages) = line.strip_prefix(PURGE) else { return play(program, files) };
        let packages = packages.split_whitespace().filter(|word| *word != "--simulate");
        let going = packages.flat_map(|package| needs(package).into_iter().chain([package]));
        Ok(going.map(|package| format!("Purg {package} [1]\n")).collect::<String>().into_bytes())
    }
}

/// The journal of an agent that installed Docker where the owner had nothing of it.
const INSTALLED: &str = r#"{"version": 1, "install": "completed"}"#;

/// A Pi that got Docker with the agent, with this journal.
async fn installed(world: &World, client: &Client, journal: &str) -> Files {
    let host = machine(&Arc::default(), Files::new());
    adopt(&host, client, &delivery(world, "red01")).await.unwrap();
    host.make_folder(Path::new(DROP_IN).parent().unwrap(), 0o755, None).unwrap();
    host.write(Path::new(DROP_IN), DROP_IN_TEXT.as_bytes(), 0o644, None).unwrap();
    host.write(&state("journal.json"), journal.as_bytes(), 0o600, None).unwrap();
    host.files()
}

#[tokio::test]
async fn a_docker_that_the_owners_packages_need_is_not_purged_and_nothing_is_changed() {
    let world = World::new(&["red01"]);
    let (_engine, client) = engine(&world, "red01");
    let files = installed(&world, &client, INSTALLED).await;
    let power = Arc::<Power>::default();
    let needs = |package: &str| (package == "docker-ce").then_some("rootless-extras");
    let host = FakeHost::new(Arc::clone(&power), files, UNIX_EPOCH)
        .with_programs(with_packages(&["docker-ce", "docker-ce-cli", "containerd.io"], needs));
    let before = host.files();
    let refused = remove::remove(&host, &client, true, None).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "rootless-extras would be removed with docker-ce, docker-ce-cli, containerd.io: nothing was removed. If it may go, \
         type on this node: sudo apt-get remove rootless-extras; to keep Docker: sudo /usr/local/lib/firstboot/firstboot remove"
    );
    assert_eq!(host.files(), before);
    assert!(power.log().iter().all(|effect| effect.contains("dpkg-query") || effect.contains("--simulate")));
    // What it said to type.
    remove::remove(&host, &client, false, None).await.unwrap();
}

#[tokio::test]
async fn what_other_software_shares_and_what_the_owner_had_before_stays() {
    let world = World::new(&["red01"]);
    let (_engine, client) = engine(&world, "red01");
    const DEBIANS: &[&str] = &["docker.io", "docker-cli", "containerd", "runc"];
    let podman = |package: &str| (package == "runc").then_some("podman");
    for (journal, podman, going) in [
        (INSTALLED, None, "docker.io docker-cli containerd runc"),
        (INSTALLED, Some(podman), "docker.io docker-cli"),
        (
            r#"{"version": 1, "install": "completed", "owners_packages": ["runc"]}"#,
            None,
            "docker.io docker-cli containerd",
        ),
        (
            r#"{"version": 1, "install": "completed", "owners_packages": ["runc"]}"#,
            Some(podman),
            "docker.io docker-cli containerd",
        ),
    ] {
        let files = installed(&world, &client, journal).await;
        let power = Arc::<Power>::default();
        let needs = move |package: &str| podman.and_then(|needs| needs(package));
        let host =
            FakeHost::new(Arc::clone(&power), files, UNIX_EPOCH).with_programs(with_packages(DEBIANS, needs));
        let packages = remove::packages(&host, None).unwrap().unwrap().join(" ");
        assert_eq!(packages, going, "{journal}");
        remove::remove(&host, &client, true, None).await.unwrap();
        let purged = format!("run {PURGE} {going}");
        assert_eq!(power.log().iter().filter(|effect| **effect == purged).count(), 1, "{:?}", power.log());
    }
}

#[tokio::test]
async fn without_a_journal_only_the_engine_is_purged() {
    let world = World::new(&["red01"]);
    let (_engine, client) = engine(&world, "red01");
    let packages = |files: &Files| {
        let nothing = |_: &str| None;
        let installed = with_packages(&["docker-ce", "docker-ce-cli", "containerd.io"], nothing);
        let host = FakeHost::new(Arc::default(), files.clone(), UNIX_EPOCH).with_programs(installed);
        remove::packages(&host, None).unwrap().unwrap().join(" ")
    };
    let all = installed(&world, &client, INSTALLED).await;
    let whole = "docker-ce docker-ce-cli containerd.io";
    assert_eq!(packages(&all), whole);
    let again = installed(&world, &client, r#"{"version": 1}"#).await;
    assert_eq!(packages(&again), whole, "the agent was removed and brought again");
    for journal in ["{", "", r#"{"version": 1, "install": "unknown"}"#] {
        assert_eq!(packages(&installed(&world, &client, journal).await), "docker-ce", "{journal}");
    }
    let mut lost = all.clone();
    lost.remove(&state("journal.json"));
    assert_eq!(packages(&lost), "docker-ce", "lost");
    // An agent has installed again after the damage.
    let mut anew = all;
    anew.insert(state("journal.json.damaged"), file("{"));
    assert_eq!(packages(&anew), "docker-ce", "damaged before");
}

#[tokio::test]
async fn a_docker_that_is_not_ours_has_no_packages_to_purge() {
    let world = World::new(&["red01"]);
    let (_engine, client) = engine(&world, "red01");
    let files = installed(&world, &client, INSTALLED).await;
    let host = FakeHost::new(Arc::default(), files, UNIX_EPOCH);
    let meant = remove::Meant {
        cluster: world.card("red01").cluster_id,
        node: "red02".to_owned().try_into().unwrap(),
    };
    assert!(remove::packages(&host, Some(&meant)).is_err(), "another node");
    host.remove(Path::new(DROP_IN)).unwrap();
    assert_eq!(remove::packages(&host, None).unwrap(), None);
}

/// dpkg with Debian's Docker, and what is left of another that was there before.
fn with_dpkg(program: &Program, files: &mut Files) -> Result<Vec<u8>, String> {
    let (there, left) = ("install ok installed", "deinstall ok config-files");
    let states = [
        ("docker.io", there),
        ("docker-cli", there),
        ("iptables", there),
        ("docker-ce", left),
        ("containerd.io", left),
    ];
    let line = program.line();
    match dpkg_states(program, &states) {
        Some(shown) => Ok(shown),
        None if line == format!("{PURGE} --simulate docker.io docker-cli") => {
            Ok(b"Purg docker.io [26.1]\nPurg docker-cli [26.1]\n".to_vec())
        }
        None if line == format!("{PURGE} docker.io docker-cli") => {
            match NUKES.iter().find(|script| files.contains_key(Path::new(script))) {
                Some(script) => Err(format!("Nuking /var/lib/docker ... ({script})")),
                None => Ok(Vec::new()),
            }
        }
        None => play(program, files),
    }
}
