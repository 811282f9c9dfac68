//! Troubles in the rack. Its nodes share this machine's clock, so none of them sets it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use cluster::wire::Board;
use rand::RngExt as _;
use rand::rngs::StdRng;

use super::{Field, QUIET, Trouble, kill};
use crate::desk::Desk;
use crate::product::Product;
use crate::shelf::Shelf;

/// What a card that was written anew has in addition: Docker is installed again, on a machine that many share.
const INSTALLATION: Duration = Duration::from_secs(240);
/// What another address has in addition: the other managers or the members let go of the old one only after a while.
const REJOINING: Duration = Duration::from_secs(60);
/// Several installations of Docker share two cores and one network.
const FORMATION: Duration = Duration::from_secs(15 * 60);

/// A swarm in the rack.
#[derive(Debug)]
pub struct Racked {
    shelf: Shelf,
    names: Vec<String>,
}

impl Racked {
    /// Forms a swarm of so many nodes, at most 100, and of these so many managers: one, three or five.
    ///
    /// # Errors
    /// When it does not form.
    pub fn form(product: &Product, nodes: usize, managers: usize) -> Result<Self> {
        let names: Vec<String> = (0..nodes).map(|place| format!("soak{place:02}")).collect();
        let managers = names.get(..managers).context("more managers than nodes")?.join(", ");
        let file = Desk::small_cluster("{source: debian}", &format!("[{}]", names.join(", ")));
        let mut shelf = Shelf::build(product, &format!("{file}managers: [{managers}]\n"))?;
        for name in &names {
            shelf.power_on(name)?;
        }
        shelf.wait_formed(FORMATION, |_| ())?;
        Ok(Self { shelf, names })
    }
}

impl Field for Racked {
    fn names(&self) -> &[String] {
        &self.names
    }

    fn any(&self, _name: &str, random: &mut StdRng) -> Trouble {
        match random.random_range(0..12) {
            0..=2 => Trouble::Power(random.random_range(1..20)),
            3..=4 => Trouble::Agent,
            5..=6 => Trouble::Docker,
            7..=9 => Trouble::Link(random.random_range(1..40)),
            10 => Trouble::Address,
            _ => Trouble::Card,
        }
    }

    fn inflict(&mut self, name: &str, trouble: Trouble) -> Result<()> {
        let rack = &self.shelf.rack;
        match trouble {
            Trouble::Power(seconds) => {
                rack.pull_plug(name)?;
                std::thread::sleep(Duration::from_secs(seconds));
                rack.power_on(name)
            }
            Trouble::Agent => self.exec(name, &kill("firstboot")).map(drop),
            Trouble::Docker => self.exec(name, &kill("docker")).map(drop),
            Trouble::Link(seconds) => {
                rack.set_link(name, false)?;
                std::thread::sleep(Duration::from_secs(seconds));
                rack.set_link(name, true)
            }
            Trouble::Address => rack.change_address(name),
            Trouble::Card => {
                rack.pull_plug(name)?;
                rack.exchange(name, &self.shelf.card(name))?;
                rack.power_on(name)
            }
            Trouble::Clock(_) => anyhow::bail!("the rack has one clock"),
        }
    }

    fn patience(&self, trouble: Trouble) -> Duration {
        match trouble {
            Trouble::Card => QUIET + INSTALLATION,
            Trouble::Address => QUIET + REJOINING,
            _ => QUIET,
        }
    }

    fn board(&mut self) -> Result<Option<Board>> {
        self.shelf.board(None)
    }

    fn exec(&mut self, name: &str, command: &str) -> Result<String> {
        let output = self.shelf.rack.exec(name, &["sh", "-c", command])?;
        Ok(String::from_utf8(output.stdout)?)
    }

    fn logs(&self) -> String {
        self.shelf.consoles()
    }
}
