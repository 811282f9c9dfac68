//! Docker Engine's HTTP API on its Unix socket: the few calls a swarm needs.
//!
//! Requests carry no API version, so that any engine from 20.10 on answers with its newest. Answers are read
//! leniently: unknown fields are ignored, unknown words of an enumeration kept as text.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::time::Duration;

use cluster::secret::Secret;
use reqwest::{Client, Method, RequestBuilder};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub mod error;
pub mod types;
pub mod work;

pub use error::{EngineError, Refusal};
pub use types::{Info, LocalState, Node, Swarm, SwarmInfo, Version};

/// TCP port of Swarm's managers.
pub const SWARM_PORT: u16 = 2377;
/// Where Debian and Docker put the socket.
pub const SOCKET: &str = "/run/docker.sock";

/// For reading: the engine answers in milliseconds, or not at all while it starts.
const READ: Duration = Duration::from_secs(10);
/// For init, join and leave: the engine's own limits add up to 20 s and more.
const CHANGE: Duration = Duration::from_secs(90);

/// A connection to the engine.
#[derive(Debug, Clone)]
pub struct Engine {
    http: Client,
}

/// What `swarm init` is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Init {
    /// A literal address of this machine. The engine accepts a foreign one silently, so the caller has checked it.
    pub address: Ipv4Addr,
    /// Whether the manager keeps out of running tasks.
    pub drain: bool,
    /// Pool for overlay networks, as `10.201.0.0/16`.
    pub pool: Option<String>,
    /// Life of Swarm's node certificates.
    pub cert_expiry: Duration,
    /// How many times the swarm's root was made anew: another number than the swarm's own has it done again.
    pub root_rotations: u64,
    /// Start a new quorum of one from the state that is there, with the new address.
    pub force: bool,
}

impl Engine {
    /// A client for the engine at `socket`. Connects with the first request.
    pub fn new(socket: &Path) -> Result<Self, EngineError> {
        let tls = crate::tls::nobody().map_err(EngineError::Tls)?;
        let http = Client::builder()
            .unix_socket(socket)
            .tls_backend_preconfigured(tls)
            .no_proxy()
            // The engine may be restarted between two requests.
            .pool_max_idle_per_host(0)
            .build()
            .map_err(EngineError::Build)?;
        Ok(Self { http })
    }

    fn request(&self, method: Method, path: &str, patience: Duration) -> RequestBuilder {
        self.http.request(method, format!("http://docker{path}")).timeout(patience)
    }

    fn post(&self, path: &str, body: &impl Serialize) -> RequestBuilder {
        self.request(Method::POST, path, CHANGE).json(body)
    }

    async fn get<T: DeserializeOwned>(&self, path: &'static str) -> Result<T, EngineError> {
        read(path, self.request(Method::GET, path, READ)).await
    }

    /// Whether an engine answers, and which.
    pub async fn version(&self) -> Result<Version, EngineError> {
        self.get("/version").await
    }

    /// The engine's own view of itself.
    pub async fn info(&self) -> Result<Info, EngineError> {
        self.get("/info").await
    }

    /// The swarm, tokens included; managers only.
    pub async fn swarm(&self) -> Result<Swarm, EngineError> {
        self.get("/swarm").await
    }

    /// The node list; managers only.
    pub async fn nodes(&self) -> Result<Vec<Node>, EngineError> {
        self.get("/nodes").await
    }

    /// Starts a swarm; gives this node's id.
    pub async fn init(&self, init: &Init) -> Result<String, EngineError> {
        let mut body = json!({
            "ListenAddr": format!("0.0.0.0:{SWARM_PORT}"),
            "AdvertiseAddr": init.address,
            "DataPathAddr": init.address,
            "ForceNewCluster": init.force,
            "Availability": availability(init.drain),
            "Spec": { "CAConfig": {
                // Docker rejects less than an hour.
                "NodeCertExpiry": nanoseconds(init.cert_expiry),
                "ForceRotate": init.root_rotations,
            } },
        });
        if let (Some(pool), Some(fields)) = (&init.pool, body.as_object_mut()) {
            fields.insert("DefaultAddrPool".to_owned(), json!([pool]));
            fields.insert("SubnetSize".to_owned(), json!(24));
        }
        read("/swarm/init", self.post("/swarm/init", &body)).await
    }

    /// Joins the swarm at `manager` with a token of the wanted role.
    pub async fn join(
        &self,
        token: &Secret<String>,
        manager: SocketAddrV4,
        address: Ipv4Addr,
        drain: bool,
    ) -> Result<(), EngineError> {
        let body = json!({
            "ListenAddr": format!("0.0.0.0:{SWARM_PORT}"),
            "AdvertiseAddr": address,
            "DataPathAddr": address,
            "RemoteAddrs": [manager],
            "JoinToken": token.expose(),
            "Availability": availability(drain),
        });
        done("/swarm/join", self.post("/swarm/join", &body)).await
    }

    /// Leaves the swarm, whatever it was.
    pub async fn leave(&self) -> Result<(), EngineError> {
        done("/swarm/leave", self.request(Method::POST, "/swarm/leave?force=true", CHANGE)).await
    }

    /// Makes new join tokens; the old ones are worth nothing from then on. Members are not affected.
    pub async fn rotate_tokens(&self) -> Result<(), EngineError> {
        let swarm = self.swarm().await?;
        let path = format!(
            "/swarm/update?version={}&rotateWorkerToken=true&rotateManagerToken=true",
            swarm.version.index
        );
        done("/swarm/update", self.post(&path, &swarm.spec)).await
    }

    /// Makes a new root for Swarm's certificates: every node gets a new one that lives for `cert_expiry`, and the join tokens
    /// change. Takes seconds; does not end while a member is down.
    pub async fn rotate_root(&self, swarm: Swarm, cert_expiry: Duration) -> Result<(), EngineError> {
        let rotations = swarm.root_rotations();
        let path = format!("/swarm/update?version={}", swarm.version.index);
        let mut spec = swarm.spec;
        if let Some(fields) = spec.as_object_mut() {
            let config = fields.entry("CAConfig").or_insert_with(|| json!({}));
            if let Some(config) = config.as_object_mut() {
                config.insert("ForceRotate".to_owned(), json!(rotations + 1));
                // An init that failed half way left Docker's own (26.1.5: "error updating cluster settings").
                config.insert("NodeCertExpiry".to_owned(), json!(nanoseconds(cert_expiry)));
            }
        }
        done("/swarm/update", self.post(&path, &spec)).await
    }

    /// Replaces a node's specification, if nobody else did since `version` was read.
    pub async fn update_node(&self, id: &str, version: u64, spec: &Value) -> Result<(), EngineError> {
        done("/nodes/update", self.post(&format!("/nodes/{id}/update?version={version}"), spec)).await
    }

    /// Makes a manager a worker. The others agree on it first, so this needs more than half of them.
    pub async fn demote(&self, node: &Node) -> Result<(), EngineError> {
        let mut spec = node.spec.clone();
        if let Some(fields) = spec.as_object_mut() {
            fields.insert("Role".to_owned(), json!("worker"));
        }
        self.update_node(&node.id, node.version.index, &spec).await
    }

    /// Removes a node from the list although it is at work: the managers take its certificate for revoked then, and what
    /// ran on it is started elsewhere. A manager has to be made a worker first.
    pub async fn expel_node(&self, id: &str) -> Result<(), EngineError> {
        done("/nodes", self.request(Method::DELETE, &format!("/nodes/{id}?force=true"), READ)).await
    }

    /// Removes a node that is down from the list.
    pub async fn remove_node(&self, id: &str) -> Result<(), EngineError> {
        done("/nodes", self.request(Method::DELETE, &format!("/nodes/{id}"), READ)).await
    }
}

/// Docker's unit for lengths of time.
const fn nanoseconds(time: Duration) -> u64 {
    time.as_secs().saturating_mul(1_000_000_000)
}

const fn availability(drain: bool) -> &'static str {
    if drain { "drain" } else { "active" }
}

async fn body(call: &'static str, request: RequestBuilder) -> Result<Vec<u8>, EngineError> {
    let response = request.send().await.map_err(|source| EngineError::Connect { call, source })?;
    let status = response.status();
    let bytes = response.bytes().await.map_err(|source| EngineError::Connect { call, source })?;
    if status.is_success() {
        Ok(bytes.into())
    } else {
        Err(EngineError::refused(call, status.as_u16(), &bytes))
    }
}

async fn read<T: DeserializeOwned>(call: &'static str, request: RequestBuilder) -> Result<T, EngineError> {
    let bytes = body(call, request).await?;
    serde_json::from_slice(&bytes).map_err(|source| EngineError::Answer { call, source })
}

async fn done(call: &'static str, request: RequestBuilder) -> Result<(), EngineError> {
    body(call, request).await.map(|_| ())
}
