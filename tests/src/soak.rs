//! A swarm in a rack that is maltreated for a while: bursts of random trouble, each from one seed, and a look after each
//! whether everybody is back.
//!
//! The rack's nodes share this machine's clock, so no burst sets it.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use cluster::wire::Board;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use crate::desk::Desk;
use crate::product::Product;
use crate::shelf::{Shelf, is_well};

/// How long nothing happens after a burst. Then everybody has to be back.
pub const QUIET: Duration = Duration::from_secs(60);
/// What a card that was written anew has in addition: Docker is installed again, on a machine that many share.
const INSTALLATION: Duration = Duration::from_secs(240);
/// What another address has in addition: the other managers or the members let go of the old one only after a while.
const REJOINING: Duration = Duration::from_secs(60);
/// Who is back has to stay for so long.
const STEADY: Duration = Duration::from_secs(15);
/// Several installations of Docker share two cores and one network.
const FORMATION: Duration = Duration::from_secs(15 * 60);
/// Most troubles of one burst.
const BURST: usize = 3;

/// What may happen to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Its plug is pulled and put back after so many seconds.
    Power(u64),
    /// Its agent is killed.
    Agent,
    /// Its Docker is killed.
    Docker,
    /// Its cable is out for so many seconds.
    Link(u64),
    /// Its DHCP server gives it another address.
    Address,
    /// Its card is written anew.
    Card,
}

impl Trouble {
    /// How much longer than the quiet it may take to heal.
    const fn allowance(self) -> Duration {
        match self {
            Self::Card => INSTALLATION,
            Self::Address => REJOINING,
            _ => Duration::ZERO,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Power(seconds) => write!(f, "no power for {seconds} s"),
            Self::Agent => f.write_str("agent killed"),
            Self::Docker => f.write_str("Docker killed"),
            Self::Link(seconds) => write!(f, "no link for {seconds} s"),
            Self::Address => f.write_str("another address"),
            Self::Card => f.write_str("card written anew"),
        }
    }
}

/// How it went.
#[derive(Debug, Default)]
pub struct Sum {
    /// Bursts that were survived.
    pub bursts: u32,
    /// Single troubles in them.
    pub troubles: u32,
    /// The longest that anybody was away after a burst.
    pub longest: Duration,
}

/// How much.
#[derive(Debug, Clone, Copy)]
pub struct Soak {
    /// Nodes, at most 100.
    pub nodes: usize,
    /// Of these, managers: one, three or five.
    pub managers: usize,
    /// Decides everything that happens.
    pub seed: u64,
    /// No burst begins later than this after the swarm was formed.
    pub time: Duration,
}

/// Forms a swarm and maltreats it. `say` is told everything that happens.
///
/// # Errors
/// When a planned node is not Ready exactly once after a burst and the quiet that follows it.
pub fn run(product: &Product, soak: Soak, mut say: impl FnMut(&str)) -> Result<Sum> {
    let Soak { nodes, managers, seed, time } = soak;
    let mut random = StdRng::seed_from_u64(seed);
    let names: Vec<String> = (0..nodes).map(|place| format!("soak{place:02}")).collect();
    let expected: Vec<String> = names.iter().map(|name| format!("{name} Ready")).collect();
    let first = names.first().context("a swarm of nobody")?;
    let managers = names.get(..managers).context("more managers than nodes")?.join(", ");
    let file = Desk::small_cluster("{source: debian}", &format!("[{}]", names.join(", ")));
    let mut shelf = Shelf::build(product, &format!("{file}managers: [{managers}]\n"))?;
    say(&format!("seed {seed}: {nodes} nodes, managers {managers}"));
    for name in &names {
        shelf.power_on(name)?;
    }
    shelf.wait_formed(FORMATION, |_| ())?;
    let (mut sum, began) = (Sum::default(), Instant::now());
    while began.elapsed() < time {
        let count = random.random_range(1..=BURST.min(names.len()));
        let mut patience = QUIET;
        let before = shelf.board(None)?.context("the board before the burst")?;
        let mut rebooted = Vec::new();
        for name in names.sample(&mut random, count) {
            let trouble = any(&mut random);
            say(&format!("{:6.0} s  {name}: {trouble}", began.elapsed().as_secs_f64()));
            inflict(&shelf, name, trouble)?;
            patience = patience.max(QUIET + trouble.allowance());
            if matches!(trouble, Trouble::Power(_) | Trouble::Card) {
                rebooted.push((name, boot(&before, name)));
            }
            sum.troubles += 1;
        }
        let quiet = Instant::now();
        let mut well_since = None;
        let waited = shelf.wait_board(patience + STEADY, |board| {
            // What the board says of a node that went off a moment ago is still that it is well.
            let is_back = rebooted.iter().all(|(name, old)| boot(board, name) != *old);
            if !(is_back && is_well(board)) {
                well_since = None;
                return false;
            }
            well_since.get_or_insert_with(Instant::now).elapsed() >= STEADY
        });
        waited.with_context(|| format!("seed {seed}, burst {}", sum.bursts + 1))?;
        sum.longest = sum.longest.max(quiet.elapsed().saturating_sub(STEADY));
        let listed = listed(&shelf, first)?;
        ensure!(listed == expected, "seed {seed}, burst {}: {listed:?}", sum.bursts + 1);
        sum.bursts += 1;
    }
    Ok(sum)
}

/// Which of its starts a node last reported from.
fn boot(board: &Board, name: &str) -> Option<String> {
    let node = board.nodes.iter().find(|node| node.name.as_str() == name)?;
    node.report.as_ref()?.facts.boot.clone()
}

/// What Docker itself says of its nodes, in their order.
fn listed(shelf: &Shelf, manager: &str) -> Result<Vec<String>> {
    let command = ["docker", "node", "ls", "--format", "{{.Hostname}} {{.Status}}"];
    let output = shelf.rack.exec(manager, &command)?;
    let mut lines: Vec<String> = String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect();
    lines.sort();
    Ok(lines)
}

fn any(random: &mut StdRng) -> Trouble {
    match random.random_range(0..12) {
        0..=2 => Trouble::Power(random.random_range(1..20)),
        3..=4 => Trouble::Agent,
        5..=6 => Trouble::Docker,
        7..=9 => Trouble::Link(random.random_range(1..40)),
        10 => Trouble::Address,
        _ => Trouble::Card,
    }
}

fn inflict(shelf: &Shelf, name: &str, trouble: Trouble) -> Result<()> {
    let rack = &shelf.rack;
    match trouble {
        Trouble::Power(seconds) => {
            rack.pull_plug(name)?;
            std::thread::sleep(Duration::from_secs(seconds));
            rack.power_on(name)
        }
        Trouble::Agent => kill(shelf, name, "firstboot"),
        Trouble::Docker => kill(shelf, name, "docker"),
        Trouble::Link(seconds) => {
            rack.set_link(name, false)?;
            std::thread::sleep(Duration::from_secs(seconds));
            rack.set_link(name, true)
        }
        Trouble::Address => rack.change_address(name),
        Trouble::Card => {
            rack.pull_plug(name)?;
            rack.exchange(name, &shelf.card(name))?;
            rack.power_on(name)
        }
    }
}

fn kill(shelf: &Shelf, name: &str, service: &str) -> Result<()> {
    // A node that boots has no such process yet: then nothing is killed.
    let line = format!("kill -KILL $(systemctl show --property=MainPID --value {service})");
    let _not_there = shelf.rack.exec(name, &["sh", "-c", &line]);
    Ok(())
}
