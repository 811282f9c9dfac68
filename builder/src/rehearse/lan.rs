//! The rehearsal's network: one QEMU without a machine is its switch, its router and its DHCP and name server.
//!
//! Each machine connects to a Unix socket in our own folder, so nobody else on this computer can join, as they could
//! with multicast. A machine that is started again connects again. One more port of the switch is ours: see [`Watch`].

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::RehearseError;
use super::network::Network;
use super::process::{Launch, Process};
use super::qemu::Qemu;
use super::watch::{Mac, Watch};

/// How often another free port is tried when somebody was faster.
const PORT_ATTEMPTS: usize = 5;

/// What its QEMU complains of.
pub(super) const LOG: &str = "network.log";

/// A network for virtual machines. Dropping it ends it.
#[derive(Debug)]
pub struct Lan {
    process: Process,
    watch: Watch,
    folder: PathBuf,
    /// Its addresses.
    pub network: Network,
}

impl Lan {
    /// Starts a network with so many ports. `folder` gets the sockets and QEMU's complaints; it should be private.
    pub fn start(
        qemu: &Qemu,
        folder: &Path,
        ports: usize,
        network: Option<Network>,
    ) -> Result<Self, RehearseError> {
        let network = network.unwrap_or_default();
        let file = |source| RehearseError::File { what: "use", path: folder.to_owned(), source };
        let folder = folder.canonicalize().map_err(file)?;
        let (ours, theirs) = UnixStream::pair().map_err(file)?;
        let launch = Launch {
            name: "the network",
            folder: &folder,
            complaints: folder.join(LOG),
            arguments: arguments(&network, ports),
            output: theirs,
        };
        let process = Process::start(qemu, launch)?;
        let watch = Watch::start(ours, network.clone());
        Ok(Self { process, watch, folder, network })
    }

    /// The address that a machine was last heard with.
    pub fn address_of(&self, mac: Mac) -> Option<Ipv4Addr> {
        self.watch.address_of(mac)
    }

    /// Makes a machine's TCP port reachable, from this computer only.
    pub fn forward(&self, to: Ipv4Addr, port: u16) -> Result<SocketAddr, RehearseError> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
            let here =
                free.map_err(|source| RehearseError::Start { program: "a port forward".to_owned(), source })?;
            match self.process.command(&format!("hostfwd_add user tcp:{here}-{to}:{port}")) {
                Ok(()) => return Ok(here),
                Err(error) if attempts == PORT_ATTEMPTS => return Err(error),
                Err(_) => {}
            }
        }
    }

    /// Whether its QEMU has ended, which it does not by itself.
    pub fn has_ended(&self) -> bool {
        self.process.stopped(Duration::ZERO).is_some()
    }

    /// Where machines run: sockets are named relative to it, since the names of sockets must be short.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

/// The name of a port's socket within the folder.
pub(super) fn socket(index: usize) -> String {
    format!("port{index}")
}

fn arguments(network: &Network, ports: usize) -> Vec<String> {
    let mut words = vec!["-machine".to_owned(), "none".to_owned()];
    let mut join = |id: &str, netdev: String| {
        words.extend(["-netdev".to_owned(), netdev]);
        words.extend(["-netdev".to_owned(), format!("hubport,id=hub-{id},hubid=0,netdev={id}")]);
    };
    join("user", format!("user,id=user,ipv6=off,{}", network.arguments()));
    // Descriptor 1 is one end of a socket pair of which we have the other.
    join("watch", "stream,id=watch,server=off,addr.type=fd,addr.str=1".to_owned());
    for index in 0..ports {
        let name = socket(index);
        join(&name, format!("stream,id={name},server=on,addr.type=unix,addr.path={name}"));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_joins_the_one_hub() {
        let words = arguments(&Network::default(), 2).join(" ");
        assert_eq!(words.matches("hubid=0").count(), 4);
        assert!(words.starts_with("-machine none -netdev user,id=user,ipv6=off,net=192.168.76.0/24,host="));
        assert!(words.ends_with(
            "-netdev stream,id=port1,server=on,addr.type=unix,addr.path=port1 \
             -netdev hubport,id=hub-port1,hubid=0,netdev=port1"
        ));
    }
}
