//! What `builder plan` shows.

use std::fs;
use std::process::Command;

use builder::pki;
use builder::plan::{Planner, show};
use cluster::card;

use crate::bench::{Bench, CLUSTER, HASH, PSK, bench, bench_with, shown};
use crate::fixture::Recipe;

const PROXY: &str = "http://ada:hunter2@proxy.example:3128";

/// Everything the two forms of output and the debug form say.
fn everything_shown(bench: &Bench) -> [String; 3] {
    let planner = bench.planner();
    let nodes = bench.project.cluster.nodes.iter();
    let cards: Vec<_> = nodes.map(|node| shown(planner.card(&node.name))).collect();
    [
        show::text(&bench.project.cluster, &planner, None, &cards),
        show::document(&bench.project.cluster, &planner, None, &cards).to_string(),
        format!("{planner:?}{cards:?}"),
    ]
}

#[test]
fn no_secret_is_shown() {
    for recipe in [Recipe::trixie(), Recipe::ubuntu()] {
        let more = format!(
            "  password_hash: '{HASH}'\nwifi: {{country: DE, ssid: home, psk: {PSK}}}\nproxy: {PROXY}\n"
        );
        shows_no_secret(&bench_with(&recipe, &format!("{CLUSTER}{more}")));
    }
}

fn shows_no_secret(bench: &Bench) {
    let shown_texts = everything_shown(bench);
    let identities = shown(pki::existing(&bench.project));
    let mut secrets = [HASH, PSK, PROXY, "PRIVATE KEY"].map(str::to_owned).to_vec();
    for node in &bench.project.cluster.nodes {
        let material = shown(identities.node(&node.name));
        for key in [material.key_pem.expose(), material.host_key.expose()] {
            secrets.extend(
                key.lines().filter(|line| line.len() > 20 && !line.starts_with("-----")).map(str::to_owned),
            );
        }
    }
    assert!(secrets.len() > 9);
    for text in shown_texts {
        assert!(text.contains("red02"), "{text}");
        secrets.iter().for_each(|secret| assert!(!text.contains(secret), "{secret} is shown"));
    }
}

#[test]
fn the_plan_reads_like_a_diff() {
    let bench = bench(&Recipe::trixie_cloud_init());
    let [text, ..] = everything_shown(&bench);
    let mut text = text.replace(&bench.folder.path().display().to_string(), "FOLDER");
    // Keys and certificates are new in every run.
    let created = shown(pki::existing(&bench.project));
    text = text.replace(created.cluster_id.as_str(), "CLUSTER-ID");
    text = text.replace(&created.created.to_string(), "CREATED");
    let lines = text.lines().map(|line| match line.split_once(" (") {
        Some((name, _)) if name.ends_with(".pem") || name.contains("ssh-host-key") => format!("{name} (…)"),
        _ if line.starts_with("= ") => "= … sectors change, … MiB stay free on the boot partition".to_owned(),
        _ => line.to_owned(),
    });
    insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"));
}

#[test]
fn a_preview_makes_no_secrets_folder() {
    let bench = bench(&Recipe::trixie());
    let planner = shown(Planner::preview(&bench.project, &bench.image, &bench.options));
    shown(planner.card(&bench.project.cluster.nodes[0].name));
    assert!(!bench.project.secrets_folder().exists());
}

fn builder(bench: &Bench, args: &[&str]) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_builder"));
    command.env_clear().env("HOME", bench.folder.path()).current_dir(bench.folder.path());
    command
        .args(["plan", "--cache", "cache", "--firstboot", "firstboot-aarch64"])
        .args(args)
        .output()
        .unwrap()
}

#[test]
fn the_command_prints_one_document() {
    let bench = bench(&Recipe::trixie());
    let output = builder(&bench, &["--json", "red[01-02]"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["image"]["release"], "trixie");
    let cards = document["cards"].as_array().unwrap();
    assert_eq!(
        cards.iter().map(|card| card["node"].as_str().unwrap()).collect::<Vec<_>>(),
        ["red01", "red02"]
    );
    let cmdline =
        cards[0]["files"].as_array().unwrap().iter().find(|file| file["path"] == "cmdline.txt").unwrap();
    assert!(cmdline["before"].as_str().unwrap().ends_with("resize\n"));
    assert!(cmdline["text"].as_str().unwrap().contains("/boot/firmware/swarm/run"));
    let run = cards[0]["files"]
        .as_array()
        .unwrap()
        .iter()
        .find(|file| file["path"] == format!("{}/run", card::FOLDER));
    assert_eq!(run.unwrap()["kind"], "binary");
    assert!(!bench.project.secrets_folder().exists());
}

#[test]
fn the_command_refuses_nodes_that_are_not_planned() {
    let bench = bench(&Recipe::trixie());
    for word in ["red09", "red[00-09]", "red[2-1]"] {
        let output = builder(&bench, &[word]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(
            output.stdout.is_empty() && said.contains("hint: name some of red00, red01, red02"),
            "{said}"
        );
    }
}

#[test]
fn without_an_agent_it_says_what_to_run() {
    let bench = bench(&Recipe::trixie());
    fs::remove_file(bench.options.firstboot.as_ref().unwrap()).unwrap();
    let output = builder(&bench, &[]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.contains("cannot read the agent firstboot-aarch64") && said.contains("cargo xtask agent"),
        "{said}"
    );
}
