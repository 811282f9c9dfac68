//! Work around the code: `demo`, `test`, `soak`, `setup`, `fresh`, `agent`, `bench`, `reference`. Each sets up what it needs.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod agents;
mod baseline;
mod bench;
mod cross;
mod demo;
mod fresh;
mod reference;
mod setup;
mod soak;
mod suite;

/// Work around the code
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Cli {
    /// Form a swarm of virtual Pis from one cluster file, in front of your eyes
    Demo(demo::DemoArgs),
    /// Check formatting and lints, then run every test
    Test(suite::TestArgs),
    /// Maltreat a swarm in the rack for a while: power, links, programs, addresses, cards
    Soak(soak::SoakArgs),
    /// Install the packages that are missing and make the images for tests
    Setup(setup::SetupArgs),
    /// Run the set-up on a fresh Debian 12 and 13, each in a tree of its own
    Fresh(fresh::FreshArgs),
    /// Build the Pi's static binary for every architecture
    Agent(agents::AgentArgs),
    /// Measure the speed that is promised, as ratios within one run
    #[command(subcommand)]
    Bench(Bench),
    /// Write docs/reference.md from builder's commands
    Reference,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// Five cards by `builder build` against the shell pipeline it replaces
    Build(bench::build::BuildOptions),
    /// Cards by `builder flash` against dd, xz into dd, and bmaptool, on loop devices
    Flash(bench::flash::FlashOptions),
    /// One arm64 node from power-on to a swarm, against a shell script without an agent
    Boot(bench::boot::BootOptions),
    /// The manager's API with many nodes at once, and with a crowd of strangers at its door
    Api(bench::api::ApiOptions),
    /// Pis that already run: `builder exec` on twenty, `builder config` on five against one and against the lesson's loop
    Config(bench::config::ConfigOptions),
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            setup::say(&format!("error: {error}"));
            for cause in error.chain().skip(1) {
                setup::say(&format!("caused by: {cause}"));
            }
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    match cli {
        Cli::Demo(args) => return demo::run(&args),
        Cli::Test(args) => return suite::run(&args),
        Cli::Soak(args) => return soak::run(&args),
        Cli::Agent(args) => agents::run(&args)?,
        Cli::Setup(args) => setup::set_up(&args)?,
        Cli::Fresh(args) => fresh::run(&args)?,
        Cli::Bench(Bench::Build(options)) => bench::build::build(&options)?,
        Cli::Bench(Bench::Flash(options)) => bench::flash::flash(&options)?,
        Cli::Bench(Bench::Api(options)) => bench::api::api(&options)?,
        Cli::Bench(Bench::Config(options)) => bench::config::config(&options)?,
        Cli::Bench(Bench::Boot(options)) => bench::boot::boot(&options)?,
        Cli::Reference => reference::run()?,
    }
    Ok(ExitCode::SUCCESS)
}
