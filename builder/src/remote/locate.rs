//! Ways to find the manager, best first: an address that was given, the cluster file's, the last good one, mDNS, DNS.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use cluster::name::Hostname;
use cluster::wire::PORT;
use mdns_sd::{HostnameResolutionEvent, ServiceDaemon};
use thiserror::Error;

use super::{Obstacle, usable};
use crate::project::Project;

/// How long a name is asked for on the local network.
const MDNS_TIMEOUT: Duration = Duration::from_secs(3);

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way {
    Given(Address),
    ClusterFile(Ipv4Addr),
    LastGood(Ipv4Addr),
    Mdns(String),
    Dns(String),
}

/// The ways to try, in order. An address the operator gives is the only one.
pub(super) fn ways(
    project: &Project,
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
    fixed
        .map(Way::ClusterFile)
        .into_iter()
        .chain(last.map(Way::LastGood))
        .chain([Way::Mdns(format!("{manager}.local")), Way::Dns(manager.to_string())])
        .collect()
}

impl Way {
    /// Whether the way's own description already says this address.
    pub(super) fn is(&self, address: SocketAddr) -> bool {
        match self {
            Self::Given(Address { host: Host::Ip(ip), .. }) => address.ip() == *ip,
            Self::Given(_) | Self::Mdns(_) | Self::Dns(_) => false,
            Self::ClusterFile(_) | Self::LastGood(_) => true,
        }
    }

    /// The addresses it leads to. Takes no longer than `patience`.
    pub(super) fn addresses(&self, patience: Duration) -> Result<Vec<SocketAddr>, Obstacle> {
        match self {
            Self::Given(Address { host: Host::Ip(ip), port }) => Ok(vec![SocketAddr::new(*ip, *port)]),
            Self::Given(Address { host: Host::Name(name), port }) if name.ends_with(".local") => {
                let started = Instant::now();
                ask_local_network(name, *port, patience)
                    .or_else(|_| ask_system(name, *port, patience.saturating_sub(started.elapsed())))
            }
            Self::Given(Address { host: Host::Name(name), port }) => ask_system(name, *port, patience),
            Self::ClusterFile(ip) | Self::LastGood(ip) => Ok(vec![SocketAddr::new((*ip).into(), PORT)]),
            Self::Mdns(name) => ask_local_network(name, PORT, patience),
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
            Self::Mdns(name) => write!(f, "{name} (asked on the local network)"),
            Self::Dns(name) => write!(f, "{name} (asked the name server)"),
        }
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

/// Asks by multicast DNS (RFC 6762) on all interfaces. Not left to the system: many have no resolver for `.local`.
fn ask_local_network(name: &str, port: u16, patience: Duration) -> Result<Vec<SocketAddr>, Obstacle> {
    let other = |error: mdns_sd::Error| Obstacle::Other(error.into());
    let daemon = ServiceDaemon::new().map_err(other)?;
    let patience = patience.min(MDNS_TIMEOUT);
    let millis = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
    let events = daemon.resolve_hostname(&format!("{name}."), Some(millis)).map_err(other)?;
    let deadline = Instant::now() + patience;
    let mut found = Vec::new();
    while found.is_empty()
        && let Ok(event) = events.recv_deadline(deadline)
    {
        if let HostnameResolutionEvent::AddressesFound(_, addresses) = event {
            let addresses = addresses.iter().filter_map(|address| usable(address.to_ip_addr()));
            found = addresses.map(|ip| SocketAddr::new(ip.into(), port)).collect();
        }
    }
    // The answer is there or not; the daemon's thread ends either way.
    let _ended = daemon.shutdown();
    if found.is_empty() { Err(Obstacle::Unknown) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

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
