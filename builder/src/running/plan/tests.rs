use std::net::Ipv4Addr;

use super::*;
use crate::running::check::tests::{NOW, card, entry, pi, running, wanted};
use crate::running::check::{Others, check};

/// What becomes of a file's machines; `None` is one that cannot be asked.
fn made(entries: &[Entry], found: &[Option<Found>], earlier: &Running) -> Plan {
    let found: Vec<_> = found.iter().cloned().map(|found| found.map(Some)).collect();
    let verdicts = check(entries, &found, Some(earlier), None, Others::Keep, &wanted(), NOW);
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
    assert_eq!((plan.hosts, plan.gone), (lesson().hosts, vec![]));
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
        let verdicts =
            check(&file(&["a"]), &[Some(Some(found))], None, None, Others::TakeOver, &wanted(), NOW);
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
