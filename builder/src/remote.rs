//! Talking to the manager with the operator's certificate: finding it, being sure of it, asking for the board,
//! telling all of them whom to turn away and what becomes of the swarm.
//!
//! Where it is may be anybody's word: the network's, a name server's, last week's. Who it is, only its certificate
//! says: it must be signed by the cluster's CA and name the manager. So addresses are tried until one leads there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use cluster::identity::{Identity, Role, dns_name};
use cluster::name::{ClusterId, Hostname};
use cluster::text::printable;
use cluster::wire::{Board, BoardNode, History, PORT, Problem, SwarmEntry};
use reqwest::blocking::{Client, Response};
use reqwest::redirect::Policy;
use reqwest::{Method, StatusCode, Url};
use rustls::ClientConfig;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Failure;
use crate::pki::{self, Identities};
use crate::project::Project;

mod error;
mod life;
mod locate;
mod tls;
mod upkeep;

pub use error::{Attempt, Obstacle, RemoteError};
pub use life::{ReopenError, Told, Untold};
pub use locate::{Address, AddressError};
pub use upkeep::UpkeepError;

/// For the network to answer at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// For the whole answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// A board of a thousand nodes is well under a mebibyte.
const ANSWER_LIMIT: u64 = 16 * 1024 * 1024;

/// Asks once for the board.
///
/// # Errors
/// As [`pki::existing`] and [`Manager::board`].
pub fn board(project: &Project, given: Option<Address>) -> Result<Board, Failure> {
    let identities = pki::existing(project)?;
    Ok(Manager::new(project, &identities, given)?.board()?)
}

/// The manager, as seen from the laptop; of several, one that answers.
#[derive(Debug)]
pub struct Manager<'a> {
    project: &'a Project,
    cluster_id: ClusterId,
    /// All managers, in the order in which they are tried.
    names: Vec<Hostname>,
    given: Option<Address>,
    config: ClientConfig,
    /// Whether the nodes' addresses are kept.
    remembers: bool,
    /// The connection that worked last; tried before anything else.
    reached: Option<Line>,
    /// Other clusters' machines that the last search has met.
    foreign: Vec<Foreign>,
    /// When nobody waits for an answer any more.
    deadline: Option<Instant>,
}

/// Another cluster's machine that answered where a manager was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// Where it is, and who said that the manager is there.
    pub at: String,
    /// Whom its certificate names. Nobody has proved that.
    pub holder: Identity,
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}", self.at, error::described(&self.holder))
    }
}

/// A way to one address that may be a manager's.
#[derive(Debug)]
struct Line {
    client: Client,
    address: SocketAddr,
    name: Hostname,
    /// What its certificate has to name.
    host: String,
}

impl<'a> Manager<'a> {
    /// The manager of a cluster. With an address given, no other is tried. Sends nothing yet.
    ///
    /// # Errors
    /// When the identities are not usable for TLS.
    pub fn new(
        project: &'a Project,
        identities: &Identities,
        given: Option<Address>,
    ) -> Result<Self, Failure> {
        let managers = project.cluster.nodes.iter().filter(|node| node.role == Role::Manager);
        let names: Vec<_> = managers.map(|node| node.name.clone()).collect();
        if names.is_empty() {
            return Err(RemoteError::NoManager.into());
        }
        let config = tls::config(&identities.operator()?, identities.revoked.clone())
            .map_err(RemoteError::Identity)?;
        let cluster_id = identities.cluster_id.clone();
        Ok(Self {
            project,
            cluster_id,
            names,
            given,
            config,
            remembers: true,
            reached: None,
            foreign: Vec::new(),
            deadline: None,
        })
    }

    /// Keeps no addresses: those of a rehearsal are not where the Pis will be.
    #[must_use]
    pub fn forgetful(self) -> Self {
        Self { remembers: false, ..self }
    }

    /// Stops looking for a manager, and waiting for an answer, at this time.
    pub fn end_by(&mut self, deadline: Instant) {
        self.deadline = Some(deadline);
    }

    /// How long an answer may take.
    fn patience(&self) -> Duration {
        let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        left.unwrap_or(ANSWER_TIMEOUT).min(ANSWER_TIMEOUT)
    }

    /// Its name; those of all, where there are several.
    pub fn name(&self) -> String {
        names(&self.names)
    }

    /// Other clusters' machines that answered in a manager's place when it was last looked for.
    pub fn foreign(&self) -> &[Foreign] {
        &self.foreign
    }

    /// What every planned node is doing now. Keeps the nodes' addresses, for `ssh` and for the next time.
    ///
    /// # Errors
    /// See [`RemoteError`]; [`RemoteError::is_transient`] tells whether asking again can help.
    pub fn board(&mut self) -> Result<Board, RemoteError> {
        let mut board = self.request::<Board>(Method::GET, "/v1/cluster", None::<&()>)?;
        // A manager that is no member of the swarm, or has lost it, knows less than another may.
        let knows = |board: &Board| board.nodes.iter().any(|node| node.swarm.is_some());
        let asked = self.reached.as_ref().map(|line| line.name.clone());
        for other in self.names.clone().iter().filter(|name| Some(*name) != asked.as_ref()) {
            if knows(&board) || self.given.is_some() {
                break;
            }
            let before = self.reached.take();
            match self.request_of(std::slice::from_ref(other), Method::GET, "/v1/cluster", None::<&()>) {
                Ok(other) if knows(&other) => board = other,
                _ => self.reached = before,
            }
        }
        if self.remembers {
            self.remember(&board);
        }
        Ok(board)
    }

    /// What a node said and met lately.
    ///
    /// # Errors
    /// As [`Self::board`].
    pub fn history(&mut self, node: &Hostname) -> Result<History, RemoteError> {
        self.request(Method::GET, &format!("/v1/nodes/{node}/history"), None::<&()>)
    }

    fn request<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, RemoteError> {
        self.request_of(&self.names.clone(), method, path, body)
    }

    fn request_of<T: DeserializeOwned>(
        &mut self,
        managers: &[Hostname],
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, RemoteError> {
        let id = self.cluster_id.clone();
        let response = self.reach(managers, |line, patience| {
            let url = Url::parse(&format!("https://{}:{}{path}", line.host, line.address.port()))
                .map_err(|error| Obstacle::Other(error.into()))?;
            let request = line.client.request(method.clone(), url).timeout(patience);
            let request = if let Some(body) = body { request.json(body) } else { request };
            request.send().map_err(|error| Obstacle::of(error, &id))
        })?;
        let status = response.status();
        let mut body = Vec::new();
        response.take(ANSWER_LIMIT).read_to_end(&mut body).map_err(RemoteError::Interrupted)?;
        match status {
            StatusCode::OK | StatusCode::ACCEPTED => {
                serde_json::from_slice(&body).map_err(RemoteError::NotUnderstood)
            }
            StatusCode::NO_CONTENT => serde_json::from_slice(b"null").map_err(RemoteError::NotUnderstood),
            StatusCode::FORBIDDEN => {
                let manager =
                    self.reached.as_ref().map_or_else(|| names(managers), |line| line.name.to_string());
                Err(RemoteError::Forbidden { manager, message: problem(&body) })
            }
            status => Err(RemoteError::Answer { status: status.as_u16(), message: problem(&body) }),
        }
    }

    /// Asks on the line that worked last, and then on every other way until one leads to a manager. What is asked may
    /// arrive twice.
    fn reach(
        &mut self,
        managers: &[Hostname],
        ask: impl Fn(&Line, Duration) -> Result<Response, Obstacle>,
    ) -> Result<Response, RemoteError> {
        if let Some(line) = self.reached.take()
            && let Ok(response) = ask(&line, self.patience())
        {
            self.reached = Some(line);
            return Ok(response);
        }
        let (mut attempts, mut tried) = (Vec::new(), BTreeSet::new());
        self.foreign.clear();
        for name in managers {
            let last = self.last_address(name);
            for way in locate::ways(self.project, &self.cluster_id, name, self.given.as_ref(), last) {
                let patience = self.patience();
                if patience.is_zero() {
                    break;
                }
                let addresses = match way.addresses(patience) {
                    Ok(addresses) => addresses,
                    Err(Obstacle::Unknown) if way.is_spare() => continue,
                    Err(obstacle) => {
                        attempts.push(Attempt { to: way.to_string(), obstacle });
                        continue;
                    }
                };
                for address in addresses {
                    let patience = self.patience();
                    if patience.is_zero() || !tried.insert((name, address)) {
                        continue;
                    }
                    match self.line(name, address).and_then(|line| Ok((ask(&line, patience)?, line))) {
                        Ok((response, line)) => {
                            self.reached = Some(line);
                            return Ok(response);
                        }
                        Err(obstacle) => {
                            let to =
                                if way.is(address) { way.to_string() } else { format!("{way}: {address}") };
                            if let Obstacle::OtherCluster(holder) = &obstacle {
                                self.foreign.push(Foreign { at: to.clone(), holder: holder.clone() });
                            }
                            attempts.push(Attempt { to, obstacle });
                        }
                    }
                }
            }
        }
        Err(RemoteError::Unreachable { manager: names(managers), attempts })
    }

    /// Not worth failing for: what was asked for is there.
    fn remember(&self, board: &Board) {
        let is_planned = |name: &Hostname| self.project.cluster.nodes.iter().any(|node| node.name == *name);
        let known = board.nodes.iter().filter(|node| is_planned(&node.name));
        let known = known.filter_map(|node| Some((node.name.clone(), usable(address(node)?.into())?)));
        let mut heard: BTreeMap<_, _> = known.collect();
        // What led to the manager is better than what it says of itself. Another port leads through a tunnel.
        let reached = self.reached.as_ref().filter(|line| line.address.port() == PORT);
        if let Some((line, address)) = reached.and_then(|line| Some((line, usable(line.address.ip())?))) {
            heard.insert(line.name.clone(), address);
        }
        // Without this memory the next command looks for the manager a little longer.
        let _forgotten = pki::remember_addresses(self.project, &heard);
    }

    /// A damaged memory of addresses must not hide the manager: `builder build` will complain of it.
    fn last_address(&self, name: &Hostname) -> Option<Ipv4Addr> {
        pki::last_addresses(self.project).ok()?.get(name).copied()
    }

    fn line(&self, name: &Hostname, address: SocketAddr) -> Result<Line, Obstacle> {
        let host = dns_name(&self.cluster_id, name);
        let client = Client::builder()
            .tls_backend_preconfigured(self.config.clone())
            // The name that the certificate must have stays the manager's, whatever address is used.
            .resolve(&host, address)
            .https_only(true)
            .no_proxy()
            .redirect(Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .build()
            .map_err(|error| Obstacle::of(error, &self.cluster_id))?;
        Ok(Line { client, address, name: name.clone(), host })
    }
}

fn names(managers: &[Hostname]) -> String {
    managers.iter().map(Hostname::as_str).collect::<Vec<_>>().join(", ")
}

/// The sentence in an answer that is not the one asked for.
fn problem(body: &[u8]) -> String {
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => printable(&problem.message),
        Err(_) => "it gave no reason".to_owned(),
    }
}

/// Where a node says it is, else where Swarm sees it. Swarm sees a manager at 0.0.0.0 at times.
pub(crate) fn address(node: &BoardNode) -> Option<Ipv4Addr> {
    let seen = |entry: &SwarmEntry| entry.address.as_ref()?.parse().ok();
    let said = node.report.as_ref().and_then(|report| report.address);
    said.or_else(|| node.swarm.as_ref().and_then(seen)).filter(|address| !address.is_unspecified())
}

/// Whether an address is an IPv4 address that other machines could use.
fn usable(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(v4) if !v4.is_loopback() && !v4.is_unspecified() => Some(v4),
        _ => None,
    }
}
