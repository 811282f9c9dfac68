//! `builder status` against managers that answer over real TLS, right ones and wrong ones.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Command;

use builder::cli::status::{StatusArgs, Style, show};
use builder::error::Failure;
use builder::pki::{self, Identities, NodeMaterial};
use builder::project::Project;
use clap::Parser;
use cluster::card::{DockerSource, StaticAddress};
use cluster::identity::{Role, dns_name};
use cluster::secret::Secret;
use cluster::wire::{Board, BoardNode, NodeError, PORT, Report, Stage, Stranger, SwarmEntry};
use rcgen::{CertificateParams, Issuer, KeyPair};
use tempfile::TempDir;

#[path = "status/impostors.rs"]
mod impostors;
#[path = "fixture/manager.rs"]
mod manager;
#[path = "fixture/project.rs"]
mod project;
use manager::{serve, serve_at};
use project::{hostname, node};

/// red00 manages; red01 to red03 work. The secrets folder exists.
struct Bench {
    project: Project,
    identities: Identities,
    _folder: TempDir,
}

/// What a run printed and how it ended.
struct Outcome {
    out: String,
    talk: String,
    result: Result<(), Failure>,
}

impl Outcome {
    fn code(&self) -> u8 {
        self.result.as_ref().map_or_else(|failure| failure.kind().code(), |()| 0)
    }

    fn failure(&self) -> String {
        self.result.as_ref().unwrap_err().render()
    }
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let workers = ["red01", "red02", "red03"].map(|name| (name, Role::Worker));
        let nodes = [&[("red00", Role::Manager)][..], &workers].concat();
        let project = project::project(folder.path(), &nodes);
        let identities = pki::open(&project).unwrap();
        Self { project, identities, _folder: folder }
    }

    /// A manager that answers with boards, as red00.
    fn manager(&self, boards: &[Board]) -> SocketAddr {
        let answers = boards.iter().map(|board| (200, serde_json::to_string(board).unwrap())).collect();
        self.answering("red00", answers)
    }

    fn answering(&self, name: &str, answers: Vec<manager::Answer>) -> SocketAddr {
        let node = self.identities.node(&hostname(name)).unwrap();
        serve(&node, &node.ca_pem, answers)
    }

    fn run(&self, line: &str, style: Style) -> Outcome {
        let args = parse(line).unwrap();
        let (mut out, mut talk) = (Vec::new(), Vec::new());
        let result = show(&self.project, &args, style, &mut out, &mut talk);
        Outcome { out: String::from_utf8(out).unwrap(), talk: String::from_utf8(talk).unwrap(), result }
    }

    /// A run against one address; its port, which differs each time, is shown as PORT.
    fn run_at(&self, address: SocketAddr, line: &str) -> Outcome {
        let mut outcome = self.run(&format!("{line} --manager {address}"), Style::default());
        if let Err(failure) = &outcome.result {
            outcome.talk.push_str(&failure.render());
        }
        outcome.talk = outcome.talk.replace(&format!(":{}", address.port()), ":PORT");
        outcome
    }

    fn board(&self) -> Board {
        Board {
            cluster: self.project.cluster.name.clone(),
            cluster_id: self.identities.cluster_id.clone(),
            unix_ms: 1_790_000_000_000,
            formed: false,
            quorum_lost: false,
            dissolved: false,
            nodes: vec![manager_node(), ready_worker("red01", 3), installing(), unheard()],
            strangers: Vec::new(),
        }
    }

    fn formed(&self) -> Board {
        let nodes = vec![
            manager_node(),
            ready_worker("red01", 3),
            ready_worker("red02", 4),
            ready_worker("red03", 5),
        ];
        Board { formed: true, nodes, ..self.board() }
    }
}

fn parse(line: &str) -> Result<StatusArgs, clap::Error> {
    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: StatusArgs,
    }
    Line::try_parse_from(format!("status {line}").split_whitespace()).map(|line| line.args)
}

fn report(stage: Stage, word: &str, address: u8) -> Report {
    Report {
        stage,
        word: word.to_owned(),
        error: None,
        address: Some(Ipv4Addr::new(10, 1, 1, address)),
        swarm_node: None,
        facts: Default::default(),
        marks: Vec::new(),
        seed_problems: Vec::new(),
        left: None,
        warnings: Vec::new(),
        proves: true,
        proof: None,
    }
}

fn entry(id: &str, availability: &str, address: &str) -> SwarmEntry {
    SwarmEntry {
        id: id.to_owned(),
        state: "ready".to_owned(),
        availability: availability.to_owned(),
        leader: false,
        reachability: None,
        engine: Some("29.7.1".to_owned()),
        address: Some(address.to_owned()),
    }
}

fn manager_node() -> BoardNode {
    let swarm = entry("mq0r", "drain", "0.0.0.0");
    BoardNode {
        name: hostname("red00"),
        role: Role::Manager,
        report: Some(report(Stage::Ready, "manages", 2)),
        last_heard_ms: Some(1500),
        swarm: Some(SwarmEntry { leader: true, reachability: Some("reachable".to_owned()), ..swarm }),
        dismissed: false,
    }
}

fn ready_worker(name: &str, address: u8) -> BoardNode {
    BoardNode {
        name: hostname(name),
        role: Role::Worker,
        report: Some(report(Stage::Ready, "a member", address)),
        last_heard_ms: Some(4000),
        swarm: Some(entry("w1xy", "active", &format!("10.1.1.{address}"))),
        dismissed: false,
    }
}

fn installing() -> BoardNode {
    let error = NodeError {
        message: "apt-get ended with 100: no space left".to_owned(),
        permanent: false,
        cause: None,
    };
    BoardNode {
        name: hostname("red02"),
        role: Role::Worker,
        report: Some(Report { error: Some(error), ..report(Stage::Docker, "installing docker-ce", 4) }),
        last_heard_ms: Some(125_000),
        swarm: None,
        dismissed: false,
    }
}

fn unheard() -> BoardNode {
    BoardNode {
        name: hostname("red03"),
        role: Role::Worker,
        report: None,
        last_heard_ms: None,
        swarm: None,
        dismissed: false,
    }
}

#[test]
fn the_table_tells_members_from_those_on_their_way() {
    let bench = Bench::new();
    let outcome = bench.run_at(bench.manager(&[bench.board()]), "");
    assert_eq!(outcome.code(), 0, "{}", outcome.talk);
    insta::assert_snapshot!(outcome.out, @r"
    NAME   ROLE     STAGE   STATUS  AVAILABILITY  MANAGER STATUS  ENGINE  ADDRESS   LAST HEARD
    red00  manager  ready   Ready   Drain         Leader          29.7.1  10.1.1.2  1 s ago
    red01  worker   ready   Ready   Active        -               29.7.1  10.1.1.3  4 s ago
    red02  worker   docker  -       -             -               -       10.1.1.4  2 min ago
           installing docker-ce
           trying again: apt-get ended with 100: no space left
    red03  worker   -       -       -             -               -       -         never heard from
    red is not formed yet: 2 of 4 nodes ready
    ");
}

fn stranger(id: &str, name: &str, state: &str) -> Stranger {
    Stranger { id: id.to_owned(), name: name.to_owned(), state: state.to_owned() }
}

#[test]
fn strangers_are_named_below_the_table() {
    let bench = Bench::new();
    let shown = |strangers: &[Stranger]| {
        let board = Board { strangers: strangers.to_vec(), ..bench.formed() };
        let out = bench.run_at(bench.manager(&[board]), "").out;
        let out = out.replace(&format!(" -f {}", bench.project.file.display()), "");
        out.lines().skip(5).map(|line| format!("{line}\n")).collect::<String>()
    };
    let kitchen = stranger("k1", "kitchen", "ready");
    insta::assert_snapshot!(shown(std::slice::from_ref(&kitchen)), @r"
    1 entry of Swarm's node list belongs to no planned node: kitchen (ready); to see more: builder ls
    red is formed: 4 of 4 nodes ready
    ");
    let mut many: Vec<_> = ["a", "b", "c"].map(|id| stranger(id, &"x".repeat(200), "down")).into();
    many.extend([stranger("d", "\u{1b}[2J\u{202e}\nred", "\u{9b}"), kitchen.clone(), kitchen]);
    insta::assert_snapshot!(shown(&many), @r"
    6 entries of Swarm's node list belong to no planned node: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx… (down), xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx… (down), xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx… (down), �[2J��red (�), kitchen (ready) and 1 more; to see more: builder ls
    red is formed: 4 of 4 nodes ready
    ");
}

#[test]
fn json_names_strangers_if_there_are_any() {
    let bench = Bench::new();
    let strangers = vec![stranger("k1", "kit\u{9b}chen", "ready")];
    let address = bench.manager(&[Board { strangers, ..bench.board() }]);
    let style = Style { json: true, ..Style::default() };
    let out = bench.run(&format!("--manager {address}"), style).out;
    assert!(
        out.ends_with(",\"strangers\":[{\"id\":\"k1\",\"name\":\"kit\\u009bchen\",\"state\":\"ready\"}]}\n"),
        "{out}"
    );
}

#[test]
fn managers_without_a_quorum_are_told_with_what_to_do() {
    let bench = Bench::new();
    let shown = |quorum_lost| {
        let address = bench.manager(&[Board { quorum_lost, ..bench.board() }]);
        bench.run_at(address, "").out
    };
    assert!(!shown(false).contains("quorum"));
    let lost = shown(true);
    assert!(
        lost.contains("have lost their quorum") && lost.contains("Power the missing managers on"),
        "{lost}"
    );
}

#[test]
fn json_has_the_documented_keys_and_no_others() {
    let bench = Bench::new();
    let address = bench.manager(&[bench.board()]);
    let style = Style { json: true, ..Style::default() };
    let outcome = bench.run(&format!("--manager {address}"), style);
    assert_eq!(outcome.code(), 0);
    assert_eq!(
        outcome.out,
        concat!(
            r#"{"cluster":"red","formed":false,"quorum_lost":false,"dissolved":false,"nodes":["#,
            r#"{"name":"red00","role":"manager","stage":"ready","last_heard":1.5,"error":null,"address":"10.1.1.2","#,
            r#""swarm":{"id":"mq0r","state":"ready","availability":"drain","leader":true,"engine":"29.7.1"},"left":false,"removed":false},"#,
            r#"{"name":"red01","role":"worker","stage":"ready","last_heard":4.0,"error":null,"address":"10.1.1.3","#,
            r#""swarm":{"id":"w1xy","state":"ready","availability":"active","leader":false,"engine":"29.7.1"},"left":false,"removed":false},"#,
            r#"{"name":"red02","role":"worker","stage":"docker","last_heard":125.0,"#,
            r#""error":"apt-get ended with 100: no space left","address":"10.1.1.4","swarm":null,"left":false,"removed":false},"#,
            r#"{"name":"red03","role":"worker","stage":null,"last_heard":null,"error":null,"address":null,"swarm":null,"left":false,"removed":false}"#,
            "]}\n"
        )
    );
}

#[test]
fn waiting_ends_when_the_swarm_is_formed() {
    let bench = Bench::new();
    let outcome = bench.run_at(bench.manager(&[bench.board(), bench.formed()]), "--wait");
    assert_eq!(outcome.code(), 0, "{}", outcome.talk);
    assert!(outcome.out.ends_with("red is formed: 4 of 4 nodes ready\n"), "{}", outcome.out);
    assert_eq!(
        outcome.talk,
        "red is not formed yet: 2 of 4 nodes ready; waiting for red02 (docker: apt-get ended with 100: no space \
         left), red03 (never heard from)\nred is formed: 4 of 4 nodes ready\n"
    );
}

#[test]
fn waiting_in_vain_names_the_missing() {
    let bench = Bench::new();
    let manager = bench.manager(&[bench.board()]);
    let outcome = bench.run_at(manager, "--wait --timeout 1s");
    assert_eq!(outcome.code(), 6);
    assert!(
        outcome.out.ends_with("red is not formed yet: 2 of 4 nodes ready\n"),
        "the last board is missing"
    );
    assert_eq!(
        outcome.failure(),
        format!(
            "error: red was not formed within 1s: waiting for red02 (docker: apt-get ended with 100: no space left), \
             red03 (never heard from)\n\
             hint: is red03 powered on, with its own card, on the same network?\n\
             hint: to wait longer: builder status --wait --timeout 1h --manager {manager}\n"
        )
    );
}

#[test]
fn ready_nodes_alone_are_no_formed_swarm() {
    let bench = Bench::new();
    let twice = Board { formed: false, ..bench.formed() };
    let outcome = bench.run_at(bench.manager(&[twice]), "--wait --timeout 1s");
    assert_eq!(outcome.code(), 6);
    assert!(outcome.failure().contains("the manager's node list has one of them twice"));
}

#[test]
fn waiting_outlasts_a_manager_that_is_not_up_yet() {
    let bench = Bench::new();
    let busy = (503, r#"{"message":"starting"}"#.to_owned());
    let formed = (200, serde_json::to_string(&bench.formed()).unwrap());
    let outcome = bench.run_at(bench.answering("red00", vec![busy, formed]), "--wait");
    assert_eq!(outcome.code(), 0, "{}", outcome.talk);
    assert!(outcome.talk.starts_with("red00 does not answer yet: trying again\n"), "{}", outcome.talk);
}

#[test]
fn watching_prints_again_only_what_changed() {
    let bench = Bench::new();
    let mut older = bench.board();
    older.nodes.iter_mut().for_each(|node| node.last_heard_ms = node.last_heard_ms.map(|ms| ms + 7000));
    older.nodes.iter_mut().flat_map(|node| &mut node.report).for_each(|report| {
        report.facts.uptime_ms = Some(7000);
    });
    let address = bench.manager(&[bench.board(), older, bench.formed()]);
    let outcome = bench.run_at(address, "--watch --wait");
    assert_eq!(outcome.code(), 0, "{}", outcome.talk);
    assert_eq!(outcome.out.matches("LAST HEARD").count(), 2, "{}", outcome.out);
    assert!(!outcome.out.contains('\x1b'), "a file is no terminal");
}

#[test]
fn a_terminal_is_redrawn_at_every_look() {
    let bench = Bench::new();
    let address = bench.manager(&[bench.board(), bench.formed()]);
    let style = Style { terminal: true, ..Style::default() };
    let outcome = bench.run(&format!("--watch --wait --manager {address}"), style);
    let screens: Vec<_> = outcome.out.split("\x1b[H\x1b[J").collect();
    assert!(
        matches!(screens[..], ["", first, second, ..] if first.starts_with("NAME") && second.starts_with("NAME"))
    );
}

#[test]
fn nobody_there_is_exit_five_and_what_to_check() {
    let bench = Bench::new();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let cause = "the manager red00 cannot be reached\n  127.0.0.1:PORT: refuses the connection\n\
                 hint: if red00 was only just powered on, wait a minute: builder status --wait\n\
                 hint: is red00 powered on, and on the same network as this computer?\n\
                 hint: if you know its address (your router does): builder status --manager ADDRESS\n";
    let outcome = bench.run_at(closed, "");
    assert_eq!((outcome.code(), outcome.out.as_str()), (5, ""));
    assert!(outcome.talk.ends_with(&format!("error: {cause}")), "{}", outcome.talk);
    // The time to wait is over, whoever did not answer.
    let outcome = bench.run_at(closed, "--wait --timeout 1s");
    assert_eq!((outcome.code(), outcome.out.as_str()), (6, ""));
    let error = "error: red was not formed within 1s: no manager answered\ncaused by: ";
    assert!(outcome.talk.ends_with(&format!("{error}{cause}")), "{}", outcome.talk);
}

#[test]
fn who_never_answers_is_not_waited_for_long() {
    let bench = Bench::new();
    // Accepts by its backlog, and then says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let outcome = bench.run_at(silent.local_addr().unwrap(), "");
    assert_eq!(outcome.code(), 5);
    assert!(outcome.talk.contains("  127.0.0.1:PORT: does not answer\n"), "{}", outcome.talk);
}

#[test]
fn a_manager_that_does_not_know_the_operator_is_told_apart() {
    let (bench, other) = (Bench::new(), Bench::new());
    let red00 = bench.identities.node(&hostname("red00")).unwrap();
    let answers = vec![(200, serde_json::to_string(&bench.formed()).unwrap())];
    let address = serve(&red00, &other.identities.operator().unwrap().ca_pem, answers);
    let outcome = bench.run_at(address, "");
    assert_eq!(outcome.code(), 5);
    assert!(outcome.talk.contains("does not accept the operator's certificate\n"), "{}", outcome.talk);
}

#[test]
fn a_manager_that_has_no_answer_yet_counts_as_unreachable() {
    let bench = Bench::new();
    let busy = (503, r#"{"message":"starting"}"#.to_owned());
    let outcome = bench.run_at(bench.answering("red00", vec![busy]), "");
    assert_eq!(outcome.code(), 5);
    assert!(
        outcome.talk.contains("error: the manager answered with status 503: starting\n"),
        "{}",
        outcome.talk
    );
}

#[test]
fn a_refusal_is_not_taken_for_an_absence() {
    let bench = Bench::new();
    let refusal = (403, r#"{"message":"not an operator\u001b[2J"}"#.to_owned());
    let outcome = bench.run_at(bench.answering("red00", vec![refusal]), "--wait");
    assert_eq!(outcome.code(), 1);
    assert!(
        outcome
            .talk
            .contains("the manager red00 refuses to answer this operator: not an operator\u{fffd}[2J\n"),
        "{}",
        outcome.talk
    );
}

#[test]
fn an_answer_that_is_no_board_is_said_so() {
    let bench = Bench::new();
    let outcome = bench.run_at(bench.answering("red00", vec![(200, "{}".to_owned())]), "");
    assert_eq!(outcome.code(), 1);
    assert!(outcome.talk.contains("error: the manager's answer is not understood\ncaused by: missing field"));
}

#[test]
fn what_nodes_say_cannot_act_on_the_terminal() {
    let bench = Bench::new();
    let mut board = bench.board();
    let word = "\x1b]0;owned\x07 fine\nred99  worker  ready";
    for node in &mut board.nodes {
        if let Some(report) = &mut node.report {
            report.word = word.to_owned();
            report.error = Some(NodeError { message: word.to_owned(), permanent: true, cause: None });
        }
    }
    let outcome = bench.run_at(bench.manager(&[board]), "--wait --timeout 1s");
    for text in [&outcome.out, &outcome.talk] {
        assert!(text.contains("fine"), "{text}");
        assert!(!text.contains(['\x1b', '\x07']) && !text.contains("\nred99"), "{text}");
    }
}

#[test]
fn a_node_that_only_the_cluster_file_knows_is_missing() {
    let mut bench = Bench::new();
    bench.project.cluster.nodes.push(node("red04", Role::Worker));
    let outcome = bench.run_at(bench.manager(&[bench.formed()]), "--wait --timeout 1s");
    assert_eq!(outcome.code(), 6);
    assert!(
        outcome.failure().contains("waiting for red04 (unknown to the manager)"),
        "{}",
        outcome.failure()
    );
    assert!(outcome.out.contains("its card was made before this node was planned\n"), "{}", outcome.out);
}

#[test]
fn addresses_on_the_board_lead_ssh_there() {
    let bench = Bench::new();
    bench.run_at(bench.manager(&[bench.board()]), "");
    let config = fs::read_to_string(bench.project.secrets_folder().join("ssh_config")).unwrap();
    assert!(config.contains("Host red02\n    HostName 10.1.1.4\n"), "{config}");
    assert!(config.contains("Host red03\n    HostName red03.local\n"), "{config}");
}

#[test]
fn without_an_address_every_way_is_tried_in_order() {
    let mut bench = Bench::new();
    let last = BTreeMap::from([(hostname("red00"), Ipv4Addr::new(127, 77, 0, 2))]);
    pki::remember_addresses(&bench.project, &last).unwrap();
    let fixed =
        StaticAddress { ip: Ipv4Addr::new(127, 77, 0, 1), prefix: 24, gateway: None, dns: Vec::new() };
    bench.project.cluster.nodes.iter_mut().take(1).for_each(|node| node.address = Some(fixed.clone()));
    let outcome = bench.run("", Style::default());
    assert_eq!(outcome.code(), 5);
    let text = outcome.failure();
    let tried: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("  ")?.split(": ").next()).collect();
    assert_eq!(
        tried,
        [
            "127.77.0.1 (from the cluster file)",
            "127.77.0.2 (where it was last time)",
            "red00.local (asked on the local network)",
            "red00 (asked the name server)"
        ],
        "{text}"
    );
}

#[test]
fn the_program_keeps_data_and_talk_apart_and_ends_with_the_documented_code() {
    let bench = Bench::new();
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1mHWZJxv1cV0kP0J7oJ8m1gXyG7n0Vq4c1r8mXo5aB ada";
    let file = format!(
        "version: 1\ncluster: red\nimage: raspios-lite-arm64\nnodes: red[00-03]\nuser:\n  name: pi\n  \
         authorized_keys: ['{key}']\n"
    );
    fs::write(&bench.project.file, file).unwrap();
    let run = |address: SocketAddr, args: &[&str]| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_builder"));
        program.current_dir(&bench.project.folder).args(["status", "--manager", &address.to_string()]);
        program.args(args).env_clear().output().unwrap()
    };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_owned()).unwrap();

    let seen = run(bench.manager(&[bench.formed()]), &["--wait"]);
    assert_eq!(
        (seen.status.code(), text(&seen.stderr)),
        (Some(0), "red is formed: 4 of 4 nodes ready\n".to_owned())
    );
    assert!(text(&seen.stdout).starts_with("NAME "));

    let quiet = run(bench.manager(&[bench.board()]), &["--wait", "--timeout", "1s", "--json", "--quiet"]);
    assert_eq!(quiet.status.code(), Some(6));
    // The board, and what failed.
    let board: serde_json::Value = serde_json::from_slice(&quiet.stdout).unwrap();
    assert_eq!(
        (&board["cluster"], &board["formed"], &board["code"]),
        (&"red".into(), &false.into(), &6.into())
    );
    assert!(text(&quiet.stderr).starts_with("error: red was not formed within 1s: "));

    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = run(closed, &[]);
    assert_eq!((nobody.status.code(), text(&nobody.stdout)), (Some(5), String::new()));
    assert!(text(&nobody.stderr).starts_with("error: the manager red00 cannot be reached\n"));
}

#[test]
fn a_timeout_without_waiting_is_a_mistake() {
    assert!(parse("").is_ok_and(|args| args.timeout.as_secs() == 900));
    assert!(parse("--wait --timeout 90s").is_ok_and(|args| args.timeout.as_secs() == 90));
    for line in ["--timeout 90s", "--wait --timeout soon", "--manager red_00"] {
        assert!(parse(line).is_err(), "{line}");
    }
}
