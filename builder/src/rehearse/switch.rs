//! The switch of a rehearsal: it is ours, for QEMU has only hubs.
//!
//! On a hub QEMU's router would hear what machines say to each other, take it for traffic to the internet, and answer
//! connections between them in the other's name. So it gets what is sent to it, and broadcasts (DHCP and ARP need them); no
//! multicast, which it would pass on to the real network.

use std::collections::BTreeMap;
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tempfile::TempDir;

use super::watch::{Mac, Watch};

/// Largest frame that QEMU sends (its NET_BUFSIZE).
const FRAME_LIMIT: usize = 4096 + 65536;
/// With this the addresses of QEMU's router begin.
const ROUTER_PREFIX: [u8; 2] = [0x52, 0x55];
/// How long a machine that does not listen holds up the others; then frames to it are lost.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest folder whose sockets' names are short enough: some systems take 104 bytes in all.
const FOLDER_LIMIT: usize = 60;

/// A switch with a socket per machine. Dropping it closes all ports.
#[derive(Debug)]
pub(super) struct Switch {
    shared: Arc<Shared>,
    folder: TempDir,
}

#[derive(Debug)]
struct Shared {
    /// One per machine, and the router's at the end.
    ports: Vec<Mutex<Option<UnixStream>>>,
    places: Mutex<BTreeMap<Mac, usize>>,
    watch: Watch,
    closed: AtomicBool,
}

impl Switch {
    /// Opens a port for each machine. `router` is the line to QEMU's; `watch` hears what machines send.
    pub(super) fn start(machines: usize, router: UnixStream, watch: Watch) -> io::Result<Self> {
        // Sockets have short names only, so they are not where the logs are. The folder is ours alone.
        let temporary = std::env::temp_dir();
        let short = temporary.as_os_str().len() <= FOLDER_LIMIT;
        let parent = if short { temporary.as_path() } else { Path::new("/tmp") };
        let folder = tempfile::Builder::new().prefix("rehearsal-").tempdir_in(parent)?;
        router.set_write_timeout(Some(SEND_TIMEOUT))?;
        let mut ports: Vec<_> = (0..machines).map(|_| Mutex::new(None)).collect();
        ports.push(Mutex::new(Some(router.try_clone()?)));
        let shared =
            Arc::new(Shared { ports, places: Mutex::default(), watch, closed: AtomicBool::new(false) });
        let switch = Self { shared, folder };
        for port in 0..machines {
            let listener = UnixListener::bind(switch.socket(port))?;
            let shared = Arc::clone(&switch.shared);
            std::thread::spawn(move || shared.serve(port, &listener));
        }
        let shared = Arc::clone(&switch.shared);
        std::thread::spawn(move || shared.receive(machines, router));
        Ok(switch)
    }

    /// Where a machine connects.
    pub(super) fn socket(&self, port: usize) -> PathBuf {
        self.folder.path().join(port.to_string())
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Relaxed);
        for (port, stream) in self.shared.ports.iter().enumerate() {
            if let Some(stream) = lock(stream).take() {
                let _ended = stream.shutdown(std::net::Shutdown::Both);
            }
            // Wakes who waits for a machine there.
            let _refused = UnixStream::connect(self.socket(port));
        }
    }
}

impl Shared {
    /// One machine after the other: a port is free again when its machine's QEMU has ended.
    fn serve(&self, port: usize, listener: &UnixListener) {
        for stream in listener.incoming().map_while(Result::ok) {
            if self.closed.load(Ordering::Relaxed) {
                return;
            }
            if stream.set_write_timeout(Some(SEND_TIMEOUT)).is_ok()
                && let (Ok(writer), Some(slot)) = (stream.try_clone(), self.ports.get(port))
            {
                *lock(slot) = Some(writer);
                self.receive(port, stream);
                lock(slot).take();
            }
        }
    }

    fn receive(&self, port: usize, stream: UnixStream) {
        let mut stream = BufReader::with_capacity(FRAME_LIMIT, stream);
        while let Ok(message) = read_message(&mut stream) {
            let Some((to, from)) = addresses(&message) else { continue };
            if port != self.router() {
                lock(&self.places).insert(from, port);
                self.watch.hear(message.get(4..).unwrap_or_default());
            }
            for target in self.targets(port, to) {
                self.send(target, &message);
            }
        }
    }

    fn router(&self) -> usize {
        self.ports.len() - 1
    }

    /// Who gets a frame.
    fn targets(&self, from: usize, to: Mac) -> Vec<usize> {
        let Mac(bytes) = to;
        let router = self.router();
        let mut targets = if bytes == [0xff; 6] {
            (0..=router).collect()
        } else if bytes.starts_with(&ROUTER_PREFIX) {
            vec![router]
        } else {
            // Known to be somewhere, else multicast, or of a machine that has not spoken yet.
            let known = lock(&self.places).get(&to).copied();
            known.map_or_else(|| (0..router).collect(), |port| vec![port])
        };
        targets.retain(|target| *target != from);
        targets
    }

    fn send(&self, port: usize, message: &[u8]) {
        let Some(slot) = self.ports.get(port) else { return };
        let mut slot = lock(slot);
        if slot.as_mut().is_some_and(|stream| write_message(stream, message).is_err()) {
            slot.take();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A frame as QEMU's stream sockets carry it: after its length, four bytes with the highest first.
fn read_message(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut header = [0; 4];
    stream.read_exact(&mut header)?;
    let length = usize::try_from(u32::from_be_bytes(header)).unwrap_or(usize::MAX);
    if length > FRAME_LIMIT {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut message = header.to_vec();
    message.resize(4 + length, 0);
    stream.read_exact(message.get_mut(4..).unwrap_or_default())?;
    Ok(message)
}

/// Writes all of it, or nothing where the other side does not listen.
fn write_message(stream: &mut impl Write, message: &[u8]) -> io::Result<()> {
    let mut rest = message;
    while !rest.is_empty() {
        match stream.write(rest) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                // Half a frame would spoil all that follow.
                if rest.len() == message.len() {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// To whom and from whom a frame is.
fn addresses(message: &[u8]) -> Option<(Mac, Mac)> {
    let (to, rest) = message.get(4..)?.split_first_chunk::<6>()?;
    Some((Mac(*to), Mac(*rest.first_chunk::<6>()?)))
}

#[cfg(test)]
mod tests {
    use super::super::network::Network;
    use super::*;

    const A: [u8; 6] = [0x40, 0, 0, 0, 0, 1];
    const B: [u8; 6] = [0x40, 0, 0, 0, 0, 2];
    const ROUTER: [u8; 6] = [0x52, 0x55, 192, 168, 76, 1];

    fn frame(to: [u8; 6], from: [u8; 6], text: &str) -> Vec<u8> {
        let frame = [&to[..], &from, text.as_bytes()].concat();
        [&u32::try_from(frame.len()).unwrap().to_be_bytes()[..], &frame].concat()
    }

    /// What comes until a frame with this text.
    fn heard_until(stream: &mut UnixStream, last: &str) -> Vec<String> {
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut heard = Vec::new();
        while heard.last().is_none_or(|text| text != last) {
            let message = read_message(stream).unwrap();
            heard.push(String::from_utf8_lossy(&message[16..]).into_owned());
        }
        heard
    }

    #[test]
    fn the_router_hears_nothing_that_machines_say_to_each_other() {
        let (ours, mut router) = UnixStream::pair().unwrap();
        let switch = Switch::start(2, ours, Watch::new(Network::default())).unwrap();
        let [mut a, mut b] = [0, 1].map(|port| UnixStream::connect(switch.socket(port)).unwrap());
        let say = |stream: &mut UnixStream, to, from, text| stream.write_all(&frame(to, from, text)).unwrap();
        // Both are connected once each has heard the other; nobody waits for a switch that is not there yet.
        say(&mut a, ROUTER, A, "a is there");
        say(&mut b, ROUTER, B, "b is there");
        let mut there = heard_until(&mut router, "a is there");
        if there.len() == 1 {
            there.extend(heard_until(&mut router, "b is there"));
        }
        say(&mut a, [0xff; 6], A, "who is there");
        say(&mut b, A, B, "I am");
        say(&mut a, B, A, "between us");
        say(&mut a, [1, 0, 0x5e, 0, 0, 0xfb], A, "multicast");
        say(&mut a, ROUTER, A, "to the internet");
        assert_eq!(heard_until(&mut router, "to the internet"), ["who is there", "to the internet"]);
        assert_eq!(heard_until(&mut b, "multicast"), ["who is there", "between us", "multicast"]);
        // Each port has a thread of its own: what two of them say comes in any order.
        assert_eq!(heard_until(&mut a, "I am"), ["I am"]);
        say(&mut router, A, ROUTER, "from the internet");
        assert_eq!(heard_until(&mut a, "from the internet"), ["from the internet"]);
    }

    #[test]
    fn refuses_a_frame_longer_than_any() {
        assert_eq!(read_message(&mut &[0xff; 8][..]).unwrap_err().kind(), ErrorKind::InvalidData);
        assert_eq!(read_message(&mut &[0, 0, 0, 2, 7, 8][..]).unwrap(), [0, 0, 0, 2, 7, 8]);
    }

    #[test]
    fn a_frame_is_lost_whole_or_sent_whole() {
        struct Slow(Vec<u8>, Vec<usize>);
        impl Write for Slow {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                match self.1.pop() {
                    Some(0) => Err(ErrorKind::WouldBlock.into()),
                    Some(count) => self.0.write(&bytes[..count.min(bytes.len())]),
                    None => self.0.write(bytes),
                }
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        for (steps, sent) in [(vec![0], &b""[..]), (vec![0, 0, 3], b"message")] {
            let mut slow = Slow(Vec::new(), steps);
            write_message(&mut slow, b"message").unwrap();
            assert_eq!(slow.0, sent);
        }
    }
}
