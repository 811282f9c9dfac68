//! A cluster on loopback: manager red00 and workers, each with a machine in memory and an engine.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, UNIX_EPOCH};

use cluster::card::{Card, Planned};
use cluster::identity::Role;
use cluster::name::{Hostname, KeyId};
use cluster::wire::Board;
use firstboot::agent::{self, AgentError, Options};
use firstboot::host::Program;
use firstboot::host::fake::{FakeHost, Files, Node, Power};
use firstboot::journal::Journal;
use reqwest::{Certificate, Client, ClientBuilder, Identity, Method, RequestBuilder};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use crate::engine::{Engine, Shared};
use crate::identity::{CLUSTER, Ca, Pair};

/// How long anything on loopback may take before the test has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// The machines' clocks, in seconds since 1970. They stand still unless somebody sets them.
pub(crate) const NOW: u64 = 1_790_000_000;

pub(crate) struct World {
    pub(crate) ca: Ca,
    pub(crate) port: u16,
    pub(crate) folder: TempDir,
    pub(crate) swarm: Shared,
    pub(crate) managers: Vec<&'static str>,
    pub(crate) workers: Vec<&'static str>,
    pub(crate) join_window_seconds: u64,
    /// Keys that the cards name.
    pub(crate) revoked: BTreeSet<KeyId>,
}

/// One node, running.
pub(crate) struct Pi {
    pub(crate) host: Arc<FakeHost>,
    pub(crate) power: Arc<Power>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) task: JoinHandle<AgentError>,
}

impl World {
    pub(crate) fn new(workers: &[&'static str]) -> Self {
        // The default provider is for the tests' own clients.
        drop(rustls::crypto::ring::default_provider().install_default());
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        Self {
            ca: Ca::new(),
            port,
            folder: tempfile::tempdir().unwrap(),
            swarm: Shared::default(),
            managers: vec!["red00"],
            workers: workers.to_vec(),
            join_window_seconds: 3600,
            revoked: BTreeSet::new(),
        }
    }

    pub(crate) fn card(&self, node: &str) -> Card {
        let planned = |name: &str, role| Planned {
            name: Hostname::try_from(name).unwrap(),
            role,
            address: Some(self.address(name)),
            labels: BTreeMap::from([("rack".to_owned(), name.to_owned())]),
        };
        let mut nodes: Vec<_> = self.managers.iter().map(|name| planned(name, Role::Manager)).collect();
        nodes.extend(self.workers.iter().map(|name| planned(name, Role::Worker)));
        let plain = include_bytes!("../../../cluster/tests/corpus/card/plain.json");
        let mut card = Card {
            node: Hostname::try_from(node).unwrap(),
            role: if self.managers.contains(&node) { Role::Manager } else { Role::Worker },
            nodes,
            revoked: self.revoked.clone(),
            ..Card::from_json(plain).unwrap()
        };
        card.swarm.join_window_seconds = self.join_window_seconds;
        card
    }

    /// Every manager listens on an address of its own.
    fn address(&self, name: &str) -> Ipv4Addr {
        let place = self.managers.iter().position(|manager| *manager == name).unwrap_or_default();
        Ipv4Addr::new(127, 0, 0, u8::try_from(place + 1).unwrap())
    }

    /// Switches a node on. Its engine answers only after [`Engine::start`].
    pub(crate) fn switch_on(&self, name: &str, journal: Option<&str>) -> Pi {
        let role = if self.managers.contains(&name) { "manager" } else { "worker" };
        self.switch_on_as(name, &self.ca.node(role, name), journal)
    }

    pub(crate) fn switch_on_as(&self, name: &str, pair: &Pair, journal: Option<&str>) -> Pi {
        self.switch_on_with(name, pair, journal, Engine::new(self.folder.path(), name, &self.swarm))
    }

    /// Ends the agent and starts it again, with the journal and the engine that are there.
    pub(crate) async fn restart(&self, name: &str, pi: Pi) -> Pi {
        let journal = serde_json::to_string(&pi.journal()).unwrap();
        let role = if self.managers.contains(&name) { "manager" } else { "worker" };
        pi.task.abort();
        assert!(pi.task.await.unwrap_err().is_cancelled());
        self.switch_on_with(name, &self.ca.node(role, name), Some(&journal), pi.engine)
    }

    /// A node whose engine may be there already.
    pub(crate) fn switch_on_with(
        &self,
        name: &str,
        pair: &Pair,
        journal: Option<&str>,
        engine: Arc<Engine>,
    ) -> Pi {
        self.start(self.files(name, pair, journal), engine)
    }

    /// A node with these files and a new engine.
    pub(crate) fn switch_on_files(&self, name: &str, files: Files) -> Pi {
        self.start(files, Engine::new(self.folder.path(), name, &self.swarm))
    }

    fn start(&self, files: Files, engine: Arc<Engine>) -> Pi {
        let power = Arc::<Power>::default();
        let clock = UNIX_EPOCH + Duration::from_secs(NOW);
        let card = match files.get(&PathBuf::from(agent::STATE).join("card.json")) {
            Some(Node::File { bytes, .. }) => serde_json::from_slice::<Card>(bytes).ok(),
            _ => None,
        };
        let address = card.map_or(Ipv4Addr::LOCALHOST, |card| self.address(card.node.as_str()));
        let play = move |program: &Program, files: &mut Files| {
            let output = String::from_utf8(play(program, files)?).unwrap();
            Ok(output.replace("127.0.0.1", &address.to_string()).into_bytes())
        };
        let host = Arc::new(FakeHost::new(Arc::clone(&power), files, clock).with_programs(play));
        self.run(host, power, engine, address)
    }

    /// What tells an agent its surroundings apart from those of the others.
    pub(crate) fn options(&self, engine: &Engine, listen: Ipv4Addr) -> Options {
        let docker_socket = engine.socket.clone();
        Options { state: agent::STATE.into(), docker_socket, listen, port: self.port }
    }

    /// Runs an agent on a machine that is at `address`.
    pub(crate) fn run(
        &self,
        host: Arc<FakeHost>,
        power: Arc<Power>,
        engine: Arc<Engine>,
        address: Ipv4Addr,
    ) -> Pi {
        engine.keep_on(&host);
        let options = self.options(&engine, address);
        let machine: Arc<FakeHost> = Arc::clone(&host);
        let task = tokio::spawn(async move {
            let Err(error) = agent::run(machine, options).await;
            error
        });
        Pi { host, power, engine, task }
    }

    /// Starts an agent as a process of its own, as far as that goes: dropping it ends all that it had begun.
    pub(crate) fn boot(&self, host: &Arc<FakeHost>, engine: &Engine) -> Life {
        engine.keep_on(host);
        let options = self.options(engine, Ipv4Addr::LOCALHOST);
        let machine: Arc<FakeHost> = Arc::clone(host);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    _ = agent::run(machine, options) => (),
                    _ = stopped => (),
                }
            });
            runtime.shutdown_background();
        });
        Life(Some((stop, thread)))
    }

    pub(crate) fn files(&self, name: &str, pair: &Pair, journal: Option<&str>) -> Files {
        let state = PathBuf::from(agent::STATE);
        let file = |text: String| Node::File { bytes: text.into_bytes(), mode: 0o600, owner: None };
        let mut files = Files::from([
            (state.clone(), Node::Folder { mode: 0o700, owner: None }),
            (state.join("card.json"), file(serde_json::to_string(&self.card(name)).unwrap())),
            (state.join("ca.pem"), file(self.ca.pem())),
            (state.join("node.pem"), file(pair.certificate.clone())),
            (state.join("node-key.pem"), file(pair.key.clone())),
            (state.join("seed.json"), file(r#"{"stage":"seed","unix_ms":5,"uptime_ms":6}"#.to_owned())),
            ("/run/systemd/timesync/synchronized".into(), file(String::new())),
        ]);
        if let Some(journal) = journal {
            files.insert(state.join("journal.json"), file(journal.to_owned()));
        }
        files
    }

    /// Switches a node with a new card on, which has the engine of the one before, in no swarm.
    pub(crate) fn switch_on_again(&self, name: &str, before: &Pi) -> Pi {
        std::fs::remove_file(&before.engine.socket).unwrap();
        let pi = self.switch_on(name, None);
        pi.engine.start();
        pi
    }

    /// A client with a certificate, or without.
    pub(crate) fn client(&self, pair: Option<&Pair>) -> ClientBuilder {
        let builder = Client::builder()
            .tls_certs_only([Certificate::from_pem(self.ca.pem().as_bytes()).unwrap()])
            .no_proxy()
            .timeout(Duration::from_secs(10))
            .resolve(&self.server_name("red00"), ([127, 0, 0, 1], self.port).into());
        match pair {
            Some(pair) => {
                let pem = format!("{}{}", pair.key, pair.certificate);
                builder.identity(Identity::from_pem(pem.as_bytes()).unwrap())
            }
            None => builder,
        }
    }

    /// TLS as a node speaks it, for what no HTTP client would send.
    pub(crate) fn tls(&self, pair: &Pair) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.ca.pem().as_bytes()).unwrap()).unwrap();
        let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate], key)
            .unwrap();
        TlsConnector::from(Arc::new(config))
    }

    pub(crate) fn tls_name(&self) -> ServerName<'static> {
        self.server_name("red00").try_into().unwrap()
    }

    fn server_name(&self, manager: &str) -> String {
        format!("{manager}.{CLUSTER}.internal")
    }

    pub(crate) fn request(&self, pair: &Pair, method: Method, path: &str) -> RequestBuilder {
        self.client(Some(pair)).build().unwrap().request(method, self.url(path))
    }

    /// The same at one of several managers.
    pub(crate) fn request_at(
        &self,
        manager: &str,
        pair: &Pair,
        method: Method,
        path: &str,
    ) -> RequestBuilder {
        let name = self.server_name(manager);
        let client = self.client(Some(pair)).resolve(&name, (self.address(manager), self.port).into());
        client.build().unwrap().request(method, format!("https://{name}:{}{path}", self.port))
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{}:{}{path}", self.server_name("red00"), self.port)
    }

    /// The status of an answer.
    pub(crate) async fn status(&self, pair: &Pair, method: Method, path: &str) -> u16 {
        self.request(pair, method, path).send().await.unwrap().status().as_u16()
    }

    pub(crate) async fn board(&self) -> Board {
        self.request(&self.ca.operator(), Method::GET, "/v1/cluster")
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    }

    /// Waits until the manager's housekeeping has gone round once more: it puts a lost label back.
    pub(crate) async fn housekeeping_round(&self) {
        self.swarm.lock().unwrap().nodes[0]["Spec"]["Labels"] = serde_json::Value::Null;
        eventually(async || !self.swarm.lock().unwrap().nodes[0]["Spec"]["Labels"].is_null()).await;
    }

    /// The join tokens as the managers' engines have them.
    pub(crate) fn tokens(&self) -> (String, String) {
        self.swarm.lock().unwrap().tokens()
    }

    /// Waits until the API answers.
    pub(crate) async fn wait_for_api(&self) {
        let operator = self.ca.operator();
        eventually(async || self.request(&operator, Method::GET, "/v1/cluster").send().await.is_ok()).await;
    }

    pub(crate) async fn wait_until_formed(&self) {
        self.wait_for_api().await;
        eventually(async || self.board().await.formed).await;
    }
}

impl Pi {
    /// Takes its power away, and waits until nothing of it runs any more.
    pub(crate) async fn pull_plug(&mut self) {
        self.task.abort();
        assert!((&mut self.task).await.is_err_and(|ended| ended.is_cancelled()));
    }

    pub(crate) fn journal(&self) -> Journal {
        journal(&self.host.files())
    }
}

/// The journal on a disk.
pub(crate) fn journal(files: &Files) -> Journal {
    match files.get(&PathBuf::from(agent::STATE).join("journal.json")) {
        Some(Node::File { bytes, .. }) => serde_json::from_slice(bytes).unwrap(),
        _ => Journal::default(),
    }
}

/// Whether a node of this name has left as told.
pub(crate) fn has_left(journal: &Journal, name: &str) -> bool {
    journal.has_left(&Hostname::try_from(name).unwrap())
}

/// A running agent.
pub(crate) struct Life(Option<(tokio::sync::oneshot::Sender<()>, std::thread::JoinHandle<()>)>);

impl Drop for Life {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.0.take() {
            drop(stop);
            thread.join().unwrap();
        }
    }
}

/// Asks until the answer is yes.
pub(crate) async fn eventually(mut question: impl AsyncFnMut() -> bool) {
    let asked = tokio::time::timeout(PATIENCE, async {
        while !question().await {
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    });
    asked.await.expect("it never came true");
}

/// Long enough for any patience with Docker, for all that waits in this process.
pub(crate) async fn minutes_pass() {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(4 * 60)).await;
    tokio::time::resume();
}

/// The programs of a machine whose only network is loopback.
pub(crate) fn play(program: &Program, _: &mut Files) -> Result<Vec<u8>, String> {
    match program.line().as_str() {
        "ip -j -4 address show up" => Ok(
            br#"[{"ifname":"eth0","addr_info":[{"family":"inet","local":"127.0.0.1","prefixlen":8,"scope":"global"}]}]"#
                .to_vec(),
        ),
        "ip -j -4 route show default" => Ok(br#"[{"dst":"default","dev":"eth0","metric":100}]"#.to_vec()),
        other => Err(format!("{other}: not on this machine")),
    }
}

/// Where the agents' log goes to.
#[derive(Clone, Default)]
pub(crate) struct Sink(Arc<Mutex<Vec<u8>>>);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink {
    /// For all agents of this thread, for as long as the guard is there.
    pub(crate) fn of_this_thread() -> (Self, tracing::subscriber::DefaultGuard) {
        // As long as there is one subscriber only, tracing asks that of the thread which comes to a line first whether the line
        // is wanted, for all threads. Other tests' threads have none.
        static SECOND: OnceLock<tracing::Dispatch> = OnceLock::new();
        SECOND.get_or_init(|| tracing::Dispatch::new(tracing_subscriber::fmt().finish()));
        let sink = Self::default();
        let writer = sink.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(move || writer.clone())
            .finish();
        (sink, tracing::subscriber::set_default(subscriber))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// How many lines contain `words`.
    pub(crate) fn count(&self, words: &str) -> usize {
        self.text().lines().filter(|line| line.contains(words)).count()
    }
}
