//! `cargo run -p images --example bootable RELEASE FOLDER` makes a release's image and prints its path.

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use images::Release;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let names = Release::ALL.map(Release::name).join("|");
    let [name, folder] = words.as_slice() else { bail!("type: bootable {names} FOLDER") };
    let release = Release::ALL.into_iter().find(|release| release.name() == name);
    let release = release.with_context(|| format!("no release {name}: type one of {names}"))?;
    let path = images::bootable(release, Path::new(folder))?;
    writeln!(std::io::stdout(), "{}", path.display()).context("cannot print the path")
}
