//! Makes the Pi OS-like image by hand: `cargo run -p images --example pios FOLDER` prints where it is.
#![expect(clippy::print_stdout, reason = "the path is this example's output")]

use std::path::PathBuf;

use anyhow::{Context as _, Result};

fn main() -> Result<()> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from).context("say where: pios FOLDER")?;
    println!("{}", images::pios(&images::host_architecture()?, &folder)?.display());
    Ok(())
}
