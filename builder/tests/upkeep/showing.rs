//! `builder ls`, and what all commands say where there is no swarm to manage.

use serde_json::{Value, json};

use crate::{Bench, entry, node, shown, swarm};

#[test]
fn nodes_and_services_are_shown_with_units_and_what_is_odd_about_them() {
    let (outcome, _) = Bench::new().done(vec![shown()], "ls");
    insta::assert_snapshot!(outcome.out, @r"
    NAME    ROLE              STATUS  AVAILABILITY  ADDRESS   PLATFORM       ENGINE  CPUS  MEMORY   TEMP     UPTIME  TASKS  LABELS
    red00   manager (leader)  Ready   Drain         10.1.1.2  linux/aarch64  29.7.1  4     7.6 GiB  48.3 °C  9 days  0      -
    red01   worker            Ready   Active        10.1.1.3  linux/aarch64  29.7.1  4     7.6 GiB  48.3 °C  9 days  2      disk=ssd,rack=7
    red02   worker            Down    Active        10.1.1.4  linux/aarch64  29.7.1  4     7.6 GiB  -        -       0      -
    red03   worker            -       -             -         -              -       -     -        -        -       -      -
            not a member of the swarm; builder status shows what it is at
    blue07  worker            Ready   Active        -         -              29.7.1  -     -        -        -       0      -
            not in the cluster file; its id is b7xy

    SERVICE  MODE            REPLICAS      IMAGE       PORTS
    agent    global          4/4           nginx:1.29  -
    once     replicated-job  0/1 (4 done)  nginx:1.29  -
    web      replicated      2/3           nginx:1.29  *:8080->80/tcp, 53/udp
    ");
    assert_eq!(outcome.talk, "");
}

#[test]
fn json_is_what_the_manager_said() {
    let (outcome, _) = Bench::new().done(vec![shown()], "ls --json");
    assert_eq!(serde_json::from_str::<Value>(&outcome.out).unwrap(), swarm());
    assert_eq!(outcome.out.lines().count(), 1);
}

#[test]
fn a_swarm_without_services_says_so_and_entries_of_one_name_show_their_ids() {
    let mut swarm = swarm();
    swarm["services"] = json!([]);
    swarm["nodes"] = json!([
        node("red01", 3, entry("old", "down", "active")),
        node("red01", 3, entry("new", "ready", "active"))
    ]);
    let (outcome, _) = Bench::new().done(vec![("GET /v1/swarm", 200, swarm.to_string())], "ls");
    assert!(outcome.out.ends_with("\n\nno services\n"), "{}", outcome.out);
    for id in ["old", "new"] {
        assert!(outcome.out.contains(&format!("one of several entries of this name; its id is {id}\n")));
    }
}

#[test]
fn what_strangers_call_themselves_cannot_act_on_the_terminal() {
    let mut swarm = swarm();
    let evil = "\u{1b}]0;owned\u{7}\nred99  worker";
    for field in ["name", "os", "architecture"] {
        swarm["nodes"][4][field] = json!(evil);
    }
    swarm["nodes"][4]["labels"] = json!({"evil": evil});
    for field in ["id", "state", "availability", "engine"] {
        swarm["nodes"][4]["swarm"][field] = json!(evil);
    }
    for field in ["name", "mode", "image"] {
        swarm["services"][0][field] = json!(evil);
    }
    swarm["services"][2]["ports"][0]["protocol"] = json!(evil);
    let (outcome, _) = Bench::new().done(vec![("GET /v1/swarm", 200, swarm.to_string())], "ls");
    assert!(outcome.out.contains("owned"), "{}", outcome.out);
    assert!(
        !outcome.out.contains(['\u{1b}', '\u{7}']) && !outcome.out.contains("\nred99"),
        "{}",
        outcome.out
    );
}

#[test]
fn a_manager_without_a_swarm_is_a_clear_sentence_and_exit_code_six() {
    let bench = Bench::new();
    for line in ["ls", "token", "drain red01", "label red01 a=b"] {
        let why = json!({"message": "red00 is in no swarm yet"}).to_string();
        let script = vec![("GET /v1/swarm", 503, why.clone()), ("POST /v1/token", 503, why)];
        let (address, _) = bench.manager(script);
        let outcome = bench.run(address, line);
        assert_eq!((outcome.code, outcome.out.as_str()), (6, ""), "{line}");
        assert_eq!(
            outcome.talk,
            "error: the swarm cannot be managed now: red00 is in no swarm yet\n\
             hint: builder status shows what the managers are waiting for\n",
            "{line}"
        );
    }
}

#[test]
fn an_older_manager_is_told_from_one_without_a_swarm() {
    let bench = Bench::new();
    let (address, _) = bench.manager(Vec::new());
    let outcome = bench.run(address, "ls");
    assert_eq!(outcome.code, 1);
    assert!(outcome.talk.contains("made by an older builder"), "{}", outcome.talk);
}
