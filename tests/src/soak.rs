//! A swarm in a rack that is maltreated for a while: bursts of random trouble, each from one seed, and a look after each
//! whether everybody is back.
//!
//! Where it happens is a [`Field`]: the rack, or emulated Pis, which have clocks of their own to set.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use cluster::wire::Board;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use crate::shelf::is_well;
use crate::wait;

mod emulated;
mod rack;

pub use emulated::Emulated;
pub use rack::Racked;

/// How long nothing happens after a burst. Then everybody has to be back.
pub const QUIET: Duration = Duration::from_secs(60);
/// Who is back has to stay for so long.
const STEADY: Duration = Duration::from_secs(15);
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
    /// Its clock jumps by so many seconds.
    Clock(i64),
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
            Self::Clock(seconds) => write!(f, "the clock jumps by {:.1} days", *seconds as f64 / 86_400.0),
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

/// Where a swarm is maltreated.
pub trait Field {
    /// The nodes' names, managers first.
    fn names(&self) -> &[String];

    /// One of the troubles that are possible here, for that node.
    fn any(&self, name: &str, random: &mut StdRng) -> Trouble;

    /// Makes it so, to its end.
    ///
    /// # Errors
    /// When it cannot be done.
    fn inflict(&mut self, name: &str, trouble: Trouble) -> Result<()>;

    /// How long after a trouble a node may be away.
    fn patience(&self, trouble: Trouble) -> Duration;

    /// The board; `None` while nobody answers.
    ///
    /// # Errors
    /// When it never will.
    fn board(&mut self) -> Result<Option<Board>>;

    /// Runs a command as root on a node, and gives what it prints.
    ///
    /// # Errors
    /// When it cannot be run.
    fn exec(&mut self, name: &str, command: &str) -> Result<String>;

    /// The end of every log, for a failure's message.
    fn logs(&self) -> String;
}

/// Maltreats a swarm that is formed; no burst begins later than `time` from now. `say` is told everything that happens.
///
/// # Errors
/// When a planned node is not Ready exactly once after a burst and the quiet that follows it.
pub fn run(field: &mut dyn Field, seed: u64, time: Duration, mut say: impl FnMut(&str)) -> Result<Sum> {
    let mut random = StdRng::seed_from_u64(seed);
    let names = field.names().to_vec();
    let first = names.first().context("a swarm of nobody")?;
    say(&format!("seed {seed}: {}", names.join(", ")));
    let (mut sum, began) = (Sum::default(), Instant::now());
    while began.elapsed() < time {
        let count = random.random_range(1..=BURST.min(names.len()));
        let mut patience = QUIET;
        let before = field.board()?.context("the board before the burst")?;
        let mut rebooted = Vec::new();
        for name in names.sample(&mut random, count) {
            let trouble = field.any(name, &mut random);
            say(&format!("{:6.0} s  {name}: {trouble}", began.elapsed().as_secs_f64()));
            field.inflict(name, trouble)?;
            patience = patience.max(field.patience(trouble));
            if matches!(trouble, Trouble::Power(_) | Trouble::Card) {
                rebooted.push((name, boot(&before, name)));
            }
            sum.troubles += 1;
        }
        let quiet = Instant::now();
        // What the board says of a node that went off a moment ago is still that it is well.
        let is_back =
            |board: &Board| is_well(board) && rebooted.iter().all(|(name, old)| boot(board, name) != *old);
        let waited = wait_steady(field, patience, is_back);
        waited.with_context(|| format!("seed {seed}, burst {}", sum.bursts + 1))?;
        sum.longest = sum.longest.max(quiet.elapsed().saturating_sub(STEADY));
        let listed = listed(field, first)?;
        let expected: Vec<String> = names.iter().map(|name| format!("{name} Ready")).collect();
        ensure!(listed == expected, "seed {seed}, burst {}: {listed:?}", sum.bursts + 1);
        sum.bursts += 1;
    }
    Ok(sum)
}

/// Waits for a board that is as wanted, and stays so for a while.
fn wait_steady(field: &mut dyn Field, patience: Duration, wanted: impl Fn(&Board) -> bool) -> Result<()> {
    let (mut since, mut last) = (None, None);
    let waited = wait::every(Duration::from_secs(1), "everybody back", patience + STEADY, || {
        last = field.board()?.or(last.take());
        if !last.as_ref().is_some_and(&wanted) {
            since = None;
            return Ok(None);
        }
        Ok((since.get_or_insert_with(Instant::now).elapsed() >= STEADY).then_some(()))
    });
    waited.with_context(|| format!("{last:#?}\n{}", field.logs()))
}

/// Which of its starts a node last reported from.
fn boot(board: &Board, name: &str) -> Option<String> {
    let node = board.nodes.iter().find(|node| node.name.as_str() == name)?;
    node.report.as_ref()?.facts.boot.clone()
}

/// What Docker itself says of its nodes, in their order.
fn listed(field: &mut dyn Field, manager: &str) -> Result<Vec<String>> {
    let told = field.exec(manager, "docker node ls --format '{{.Hostname}} {{.Status}}'")?;
    let mut lines: Vec<String> = told.lines().map(str::to_owned).collect();
    lines.sort();
    Ok(lines)
}

/// What kills a service's process. A node that boots has none yet: then nothing is killed.
fn kill(service: &str) -> String {
    format!("kill -KILL $(systemctl show --property=MainPID --value {service})")
}
