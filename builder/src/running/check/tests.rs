use cluster::card::{Card, DockerSource};

use super::*;
use crate::pki::{Running, RunningHost};
use crate::running::engine::Engine;

pub(in crate::running) const NOW: u64 = 1_780_000_000;

pub(in crate::running) fn entry(host: &str, role: Role) -> Entry {
    Entry { host: Host::try_from(host).unwrap(), role, name: None, address: None }
}

pub(in crate::running) fn pi(name: &str) -> Found {
    Found {
        name: name.to_owned(),
        host_key: Some(host_key(name)),
        arch: "arm64".to_owned(),
        machine: "aarch64".to_owned(),
        system: "Debian GNU/Linux 13 (trixie)".to_owned(),
        systemd: true,
        boot: format!("boot of {name}"),
        time: Some(NOW + 1),
        free_kib: Some(20_000_000),
        root: Root::Sudo,
        ..Found::default()
    }
}

/// The SSH host key of a machine.
pub(in crate::running) fn host_key(machine: &str) -> HostKey {
    let digits: String = machine.chars().filter(char::is_ascii_alphanumeric).collect();
    HostKey::try_from(format!("SHA256:{digits:A<43}")).unwrap()
}

/// Judges machines of a list of hosts, where no cards were made and nobody said that a node is another machine.
pub(in crate::running) fn judged(
    entries: &[Entry],
    found: &[Option<Option<Found>>],
    earlier: Option<&Running>,
    ours: Option<&ClusterId>,
    others: Others,
) -> Vec<Verdict> {
    let (cards, replaced) = (BTreeMap::new(), BTreeSet::new());
    let known = Known { earlier, cards: &cards, replaced: &replaced };
    check(entries, found, &known, ours, others, &wanted(), NOW)
}

/// What a swarm of a `hostnames.yaml` needs.
pub(in crate::running) fn wanted() -> Wanted {
    Wanted { source: DockerSource::Docker, pool: None }
}

fn judge(entry: Entry, found: Found) -> Verdict {
    judged(&[entry], &[Some(Some(found))], None, None, Others::Keep).remove(0)
}

fn worker(found: Found) -> Obstacle {
    match judge(entry("10.1.1.2", Role::Worker), found) {
        Verdict::Unfit(obstacle, _) => obstacle,
        fit => panic!("{fit:?}"),
    }
}

pub(in crate::running) fn running(hosts: &[(&str, &str, Role)]) -> Running {
    let host = |(host, name, role): &(&str, &str, Role)| RunningHost {
        host: (*host).to_owned(),
        name: Hostname::try_from(*name).unwrap(),
        role: *role,
        address: None,
        host_key: None,
    };
    Running::new(None, DockerSource::Docker, hosts.iter().map(host).collect())
}

/// The payload of a node.
pub(in crate::running) fn card(cluster_id: &str, node: &str, role: Role) -> Card {
    let card = serde_json::json!({"version": 1, "cluster": "red", "cluster_id": cluster_id, "node": node, "role": role,
        "not_before": 0, "nodes": [], "user": {"name": "pi", "authorized_keys": []}, "docker": {"source": "docker"},
        "swarm": {"cert_expiry_seconds": 1, "join_window_seconds": 1, "managers_run_tasks": false}});
    serde_json::from_value(card).unwrap()
}

#[test]
fn a_machine_is_a_node_under_its_own_name() {
    let Verdict::Fit(candidate) = judge(entry("10.1.1.2", Role::Worker), pi("red01")) else { panic!() };
    assert_eq!((candidate.name.as_str(), candidate.arch), ("red01", Arch::Aarch64));
    assert_eq!(candidate.notes, [""; 0]);
}

#[test]
fn whatever_keeps_a_machine_out_says_what_to_type() {
    let told = |found: Found| {
        let obstacle = worker(found);
        format!("{obstacle} / {}", obstacle.advice("ssh pi@10.1.1.2").show(None).text)
    };
    let wrong = [
        told(Found { root: Root::No("sudo: a password is required".into()), ..pi("red01") }),
        told(Found { systemd: false, system: "Alpine Linux v3.22".into(), ..pi("red01") }),
        told(Found { arch: "armhf".into(), machine: "armv6l".into(), ..pi("red01") }),
        told(Found { free_kib: Some(400_000), ..pi("red01") }),
        told(pi("Red_01")),
        told(Found { swarm: true, ..pi("red01") }),
    ];
    insta::assert_snapshot!(wrong.join("\n"), @r#"
    sudo wants a password there: sudo: a password is required / builder config --ask-sudo asks for the password, once for all hosts
    its system is Alpine Linux v3.22, and nodes need Debian or a system made of it, with apt and systemd / install Raspberry Pi OS or Debian on it, or take it out of the file
    Docker has no packages for its processor (armv6l) / take it out of the file
    its disk is full: 390 MiB are free, and 1024 MiB are needed / see what takes the room: ssh pi@10.1.1.2 sudo du -xhd1 /
    it calls itself `Red_01`, which has the character 'R'; use lower-case letters, digits and hyphens / give it another: ssh pi@10.1.1.2 sudo hostnamectl set-hostname red-01
    it is in another swarm / --take-over has it leave for this one; what only runs there is lost
    "#);
}

#[test]
fn with_docker_less_room_is_enough() {
    let full = Found { free_kib: Some(400_000), docker: true, ..pi("red01") };
    assert!(matches!(judge(entry("10.1.1.2", Role::Worker), full), Verdict::Fit(_)));
}

#[test]
fn two_machines_of_one_name_and_one_machine_twice_are_told_apart() {
    let entries = ["a", "b", "c"].map(|host| entry(host, Role::Worker));
    let other = Found { boot: "another".to_owned(), ..pi("red01") };
    let found = [pi("red01"), other, pi("red01")].map(|found| Some(Some(found)));
    let verdicts = judged(&entries, &found, None, None, Others::Keep);
    assert!(matches!(&verdicts[0], Verdict::Fit(_)));
    assert!(
        matches!(&verdicts[1], Verdict::Unfit(Obstacle::NameTaken { other, .. }, _) if other.name == "a")
    );
    assert!(matches!(&verdicts[2], Verdict::Unfit(Obstacle::SameMachine(other), _) if other.name == "a"));
}

/// Five Pis that were never given a name: what is typed for one must not take the next one's.
#[test]
fn machines_of_one_name_are_told_different_ones() {
    let entries: Vec<_> = ["a", "b", "c", "d", "e"].map(|host| entry(host, Role::Worker)).into();
    let pi = |name: &str, boot: &str| Some(Some(Found { boot: boot.to_owned(), ..pi(name) }));
    let found = [
        pi("raspberrypi", "1"),
        pi("raspberrypi", "2"),
        pi("red03", "3"),
        pi("My_Pi", "4"),
        pi("raspberrypi", "5"),
    ];
    let earlier = running(&[("z", "red01", Role::Worker)]);
    let free = |earlier| -> Vec<String> {
        let verdicts = judged(&entries, &found, earlier, None, Others::Keep);
        let unfit = verdicts.iter().filter_map(|verdict| match verdict {
            Verdict::Unfit(obstacle, _) => {
                obstacle.advice("ssh pi@x").show(None).text.rsplit_once(' ').map(|(_, name)| name.to_owned())
            }
            _ => None,
        });
        unfit.collect()
    };
    assert_eq!(free(None), ["red01", "my-pi", "red04"], "red03 is one already");
    assert_eq!(free(Some(&earlier)), ["red02", "my-pi", "red04"]);
}

/// ansible-dockerswarm#61.
#[test]
fn offers_a_name_near_the_machines_own() {
    for (own, near) in [
        ("Kitchen-Pi", Some("kitchen-pi")),
        ("kitchen.example.org", Some("kitchen")),
        ("My_Pi", Some("my-pi")),
        ("-pi-", Some("pi")),
        ("kitchen", None),
        ("___", None),
        ("", None),
        (".", None),
    ] {
        assert_eq!(near_name(own).as_deref(), near, "{own}");
    }
    let taken = BTreeSet::from(["kitchen-pi".to_owned(), "red03".to_owned()]);
    assert_eq!(free_name(3, "Kitchen-Pi", &taken), "red04");
    assert_eq!(free_name(0, "RaspberryPi", &taken), "red00", "nobody wants that one");
}

#[test]
fn a_docker_that_a_swarm_cannot_use_keeps_a_machine_out() {
    let json = r#"{"Swarm":{"LocalNodeState":"inactive"},"LiveRestoreEnabled":true}"#;
    let engine = Engine::read(&|key| (key == "info").then_some(json));
    let found = Found { docker: true, engine: engine.clone(), ..pi("red01") };
    let obstacle = worker(found.clone());
    assert_eq!(
        format!("{obstacle} / {}", obstacle.advice("ssh pi@10.1.1.2").show(None).text),
        "its Docker keeps containers running over its own restarts (live-restore), which Swarm refuses / take \"live-restore\" \
         out of /etc/docker/daemon.json there (or --live-restore out of its service), then: ssh pi@10.1.1.2 sudo systemctl \
         restart docker"
    );
    let ours = card("0123456789abcdef", "red01", Role::Worker);
    let id = ours.cluster_id.clone();
    let member = Found { card: Some(ours), swarm: true, ..found };
    let entries = [entry("a", Role::Worker)];
    let told = judged(&entries, &[Some(Some(member))], None, Some(&id), Others::Keep);
    assert!(matches!(&told[0], Verdict::Fit(_)), "it is in the swarm already");
}

#[test]
fn a_password_that_is_refused_says_what_to_type() {
    let told = |root: Root| {
        let obstacle = worker(Found { root, ..pi("red01") });
        format!("{obstacle} / {}", obstacle.advice("ssh pi@10.1.1.2").show(None).text)
    };
    let refused = |said: &str, wrong| told(Root::Refused { said: said.to_owned(), wrong });
    insta::assert_snapshot!(
        [refused("Sorry, try again.", true), refused("pi is not in the sudoers file.", false)].join("\n"),
        @r"
    sudo does not accept the password there: Sorry, try again. / see which password is right there: ssh pi@10.1.1.2 -t sudo true
    sudo does not work there: pi is not in the sudoers file. / see what sudo says: ssh pi@10.1.1.2 -t sudo true
    "
    );
    assert!(matches!(
        judge(entry("a", Role::Worker), Found { root: Root::Password, ..pi("red01") }),
        Verdict::Fit(_)
    ));
}

#[test]
fn a_kernel_without_memory_cgroup_is_worth_a_word() {
    let note = |memory_cgroup, pi_os| {
        let found = Found { memory_cgroup, pi_os, ..pi("red01") };
        let Verdict::Fit(candidate) = judge(entry("a", Role::Worker), found) else { panic!() };
        candidate.notes.join("")
    };
    assert_eq!((note(Some(true), true), note(None, true)), (String::new(), String::new()));
    assert!(note(Some(false), true).contains("the agent turns it on"));
    assert!(note(Some(false), false).contains("add cgroup_enable=memory"));
}

#[test]
fn a_machine_in_another_swarm_is_taken_over_only_when_told() {
    let found = [Some(Some(Found { swarm: true, ..pi("red01") }))];
    let entries = [entry("a", Role::Worker)];
    let told = judged(&entries, &found, None, None, Others::TakeOver);
    assert!(matches!(&told[0], Verdict::Fit(_)));
}

#[test]
fn a_cluster_file_says_what_a_machine_is_called() {
    let named = Entry { name: Some(Hostname::try_from("red01").unwrap()), ..entry("red01", Role::Worker) };
    assert!(matches!(judge(named.clone(), pi("red01")), Verdict::Fit(_)));
    let Verdict::Unfit(obstacle, _) = judge(named, pi("raspberrypi")) else { panic!() };
    assert!(obstacle.advice("ssh red01").show(None).text.ends_with("set-hostname red01"));
}

#[test]
fn a_clock_that_is_off_is_worth_a_word() {
    let off = Found { time: Some(NOW - 7200), ..pi("red01") };
    let Verdict::Fit(candidate) = judge(entry("a", Role::Worker), off) else { panic!() };
    assert_eq!(candidate.notes, ["its clock is 2h behind this computer's: the agent waits for network time"]);
}

#[test]
fn a_node_does_not_change_its_role_while_it_is_in_the_swarm() {
    let earlier = running(&[("a", "red00", Role::Manager), ("b", "red01", Role::Worker)]);
    let ours = card("0123456789abcdef", "red01", Role::Worker);
    let id = ours.cluster_id.clone();
    let told = |found: Found| {
        let found = [Some(Some(found))];
        judged(&[entry("b", Role::Manager)], &found, Some(&earlier), Some(&id), Others::Keep).remove(0)
    };
    let member = Found { card: Some(ours), swarm: true, ..pi("red01") };
    let Verdict::Unfit(obstacle, Some(_)) = told(member.clone()) else { panic!() };
    assert_eq!(obstacle, Obstacle::OtherRole(Role::Worker));
    insta::assert_snapshot!(obstacle.advice("ssh b").show(None).text, @"take it out of the file, run `builder config`, put it in again, and run it once more; the only manager changes its role after `builder kill`");
    let fit = |found: Found| matches!(told(found), Verdict::Fit(_));
    assert!(fit(Found { swarm: false, ..member }), "nothing was formed yet, or it was dissolved");
    assert!(fit(pi("red01")), "nothing was ever brought, or it was purged");
}
