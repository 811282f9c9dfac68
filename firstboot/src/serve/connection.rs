//! Connections: bounded in number, in time to say hello, and in life.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::{Extension, Router};
use cluster::identity::Identity;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower::ServiceExt as _;

use super::{Api, Peer, router};
use crate::tls;

/// Connections at once: 500 nodes that keep theirs open, and some to spare.
const CONNECTIONS: usize = 640;
/// Of these, how many may still be saying hello.
const HANDSHAKES: usize = 64;
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

impl Server {
    /// A server for an API.
    pub fn new(api: Arc<Api>, tls: Arc<ServerConfig>) -> Self {
        Self { router: router(api), tls }
    }

    /// Serves for ever.
    pub async fn run(self, listener: TcpListener) {
        let connections = Arc::new(Semaphore::new(CONNECTIONS));
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
        let acceptor = TlsAcceptor::from(self.tls);
        loop {
            // Neither semaphore is ever closed.
            let Ok(connection) = Arc::clone(&connections).acquire_owned().await else { return };
            let Ok(handshake) = Arc::clone(&handshakes).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, address)) => {
                    let (acceptor, router) = (acceptor.clone(), self.router.clone());
                    tokio::spawn(async move {
                        let _connection = connection;
                        greet(acceptor, stream, address, handshake, router).await;
                    });
                }
                Err(error) => {
                    tracing::warn!("cannot accept a connection: {error}");
                    sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }
}

async fn greet(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    address: SocketAddr,
    handshake: OwnedSemaphorePermit,
    router: Router,
) {
    let greeted = timeout(HELLO, acceptor.accept(stream)).await;
    drop(handshake);
    let stream = match greeted {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!("{address}: {error}"),
        Err(_) => return tracing::debug!("{address} said no hello"),
    };
    match identity(&stream) {
        Some(identity) => serve(stream, router, Peer { identity, address }).await,
        None => tracing::warn!("{address} has a certificate of this cluster that names nobody"),
    }
}

/// The holder, from the certificate that the handshake has verified.
fn identity(stream: &TlsStream<TcpStream>) -> Option<Identity> {
    let (_, connection) = stream.get_ref();
    let leaf = connection.peer_certificates()?.first()?;
    tls::holder(leaf)
}

async fn serve(stream: TlsStream<TcpStream>, router: Router, peer: Peer) {
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
