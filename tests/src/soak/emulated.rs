//! Troubles of emulated Pis: power, programs, and clocks, which jump while everything runs.
//!
//! Nothing but the manager can put a worker's clock right here, as in a room without the internet. Nothing puts the manager's
//! right, so its own goes forward only, as when network time comes to a manager that had none.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cluster::wire::Board;
use rand::RngExt as _;
use rand::rngs::StdRng;

use super::{Field, Trouble, kill};
use crate::desk::Desk;
use crate::emulator::Emulator;
use crate::product::Product;
use crate::shelf::is_well;
use crate::wait;

/// Machines emulated on shared cores boot in minutes, and Docker starts in half of one.
const SLOW: Duration = Duration::from_secs(10 * 60);
const FORMATION: Duration = Duration::from_secs(40 * 60);
const DAY: i64 = 86_400;

/// A swarm of emulated Pis, the first of which manages.
#[derive(Debug)]
pub struct Emulated {
    desk: Desk,
    emulator: Emulator,
    names: Vec<String>,
}

impl Emulated {
    /// Forms a swarm.
    ///
    /// # Errors
    /// When it does not form.
    pub fn form(product: &Product, nodes: usize) -> Result<Self> {
        let names: Vec<String> = (0..nodes).map(|place| format!("jump{place:02}")).collect();
        let file = Desk::small_cluster("{source: debian}", &format!("[{}]", names.join(", ")));
        let desk = Desk::build(product, &file)?;
        let mut emulator = Emulator::new(nodes, 1)?;
        for name in &names {
            emulator.insert(name, &desk.card(name))?;
            emulator.power_on(name)?;
        }
        let mut field = Self { desk, emulator, names };
        let formed = wait::every(Duration::from_secs(1), "the swarm", FORMATION, || {
            Ok(field.board()?.filter(is_well).map(drop))
        });
        formed.with_context(|| field.logs())?;
        Ok(field)
    }
}

impl Field for Emulated {
    fn names(&self) -> &[String] {
        &self.names
    }

    fn any(&self, name: &str, random: &mut StdRng) -> Trouble {
        let manages = self.names.first().is_some_and(|first| first == name);
        match random.random_range(0..8) {
            0 => Trouble::Power(random.random_range(1..10)),
            1 => Trouble::Agent,
            2 => Trouble::Docker,
            _ if manages => Trouble::Clock(random.random_range(60..20 * DAY)),
            _ => Trouble::Clock(random.random_range(-400 * DAY..200 * DAY)),
        }
    }

    fn inflict(&mut self, name: &str, trouble: Trouble) -> Result<()> {
        match trouble {
            Trouble::Power(seconds) => {
                self.emulator.pull_plug(name)?;
                std::thread::sleep(Duration::from_secs(seconds));
                self.emulator.power_on(name)
            }
            Trouble::Agent => self.exec(name, &kill("firstboot")).map(drop),
            Trouble::Docker => self.exec(name, &kill("docker")).map(drop),
            Trouble::Clock(seconds) => {
                let jump = format!("date --set=@$(($(date +%s) + {seconds}))");
                ensure!(!self.exec(name, &jump)?.is_empty(), "{name} did not set its clock");
                Ok(())
            }
            other => anyhow::bail!("no {other} here"),
        }
    }

    fn patience(&self, _trouble: Trouble) -> Duration {
        SLOW
    }

    fn board(&mut self) -> Result<Option<Board>> {
        self.emulator.attend()?;
        let manager = self.names.first().context("a swarm of nobody")?;
        let Some(api) = self.emulator.api(manager)? else { return Ok(None) };
        self.desk.board(Some(api))
    }

    fn exec(&mut self, name: &str, command: &str) -> Result<String> {
        let at = self.emulator.ssh(name)?.with_context(|| format!("{name} has no address"))?;
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none", "-i"]).arg(self.desk.folder().join(".ssh/id_ed25519"));
        // The way in has another port with every run.
        let options = ["BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null"];
        ssh.args(options.iter().flat_map(|option| ["-o", option]));
        ssh.args(["-p", &at.port().to_string(), &format!("pi@{}", at.ip())]);
        ssh.arg(format!("sudo -n sh -c '{}'", command.replace('\'', r"'\''")));
        let output = ssh.output().context("cannot start ssh")?;
        Ok(String::from_utf8(output.stdout)?)
    }

    fn logs(&self) -> String {
        self.emulator.consoles()
    }
}
