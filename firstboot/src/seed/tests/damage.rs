//! A payload that is damaged, anywhere, or from a newer builder: the Pi boots normally, its user can log in, and it says
//! what is wrong.

use std::path::Path;
use std::sync::Arc;

use cluster::card::{self, Card, Start};
use serde_json::{Value, json};

use super::super::{BINARY, Outcome, PROBLEMS, STATE, go_on, hook};
use super::pi::{
    HASH, KEY, PSK, Pi, card, contains, disk, edit, fat_files, host_key, move_home, node_key, root_files,
};
use crate::host::fake::{FakeHost, Fault, Files, Node, Power};

/// A card with one file changed; `None` removes it.
fn fat_with(name: &str, bytes: Option<&[u8]>) -> Files {
    let mut fat = fat_files();
    let path = Path::new("/swarm").join(name);
    match bytes {
        Some(bytes) => drop(fat.insert(path, Node::File { bytes: bytes.to_vec(), mode: 0o644, owner: None })),
        None => drop(fat.remove(&path)),
    }
    fat
}

/// The next boot is a normal one, over which ann can log in with her key and with her password.
fn assert_ann_can_log_in(pi: &Pi, outcome: &Outcome, what: &str) {
    assert!(outcome.hook_is_out && !hook::is_set(&pi.fat).unwrap(), "{what}");
    assert!(pi.text("/etc/passwd").contains("\nann:x:1000:1000::/home/ann:/bin/bash\n"), "{what}");
    assert_eq!(pi.text("/home/ann/.ssh/authorized_keys"), format!("{KEY}\n"), "{what}");
    assert_eq!(pi.text("/etc/shadow"), format!("ann:{HASH}:1:::::\n"), "{what}");
    assert!(pi.link("/etc/systemd/system/multi-user.target.wants/ssh.service").is_some(), "{what}");
    assert!(!pi.text("/etc/ssh/sshd_config.d/10-firstboot.conf").contains("Password"), "{what}");
    assert_eq!(pi.text("/etc/hostname"), "red03\n", "{what}");
    assert!(went_on(pi, outcome).ends_with("start graphical.target"), "{what}");
}

/// The last thing done on the way to the normal boot.
fn went_on(pi: &Pi, outcome: &Outcome) -> String {
    let power = Arc::<Power>::default();
    let root = FakeHost::new(Arc::clone(&power), pi.root.files(), std::time::UNIX_EPOCH);
    go_on(&root.with_programs(|_, _| Ok(Vec::new())), &outcome.card).unwrap();
    power.log().pop().unwrap()
}

/// It is told where a person looks, and where the agent does.
fn assert_told(pi: &Pi, outcome: &Outcome, words: &str) {
    assert!(outcome.text.contains(words), "{words} is not in {}", outcome.text);
    assert!(contains(&pi.fat.files(), &outcome.text), "status.txt says something else");
    assert!(pi.text(&format!("{STATE}/{PROBLEMS}")).contains(words));
}

/// As far as the seed stage goes, a node that cannot be a member: the agent has what it needs to say so.
fn assert_agent_can_tell(pi: &Pi, json: &[u8]) {
    assert_eq!(pi.mode(BINARY), 0o755);
    let Node::File { bytes, .. } = &pi.root.files()[&Path::new(STATE).join(card::CARD)] else { panic!() };
    assert_eq!(bytes, json, "what is wrong with it is for the agent to find, too");
    assert_eq!(pi.text("/var/lib/firstboot/node-key.pem"), node_key().repeat(20));
    assert!(pi.link("/etc/systemd/system/multi-user.target.wants/firstboot.service").is_some());
    for secret in [HASH, PSK, node_key(), host_key()] {
        assert!(!contains(&pi.fat.files(), secret));
    }
}

fn seed_with_card(json: &[u8], what: &str) -> (Pi, Outcome) {
    let pi = Pi::power_on(Arc::default(), root_files(), fat_with(card::CARD, Some(json)));
    let outcome = pi.seed();
    assert_ann_can_log_in(&pi, &outcome, what);
    assert_agent_can_tell(&pi, json);
    (pi, outcome)
}

/// The ways to every field, through objects and lists.
fn fields(value: &Value, way: &str, all: &mut Vec<String>) {
    let inside: Vec<(String, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(key, value)| (format!("{way}/{key}"), value)).collect(),
        Value::Array(list) => {
            list.iter().enumerate().map(|(n, value)| (format!("{way}/{n}"), value)).collect()
        }
        _ => Vec::new(),
    };
    for (way, value) in inside {
        all.push(way.clone());
        fields(value, &way, all);
    }
}

#[test]
fn whichever_field_is_missing_or_of_another_type_ann_can_log_in_and_is_told() {
    let whole = serde_json::to_value(card()).unwrap();
    let mut all = Vec::new();
    fields(&whole, "", &mut all);
    assert!(all.len() > 40, "{all:?}");
    let mut refused = 0;
    for way in all {
        let mut wrong = whole.clone();
        let field = wrong.pointer_mut(&way).unwrap();
        *field = if field.is_boolean() { json!(3) } else { json!(true) };
        let (parent, key) = way.rsplit_once('/').unwrap();
        let mut missing = whole.clone();
        match missing.pointer_mut(parent).unwrap() {
            Value::Object(map) => drop(map.remove(key)),
            Value::Array(list) => drop(list.remove(key.parse().unwrap())),
            other => panic!("{other}"),
        }
        let without_keys = missing["user"]["authorized_keys"] == json!([]);
        // A card without keys is as whole as any: there is only the password then.
        let missing = if without_keys { whole.clone() } else { missing };
        for (how, json) in [("of another type", wrong), ("missing", missing)] {
            let json = serde_json::to_vec(&json).unwrap();
            let (pi, outcome) = seed_with_card(&json, &format!("{way} {how}"));
            // What may be left out is as if the cluster file had not named it.
            if Card::from_json(&json).is_ok() {
                assert!(outcome.problems.is_empty(), "{way} {how}: {outcome:?}");
                continue;
            }
            refused += 1;
            assert_told(&pi, &outcome, "cannot use card.json: the payload is damaged");
            assert!(outcome.text.contains("Write the card again"));
        }
    }
    assert!(refused > 60, "{refused}");
}

#[test]
fn wherever_the_payload_is_torn_or_spoilt_ann_can_log_in_and_is_told() {
    let whole = serde_json::to_vec(&card()).unwrap();
    for at in (0..whole.len()).step_by(9) {
        let torn = &whole[..at];
        let mut spoilt = whole.clone();
        spoilt[at] = 0xff;
        for (how, json) in [("torn", torn), ("spoilt", &spoilt)] {
            let (pi, outcome) = seed_with_card(json, &format!("{how} at {at}"));
            assert_told(&pi, &outcome, "cannot use card.json: the payload is damaged");
        }
    }
}

#[test]
fn a_payload_of_a_newer_builder_is_no_more_than_that() {
    let mut newer = serde_json::to_value(card()).unwrap();
    newer["version"] = json!(99);
    newer["address"]["vlan"] = json!(7);
    newer["zones"] = json!(["a"]);
    let (pi, outcome) = seed_with_card(&serde_json::to_vec(&newer).unwrap(), "newer");
    assert_told(&pi, &outcome, "written by a newer builder (payload version 99");
    // What is understood of it is done.
    assert_eq!(pi.link("/etc/localtime"), Some("/usr/share/zoneinfo/Europe/Berlin".into()));
    let (pi, outcome) = seed_with_card(br#"{"version": 99, "all": "is different"}"#, "unlike anything");
    assert_told(&pi, &outcome, "newer builder");
}

#[test]
fn a_card_made_before_the_keys_had_a_file_of_their_own_gives_them_all_the_same() {
    let whole = serde_json::to_string(&card()).unwrap();
    let mut fat = fat_with(card::CARD, Some(whole.replace("\"Europe", "Europe").as_bytes()));
    fat.remove(Path::new("/swarm/authorized_keys"));
    let pi = Pi::power_on(Arc::default(), root_files(), fat);
    let outcome = pi.seed();
    assert_ann_can_log_in(&pi, &outcome, "no file of keys");
}

#[test]
fn any_other_file_of_the_payload_may_be_missing_or_damaged() {
    for (name, words) in [
        (card::SECRETS, "secrets.json"),
        (card::CA, "ca.pem"),
        (card::NODE_CERT, "node.pem"),
        (card::NODE_KEY, "node-key.pem"),
        (card::HOST_KEY, "ssh-host-key"),
        (card::HOST_KEY_PUBLIC, "ssh-host-key.pub"),
        (card::RUN, "run is not on the card"),
    ] {
        for bytes in [None, Some(&b"\xff\xfe no such thing"[..]), Some(b"")] {
            // Whatever runs is the program, and what the public key is for is on the laptop.
            if bytes.is_some() && [card::RUN, card::HOST_KEY_PUBLIC].contains(&name) {
                continue;
            }
            let pi = Pi::power_on(Arc::default(), root_files(), fat_with(name, bytes));
            let outcome = pi.seed();
            assert_ann_can_log_in(&pi, &outcome, name);
            assert!(outcome.text.contains(words), "{name}: {}", outcome.text);
            assert!(contains(&pi.fat.files(), &outcome.text), "{name}");
            let names_a_bad_key = pi.text("/etc/ssh/sshd_config.d/10-firstboot.conf").contains("HostKey")
                && pi.text("/etc/ssh/firstboot_host_ed25519_key") != host_key();
            assert!(!names_a_bad_key, "sshd would not start");
        }
    }
}

#[test]
fn power_lost_at_any_effect_and_a_second_run_end_as_one_run_of_a_damaged_card() {
    let whole = serde_json::to_vec(&card()).unwrap();
    let fat = fat_with(card::CARD, Some(&whole[..whole.len() / 2]));
    let undisturbed = Pi::power_on(Arc::default(), root_files(), fat.clone());
    undisturbed.seed();
    for (k, at) in undisturbed.power.log().iter().enumerate() {
        let first = Pi::power_on(Power::with(Fault::DieAt(k)), root_files(), fat.clone());
        first.seed();
        let second = Pi::power_on(Arc::default(), first.root.files(), first.fat.files());
        if hook::is_set(&second.fat).unwrap() {
            second.seed();
            assert_eq!(second.fat.files(), undisturbed.fat.files(), "after power lost at {at}");
        }
        assert_eq!(second.root.files(), undisturbed.root.files(), "after power lost at {at}");
    }
}

#[test]
fn after_cloud_init_a_damaged_card_changes_no_user_and_does_not_come_again() {
    let mut root = root_files();
    for file in ["/etc/passwd", "/etc/group", "/etc/shadow"] {
        edit(&mut root, file, |text| text.replace("pi:", "ann:").replace("/pi:", "/ann:"));
    }
    move_home(&mut root, "/home/pi", "/home/ann");
    let mut fat = fat_with(card::CARD, Some(b"{"));
    fat.remove(Path::new("/userconf.txt"));
    fat.extend(disk(&[("/cmdline.txt", b"console=tty1 root=LABEL=writable\n")]));
    let pi = Pi::power_on(Arc::default(), root, fat);
    let outcome = pi.seed();
    assert_eq!((outcome.card.start, outcome.card.user.name.as_str()), (Start::CloudInit, "ann"));
    assert!(!pi.power.log().iter().any(|effect| effect.contains("usermod --login")));
    assert_eq!(pi.text("/etc/cloud/cloud-init.disabled"), "");
    assert!(went_on(&pi, &outcome).ends_with("start firstboot.service"));
}
