//! The node's own IPv4 address, as a literal: Docker's own choice fails on any LAN with IPv6, and names of
//! interfaces fail with it.
//!
//! Power lost here: nothing was changed.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cluster::wire::Stage;
use serde::Deserialize;
use tokio::time::sleep;

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

/// Finds the address.
#[derive(Debug)]
pub(crate) struct Network {
    pi: Arc<Pi>,
    /// What the last probe saw: an address counts once it was seen twice.
    last: Mutex<Option<Local>>,
}

impl Network {
    pub(crate) const fn new(pi: Arc<Pi>) -> Self {
        Self { pi, last: Mutex::new(None) }
    }
}

impl Step for Network {
    type Outcome = Local;
    const STAGE: Stage = Stage::Network;
    const RETRY: Policy = LOCAL;

    async fn probe(&self) -> Result<Probe<Local>, StepError> {
        let doing = "read the network's state";
        let addresses = self.pi.run(doing, Program::new("ip", ["-j", "-4", "address", "show", "up"])).await?;
        let routes = self.pi.run(doing, Program::new("ip", ["-j", "-4", "route", "show", "default"])).await?;
        let links: Vec<Link> = parse(&addresses)?;
        let routes: Vec<Route> = parse(&routes)?;
        let wanted = self.pi.card.address.as_ref().map(|address| address.ip);
        let seen = choose(&links, &routes, wanted, self.pi.card.swarm.interface.as_deref());
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let settled = *last == seen;
        *last = seen;
        Ok(match seen {
            Some(local) if settled || wanted.is_some() => Probe::Done(local),
            Some(local) => Probe::Needed(format!("address {}", local.ip)),
            None => Probe::Needed("waiting for an IPv4 address".to_owned()),
        })
    }

    async fn apply(&self) -> Result<(), StepError> {
        sleep(Duration::from_millis(500)).await;
        Ok(())
    }
}

/// One interface, as `ip -j address` writes it.
#[derive(Debug, Deserialize)]
struct Link {
    #[serde(default)]
    ifname: String,
    #[serde(default)]
    addr_info: Vec<Address>,
}

#[derive(Debug, Deserialize)]
struct Address {
    local: Option<Ipv4Addr>,
    #[serde(default)]
    prefixlen: u8,
    #[serde(default)]
    scope: String,
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
/// a network without a way out, that of the only interface that has one.
fn choose(
    links: &[Link],
    routes: &[Route],
    wanted: Option<Ipv4Addr>,
    interface: Option<&str>,
) -> Option<Local> {
    let global = |link: &Link| {
        link.addr_info
            .iter()
            .find(|address| address.scope == "global")
            .and_then(|address| Some(Local { ip: address.local?, prefix: address.prefixlen }))
    };
    let find = |ip: Ipv4Addr| {
        let addresses = links.iter().flat_map(|link| &link.addr_info);
        addresses
            .filter(|address| address.local == Some(ip))
            .map(|address| Local { ip, prefix: address.prefixlen })
            .next()
    };
    let of = |name: &str| links.iter().find(|link| link.ifname == name).and_then(global);
    if let Some(ip) = wanted {
        return find(ip);
    }
    if let Some(name) = interface {
        return of(name);
    }
    if let Some(route) = routes.iter().min_by_key(|route| route.metric) {
        return route.prefsrc.and_then(find).or_else(|| of(route.dev.as_deref()?));
    }
    let containers = ["docker", "br-", "veth", "lo"];
    let mut real = links
        .iter()
        .filter(|link| !containers.iter().any(|prefix| link.ifname.starts_with(prefix)))
        .filter_map(global);
    let only = real.next();
    if real.next().is_some() { None } else { only }
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
        let links: Vec<Link> = parse(addresses.as_bytes()).unwrap();
        let routes: Vec<Route> = parse(routes.as_bytes()).unwrap();
        choose(&links, &routes, wanted, interface).map(|local| format!("{}/{}", local.ip, local.prefix))
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
}
