//! Pis that already run: in a rack, each with a plain Pi OS that its owner set up by hand and no builder ever saw.
//!
//! As the lesson has them: the user pi, who lets the operator's key in and may `sudo` without a password, a host name,
//! an SSH server with host keys of its own, which the operator has accepted once. No Docker, nothing of ours.

use std::fs::{self, Permissions};
use std::net::Ipv4Addr;
use std::ops::Deref;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::desk::Desk;
use crate::inspect::Root;
use crate::product::Product;
use crate::rack::Rack;
use crate::{shelf, wait};

mod plain;

/// The user's number, as the image made it.
const PI: u32 = 1000;
/// For a node to be up, on a machine that starts twenty of them.
const BOOT: Duration = Duration::from_secs(300);

/// The Pis, and the desk of who works with them. Everything goes when it is dropped.
#[derive(Debug)]
pub struct Running {
    /// The rack.
    pub rack: Rack,
    desk: Desk,
    /// What all their cards are copies of.
    plain: PathBuf,
    nodes: Vec<String>,
    /// Processor time each gets at most.
    cores: Option<f64>,
}

impl Deref for Running {
    type Target = Desk;

    fn deref(&self) -> &Desk {
        &self.desk
    }
}

impl Running {
    /// Powers Pis of these names on, waits until all have booted, and accepts their host keys.
    ///
    /// # Errors
    /// As [`Rack::new`], and when one does not come up.
    pub fn start<N: AsRef<str>>(product: &Product, nodes: &[N]) -> Result<Self> {
        Self::start_each_with(product, nodes, None)
    }

    /// [`Self::start`], where each gets at most so many of this machine's cores: so five take none from another, as real
    /// Pis do not.
    ///
    /// # Errors
    /// As [`Self::start`] and [`Rack::set_cores`].
    pub fn start_each_with<N: AsRef<str>>(
        product: &Product,
        nodes: &[N],
        cores: impl Into<Option<f64>>,
    ) -> Result<Self> {
        let (desk, plain) = (Desk::prepare(product)?, plain::card(product)?);
        let mut running =
            Self { rack: Rack::new("running")?, desk, plain, nodes: Vec::new(), cores: cores.into() };
        fs::write(running.known_hosts(), "")?;
        fs::write(running.ssh_config(), running.ssh_settings())?;
        for node in nodes {
            running.power_on(node.as_ref())?;
        }
        for node in nodes {
            running.wait_booted(node.as_ref())?;
            running.accept(node.as_ref())?;
        }
        Ok(running)
    }

    /// What `builder` and `ssh` take with `-F`. OpenSSH looks for the user's home in the user database, not in the
    /// environment, so the desk's keys have to be named.
    pub fn ssh_config(&self) -> PathBuf {
        self.folder().join("ssh_config")
    }

    fn ssh_settings(&self) -> String {
        let folder = self.folder().display();
        // Nobody waits for another's: many connections at once share two cores here.
        format!(
            "Host *\n    IdentityFile {folder}/.ssh/id_ed25519\n    IdentitiesOnly yes\n    IdentityAgent none\n    \
             UserKnownHostsFile {folder}/.ssh/known_hosts\n    GlobalKnownHostsFile /dev/null\n    ConnectTimeout 60\n"
        )
    }

    /// The operator's accepted host keys.
    pub fn known_hosts(&self) -> PathBuf {
        self.folder().join(".ssh/known_hosts")
    }

    /// Adds a Pi and powers it on.
    ///
    /// # Errors
    /// When there is one of this name, or its card cannot be made.
    pub fn power_on(&mut self, node: &str) -> Result<()> {
        self.rack.insert(node, &self.plain)?;
        self.set_up(node).with_context(|| format!("cannot set {node} up"))?;
        if let Some(cores) = self.cores {
            self.rack.set_cores(node, cores)?;
        }
        self.nodes.push(node.to_owned());
        self.rack.power_on(node)
    }

    /// What its owner did to this one Pi.
    fn set_up(&self, node: &str) -> Result<()> {
        let root = Root::mount(&self.rack.card(node)?)?;
        fs::write(root.path("etc/hostname"), format!("{node}\n"))?;
        fs::write(root.path("etc/hosts"), root.text("etc/hosts")?.replace("raspberrypi", node))?;
        // Real systems make them on their first boot.
        images::run("ssh-keygen", ["-A".as_ref(), "-f".as_ref(), root.path("").as_os_str()])?;
        let keys = root.path("home/pi/.ssh/authorized_keys");
        fs::copy(self.folder().join(".ssh/id_ed25519.pub"), &keys)?;
        fs::set_permissions(&keys, Permissions::from_mode(0o600))?;
        Ok(chown(&keys, Some(PI), Some(PI))?)
    }

    /// Waits until a Pi has an address and lets users in.
    ///
    /// # Errors
    /// When it does not.
    pub fn wait_booted(&self, node: &str) -> Result<()> {
        wait::until(&format!("{node} has booted"), BOOT, || {
            self.rack.is_on(node)?;
            // Between power and its first process there is nothing to ask.
            let asked =
                self.rack.exec(node, &["systemctl", "is-active", "--quiet", "multi-user.target", "ssh"]);
            let is_up = asked.is_ok_and(|output| output.status.success());
            Ok((is_up && self.rack.address(node).is_some()).then_some(()))
        })
        .with_context(|| self.consoles())
    }

    /// Takes a Pi's host key for the right one, as its owner does once.
    ///
    /// # Errors
    /// When it shows none.
    pub fn accept(&self, node: &str) -> Result<()> {
        // A Pi that has just booted may yet change its address, and lose what was on its way to the old one.
        let shown = wait::until(&format!("{node} shows its host keys"), BOOT, || {
            let Some(address) = self.rack.address(node) else { return Ok(None) };
            let shown = images::capture("ssh-keyscan", ["-T", "10", &address.to_string()]);
            Ok(shown.ok().filter(|shown| !shown.is_empty()))
        })?;
        let mut known = fs::read_to_string(self.known_hosts())?;
        known.push_str(&String::from_utf8(shown)?);
        Ok(fs::write(self.known_hosts(), known)?)
    }

    /// A Pi's address.
    ///
    /// # Errors
    /// When it has none.
    pub fn address(&self, node: &str) -> Result<Ipv4Addr> {
        self.rack.address(node).with_context(|| format!("{node} has no address"))
    }

    /// Writes the lesson's file, in the form it has there, and gives its path.
    ///
    /// # Errors
    /// When a Pi has no address.
    pub fn write_hostnames(&self, manager: &str, workers: &[&str]) -> Result<PathBuf> {
        let workers: Result<Vec<_>> = workers.iter().map(|node| self.address(node)).collect();
        self.write_addresses(self.address(manager)?, &workers?)
    }

    /// [`Self::write_hostnames`], whoever may be at these addresses.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_addresses(&self, manager: Ipv4Addr, workers: &[Ipv4Addr]) -> Result<PathBuf> {
        let workers: String = workers.iter().map(|address| format!("- {address}\n")).collect();
        let path = self.folder().join("hostnames.yaml");
        let heading = if workers.is_empty() { "" } else { "worker:\n" };
        fs::write(&path, format!("manager: {manager}\n{heading}{workers}"))?;
        Ok(path)
    }

    /// A plain `ssh` to a Pi, as in the lesson.
    ///
    /// # Errors
    /// When the Pi has no address.
    pub fn ssh(&self, node: &str, line: &str) -> Result<Command> {
        let mut ssh = Command::new("ssh");
        ssh.arg("-F").arg(self.ssh_config()).args(["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"]);
        ssh.arg(format!("pi@{}", self.address(node)?)).arg(line);
        Ok(ssh)
    }

    /// Runs a line of shell in a Pi as root, past `ssh`.
    ///
    /// # Errors
    /// As [`Rack::exec`].
    pub fn shell(&self, node: &str, line: &str) -> Result<Output> {
        self.rack.exec(node, &["sh", "-c", line])
    }

    /// The end of every node's console and of what its agent wrote, for a failure's message.
    pub fn consoles(&self) -> String {
        shelf::consoles(&self.rack, &self.nodes)
    }
}
