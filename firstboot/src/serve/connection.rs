//! Connections: bounded in number, in time to say hello, and in life.
//!
//! Nobody is made to wait for somebody else: a connection is taken at once, and closed at once when its address or its
//! key has its share already. A crowd from one address, or everything that one stolen card can open, leaves the others
//! their places.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::{Extension, Router};
use cluster::identity::Identity;
use cluster::name::KeyId;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower::ServiceExt as _;

use super::share::Shares;
use super::{Api, Peer, router};
use crate::tally::Tally;
use crate::tls;

/// Connections at once: 500 nodes that report and join at the same time take two each, beside those they had before and
/// that the server has not seen closed yet. The unit lets the agent open more files than that.
const CONNECTIONS: usize = 2000;
/// Of these, how many may be saying hello; the others wait.
const HANDSHAKES: usize = 256;
/// Connections of one address that have not said hello. A node needs two, a person with a laptop few more.
const STRANGERS: usize = 8;
/// Connections of one key. As many as a node or a person needs, and some to spare.
const EACH: usize = 8;
/// For the TLS handshake, and for the head of each request.
const HELLO: Duration = Duration::from_secs(5);
/// After this a connection is asked to close, and closed a little later.
const LIFE: Duration = Duration::from_secs(120);
const GRACE: Duration = Duration::from_secs(35);

/// Serves the API.
#[derive(Debug)]
pub struct Server {
    router: Router,
    tls: Arc<ServerConfig>,
}

/// What connections share.
struct Door {
    router: Router,
    acceptor: TlsAcceptor,
    handshakes: Semaphore,
    strangers: Shares<IpAddr>,
    known: Shares<KeyId>,
    logged: Tally<String>,
}

impl Server {
    /// A server for an API.
    pub fn new(api: Arc<Api>, tls: Arc<ServerConfig>) -> Self {
        Self { router: router(api), tls }
    }

    /// Serves for ever.
    pub async fn run(self, listener: TcpListener) {
        let connections = Arc::new(Semaphore::new(CONNECTIONS));
        let door = Arc::new(Door {
            router: self.router,
            acceptor: TlsAcceptor::from(self.tls),
            handshakes: Semaphore::new(HANDSHAKES),
            strangers: Shares::new(STRANGERS),
            known: Shares::new(EACH),
            logged: Tally::default(),
        });
        loop {
            match listener.accept().await {
                // Dropped is closed: who has a right to be served comes again.
                Ok((stream, address)) => {
                    let Ok(connection) = Arc::clone(&connections).try_acquire_owned() else { continue };
                    let Some(stranger) = door.strangers.take(address.ip()) else { continue };
                    let door = Arc::clone(&door);
                    tokio::spawn(async move {
                        let _connection = connection;
                        let greeted = door.greet(stream, address).await;
                        drop(stranger);
                        if let Some((stream, peer)) = greeted {
                            door.let_in(stream, peer).await;
                        }
                    });
                }
                Err(error) => {
                    if let Some(times) = door.logged.count(error.to_string()) {
                        tracing::warn!("cannot accept a connection: {error}{times}");
                    }
                    sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }
}

impl Door {
    /// The handshake. `None`: nobody of this cluster, or nobody at all.
    async fn greet(&self, stream: TcpStream, address: SocketAddr) -> Option<(TlsStream<TcpStream>, Peer)> {
        // The semaphore is never closed.
        let _handshake = self.handshakes.acquire().await.ok()?;
        let stream = match timeout(HELLO, self.acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::debug!("{address}: {error}");
                return None;
            }
            Err(_) => {
                tracing::debug!("{address} said no hello");
                return None;
            }
        };
        let Some((identity, key)) = holder(&stream) else {
            if let Some(times) = self.logged.count("names nobody".to_owned()) {
                tracing::warn!("{address} has a certificate of this cluster that names nobody{times}");
            }
            return None;
        };
        Some((stream, Peer { identity, key, address }))
    }

    async fn let_in(&self, stream: TlsStream<TcpStream>, peer: Peer) {
        match self.known.take(peer.key.clone()) {
            Some(_part) => serve(stream, self.router.clone(), peer).await,
            None => {
                tracing::debug!("{} at {} has too many connections", peer.identity.to_uri(), peer.address)
            }
        }
    }
}

/// The holder and its key, from the certificate that the handshake has verified.
fn holder(stream: &TlsStream<TcpStream>) -> Option<(Identity, KeyId)> {
    let (_, connection) = stream.get_ref();
    let leaf = connection.peer_certificates()?.first()?;
    tls::holder(leaf)
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, router: Router, peer: Peer) {
    let address = peer.address;
    let router = router.layer(Extension(peer));
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        router.clone().oneshot(request.map(Body::new))
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HELLO.saturating_mul(5)).max_buf_size(16 * 1024);
    let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = sleep(LIFE) => {
            connection.as_mut().graceful_shutdown();
            timeout(GRACE, connection.as_mut()).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!("{address}: {error}");
    }
}
