//! The manager's API under load: many nodes that report and join at once, and the same while a crowd stands at the door.
//!
//! The server is a process of its own, so that its memory can be told: the agent as it runs on a manager, on one thread,
//! with a machine in memory and an engine that answers as Docker does. Nodes have an address each (127.0.0.0/8), as on
//! a real network. Run by `cargo xtask bench api`.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a measurement ends where something is wrong, and its result goes to standard output"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;
use firstboot::journal::Progress;
use reqwest::{Certificate, Client, Identity};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

#[path = "../../tests/agent/engine.rs"]
#[expect(dead_code, reason = "shared with the tests")]
mod engine;
#[path = "../../tests/agent/identity.rs"]
#[expect(dead_code, reason = "shared with the tests")]
mod identity;
#[path = "../../tests/agent/world.rs"]
#[expect(dead_code, reason = "shared with the tests")]
mod world;

use world::World;

#[derive(Debug, Parser)]
struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Nodes beside the manager
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u16).range(1..=800))]
    nodes: u16,
    /// How long they report
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=300))]
    seconds: u64,
    /// Connections of the crowd
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u16).range(1..=5000))]
    crowd: u16,
    /// Be the server, and leave the nodes' identities in this folder
    #[arg(long, hide = true)]
    serve: Option<PathBuf>,
    /// What cargo passes
    #[arg(long, hide = true)]
    bench: bool,
}

/// What the nodes met.
#[derive(Debug, Default)]
struct Met {
    times: Vec<Duration>,
    /// What went wrong, and how often.
    errors: BTreeMap<String, usize>,
}

impl Met {
    fn add(&mut self, other: Self) {
        self.times.extend(other.times);
        for (error, count) in other.errors {
            *self.errors.entry(error).or_default() += count;
        }
    }

    fn errors(&self) -> usize {
        self.errors.values().sum()
    }

    /// Milliseconds that this part of the requests took at most.
    fn percentile(&mut self, part: f64) -> f64 {
        self.times.sort();
        let last = self.times.len().saturating_sub(1) as f64;
        let index = format!("{:.0}", last * part).parse::<usize>().unwrap();
        self.times.get(index).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
    }
}

fn main() {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    match &args.serve {
        Some(folder) => runtime.block_on(serve(folder, args.nodes)),
        None => {
            let report = runtime.block_on(measure(&args));
            println!("{}", if args.json { report.to_string() } else { table(&report) });
        }
    }
}

fn name(number: u16) -> String {
    format!("red{number:03}")
}

/// The manager. Ends with its standard input.
async fn serve(folder: &Path, nodes: u16) {
    // What the unit allows.
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(4096), maximum }).unwrap();
    let names: Vec<_> = (1..=nodes).map(|number| &*name(number).leak()).collect();
    let world = World::new(&names);
    fs::write(folder.join("ca.pem"), world.ca.pem()).unwrap();
    for name in &names {
        let pair = world.ca.node("worker", name);
        fs::write(folder.join(name), format!("{}{}", pair.key, pair.certificate)).unwrap();
    }
    let manager = world.switch_on("red00", None);
    manager.engine.start();
    world.wait_for_api().await;
    // Else nobody could join.
    world::eventually(async || manager.journal().init == Progress::Completed).await;
    println!("{}", world.port);
    tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0])).await.unwrap().unwrap();
}

struct Server {
    child: Child,
    folder: tempfile::TempDir,
    port: u16,
}

impl Server {
    fn start(nodes: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("--serve").arg(folder.path()).args(["--nodes", &nodes.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().parse().expect("the server did not start");
        Self { child, folder, port }
    }

    /// The most memory it held, MiB.
    fn peak_mib(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
    }

    fn node(&self, number: u16) -> Node {
        let [high, low] = number.to_be_bytes();
        let own = Ipv4Addr::new(127, 1, high, low);
        let host = format!("red00.{}.internal", identity::CLUSTER);
        let http = Client::builder()
            .tls_certs_only([Certificate::from_pem(&self.read("ca.pem")).unwrap()])
            .identity(Identity::from_pem(&self.read(&name(number))).unwrap())
            .no_proxy()
            .timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(1)
            .local_address(IpAddr::from(own))
            .resolve(&host, ([127, 0, 0, 1], self.port).into())
            .build()
            .unwrap();
        let url = format!("https://{host}:{}/v1", self.port);
        Node { http, report: format!("{url}/nodes/{}", name(number)), join: format!("{url}/join") }
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.folder.path().join(name)).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its standard input ends, and so does it.
        drop(self.child.stdin.take());
        self.child.wait().map(drop).unwrap_or_default();
    }
}

#[derive(Debug, Clone)]
struct Node {
    http: Client,
    report: String,
    join: String,
}

impl Node {
    /// Reports and asks for its token at once, then reports about once a second.
    async fn live(self, until: Instant) -> Met {
        let mut met = Met::default();
        let (report, join) = (self.clone(), self.clone());
        let (report, join) = tokio::join!(report.timed(true), join.timed(false));
        [report, join].into_iter().for_each(|once| met.add(once));
        while Instant::now() < until {
            tokio::time::sleep(Duration::from_secs(1).mul_f64(rand::random_range(0.8..1.2))).await;
            met.add(self.clone().timed(true).await);
        }
        met
    }

    async fn timed(self, is_report: bool) -> Met {
        let body = json!({"stage": "docker", "word": "installing docker-ce", "error": null, "address": "127.0.0.1",
            "swarm_node": null, "facts": {"model": "Raspberry Pi 4 Model B Rev 1.4", "memory_bytes": 4_000_000_000_u64}});
        let request =
            if is_report { self.http.put(&self.report).json(&body) } else { self.http.post(&self.join) };
        let start = Instant::now();
        let error = match request.send().await {
            Ok(answer) if answer.status() == 200 => {
                answer.bytes().await.err().map(|error| format!("{error:?}"))
            }
            Ok(answer) => Some(answer.status().to_string()),
            Err(error) if error.is_connect() => Some("no connection".to_owned()),
            Err(error) => Some(format!("{:?}", error.without_url())),
        };
        Met { times: vec![start.elapsed()], errors: error.into_iter().map(|error| (error, 1)).collect() }
    }
}

async fn all_live(nodes: &[Node], seconds: u64) -> Met {
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut living: JoinSet<Met> = nodes.iter().cloned().map(|node| node.live(until)).collect();
    let mut met = Met::default();
    while let Some(one) = living.join_next().await {
        met.add(one.unwrap());
    }
    met
}

/// Connects again and again from one address and says nothing. Gives those connections that were made.
async fn crowd(port: u16, count: u16) -> Vec<TcpStream> {
    let mut there = Vec::new();
    for _ in 0..count {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 66, 0, 1], 0))).unwrap();
        if let Ok(stream) = socket.connect(SocketAddr::from(([127, 0, 0, 1], port))).await {
            there.push(stream);
        }
    }
    there
}

async fn measure(args: &Args) -> Value {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(16_384).min(16_384);
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum }).unwrap();
    drop(rustls::crypto::ring::default_provider().install_default());
    let server = Server::start(args.nodes);
    let nodes: Vec<_> = (1..=args.nodes).map(|number| server.node(number)).collect();
    let mut calm = all_live(&nodes, args.seconds).await;

    // The same nodes with new connections, while the crowd comes.
    let nodes: Vec<_> = (1..=args.nodes).map(|number| server.node(number)).collect();
    let (mut hostile, mut there) =
        tokio::join!(all_live(&nodes, args.seconds), crowd(server.port, args.crowd));
    let mut refused = 0;
    for stream in &mut there {
        match tokio::time::timeout(Duration::from_millis(1), stream.read(&mut [0])).await {
            Ok(Ok(1..)) => panic!("somebody who said nothing was answered"),
            Ok(Ok(0) | Err(_)) => refused += 1,
            Err(_) => {}
        }
    }
    for (error, count) in calm.errors.iter().chain(&hostile.errors) {
        eprintln!("{count} times: {error}");
    }
    json!({
        "nodes": args.nodes,
        "requests": calm.times.len(),
        "errors": calm.errors(),
        "p50_ms": round(calm.percentile(0.5)),
        "p99_ms": round(calm.percentile(0.99)),
        "rss_mib": round(server.peak_mib()),
        "hostile_connections": there.len(),
        "hostile_refused": refused,
        "hostile_requests": hostile.times.len(),
        "hostile_errors": hostile.errors(),
        "hostile_p50_ms": round(hostile.percentile(0.5)),
        "hostile_p99_ms": round(hostile.percentile(0.99)),
    })
}

fn round(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

fn table(report: &Value) -> String {
    let rows = report.as_object().unwrap().iter();
    rows.map(|(name, value)| format!("{name:<20}{value:>10}")).collect::<Vec<_>>().join("\n")
}
