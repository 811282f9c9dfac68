//! This node's line to a manager's API: finds it, speaks mutual TLS with it, remembers where it was and what it said.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cluster::card::{Card, Planned};
use cluster::identity::{self, Role};
use cluster::name::Hostname;
use cluster::wire::{JoinReply, Problem, Report, ReportReply};
use futures_util::future::join_all;
use reqwest::{Client, Method};
use rustls::ClientConfig;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::host::Host;
use crate::journal::JournalFile;
use crate::resolve::LookUps;

mod error;

pub use error::{Foreign, LinkError};

use error::Met;

const CONNECT: Duration = Duration::from_secs(3);
const ANSWER: Duration = Duration::from_secs(10);
/// Where all managers are asked: one that is off must not hold up the others.
const EACH: Duration = Duration::from_secs(5);

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
    /// Other clusters' machines that were met when each manager's name was last looked up.
    foreign: Mutex<BTreeMap<Hostname, Vec<Foreign>>>,
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
            foreign: Mutex::default(),
            heard: Mutex::new(None),
        }
    }

    /// The last answer to a report.
    pub fn heard(&self) -> Option<Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Other clusters' machines that were met when the managers' names were last looked up.
    pub fn foreign(&self) -> Vec<Foreign> {
        let foreign = self.foreign.lock().unwrap_or_else(PoisonError::into_inner);
        foreign.values().flatten().cloned().collect()
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
                // Of a manager without an address there is least to say.
                Err(error @ LinkError::NotFound(_)) => failure = failure.or(Some(error)),
                Err(error @ (LinkError::Unreachable { .. } | LinkError::Foreign { .. })) => {
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

    /// Asks at every address that anything or anybody names, until one answers; whoever answers proved to be the manager.
    async fn search_one<T: DeserializeOwned>(
        &self,
        manager: &Planned,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<(T, Found), LinkError> {
        // They begin now: where the manager is not at its address, the time for that has not gone to waste.
        let mut looking = LookUps::start(&self.host, &self.card.cluster_id, &manager.name);
        let last_good = self
            .journal
            .as_ref()
            .and_then(|journal| journal.look(|journal| journal.managers.get(&manager.name).copied()));
        let mut addresses: Vec<_> = manager.address.into_iter().chain(last_good).collect();
        let (mut met, mut tried, mut sure) = (Met::default(), BTreeSet::new(), true);
        let answer = 'search: loop {
            for address in addresses {
                if !tried.insert(address) {
                    continue;
                }
                match self.try_at(manager, address, method.clone(), path, body).await {
                    Err(error @ LinkError::Unreachable { .. }) => {
                        tracing::debug!("{}", super::status::chain(&error));
                        met.add(error, sure, &self.card.cluster_id);
                    }
                    answer => break 'search Some(answer),
                }
            }
            sure = false;
            match looking.next().await {
                Some(found) => addresses = found,
                None => break None,
            }
        };
        // Where the manager was at its address, nobody was asked who else has its name.
        if !sure || !met.foreign().is_empty() {
            let mut foreign = self.foreign.lock().unwrap_or_else(PoisonError::into_inner);
            foreign.insert(manager.name.clone(), met.foreign().to_vec());
        }
        answer.unwrap_or_else(|| Err(met.into_error(&manager.name)))
    }

    async fn try_at<T: DeserializeOwned>(
        &self,
        manager: &Planned,
        address: Ipv4Addr,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<(T, Found), LinkError> {
        let unreachable = |source| LinkError::Unreachable { name: manager.name.clone(), address, source };
        let found = self.client(manager, address).map_err(unreachable)?;
        let answer = found.ask(method, path, body).await;
        if !matches!(answer, Err(LinkError::Unreachable { .. })) {
            self.remember(&found);
        }
        answer.map(|reply| (reply, found))
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
