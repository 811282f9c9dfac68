//! Damaged requests of a planned node to the real server, over real TLS.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::identity::Pair;
use crate::mutate::each_damaged;
use crate::world::{PATIENCE, World};

/// A handshake each.
const CASES: u32 = 400;
/// A key's share of requests is used up after these.
const PER_KEY: usize = 30;

/// Sends one request and gives what comes back.
async fn ask(world: &World, pair: &Pair, request: &[u8]) -> Vec<u8> {
    let tcp = TcpStream::connect(("127.0.0.1", world.port)).await.unwrap();
    let mut stream = world.tls(pair).connect(world.tls_name(), tcp).await.unwrap();
    let mut answer = Vec::new();
    let talk = async {
        stream.write_all(request).await.unwrap_or_default();
        // Where the request seems to go on, this is its end.
        stream.shutdown().await.unwrap_or_default();
        stream.read_to_end(&mut answer).await.unwrap_or_default();
    };
    timeout(PATIENCE, talk).await.expect("the server neither answers nor closes");
    answer
}

#[test]
fn no_damaged_request_gives_a_token_breaks_the_server_or_is_left_hanging() {
    let panics = Arc::new(AtomicUsize::new(0));
    let (count, before) = (Arc::clone(&panics), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        // In a task they would end a connection, and nobody would know.
        let ours = |file: &str| file.contains("firstboot/src") || file.contains("/registry/");
        count.fetch_add(
            usize::from(panic.location().is_some_and(|place| ours(place.file()))),
            Ordering::Relaxed,
        );
        before(panic);
    }));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let world = World::new(&["red01", "red02"]);
    let _manager = runtime.block_on(async {
        let manager = world.switch_on("red00", None);
        manager.engine.start();
        world.wait_for_api().await;
        // The damage is done by a worker that has its place already, so nothing entitles it to a token.
        let member = serde_json::json!({"ID": "w", "Description": {"Hostname": "red01"}, "Status": {"State": "ready"}});
        world.swarm.lock().unwrap().nodes.push(member);
        manager
    });
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let asked = AtomicUsize::new(0);
    let pair = std::cell::RefCell::new(world.ca.node("worker", "red01"));
    each_damaged(&corpus, CASES, |request| {
        if asked.fetch_add(1, Ordering::Relaxed) % PER_KEY == PER_KEY - 1 {
            pair.replace(world.ca.node("worker", "red01"));
        }
        let answer = runtime.block_on(ask(&world, &pair.borrow(), request));
        let text = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || text.starts_with("HTTP/1."), "{text}");
        assert!(
            !text.contains("SWMTKN") && !text.contains(r#""nodes":"#) && !text.contains(" 500 "),
            "{text}"
        );
    });
    let planned = world.ca.node("worker", "red02");
    assert_eq!(runtime.block_on(world.status(&planned, Method::POST, "/v1/join")), 200);
    assert_eq!(panics.load(Ordering::Relaxed), 0);
    assert_eq!(world.tokens().0, crate::engine::WORKER_TOKEN, "no damaged request changed the tokens");
}
