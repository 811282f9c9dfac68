//! A cluster on loopback: manager red00 and workers, each with a machine in memory and an engine.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use cluster::card::{Card, CardDocker, CardSwarm, CardUser, DockerSource, Planned, Start, VERSION};
use cluster::identity::Role;
use cluster::name::{ClusterId, ClusterName, Hostname, UserName};
use cluster::wire::Board;
use firstboot::agent::{self, AgentError, Options};
use firstboot::host::fake::{FakeHost, Files, Node, Power};
use firstboot::journal::Journal;
use reqwest::{Certificate, Client, ClientBuilder, Identity, Method, RequestBuilder};
use tempfile::TempDir;
use tokio::task::JoinHandle;

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
    pub(crate) workers: Vec<&'static str>,
    pub(crate) join_window_seconds: u64,
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
            workers: workers.to_vec(),
            join_window_seconds: 3600,
        }
    }

    pub(crate) fn card(&self, node: &str) -> Card {
        let planned = |name: &str, role| Planned {
            name: Hostname::try_from(name).unwrap(),
            role,
            address: Some(Ipv4Addr::LOCALHOST),
            labels: BTreeMap::from([("rack".to_owned(), name.to_owned())]),
        };
        let mut nodes = vec![planned("red00", Role::Manager)];
        nodes.extend(self.workers.iter().map(|name| planned(name, Role::Worker)));
        Card {
            version: VERSION,
            cluster: ClusterName::try_from("red").unwrap(),
            cluster_id: ClusterId::try_from(CLUSTER).unwrap(),
            node: Hostname::try_from(node).unwrap(),
            role: if node == "red00" { Role::Manager } else { Role::Worker },
            not_before: 1_780_000_000,
            nodes,
            user: CardUser { name: UserName::try_from("pi").unwrap(), authorized_keys: Vec::new() },
            address: None,
            wifi: None,
            timezone: None,
            locale: None,
            keymap: None,
            docker: CardDocker { source: DockerSource::Debian, version: None, url: None, key: None },
            swarm: CardSwarm {
                interface: None,
                address_pool: None,
                cert_expiry_seconds: 7_776_000,
                join_window_seconds: self.join_window_seconds,
                managers_run_tasks: false,
            },
            start: Start::Hook,
        }
    }

    /// Switches a node on. Its engine answers only after [`Engine::start`].
    pub(crate) fn switch_on(&self, name: &str, journal: Option<&str>) -> Pi {
        let role = if name == "red00" { "manager" } else { "worker" };
        self.switch_on_as(name, &self.ca.node(role, name), journal)
    }

    pub(crate) fn switch_on_as(&self, name: &str, pair: &Pair, journal: Option<&str>) -> Pi {
        let engine = Engine::new(self.folder.path(), name, &self.swarm);
        let power = Arc::<Power>::default();
        let clock = UNIX_EPOCH + Duration::from_secs(NOW);
        let files = self.files(name, pair, journal);
        let host = Arc::new(FakeHost::new(Arc::clone(&power), files, clock).with_programs(play));
        let options =
            Options { state: agent::STATE.into(), docker_socket: engine.socket.clone(), port: self.port };
        let machine: Arc<FakeHost> = Arc::clone(&host);
        let task = tokio::spawn(async move {
            let Err(error) = agent::run(machine, options).await;
            error
        });
        Pi { host, power, engine, task }
    }

    /// Starts an agent as a process of its own, as far as that goes: dropping it ends all that it had begun.
    pub(crate) fn boot(&self, host: &Arc<FakeHost>, engine: &Engine) -> Life {
        let options =
            Options { state: agent::STATE.into(), docker_socket: engine.socket.clone(), port: self.port };
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

    /// A client with a certificate, or without.
    pub(crate) fn client(&self, pair: Option<&Pair>) -> ClientBuilder {
        let builder = Client::builder()
            .tls_certs_only([Certificate::from_pem(self.ca.pem().as_bytes()).unwrap()])
            .no_proxy()
            .timeout(Duration::from_secs(10))
            .resolve(&self.server_name(), ([127, 0, 0, 1], self.port).into());
        match pair {
            Some(pair) => {
                let pem = format!("{}{}", pair.key, pair.certificate);
                builder.identity(Identity::from_pem(pem.as_bytes()).unwrap())
            }
            None => builder,
        }
    }

    fn server_name(&self) -> String {
        format!("red00.{CLUSTER}.internal")
    }

    pub(crate) fn request(&self, pair: &Pair, method: Method, path: &str) -> RequestBuilder {
        self.client(Some(pair)).build().unwrap().request(method, self.url(path))
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{}:{}{path}", self.server_name(), self.port)
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

/// The programs of a machine whose only network is loopback.
pub(crate) fn play(program: &firstboot::host::Program, _: &mut Files) -> Result<Vec<u8>, String> {
    match program.line().as_str() {
        "ip -j -4 address show up" => Ok(
            br#"[{"ifname":"eth0","addr_info":[{"family":"inet","local":"127.0.0.1","prefixlen":8,"scope":"global"}]}]"#
                .to_vec(),
        ),
        "ip -j -4 route show default" => Ok(br#"[{"dst":"default","dev":"eth0","metric":100}]"#.to_vec()),
        other => Err(format!("{other}: not on this machine")),
    }
}
