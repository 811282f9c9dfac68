//! What measurements of `builder` start from: the program, a cluster in a folder, nothing in memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::command::{Cost, run};
use super::image;

/// A public key nobody has the private half of.
const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f bench@laptop";

/// The builder that was named, or the one of this workspace.
pub(crate) fn builder(named: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = named {
        return path.canonicalize().context("the builder to measure");
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo).args(["build", "--release", "--package", "builder"]).status()?;
    ensure!(status.success(), "builder does not build");
    // Beside the folder of this very program.
    let here = std::env::current_exe()?;
    let target = here.parent().and_then(Path::parent).context("the target folder")?;
    Ok(target.join("release/builder"))
}

/// Makes a folder with a cluster of five nodes and an agent as large as the real one.
pub(crate) fn make_cluster(folder: &Path, packed: &Path) -> Result<()> {
    fs::create_dir(folder)?;
    let cluster = format!(
        "version: 1\ncluster: red\nimage: {}\nnodes: red[00-04]\nuser:\n  name: pi\n  authorized_keys: ['{KEY}']\n",
        packed.display()
    );
    fs::write(folder.join("cluster.yaml"), cluster)?;
    let agent = folder.join("firstboot-aarch64");
    image::fill(&agent, 5 << 20, 1)?;
    let mut bytes = image::aarch64_program();
    bytes.extend(fs::read(&agent)?);
    Ok(fs::write(&agent, bytes)?)
}

/// All sides start with nothing in memory and nothing waiting to be written.
pub(crate) fn drop_caches() -> Result<()> {
    run(&mut Command::new("sync"))?;
    fs::write("/proc/sys/vm/drop_caches", "3").context("cannot drop the page cache: run as root")
}

/// What was measured, a line each under a heading.
pub(crate) fn costs(measured: &[(&str, Cost)]) -> String {
    let mut text = format!("{:<34}{:>9}{:>9}{:>9}{:>11}\n", "", "wall s", "user s", "system s", "peak MiB");
    for (name, cost) in measured {
        text.push_str(&format!(
            "{name:<34}{:>9.2}{:>9.2}{:>9.2}{:>11.0}\n",
            cost.wall_s, cost.user_s, cost.system_s, cost.peak_mib
        ));
    }
    text
}

/// The promises, a line each: name, value, and the most it may be.
pub(crate) fn verdicts(promises: &[(&str, f64, f64)]) -> String {
    let line = |(name, value, limit): &(&str, f64, f64)| {
        let verdict = if value <= limit { "kept" } else { "NOT KEPT" };
        format!("{name:<24}{value:>9.2}   at most {limit:<6} {verdict}\n")
    };
    promises.iter().map(line).collect()
}
