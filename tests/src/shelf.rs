//! A shelf: a desk's cards in a rack, as a user would have them.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result};
use cluster::wire::{Board, BoardNode, Stage};

use crate::desk::Desk;
use crate::product::Product;
use crate::rack::Rack;
use crate::wait;

/// A desk and the rack its cards are in. Everything goes when it is dropped.
#[derive(Debug)]
pub struct Shelf {
    /// The rack.
    pub rack: Rack,
    desk: Desk,
    powered_on: Vec<String>,
}

impl Deref for Shelf {
    type Target = Desk;

    fn deref(&self) -> &Desk {
        &self.desk
    }
}

impl Shelf {
    /// A desk without cards, and an empty rack.
    pub fn prepare(product: &Product) -> Result<Self> {
        Ok(Self { rack: Rack::new("shelf")?, desk: Desk::prepare(product)?, powered_on: Vec::new() })
    }

    /// A desk with cards, and an empty rack.
    pub fn build(product: &Product, cluster_file: &str) -> Result<Self> {
        let shelf = Self::prepare(product)?;
        shelf.make_cards(cluster_file)?;
        Ok(shelf)
    }

    /// Runs a command on a node by SSH, with nothing but what `builder` wrote: strict host keys, the user's key.
    pub fn ssh(&self, node: &str, command: &str) -> Result<Output> {
        let config = self.secrets()?.join("ssh_config");
        Command::new("ssh")
            .arg("-F")
            .arg(config)
            .args(["-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-i"])
            .arg(self.folder().join(".ssh/id_ed25519"))
            .args([node, command])
            .output()
            .context("cannot start ssh")
    }

    /// Puts a node's card in and powers it on.
    pub fn power_on(&mut self, node: &str) -> Result<()> {
        let card = self.card(node);
        self.rack.insert(node, &card)?;
        self.powered_on.push(node.to_owned());
        self.rack.power_on(node)
    }

    /// Waits until the swarm is formed and every node has said that it knows, telling `seen` of every board.
    pub fn wait_formed(&self, timeout: Duration, mut seen: impl FnMut(&Board)) -> Result<Board> {
        self.wait_board(timeout, |board| {
            seen(board);
            let knows =
                |node: &BoardNode| node.report.as_ref().is_some_and(|report| report.stage == Stage::Ready);
            board.formed && board.nodes.iter().all(knows)
        })
    }

    /// Waits for a board that is as wanted.
    pub fn wait_board(&self, timeout: Duration, mut wanted: impl FnMut(&Board) -> bool) -> Result<Board> {
        let mut last = None;
        // The manager answers an operator about once a second.
        wait::every(Duration::from_secs(1), "the board as wanted", timeout, || {
            last = self.board(None)?.or(last.take());
            Ok(last.take_if(|board| wanted(board)))
        })
        .with_context(|| format!("{last:#?}\n{}", self.consoles()))
    }

    /// The end of every node's console, and of what its agent and Docker wrote, for a failure's message.
    pub(crate) fn consoles(&self) -> String {
        consoles(&self.rack, &self.powered_on)
    }
}

/// [`Shelf::consoles`] of some nodes in a rack.
pub(crate) fn consoles(rack: &Rack, nodes: &[String]) -> String {
    let journal = "journalctl --boot --no-pager --lines=40 --unit=firstboot; \
                   journalctl --boot --no-pager --lines=30 --priority=warning --unit=docker --unit=containerd";
    let mut text = String::new();
    for node in nodes {
        let log = rack.console(node).and_then(|path| Ok(std::fs::read(path)?)).unwrap_or_default();
        let tail = log.get(log.len().saturating_sub(4000)..).unwrap_or_default();
        // A node that is off has only a console.
        let told = rack.exec(node, &["sh", "-c", journal]).map(|output| output.stdout).unwrap_or_default();
        let (tail, told) = (String::from_utf8_lossy(tail), String::from_utf8_lossy(&told));
        text.push_str(&format!("--- {node}\n{tail}\n{told}\n"));
    }
    text
}

/// Everybody in the swarm, knowing it, and without trouble.
pub fn is_well(board: &Board) -> bool {
    let is_well = |node: &BoardNode| {
        node.report.as_ref().is_some_and(|report| report.stage == Stage::Ready && report.error.is_none())
    };
    board.formed && board.nodes.iter().all(is_well)
}

/// When a node finished each stage, in seconds since it was powered on. All virtual Pis share this machine's clock.
pub fn times(node: &BoardNode, powered_on: std::time::SystemTime) -> BTreeMap<Stage, f64> {
    let start = powered_on.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let marks = node.report.iter().flat_map(|report| &report.marks);
    marks.map(|mark| (mark.stage, Duration::from_millis(mark.unix_ms).as_secs_f64() - start)).collect()
}

/// By how many seconds each worker was Ready after the later of its own Docker's start and the manager's init.
pub fn join_delays(board: &Board) -> BTreeMap<String, f64> {
    let mark = |node: &BoardNode, stage| {
        let marks = node.report.iter().flat_map(|report| &report.marks);
        marks.filter(|mark| mark.stage == stage).map(|mark| mark.unix_ms).next_back()
    };
    let manager = board.nodes.iter().find(|node| node.role == cluster::identity::Role::Manager);
    let Some(init) = manager.and_then(|node| mark(node, Stage::Swarm)) else {
        return BTreeMap::new();
    };
    let mut delays = BTreeMap::new();
    for node in board.nodes.iter().filter(|node| node.role == cluster::identity::Role::Worker) {
        if let (Some(docker), Some(ready)) = (mark(node, Stage::Docker), mark(node, Stage::Ready)) {
            let delay = Duration::from_millis(ready.saturating_sub(docker.max(init)));
            delays.insert(node.name.to_string(), delay.as_secs_f64());
        }
    }
    delays
}
