//! The manager's API on a hostile network: nothing is given away, and planned nodes are served meanwhile.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cluster::wire::{BODY_LIMIT, Report};
use proptest::prelude::any;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use reqwest::Method;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use crate::identity::Pair;
use crate::world::{PATIENCE, Pi, World, eventually};

/// Where the attacks come from. A planned node has an address of its own.
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);
/// More than any of the limits on connections.
const CROWD: usize = 2000;
/// Connections that one address may have in the handshake, and one key after it.
const SHARE: usize = 8;

fn report(word: &str) -> Report {
    let json =
        json!({"stage": "docker", "word": word, "error": null, "address": "127.0.0.1", "swarm_node": null});
    serde_json::from_value(json).unwrap()
}

/// A manager with a swarm, and the planned node that has to be served whatever happens.
struct Scene {
    world: World,
    planned: Pair,
    _manager: Pi,
}

impl Scene {
    async fn new() -> Self {
        let world = World::new(&["red01", "red02"]);
        let manager = world.switch_on("red00", None);
        manager.engine.start();
        world.wait_for_api().await;
        let planned = world.ca.node("worker", "red02");
        eventually(async || world.status(&planned, Method::POST, "/v1/join").await == 200).await;
        Self { world, planned, _manager: manager }
    }

    /// A new connection of the planned node: a report is taken and a token given.
    async fn serves_the_planned_node(&self) {
        let client = self.world.client(Some(&self.planned)).build().unwrap();
        let put = client.put(self.world.url("/v1/nodes/red02")).json(&report("planned"));
        assert_eq!(put.send().await.unwrap().status(), 200);
        let join = client.post(self.world.url("/v1/join")).send().await.unwrap();
        assert_eq!(join.status(), 200);
    }

    async fn connect(&self) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((ATTACKER, 0)))?;
        socket.connect(SocketAddr::from(([127, 0, 0, 1], self.world.port))).await
    }

    /// A connection with a certificate, after the handshake.
    async fn speak(&self, pair: &Pair, tcp: TcpStream) -> TlsStream<TcpStream> {
        self.world.tls(pair).connect(self.world.tls_name(), tcp).await.unwrap()
    }

    async fn word(&self, node: usize) -> Option<String> {
        let board = self.world.board().await;
        board.nodes[node].report.as_ref().map(|report| report.word.clone())
    }
}

/// What comes back until the other side closes, at most a little. A reset is an end, too.
async fn rest(stream: &mut (impl AsyncReadExt + Unpin)) -> Vec<u8> {
    let mut all = Vec::new();
    let mut part = [0; 4096];
    while all.len() < 64 * 1024 {
        match timeout(PATIENCE, stream.read(&mut part)).await.expect("it should be closed") {
            Ok(0) | Err(_) => break,
            Ok(count) => all.extend_from_slice(&part[..count]),
        }
    }
    all
}

/// How many of these are still open; whoever was told something fails the test.
async fn open(streams: &mut [impl AsyncReadExt + Unpin]) -> usize {
    let mut open = 0;
    for stream in streams {
        match timeout(Duration::from_millis(5), stream.read(&mut [0; 16])).await {
            Err(_) => open += 1,
            Ok(Ok(0) | Err(_)) => {}
            Ok(Ok(count)) => panic!("{count} bytes for somebody who said nothing"),
        }
    }
    open
}

#[tokio::test]
async fn two_thousand_silent_connections_keep_no_planned_node_out() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(8192).min(8192);
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum }).unwrap();
    let scene = Scene::new().await;
    let mut crowd = Vec::new();
    for number in 0..CROWD {
        // The kernel may refuse, too; most get in.
        if let Ok(stream) = scene.connect().await {
            crowd.push(stream);
        }
        if number % (CROWD / 4) == 0 {
            scene.serves_the_planned_node().await;
        }
    }
    assert!(crowd.len() > CROWD / 2, "{} connections only", crowd.len());
    scene.serves_the_planned_node().await;
    eventually(async || open(&mut crowd).await <= SHARE).await;
    scene.serves_the_planned_node().await;
}

#[tokio::test]
async fn garbage_on_the_port_gets_an_alert_at_most() {
    let scene = Scene::new().await;
    let mut bytes = TestRunner::deterministic();
    let mut garbage: Vec<Vec<u8>> = [
        b"GET /v1/cluster HTTP/1.1\r\nhost: red00\r\n\r\n".as_slice(),
        b"POST /v1/join HTTP/1.1\r\n\r\n",
        b"SSH-2.0-OpenSSH_10.0\r\n",
        // A handshake record of the greatest length there is, a client hello that ends too soon, SSL 2.
        b"\x16\x03\x01\xff\xff\x01",
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03",
        b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10",
        b"",
    ]
    .map(<[u8]>::to_vec)
    .into();
    let random = proptest::collection::vec(any::<u8>(), 1..2000);
    garbage.extend((0..50).map(|_| random.new_tree(&mut bytes).unwrap().current()));
    for sent in garbage {
        let mut stream = scene.connect().await.unwrap();
        // It may have been closed before all was written.
        stream.write_all(&sent).await.unwrap_or_default();
        stream.shutdown().await.unwrap_or_default();
        let answer = rest(&mut stream).await;
        let is_alert = answer.first() == Some(&21) && answer.len() <= 7;
        assert!(answer.is_empty() || is_alert, "{sent:?} was answered {answer:?}");
    }
    scene.serves_the_planned_node().await;
}

#[tokio::test]
async fn a_body_of_ten_megabytes_is_turned_down_and_not_kept() {
    let scene = Scene::new().await;
    let card = scene.world.ca.node("worker", "red01");
    let head = "PUT /v1/nodes/red01 HTTP/1.1\r\nhost: red00\r\ncontent-type: application/json\r\n";
    let chunk = vec![b'x'; BODY_LIMIT];
    for framing in ["content-length: 10485760\r\n\r\n", "transfer-encoding: chunked\r\n\r\n"] {
        let mut stream = scene.speak(&card, scene.connect().await.unwrap()).await;
        stream.write_all(format!("{head}{framing}").as_bytes()).await.unwrap();
        for _ in 0..160 {
            let mut part = chunk.clone();
            if framing.starts_with("transfer") {
                part = [format!("{BODY_LIMIT:x}\r\n").as_bytes(), &chunk, b"\r\n"].concat();
            }
            // The server says no long before the end, and closes.
            if stream.write_all(&part).await.is_err() || stream.flush().await.is_err() {
                break;
            }
        }
        let answer = String::from_utf8_lossy(&rest(&mut stream).await).into_owned();
        // Where the reset was faster than the answer, there is none.
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413 "), "{framing}: {answer}");
        scene.serves_the_planned_node().await;
    }
    assert_eq!(scene.word(1).await, None, "nothing of it was kept");
}

#[tokio::test]
async fn one_card_that_dawdles_on_many_connections_holds_its_share_only() {
    let scene = Scene::new().await;
    let card = scene.world.ca.node("worker", "red01");
    let mut slow = Vec::new();
    for _ in 0..5 * SHARE {
        let mut stream = scene.speak(&card, scene.connect().await.unwrap()).await;
        // A head that never ends.
        stream.write_all(b"PUT /v1/nodes/red01 HTTP/1.1\r\nhost:").await.unwrap_or_default();
        stream.flush().await.unwrap_or_default();
        slow.push(stream);
    }
    scene.serves_the_planned_node().await;
    eventually(async || open(&mut slow).await <= SHARE).await;
    for stream in &mut slow {
        stream.write_all(b" r").await.unwrap_or_default();
    }
    scene.serves_the_planned_node().await;
}

/// Passes on one connection, and keeps what the client sent.
async fn wiretap(to: u16) -> (u16, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Arc::<Mutex<Vec<u8>>>::default();
    let kept = Arc::clone(&heard);
    tokio::spawn(async move {
        let (client, _) = listener.accept().await.unwrap();
        let server = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await.unwrap();
        let ((mut from, mut back), (mut answers, mut there)) = (client.into_split(), server.into_split());
        tokio::spawn(async move { tokio::io::copy(&mut answers, &mut back).await });
        let mut part = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut part).await {
            kept.lock().unwrap().extend_from_slice(&part[..count]);
            there.write_all(&part[..count]).await.unwrap();
        }
    });
    (port, heard)
}

#[tokio::test]
async fn a_recorded_conversation_changes_nothing_when_it_is_played_again() {
    let scene = Scene::new().await;
    let card = scene.world.ca.node("worker", "red01");
    let (port, heard) = wiretap(scene.world.port).await;
    let tcp = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    let mut stream = scene.speak(&card, tcp).await;
    let body = serde_json::to_string(&report("yesterday")).unwrap();
    let head = "PUT /v1/nodes/red01 HTTP/1.1\r\nhost: red00\r\nconnection: close\r\ncontent-type: application/json\r\n";
    let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await.unwrap();
    assert!(rest(&mut stream).await.starts_with(b"HTTP/1.1 200 "));
    assert_eq!(scene.word(1).await.as_deref(), Some("yesterday"));
    let today = scene.world.request(&card, Method::PUT, "/v1/nodes/red01").json(&report("today"));
    assert_eq!(today.send().await.unwrap().status(), 200);

    let recorded = heard.lock().unwrap().clone();
    assert!(recorded.len() > body.len());
    for _ in 0..3 {
        let mut stream = scene.connect().await.unwrap();
        stream.write_all(&recorded).await.unwrap_or_default();
        let answer = rest(&mut stream).await;
        // The server's half of a handshake is the same for everybody; after it comes an alert and the end.
        assert!(answer.len() < 4096, "{} bytes", answer.len());
        assert_eq!(scene.word(1).await.as_deref(), Some("today"));
    }
    scene.serves_the_planned_node().await;
}

#[tokio::test]
async fn strangers_get_nothing_while_a_planned_node_is_served() {
    let scene = Scene::new().await;
    let forger = crate::identity::Ca::new();
    let other = scene.world.ca.issue("builder://fedcba9876543210/worker/red01", "red01.internal");
    let two_names = scene
        .world
        .ca
        .issue_all(&["builder://0123456789abcdef/worker/red01", "builder://0123456789abcdef/operator"]);
    for pair in [None, Some(forger.operator()), Some(forger.node("worker", "red01")), Some(two_names)] {
        let client = scene.world.client(pair.as_ref()).build().unwrap();
        for path in ["/v1/cluster", "/v1/join"] {
            assert!(client.post(scene.world.url(path)).send().await.is_err(), "{path}");
        }
        scene.serves_the_planned_node().await;
    }
    for path in
        ["/v1/join", "/v1/leave", "/v1/window", "/v1/tokens/rotate", "/v1/nodes/red02/revoke", "/v1/nothing"]
    {
        let answer = scene.world.request(&other, Method::POST, path).send().await.unwrap();
        assert_eq!(answer.status(), 403, "{path}");
        assert!(!answer.text().await.unwrap().contains("SWMTKN"));
    }
    scene.serves_the_planned_node().await;
}
