//! Learns which machine has which address by listening on the rehearsal's network: DHCP leases are not to be foreseen.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use super::network::Network;

/// An Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Who has which address.
#[derive(Debug, Clone)]
pub(super) struct Watch {
    seen: Arc<Mutex<BTreeMap<Mac, Ipv4Addr>>>,
    network: Network,
}

impl Watch {
    /// Has heard nothing yet.
    pub(super) fn new(network: Network) -> Self {
        Self { seen: Arc::default(), network }
    }

    /// Takes note of a frame that a machine sent.
    pub(super) fn hear(&self, frame: &[u8]) {
        // A machine also has addresses of Docker's networks, and asks with them at times.
        if let Some((mac, ip)) = arp_sender(frame).filter(|(_, ip)| self.network.contains(*ip)) {
            self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(mac, ip);
        }
    }

    /// What a machine said last.
    pub(super) fn address_of(&self, mac: Mac) -> Option<Ipv4Addr> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(&mac).copied()
    }
}

/// Whom an ARP frame is from (RFC 826, for Ethernet and IPv4). A probe (RFC 5227) says no address yet.
fn arp_sender(frame: &[u8]) -> Option<(Mac, Ipv4Addr)> {
    let (_addresses, rest) = frame.split_at_checked(12)?;
    // EtherType, hardware and protocol type, their lengths; then the operation.
    let rest = rest.strip_prefix(&[0x08, 0x06, 0x00, 0x01, 0x08, 0x00, 6, 4])?;
    let (_operation, rest) = rest.split_first_chunk::<2>()?;
    let (mac, rest) = rest.split_first_chunk::<6>()?;
    let ip = Ipv4Addr::from(*rest.first_chunk::<4>()?);
    (!ip.is_unspecified()).then_some((Mac(*mac), ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([2, 0x72, 0x68, 0, 0, 1]);

    fn arp(ip: [u8; 4], operation: u8) -> Vec<u8> {
        let mut frame =
            [&[0xff; 6][..], &MAC.0, &[8, 6, 0, 1, 8, 0, 6, 4, 0, operation], &MAC.0, &ip].concat();
        frame.extend([0; 6 + 4 + 18]);
        frame
    }

    #[test]
    fn an_arp_frame_says_who_sent_it() {
        for operation in [1, 2] {
            let sender = arp_sender(&arp([192, 168, 76, 15], operation));
            assert_eq!(sender, Some((MAC, Ipv4Addr::new(192, 168, 76, 15))));
        }
        assert_eq!(arp_sender(&arp([0; 4], 1)), None, "a probe");
        let mut ipv4 = arp([192, 168, 76, 15], 1);
        ipv4[13] = 0;
        assert_eq!(arp_sender(&ipv4), None);
        let whole = arp([192, 168, 76, 15], 1);
        (0..32).for_each(|length| assert_eq!(arp_sender(&whole[..length]), None));
        assert_eq!(MAC.to_string(), "02:72:68:00:00:01");
    }

    #[test]
    fn the_newest_address_of_this_network_counts() {
        let watch = Watch::new(Network::default());
        for ip in [[192, 168, 76, 15], [192, 168, 76, 16], [172, 17, 0, 1]] {
            watch.hear(&arp(ip, 1));
        }
        assert_eq!(watch.address_of(MAC), Some(Ipv4Addr::new(192, 168, 76, 16)));
        assert_eq!(watch.address_of(Mac([0; 6])), None);
    }
}
