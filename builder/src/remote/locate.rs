//! Ways to find the manager, best first: an address that was given, the cluster file's, the last good one, its name on the
//! local network, the service with the cluster's identity there, DNS.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::rc::Rc;
use std::str::FromStr;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use cluster::discovery::{SERVICE, TXT_ID, TXT_NODE, instance, other_names};
use cluster::name::{ClusterId, Hostname};
use cluster::wire::PORT;
use mdns_sd::{HostnameResolutionEvent, Receiver, ResolvedService, ScopedIp, ServiceDaemon, ServiceEvent};
use thiserror::Error;

use super::{Obstacle, usable};
use crate::project::Project;

/// How long a name is asked for on the local network.
const MDNS_TIMEOUT: Duration = Duration::from_secs(3);

/// How long others may take to announce what was found already.
const OTHERS: Duration = Duration::from_millis(300);

/// Most addresses in one answer that are tried: each may cost seconds.
const ADDRESSES: usize = 8;

/// Where the operator says the manager is: an address or a name, and perhaps a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    host: Host,
    port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Ip(IpAddr),
    Name(String),
}

/// A text that is no [`Address`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("give an address such as 192.168.1.23, a name such as red00.local, or either with :PORT")]
pub struct AddressError;

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self { host: Host::Ip(address.ip()), port: address.port() });
        }
        if let Ok(ip) = text.parse() {
            return Ok(Self { host: Host::Ip(ip), port: PORT });
        }
        let (name, port) = match text.split_once(':') {
            Some((name, port)) => (name, port.parse().map_err(|_| AddressError)?),
            None => (text, PORT),
        };
        let part_of_name = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
        if name.is_empty() || !name.chars().all(part_of_name) {
            return Err(AddressError);
        }
        // Capitals make no other name (RFC 4343), and `.local` is looked for below.
        Ok(Self { host: Host::Name(name.to_ascii_lowercase()), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(ip) => write!(f, "{}", SocketAddr::new(*ip, self.port)),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

/// One way to the manager.
#[derive(Debug)]
pub(super) enum Way {
    Given(Address),
    ClusterFile(Ipv4Addr),
    LastGood(Ipv4Addr),
    /// The manager's name on the local network.
    Mdns(Rc<LocalSearch>),
    /// The service with the cluster's identity, where another machine has the name.
    Service(Rc<LocalSearch>),
    /// The names that such a manager gets instead: one that announces no service is found by them.
    Renamed(Rc<LocalSearch>),
    Dns(String),
}

/// The ways to try, in order. An address the operator gives is the only one.
pub(super) fn ways(
    project: &Project,
    cluster: &ClusterId,
    manager: &Hostname,
    given: Option<&Address>,
    last: Option<Ipv4Addr>,
) -> Vec<Way> {
    if let Some(given) = given {
        return vec![Way::Given(given.clone())];
    }
    let planned = project.cluster.nodes.iter().find(|node| node.name == *manager);
    let fixed = planned.and_then(|node| node.address.as_ref()).map(|address| address.ip);
    let last = last.filter(|last| fixed != Some(*last));
    let local = Rc::new(LocalSearch::new(cluster, manager));
    let search = || Rc::clone(&local);
    fixed
        .map(Way::ClusterFile)
        .into_iter()
        .chain(last.map(Way::LastGood))
        .chain([Way::Mdns(search()), Way::Service(search()), Way::Renamed(search())])
        .chain([Way::Dns(manager.to_string())])
        .collect()
}

impl Way {
    /// Whether the way's own description already says this address.
    pub(super) fn is(&self, address: SocketAddr) -> bool {
        match self {
            Self::Given(Address { host: Host::Ip(ip), .. }) => address.ip() == *ip,
            Self::Given(_) | Self::Mdns(_) | Self::Service(_) | Self::Renamed(_) | Self::Dns(_) => false,
            Self::ClusterFile(_) | Self::LastGood(_) => true,
        }
    }

    /// Whether it is only there for managers whose name is taken, so that its absence says nothing.
    pub(super) const fn is_spare(&self) -> bool {
        matches!(self, Self::Service(_) | Self::Renamed(_))
    }

    /// The addresses it leads to. Takes no longer than `patience`.
    pub(super) fn addresses(&self, patience: Duration) -> Result<Vec<SocketAddr>, Obstacle> {
        match self {
            Self::Given(Address { host: Host::Ip(ip), port }) => Ok(vec![SocketAddr::new(*ip, *port)]),
            Self::Given(Address { host: Host::Name(name), port }) if name.ends_with(".local") => {
                let started = Instant::now();
                let asked = Questions::ask(&[name], None, patience).and_then(|asked| asked.name(*port));
                asked.or_else(|_| ask_system(name, *port, patience.saturating_sub(started.elapsed())))
            }
            Self::Given(Address { host: Host::Name(name), port }) => ask_system(name, *port, patience),
            Self::ClusterFile(ip) | Self::LastGood(ip) => Ok(vec![SocketAddr::new((*ip).into(), PORT)]),
            Self::Mdns(search) => search.asked(patience)?.name(PORT),
            Self::Service(search) => search.asked(patience)?.service(&search.cluster, &search.manager),
            Self::Renamed(search) => search.asked(patience)?.renamed(),
            Self::Dns(name) => ask_system(name, PORT, patience),
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(address) => write!(f, "{address}"),
            Self::ClusterFile(ip) => write!(f, "{ip} (from the cluster file)"),
            Self::LastGood(ip) => write!(f, "{ip} (where it was last time)"),
            Self::Mdns(search) => write!(f, "{}.local (asked on the local network)", search.manager),
            Self::Service(search) => {
                write!(f, "{} (announced on the local network)", instance(&search.cluster, &search.manager))
            }
            Self::Renamed(search) => {
                write!(f, "other names of {} (asked on the local network)", search.manager)
            }
            Self::Dns(name) => write!(f, "{name} (asked the name server)"),
        }
    }
}

/// A manager that is looked for on the local network, in several ways by one set of questions. They are asked when the first
/// of the ways is tried.
#[derive(Debug)]
pub(super) struct LocalSearch {
    cluster: ClusterId,
    manager: Hostname,
    questions: OnceCell<Questions>,
}

impl LocalSearch {
    fn new(cluster: &ClusterId, manager: &Hostname) -> Self {
        Self { cluster: cluster.clone(), manager: manager.clone(), questions: OnceCell::new() }
    }

    fn asked(&self, patience: Duration) -> Result<&Questions, Obstacle> {
        if let Some(questions) = self.questions.get() {
            return Ok(questions);
        }
        let names = [self.manager.to_string()].into_iter().chain(other_names(&self.manager));
        let names: Vec<_> = names.map(|name| format!("{name}.local")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let asked = Questions::ask(&names, Some(SERVICE), patience)?;
        Ok(self.questions.get_or_init(|| asked))
    }
}

/// What the system's own resolver says, IPv4 first: that is what the Pis listen on.
fn ask_system(name: &str, port: u16, patience: Duration) -> Result<Vec<SocketAddr>, Obstacle> {
    // getaddrinfo(3) has no time limit of ours, so it is a thread's, which nobody waits for then.
    let (told, answer) = channel();
    let asked = (name.to_owned(), port);
    std::thread::spawn(move || {
        let found = asked.to_socket_addrs().map(Iterator::collect::<Vec<_>>);
        // Nobody wants it any more.
        let _unheard = told.send(found);
    });
    let answer = answer.recv_timeout(patience).map_err(|_| Obstacle::Unknown)?;
    let mut found = answer.map_err(|_| Obstacle::Unknown)?;
    found.sort_by_key(SocketAddr::is_ipv6);
    if found.is_empty() { Err(Obstacle::Unknown) } else { Ok(found) }
}

/// Questions by multicast DNS (RFC 6762) on all interfaces. Not left to the system: many have no resolver for `.local`.
struct Questions {
    daemon: ServiceDaemon,
    /// Answers about names, the manager's own first.
    names: Vec<Receiver<HostnameResolutionEvent>>,
    service: Option<Receiver<ServiceEvent>>,
    /// When nobody waits for answers any more.
    deadline: Instant,
}

impl fmt::Debug for Questions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Questions").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

impl Drop for Questions {
    fn drop(&mut self) {
        // The answers are there or not; the daemon's thread ends either way.
        let _ended = self.daemon.shutdown();
    }
}

impl Questions {
    fn ask(names: &[&str], service: Option<&str>, patience: Duration) -> Result<Self, Obstacle> {
        let other = |error: mdns_sd::Error| Obstacle::Other(error.into());
        let daemon = ServiceDaemon::new().map_err(other)?;
        let patience = patience.min(MDNS_TIMEOUT);
        let millis = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        let ask = |name: &&str| daemon.resolve_hostname(&format!("{name}."), Some(millis)).map_err(other);
        let names = names.iter().map(ask).collect::<Result<_, _>>()?;
        let service = service.map(|service| daemon.browse(&format!("{service}.local.")).map_err(other));
        let service = service.transpose()?;
        Ok(Self { daemon, names, service, deadline: Instant::now() + patience })
    }

    /// The first addresses of the first name.
    fn name(&self, port: u16) -> Result<Vec<SocketAddr>, Obstacle> {
        let answers = self.names.first().ok_or(Obstacle::Unknown)?;
        let mut only_ipv6 = false;
        while let Ok(event) = answers.recv_deadline(self.deadline) {
            let HostnameResolutionEvent::AddressesFound(_, addresses) = event else { continue };
            let found = sockets(&addresses, port);
            if !found.is_empty() {
                return Ok(found);
            }
            only_ipv6 |= !addresses.is_empty();
        }
        Err(if only_ipv6 { Obstacle::OnlyIpv6 } else { Obstacle::Unknown })
    }

    /// Where a manager of this cluster says that it is.
    fn service(&self, cluster: &ClusterId, manager: &Hostname) -> Result<Vec<SocketAddr>, Obstacle> {
        let answers = self.service.as_ref().ok_or(Obstacle::Unknown)?;
        let (mut found, mut deadline) = (Vec::new(), self.deadline);
        while let Ok(event) = answers.recv_deadline(deadline) {
            if let ServiceEvent::ServiceResolved(service) = event
                && is_of(&service, cluster, manager)
            {
                // Anybody may announce it, so whoever was first is not the only one.
                found.extend(sockets(&service.addresses, service.port));
                deadline = deadline.min(Instant::now() + OTHERS);
            }
        }
        if found.is_empty() { Err(Obstacle::Unknown) } else { Ok(found) }
    }

    /// All addresses of the other names.
    fn renamed(&self) -> Result<Vec<SocketAddr>, Obstacle> {
        let mut found = Vec::new();
        for answers in self.names.iter().skip(1) {
            while let Ok(event) = answers.recv_deadline(self.deadline) {
                if let HostnameResolutionEvent::AddressesFound(_, addresses) = event {
                    found.extend(sockets(&addresses, PORT));
                    break;
                }
            }
        }
        if found.is_empty() { Err(Obstacle::Unknown) } else { Ok(found) }
    }
}

/// Whether a service is announced for this manager. Whether it is, its certificate says.
fn is_of(service: &ResolvedService, cluster: &ClusterId, manager: &Hostname) -> bool {
    let says = |key: &str, value: &str| service.get_property_val_str(key) == Some(value);
    says(TXT_ID, cluster.as_str()) && says(TXT_NODE, manager.as_str())
}

/// The IPv4 addresses that other machines could use.
fn sockets(addresses: &HashSet<ScopedIp>, port: u16) -> Vec<SocketAddr> {
    let usable = addresses.iter().filter_map(|address| usable(address.to_ip_addr()));
    usable.map(|ip| SocketAddr::new(ip.into(), port)).take(ADDRESSES).collect()
}

#[cfg(test)]
mod tests {
    use mdns_sd::ServiceInfo;

    use super::*;

    #[test]
    fn only_the_own_managers_announcement_counts() {
        let id = |text: &str| ClusterId::try_from(text).unwrap();
        let name = |text: &str| Hostname::try_from(text).unwrap();
        let announced = [("id", "0123456789abcdef"), ("cluster", "red"), ("node", "red00")];
        let (service, address) = (format!("{SERVICE}.local."), "10.213.1.51");
        let info = ServiceInfo::new(&service, "x", "red00-2.local.", address, 8377, &announced[..]).unwrap();
        let resolved = info.as_resolved_service();
        assert!(is_of(&resolved, &id("0123456789abcdef"), &name("red00")));
        assert!(!is_of(&resolved, &id("fedcba9876543210"), &name("red00")));
        assert!(!is_of(&resolved, &id("0123456789abcdef"), &name("red01")));
        assert_eq!(sockets(&resolved.addresses, resolved.port), ["10.213.1.51:8377".parse().unwrap()]);
    }

    #[test]
    fn reads_addresses_and_names_with_and_without_port() {
        for (text, shown) in [
            ("10.1.1.2", "10.1.1.2:8377"),
            ("10.1.1.2:9000", "10.1.1.2:9000"),
            ("fd00::1", "[fd00::1]:8377"),
            ("[fd00::1]:9000", "[fd00::1]:9000"),
            ("red00.local", "red00.local:8377"),
            ("red00:9000", "red00:9000"),
            ("RED00.LOCAL", "red00.local:8377"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), shown);
        }
        for text in ["", ":8377", "red00:", "red00:99999", "red 00", "https://red00", "red00/x"] {
            assert_eq!(text.parse::<Address>(), Err(AddressError), "{text}");
        }
    }
}
