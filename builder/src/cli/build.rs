//! `builder build`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use crate::build::{self, Card, Order};
use crate::cache::Cache;
use crate::cli::{Globals, consent, first_use};
use crate::error::{Failure, Kind, builder, hint};
use crate::fetch::Base;
use crate::plan::{self, PlanOptions, Planner};
use crate::project;
use crate::report::Progress;

/// Where card images go unless another folder is named.
const CARDS: &str = "cards";

/// Make a card image per node
///
/// The files hold each node's private keys, so only you can read them, and git
/// ignores them. They appear when they are whole.
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// Nodes or ranges such as 'red[00-02]'; all without it
    #[arg(value_name = "NODE")]
    nodes: Vec<String>,
    /// Where the card images go [default: cards]
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Replace existing card images
    #[arg(long)]
    force: bool,
    /// The agent's binary for the image's architecture
    ///
    /// Without it: firstboot-ARCH beside builder, in ../share/builder or in
    /// ../lib/builder.
    #[arg(long, value_name = "PATH")]
    firstboot: Option<PathBuf>,
}

/// Runs the command.
pub fn run(globals: &Globals, args: &BuildArgs) -> Result<(), Failure> {
    let project = project::load_for_cards(&globals.file)?;
    let cluster = &project.cluster;
    let cache = Cache::open(globals.cache.as_deref())?;
    let hosts = consent::hosts(&project, &cache)?;
    let order = Order {
        source: (&cluster.image, &project.folder),
        hosts: &hosts,
        nodes: plan::select(cluster, &args.nodes)?,
        folder: args.output.as_deref().unwrap_or(Path::new(CARDS)),
        is_named: args.output.is_some(),
        force: args.force,
    };
    let progress = Progress::new(globals.quiet, globals.json);
    let options = PlanOptions { firstboot: args.firstboot.clone() };
    let (cards, base) = build::build(&order, &cache, &progress, |base| {
        plan::check_image(&project, &base.path, &cache)?;
        let planner = Planner::open(&project, &base.path, &options)?;
        let ca = planner.identities().ca_fingerprint()?;
        first_use::show(&ca, cluster.name.as_str(), &cache, &progress)?;
        Ok(move |node: &_| planner.card(node).map(|card| card.writes))
    })?;
    let text = if globals.json { document(&cards, &base) } else { table(&cards) };
    let printed = io::stdout().lock().write_all(text.as_bytes());
    printed.map_err(|source| Failure::new(Kind::Failed, PrintError(source)))?;
    let next = hint![
        "next: write each image to its SD card, power the Pis on, then: ",
        builder(["status", "--wait"])
    ];
    progress.say(&next.text(&project.file));
    Ok(())
}

fn table(cards: &[Card]) -> String {
    let width = cards.iter().map(|card| card.node.as_str().len()).max().unwrap_or(0);
    cards.iter().map(|card| format!("{:width$}  {}\n", card.node.as_str(), card.path.display())).collect()
}

fn document(cards: &[Card], base: &Base) -> String {
    let cards: Vec<_> = cards
        .iter()
        .map(|card| json!({ "node": card.node, "path": card.path, "bytes": base.size }))
        .collect();
    let base = json!({ "path": base.path, "bytes": base.size, "sha256": base.digest });
    crate::json::value_pretty(&json!({ "cards": cards, "base": base }))
}

#[derive(Debug, thiserror::Error)]
#[error("cannot print the list of cards")]
struct PrintError(#[source] io::Error);
