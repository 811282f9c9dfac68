//! `cargo xtask demo`: the main job in front of your eyes, on virtual Pis.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use cluster::wire::{Board, Stage};
use tests::desk::Desk;
use tests::shelf::{self, Shelf};

use crate::{agents, setup};

/// Arguments of `cargo xtask demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// How many; only five have the example's cluster file
    #[arg(long, value_name = "N", default_value_t = NODES, value_parser = clap::value_parser!(u8).range(1..=100))]
    nodes: u8,
    /// Leave the rack powered on until Enter is pressed
    #[arg(long)]
    keep: bool,
}

/// As the lesson has.
const NODES: u8 = 5;

/// How long the swarm may take: all installations of Docker share two cores and one network here.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// Image, cards, power, swarm, status, power off.
pub(crate) fn run(args: &DemoArgs) -> Result<ExitCode> {
    let product = agents::rack_product()?;
    let file = match args.nodes {
        NODES => std::fs::read_to_string(setup::workspace().join("examples/red.yaml"))?,
        nodes => Desk::small_cluster("{source: debian}", &format!("red[00-{:02}]", nodes - 1)),
    };

    setup::say("$ builder build -o cards");
    let mut shelf = Shelf::build(&product, &file)?;
    for place in 0..args.nodes {
        let node = format!("red{place:02}");
        setup::say(&format!("powering on {node}"));
        shelf.power_on(&node)?;
    }
    let mut last = BTreeMap::new();
    let board = shelf.wait_formed(PATIENCE, |board| tell_changes(board, &mut last))?;

    setup::say("$ builder status");
    let status = shelf.builder(["status"])?;
    say_out(&String::from_utf8_lossy(&status.stdout));
    say_out(&time_table(&shelf, &board)?);
    if args.keep {
        setup::say(&format!(
            "the cluster file is in {}; press Enter to power the rack off",
            shelf.folder().display()
        ));
        std::io::stdin().read_line(&mut String::new())?;
    }
    drop(shelf);
    Ok(if status.status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Says what changed since the last board.
fn tell_changes(board: &Board, last: &mut BTreeMap<String, String>) {
    for node in &board.nodes {
        let Some(report) = &node.report else { continue };
        let error = report.error.as_ref().map(|error| format!(" ({})", error.message)).unwrap_or_default();
        let now = format!("{:8} {}{error}", report.stage.as_str(), report.word);
        if last.insert(node.name.to_string(), now.clone()).as_ref() != Some(&now) {
            setup::say(&format!("{}  {now}", node.name));
        }
    }
}

/// Seconds from power-on to the end of each stage, and how long each worker waited for nothing.
fn time_table(shelf: &Shelf, board: &Board) -> Result<String> {
    const STAGES: [Stage; 6] =
        [Stage::Seed, Stage::Network, Stage::Clock, Stage::Docker, Stage::Swarm, Stage::Ready];
    let mut text = String::from("\nseconds from power-on to the end of each stage\nnode  ");
    for stage in STAGES {
        text.push_str(&format!("{:>9}", stage.as_str()));
    }
    let delays = shelf::join_delays(board);
    text.push_str("   ready after Docker and init\n");
    for node in &board.nodes {
        let name = node.name.to_string();
        let powered_on = shelf.rack.powered_on_at(&name).context("a node was never powered on")?;
        let times = shelf::times(node, powered_on);
        text.push_str(&format!("{name:6}"));
        for stage in STAGES {
            match times.get(&stage) {
                Some(seconds) => text.push_str(&format!("{seconds:9.1}")),
                None => text.push_str("        –"),
            }
        }
        if let Some(delay) = delays.get(&name) {
            text.push_str(&format!("{delay:9.1} s"));
        }
        text.push('\n');
    }
    Ok(text)
}

/// The demo's data goes to standard output.
fn say_out(text: &str) {
    use std::io::Write;
    // The reader went away; nothing is left to say.
    let _unwritten = writeln!(std::io::stdout().lock(), "{text}");
}
