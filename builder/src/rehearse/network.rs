//! The addresses of a rehearsal's network. Pure.
//!
//! Without fixed addresses it is a private network of ours with DHCP. With them it is the cluster file's own network,
//! in which QEMU takes the place of router and name server.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use cluster::card::StaticAddress;
use cluster::spec::Node;
use thiserror::Error;

/// As many machines get an address from QEMU's DHCP server.
const LEASES: usize = 16;

/// Where QEMU's router, name server and DHCP leases are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Its first address.
    pub address: Ipv4Addr,
    /// Length of its prefix in bits.
    pub prefix: u8,
    /// The way out.
    pub router: Ipv4Addr,
    /// Who answers for names.
    pub name_server: Ipv4Addr,
    /// The first of the addresses that DHCP gives.
    pub first_lease: Ipv4Addr,
}

impl Default for Network {
    /// One that neither Docker's bridges nor Swarm's overlays take by default.
    fn default() -> Self {
        let at = |last| Ipv4Addr::new(192, 168, 76, last);
        Self { address: at(0), prefix: 24, router: at(1), name_server: at(3), first_lease: at(15) }
    }
}

/// Why the fixed addresses of a cluster file cannot be rehearsed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NetworkError {
    /// Nodes in different networks.
    #[error("its fixed addresses lie in more than one network: {0} and {1}")]
    SeveralNetworks(String, String),
    /// Nodes with different ways out.
    #[error("its fixed addresses have more than one gateway: {0} and {1}")]
    SeveralGateways(Ipv4Addr, Ipv4Addr),
    /// QEMU's DHCP server has no more addresses.
    #[error("{0} nodes have their address from DHCP, and QEMU's DHCP server has {LEASES}")]
    TooMany(usize),
    /// No room beside the nodes.
    #[error("in {0} no addresses are left for router, name server and DHCP")]
    NoRoom(String),
}

impl NetworkError {
    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::SeveralNetworks(..) | Self::SeveralGateways(..) => "name nodes of one network",
            Self::TooMany(_) | Self::NoRoom(_) => "name fewer nodes",
        }
    }
}

impl Network {
    /// The network for some nodes of a cluster file.
    pub fn for_nodes(nodes: &[&Node]) -> Result<Self, NetworkError> {
        let fixed: Vec<_> = nodes.iter().filter_map(|node| node.address.as_ref()).collect();
        let dynamic = nodes.len() - fixed.len();
        if dynamic > LEASES {
            return Err(NetworkError::TooMany(dynamic));
        }
        match fixed.split_first() {
            None => Ok(Self::default()),
            Some((first, others)) => Self::around(first, others, dynamic),
        }
    }

    fn around(
        first: &StaticAddress,
        others: &[&StaticAddress],
        dynamic: usize,
    ) -> Result<Self, NetworkError> {
        let own = cidr(first);
        if let Some(other) = others.iter().map(|address| cidr(address)).find(|other| *other != own) {
            return Err(NetworkError::SeveralNetworks(own, other));
        }
        let all = || std::iter::once(first).chain(others.iter().copied());
        let mut gateways = all().filter_map(|address| address.gateway);
        let gateway = gateways.next();
        if let Some((one, other)) = gateway.and_then(|one| Some((one, gateways.find(|other| *other != one)?)))
        {
            return Err(NetworkError::SeveralGateways(one, other));
        }
        let (network, last) = bounds(first);
        let inside = |ip: &Ipv4Addr| (network..=last).contains(ip);
        let name_server = all().flat_map(|address| address.dns.iter().copied()).find(inside);

        let mut taken: BTreeSet<_> =
            all().map(|address| address.ip).chain(gateway).chain(name_server).collect();
        let mut free = |count: usize| {
            let found = run(network, last, &taken, count).ok_or_else(|| NetworkError::NoRoom(own.clone()))?;
            taken.insert(found);
            Ok(found)
        };
        // QEMU wants router and name server apart, but routes what is sent to either.
        let router = match gateway.filter(|gateway| name_server != Some(*gateway)) {
            Some(gateway) => gateway,
            None => free(1)?,
        };
        let name_server = name_server.map_or_else(|| free(1), Ok)?;
        let first_lease = free(dynamic.max(1))?;
        Ok(Self { address: network, prefix: first.prefix, router, name_server, first_lease })
    }

    /// Whether an address is of this network.
    pub fn contains(&self, ip: Ipv4Addr) -> bool {
        let mask = mask(self.prefix);
        ip.to_bits() & mask == self.address.to_bits() & mask
    }

    /// QEMU's words for it.
    pub(super) fn arguments(&self) -> String {
        let Self { address, prefix, router, name_server, first_lease } = self;
        format!("net={address}/{prefix},host={router},dns={name_server},dhcpstart={first_lease}")
    }
}

const fn mask(prefix: u8) -> u32 {
    match u32::MAX.checked_shl(32 - prefix as u32) {
        Some(mask) => mask,
        None => 0,
    }
}

/// First and last address: the network's own and its broadcast.
const fn bounds(address: &StaticAddress) -> (Ipv4Addr, Ipv4Addr) {
    let (bits, mask) = (address.ip.to_bits(), mask(address.prefix));
    (Ipv4Addr::from_bits(bits & mask), Ipv4Addr::from_bits(bits | !mask))
}

fn cidr(address: &StaticAddress) -> String {
    format!("{}/{}", bounds(address).0, address.prefix)
}

/// The first of so many free addresses in a row.
fn run(network: Ipv4Addr, last: Ipv4Addr, taken: &BTreeSet<Ipv4Addr>, count: usize) -> Option<Ipv4Addr> {
    let mut length = 0;
    // In a large network there is room near its beginning, whatever a cluster file has.
    for bits in network.to_bits().checked_add(1)?..last.to_bits() {
        length = if taken.contains(&Ipv4Addr::from_bits(bits)) { 0 } else { length + 1 };
        if length == count {
            return Some(Ipv4Addr::from_bits(bits - u32::try_from(count - 1).ok()?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use cluster::identity::Role;
    use cluster::name::Hostname;

    use super::*;

    fn node(address: Option<(&str, u8, Option<&str>, &[&str])>) -> Node {
        let address = address.map(|(ip, prefix, gateway, dns)| StaticAddress {
            ip: ip.parse().unwrap(),
            prefix,
            gateway: gateway.map(|gateway| gateway.parse().unwrap()),
            dns: dns.iter().map(|dns| dns.parse().unwrap()).collect(),
        });
        let name = Hostname::try_from("red00").unwrap();
        Node { name, role: Role::Worker, address, labels: BTreeMap::new() }
    }

    fn network(nodes: &[Node]) -> Result<Network, NetworkError> {
        Network::for_nodes(&nodes.iter().collect::<Vec<_>>())
    }

    #[test]
    fn nodes_without_addresses_get_a_network_of_ours() {
        assert_eq!(network(&[node(None), node(None)]).unwrap(), Network::default());
        assert_eq!(network(&vec![node(None); 17]), Err(NetworkError::TooMany(17)));
    }

    #[test]
    fn fixed_addresses_keep_their_gateway_and_name_server() {
        let gateway = Some("10.1.1.254");
        let nodes = [
            node(Some(("10.1.1.1", 24, gateway, &["9.9.9.9", "10.1.1.3"]))),
            node(Some(("10.1.1.2", 24, gateway, &[]))),
            node(None),
            node(None),
        ];
        assert_eq!(
            network(&nodes).unwrap().arguments(),
            "net=10.1.1.0/24,host=10.1.1.254,dns=10.1.1.3,dhcpstart=10.1.1.4"
        );
    }

    #[test]
    fn a_gateway_that_answers_for_names_does_so_here_too() {
        let router = Some("192.168.1.1");
        let nodes = [node(Some(("192.168.1.10", 24, router, &["192.168.1.1"])))];
        assert_eq!(
            network(&nodes).unwrap().arguments(),
            "net=192.168.1.0/24,host=192.168.1.2,dns=192.168.1.1,dhcpstart=192.168.1.3"
        );
    }

    #[test]
    fn refuses_what_one_router_cannot_be() {
        let (a, b) = (node(Some(("10.1.1.1", 24, None, &[]))), node(Some(("10.1.2.1", 24, None, &[]))));
        assert_eq!(
            network(&[a, b]).unwrap_err().to_string(),
            "its fixed addresses lie in more than one network: 10.1.1.0/24 and 10.1.2.0/24"
        );
        let [a, b] =
            ["10.1.1.253", "10.1.1.254"].map(|gateway| node(Some(("10.1.1.1", 24, Some(gateway), &[]))));
        assert!(matches!(network(&[a, b]), Err(NetworkError::SeveralGateways(..))));
        let tiny = node(Some(("10.1.1.1", 30, Some("10.1.1.2"), &[])));
        assert_eq!(network(&[tiny]), Err(NetworkError::NoRoom("10.1.1.0/30".to_owned())));
    }

    #[test]
    fn knows_its_own_addresses() {
        let network = Network::default();
        assert!(network.contains(Ipv4Addr::new(192, 168, 76, 200)));
        assert!(
            !network.contains(Ipv4Addr::new(192, 168, 77, 1)) && !network.contains(Ipv4Addr::UNSPECIFIED)
        );
    }
}
