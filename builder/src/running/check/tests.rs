use cluster::card::DockerSource;

use super::*;

const NOW: u64 = 1_780_000_000;

fn entry(host: &str, role: Role) -> Entry {
    Entry { host: Host::try_from(host).unwrap(), role, name: None, address: None }
}

fn pi(name: &str) -> Found {
    Found {
        name: name.to_owned(),
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

fn judge(entry: Entry, found: Found) -> Verdict {
    check(&[entry], &[Some(Some(found))], None, None, Others::Keep, NOW).remove(0)
}

fn worker(found: Found) -> Obstacle {
    match judge(entry("10.1.1.2", Role::Worker), found) {
        Verdict::Unfit(obstacle) => obstacle,
        fit => panic!("{fit:?}"),
    }
}

fn running(hosts: &[(&str, &str, Role)]) -> Running {
    let host = |(host, name, role): &(&str, &str, Role)| RunningHost {
        host: (*host).to_owned(),
        name: Hostname::try_from(*name).unwrap(),
        role: *role,
        address: None,
    };
    Running::new(None, DockerSource::Docker, hosts.iter().map(host).collect())
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
        format!("{obstacle} / {}", obstacle.advice("ssh pi@10.1.1.2"))
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
    sudo wants a password there: sudo: a password is required / ssh pi@10.1.1.2 -t "sudo sh -c 'echo \$SUDO_USER ALL=\(ALL\) NOPASSWD: ALL > /etc/sudoers.d/010_nopasswd'"
    its system is Alpine Linux v3.22, and nodes need Debian or a system made of it, with apt and systemd / install Raspberry Pi OS or Debian on it, or take it out of the file
    Docker has no packages for its processor (armv6l) / take it out of the file
    its disk is full: 390 MiB are free, and 1024 MiB are needed / see what takes the room: ssh pi@10.1.1.2 sudo du -xhd1 /
    it calls itself `Red_01`, which has the character 'R'; use lower-case letters, digits and hyphens / give it another: ssh pi@10.1.1.2 sudo hostnamectl set-hostname red00
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
    let verdicts = check(&entries, &found, None, None, Others::Keep, NOW);
    assert!(matches!(&verdicts[0], Verdict::Fit(_)));
    assert!(matches!(&verdicts[1], Verdict::Unfit(Obstacle::NameTaken { other, .. }) if other.name == "a"));
    assert!(matches!(&verdicts[2], Verdict::Unfit(Obstacle::SameMachine(other)) if other.name == "a"));
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
        let verdicts = check(&entries, &found, earlier, None, Others::Keep, NOW);
        let unfit = verdicts.iter().filter_map(|verdict| match verdict {
            Verdict::Unfit(obstacle) => {
                obstacle.advice("ssh pi@x").rsplit_once(' ').map(|(_, name)| name.to_owned())
            }
            _ => None,
        });
        unfit.collect()
    };
    assert_eq!(free(None), ["red01", "red04", "red05"], "red03 is one already");
    assert_eq!(free(Some(&earlier)), ["red02", "red04", "red05"]);
}

#[test]
fn a_machine_in_another_swarm_is_taken_over_only_when_told() {
    let found = [Some(Some(Found { swarm: true, ..pi("red01") }))];
    let entries = [entry("a", Role::Worker)];
    let told = check(&entries, &found, None, None, Others::TakeOver, NOW);
    assert!(matches!(&told[0], Verdict::Fit(_)));
}

#[test]
fn a_cluster_file_says_what_a_machine_is_called() {
    let named = Entry { name: Some(Hostname::try_from("red01").unwrap()), ..entry("red01", Role::Worker) };
    assert!(matches!(judge(named.clone(), pi("red01")), Verdict::Fit(_)));
    let Verdict::Unfit(obstacle) = judge(named, pi("raspberrypi")) else { panic!() };
    assert!(obstacle.advice("ssh red01").ends_with("set-hostname red01"));
}

#[test]
fn a_clock_that_is_off_is_worth_a_word() {
    let off = Found { time: Some(NOW - 7200), ..pi("red01") };
    let Verdict::Fit(candidate) = judge(entry("a", Role::Worker), off) else { panic!() };
    assert_eq!(candidate.notes, ["its clock is 2h behind this computer's: the agent waits for network time"]);
}

#[test]
fn a_node_that_cannot_be_asked_now_stays_a_node() {
    let earlier =
        running(&[("a", "red00", Role::Manager), ("b", "red01", Role::Worker), ("c", "red02", Role::Worker)]);
    let entries = [entry("b", Role::Worker), entry("d", Role::Worker), entry("a", Role::Manager)];
    let found = [None, None, Some(Some(pi("red00")))];
    let verdicts = check(&entries, &found, Some(&earlier), None, Others::Keep, NOW);
    let hosts = plan(&entries, &verdicts, Some(&earlier));
    let names: Vec<_> = hosts.iter().map(|host| host.name.as_str()).collect();
    assert_eq!(names, ["red00", "red01"], "managers first, and nobody who was never seen");
    let gone: Vec<_> = gone(Some(&earlier), &hosts).iter().map(|host| host.name.to_string()).collect();
    assert_eq!(gone, ["red02"]);
}

#[test]
fn managers_are_found_at_the_files_address_or_at_their_own() {
    let address = Ipv4Addr::new(10, 1, 1, 9);
    let found = |name: &str| Some(Some(Found { address: Some(address), ..pi(name) }));
    let entries =
        [entry("10.1.1.1", Role::Manager), entry("blue", Role::Manager), entry("red", Role::Worker)];
    let found = [found("red00"), found("red01"), found("red02")];
    let verdicts = check(&entries, &found, None, None, Others::Keep, NOW);
    let addresses: Vec<_> = plan(&entries, &verdicts, None).into_iter().map(|host| host.address).collect();
    assert_eq!(addresses, [Some(Ipv4Addr::new(10, 1, 1, 1)), Some(address), None]);
}

#[test]
fn a_node_does_not_change_its_role() {
    let earlier = running(&[("a", "red00", Role::Manager), ("b", "red01", Role::Worker)]);
    let entries = [entry("b", Role::Manager)];
    let verdicts = check(&entries, &[Some(Some(pi("red01")))], Some(&earlier), None, Others::Keep, NOW);
    assert_eq!(verdicts, [Verdict::Unfit(Obstacle::OtherRole(Role::Worker))]);
}
