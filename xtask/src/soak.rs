//! `cargo xtask soak`: a swarm in the rack that is maltreated for a while, repeatably.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use tests::product::Product;
use tests::soak::{self, Emulated, Field, Racked};

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
    /// Two emulated Pis instead, whose clocks jump
    #[arg(long, conflicts_with_all = ["nodes", "managers"])]
    clocks: bool,
}

/// Forms, maltreats, looks.
pub(crate) fn run(args: &SoakArgs) -> Result<ExitCode> {
    let product = agents::rack_product()?;
    let mut field: Box<dyn Field> = if args.clocks {
        setup::say("forming a swarm of emulated Pis: minutes");
        let image = images::bootable(images::Release::Trixie, &setup::cache()?)?;
        Box::new(Emulated::form(&Product { image, ..product }, 2)?)
    } else {
        Box::new(Racked::form(&product, args.nodes, args.managers)?)
    };
    let (seed, time) = (args.seed.unwrap_or_else(rand::random), Duration::from_secs(args.minutes * 60));
    let sum = soak::run(&mut *field, seed, time, setup::say)?;
    setup::say(&format!(
        "{} troubles in {} bursts; everybody was back after {:.0} s at most",
        sum.troubles,
        sum.bursts,
        sum.longest.as_secs_f64()
    ));
    Ok(ExitCode::SUCCESS)
}
