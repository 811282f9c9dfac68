//! `builder plan`.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;

use crate::cache::Cache;
use crate::cli::{Globals, consent};
use crate::error::{Failure, Kind, builder, hint};
use crate::interrupt::EndOnSignal;
use crate::plan::{self, PlanOptions, Planner, show};
use crate::report::Progress;
use crate::{fetch, project};

/// Show what each card would get, file by file
///
/// Writes nothing but the cache and cluster.lock. Secrets are counted, not shown; those not made
/// yet are made up for this run.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Nodes or ranges such as 'red[00-02]'; all without it
    #[arg(value_name = "NODE")]
    nodes: Vec<String>,
    /// The agent's binary for the image's architecture
    ///
    /// Without it: firstboot-ARCH beside builder, in ../share/builder or in
    /// ../lib/builder.
    #[arg(long, value_name = "PATH")]
    firstboot: Option<PathBuf>,
}

/// Runs the command.
pub fn run(globals: &Globals, args: &PlanArgs) -> Result<(), Failure> {
    let project = project::load_for_cards(&globals.file)?;
    let cluster = &project.cluster;
    let nodes = plan::select(cluster, &args.nodes)?;
    let progress = Progress::new(globals.quiet, globals.json);
    let cache = Cache::open(globals.cache.as_deref())?;
    let hosts = consent::hosts(&project, &cache)?;
    let _ending =
        EndOnSignal::listen(|| ()).map_err(|source| Failure::new(Kind::Failed, SignalError(source)))?;
    let base = fetch::base(&cluster.image, &project.folder, &cache, &hosts, &progress)?;
    plan::check_image(&project, &base.path, &cache)?;
    let planner = Planner::preview(&project, &base.path, &PlanOptions { firstboot: args.firstboot.clone() })?;
    let cards = nodes.iter().map(|node| Ok(planner.card(node)?.without_writes()));
    let cards: Vec<_> = cards.collect::<Result<_, Failure>>()?;
    let from = fetch::origin(&cluster.image, &project.folder);
    let text = if globals.json {
        crate::json::value_pretty(&show::document(cluster, &planner, from.as_ref(), &cards))
    } else {
        show::text(cluster, &planner, from.as_ref(), &cards)
    };
    match io::stdout().lock().write_all(text.as_bytes()) {
        // Whoever reads it has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
        Err(error) => return Err(Failure::new(Kind::Failed, PrintError(error))),
        Ok(()) => {}
    }
    // Cards are written on Linux only; elsewhere their images are made, for a program that writes them.
    let verb = if cfg!(target_os = "linux") { "flash" } else { "build" };
    let next = hint!["next: ", builder([verb]).args(args.nodes.iter().cloned())];
    progress.say(&next.text(&project.file));
    Ok(())
}

#[derive(Debug, thiserror::Error)]
#[error("cannot take signals")]
struct SignalError(#[source] io::Error);

#[derive(Debug, thiserror::Error)]
#[error("cannot print the plan")]
struct PrintError(#[source] io::Error);
