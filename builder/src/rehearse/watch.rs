//! Learns which machine has which address by listening on the rehearsal's network: DHCP leases are not to be foreseen.
//!
//! QEMU's stream sockets carry each Ethernet frame after its length, four bytes with the highest first.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use super::network::Network;

/// Largest frame that QEMU sends (its NET_BUFSIZE).
const FRAME_LIMIT: usize = 4096 + 65536;

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
#[derive(Debug, Clone, Default)]
pub(super) struct Watch {
    seen: Arc<Mutex<BTreeMap<Mac, Ipv4Addr>>>,
}

impl Watch {
    /// Listens in the background, until the other end closes.
    pub(super) fn start(mut stream: UnixStream, network: Network) -> Self {
        let watch = Self::default();
        let seen = Arc::clone(&watch.seen);
        std::thread::spawn(move || {
            while let Ok(frame) = read_frame(&mut stream) {
                // A machine also has addresses of Docker's networks, and asks with them at times.
                if let Some((mac, ip)) = arp_sender(&frame).filter(|(_, ip)| network.contains(*ip)) {
                    seen.lock().unwrap_or_else(PoisonError::into_inner).insert(mac, ip);
                }
            }
        });
        watch
    }

    /// What a machine said last.
    pub(super) fn address_of(&self, mac: Mac) -> Option<Ipv4Addr> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(&mac).copied()
    }
}

fn read_frame(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > FRAME_LIMIT {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut frame = vec![0; length];
    stream.read_exact(&mut frame)?;
    Ok(frame)
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
    use std::io::Write;
    use std::time::{Duration, Instant};

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
        let (mut wire, ours) = UnixStream::pair().unwrap();
        let watch = Watch::start(ours, Network::default());
        for ip in [[192, 168, 76, 15], [192, 168, 76, 16], [172, 17, 0, 1]] {
            let frame = arp(ip, 1);
            wire.write_all(&u32::try_from(frame.len()).unwrap().to_be_bytes()).unwrap();
            wire.write_all(&frame).unwrap();
        }
        drop(wire);
        let deadline = Instant::now() + Duration::from_secs(10);
        while watch.address_of(MAC) != Some(Ipv4Addr::new(192, 168, 76, 16)) {
            assert!(Instant::now() < deadline, "{:?}", watch.address_of(MAC));
            std::thread::yield_now();
        }
        assert_eq!(watch.address_of(Mac([0; 6])), None);
    }

    #[test]
    fn refuses_a_frame_longer_than_any() {
        assert_eq!(read_frame(&mut &[0xff; 8][..]).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(read_frame(&mut &[0, 0, 0, 2, 7, 8][..]).unwrap(), [7, 8]);
    }
}
