//! `bench build`: five cards from an `.img.xz`, by `builder build` and by the shell pipeline it replaces, one after the
//! other in the same run, on ext4 (or whatever the folder is on) and on XFS, where copies by reference are possible.
//!
//! Before every measurement but the warm ones the page cache is dropped; a warm one follows its cold one at once,
//! as it would at a desk. Needs root for that and for mounting XFS.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use serde::Serialize;

use super::command::{Cost, run, time};
use super::image;
use super::setting::{self, costs, drop_caches, make_cluster, verdicts};
use crate::setup::say;

mod xfs;

/// What to measure with.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct BuildOptions {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// The folder to work in, on ext4; it needs 25 GiB
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    pub(crate) folder: PathBuf,
    /// The builder to measure; without it, it is built
    #[arg(long, value_name = "PATH")]
    pub(crate) builder: Option<PathBuf>,
}

const NODES: [&str; 5] = ["red00", "red01", "red02", "red03", "red04"];

/// What came out. The ratios are what the project promises.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    ext4_pipeline: Cost,
    ext4_cold: Cost,
    ext4_warm: Cost,
    xfs_xz: Cost,
    xfs_cold: Cost,
    xfs_warm: Cost,
    /// Cold on ext4, as a part of the pipeline's time. At most 0.75.
    pub(crate) ext4_cold_ratio: f64,
    /// Warm on ext4, as a part of the pipeline's time. At most 0.35.
    pub(crate) ext4_warm_ratio: f64,
    /// Cold on XFS, as a multiple of unpacking to one file there. At most 1.1.
    pub(crate) xfs_cold_vs_xz_ratio: f64,
    /// Warm on XFS, seconds. Under 1.
    pub(crate) xfs_warm_s: f64,
    /// The most memory builder held. At most 256.
    pub(crate) peak_mib: f64,
}

/// Runs the measurements and prints them.
pub(crate) fn build(options: &BuildOptions) -> Result<()> {
    fs::create_dir_all(&options.folder)?;
    let folder = options.folder.canonicalize()?;
    let builder = setting::builder(options.builder.as_deref())?;
    say("making the image, if it is not there: minutes");
    let image = image::make(&folder)?;
    let report = measure(&builder, &image, &folder)?;
    let text = if options.json { serde_json::to_string_pretty(&report)? } else { table(&report) };
    use std::io::Write;
    writeln!(std::io::stdout().lock(), "{text}")?;
    Ok(())
}

fn measure(builder: &Path, image: &Path, folder: &Path) -> Result<Report> {
    let ext4 = tempfile::tempdir_in(folder)?;
    let ours = Ours::prepare(builder, image, ext4.path())?;
    say("pipeline on ext4");
    let ext4_pipeline = pipeline(image, ext4.path())?;
    say("builder on ext4, cold and warm");
    let (ext4_cold, ext4_warm) = ours.cold_and_warm()?;
    drop(ext4);

    let xfs = xfs::Mounted::make(folder)?;
    let ours = Ours::prepare(builder, image, &xfs.path())?;
    say("xz on XFS");
    let xfs_xz = unpack(image, &xfs.path())?;
    say("builder on XFS, cold and warm");
    let (xfs_cold, xfs_warm) = ours.cold_and_warm()?;
    xfs.unmount()?;

    let peaks = [ext4_cold, ext4_warm, xfs_cold, xfs_warm].map(|cost| cost.peak_mib);
    Ok(Report {
        ext4_cold_ratio: ext4_cold.wall_s / ext4_pipeline.wall_s,
        ext4_warm_ratio: ext4_warm.wall_s / ext4_pipeline.wall_s,
        xfs_cold_vs_xz_ratio: xfs_cold.wall_s / xfs_xz.wall_s,
        xfs_warm_s: xfs_warm.wall_s,
        peak_mib: peaks.into_iter().fold(0.0, f64::max),
        ext4_pipeline,
        ext4_cold,
        ext4_warm,
        xfs_xz,
        xfs_cold,
        xfs_warm,
    })
}

/// A cluster to build, with its own cache.
struct Ours<'a> {
    builder: &'a Path,
    folder: PathBuf,
}

impl<'a> Ours<'a> {
    fn prepare(builder: &'a Path, image: &Path, parent: &Path) -> Result<Self> {
        let folder = parent.join("ours");
        make_cluster(&folder, image)?;
        Ok(Self { builder, folder })
    }

    fn cold_and_warm(&self) -> Result<(Cost, Cost)> {
        drop_caches()?;
        let cold = self.build()?;
        for node in NODES {
            fs::remove_file(self.folder.join("cards").join(format!("{node}.img")))?;
        }
        run(&mut Command::new("sync"))?;
        Ok((cold, self.build()?))
    }

    fn build(&self) -> Result<Cost> {
        let mut command = Command::new(self.builder);
        command.arg("--quiet").arg("build");
        for (option, name) in [
            ("--file", "cluster.yaml"),
            ("--cache", "cache"),
            ("--output", "cards"),
            ("--firstboot", "firstboot-aarch64"),
        ] {
            command.arg(option).arg(self.folder.join(name));
        }
        time(&command)
    }
}

/// What people do without builder: unpack once, copy five times, put a file on each.
fn pipeline(image: &Path, parent: &Path) -> Result<Cost> {
    const SCRIPT: &str = r#"
        set -e
        cd "$2"
        xz -dc -T0 "$1" > base.img
        echo file > file.txt
        for card in red00 red01 red02 red03 red04; do
            cp --sparse=always base.img $card.img
            mcopy -i $card.img@@8388608 file.txt ::/
        done
        sync
    "#;
    let folder = parent.join("pipeline");
    fs::create_dir(&folder)?;
    drop_caches()?;
    let cost = time(Command::new("sh").args(["-c", SCRIPT, "sh"]).arg(image).arg(&folder))?;
    fs::remove_dir_all(folder)?;
    Ok(cost)
}

fn unpack(image: &Path, folder: &Path) -> Result<Cost> {
    let base = folder.join("base.img");
    drop_caches()?;
    let cost =
        time(Command::new("sh").args(["-c", r#"xz -dc -T0 "$1" > "$2""#, "sh"]).arg(image).arg(&base))?;
    fs::remove_file(base)?;
    Ok(cost)
}

fn table(report: &Report) -> String {
    let mut text = costs(&[
        ("ext4: pipeline", report.ext4_pipeline),
        ("ext4: builder, cold", report.ext4_cold),
        ("ext4: builder, warm", report.ext4_warm),
        ("XFS: xz to one file", report.xfs_xz),
        ("XFS: builder, cold", report.xfs_cold),
        ("XFS: builder, warm", report.xfs_warm),
    ]);
    text.push_str(&verdicts(&[
        ("ext4_cold_ratio", report.ext4_cold_ratio, 0.75),
        ("ext4_warm_ratio", report.ext4_warm_ratio, 0.35),
        ("xfs_cold_vs_xz_ratio", report.xfs_cold_vs_xz_ratio, 1.1),
        ("xfs_warm_s", report.xfs_warm_s, 1.0),
        ("peak_mib", report.peak_mib, 256.0),
    ]));
    text
}
