use std::net::Ipv4Addr;

use cluster::identity::Role;

use super::*;
use crate::running::check::tests::{NOW, card, entry, host_key, judged, pi, running, wanted};
use crate::running::check::{Others, Verdict, check};

const OURS: &str = "0123456789abcdef";

fn name(text: &str) -> Hostname {
    Hostname::try_from(text).unwrap()
}

/// red00 manages and red03 works, at 10.1.1.1 and 10.1.1.3, each with its host key.
fn bound() -> Running {
    let mut earlier =
        running(&[("10.1.1.1", "red00", Role::Manager), ("pi@10.1.1.3", "red03", Role::Worker)]);
    for host in &mut earlier.hosts {
        host.host_key = Some(host_key(host.name.as_str()));
    }
    earlier
}

/// A machine that calls itself so and has the host key of that one.
fn calls_itself(name: &str, machine: &str) -> Found {
    Found { host_key: Some(host_key(machine)), boot: format!("boot of {machine}"), ..pi(name) }
}

/// The keys that machines get, or why they get none, as they stand in a file.
fn keys(hosts: &[&str], found: &[Found], earlier: Option<&Running>) -> Vec<Result<Key, String>> {
    let entries: Vec<_> = hosts.iter().map(|host| entry(host, Role::Worker)).collect();
    let found: Vec<_> = found.iter().cloned().map(|found| Some(Some(found))).collect();
    judged(&entries, &found, earlier, None, Others::Keep).into_iter().map(key).collect()
}

fn key(verdict: Verdict) -> Result<Key, String> {
    match verdict {
        Verdict::Fit(candidate) => Ok(candidate.key),
        Verdict::Unfit(obstacle, _) => Err(obstacle.to_string()),
        Verdict::Unasked => Err("unasked".to_owned()),
    }
}

/// The finding: a machine that called itself red03 while red03 was off was given red03's key.
#[test]
fn a_machine_that_calls_itself_a_node_does_not_get_its_key() {
    let told = keys(&["10.1.1.9"], &[calls_itself("red03", "blue")], Some(&bound())).remove(0).unwrap_err();
    insta::assert_snapshot!(told, @"it calls itself red03, and red03 is another machine: pi@10.1.1.3 with the SSH host key SHA256:red03AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA; this one has the SSH host key SHA256:blueAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    // At the very address of red03, too, and under a manager's name.
    assert!(keys(&["10.1.1.3"], &[calls_itself("red03", "blue")], Some(&bound()))[0].is_err());
    assert!(keys(&["10.1.1.9"], &[calls_itself("red00", "red03")], Some(&bound()))[0].is_err());
}

#[test]
fn the_same_host_key_is_the_same_machine_wherever_it_is() {
    for host in ["pi@10.1.1.3", "10.1.1.3", "ada@10.1.1.3", "10.1.1.77", "red03.local", "gate:2203"] {
        assert_eq!(keys(&[host], &[pi("red03")], Some(&bound())), [Ok(Key::Same)], "{host}");
    }
}

#[test]
fn a_new_name_gets_a_new_key() {
    assert_eq!(keys(&["10.1.1.9"], &[pi("red09")], None), [Ok(Key::New)]);
    assert_eq!(keys(&["10.1.1.9"], &[pi("red09")], Some(&bound())), [Ok(Key::New)]);
    // red03 under another name is another node.
    assert_eq!(keys(&["10.1.1.3"], &[calls_itself("red09", "red03")], Some(&bound())), [Ok(Key::New)]);
}

/// Whoever is first in the file may be the liar, and may copy what red03 says of its start.
#[test]
fn nobody_takes_the_place_of_a_machine_that_is_there() {
    let liar = Found { boot: pi("red03").boot, ..calls_itself("red03", "blue") };
    let told = keys(&["10.1.1.9", "10.1.1.3"], &[liar, pi("red03")], Some(&bound()));
    assert_eq!(told, [Err("it calls itself red03, as 10.1.1.3 does".to_owned()), Ok(Key::Same)]);
}

#[test]
fn a_record_without_host_keys_knows_its_machines_by_their_place() {
    let earlier = running(&[("pi@10.1.1.3", "red03", Role::Worker)]);
    for host in ["10.1.1.3", "ada@10.1.1.3", "red03.local"] {
        assert_eq!(keys(&[host], &[pi("red03")], Some(&earlier)), [Ok(Key::Same)], "{host}");
    }
    let told = keys(&["10.1.1.9"], &[pi("red03")], Some(&earlier)).remove(0).unwrap_err();
    assert!(told.contains("red03 is another machine: pi@10.1.1.3; this one"), "{told}");
}

#[test]
fn a_machine_whose_host_key_nobody_knows_gets_nothing() {
    let unknown = Found { host_key: None, ..pi("red09") };
    let told = keys(&["10.1.1.9"], &[unknown], None);
    assert_eq!(told, [Err("ssh did not tell which host key it has".to_owned())]);
}

/// Judges one machine of a cluster file, or with `planned` none of a list of hosts.
fn with(
    (host, planned): (&str, Option<&str>),
    found: Found,
    cards: &[(&str, &str)],
    replaced: &[(&str, &str)],
) -> Verdict {
    let entry = Entry { name: planned.map(name), ..entry(host, Role::Worker) };
    let cards = cards.iter().map(|(node, machine)| (name(node), host_key(machine))).collect();
    let replaced = replaced.iter().map(|(node, host)| (name(node), (*host).to_owned())).collect();
    let earlier = bound();
    let known = Known { earlier: Some(&earlier), cards: &cards, replaced: &replaced };
    let ours = ClusterId::try_from(OURS).unwrap();
    check(&[entry], &[Some(Some(found))], &known, Some(&ours), Others::Keep, &wanted(), NOW).remove(0)
}

#[test]
fn the_operator_says_which_machine_a_node_is_now() {
    let blue = || calls_itself("red03", "blue");
    let verdict = with(("10.1.1.9", None), blue(), &[], &[("red03", "10.1.1.9")]);
    let Verdict::Fit(candidate) = verdict else { panic!("{verdict:?}") };
    assert_eq!((candidate.key, &candidate.host_key), (Key::New, &host_key("blue")));
    assert!(candidate.notes[0].contains("gets a new key"), "{:?}", candidate.notes);
    // Of another machine, or of another name, nothing was said.
    for replaced in [("red03", "10.1.1.8"), ("red00", "10.1.1.9")] {
        assert!(key(with(("10.1.1.9", None), blue(), &[], &[replaced])).is_err(), "{replaced:?}");
    }
    // The machine itself needs no new one.
    assert_eq!(key(with(("10.1.1.3", None), pi("red03"), &[], &[("red03", "10.1.1.3")])), Ok(Key::Same));
}

#[test]
fn a_card_is_known_by_the_host_key_that_it_brings() {
    let planned =
        |found, cards: &[_], replaced: &[_]| key(with(("red07", Some("red07")), found, cards, replaced));
    let cards = [("red07", "card")];
    assert_eq!(planned(calls_itself("red07", "card"), &cards, &[]), Ok(Key::Same));
    let told = planned(pi("red07"), &cards, &[]).unwrap_err();
    assert!(told.contains("red07 is another machine: the one that a card was made for"), "{told}");
    assert_eq!(planned(pi("red07"), &cards, &[("red07", "red07")]), Ok(Key::New));
    assert_eq!(planned(pi("red07"), &[], &[]), Ok(Key::New));
    // Whoever says that it has a card of ours is brought nothing.
    let says = Found { card: Some(card(OURS, "red07", Role::Worker)), ..pi("red07") };
    assert_eq!(planned(says, &cards, &[]), Ok(Key::Same));
    // A list of hosts has no cards: what is left of a node that is gone is not given to the next of that name.
    assert_eq!(key(with(("10.1.1.7", None), pi("red07"), &cards, &[])), Ok(Key::New));
}

#[test]
fn the_hint_says_what_to_type() {
    let told = |host, planned| {
        let Verdict::Unfit(obstacle, _) = with((host, planned), calls_itself("red03", "blue"), &[], &[])
        else {
            panic!()
        };
        obstacle.advice("ssh pi@10.1.1.9").show(None).text
    };
    insta::assert_snapshot!([told("10.1.1.9", None), told("red03", Some("red03"))].join("\n"), @r"
    if red03 is this machine from now on (set up anew, or in the place of the other), it gets a new key, and the former one is revoked: builder config --replace 'red03=10.1.1.9'; if not, give it another name: ssh pi@10.1.1.9 sudo hostnamectl set-hostname red01
    if red03 is this machine from now on (set up anew, or in the place of the other), it gets a new key, and the former one is revoked: builder config --replace red03
    ");
}

#[test]
fn behind_one_address_there_may_be_several_machines() {
    let at = |host: &str| RunningHost {
        host: host.to_owned(),
        name: name("red03"),
        role: Role::Worker,
        address: Some(Ipv4Addr::new(10, 1, 1, 3)),
        host_key: None,
    };
    let is_place = |one: &str, other: &str| is_place(&entry(one, Role::Worker), &at(other));
    assert!(is_place("gate:2203", "pi@gate:2203") && is_place("10.1.1.3", "red03.lan"));
    assert!(!is_place("gate:2204", "gate:2203"));
}
