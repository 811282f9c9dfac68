//! What a fresh machine lacks, and where things are.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use images::Release;

/// Says something to the person at the terminal.
pub(crate) fn say(text: &str) {
    // Nobody is left to tell when standard error is closed.
    let _unwritten = writeln!(std::io::stderr().lock(), "{text}");
}

/// Arguments of `cargo xtask setup`.
#[derive(Debug, clap::Args)]
pub(crate) struct SetupArgs {
    /// Which images to make
    #[arg(long, default_value = "test")]
    images: Images,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Images {
    /// Those of `cargo xtask test`
    Test,
    /// Every release's: `cargo xtask test --all` needs them
    All,
}

/// Installs what is missing and makes the images.
pub(crate) fn set_up(args: &SetupArgs) -> Result<()> {
    ensure_machine()?;
    make_images(args.images == Images::All).map(|_| ())
}

/// Makes the images for tests where they are not in the cache, and returns the path of the rack's.
pub(crate) fn make_images(all: bool) -> Result<PathBuf> {
    say("making the Pi OS-like images, where they are not in the cache");
    let cache = cache()?;
    let image = images::pios(&images::host_architecture()?, &cache)?;
    let releases = [Release::Trixie, Release::Bookworm, Release::TrixieCloudInit, Release::Ubuntu];
    for release in releases.into_iter().take(if all { releases.len() } else { 1 }) {
        say(&format!("making the image of {}, if it is not in the cache", release.name()));
        images::bootable(release, &cache)?;
    }
    Ok(image)
}

/// Makes sure of root and of every program the rack, the images and the tests call.
pub(crate) fn ensure_machine() -> Result<()> {
    images::require_root("the rack, which boots whole systems on loop devices and bridges of its own,")?;
    images::install_missing()
}

/// Runs a command to its end; a non-zero exit is an error that shows the line.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

/// A source tree of the workspace, and where cargo builds it.
#[derive(Debug, Clone)]
pub(crate) struct Checkout {
    /// The workspace's root.
    pub(crate) source: PathBuf,
    /// Cargo's target folder.
    pub(crate) target: PathBuf,
}

impl Checkout {
    /// The tree that this program was built from.
    pub(crate) fn own() -> Self {
        Self { source: workspace(), target: target() }
    }
}

/// The workspace's root.
pub(crate) fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Cargo's target folder.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// Where large made things are kept across clones: `$XDG_CACHE_HOME/builder-xtask` or `~/.cache/builder-xtask`.
pub(crate) fn cache() -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".cache"),
    };
    let folder = base.join("builder-xtask");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

/// Cargo's own folder: `$CARGO_HOME` or `~/.cargo`.
pub(crate) fn cargo_home() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("CARGO_HOME") {
        return Ok(PathBuf::from(folder));
    }
    Ok(PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".cargo"))
}
