//! This node's line to a manager's API: finds it, speaks mutual TLS with it, remembers where it was and what it said.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cluster::card::{Card, Planned};
use cluster::identity::{self, Role};
use cluster::name::Hostname;
use cluster::wire::{Cause, JoinReply, Problem, ProblemCode, Report, ReportReply};
use futures_util::future::join_all;
use reqwest::{Client, Method};
use rustls::{CertificateError, ClientConfig};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::host::Host;
use crate::journal::JournalFile;
use crate::resolve::{self, Source};

const CONNECT: Duration = Duration::from_secs(3);
const ANSWER: Duration = Duration::from_secs(10);
/// Where all managers are asked: one that is off must not hold up the others.
const EACH: Duration = Duration::from_secs(5);

/// Why a manager did not give what was asked.
#[derive(Debug, Error)]
pub enum LinkError {
    /// No manager is to be found.
    #[error("no address found for {0}")]
    NotFound(String),
    /// It does not answer.
    #[error("manager {name} does not answer at {address}")]
    Unreachable {
        /// Whom.
        name: Hostname,
        /// Where.
        address: Ipv4Addr,
        /// Why not.
        #[source]
        source: reqwest::Error,
    },
    /// It answered that it will not.
    #[error("manager {name} answered {status}: {message}")]
    Refused {
        /// Who.
        name: Hostname,
        /// HTTP status.
        status: u16,
        /// Its reason.
        message: String,
        /// The same for programs, from a manager that knows a code for it.
        cause: Option<Cause>,
    },
}

impl LinkError {
    /// What a person can do something about.
    pub fn cause(&self) -> Option<Cause> {
        match self {
            Self::NotFound(managers) => Some(Cause::new(ProblemCode::ManagerNotFound).about(managers)),
            Self::Unreachable { name, source, .. } => {
                let code = match rejected_certificate(source) {
                    Some(error) if is_of_another_time(error) => return Some(ProblemCode::ClockWrong.into()),
                    Some(_) => ProblemCode::ManagerUntrusted,
                    None => ProblemCode::ManagerSilent,
                };
                Some(Cause::new(code).about(name.as_str()))
            }
            Self::Refused { cause, .. } => cause.clone(),
        }
    }

    /// Whether it is this node that the manager wants nothing to do with, and not what it asked at the wrong time.
    const fn turns_away(&self) -> bool {
        matches!(self, Self::Refused { status: 403, .. })
    }
}

/// Why the certificate of whoever answered was rejected, if that is why there was no answer.
fn rejected_certificate(error: &reqwest::Error) -> Option<&CertificateError> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(rustls::Error::InvalidCertificate(error)) = error.downcast_ref() {
            return Some(error);
        }
        // An I/O error hides the error that it was made of: its source is that error's source.
        cause = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// Whether a certificate is not valid yet, or not any more, by this node's clock.
const fn is_of_another_time(error: &CertificateError) -> bool {
    use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    matches!(error, Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. })
}

/// A manager that answered.
#[derive(Debug, Clone)]
struct Found {
    name: Hostname,
    address: Ipv4Addr,
    base: String,
    http: Client,
}

/// The last answer to a report.
#[derive(Debug, Clone)]
pub struct Heard {
    /// What it said.
    pub reply: ReportReply,
    /// When.
    pub at: Instant,
    /// Where the manager is.
    pub address: Ipv4Addr,
}

/// The line to the managers.
#[derive(Debug)]
pub struct Link {
    card: Arc<Card>,
    host: Arc<dyn Host>,
    /// None where it is the journal that cannot be kept.
    journal: Option<Arc<JournalFile>>,
    tls: ClientConfig,
    port: u16,
    /// Whoever finds the manager finds it for all who look for it.
    found: watch::Sender<Option<Found>>,
    /// Lines to the managers that have answered.
    lines: Mutex<BTreeMap<Hostname, Found>>,
    /// Which manager is looked for first.
    first: AtomicUsize,
    heard: Mutex<Option<Heard>>,
}

impl Link {
    /// A line that is not connected yet.
    pub fn new(
        card: Arc<Card>,
        host: Arc<dyn Host>,
        journal: Option<Arc<JournalFile>>,
        tls: ClientConfig,
        port: u16,
    ) -> Self {
        Self {
            card,
            host,
            journal,
            tls,
            port,
            found: watch::Sender::new(None),
            lines: Mutex::default(),
            first: AtomicUsize::new(0),
            heard: Mutex::new(None),
        }
    }

    /// The last answer to a report.
    pub fn heard(&self) -> Option<Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reports; the answer is kept for [`Self::heard`], too.
    pub async fn report(&self, report: &Report) -> Result<ReportReply, LinkError> {
        let path = format!("/v1/nodes/{}", self.card.node);
        let (reply, address) = self.ask::<ReportReply>(Method::PUT, &path, Some(report)).await?;
        let heard = Heard { reply: reply.clone(), at: Instant::now(), address };
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(heard);
        if !reply.reads_list && self.others().nth(1).is_some() {
            // Another manager may know more.
            self.look_elsewhere();
        }
        Ok(reply)
    }

    /// Gives the manager up that answered last; the next one is looked for first.
    pub(crate) fn look_elsewhere(&self) {
        self.found.send_replace(None);
        self.first.fetch_add(1, Ordering::Relaxed);
    }

    /// Asks for what is needed to join.
    pub async fn join(&self) -> Result<JoinReply, LinkError> {
        if self.card.role == Role::Worker {
            let (reply, _) = self.ask::<JoinReply>(Method::POST, "/v1/join", None::<&()>).await?;
            return Ok(reply);
        }
        // Only the one that leads lets managers in.
        let mut failure = LinkError::NotFound(self.names());
        for (_, answer) in self.ask_each::<JoinReply>(Method::POST, "/v1/join", None::<&()>).await {
            match answer {
                Ok(reply) => return Ok(reply),
                Err(error @ LinkError::Refused { .. }) => failure = error,
                Err(error) if !matches!(failure, LinkError::Refused { .. }) => failure = error,
                Err(_) => {}
            }
        }
        Err(failure)
    }

    /// The managers other than this node, in the cluster file's order.
    fn others(&self) -> impl Iterator<Item = &Planned> {
        self.card.managers().filter(|manager| manager.name != self.card.node)
    }

    fn names(&self) -> String {
        self.others().map(|manager| manager.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// Asks all other managers at the same time. Whoever does not answer costs a few seconds.
    pub async fn ask_each<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + Sync)>,
    ) -> Vec<(Hostname, Result<T, LinkError>)> {
        let ask = async |manager: &Planned| {
            if let Some(found) = self.line(&manager.name) {
                let answer = found.ask(method.clone(), path, body).await;
                if !matches!(answer, Err(LinkError::Unreachable { .. })) {
                    return answer;
                }
                self.lines().remove(&manager.name);
            }
            let answer = self.search_one(manager, method.clone(), path, body).await;
            answer.map(|(reply, _)| reply)
        };
        join_all(self.others().map(async |manager| {
            let answer = timeout(EACH, ask(manager)).await;
            let late = || LinkError::NotFound(manager.name.to_string());
            (manager.name.clone(), answer.unwrap_or_else(|_| Err(late())))
        }))
        .await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<(T, Ipv4Addr), LinkError> {
        let known = self.found.borrow().clone();
        let found = match known {
            Some(found) => found,
            None => tokio::select! {
                answer = self.search(method.clone(), path, body) => return answer,
                found = self.found() => found,
            },
        };
        let answer = found.ask(method, path, body).await;
        match &answer {
            Err(LinkError::Unreachable { .. }) => drop(self.found.send_replace(None)),
            // Perhaps it alone will not: another may have been told more.
            Err(error) if error.turns_away() && self.others().nth(1).is_some() => self.look_elsewhere(),
            _ => {}
        }
        answer.map(|reply| (reply, found.address))
    }

    /// Waits until a manager has answered.
    async fn found(&self) -> Found {
        let mut watch = self.found.subscribe();
        match watch.wait_for(Option::is_some).await.map(|found| found.clone()) {
            Ok(Some(found)) => found,
            // The sender lives as long as this.
            _ => std::future::pending().await,
        }
    }

    /// Waits until a manager has answered, but not for ever; says whether one has.
    pub async fn is_found(&self, patience: Duration) -> bool {
        timeout(patience, self.found()).await.is_ok()
    }

    /// Asks the managers in turn until one answers. One that turns this node away, as one with an old card does, does not
    /// keep it from the others; but its word counts for more than their silence.
    async fn search<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<(T, Ipv4Addr), LinkError> {
        let (mut failure, mut refusal) = (None, None);
        let others: Vec<_> = self.others().collect();
        let first = self.first.load(Ordering::Relaxed).checked_rem(others.len()).unwrap_or_default();
        for manager in others.iter().cycle().skip(first).take(others.len()) {
            match self.search_one(manager, method.clone(), path, body).await {
                Ok((reply, found)) => {
                    let address = found.address;
                    tracing::info!("manager {} answers at {address}", found.name);
                    self.found.send_replace(Some(found));
                    return Ok((reply, address));
                }
                Err(error @ (LinkError::Unreachable { .. } | LinkError::NotFound(_))) => {
                    failure = Some(error)
                }
                Err(error) if error.turns_away() => refusal = Some((error, manager)),
                Err(error) => {
                    self.found.send_replace(self.line(&manager.name));
                    return Err(error);
                }
            }
        }
        if let Some((error, manager)) = refusal {
            self.found.send_replace(self.line(&manager.name));
            return Err(error);
        }
        Err(failure.unwrap_or_else(|| LinkError::NotFound(self.names())))
    }

    /// Asks at every address every source gives until one answers; whoever answers proved to be the manager.
    async fn search_one<T: DeserializeOwned>(
        &self,
        manager: &Planned,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<(T, Found), LinkError> {
        let (mut failure, mut tried) = (None, Vec::new());
        for source in Source::ORDER {
            let Some(address) = self.look_up(source, manager).await else { continue };
            if tried.contains(&address) {
                continue;
            }
            tried.push(address);
            let found = self.client(manager, address).map_err(|source| LinkError::Unreachable {
                name: manager.name.clone(),
                address,
                source,
            })?;
            let answer = found.ask(method.clone(), path, body).await;
            if let Err(error @ LinkError::Unreachable { .. }) = answer {
                tracing::debug!("{}", super::status::chain(&error));
                failure = Some(error);
                continue;
            }
            self.remember(&found);
            return answer.map(|reply| (reply, found));
        }
        Err(failure.unwrap_or_else(|| LinkError::NotFound(manager.name.to_string())))
    }

    async fn look_up(&self, source: Source, manager: &Planned) -> Option<Ipv4Addr> {
        match source {
            Source::Given => manager.address,
            Source::LastGood => self.journal.as_ref()?.get().managers.get(&manager.name).copied(),
            Source::Avahi => resolve::avahi(&manager.name).await,
            Source::Dns => resolve::dns(&self.host, &manager.name).await,
        }
    }

    fn remember(&self, found: &Found) {
        self.lines().insert(found.name.clone(), found.clone());
        let Some(journal) = &self.journal else { return };
        let (name, address) = (found.name.clone(), found.address);
        if let Err(error) = journal.settle(|journal| _ = journal.managers.insert(name, address)) {
            tracing::warn!("{}", super::status::chain(&error));
        }
    }

    fn line(&self, manager: &Hostname) -> Option<Found> {
        self.lines().get(manager).cloned()
    }

    fn lines(&self) -> MutexGuard<'_, BTreeMap<Hostname, Found>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client for one manager at one address. The certificate's name is verified, not the address.
    fn client(&self, manager: &Planned, address: Ipv4Addr) -> Result<Found, reqwest::Error> {
        let name = identity::dns_name(&self.card.cluster_id, &manager.name);
        let http = Client::builder()
            .tls_backend_preconfigured(self.tls.clone())
            .https_only(true)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .pool_max_idle_per_host(1)
            .pool_idle_timeout(Duration::from_secs(20))
            .resolve(&name, SocketAddr::new(IpAddr::V4(address), self.port))
            .build()?;
        let base = format!("https://{name}:{}", self.port);
        Ok(Found { name: manager.name.clone(), address, base, http })
    }
}

impl Found {
    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, LinkError> {
        let unreachable =
            |source| LinkError::Unreachable { name: self.name.clone(), address: self.address, source };
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        if status.is_success() {
            return response.json().await.map_err(unreachable);
        }
        let problem = response.json::<Problem>().await;
        let Problem { message, cause } =
            problem.unwrap_or_else(|_| Problem { message: "no reason given".to_owned(), cause: None });
        Err(LinkError::Refused { name: self.name.clone(), status: status.as_u16(), message, cause })
    }
}
