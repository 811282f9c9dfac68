use std::net::Ipv4Addr;

use super::*;
use crate::running::check::Others;
use crate::running::check::tests::{card, entry, host_key, judged, pi, running};

/// What becomes of a file's machines; `None` is one that cannot be asked.
fn made(entries: &[Entry], found: &[Option<Found>], earlier: &Running) -> Plan {
    let found: Vec<_> = found.iter().cloned().map(|found| found.map(Some)).collect();
    let verdicts = judged(entries, &found, Some(earlier), None, Others::Keep);
    plan(entries, &verdicts, Some(earlier))
}

fn names(hosts: &[RunningHost]) -> Vec<&str> {
    hosts.iter().map(|host| host.name.as_str()).collect()
}

/// One manager and four workers, as the lesson numbers them.
fn lesson() -> Running {
    let mut earlier = running(&[
        ("10.1.1.1", "red00", Role::Manager),
        ("10.1.1.2", "red01", Role::Worker),
        ("10.1.1.3", "red02", Role::Worker),
    ]);
    for host in &mut earlier.hosts {
        host.address = host.host.parse().ok();
    }
    earlier
}

fn file(hosts: &[&str]) -> Vec<Entry> {
    let entry =
        |(index, host): (usize, &&str)| entry(host, if index == 0 { Role::Manager } else { Role::Worker });
    hosts.iter().enumerate().map(entry).collect()
}

#[test]
fn a_node_that_cannot_be_asked_now_stays_a_node() {
    let earlier = running(&[("a", "red00", Role::Manager), ("b", "red01", Role::Worker)]);
    let entries = [entry("b", Role::Worker), entry("d", Role::Worker), entry("a", Role::Manager)];
    let plan = made(&entries, &[None, None, Some(pi("red00"))], &earlier);
    assert_eq!(names(&plan.hosts), ["red00", "red01"], "managers first, and nobody who was never seen");
    assert_eq!((plan.gone, plan.held), (vec![], vec![]));
}

#[test]
fn a_line_less_is_a_node_less() {
    let plan = made(&file(&["10.1.1.1", "10.1.1.3"]), &[Some(pi("red00")), None], &lesson());
    assert_eq!((names(&plan.hosts), names(&plan.gone)), (vec!["red00", "red02"], vec!["red01"]));
    assert_eq!(names(&plan.held), [""; 0]);
}

#[test]
fn a_node_that_is_written_in_another_way_is_the_same() {
    for [one, other] in
        [["pi@10.1.1.2", "ada@10.1.1.3"], ["red01", "red02.local"], ["Red01.example.org", "10.1.1.3"]]
    {
        let plan = made(&file(&["10.1.1.1", one, other]), &[Some(pi("red00")), None, None], &lesson());
        assert_eq!(names(&plan.hosts), ["red00", "red01", "red02"], "{one} {other}");
        assert_eq!((plan.gone, plan.held), (vec![], vec![]), "{one} {other}");
    }
    // Who cannot be brought in says all the same who he is.
    let full = Found { free_kib: Some(1), ..pi("red01") };
    let plan = made(&file(&["a", "b", "c"]), &[Some(pi("red00")), Some(full), Some(pi("red02"))], &lesson());
    assert_eq!((names(&plan.hosts), plan.gone), (vec!["red00", "red01", "red02"], vec![]));
}

#[test]
fn nobody_is_taken_out_while_a_machine_of_an_unknown_name_cannot_be_asked() {
    let entries = file(&["10.1.1.1", "10.1.1.2", "blue"]);
    let asked = [Some(pi("red00")), Some(pi("red01"))];
    let with = |third: Option<Found>| made(&entries, &[asked.as_slice(), &[third]].concat(), &lesson());
    let plan = with(None);
    assert_eq!((names(&plan.hosts), names(&plan.held)), (vec!["red00", "red01", "red02"], vec!["red02"]));
    assert_eq!(plan.gone, []);
    let plan = with(Some(pi("blue")));
    assert_eq!((names(&plan.hosts), names(&plan.gone)), (vec!["red00", "red01", "blue"], vec!["red02"]));
    let plan = with(Some(Found { systemd: false, ..pi("blue") }));
    assert_eq!((names(&plan.gone), plan.held), (vec!["red02"], vec![]), "it said that it is another");
    // A cluster file says which it is.
    let mut entries = entries.clone();
    for (entry, name) in entries.iter_mut().zip(["red00", "red01", "blue"]) {
        entry.name = Some(Hostname::try_from(name).unwrap());
    }
    let plan = made(&entries, &[asked.as_slice(), &[None]].concat(), &lesson());
    assert_eq!((names(&plan.gone), plan.held), (vec!["red02"], vec![]));
}

#[test]
fn whoever_cannot_have_another_role_yet_keeps_his_own() {
    let swapped = file(&["10.1.1.2", "10.1.1.1", "10.1.1.3"]);
    let plan = made(&swapped, &[None, None, Some(pi("red02"))], &lesson());
    // red02 was seen, and is known by its host key from now on.
    let mut hosts = lesson().hosts;
    hosts[2].host_key = Some(host_key("red02"));
    assert_eq!((plan.hosts, plan.gone), (hosts, vec![]));
}

#[test]
fn managers_are_found_at_the_files_address_or_at_their_own() {
    let address = Ipv4Addr::new(10, 1, 1, 9);
    let found = |name: &str| Some(Found { address: Some(address), ..pi(name) });
    let entries =
        [entry("10.1.1.1", Role::Manager), entry("blue", Role::Manager), entry("red", Role::Worker)];
    let plan = made(&entries, &[found("red00"), found("red01"), found("red02")], &running(&[]));
    let addresses: Vec<_> = plan.hosts.into_iter().map(|host| host.address).collect();
    assert_eq!(addresses, [Some(Ipv4Addr::new(10, 1, 1, 1)), Some(address), None]);
}

#[test]
fn a_swarm_is_over_when_no_manager_has_a_card_of_ours() {
    let ours = card("0123456789abcdef", "red00", Role::Manager);
    let manager = ours.node.clone();
    let over = |found: Found| {
        let verdicts = judged(&file(&["a"]), &[Some(Some(found))], None, None, Others::TakeOver);
        is_over([&manager].into_iter(), &verdicts, &ours.cluster_id)
    };
    assert!(over(pi("red00")), "purged, or nothing was ever brought");
    let other = card("fedcba9876543210", "red00", Role::Manager);
    assert!(over(Found { card: Some(other), ..pi("red00") }));
    assert!(!over(Found { card: Some(ours.clone()), ..pi("red00") }));
    assert!(
        !over(Found { certificate: Some("a digest".to_owned()), ..pi("red00") }),
        "a card of a newer builder"
    );
    assert!(!over(Found { root: Root::No("sudo: a password is required".to_owned()), ..pi("red00") }));
    assert!(!over(pi("red01")), "the manager was not seen");
    assert!(!is_over([&manager].into_iter(), &[Verdict::Unasked], &ours.cluster_id));
}

#[test]
fn a_node_is_bound_to_the_host_key_that_it_showed() {
    let plan = made(&file(&["10.1.1.1"]), &[Some(pi("red00"))], &running(&[]));
    assert_eq!(plan.hosts[0].host_key, Some(host_key("red00")));
}

/// Machines were brought in by this builder, which knows them by their keys.
fn bound() -> Running {
    let mut earlier = lesson();
    for host in &mut earlier.hosts {
        host.host_key = Some(host_key(host.name.as_str()));
    }
    earlier
}

#[test]
fn no_node_goes_while_a_machine_has_the_name_of_another() {
    // red02 has taken red01's name, while red01 is off, and has another address by now.
    let liar = Found { host_key: Some(host_key("red02")), ..pi("red01") };
    for red01 in [None, Some(pi("red01"))] {
        let found = [Some(pi("red00")), red01, Some(liar.clone())];
        let plan = made(&file(&["10.1.1.1", "10.1.1.2", "10.1.1.9"]), &found, &bound());
        assert_eq!((names(&plan.hosts), plan.gone), (vec!["red00", "red01", "red02"], vec![]));
        assert_eq!(names(&plan.held), ["red02"]);
        assert_eq!(plan.hosts[1].host_key, Some(host_key("red01")), "red01 stays what it was");
    }
    // Nor where red01 is not in the file any more.
    let found = [Some(pi("red00")), Some(liar.clone())];
    let plan = made(&file(&["10.1.1.1", "10.1.1.9"]), &found, &bound());
    assert_eq!((names(&plan.hosts), plan.gone), (vec!["red00", "red01", "red02"], vec![]));
    // At its own address it is known by that.
    let found = [Some(pi("red00")), Some(pi("red01")), Some(liar)];
    let plan = made(&file(&["10.1.1.1", "10.1.1.2", "10.1.1.3"]), &found, &bound());
    assert_eq!((names(&plan.hosts), plan.gone, plan.held), (vec!["red00", "red01", "red02"], vec![], vec![]));
}

#[test]
fn a_stranger_under_a_managers_name_does_not_end_the_swarm() {
    let ours = card("0123456789abcdef", "red00", Role::Manager);
    let found = [Some(Some(Found { host_key: Some(host_key("blue")), ..pi("red00") }))];
    let verdicts = judged(&file(&["10.1.1.9"]), &found, Some(&bound()), None, Others::TakeOver);
    assert!(!is_over([&ours.node].into_iter(), &verdicts, &ours.cluster_id));
}
