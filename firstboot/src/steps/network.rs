//! The node's own IPv4 address, as a literal: Docker's own choice fails on any LAN with IPv6, and names of
//! interfaces fail with it.
//!
//! Power lost here: nothing was changed.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cluster::card::Card;
use cluster::wire::{Cause, ProblemCode, Stage};
use serde::Deserialize;
use thiserror::Error;
use tokio::time::{Instant, sleep};

use super::{Probe, Step, StepError};
use crate::agent::Pi;
use crate::host::Program;
use crate::retry::{LOCAL, Policy};

/// An address and the network it lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Local {
    /// The address.
    pub ip: Ipv4Addr,
    /// Prefix length in bits.
    pub prefix: u8,
}

/// How long a network may take to be as it will stay. IPv6 is there at once, and DHCP may take half a minute.
const SETTLING: Duration = Duration::from_secs(30);

/// Finds the address.
#[derive(Debug)]
pub(crate) struct Network {
    pi: Arc<Pi>,
    last: Mutex<Last>,
}

/// What the probes before saw.
#[derive(Debug, Default)]
struct Last {
    /// An address counts once it was seen twice.
    seen: Option<Local>,
    /// Since when there is none.
    lacking: Option<Instant>,
}

impl Network {
    pub(crate) const fn new(pi: Arc<Pi>) -> Self {
        Self { pi, last: Mutex::new(Last { seen: None, lacking: None }) }
    }

    async fn ip(&self, words: [&str; 5]) -> Result<Vec<u8>, StepError> {
        self.pi.run("read the network's state", Program::new("ip", words)).await
    }

    /// Global IPv6 addresses with their interfaces. Systems without IPv6 have none.
    async fn ipv6(&self) -> Vec<String> {
        let json = self.ip(["-j", "-6", "address", "show", "up"]).await.unwrap_or_default();
        let links: Vec<Link<Ipv6Addr>> = parse(&json).unwrap_or_default();
        let real = links.iter().filter(|link| link.is_real());
        real.filter_map(|link| Some(format!("{} {}", link.ifname, link.global()?.local?))).collect()
    }
}

impl Step for Network {
    type Outcome = Local;
    const STAGE: Stage = Stage::Network;
    const RETRY: Policy = LOCAL;

    async fn probe(&self) -> Result<Probe<Local>, StepError> {
        let addresses = self.ip(["-j", "-4", "address", "show", "up"]).await?;
        let routes = self.ip(["-j", "-4", "route", "show", "default"]).await?;
        let links: Vec<Link<Ipv4Addr>> = parse(&addresses)?;
        let routes: Vec<Route> = parse(&routes)?;
        let found = choose(&links, &routes, &Wanted::of(&self.pi.card));
        let (settled, lasting) = {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            let seen = found.as_ref().ok().copied();
            let settled = last.seen == seen;
            let since = *last.lacking.get_or_insert_with(Instant::now);
            *last = Last { seen, lacking: seen.is_none().then_some(since) };
            (settled, since.elapsed() >= SETTLING)
        };
        let lack = match found {
            Ok(local) if settled || self.pi.card.address.is_some() => return Ok(Probe::Done(local)),
            Ok(local) => return Ok(Probe::Needed(format!("address {}", local.ip))),
            Err(lack) if !lasting => return Ok(Probe::Needed(lack.to_string())),
            Err(Lack::Address) => match self.ipv6().await {
                ipv6 if ipv6.is_empty() => Lack::Address,
                ipv6 => Lack::Ipv4(ipv6),
            },
            Err(lack) => lack,
        };
        match lack.cause() {
            Some(cause) => Err(StepError::Known { cause, message: lack.to_string(), permanent: false }),
            None => Ok(Probe::Needed(lack.to_string())),
        }
    }

    async fn apply(&self) -> Result<(), StepError> {
        sleep(Duration::from_millis(500)).await;
        Ok(())
    }
}

/// What the card says about the address.
#[derive(Debug, Default)]
struct Wanted {
    /// The node's fixed address.
    fixed: Option<Ipv4Addr>,
    /// The interface for the swarm.
    interface: Option<String>,
    /// Fixed addresses of any nodes: the swarm is where they are.
    planned: Vec<Ipv4Addr>,
}

impl Wanted {
    fn of(card: &Card) -> Self {
        Self {
            fixed: card.address.as_ref().map(|address| address.ip),
            interface: card.swarm.interface.clone(),
            planned: card.nodes.iter().filter_map(|node| node.address).collect(),
        }
    }
}

/// Why there is no address to use.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
enum Lack {
    #[error("waiting for an IPv4 address")]
    Address,
    #[error("waiting for the fixed address {0}")]
    Fixed(Ipv4Addr),
    #[error(
        "there is no IPv4 address on {name}, which the cluster file names under swarm: interface{}",
        others(found)
    )]
    Interface { name: String, found: Vec<String> },
    #[error(
        "there is no default route, and several interfaces have an address ({}): name one in the cluster file under \
         swarm: interface",
        .0.join(", ")
    )]
    Route(Vec<String>),
    #[error("there is no IPv4 address, which the swarm needs, but only IPv6 ({})", .0.join(", "))]
    Ipv4(Vec<String>),
}

fn others(found: &[String]) -> String {
    if found.is_empty() { String::new() } else { format!("; there are {}", found.join(", ")) }
}

impl Lack {
    /// What a person can do something about, once it lasts.
    fn cause(&self) -> Option<Cause> {
        Some(match self {
            Self::Address | Self::Fixed(_) => return None,
            Self::Interface { name, .. } => Cause::new(ProblemCode::InterfaceWithoutAddress).about(name),
            Self::Route(found) => Cause::new(ProblemCode::AddressAmbiguous).about(&found.join(", ")),
            Self::Ipv4(found) => Cause::new(ProblemCode::Ipv6Only).about(&found.join(", ")),
        })
    }
}

/// One interface, as `ip -j address` writes it.
#[derive(Debug, Deserialize)]
struct Link<A> {
    #[serde(default)]
    ifname: String,
    #[serde(default = "Vec::new")]
    addr_info: Vec<Address<A>>,
}

#[derive(Debug, Deserialize)]
struct Address<A> {
    local: Option<A>,
    #[serde(default)]
    prefixlen: u8,
    #[serde(default)]
    scope: String,
}

impl<A> Link<A> {
    /// Not one that Docker made, nor loopback.
    fn is_real(&self) -> bool {
        !["docker", "br-", "veth", "lo"].iter().any(|prefix| self.ifname.starts_with(prefix))
    }

    fn global(&self) -> Option<&Address<A>> {
        self.addr_info.iter().find(|address| address.scope == "global")
    }
}

impl Link<Ipv4Addr> {
    fn address(&self) -> Option<Local> {
        let address = self.global()?;
        Some(Local { ip: address.local?, prefix: address.prefixlen })
    }
}

impl Local {
    /// Whether an address is in the same network.
    fn reaches(&self, other: Ipv4Addr) -> bool {
        let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix.min(32))).unwrap_or(0);
        self.ip.to_bits() & mask == other.to_bits() & mask
    }
}

/// One route, as `ip -j route` writes it.
#[derive(Debug, Deserialize)]
struct Route {
    dev: Option<String>,
    prefsrc: Option<Ipv4Addr>,
    #[serde(default)]
    metric: u32,
}

/// `ip -j` prints nothing at all instead of an empty list in some versions.
fn parse<T: for<'de> Deserialize<'de>>(json: &[u8]) -> Result<Vec<T>, StepError> {
    if json.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_slice(json)
        .map_err(|error| StepError::Later(format!("cannot read the output of ip: {error}")))
}

/// The fixed address if it is there; else that of the named interface; else that of the best default route; else, on
/// a network without a way out, that of the only interface that has one, or of the only one where planned nodes are.
fn choose(links: &[Link<Ipv4Addr>], routes: &[Route], wanted: &Wanted) -> Result<Local, Lack> {
    let find = |ip: Ipv4Addr| {
        let mut addresses = links.iter().flat_map(|link| &link.addr_info);
        let found = addresses.find(|address| address.local == Some(ip));
        found.map(|address| Local { ip, prefix: address.prefixlen })
    };
    let of = |name: &str| links.iter().find(|link| link.ifname == name).and_then(Link::address);
    let real: Vec<_> = links
        .iter()
        .filter(|link| link.is_real())
        .filter_map(|link| Some((link.ifname.as_str(), link.address()?)))
        .collect();
    let names = || real.iter().map(|(name, local)| format!("{name} {}", local.ip)).collect();
    if let Some(ip) = wanted.fixed {
        return find(ip).ok_or(Lack::Fixed(ip));
    }
    if let Some(name) = &wanted.interface {
        return of(name).ok_or_else(|| Lack::Interface { name: name.clone(), found: names() });
    }
    let of_route = |route: &Route| route.prefsrc.and_then(find).or_else(|| of(route.dev.as_deref()?));
    let mut routes: Vec<_> = routes.iter().collect();
    routes.sort_by_key(|route| route.metric);
    if let Some(local) = routes.into_iter().find_map(of_route) {
        return Ok(local);
    }
    let is_planned = |local: &Local| wanted.planned.iter().any(|planned| local.reaches(*planned));
    let planned: Vec<_> = real.iter().filter(|(_, local)| is_planned(local)).collect();
    match (real.as_slice(), planned.as_slice()) {
        ([], _) => Err(Lack::Address),
        ([(_, only)], _) | (_, [(_, only)]) => Ok(*only),
        _ => Err(Lack::Route(names())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESSES: &str = r#"[
        {"ifname":"lo","addr_info":[{"family":"inet","local":"127.0.0.1","prefixlen":8,"scope":"host"}]},
        {"ifname":"eth0","addr_info":[{"family":"inet","local":"192.168.1.20","prefixlen":24,"scope":"global"}]},
        {"ifname":"wlan0","addr_info":[{"family":"inet","local":"192.168.1.21","prefixlen":24,"scope":"global"}]},
        {"ifname":"docker0","addr_info":[{"family":"inet","local":"172.17.0.1","prefixlen":16,"scope":"global"}]}]"#;
    const ROUTES: &str = r#"[{"dst":"default","gateway":"192.168.1.1","dev":"wlan0","metric":600},
        {"dst":"default","gateway":"192.168.1.1","dev":"eth0","protocol":"dhcp","metric":100}]"#;

    fn chosen(
        addresses: &str,
        routes: &str,
        wanted: Option<Ipv4Addr>,
        interface: Option<&str>,
    ) -> Option<String> {
        let wanted = Wanted { fixed: wanted, interface: interface.map(str::to_owned), planned: Vec::new() };
        choice(addresses, routes, &wanted).ok().map(|local| format!("{}/{}", local.ip, local.prefix))
    }

    fn choice(addresses: &str, routes: &str, wanted: &Wanted) -> Result<Local, Lack> {
        let links: Vec<Link<Ipv4Addr>> = parse(addresses.as_bytes()).unwrap();
        let routes: Vec<Route> = parse(routes.as_bytes()).unwrap();
        choose(&links, &routes, wanted)
    }

    #[test]
    fn takes_the_address_of_the_best_default_route() {
        assert_eq!(chosen(ADDRESSES, ROUTES, None, None).as_deref(), Some("192.168.1.20/24"));
    }

    #[test]
    fn the_cluster_file_decides_before_the_route() {
        assert_eq!(chosen(ADDRESSES, ROUTES, None, Some("wlan0")).as_deref(), Some("192.168.1.21/24"));
        let fixed = Some(Ipv4Addr::new(192, 168, 1, 21));
        assert_eq!(chosen(ADDRESSES, ROUTES, fixed, None).as_deref(), Some("192.168.1.21/24"));
    }

    #[test]
    fn an_address_that_is_not_local_is_never_taken() {
        assert_eq!(chosen(ADDRESSES, ROUTES, Some(Ipv4Addr::new(192, 168, 1, 99)), None), None);
    }

    #[test]
    fn without_a_way_out_only_an_unambiguous_address_counts() {
        assert_eq!(chosen(ADDRESSES, "[]", None, None), None);
        let one = r#"[{"ifname":"eth0","addr_info":[{"local":"10.0.0.2","prefixlen":24,"scope":"global"}]}]"#;
        assert_eq!(chosen(one, "", None, None).as_deref(), Some("10.0.0.2/24"));
        assert_eq!(chosen("", "", None, None), None);
    }
    #[test]
    fn without_a_way_out_planned_addresses_tell_the_network() {
        let planned = |planned: &[[u8; 4]]| {
            let wanted = Wanted {
                planned: planned.iter().map(|octets| Ipv4Addr::from(*octets)).collect(),
                ..Wanted::default()
            };
            let two = ADDRESSES.replace("192.168.1.21", "10.0.0.21");
            choice(&two, "[]", &wanted).map(|local| local.ip)
        };
        assert_eq!(planned(&[[10, 0, 0, 1], [203, 0, 113, 7]]), Ok(Ipv4Addr::new(10, 0, 0, 21)));
        let both = Lack::Route(vec!["eth0 192.168.1.20".to_owned(), "wlan0 10.0.0.21".to_owned()]);
        assert_eq!(planned(&[[10, 0, 0, 1], [192, 168, 1, 1]]), Err(both.clone()));
        assert_eq!(planned(&[]), Err(both));
    }

    #[test]
    fn what_is_lacking_names_the_candidates_and_the_setting() {
        let lack = |addresses: &str, interface: Option<&str>| {
            let interface = interface.map(str::to_owned);
            choice(addresses, "[]", &Wanted { interface, ..Wanted::default() }).unwrap_err()
        };
        let ambiguous = lack(ADDRESSES, None);
        assert_eq!(
            ambiguous.to_string(),
            "there is no default route, and several interfaces have an address (eth0 192.168.1.20, wlan0 \
             192.168.1.21): name one in the cluster file under swarm: interface"
        );
        let subject = "eth0 192.168.1.20, wlan0 192.168.1.21";
        assert_eq!(ambiguous.cause(), Some(Cause::new(ProblemCode::AddressAmbiguous).about(subject)));
        let elsewhere = lack(ADDRESSES, Some("eth7"));
        assert!(elsewhere.to_string().ends_with("; there are eth0 192.168.1.20, wlan0 192.168.1.21"));
        assert_eq!(elsewhere.cause(), Some(Cause::new(ProblemCode::InterfaceWithoutAddress).about("eth7")));
        assert_eq!(lack("", None), Lack::Address);
        assert_eq!(lack("", None).cause(), None);
    }

    #[test]
    fn a_default_route_without_an_address_does_not_hide_the_only_one() {
        let tunnel = r#"[{"dst":"default","dev":"ppp0","metric":1}]"#;
        let one = r#"[{"ifname":"eth0","addr_info":[{"local":"10.0.0.2","prefixlen":24,"scope":"global"}]}]"#;
        assert_eq!(chosen(one, tunnel, None, None).as_deref(), Some("10.0.0.2/24"));
    }
}
