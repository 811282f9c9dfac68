//! `builder why`: from cards as they come back out of a Pi, and from a manager that answers over real TLS.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::{Path, PathBuf};

use builder::cli::why::{WhyArgs, why};
use builder::error::Failure;
use builder::pki;
use builder::project::Project;
use clap::Parser;
use cluster::identity::Role;
use cluster::wire::{Board, BoardNode, History, NodeError, ProblemCode, Report, Stage};
use serde_json::json;
use tempfile::TempDir;

#[path = "fixture/image.rs"]
#[expect(dead_code, reason = "a fixture of several tests")]
mod image;
#[path = "fixture/manager.rs"]
mod manager;
#[path = "fixture/project.rs"]
mod project;
use image::Recipe;
use project::hostname;

const SEED: &str = "var/lib/firstboot/seed.json";

struct Bench {
    project: Project,
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let nodes = [("red00", Role::Manager), ("red01", Role::Worker), ("red02", Role::Worker)];
        Self { project: project::project(folder.path(), &nodes), folder }
    }

    /// A card of red02 with these files on its FAT and these, empty, on its root partition.
    fn card(&self, boot: &[(&str, &str)], root: &[&'static str]) -> PathBuf {
        let mut recipe = Recipe::trixie();
        recipe.put("swarm/card.json", &payload().to_string());
        for (name, text) in boot {
            recipe.put(name, text);
        }
        recipe.root = root.to_vec();
        recipe.make(self.folder.path(), "card.img")
    }

    fn why(&self, line: &str) -> (Result<(), Failure>, String) {
        #[derive(Parser)]
        struct Line {
            #[command(flatten)]
            args: WhyArgs,
        }
        let args = Line::try_parse_from(format!("why {line}").split_whitespace()).unwrap().args;
        let mut out = Vec::new();
        let result = why(&self.project, &args, false, &mut out);
        (result, String::from_utf8(out).unwrap())
    }

    fn why_card(&self, node: &str, card: &Path) -> String {
        let (result, out) = self.why(&format!("{node} --card {}", card.display()));
        result.map_or_else(|failure| failure.render(), |()| out).replace(&card.display().to_string(), "CARD")
    }
}

fn payload() -> serde_json::Value {
    let planned = |name: &str, role: &str| json!({"name": name, "role": role, "address": null, "labels": {}});
    json!({
        "version": 2, "cluster": "red", "cluster_id": "0123456789abcdef", "node": "red02", "role": "worker",
        "not_before": 1_780_000_000,
        "nodes": [planned("red00", "manager"), planned("red01", "worker"), planned("red02", "worker")],
        "user": {"name": "pi", "authorized_keys": []}, "address": null, "wifi": null, "timezone": null,
        "locale": null, "keymap": null,
        "docker": {"source": "docker", "version": null, "url": null, "key": null},
        "swarm": {"interface": null, "address_pool": null, "cert_expiry_seconds": 7_776_000,
            "join_window_seconds": 86400, "managers_run_tasks": false},
        "start": "hook"
    })
}

const LOG: &str = "2026-11-22T21:00:00Z network said waiting for an address\n\
    what no agent wrote\n\
    2026-11-22T21:00:09Z docker said installing docker-ce\n\
    2026-11-22T21:04:30Z docker trouble*12 [no_name_server mirror.example] cannot install Docker: Could not resolve 'mirror.example'\n";
/// As the agent of commit 6bc94bb wrote it: without codes.
const OLD_LOG: &str = "2026-11-22T21:00:09Z docker said installing docker-ce\n\
    2026-11-22T21:04:30Z docker trouble*12 cannot install Docker: Could not resolve 'mirror.example'\n";

#[test]
fn a_card_tells_what_happened_and_what_to_do() {
    let bench = Bench::new();
    let status = "This card belongs to red02, a worker of the cluster red.\n";
    let card = bench.card(&[("swarm/status.txt", status), ("swarm/log.txt", LOG)], &[SEED]);
    let before = std::fs::read(&card).unwrap();
    insta::assert_snapshot!(bench.why_card("red02", &card), @r"
    red02, worker, as its card has it
      This card belongs to red02, a worker of the cluster red.

    last events:
      2026-11-22T21:00:00Z network said waiting for an address
      2026-11-22T21:00:09Z docker said installing docker-ce
      2026-11-22T21:04:30Z docker trouble*12 [no_name_server mirror.example] cannot install Docker: Could not resolve 'mirror.example'

    what to do: It cannot resolve the name of mirror.example, so nothing can be downloaded. Does its network lead to the Internet, and does the network name a name server (DHCP)?
    ");
    assert_eq!(std::fs::read(&card).unwrap(), before, "the card was written");
}

#[test]
fn logs_of_older_agents_are_read() {
    let bench = Bench::new();
    let card = bench.card(&[("swarm/log.txt", OLD_LOG)], &[SEED]);
    let said = bench.why_card("red02", &card);
    assert!(
        said.contains("trouble*12 cannot install Docker: Could not resolve 'mirror.example'\n"),
        "{said}"
    );
    assert!(said.contains("what to do: It tries again by itself. Docker is being installed"), "{said}");
}

#[test]
fn padding_of_a_file_is_not_shown() {
    let bench = Bench::new();
    // The builder leaves room for the agent's words: `ballast` in builder's plan of a card.
    let status = format!("This card belongs to red02.\n{}\n", " ".repeat(2000));
    let said = bench.why_card("red02", &bench.card(&[("swarm/status.txt", &status)], &[]));
    assert!(said.contains("  This card belongs to red02.\n\nwhat to do:"), "{said}");
}

#[test]
fn a_cards_first_start_is_judged_by_what_it_left() {
    let bench = Bench::new();
    let hooked = (
        "cmdline.txt",
        "root=x systemd.run=/boot/firmware/swarm/run systemd.unit=kernel-command-line.target\n",
    );
    let status = ("swarm/status.txt", "Not done:\n- agent: no space\n");
    let told =
        |boot: &[(&str, &str)], root: &[&'static str]| bench.why_card("red02", &bench.card(boot, root));
    assert!(told(&[hooked], &[]).contains("what to do: This card was never started"));
    assert!(
        told(&[hooked, ("swarm/begun", "")], &[])
            .contains("what to do: The first start began and did not end")
    );
    assert!(told(&[status], &[]).contains("the agent is not on the root partition"));
    assert!(told(&[status], &[SEED]).contains("Its agent never wrote a word"));
}

#[test]
fn the_card_of_a_pi_that_lost_its_power_is_read_too() {
    let bench = Bench::new();
    let card = bench.card(&[("swarm/status.txt", "Not done:\n- keyboard: x\n")], &[SEED]);
    let root = Recipe::boot_offset() + Recipe::trixie().boot_bytes();
    let debugfs = |command: &str| {
        let place = format!("{}?offset={root}", card.display());
        image::run(std::process::Command::new("debugfs").args(["-w", "-R", command]).arg(place))
    };
    let features = debugfs("feature needs_recovery");
    assert!(String::from_utf8_lossy(&features).contains("needs_recovery"));
    let said = bench.why_card("red02", &card);
    assert!(!said.contains("the root partition tells nothing"), "{said}");
    assert!(said.contains("Its agent never wrote a word"), "{said}");
}

#[test]
fn what_is_no_card_of_this_node_is_said_to_be_none() {
    let bench = Bench::new();
    let card = bench.card(&[], &[]);
    insta::assert_snapshot!(bench.why_card("red01", &card), @r"
    error: this is the card of red02, not of red01
    hint: builder why red02 --card CARD
    ");
    let plain = Recipe::trixie().make(bench.folder.path(), "plain.img");
    insta::assert_snapshot!(bench.why_card("red01", &plain), @r"
    error: CARD is not a card that builder made: it has no swarm/card.json
    hint: is this the right card?
    ");
    let nothing = bench.folder.path().join("nothing");
    assert!(bench.why_card("red01", &nothing).contains("hint: name the card reader's device"));
    std::fs::write(&nothing, vec![0; 4096]).unwrap();
    assert!(bench.why_card("red01", &nothing).contains("hint: name the whole device"));
    let (several, _) = bench.why("red[01-02]");
    assert_eq!(several.unwrap_err().kind().code(), 2);
}

#[test]
fn the_manager_tells_what_a_node_went_through() {
    let bench = Bench::new();
    let identities = pki::open(&bench.project).unwrap();
    let error = NodeError {
        message: "cannot write: No space left on device".to_owned(),
        permanent: true,
        cause: Some(ProblemCode::DiskFull.into()),
    };
    let report = Report {
        stage: Stage::Docker,
        word: "installing\u{1b}[2J".to_owned(),
        error: Some(error),
        address: None,
        swarm_node: None,
        facts: Default::default(),
        marks: Vec::new(),
        seed_problems: Vec::new(),
        left: None,
        warnings: Vec::new(),
        proves: true,
        proof: None,
    };
    let red02 = BoardNode {
        name: hostname("red02"),
        role: Role::Worker,
        report: Some(report),
        last_heard_ms: Some(4000),
        swarm: None,
        dismissed: false,
    };
    let board = Board {
        cluster: bench.project.cluster.name.clone(),
        cluster_id: identities.cluster_id.clone(),
        unix_ms: 1_790_000_000_000,
        formed: false,
        quorum_lost: false,
        dissolved: false,
        nodes: vec![red02],
        strangers: Vec::new(),
    };
    let events = LOG.lines().filter_map(|line| line.parse().ok()).collect();
    let answers =
        [serde_json::to_string(&board).unwrap(), serde_json::to_string(&History { events }).unwrap()];
    let answers: Vec<_> = answers.map(|body| (200, body)).into();
    let red00 = identities.node(&hostname("red00")).unwrap();
    let address = manager::serve(&red00, &red00.ca_pem, answers.clone());
    let (result, out) = bench.why(&format!("red02 --manager {address}"));
    result.unwrap();
    let out = out.replace(&bench.folder.path().display().to_string(), "HERE");
    insta::assert_snapshot!(out, @r"
    red02, worker, as its manager knows it
    stage docker: installing�[2J
    has given up: cannot write: No space left on device
    last heard 4 s ago; in the manager's node list: no entry

    last events:
      2026-11-22T21:00:00Z network said waiting for an address
      2026-11-22T21:00:09Z docker said installing docker-ce
      2026-11-22T21:04:30Z docker trouble*12 [no_name_server mirror.example] cannot install Docker: Could not resolve 'mirror.example'

    what to do: Its card is full. Delete what is not needed, or use a larger card (8 GB at least, better 16 GB): sudo builder flash -f HERE/cluster.yaml red02, or its image: builder build -f HERE/cluster.yaml --force red02. It has stopped trying. Put right what its last message names, then start it again: ssh -t -F HERE/red.secrets/ssh_config red02 sudo systemctl restart firstboot
    ");
}
