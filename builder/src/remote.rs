//! Talking to the manager with the operator's certificate: finding it, being sure of it, asking for the board,
//! telling it whom to turn away.
//!
//! Where it is may be anybody's word: the network's, a name server's, last week's. Who it is, only its certificate
//! says: it must be signed by the cluster's CA and name the manager. So addresses are tried until one leads there.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use cluster::identity::{Role, dns_name};
use cluster::name::Hostname;
use cluster::wire::{Board, BoardNode, History, PORT, Problem, Revoke, Revoked, SwarmEntry};
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
mod locate;
mod tls;

pub use error::{Attempt, Obstacle, RemoteError};
pub use locate::{Address, AddressError};

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

/// The manager, as seen from the laptop.
#[derive(Debug)]
pub struct Manager<'a> {
    project: &'a Project,
    name: Hostname,
    host: String,
    given: Option<Address>,
    config: ClientConfig,
    /// Whether the nodes' addresses are kept.
    remembers: bool,
    /// The connection that worked last; tried before anything else.
    reached: Option<Line>,
}

/// A way to one address that may be the manager's.
#[derive(Debug)]
struct Line {
    client: Client,
    address: SocketAddr,
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
        let manager = project.cluster.nodes.iter().find(|node| node.role == Role::Manager);
        let name = manager.ok_or(RemoteError::NoManager)?.name.clone();
        let config = tls::config(&identities.operator()?).map_err(RemoteError::Identity)?;
        let host = dns_name(&identities.cluster_id, &name);
        Ok(Self { project, name, host, given, config, remembers: true, reached: None })
    }

    /// Keeps no addresses: those of a rehearsal are not where the Pis will be.
    #[must_use]
    pub fn forgetful(self) -> Self {
        Self { remembers: false, ..self }
    }

    /// Its name.
    pub fn name(&self) -> &Hostname {
        &self.name
    }

    /// What every planned node is doing now. Keeps the nodes' addresses, for `ssh` and for the next time.
    ///
    /// # Errors
    /// See [`RemoteError`]; [`RemoteError::is_transient`] tells whether asking again can help.
    pub fn board(&mut self) -> Result<Board, RemoteError> {
        let board = self.request(Method::GET, "/v1/cluster", None::<&()>)?;
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

    /// Revokes keys of a node. May be repeated.
    ///
    /// # Errors
    /// As [`Self::board`].
    pub fn revoke(&mut self, node: &Hostname, keys: &Revoke) -> Result<Revoked, RemoteError> {
        self.request(Method::POST, &format!("/v1/nodes/{node}/revoke"), Some(keys))
    }

    fn request<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, RemoteError> {
        let response = self.reach(|line, host| {
            let url = Url::parse(&format!("https://{host}:{}{path}", line.address.port()))
                .map_err(|error| Obstacle::Other(error.into()))?;
            let request = line.client.request(method.clone(), url);
            let request = if let Some(body) = body { request.json(body) } else { request };
            request.send().map_err(Obstacle::from)
        })?;
        let status = response.status();
        let mut body = Vec::new();
        response.take(ANSWER_LIMIT).read_to_end(&mut body).map_err(RemoteError::Interrupted)?;
        match status {
            StatusCode::OK => serde_json::from_slice(&body).map_err(RemoteError::NotUnderstood),
            StatusCode::FORBIDDEN => Err(RemoteError::Forbidden(problem(&body))),
            status => Err(RemoteError::Answer { status: status.as_u16(), message: problem(&body) }),
        }
    }

    /// Asks on the line that worked last, and then on every other way until one leads to the manager. What is asked may
    /// arrive twice.
    fn reach(
        &mut self,
        ask: impl Fn(&Line, &str) -> Result<Response, Obstacle>,
    ) -> Result<Response, RemoteError> {
        if let Some(line) = self.reached.take()
            && let Ok(response) = ask(&line, &self.host)
        {
            self.reached = Some(line);
            return Ok(response);
        }
        let mut attempts = Vec::new();
        for way in locate::ways(self.project, &self.name, self.given.as_ref(), self.last_address()) {
            let addresses = match way.addresses() {
                Ok(addresses) => addresses,
                Err(obstacle) => {
                    attempts.push(Attempt { to: way.to_string(), obstacle });
                    continue;
                }
            };
            for address in addresses {
                match self.line(address).and_then(|line| Ok((ask(&line, &self.host)?, line))) {
                    Ok((response, line)) => {
                        self.reached = Some(line);
                        return Ok(response);
                    }
                    Err(obstacle) => {
                        let to = if way.is(address) { way.to_string() } else { format!("{way}: {address}") };
                        attempts.push(Attempt { to, obstacle });
                    }
                }
            }
        }
        Err(RemoteError::Unreachable { manager: self.name.clone(), attempts })
    }

    /// Not worth failing for: what was asked for is there.
    fn remember(&self, board: &Board) {
        let is_planned = |name: &Hostname| self.project.cluster.nodes.iter().any(|node| node.name == *name);
        let known = board.nodes.iter().filter(|node| is_planned(&node.name));
        let known = known.filter_map(|node| Some((node.name.clone(), usable(address(node)?.into())?)));
        let mut heard: BTreeMap<_, _> = known.collect();
        // What led to the manager is better than what it says of itself. Another port leads through a tunnel.
        let reached = self.reached.as_ref().map(|line| line.address).filter(|address| address.port() == PORT);
        if let Some(address) = reached.and_then(|address| usable(address.ip())) {
            heard.insert(self.name.clone(), address);
        }
        if let Err(failure) = pki::remember_addresses(self.project, &heard) {
            tracing::warn!("cannot remember addresses: {}", failure.render().trim_end());
        }
    }

    /// A damaged memory of addresses must not hide the manager: `builder build` will complain of it.
    fn last_address(&self) -> Option<Ipv4Addr> {
        pki::last_addresses(self.project).ok()?.get(&self.name).copied()
    }

    fn line(&self, address: SocketAddr) -> Result<Line, Obstacle> {
        let client = Client::builder()
            .tls_backend_preconfigured(self.config.clone())
            // The name that the certificate must have stays the manager's, whatever address is used.
            .resolve(&self.host, address)
            .https_only(true)
            .no_proxy()
            .redirect(Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            .build()
            .map_err(Obstacle::from)?;
        Ok(Line { client, address })
    }
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

/// Text from another machine, fit for a terminal: what could move the cursor, colour or reorder text is replaced.
pub(crate) fn printable(text: &str) -> String {
    let reorders =
        |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let acts = |c: char| c.is_control() || reorders(c);
    text.chars().map(|c| if acts(c) { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_machine_cannot_write_to_the_terminal_what_it_likes() {
        assert_eq!(printable("installing docker-ce: 40 %, größer"), "installing docker-ce: 40 %, größer");
        assert_eq!(printable("a\x1b[2Jb\nc\u{9b}d\u{202e}e"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}d\u{fffd}e");
    }
}
