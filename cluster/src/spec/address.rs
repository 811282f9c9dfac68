//! IPv4 addresses and the networks they lie in.

use std::net::Ipv4Addr;

use super::Refusal;

/// An address and the length of its network's prefix in bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Subnet {
    pub(super) ip: Ipv4Addr,
    pub(super) prefix: u8,
}

impl Subnet {
    const fn mask(self) -> u32 {
        match u32::MAX.checked_shl(32 - self.prefix as u32) {
            Some(mask) => mask,
            None => 0,
        }
    }

    /// The first address, which means the network itself.
    pub(super) const fn network(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.ip.to_bits() & self.mask())
    }

    /// The last address, which means every host of the network.
    pub(super) const fn broadcast(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.ip.to_bits() | !self.mask())
    }

    pub(super) fn contains(self, ip: Ipv4Addr) -> bool {
        (self.network()..=self.broadcast()).contains(&ip)
    }

    pub(super) fn overlaps(self, other: Self) -> bool {
        self.contains(other.network()) || other.contains(self.network())
    }
}

/// Reads an address such as `192.168.1.1`.
pub(super) fn ip(text: &str) -> Result<Ipv4Addr, Refusal> {
    if text.contains(':') {
        return Err(Refusal::new(
            format!("{text} is an IPv6 address"),
            "write an IPv4 address: Swarm is formed over IPv4",
        ));
    }
    let Ok(ip) = text.parse::<Ipv4Addr>() else {
        return Err(Refusal::new(
            format!("{text} is not an IPv4 address"),
            "write four numbers from 0 to 255 without zeros in front, like 192.168.1.10",
        ));
    };
    let why_not = if ip.is_loopback() {
        "means the machine itself"
    } else if ip.is_link_local() {
        "is link-local: machines give such addresses to themselves"
    } else if ip.octets()[0] == 0 || ip.octets()[0] >= 224 {
        "is not the address of one machine"
    } else {
        return Ok(ip);
    };
    Err(Refusal::new(format!("{ip} {why_not}"), "write a free address of your network, like 192.168.1.10"))
}

/// Reads an address with its prefix, such as `192.168.1.10/24`.
fn subnet(text: &str) -> Result<Subnet, Refusal> {
    let Some((address, prefix)) = text.split_once('/') else {
        let ip = ip(text)?;
        return Err(Refusal::new(
            format!("{ip} lacks its network's prefix"),
            format!("write {ip}/24 if your netmask is 255.255.255.0"),
        ));
    };
    let ip = ip(address)?;
    let length = prefix.parse().ok().filter(|bits| (1..=30).contains(bits));
    let Some(prefix) = length else {
        return Err(Refusal::new(
            format!("/{prefix} is not a prefix of 1 to 30 bits"),
            format!("write {ip}/24 if your netmask is 255.255.255.0"),
        ));
    };
    Ok(Subnet { ip, prefix })
}

/// Reads a node's own address.
pub(super) fn node(text: &str) -> Result<Subnet, Refusal> {
    let subnet = subnet(text)?;
    host_of(subnet, subnet.ip)?;
    Ok(subnet)
}

/// Refuses an address that is not one machine's within its network.
pub(super) fn host_of(subnet: Subnet, ip: Ipv4Addr) -> Result<(), Refusal> {
    let (network, broadcast, prefix) = (subnet.network(), subnet.broadcast(), subnet.prefix);
    let range = || {
        let first = Ipv4Addr::from_bits(network.to_bits() + 1);
        let last = Ipv4Addr::from_bits(broadcast.to_bits() - 1);
        format!("write an address from {first} to {last}")
    };
    if !subnet.contains(ip) {
        return Err(Refusal::new(format!("{ip} is outside the network {network}/{prefix}"), range()));
    }
    if ip == network {
        return Err(Refusal::new(format!("{ip} is the network {network}/{prefix} itself"), range()));
    }
    if ip == broadcast {
        return Err(Refusal::new(format!("{ip} is the broadcast address of {network}/{prefix}"), range()));
    }
    Ok(())
}

/// Networks that are not routed on the internet: RFC 1918, and RFC 6598 (100.64.0.0/10), which providers use behind their
/// own address translation and people for clusters.
const PRIVATE: [(Ipv4Addr, u8); 4] = [
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
];
/// The networks of Docker's own bridges on every node, `docker0` and `docker_gwbridge`. With a pool that overlaps them the
/// nodes become ready, and every task is rejected (moby/moby#50011).
const BRIDGES: [(Ipv4Addr, u8); 2] = [(Ipv4Addr::new(172, 17, 0, 0), 16), (Ipv4Addr::new(172, 18, 0, 0), 16)];

/// Reads a pool of networks, such as `10.201.0.0/16`. Swarm cuts networks of /24 from it and takes the first itself.
pub(super) fn pool(text: &str) -> Result<Subnet, Refusal> {
    const ADVICE: &str = "write a private network your own does not use, like 10.201.0.0/16";
    let pool = subnet(text).map_err(|refusal| Refusal::new(refusal.message, ADVICE))?;
    if pool.ip != pool.network() {
        let advice = format!("write {}/{}", pool.network(), pool.prefix);
        return Err(Refusal::new(format!("{text} is an address within a network, not the network"), advice));
    }
    if !(8..=23).contains(&pool.prefix) {
        return Err(Refusal::new(format!("/{} is not a pool of 8 to 23 bits", pool.prefix), ADVICE));
    }
    let is_within =
        |(ip, prefix): (Ipv4Addr, u8)| prefix <= pool.prefix && Subnet { ip, prefix }.contains(pool.ip);
    if !PRIVATE.into_iter().any(is_within) {
        let message = format!("{text} is not private: machines of the internet have such addresses");
        return Err(Refusal::new(message, ADVICE));
    }
    if let Some((ip, prefix)) =
        BRIDGES.into_iter().find(|(ip, prefix)| pool.overlaps(Subnet { ip: *ip, prefix: *prefix }))
    {
        let message =
            format!("the pool {text} overlaps {ip}/{prefix}, which Docker uses itself on every node");
        return Err(Refusal::new(message, ADVICE));
    }
    Ok(pool)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused<T: std::fmt::Debug>(result: Result<T, Refusal>) -> String {
        let refusal = result.unwrap_err();
        format!("{}; {}", refusal.message, refusal.advice)
    }

    #[test]
    fn reads_what_nodes_have() {
        let subnet = node("192.168.1.10/24").unwrap();
        assert_eq!(
            (subnet.network().to_string(), subnet.broadcast().to_string()),
            ("192.168.1.0".into(), "192.168.1.255".into())
        );
        assert_eq!(node("10.0.0.1/8").unwrap().prefix, 8);
        assert!(node("192.168.1.1/30").is_ok());
    }

    #[test]
    fn refuses_addresses_no_node_can_have() {
        insta::assert_snapshot!(
            ["192.168.1.0/24", "192.168.1.255/24", "192.168.1.10", "192.168.1.10/31", "192.168.1.10/x", "192.168.001.10/24",
             "192.168.1.256/24", "fe80::1/64", "127.0.0.1/8", "169.254.1.1/16", "224.0.0.1/8", "0.0.0.0/8"]
            .map(|text| refused(node(text))).join("\n"),
            @r"
        192.168.1.0 is the network 192.168.1.0/24 itself; write an address from 192.168.1.1 to 192.168.1.254
        192.168.1.255 is the broadcast address of 192.168.1.0/24; write an address from 192.168.1.1 to 192.168.1.254
        192.168.1.10 lacks its network's prefix; write 192.168.1.10/24 if your netmask is 255.255.255.0
        /31 is not a prefix of 1 to 30 bits; write 192.168.1.10/24 if your netmask is 255.255.255.0
        /x is not a prefix of 1 to 30 bits; write 192.168.1.10/24 if your netmask is 255.255.255.0
        192.168.001.10 is not an IPv4 address; write four numbers from 0 to 255 without zeros in front, like 192.168.1.10
        192.168.1.256 is not an IPv4 address; write four numbers from 0 to 255 without zeros in front, like 192.168.1.10
        fe80::1 is an IPv6 address; write an IPv4 address: Swarm is formed over IPv4
        127.0.0.1 means the machine itself; write a free address of your network, like 192.168.1.10
        169.254.1.1 is link-local: machines give such addresses to themselves; write a free address of your network, like 192.168.1.10
        224.0.0.1 is not the address of one machine; write a free address of your network, like 192.168.1.10
        0.0.0.0 is not the address of one machine; write a free address of your network, like 192.168.1.10
        ");
    }

    #[test]
    fn a_pool_is_a_network_with_room() {
        assert!(pool("10.201.0.0/16").is_ok());
        assert!(refused(pool("10.201.0.1/16")).contains("write 10.201.0.0/16"));
        assert!(refused(pool("10.201.0.0/24")).contains("8 to 23 bits"));
        for good in ["10.0.0.0/8", "172.20.0.0/14", "192.168.0.0/16", "100.64.0.0/10", "172.16.0.0/16"] {
            assert!(pool(good).is_ok(), "{good}");
        }
        for public in ["8.8.0.0/16", "172.32.0.0/16", "100.0.0.0/9", "192.0.0.0/8", "198.18.0.0/15"] {
            assert!(refused(pool(public)).contains("is not private"), "{public}");
        }
        for taken in ["172.17.0.0/16", "172.16.0.0/12", "172.17.2.0/23", "172.18.0.0/16"] {
            assert!(refused(pool(taken)).contains("which Docker uses itself"), "{taken}");
        }
    }

    proptest! {
        #[test]
        fn a_network_holds_exactly_its_addresses(bits: u32, prefix in 1u8..=30, other: u32) {
            let subnet = Subnet { ip: Ipv4Addr::from_bits(bits), prefix };
            let same = bits >> (32 - prefix) == other >> (32 - prefix);
            prop_assert_eq!(subnet.contains(Ipv4Addr::from_bits(other)), same);
            prop_assert!(subnet.overlaps(subnet));
        }
    }
}
