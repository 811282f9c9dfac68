//! `bench config`: Pis that already run, in the rack. `builder exec` on twenty against twenty plain `ssh`; `builder config`
//! on five against one, and against the lesson's own loop, each on Pis of its own that nobody touched before.
//!
//! All share this machine's cores, which real Pis do not. So those that are configured get a fixed small part of it each,
//! the same whether one works or five. Those that only let twenty users in take what they need.

use std::path::PathBuf;

use ::tests::product::Product;
use anyhow::{Context as _, Result};
use serde::Serialize;

use super::setting::verdicts;
use crate::{agents, setup};

mod exec;
mod swarm;

/// What to measure with.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ConfigOptions {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Only this part
    #[arg(long)]
    only: Option<Part>,
    /// How often `exec` is measured; the median counts
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// The builder to measure, agents beside it; without it, both are built
    #[arg(long, value_name = "PATH")]
    builder: Option<PathBuf>,
}

/// A part of the measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    Exec,
    Config,
}

/// What came out.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    exec: Option<exec::Report>,
    #[serde(flatten)]
    config: Option<swarm::Report>,
}

/// Runs the measurements and prints them.
pub(crate) fn config(options: &ConfigOptions) -> Result<()> {
    let product = match &options.builder {
        Some(path) => {
            setup::ensure_machine()?;
            let (builder, cache) = (path.canonicalize().context("the builder to measure")?, setup::cache()?);
            let image = images::pios(&images::host_architecture()?, &cache)?;
            Product { builder, image, cache: cache.join("decompressed") }
        }
        None => agents::rack_product()?,
    };
    let wanted = |part| options.only.is_none_or(|only| only == part);
    let report = Report {
        exec: wanted(Part::Exec).then(|| exec::measure(&product, options.rounds)).transpose()?,
        config: wanted(Part::Config).then(|| swarm::measure(&product)).transpose()?,
    };
    let text = if options.json { serde_json::to_string_pretty(&report)? } else { table(&report) };
    use std::io::Write;
    writeln!(std::io::stdout().lock(), "{}", text.trim_end())?;
    Ok(())
}

fn table(report: &Report) -> String {
    let mut text = String::new();
    let mut row = |name: &str, seconds: f64| text.push_str(&format!("{name:<44}{seconds:>9.2} s\n"));
    let mut promises = Vec::new();
    if let Some(exec) = &report.exec {
        row(&format!("20 × builder exec, {}", exec.ssh), exec.exec20_s);
        row("the first, with nobody logged in", exec.exec20_first_s);
        row("20 × plain ssh, the same", exec.exec20_first_plain_ssh_s);
        row(&format!("20 × builder exec, {}", exec.own_ssh), exec.own_exec20_s);
        row("the first, with nobody logged in", exec.own_exec20_first_s);
        row("20 × plain ssh, the same", exec.own_exec20_first_plain_ssh_s);
        promises.push(("exec20_s", exec.exec20_s, 3.0));
        promises.push(("exec20_first_vs_plain_ratio", exec.exec20_first_vs_plain_ratio, 1.2));
    }
    if let Some(config) = &report.config {
        row("builder config on one", config.config_one_s);
        row("builder config on five", config.config_five_s);
        row("the lesson's loop on five", config.lesson_loop_s);
        promises.push(("five_vs_one_ratio", config.five_vs_one_ratio, 1.5));
        promises.push(("vs_lesson_loop_ratio", config.vs_lesson_loop_ratio, 0.5));
    }
    text + &verdicts(&promises)
}
