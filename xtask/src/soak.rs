//! `cargo xtask soak`: a swarm in the rack that is maltreated for a while, repeatably.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use tests::soak::{self, Soak};

use crate::{agents, setup};

/// Arguments of `cargo xtask soak`.
#[derive(Debug, Args)]
pub(crate) struct SoakArgs {
    /// Decides everything that happens; a new one without it, which is printed
    #[arg(long)]
    seed: Option<u64>,
    /// How long
    #[arg(long, default_value_t = 20)]
    minutes: u64,
    /// Virtual Pis
    #[arg(long, default_value_t = 5)]
    nodes: usize,
    /// Of these, managers: one, three or five
    #[arg(long, default_value_t = 3)]
    managers: usize,
}

/// Forms, maltreats, looks.
pub(crate) fn run(args: &SoakArgs) -> Result<ExitCode> {
    let product = agents::rack_product()?;
    let soak = Soak {
        nodes: args.nodes,
        managers: args.managers,
        seed: args.seed.unwrap_or_else(rand::random),
        time: Duration::from_secs(args.minutes * 60),
    };
    let sum = soak::run(&product, soak, setup::say)?;
    setup::say(&format!(
        "{} troubles in {} bursts; everybody was back after {:.0} s at most",
        sum.troubles,
        sum.bursts,
        sum.longest.as_secs_f64()
    ));
    Ok(ExitCode::SUCCESS)
}
