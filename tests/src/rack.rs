//! The rack: virtual Pis that are powered on with the very card images a builder made.
//!
//! Every node is a container with a real systemd as PID 1. Its root is the card's own ext4 partition, its
//! `/boot/firmware` holds the FAT partition's files, which go back onto the card's FAT whenever the node stops, and
//! the words of the card's `cmdline.txt` are PID 1's arguments, which systemd in a container takes for the kernel
//! command line. Nodes hang on a bridge with DHCP, DNS and a way out. What a rack cannot show (kernel, firmware,
//! the Wi-Fi, real power loss) is in the README of the `images` crate.
//!
//! Everything a rack makes carries its number in the name. Dropping the rack removes it all; the next rack removes
//! what a killed process left.

mod card;
mod cleanup;
mod fat;
mod network;
mod node;

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};

use self::network::Network;
use self::node::Node;

/// Programs a rack calls.
pub const PROGRAMS: [&str; 16] = [
    "cp",
    "dnsmasq",
    "ip",
    "iptables",
    "losetup",
    "mcopy",
    "mdel",
    "mmd",
    "mount",
    "mrd",
    "mshowfat",
    "nsenter",
    "resize2fs",
    "systemd-nspawn",
    "timeout",
    "umount",
];

/// A rack of virtual Pis. Two racks may run at once; their nodes do not see each other.
#[derive(Debug)]
pub struct Rack {
    number: u8,
    folder: PathBuf,
    network: Network,
    nodes: Mutex<BTreeMap<String, Arc<Node>>>,
}

impl Rack {
    /// Sets up an empty rack; `name` only serves messages and the folder's name. Needs root.
    ///
    /// # Errors
    /// When root or a program is missing (saying what to type), or the network cannot be set up.
    pub fn new(name: &str) -> Result<Self> {
        images::require(&PROGRAMS)?;
        images::require_root("the rack")?;
        let _lock = cleanup::lock()?;
        cleanup::sweep()?;
        let (number, folder) = cleanup::claim(name)?;
        match Network::new(number, &folder) {
            Ok(network) => Ok(Self { number, folder, network, nodes: Mutex::default() }),
            Err(error) => {
                cleanup::remove(number, &folder)?;
                Err(error.context(format!("cannot set up the network of rack {name}")))
            }
        }
    }

    fn nodes(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Node>>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn node(&self, name: &str) -> Result<Arc<Node>> {
        self.nodes().get(name).map(Arc::clone).with_context(|| format!("no node {name} in the rack"))
    }

    /// Puts a private copy of a card image into a new node, which stays off.
    ///
    /// # Errors
    /// When the name is taken or longer than fits, or the image is no card.
    pub fn insert(&self, name: &str, card: &Path) -> Result<()> {
        let mut nodes = self.nodes();
        if nodes.contains_key(name) {
            bail!("there is a node {name} already");
        }
        let ordinal = u8::try_from(nodes.len()).context("the rack is full")?;
        let folder = self.folder.join(name);
        fs::create_dir(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let node = Node::new(self.number, ordinal, name, &folder, card)?;
        nodes.insert(name.to_owned(), Arc::new(node));
        Ok(())
    }

    /// Writes a node's card anew. The node has to be off.
    ///
    /// # Errors
    /// When it is on, or the image is no card.
    pub fn exchange(&self, name: &str, card: &Path) -> Result<()> {
        self.node(name)?.exchange(card)
    }

    /// Gives a node at most so many of this machine's cores, instead of all: real Pis do not share theirs. The node has
    /// to be off.
    ///
    /// # Errors
    /// When it is on, or this machine's kernel does not ration processor time.
    pub fn set_cores(&self, name: &str, cores: f64) -> Result<()> {
        self.node(name)?.set_cores(cores)
    }

    /// Powers a node on and returns at once. Reboots are honoured until it powers off.
    ///
    /// # Errors
    /// When it is on already.
    pub fn power_on(&self, name: &str) -> Result<()> {
        self.node(name)?.power_on()
    }

    /// Shuts a node down and waits until its card is written. Being off already is success.
    ///
    /// # Errors
    /// When something failed since it was powered on, or it did not stop by itself and its plug had to be pulled.
    pub fn power_off(&self, name: &str) -> Result<()> {
        self.node(name)?.power_off()
    }

    /// Takes a node's power away and waits until its card is written.
    ///
    /// # Errors
    /// When something failed since it was powered on.
    pub fn pull_plug(&self, name: &str) -> Result<()> {
        self.node(name)?.pull_plug()
    }

    /// Whether a node is on; it is between two boots of a reboot, too.
    ///
    /// # Errors
    /// When something failed since it was powered on.
    pub fn is_on(&self, name: &str) -> Result<bool> {
        self.node(name)?.is_on()
    }

    /// Runs a program in a node, as root, for at most ten minutes.
    ///
    /// # Errors
    /// When the node is not up (for a moment that is so during a reboot); a program that fails is no error.
    pub fn exec(&self, name: &str, words: &[&str]) -> Result<Output> {
        self.node(name)?.exec(words)
    }

    /// The node's IPv4 address as its own network interface has it.
    pub fn address(&self, name: &str) -> Option<Ipv4Addr> {
        self.node(name).ok()?.address()
    }

    /// Takes the network cable out of a node, or puts it back.
    ///
    /// # Errors
    /// When the node is off.
    pub fn set_link(&self, name: &str, up: bool) -> Result<()> {
        self.node(name)?.set_link(up)
    }

    /// Has a node ask for its address again, and get another one.
    ///
    /// # Errors
    /// When it is off, or does not ask.
    pub fn change_address(&self, name: &str) -> Result<()> {
        let node = self.node(name)?;
        self.network.reserve(node.mac())?;
        let line = "nmcli device disconnect eth0; nmcli device connect eth0";
        let asked = node.exec(&["sh", "-c", line])?;
        if asked.status.success() { Ok(()) } else { bail!("{}", String::from_utf8_lossy(&asked.stderr)) }
    }

    /// Host names the node gave in its DHCP requests, oldest first, each once.
    ///
    /// # Errors
    /// When there is no such node or the DHCP server's log cannot be read.
    pub fn dhcp_names(&self, name: &str) -> Result<Vec<String>> {
        self.network.dhcp_names(self.node(name)?.mac())
    }

    /// What the node said on its console since it was inserted.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn console(&self, name: &str) -> Result<PathBuf> {
        Ok(self.node(name)?.console())
    }

    /// When the node was last powered on; reboots do not count.
    pub fn powered_on_at(&self, name: &str) -> Option<SystemTime> {
        self.node(name).ok()?.powered_on_at()
    }

    /// How often the node has started since it was inserted, reboots included.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn boots(&self, name: &str) -> Result<u32> {
        Ok(self.node(name)?.boots())
    }

    /// The node's private card image. Its FAT is up to date whenever the node is off.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn card(&self, name: &str) -> Result<PathBuf> {
        Ok(self.node(name)?.card().to_owned())
    }

    /// The host's address on the rack's network: gateway, name server and a place to serve things from. Static
    /// addresses for nodes are free from .2 to .49, prefix length 24.
    pub fn gateway(&self) -> Ipv4Addr {
        network::gateway(self.number)
    }

    /// The bridge all nodes hang on.
    pub fn bridge(&self) -> String {
        network::bridge(self.number)
    }

    /// Where the rack keeps its cards and logs while it exists.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Rack {
    fn drop(&mut self) {
        for node in self.nodes().values() {
            // What went wrong with it is known or nobody asked; what matters now is that it is gone.
            drop(node.pull_plug());
        }
        self.network.stop();
        let removed = cleanup::lock().and_then(|_lock| cleanup::remove(self.number, &self.folder));
        if let Err(error) = removed {
            #[expect(clippy::print_stderr, reason = "a drop has nobody to return an error to")]
            {
                eprintln!("rack {}: {error:#}", self.number);
            }
        }
    }
}
