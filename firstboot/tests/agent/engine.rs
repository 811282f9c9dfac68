//! An engine on a Unix socket, and the swarm that several of them form. It refuses in Docker's own words.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::extract::{RawQuery, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use firstboot::host::Host as _;
use firstboot::host::fake::{FakeHost, Node, Power};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use serde_json::{Value, json};

#[path = "engine/nodes.rs"]
mod nodes;
#[path = "engine/phase.rs"]
mod phase;
#[path = "engine/work.rs"]
mod work;

pub(crate) use phase::Leader;
use phase::Phase;

pub(crate) const WORKER_TOKEN: &str = "SWMTKN-1-for-workers";
/// On the machine: the engine answers where this is, and not empty.
pub(crate) const DOCKERD: &str = "/usr/sbin/dockerd";
/// Swarm's own certificate of the node, and its key.
pub(crate) const CERTIFICATE: &str = "/var/lib/docker/swarm/certificates/swarm-node.crt";
pub(crate) const KEY: &str = "/var/lib/docker/swarm/certificates/swarm-node.key";

/// What all engines share.
#[derive(Debug, Default)]
pub(crate) struct Swarm {
    pub(crate) nodes: Vec<Value>,
    pub(crate) inits: Vec<Value>,
    pub(crate) joins: Vec<Value>,
    /// What runs on it, as the engine tells it.
    pub(crate) services: Vec<Value>,
    pub(crate) tasks: Vec<Value>,
    /// How far the managers have noticed that too few of them can be reached.
    pub(crate) leader: Leader,
    /// The managers run, and do not reach each other.
    is_torn: bool,
    /// Managers in the act of joining, and the most there were at once.
    entering: u32,
    pub(crate) most_entering: u32,
    /// How many times the tokens were changed.
    pub(crate) rotations: u32,
    /// As it was given last.
    pub(crate) spec: Value,
    /// How many looks a change of the root takes still.
    rotating: u8,
    /// Requests to start a swarm on an engine that is in one already.
    pub(crate) second_inits: u32,
    /// What its certificates come from.
    root: Root,
    /// When whose certificate ends.
    expiries: Vec<(String, SystemTime)>,
    serial: u32,
    /// Members whose engine does not run.
    off: BTreeSet<String>,
    /// How often the node list was read.
    pub(crate) looks: u32,
    /// How often somebody left.
    pub(crate) leaves: u32,
}

/// A swarm's own CA.
#[derive(Debug)]
struct Root(CertifiedIssuer<'static, KeyPair>);

impl Default for Root {
    fn default() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "swarm-ca");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }
}

impl Swarm {
    /// The workers' and the managers' join token.
    pub(crate) fn tokens(&self) -> (String, String) {
        match self.rotations {
            // The root is in the tokens, too: these are worth nothing once there is another.
            _ if root_rotations(&self.spec) == 0 => {
                ("SWMTKN-1-of-the-first-root".to_owned(), "SWMTKN-1-of-the-first-root".to_owned())
            }
            0 => (WORKER_TOKEN.to_owned(), "SWMTKN-1-for-managers".to_owned()),
            n => (format!("SWMTKN-1-for-workers-{n}"), format!("SWMTKN-1-for-managers-{n}")),
        }
    }
}

pub(crate) type Shared = Arc<Mutex<Swarm>>;

/// One engine.
#[derive(Debug)]
pub(crate) struct Engine {
    hostname: String,
    swarm: Shared,
    /// Its id in the swarm.
    pub(crate) node: Mutex<Option<String>>,
    /// Refusals to come, for init and join.
    pub(crate) refusals: Mutex<VecDeque<(u16, &'static str)>>,
    /// Refusals to come, for changes of the swarm.
    pub(crate) update_refusals: Mutex<VecDeque<(u16, &'static str)>>,
    /// Refusals to come, for changes of nodes.
    pub(crate) node_refusals: Mutex<VecDeque<(u16, &'static str)>>,
    pub(crate) socket: PathBuf,
    /// What it runs on, where it shares a machine's power, disk and clock.
    machine: Mutex<Option<(Arc<Power>, Arc<FakeHost>)>>,
    /// Where it keeps its certificate.
    disk: Mutex<Option<Arc<FakeHost>>>,
    phase: Mutex<Phase>,
    /// How often it was asked what it is in.
    looks: AtomicU32,
}

fn refuse(status: u16, message: &str) -> Response {
    (StatusCode::from_u16(status).unwrap(), Json(json!({ "message": message }))).into_response()
}

const NOT_A_MANAGER: &str = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.";
const STILL_MANAGES: &str = "rpc error: code = FailedPrecondition desc = node is a cluster manager and is a member of the raft cluster. It must be demoted to worker before removal";
const LEADERLESS: &str = "rpc error: code = Unknown desc = The swarm does not have a leader. It's possible that too few managers are online. Make sure more than half of the managers are online.";
const DEADLINE: &str = "rpc error: code = DeadlineExceeded desc = context deadline exceeded";
/// The start of what `init` says when the swarm was started, but not with the settings that were asked for.
const UNSET: &str = "error updating cluster settings";
const ALREADY: &str = "This node is already part of a swarm. Use \"docker swarm leave\" to leave this swarm and join another one.";

impl Engine {
    /// An engine that does not answer yet.
    pub(crate) fn new(folder: &Path, hostname: &str, swarm: &Shared) -> Arc<Self> {
        Arc::new(Self {
            hostname: hostname.to_owned(),
            swarm: Arc::clone(swarm),
            node: Mutex::new(None),
            refusals: Mutex::default(),
            update_refusals: Mutex::default(),
            node_refusals: Mutex::default(),
            socket: folder.join(format!("{hostname}.sock")),
            machine: Mutex::default(),
            disk: Mutex::default(),
            phase: Mutex::default(),
            looks: AtomicU32::default(),
        })
    }

    /// Puts it on a machine, keeping what it knows of the swarm: from then on it runs where Docker is installed, each
    /// change is an effect before it is done and another before it is answered, and without power it is silent.
    pub(crate) fn install_on(&self, power: &Arc<Power>, host: &Arc<FakeHost>) {
        *self.machine.lock().unwrap() = Some((Arc::clone(power), Arc::clone(host)));
    }

    /// Has it keep its certificate in these files.
    pub(crate) fn keep_on(&self, host: &Arc<FakeHost>) {
        *self.disk.lock().unwrap() = Some(Arc::clone(host));
    }

    /// Starts answering.
    pub(crate) fn start(self: &Arc<Self>) {
        let listener = tokio::net::UnixListener::bind(&self.socket).unwrap();
        let router = Router::new()
            .route("/version", get(async || Json(json!({"Version": "26.1.5"}))))
            .route("/info", get(info))
            .route("/swarm", get(swarm))
            .route("/swarm/init", post(init))
            .route("/swarm/join", post(join))
            .route("/swarm/leave", post(leave))
            .route("/swarm/update", post(update_swarm))
            .route("/nodes", get(nodes::list))
            .route("/nodes/{id}", delete(nodes::remove))
            .route("/services", get(work::services))
            .route("/tasks", get(work::tasks))
            .route("/nodes/{id}/update", post(nodes::update))
            .layer(middleware::from_fn_with_state(Arc::clone(self), powered))
            .with_state(Arc::clone(self));
        tokio::spawn(async move { axum::serve(listener, router).await });
    }

    fn is_manager(&self) -> bool {
        if *self.phase.lock().unwrap() != Phase::On {
            return false;
        }
        let Some(id) = self.node.lock().unwrap().clone() else { return false };
        let swarm = self.swarm.lock().unwrap();
        swarm.nodes.iter().any(|node| node["ID"] == id.as_str() && !node["ManagerStatus"].is_null())
    }

    fn begin_entering(&self) {
        let mut swarm = self.swarm.lock().unwrap();
        swarm.entering += 1;
        swarm.most_entering = swarm.most_entering.max(swarm.entering);
    }

    fn enter(&self, manager: bool, body: &Value) -> String {
        let mut swarm = self.swarm.lock().unwrap();
        swarm.serial += 1;
        let id = format!("id{}", swarm.serial);
        let address = body["AdvertiseAddr"].as_str().unwrap();
        let leads = swarm.nodes.iter().all(|node| node["ManagerStatus"].is_null());
        let status = if manager {
            json!({"Leader": leads, "Reachability": "reachable", "Addr": format!("{address}:2377")})
        } else {
            Value::Null
        };
        let node = json!({
            "ID": id, "Version": {"Index": 1},
            "Spec": {"Role": if manager { "manager" } else { "worker" }, "Availability": body["Availability"], "Labels": null},
            "Description": {"Hostname": self.hostname, "Engine": {"EngineVersion": "26.1.5"}},
            "Status": {"State": "ready", "Addr": address}, "ManagerStatus": status,
        });
        swarm.nodes.push(node);
        self.certify(&mut swarm, &id);
        *self.node.lock().unwrap() = Some(id.clone());
        id
    }
}

impl Engine {
    /// Has its machine join again, beside the entries that it has; returns the id of the new one.
    pub(crate) fn join_again(&self) -> String {
        self.enter(false, &json!({"AdvertiseAddr": "127.0.0.1", "Availability": "active"}))
    }
}

/// Swarm's own certificates: three months, by this machine's clock.
const CERTIFIED: Duration = Duration::from_secs(90 * 86_400);

impl Engine {
    fn certify(&self, swarm: &mut Swarm, id: &str) {
        let Some(host) = self.disk.lock().unwrap().clone() else { return };
        let mut params = CertificateParams::new(vec!["swarm-worker".to_owned(), id.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, id);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        // Clocks stand still on machines without power of their own.
        if self.machine.lock().unwrap().is_some() {
            let expiry = host.now() + CERTIFIED;
            params.not_after = expiry.into();
            swarm.expiries.retain(|(known, _)| known != id);
            swarm.expiries.push((id.to_owned(), expiry));
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &swarm.root.0).unwrap().pem();
        // As SwarmKit writes it.
        let key = key.serialize_pem().replacen("KEY-----\n", "KEY-----\nkek-version: 0\n\n", 1);
        host.place(CERTIFICATE, Node::File { bytes: certificate.into(), mode: 0o644, owner: None });
        host.place(KEY, Node::File { bytes: key.into(), mode: 0o600, owner: None });
    }

    /// Nobody is connected with an expired certificate.
    fn drop_expired(&self, swarm: &mut Swarm) {
        let Some((_, host)) = self.machine.lock().unwrap().clone() else { return };
        let Swarm { nodes, expiries, .. } = swarm;
        for (id, _) in expiries.iter().filter(|(_, expiry)| *expiry < host.now()) {
            let mut workers = nodes.iter_mut().filter(|node| node["ManagerStatus"].is_null());
            if let Some(node) = workers.find(|node| node["ID"] == id.as_str()) {
                node["Status"]["State"] = json!("down");
            }
        }
    }
}

async fn powered(State(engine): State<Arc<Engine>>, request: Request, next: Next) -> Response {
    if *engine.phase.lock().unwrap() == Phase::Off {
        return refuse(502, "Docker does not run");
    }
    let Some((power, host)) = engine.machine.lock().unwrap().clone() else { return next.run(request).await };
    if power.is_gone() {
        return std::future::pending().await;
    }
    if !matches!(host.files().get(Path::new(DOCKERD)), Some(Node::File { bytes, .. }) if !bytes.is_empty()) {
        return refuse(502, "there is no Docker on this machine");
    }
    if request.method() == Method::GET {
        return next.run(request).await;
    }
    let call = format!("Docker {} {}", request.method(), request.uri().path());
    if power.spend(&call).is_err() {
        return std::future::pending().await;
    }
    let response = next.run(request).await;
    if power.spend(&format!("{call} answered")).is_err() {
        return std::future::pending().await;
    }
    response
}

async fn info(State(engine): State<Arc<Engine>>) -> Response {
    engine.note_look();
    let node = engine.node.lock().unwrap().clone();
    let swarm = match node {
        None => {
            json!({"NodeID": "", "LocalNodeState": "inactive", "ControlAvailable": false, "RemoteManagers": null})
        }
        Some(id) => {
            let state = engine.state(&id);
            let manager = engine.is_manager();
            let swarm = engine.swarm.lock().unwrap();
            let own = swarm.nodes.iter().find(|node| node["ID"] == id.as_str());
            let address = own.map_or("127.0.0.1", |node| node["Status"]["Addr"].as_str().unwrap());
            let managers: Vec<_> =
                swarm.nodes.iter().filter(|node| !node["ManagerStatus"].is_null()).collect();
            let remote: Vec<_> = managers.iter().map(|node| &node["ManagerStatus"]).collect();
            // It knows at once, while it serves the last list.
            let error = if manager && !swarm.has_leader() { LEADERLESS } else { "" };
            json!({"NodeID": id, "NodeAddr": address, "LocalNodeState": state, "ControlAvailable": manager,
                "Error": error, "RemoteManagers": remote, "Managers": if manager { managers.len() } else { 0 }})
        }
    };
    Json(json!({ "Swarm": swarm })).into_response()
}

async fn swarm(State(engine): State<Arc<Engine>>) -> Response {
    if !engine.is_manager() {
        return refuse(503, NOT_A_MANAGER);
    }
    if let Some(refusal) = engine.ask_leader().await {
        return refusal;
    }
    let mut swarm = engine.swarm.lock().unwrap();
    let (worker, manager) = swarm.tokens();
    let tokens = json!({"Worker": worker, "Manager": manager});
    let rotating = swarm.rotating > 0;
    swarm.rotating = swarm.rotating.saturating_sub(1);
    Json(json!({"Version": {"Index": 7}, "Spec": swarm.spec, "JoinTokens": tokens,
        "RootRotationInProgress": rotating, "TLSInfo": {"TrustRoot": swarm.root.0.pem()}}))
    .into_response()
}

fn root_rotations(spec: &Value) -> u64 {
    spec["CAConfig"]["ForceRotate"].as_u64().unwrap_or_default()
}

async fn update_swarm(
    State(engine): State<Arc<Engine>>,
    RawQuery(query): RawQuery,
    Json(spec): Json<Value>,
) -> Response {
    if let Some((status, message)) = engine.update_refusals.lock().unwrap().pop_front() {
        return refuse(status, message);
    }
    if query.is_some_and(|query| query.contains("rotateWorkerToken=true&rotateManagerToken=true")) {
        engine.swarm.lock().unwrap().rotations += 1;
    }
    let mut swarm = engine.swarm.lock().unwrap();
    if root_rotations(&swarm.spec) != root_rotations(&spec) {
        swarm.rotating = 2;
    }
    swarm.spec = spec;
    StatusCode::OK.into_response()
}

async fn init(State(engine): State<Arc<Engine>>, Json(body): Json<Value>) -> Response {
    let refusal = engine.refusals.lock().unwrap().pop_front();
    if let Some((status, message)) = refusal.filter(|(_, message)| !message.starts_with(UNSET)) {
        return refuse(status, message);
    }
    let known = engine.node.lock().unwrap().clone();
    if let Some(id) = known {
        let mut swarm = engine.swarm.lock().unwrap();
        if body["ForceNewCluster"] != json!(true) {
            swarm.second_inits += 1;
            return refuse(503, ALREADY);
        }
        assert_eq!(
            root_rotations(&swarm.spec),
            root_rotations(&body["Spec"]),
            "the root is changed by accident"
        );
        swarm.inits.push(body);
        engine.certify(&mut swarm, &id);
        return Json(id).into_response();
    }
    {
        let mut swarm = engine.swarm.lock().unwrap();
        // Another swarm than the one before knows nothing of its members.
        let started = !swarm.inits.is_empty();
        swarm.nodes.retain(|_| !started);
        swarm.spec = body["Spec"].clone();
        swarm.inits.push(body.clone());
        if refusal.is_some() {
            // Docker's defaults: ninety days, in nanoseconds.
            swarm.spec = json!({"CAConfig": {"NodeCertExpiry": 7_776_000_000_000_000_u64}});
        }
    }
    let id = engine.enter(true, &body);
    match refusal {
        Some((status, message)) => refuse(status, message),
        None => Json(id).into_response(),
    }
}

async fn join(State(engine): State<Arc<Engine>>, Json(body): Json<Value>) -> Response {
    if let Some((status, message)) = engine.refusals.lock().unwrap().pop_front() {
        return refuse(status, message);
    }
    if engine.node.lock().unwrap().is_some() {
        return refuse(503, ALREADY);
    }
    let (worker, of_managers) = engine.swarm.lock().unwrap().tokens();
    let manager = body["JoinToken"] == of_managers;
    if !manager && body["JoinToken"] != worker {
        return refuse(
            400,
            "rpc error: code = InvalidArgument desc = A valid join token is necessary to join this cluster",
        );
    }
    engine.swarm.lock().unwrap().joins.push(body.clone());
    if manager {
        engine.begin_entering();
        // As long as it takes to agree: time for another to come between.
        tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
        engine.swarm.lock().unwrap().entering -= 1;
    }
    engine.enter(manager, &body);
    StatusCode::OK.into_response()
}

async fn leave(State(engine): State<Arc<Engine>>) -> Response {
    let Some(id) = engine.node.lock().unwrap().take() else {
        return refuse(503, "This node is not part of a swarm");
    };
    *engine.phase.lock().unwrap() = Phase::On;
    engine.swarm.lock().unwrap().leaves += 1;
    for node in &mut engine.swarm.lock().unwrap().nodes {
        if node["ID"] == id.as_str() {
            node["Status"]["State"] = json!("down");
            if !node["ManagerStatus"].is_null() {
                node["ManagerStatus"]["Reachability"] = json!("unreachable");
            }
        }
    }
    StatusCode::OK.into_response()
}
