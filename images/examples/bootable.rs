//! `cargo run -p images --example bootable RELEASE FOLDER` makes a release's image, or with `rack` the rack's, and prints its path.

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use images::Release;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let names = Release::ALL.map(Release::name).join("|");
    let [name, folder] = words.as_slice() else { bail!("type: bootable rack|{names} FOLDER") };
    let folder = Path::new(folder);
    let release = Release::ALL.into_iter().find(|release| release.name() == name);
    let path = match release {
        Some(release) => images::bootable(release, folder)?,
        None if name == "rack" => images::pios(&images::host_architecture()?, folder)?,
        None => bail!("no release {name}: type rack or one of {names}"),
    };
    writeln!(std::io::stdout(), "{}", path.display()).context("cannot print the path")
}
