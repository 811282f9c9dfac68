//! `builder revoke` and the orders of `kill`, `up` and `rm` against the manager's own API, with the identities that `builder` makes.
#![expect(clippy::unwrap_used, reason = "these are tests: a panic is how they fail")]

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use builder::cli::revoke::{Desk, RevokeArgs, revoke};
use builder::error::Failure;
use builder::pki::{self, NodeMaterial};
use builder::project::{self, Project};
use builder::remote::{Address, Manager};
use clap::Parser;
use cluster::card::{Card, Planned};
use cluster::name::Hostname;
use cluster::wire::Report;
use firstboot::agent::{self, Options, link::Link};
use firstboot::host::Host;
use firstboot::host::fake::{FakeHost, Files, Node, Power};
use firstboot::journal::JournalFile;
use firstboot::tls::Credentials;
use tempfile::TempDir;
use tokio::runtime::Runtime;

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f ada@laptop";

/// A cluster of red00 to red02 on the laptop, and red00's agent on loopback.
struct Scene {
    project: Project,
    port: u16,
    _folder: TempDir,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cluster.yaml");
        let text = format!(
            "version: 1\ncluster: red\nimage: raspios-lite-arm64\nnodes: red[00-02]\nuser: {{name: pi, authorized_keys: ['{KEY}']}}\n"
        );
        fs::write(&file, text).unwrap();
        let project = project::load(&file).unwrap();
        let manager = pki::open(&project).unwrap().node(&name("red00")).unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let socket = folder.path().join("docker.sock");
        let scene = Self { project, port, _folder: folder };
        let host = scene.host("red00", &manager);
        let options =
            Options { state: agent::STATE.into(), docker_socket: socket, listen: Ipv4Addr::LOCALHOST, port };
        // Lives as long as the test's process.
        std::thread::spawn(move || drop(runtime().block_on(agent::run(host, options))));
        let mut operator = scene.operator();
        let start = std::time::Instant::now();
        while operator.board().is_err() {
            assert!(start.elapsed() < Duration::from_secs(60), "the API never answered");
            std::thread::sleep(Duration::from_millis(100));
        }
        drop(operator);
        scene
    }

    fn operator(&self) -> Manager<'_> {
        let identities = pki::existing(&self.project).unwrap();
        let address: Address = format!("127.0.0.1:{}", self.port).parse().unwrap();
        Manager::new(&self.project, &identities, Some(address)).unwrap()
    }

    fn card(&self, node: &str) -> Card {
        let planned = self.project.cluster.nodes.iter().map(|node| Planned {
            name: node.name.clone(),
            role: node.role,
            address: Some(Ipv4Addr::LOCALHOST),
            labels: node.labels.clone(),
        });
        let nodes: Vec<_> = planned.collect();
        let plain = include_bytes!("../../cluster/tests/corpus/card/plain.json");
        Card {
            cluster_id: pki::existing(&self.project).unwrap().cluster_id,
            node: name(node),
            role: nodes.iter().find(|planned| planned.name.as_str() == node).unwrap().role,
            nodes,
            ..Card::from_json(plain).unwrap()
        }
    }

    /// A machine with a node's card taken over.
    fn host(&self, node: &str, material: &NodeMaterial) -> Arc<dyn Host> {
        let state = PathBuf::from(agent::STATE);
        let file = |text: &str| Node::File { bytes: text.as_bytes().to_vec(), mode: 0o600, owner: None };
        let files = Files::from([
            (state.clone(), Node::Folder { mode: 0o700, owner: None }),
            (state.join("card.json"), file(&serde_json::to_string(&self.card(node)).unwrap())),
            (state.join("ca.pem"), file(&material.ca_pem)),
            (state.join("node.pem"), file(&material.cert_pem)),
            (state.join("node-key.pem"), file(material.key_pem.expose())),
        ]);
        let clock = UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        Arc::new(FakeHost::new(Arc::<Power>::default(), files, clock))
    }

    /// What the manager says to a report of the node with this material.
    fn report(&self, node: &str, material: &NodeMaterial) -> Result<(), String> {
        let host = self.host(node, material);
        let state = PathBuf::from(agent::STATE);
        let tls = Credentials::load(host.as_ref(), &state).unwrap().client().unwrap();
        let journal = Arc::new(JournalFile::open(Arc::clone(&host), &state).unwrap());
        let report = include_bytes!("../../cluster/tests/corpus/wire/report-small.json");
        let report: Report = serde_json::from_slice(report).unwrap();
        runtime().block_on(async {
            let link = Link::new(Arc::new(self.card(node)), host, Some(journal), tls, self.port);
            link.report(&report).await.map(|_| ()).map_err(|error| error.to_string())
        })
    }

    /// Runs the command; `typed` is what the person answers.
    fn revoke(&self, line: &str, typed: Option<&str>) -> (Result<(), Failure>, String, String) {
        #[derive(Parser)]
        struct Line {
            #[command(flatten)]
            args: RevokeArgs,
        }
        let line = format!("revoke {line} --manager 127.0.0.1:{}", self.port);
        let args = Line::try_parse_from(line.split_whitespace()).unwrap().args;
        let (mut out, mut talk) = (Vec::new(), Vec::new());
        let mut typed = typed.map(str::as_bytes);
        let input = typed.as_mut().map(|typed| typed as &mut dyn std::io::BufRead);
        let mut desk = Desk { input, out: &mut out, talk: &mut talk };
        let result = revoke(&self.project, &args, false, &mut desk);
        (result, String::from_utf8(out).unwrap(), String::from_utf8(talk).unwrap())
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn name(text: &str) -> Hostname {
    Hostname::try_from(text).unwrap()
}

#[test]
fn a_revoked_card_is_turned_away_its_successor_let_in_and_nobody_else_affected() {
    let scene = Scene::new();
    let before = pki::open(&scene.project).unwrap();
    let [stolen, other] = ["red01", "red02"].map(|node| before.node(&name(node)).unwrap());
    assert_eq!(scene.report("red01", &stolen), Ok(()));

    let (result, out, talk) = scene.revoke("red01", Some("yes\n"));
    result.unwrap();
    assert_eq!(
        out,
        "red01: the manager refuses its certificate from now on\nred01: it was no member of the swarm\n"
    );
    let file = format!("-f {}", scene.project.file.display());
    let next = format!(
        "next, for a new card: sudo builder flash {file} red01, or its image: builder build {file} --force red01\n"
    );
    assert!(talk.ends_with(&next), "{talk}");
    assert!(scene.report("red01", &stolen).unwrap_err().contains("revoked"));
    assert_eq!(scene.report("red02", &other), Ok(()));

    // The next build makes everything anew, for this node alone.
    let after = pki::open(&scene.project).unwrap();
    let fresh = after.node(&name("red01")).unwrap();
    assert_ne!(fresh.cert_pem, stolen.cert_pem);
    assert_ne!(fresh.key_pem, stolen.key_pem);
    assert_ne!(fresh.host_key, stolen.host_key);
    assert_eq!(after.node(&name("red02")).unwrap().key_pem, other.key_pem);
    assert_eq!(scene.report("red01", &fresh), Ok(()));
    assert!(scene.report("red01", &stolen).unwrap_err().contains("revoked"));
    let known_hosts = fs::read_to_string(scene.project.secrets_folder().join("known_hosts")).unwrap();
    assert!(!known_hosts.contains(stolen.host_key_public.split(' ').nth(1).unwrap()));
}

#[test]
fn revoking_asks_first_and_changes_nothing_without_a_yes() {
    let scene = Scene::new();
    let stolen = pki::open(&scene.project).unwrap().node(&name("red01")).unwrap();
    let (declined, _, talk) = scene.revoke("red01", Some("n\n"));
    assert_eq!(declined.unwrap_err().render(), "error: nothing was done\n");
    assert!(talk.ends_with("Continue? [y/N] "), "{talk}");
    let (nobody, ..) = scene.revoke("red01", None);
    assert_eq!(
        nobody.unwrap_err().render(),
        "error: nobody is here to be asked\nhint: if you are sure: builder revoke red01 --yes\n"
    );
    let (manager, ..) = scene.revoke("red[00-01] --yes", None);
    assert_eq!(manager.unwrap_err().kind().code(), 2);
    assert_eq!(scene.report("red01", &stolen), Ok(()));
    assert_eq!(pki::open(&scene.project).unwrap().node(&name("red01")).unwrap().cert_pem, stolen.cert_pem);
}

#[test]
fn a_revocation_that_was_cut_short_is_finished_by_the_next() {
    let scene = Scene::new();
    let stolen = pki::open(&scene.project).unwrap().node(&name("red01")).unwrap();
    // The power went after the key was moved and before the certificate was.
    let nodes = scene.project.secrets_folder().join("nodes");
    fs::remove_file(nodes.join("red01-key.pem")).unwrap();
    assert!(pki::open(&scene.project).is_err(), "no certificate is made over nothing");
    scene.revoke("red01 --yes", None).0.unwrap();
    assert!(scene.report("red01", &stolen).unwrap_err().contains("revoked"));
    let fresh = pki::open(&scene.project).unwrap().node(&name("red01")).unwrap();
    assert_eq!(scene.report("red01", &fresh), Ok(()));

    // Revoked twice over: both keys are refused, by a manager that may have forgotten the first.
    scene.revoke("red01 --yes", None).0.unwrap();
    let keys = pki::keys(&scene.project, &name("red01")).unwrap();
    assert_eq!((keys.present, keys.former.len()), (None, 2));
    assert!(scene.report("red01", &fresh).unwrap_err().contains("revoked"));
    // And a third time, with no new card in between, it only says so again.
    scene.revoke("red01 --yes", None).0.unwrap();
}

#[test]
fn the_manager_takes_the_operators_orders_and_whom_it_turned_away_stays_out() {
    let scene = Scene::new();
    let stolen = pki::existing(&scene.project).unwrap().node(&name("red01")).unwrap();
    assert!(scene.revoke("red01", Some("yes\n")).0.is_ok());
    let mut operator = scene.operator();
    let started = std::time::Instant::now();
    let mut board = |wanted: fn(&cluster::wire::Board) -> bool| {
        while !operator.board().is_ok_and(|board| wanted(&board)) {
            assert!(started.elapsed() < Duration::from_secs(60), "the board never showed it");
            std::thread::sleep(Duration::from_millis(600));
        }
    };
    let out = |board: &cluster::wire::Board| {
        board.dissolved
            && board.nodes.iter().any(|node| node.report.as_ref().is_some_and(|it| it.left.is_some()))
    };

    let told = scene.operator().kill().unwrap();
    assert!(told.untold.is_empty() && told.number > 1_790_000_000_000, "{told:?}");
    // There is no Docker here, so the manager has nothing to leave.
    board(out);
    assert_eq!(scene.operator().kill().unwrap().number, told.number, "repeated");
    let raised = scene.operator().up().unwrap().unwrap();
    assert!(raised.number > told.number);
    board(|board| {
        !board.dissolved && board.nodes.iter().flat_map(|node| &node.report).all(|it| it.left.is_none())
    });
    assert!(scene.operator().up().unwrap().is_none(), "nothing to do");
    assert!(scene.report("red01", &stolen).unwrap_err().contains("revoked"));

    let removed = scene.operator().remove_node("red02").unwrap();
    assert!(removed.number > raised.number);
    board(|board| board.nodes.iter().any(|node| node.dismissed && node.name.as_str() == "red02"));
    assert_eq!(scene.operator().remove_node("red02").unwrap().number, removed.number, "repeated");
    assert!(scene.operator().remove_node("red00").unwrap_err().to_string().contains("the last manager"));
    assert!(scene.operator().up().unwrap().is_some());
    board(|board| board.nodes.iter().all(|node| !node.dismissed));
}
