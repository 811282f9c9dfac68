//! `config` as far as it only looks: this machine is none that could be a node here, and others cannot be reached. What it does
//! to machines that can is tested on virtual Pis.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::bench::{Bench, Run, address};

/// A manager at 127.0.0.1 and workers at 127.0.0.2, 3 and 4: the third shows an unknown key, the fourth is off.
fn bench() -> Bench {
    // As root sshd's /run is its own, so there is no systemd in there, wherever this runs.
    let bench = Bench::new(3);
    let known = fs::read_to_string(bench.path("known_hosts")).unwrap();
    let known: Vec<_> = known.lines().filter(|line| !line.contains("127.0.0.3")).collect();
    fs::write(bench.path("known_hosts"), known.join("\n") + "\n").unwrap();
    let workers: String = (2..=4).map(|last| format!("- {}\n", address(last))).collect();
    fs::write(bench.path("hostnames.yaml"), format!("manager: {}\nworker:\n{workers}", address(1))).unwrap();
    bench
}

fn config(bench: &Bench, words: &[&str]) -> Command {
    let mut command = bench.builder(&["config", "hostnames.yaml", "-F", "conf", "--user", &bench.user]);
    command.args(words);
    command
}

/// A table without its blanks.
fn shown(lines: &[String]) -> String {
    let narrow = |line: &String| line.split_whitespace().collect::<Vec<_>>().join(" ");
    lines.iter().map(narrow).collect::<Vec<_>>().join("\n")
}

#[test]
fn looking_changes_nothing_and_tells_what_is_wrong_with_which() {
    let bench = bench();
    let output = config(&bench, &["--dry-run", "--json"]).output().unwrap();
    let talk = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(6), "{talk}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let hosts = told["hosts"].as_array().unwrap();
    let results: Vec<_> = hosts.iter().map(|host| host["result"].as_str().unwrap()).collect();
    // Three addresses are one machine; each is judged by itself until one is fit.
    assert_eq!(results, ["unfit", "unfit", "unreachable", "unreachable"], "{told:#}");
    let problem = |place: usize| hosts[place]["problem"].as_str().unwrap();
    assert!(problem(0).contains("apt and systemd"), "{told:#}");
    assert_eq!(problem(2), "its host key is not known");
    assert!(problem(3).starts_with("it cannot be reached"), "{told:#}");
    assert!(talk.contains("error: 0 of 4 hosts can be brought in\n"), "{talk}");
    assert!(talk.contains("hint: 127.0.0.3: compare the fingerprint and accept it: ssh -F conf"), "{talk}");
    assert!(!bench.path("hostnames.secrets").exists());
}

#[test]
fn without_a_manager_nothing_is_made() {
    let bench = bench();
    let run = Run::new(&bench, &config(&bench, &[]).output().unwrap());
    assert_eq!(run.code, Some(6), "{}", run.talk);
    assert!(
        run.error().contains("hint: without a manager, and a machine to bring in, nothing was changed"),
        "{}",
        run.talk
    );
    let table = shown(&run.out);
    assert!(table.contains("127.0.0.4 - worker - nothing: it cannot be brought in"), "{table}");
    // Each is named where it is told why, and where it is told what to do.
    let named = |text: &str| text.lines().filter(|line| line.contains("127.0.0.4")).count();
    assert_eq!((named(&table), named(&run.talk)), (1, 2), "{}", run.talk);
    assert!(!bench.path("hostnames.secrets").exists());
    // The hosts' file is found by its name; nothing was made of it.
    let status = Run::new(&bench, &bench.builder(&["status"]).output().unwrap());
    assert_eq!(status.code, Some(2), "{}", status.talk);
    assert!(status.talk.contains("hint: builder config\n"), "{}", status.talk);
    let plan = Run::new(&bench, &bench.builder(&["plan"]).output().unwrap());
    assert_eq!(plan.code, Some(2), "{}", plan.talk);
    assert!(plan.talk.contains("there is no image to make cards of"), "{}", plan.talk);
}

#[test]
fn if_nobody_can_be_reached_it_says_so() {
    let bench = Bench::without_server();
    fs::write(bench.path("hostnames.yaml"), "manager: 127.0.0.1\n").unwrap();
    let run = Run::new(&bench, &config(&bench, &[]).output().unwrap());
    assert_eq!(run.code, Some(5), "{}", run.talk);
}

#[test]
fn the_file_is_checked_without_asking_anybody() {
    let bench = Bench::without_server();
    fs::write(bench.path("hostnames.yaml"), "manager: red00\nworker: red[01-02]\n").unwrap();
    let run = Run::new(&bench, &bench.builder(&["check"]).output().unwrap());
    assert_eq!((run.code, run.out.len()), (Some(0), 4), "{}", run.talk);
    assert_eq!(run.talk, "hostnames.yaml is a good list of hosts: builder config makes them a swarm\n");
    let json = bench.builder(&["check", "--json"]).output().unwrap().stdout;
    let json: Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["workers"], serde_json::json!(["red01", "red02"]));
    fs::write(bench.path("hostnames.yaml"), "manager: <IP>\n").unwrap();
    let json = bench.builder(&["check", "--json"]).output().unwrap();
    assert_eq!(json.status.code(), Some(2));
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&json["valid"], json["problems"].as_array().map(Vec::len)), (&Value::Bool(false), Some(1)));
}

#[test]
fn a_wrong_file_is_told_before_anybody_is_asked() {
    let bench = Bench::without_server();
    fs::write(bench.path("hostnames.yaml"), "manager: <IP>\nworker:\n- <ip01>\n").unwrap();
    let run = Run::new(&bench, &config(&bench, &[]).output().unwrap());
    assert_eq!(run.code, Some(2), "{}", run.talk);
    assert!(run.talk.contains("without < and >") && !run.talk.contains("looking at"), "{}", run.talk);
}
