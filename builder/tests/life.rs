//! `builder kill`, `up` and `rm` against managers that answer over real TLS.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::BufRead;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use builder::cli::kill::KillArgs;
use builder::cli::revoke::{Desk, RevokeArgs, revoke};
use builder::cli::rm::rm;
use builder::cli::status::{StatusArgs, Style, show};
use builder::cli::up::{UpArgs, up};
use builder::error::Failure;
use builder::pki::{self, Identities, Running, RunningHost};
use builder::project::{Project, ProjectKind};
use builder::remote::Manager;
use clap::{Args, Parser};
use cluster::card::{DockerSource, StaticAddress};
use cluster::identity::Role;
use cluster::orders::Orders;
use cluster::wire::{Board, BoardNode, NodeError, Report, Revoked, Stage, SwarmEntry};
use serde::Serialize;
use tempfile::TempDir;

#[path = "fixture/manager.rs"]
mod manager;
#[path = "fixture/project.rs"]
mod project;
#[path = "life/removing.rs"]
mod removing;
#[path = "life/reopening.rs"]
mod reopening;
use manager::{Answer, serve};
use project::{hostname, node};

/// An order's number, later than any of this laptop's.
const KILLED: u64 = 9_000_000_000_000;

/// red00 manages; red01 and red02 work.
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

fn parse<T: Args>(line: &str) -> T {
    #[derive(Parser)]
    struct Line<T: Args> {
        #[command(flatten)]
        args: T,
    }
    Line::try_parse_from(format!("x {line}").split_whitespace())
        .unwrap_or_else(|error| panic!("{error}"))
        .args
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let nodes = [("red00", Role::Manager), ("red01", Role::Worker), ("red02", Role::Worker)];
        let project = project::project(folder.path(), &nodes);
        let identities = pki::open(&project).unwrap();
        Self { project, identities, _folder: folder }
    }

    /// Without the name of the folder.
    fn shown(&self, text: &str) -> String {
        text.replace(&self.project.folder.display().to_string(), "HERE")
    }

    fn manager(&self, answers: Vec<Answer>) -> SocketAddr {
        let node = self.identities.node(&hostname("red00")).unwrap();
        serve(&node, &node.ca_pem, answers)
    }

    /// Runs a command that asks, with what is typed.
    fn ask<T: Args>(
        &self,
        run: impl Fn(&Project, &T, Style, &mut Desk<'_>) -> Result<(), Failure>,
        line: &str,
        typed: Option<&str>,
        json: bool,
    ) -> Outcome {
        let (mut out, mut talk) = (Vec::new(), Vec::new());
        let mut typed = typed.map(str::as_bytes);
        let input = typed.as_mut().map(|typed| typed as &mut dyn BufRead);
        let mut desk = Desk { input, out: &mut out, talk: &mut talk };
        let result = run(&self.project, &parse(line), Style { json, ..Style::default() }, &mut desk);
        Outcome { out: String::from_utf8(out).unwrap(), talk: String::from_utf8(talk).unwrap(), result }
    }

    fn kill(&self, at: SocketAddr, line: &str) -> Outcome {
        self.ask(kill, &format!("{line} --manager {at}"), None, false)
    }

    fn up(&self, at: SocketAddr, line: &str) -> Outcome {
        let (mut out, mut talk) = (Vec::new(), Vec::new());
        let args: UpArgs = parse(&format!("{line} --manager {at}"));
        let result = up(&self.project, &args, Style::default(), &mut out, &mut talk);
        Outcome { out: String::from_utf8(out).unwrap(), talk: String::from_utf8(talk).unwrap(), result }
    }

    fn board(&self, nodes: Vec<BoardNode>) -> Board {
        Board {
            cluster: self.project.cluster.name.clone(),
            cluster_id: self.identities.cluster_id.clone(),
            unix_ms: 1_790_000_000_000,
            formed: false,
            quorum_lost: false,
            dissolved: false,
            nodes,
            strangers: Vec::new(),
        }
    }

    fn formed(&self) -> Board {
        Board { formed: true, ..self.board(vec![member("red00"), member("red01"), member("red02")]) }
    }
}

fn kill(project: &Project, args: &KillArgs, style: Style, desk: &mut Desk<'_>) -> Result<(), Failure> {
    builder::cli::kill::kill(project, args, style, desk).map(drop)
}

fn answer(body: &impl Serialize) -> Answer {
    (200, serde_json::to_string(body).unwrap())
}

fn accepted(orders: &Orders) -> Answer {
    (202, serde_json::to_string(orders).unwrap())
}

fn killed() -> Orders {
    Orders { killed: KILLED, ..Orders::default() }
}

fn report(left: Option<u64>) -> Report {
    Report {
        stage: if left.is_some() { Stage::Swarm } else { Stage::Ready },
        word: if left.is_some() { "left the swarm as told" } else { "a member" }.to_owned(),
        error: None,
        address: Some(Ipv4Addr::new(10, 1, 1, 2)),
        swarm_node: None,
        facts: Default::default(),
        marks: Vec::new(),
        seed_problems: Vec::new(),
        left,
        warnings: Vec::new(),
        proves: true,
        proof: None,
    }
}

fn member(name: &str) -> BoardNode {
    let swarm = SwarmEntry {
        id: format!("id-of-{name}"),
        state: "ready".to_owned(),
        availability: "active".to_owned(),
        leader: name == "red00",
        reachability: (name == "red00").then(|| "reachable".to_owned()),
        engine: None,
        address: None,
    };
    BoardNode { swarm: Some(swarm), ..out(name, None) }
}

fn out(name: &str, left: Option<u64>) -> BoardNode {
    BoardNode {
        name: hostname(name),
        role: if name == "red00" { Role::Manager } else { Role::Worker },
        report: Some(report(left)),
        last_heard_ms: Some(1000),
        swarm: None,
        dismissed: false,
    }
}

fn all_out() -> Vec<BoardNode> {
    ["red00", "red01", "red02"].map(|name| out(name, Some(KILLED))).into()
}

#[test]
fn killing_asks_first_and_says_what_is_lost() {
    let bench = Bench::new();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let line = format!("--manager {closed}");
    let nobody = bench.ask(kill, &line, None, false);
    assert_eq!(nobody.code(), 2);
    assert!(nobody.failure().ends_with("\nhint: if you are sure: builder kill --yes\n"));
    let declined = bench.ask(kill, &line, Some("no\n"), false);
    assert_eq!((declined.code(), declined.failure().as_str()), (1, "error: nothing was done\n"));
    insta::assert_snapshot!(declined.talk, @"
    All 3 nodes of red leave the swarm. Its services, networks, secrets and join tokens are lost; volumes and images stay on the nodes.
    Continue? [y/N]
    ");
    for yes in ["yes\n", "y\n", "Y\n"] {
        let agreed = bench.ask(kill, &line, Some(yes), false);
        assert_eq!(agreed.code(), 5, "a yes leads to the manager, which is not there");
    }
}

#[test]
fn purging_says_what_goes_beside_the_swarm() {
    let mut bench = Bench::new();
    let nobody = bench.ask(kill, "--purge", None, false);
    assert!(nobody.failure().ends_with("\nhint: if you are sure: builder kill --purge --yes\n"));
    let declined = bench.ask(kill, "--purge", Some("no\n"), false);
    assert_eq!(declined.code(), 1);
    insta::assert_snapshot!(declined.talk, @"
    All 3 nodes of red leave the swarm. Its services, networks, secrets and join tokens are lost; volumes and images stay on the nodes. Our agent and all its keys are removed from them over SSH, and Docker where it came with the agent, with every container.
    Continue? [y/N]
    ");
    // What is left after a --purge that came as far as the managers is finished without them.
    bench.project.cluster.nodes.remove(0);
    assert_eq!(bench.ask(kill, "--purge --yes", None, false).code(), 0);
    assert_eq!(bench.ask(kill, "--yes", None, false).code(), 2);
}

#[test]
fn killing_waits_until_all_have_left_and_may_be_repeated() {
    let bench = Bench::new();
    let mut going = bench.board(vec![member("red00"), out("red01", Some(KILLED)), out("red02", Some(3))]);
    going.dissolved = true;
    let gone = Board { dissolved: true, ..bench.board(all_out()) };
    let told = [answer(&bench.formed()), answer(&Orders::default()), accepted(&killed())];
    let first = bench.manager([&told[..], &[answer(&going), answer(&gone)]].concat());
    let outcome = bench.kill(first, "--yes");
    assert_eq!(outcome.code(), 0, "{:?}", outcome.result);
    assert_eq!(outcome.talk, "waiting for red00, red02 to leave\n");
    assert_eq!(outcome.out, "red is dissolved: 3 of 3 nodes are in no swarm\n");

    let again = bench.manager(vec![answer(&gone), answer(&killed()), accepted(&killed()), answer(&gone)]);
    assert_eq!(bench.kill(again, "--yes").code(), 0);
}

#[test]
fn who_has_not_left_is_named_with_what_to_type() {
    let bench = Bench::new();
    let before = bench.board(vec![member("red00"), member("red01"), member("red02")]);
    let off = BoardNode { last_heard_ms: Some(125_000), ..member("red01") };
    let error =
        NodeError { message: "leaving the swarm failed\u{1b}[2J".to_owned(), permanent: true, cause: None };
    let stuck = BoardNode {
        report: Some(Report { error: Some(error), ..report(None) }),
        last_heard_ms: Some(90_000),
        ..member("red02")
    };
    let after = Board { dissolved: true, ..bench.board(vec![out("red00", Some(KILLED)), off, stuck]) };
    let answers = || vec![answer(&before), answer(&killed()), accepted(&killed()), answer(&after)];
    let outcome = bench.kill(bench.manager(answers()), "--yes");
    assert_eq!(outcome.code(), 6);
    insta::assert_snapshot!(bench.shown(&(outcome.out + &outcome.result.unwrap_err().render())), @"
    red is dissolved: 1 of 3 nodes are in no swarm
    red01 has not left (last heard from 2 min ago)
      it leaves by itself when it is back on; or type: ssh -F HERE/red.secrets/ssh_config red01 sudo docker swarm leave --force
    red02 has not left (last heard from 90 s ago: leaving the swarm failed\u{fffd}[2J)
      it does not leave by itself; type: ssh -F HERE/red.secrets/ssh_config red02 sudo docker swarm leave --force
    error: red is dissolved, but 2 nodes have not left: red01, red02
    hint: to see later whether all have left: builder status
    ");
    let line = format!("--yes --manager {}", bench.manager(answers()));
    let json = bench.ask(kill, &line, None, true);
    assert_eq!(json.code(), 6);
    let json = json.result.unwrap_err().document();
    assert_eq!(json.pointer("/left"), Some(&serde_json::json!(["red00"])));
    assert_eq!(json.pointer("/remaining/0/node"), Some(&serde_json::json!("red01")));
    assert_eq!(json.pointer("/remaining/0/last_heard"), Some(&serde_json::json!(125.0)));
    assert_eq!(json.pointer("/untold"), Some(&serde_json::json!([])));
    let command = json.pointer("/remaining/0/command").unwrap().as_str().unwrap();
    assert_eq!(
        bench.shown(command),
        "ssh -F HERE/red.secrets/ssh_config red01 sudo docker swarm leave --force"
    );
}

/// Their names may be known to nobody else; what they were brought in by leads there.
#[test]
fn pis_that_ran_before_are_named_with_what_config_was_given() {
    let mut bench = Bench::new();
    let hosts = ["red00", "red01", "red02"].map(|name| RunningHost {
        host: if name == "red01" { "ada@10.1.1.3".to_owned() } else { format!("{name}.lan") },
        name: hostname(name),
        role: if name == "red00" { Role::Manager } else { Role::Worker },
        address: None,
        host_key: None,
    });
    let running = Running::new(None, DockerSource::Docker, hosts.into());
    pki::remember_running(&bench.project, &running).unwrap();
    let before = bench.board(vec![member("red00"), member("red01"), member("red02")]);
    let off = |name| BoardNode { last_heard_ms: Some(125_000), ..member(name) };
    let after = Board {
        dissolved: true,
        ..bench.board(vec![out("red00", Some(KILLED)), off("red01"), off("red02")])
    };
    let told = |bench: &Bench| {
        let answers = vec![answer(&before), answer(&killed()), accepted(&killed()), answer(&after)];
        bench.kill(bench.manager(answers), "--yes").out
    };
    bench.project.kind = ProjectKind::Adopted;
    let out = told(&bench);
    assert!(out.contains("or type: ssh ada@10.1.1.3 sudo docker swarm leave --force\n"), "{out}");
    assert!(out.contains("or type: ssh pi@red02.lan sudo docker swarm leave --force\n"), "{out}");
    // Those of a cluster file are where that says.
    bench.project.cluster.nodes[1].address =
        Some(StaticAddress { ip: Ipv4Addr::new(10, 1, 1, 9), prefix: 24, gateway: None, dns: Vec::new() });
    bench.project.kind = ProjectKind::Planned;
    let out = told(&bench);
    assert!(out.contains("or type: ssh ada@10.1.1.9 sudo docker swarm leave --force\n"), "{out}");
}

#[test]
fn who_was_never_a_member_need_not_leave() {
    let bench = Bench::new();
    let never = || BoardNode { report: None, last_heard_ms: None, swarm: None, ..out("red02", None) };
    let before = bench.board(vec![member("red00"), member("red01"), never()]);
    let after = bench.board(vec![out("red00", Some(KILLED)), out("red01", Some(KILLED)), never()]);
    let answers = vec![answer(&before), answer(&killed()), accepted(&killed()), answer(&after)];
    assert_eq!(bench.kill(bench.manager(answers), "--yes").code(), 0);
}

#[test]
fn a_manager_that_could_not_be_told_is_named() {
    let mut bench = Bench::new();
    bench.project.cluster.nodes.push(node("red03", Role::Manager));
    bench.identities = pki::open(&bench.project).unwrap();
    let after = Board { dissolved: true, ..bench.board(all_out()) };
    let answers = vec![answer(&bench.formed()), answer(&killed()), accepted(&killed()), answer(&after)];
    let outcome = bench.kill(bench.manager(answers), "--yes");
    assert_eq!(outcome.code(), 6);
    assert!(
        bench.shown(&outcome.out).contains(
            "could not reach red03: until another manager tells it, it would let nodes in again\n  when it is on, \
             type again: builder kill -f HERE/cluster.yaml\n"
        ),
        "{}",
        outcome.out
    );
    assert!(outcome.failure().starts_with("error: red is dissolved, but not every manager knows: red03\n"));
}

#[test]
fn up_tells_the_managers_and_waits_for_the_swarm() {
    let bench = Bench::new();
    let raised = Orders { up: KILLED + 1, ..killed() };
    let forming = bench.board(vec![out("red00", None), out("red01", None), out("red02", None)]);
    let dissolved = Board { dissolved: true, ..bench.board(all_out()) };
    let told = [answer(&killed()), answer(&dissolved), accepted(&raised)];
    let address = bench.manager([&told[..], &[answer(&forming), answer(&bench.formed())]].concat());
    let outcome = bench.up(address, "");
    assert_eq!(outcome.code(), 0, "{:?}", outcome.result);
    assert!(
        outcome.talk.starts_with("red is being formed\nred is not formed yet: 0 of 3"),
        "{}",
        outcome.talk
    );
    assert!(outcome.out.ends_with("red is formed: 3 of 3 nodes ready\n"), "{}", outcome.out);

    let outcome = bench.up(bench.manager(told.to_vec()), "--no-wait");
    assert_eq!(outcome.code(), 0);
    assert_eq!(
        bench.shown(&outcome.out),
        "red is being formed; to see it: builder status -f HERE/cluster.yaml --wait\n"
    );
}

#[test]
fn up_changes_nothing_where_nobody_is_out() {
    let bench = Bench::new();
    // The answers end here: an order would find none that it understands.
    let address = bench.manager(vec![answer(&Orders::default()), answer(&bench.formed())]);
    let outcome = bench.up(address, "");
    assert_eq!(outcome.code(), 0, "{:?}", outcome.result);
    assert_eq!(outcome.out, "red is not dissolved and no node was removed: nothing to do\n");

    // A manager with a new card has forgotten the order that a node follows.
    let board = bench.board(vec![member("red00"), out("red01", Some(4)), member("red02")]);
    let raised = Orders { up: 5, ..Orders::default() };
    let address = bench.manager(vec![answer(&Orders::default()), answer(&board), accepted(&raised)]);
    assert!(bench.up(address, "--no-wait").out.starts_with("red is being formed"));
}

#[test]
fn up_is_newer_than_what_any_node_has_followed_whatever_the_managers_and_this_clock_say() {
    let bench = Bench::new();
    let number = |known: &Orders, left| {
        let board = bench.board(vec![member("red00"), out("red01", left), out("red02", Some(4))]);
        let address = bench.manager(vec![answer(known), answer(&board), accepted(known)]);
        let address = address.to_string().parse().unwrap();
        let mut manager = Manager::new(&bench.project, &bench.identities, Some(address)).unwrap();
        manager.up().unwrap().unwrap().number
    };
    let ended_anew = Orders { killed: 5, ..Orders::default() };
    assert_eq!(number(&Orders::default(), Some(KILLED)), KILLED + 1);
    assert_eq!(number(&ended_anew, Some(KILLED)), KILLED + 1);
    // A node's word cannot use the numbers up.
    assert_eq!(number(&ended_anew, Some(u64::MAX)), u64::MAX / 2 + 1);
}

#[test]
fn a_node_is_turned_away_by_the_managers_that_are_on_and_the_others_are_named() {
    let mut bench = Bench::new();
    bench.project.cluster.nodes.push(node("red03", Role::Manager));
    bench.identities = pki::open(&bench.project).unwrap();
    let present = |bench: &Bench| pki::keys(&bench.project, &hostname("red02")).unwrap().present;
    assert!(present(&bench).is_some());
    let revoked =
        answer(&Revoked { members: vec!["id-of-red02".to_owned()], unfinished: None, unsaved: None });
    let ask = |bench: &Bench, address: SocketAddr, json| {
        let run = |project: &Project, args: &RevokeArgs, style: Style, desk: &mut Desk<'_>| {
            revoke(project, args, style.json, desk)
        };
        bench.ask(run, &format!("--yes red02 --manager {address}"), None, json)
    };
    let turn_away = |bench: &Bench, json| ask(bench, bench.manager(vec![revoked.clone()]), json);
    let half = turn_away(&bench, false);
    assert_eq!(half.code(), 6);
    insta::assert_snapshot!(half.out.clone() + &half.failure(), @"
    red02: the manager refuses its certificate from now on
    red02: it was removed from the swarm, and the join tokens were changed
    red02: could not reach red03, which would let it in: the manager red03 cannot be reached
    error: red02 is not revoked everywhere: could not reach red03
    hint: once red03 can be reached, and before new cards are made, type again: builder revoke red02
    hint: a new card for red03 knows of it by itself
    ");
    assert_eq!(half.talk, "", "no new card yet: the next try would turn it away");
    assert_eq!(present(&bench), None, "the next card gets another key");

    // The same again for programs, and again when the manager can be told: here, when there is no such manager any more.
    let json: serde_json::Value = serde_json::from_str(&turn_away(&bench, true).out).unwrap();
    assert_eq!(json.pointer("/0/untold/0/manager"), Some(&serde_json::json!("red03")));
    bench.project.cluster.nodes.pop();
    let whole = turn_away(&bench, false);
    assert_eq!(whole.code(), 0, "{:?}", whole.result);
    assert!(whole.talk.starts_with("next, for "), "{}", whole.talk);

    // Where nobody can be told nothing is set aside.
    let before = pki::open(&bench.project).unwrap().node(&hostname("red02")).unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(ask(&bench, closed, false).code(), 5);
    assert_eq!(
        pki::open(&bench.project).unwrap().node(&hostname("red02")).unwrap().cert_pem,
        before.cert_pem
    );
}

#[test]
fn a_revocation_that_a_full_disk_does_not_keep_is_not_done_yet() {
    let bench = Bench::new();
    let why = "cannot write the journal: cannot write /var/lib/firstboot/journal.json: no space\u{1b}[2J"
        .to_owned();
    let unfinished = Some(format!("it is not on the manager's disk: {why}"));
    let revoked = Revoked { members: Vec::new(), unfinished, unsaved: Some(why) };
    let run = |project: &Project, args: &RevokeArgs, style: Style, desk: &mut Desk<'_>| {
        revoke(project, args, style.json, desk)
    };
    let ask = |json| {
        let address = bench.manager(vec![answer(&revoked)]);
        bench.ask(run, &format!("--yes red02 --manager {address}"), None, json)
    };
    let told = ask(false);
    assert_eq!((told.code(), told.talk.as_str()), (6, ""), "no new card yet");
    insta::assert_snapshot!(told.out.clone() + &told.failure(), @"
    red02: the manager refuses its certificate from now on
    red02: not finished yet, the manager goes on by itself: it is not on the manager's disk: cannot write the journal: cannot write /var/lib/firstboot/journal.json: no space�[2J
    error: red02 is refused from now on, but only until a manager restarts: cannot write the journal: cannot write /var/lib/firstboot/journal.json: no space�[2J
    hint: make room on the manager's disk, then: builder revoke red02
    ");
    let json: serde_json::Value = serde_json::from_str(&ask(true).out).unwrap();
    assert!(json.pointer("/0/unsaved").unwrap().as_str().unwrap().starts_with("cannot write the journal"));
}

#[test]
fn nobody_there_is_exit_five() {
    let bench = Bench::new();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let removing = bench.ask(rm, &format!("--yes red02 --manager {closed}"), None, false);
    for outcome in [bench.kill(closed, "--yes"), bench.up(closed, ""), removing] {
        assert_eq!((outcome.code(), outcome.out.as_str()), (5, ""));
        assert!(outcome.failure().starts_with("error: the manager red00 cannot be reached\n"));
    }
}

#[test]
fn the_status_tells_who_has_left_and_who_was_removed() {
    let bench = Bench::new();
    let shown = |board: &Board| {
        let args: StatusArgs = parse(&format!("--manager {}", bench.manager(vec![answer(board)])));
        let mut out = Vec::new();
        show(&bench.project, &args, Style::default(), &mut out, &mut Vec::new()).unwrap();
        bench.shown(&String::from_utf8(out).unwrap())
    };
    let gone = BoardNode { dismissed: true, ..out("red02", Some(KILLED)) };
    let formed = Board { formed: true, ..bench.board(vec![member("red00"), member("red01"), gone]) };
    insta::assert_snapshot!(shown(&formed), @"
    NAME   ROLE     STAGE  STATUS  AVAILABILITY  MANAGER STATUS  ENGINE  ADDRESS   LAST HEARD
    red00  manager  ready  Ready   Active        Leader          -       10.1.1.2  1 s ago
    red01  worker   ready  Ready   Active        -               -       10.1.1.2  1 s ago
    red02  worker   swarm  -       -             -               -       10.1.1.2  1 s ago
           removed by `builder rm -f HERE/cluster.yaml`; `builder up -f HERE/cluster.yaml` has it back
           left the swarm as told
    red is formed: 2 of 2 nodes ready
    ");
    let dissolved = Board { dissolved: true, ..bench.board(all_out()) };
    let text = shown(&dissolved);
    assert!(
        text.ends_with(
            "red is dissolved: 3 of 3 nodes have left; builder up -f HERE/cluster.yaml forms it again\n"
        ),
        "{text}"
    );
}
