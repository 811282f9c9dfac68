//! Whoever answers to the manager's name (a false `.local` name, a false name from DHCP, a false address) learns nothing,
//! and costs an attempt at most. Every source of addresses leads into the same search, so two of them stand for all.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::UNIX_EPOCH;

use cluster::wire::{Cause, ProblemCode, Report, ReportReply, Want};
use firstboot::agent::{STATE, link::Link};
use firstboot::host::Host;
use firstboot::host::fake::{FakeHost, Power};
use firstboot::journal::JournalFile;
use firstboot::tls::Credentials;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::identity::{Ca, Pair};
use crate::world::World;

pub(crate) const IMPOSTOR: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);

/// How often somebody came, and how much was confided.
#[derive(Debug, Default)]
pub(crate) struct Ear {
    pub(crate) visits: AtomicUsize,
    pub(crate) bytes: AtomicUsize,
}

/// A server that answers everything as a manager would, with this certificate; without one in plain HTTP.
pub(crate) async fn answer_at(address: SocketAddr, pair: Option<Pair>) -> Arc<Ear> {
    let listener = TcpListener::bind(address).await.unwrap();
    let ear = Arc::new(Ear::default());
    let acceptor = pair.map(|pair| {
        let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key);
        TlsAcceptor::from(Arc::new(config.unwrap()))
    });
    let kept = Arc::clone(&ear);
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            kept.visits.fetch_add(1, Ordering::Relaxed);
            match &acceptor {
                Some(acceptor) => {
                    if let Ok(mut stream) = acceptor.accept(tcp).await {
                        talk(&mut stream, &kept).await;
                    }
                }
                None => {
                    // A client hello is no confidence.
                    let mut tcp = tcp;
                    tcp.write_all(&reply()).await.unwrap_or_default();
                }
            }
        }
    });
    ear
}

async fn talk(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin), ear: &Ear) {
    let mut part = [0; 4096];
    if let Ok(count @ 1..) = stream.read(&mut part).await {
        ear.bytes.fetch_add(count, Ordering::Relaxed);
        stream.write_all(&reply()).await.unwrap_or_default();
        stream.shutdown().await.unwrap_or_default();
    }
}

fn reply() -> Vec<u8> {
    let reply = ReportReply {
        unix_ms: 1,
        clock_synced: true,
        want: Want::Run,
        swarm: None,
        reads_list: false,
        nonce: None,
        orders: Default::default(),
    };
    let body = serde_json::to_string(&reply).unwrap();
    format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into()
}

#[tokio::test]
async fn who_answers_wrongly_is_named_by_a_code() {
    let world = World::new(&["red01"]);
    for (server, code) in [
        (Some(Ca::new().node("manager", "red00")), ProblemCode::ManagerUntrusted),
        (Some(world.ca.node("worker", "red02")), ProblemCode::ManagerUntrusted),
        (Some(world.ca.expired("manager", "red00")), ProblemCode::ClockWrong),
        // Not TLS at all.
        (None, ProblemCode::ManagerSilent),
    ] {
        let port = std::net::TcpListener::bind((IMPOSTOR, 0)).unwrap().local_addr().unwrap().port();
        answer_at((IMPOSTOR, port).into(), server).await;
        let mut card = world.card("red01");
        card.nodes[0].address = Some(IMPOSTOR);
        let files = world.files("red01", &world.ca.node("worker", "red01"), None);
        let host: Arc<dyn Host> = Arc::new(FakeHost::new(Arc::<Power>::default(), files, UNIX_EPOCH));
        let tls = Credentials::load(host.as_ref(), Path::new(STATE)).unwrap().client().unwrap();
        let link = Link::new(Arc::new(card), host, None, tls, port);
        let report = include_bytes!("../../../cluster/tests/corpus/wire/report-small.json");
        let report: Report = serde_json::from_slice(report).unwrap();
        let error = link.report(&report).await.unwrap_err();
        assert_eq!(error.cause().as_ref().map(Cause::code), Some(code), "{error:?}");
    }
}

#[tokio::test]
async fn a_replaced_managers_former_machine_is_refused() {
    let world = World::new(&["red01"]);
    let former = world.ca.node("manager", "red00");
    let port = std::net::TcpListener::bind((IMPOSTOR, 0)).unwrap().local_addr().unwrap().port();
    let ear = answer_at((IMPOSTOR, port).into(), Some(former.clone())).await;
    let mut card = world.card("red01");
    card.nodes[0].address = Some(IMPOSTOR);
    let card = Arc::new(card);
    let files = world.files("red01", &world.ca.node("worker", "red01"), None);
    let host: Arc<dyn Host> = Arc::new(FakeHost::new(Arc::<Power>::default(), files, UNIX_EPOCH));
    let report = include_bytes!("../../../cluster/tests/corpus/wire/report-small.json");
    let report: Report = serde_json::from_slice(report).unwrap();
    for (revoked, is_refused) in [(BTreeSet::new(), false), ([former.key_id()].into(), true)] {
        let credentials = Credentials::load(host.as_ref(), Path::new(STATE)).unwrap().refusing(revoked);
        let link = Link::new(Arc::clone(&card), Arc::clone(&host), None, credentials.client().unwrap(), port);
        let before = ear.bytes.load(Ordering::Relaxed);
        let answer = link.report(&report).await;
        assert_eq!(answer.is_err(), is_refused, "{answer:?}");
        assert_eq!(ear.bytes.load(Ordering::Relaxed) == before, is_refused, "what it heard");
        if let Err(error) = answer {
            assert_eq!(error.cause().as_ref().map(Cause::code), Some(ProblemCode::ManagerUntrusted));
        }
    }
}

#[tokio::test]
async fn a_false_name_costs_an_attempt_and_gives_nothing_away() {
    let world = World::new(&["red01"]);
    let same_cluster = world.ca.node("worker", "red02");
    let forger = Ca::new();
    let impostors = [Some(forger.node("manager", "red00")), Some(same_cluster), None];
    for impostor in impostors {
        let what = impostor.as_ref().map(|pair| pair.certificate.clone());
        let port = std::net::TcpListener::bind((IMPOSTOR, 0)).unwrap().local_addr().unwrap().port();
        let false_ear = answer_at((IMPOSTOR, port).into(), impostor).await;
        let real_ear =
            answer_at((Ipv4Addr::LOCALHOST, port).into(), Some(world.ca.node("manager", "red00"))).await;

        // The first source names the impostor, the second the manager.
        let mut card = world.card("red01");
        card.nodes[0].address = Some(IMPOSTOR);
        let files = world.files(
            "red01",
            &world.ca.node("worker", "red01"),
            Some(r#"{"version":1,"managers":{"red00":"127.0.0.1"}}"#),
        );
        let host: Arc<dyn Host> = Arc::new(FakeHost::new(Arc::<Power>::default(), files, UNIX_EPOCH));
        let tls = Credentials::load(host.as_ref(), Path::new(STATE)).unwrap().client().unwrap();
        let journal = Arc::new(JournalFile::open(Arc::clone(&host), Path::new(STATE)).unwrap());
        let link = Link::new(Arc::new(card), host, Some(journal), tls, port);
        let report = include_bytes!("../../../cluster/tests/corpus/wire/report-small.json");
        let report: Report = serde_json::from_slice(report).unwrap();
        link.report(&report).await.unwrap();
        assert_eq!(link.heard().unwrap().address, Ipv4Addr::LOCALHOST);
        assert!(false_ear.visits.load(Ordering::Relaxed) > 0, "nobody asked the impostor: {what:?}");
        assert_eq!(false_ear.bytes.load(Ordering::Relaxed), 0, "{what:?}");
        assert!(real_ear.bytes.load(Ordering::Relaxed) > 0);
    }
}
