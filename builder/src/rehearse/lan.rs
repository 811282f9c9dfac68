//! The rehearsal's network: a switch of ours, and one QEMU without a machine as router, DHCP and name server.
//!
//! Each machine connects to a Unix socket in a private folder, so nobody else on this computer can join, as they could
//! with multicast. A machine that is started again connects again.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::RehearseError;
use super::network::Network;
use super::process::{Launch, Process};
use super::qemu::Qemu;
use super::switch::Switch;
use super::watch::{Mac, Watch};

/// How often another free port is tried when somebody was faster.
const PORT_ATTEMPTS: usize = 5;

/// What its QEMU complains of.
pub(super) const LOG: &str = "network.log";

/// A network for virtual machines. Dropping it ends it.
#[derive(Debug)]
pub struct Lan {
    switch: Switch,
    process: Process,
    watch: Watch,
    folder: PathBuf,
    /// Its addresses.
    pub network: Network,
}

impl Lan {
    /// Starts a network with so many ports. `folder` gets QEMU's complaints; machines run there.
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
            arguments: arguments(&network),
            output: theirs,
        };
        let process = Process::start(qemu, launch)?;
        let watch = Watch::new(network.clone());
        let switch = Switch::start(ports, ours, watch.clone())
            .map_err(|source| RehearseError::Start { program: "the network's switch".to_owned(), source })?;
        Ok(Self { switch, process, watch, folder, network })
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

    /// Where machines run.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The socket of a machine's port.
    pub fn socket(&self, index: usize) -> PathBuf {
        self.switch.socket(index)
    }
}

/// A hub of two: the router, and the line to our switch, which is descriptor 1.
fn arguments(network: &Network) -> Vec<String> {
    let mut words = vec!["-machine".to_owned(), "none".to_owned()];
    let mut join = |id: &str, netdev: String| {
        words.extend(["-netdev".to_owned(), netdev]);
        words.extend(["-netdev".to_owned(), format!("hubport,id=hub-{id},hubid=0,netdev={id}")]);
    };
    join("user", format!("user,id=user,ipv6=off,{}", network.arguments()));
    join("switch", "stream,id=switch,server=off,addr.type=fd,addr.str=1".to_owned());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_router_has_one_line_to_the_switch() {
        assert_eq!(
            arguments(&Network::default()).join(" "),
            "-machine none -netdev user,id=user,ipv6=off,net=192.168.76.0/24,host=192.168.76.1,dns=192.168.76.3,\
             dhcpstart=192.168.76.15 -netdev hubport,id=hub-user,hubid=0,netdev=user \
             -netdev stream,id=switch,server=off,addr.type=fd,addr.str=1 \
             -netdev hubport,id=hub-switch,hubid=0,netdev=switch"
        );
    }
}
