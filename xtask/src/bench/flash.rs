//! `bench flash`: cards by `builder flash` against what people use instead, on loop devices, in the same run.
//!
//! Against `dd` of the unpacked image, `xz` into `dd`, and `bmaptool`, at full speed; and one card against four where each is as
//! slow as an SD card. Every file behind a device is written once beforehand: a first write to a sparse one costs ten times
//! as much. Needs root.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use serde::Serialize;

use super::command::{Cost, run, time};
use super::image;
use super::setting::{self, costs, drop_caches, make_cluster, verdicts};
use crate::setup::say;

mod device;

use device::{Device, Slow};

/// What to measure with.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct FlashOptions {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The folder to work in; it needs 25 GiB
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    folder: PathBuf,
    /// The builder to measure; without it, it is built
    #[arg(long, value_name = "PATH")]
    builder: Option<PathBuf>,
    /// How often each is measured; the median counts
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: usize,
    /// How fast a slow card is written, MiB/s; it is read four times as fast
    #[arg(long, value_name = "N", default_value_t = 20)]
    card_speed: u64,
}

/// What came out. The ratios are what the project promises.
#[derive(Debug, Serialize)]
struct Report {
    dd: Cost,
    builder: Cost,
    builder_verified: Cost,
    bmaptool: Cost,
    xz_dd: Cost,
    builder_cold: Cost,
    one_slow: Cost,
    four_slow: Cost,
    /// Four slow cards at once, as a multiple of one. At most 1.1.
    four_vs_one_ratio: f64,
    /// Without verification, as a part of the time of `dd`. At most 1.05.
    dd_ratio: f64,
    /// With verification, as a multiple of the time of `dd`. At most 1.6.
    dd_verify_ratio: f64,
    /// From a packed image nobody has unpacked before, without verification, as a part of the time of `xz` into `dd`. At most 1.
    xz_dd_ratio: f64,
    /// Without verification, as a multiple of the time of `bmaptool copy`, which does not read back either.
    bmaptool_ratio: f64,
    /// The most memory builder held, MiB. At most 256.
    peak_mib: f64,
}

/// Runs the measurements and prints them.
pub(crate) fn flash(options: &FlashOptions) -> Result<()> {
    fs::create_dir_all(&options.folder)?;
    let folder = options.folder.canonicalize()?;
    let builder = setting::builder(options.builder.as_deref())?;
    say("making the image, if it is not there: minutes");
    let packed = image::make(&folder)?;
    let work = tempfile::tempdir_in(&folder)?;
    let bench = Bench::prepare(&builder, packed, work.path())?;
    let report = bench.measure(options)?;
    let text = if options.json { serde_json::to_string_pretty(&report)? } else { table(&report) };
    writeln!(std::io::stdout().lock(), "{text}")?;
    Ok(())
}

struct Bench<'a> {
    builder: &'a Path,
    packed: PathBuf,
    /// The unpacked image, and its map.
    base: PathBuf,
    map: PathBuf,
    folder: PathBuf,
    work: &'a Path,
}

impl<'a> Bench<'a> {
    fn prepare(builder: &'a Path, packed: PathBuf, work: &'a Path) -> Result<Self> {
        let folder = work.join("ours");
        make_cluster(&folder, &packed)?;
        let (base, map) = (work.join("base.img"), work.join("base.bmap"));
        let unpack =
            r#"xz -dc -T0 "$1" > "$2" && cp --sparse=always "$2" "$2.sparse" && mv "$2.sparse" "$2""#;
        run(Command::new("sh").args(["-ec", unpack, "sh"]).args([&packed, &base]))?;
        run(Command::new("bmaptool").args(["--quiet", "create", "--output"]).args([&map, &base]))?;
        Ok(Self { builder, packed, base, map, folder, work })
    }

    fn measure(&self, options: &FlashOptions) -> Result<Report> {
        let size = fs::metadata(&self.base)?.len() + (8 << 20);
        let device = |name: &str| Device::make(&self.work.join(name), size);
        // Devices of their own: what the drive makes zeros are holes in its file afterwards.
        let (plain, ours, mapped) = (device("plain")?, device("ours.img")?, device("mapped")?);
        say("the base, unpacked into the cache");
        self.flash(&[&ours], &[], None)?;
        let mut costs: [Vec<Cost>; 4] = Default::default();
        for round in 1..=options.rounds.max(1) {
            say(&format!("full speed, round {round} of {}", options.rounds.max(1)));
            // All sides have the unpacked image in memory.
            let [dd, unverified, verified, bmap] = &mut costs;
            dd.push(self.dd(&plain)?);
            unverified.push(self.flash(&[&ours], &["--no-verify"], None)?);
            verified.push(self.flash(&[&ours], &[], None)?);
            bmap.push(self.bmaptool(&mapped)?);
        }
        let [dd, builder, builder_verified, bmaptool] = costs.map(median);
        say("from the packed image");
        drop_caches()?;
        let xz_dd = self.xz_dd(&plain)?;
        fs::remove_dir_all(self.folder.join("cache"))?;
        drop_caches()?;
        let builder_cold = self.flash(&[&ours], &["--no-verify"], None)?;
        drop((plain, mapped));

        let cards = [ours, device("two")?, device("three")?, device("four")?];
        say("one card as slow as an SD card");
        let one_slow = self.slow(&cards[..1], options)?;
        say("four of them at once");
        let four_slow = self.slow(&cards, options)?;
        let all = [builder, builder_verified, builder_cold, one_slow, four_slow];
        Ok(Report {
            four_vs_one_ratio: four_slow.wall_s / one_slow.wall_s,
            dd_ratio: builder.wall_s / dd.wall_s,
            dd_verify_ratio: builder_verified.wall_s / dd.wall_s,
            xz_dd_ratio: builder_cold.wall_s / xz_dd.wall_s,
            bmaptool_ratio: builder.wall_s / bmaptool.wall_s,
            peak_mib: all.into_iter().map(|cost| cost.peak_mib).fold(0.0, f64::max),
            dd,
            builder,
            builder_verified,
            bmaptool,
            xz_dd,
            builder_cold,
            one_slow,
            four_slow,
        })
    }

    fn flash(&self, devices: &[&Device], more: &[&str], slow: Option<&Slow>) -> Result<Cost> {
        let mut command = Command::new(self.builder);
        command.args(["--quiet", "flash", "--yes"]).args(more);
        for (option, name) in
            [("--file", "cluster.yaml"), ("--cache", "cache"), ("--firstboot", "firstboot-aarch64")]
        {
            command.arg(option).arg(self.folder.join(name));
        }
        command.arg(format!("red[00-{:02}]", devices.len() - 1));
        for device in devices {
            command.args(["--device", &device.named()]);
        }
        time(&match slow {
            Some(slow) => slow.inside(&command),
            None => command,
        })
    }

    fn slow(&self, cards: &[Device], options: &FlashOptions) -> Result<Cost> {
        // Each from its beginning: none may be taken for an interrupted one, none has holes already.
        let cards: Vec<_> = cards.iter().collect();
        cards.iter().try_for_each(|card| card.fill())?;
        let slow = Slow::make(&cards, options.card_speed << 20)?;
        self.flash(&cards, &[], Some(&slow))
    }

    fn dd(&self, device: &Device) -> Result<Cost> {
        let mut dd = Command::new("dd");
        dd.arg(format!("if={}", self.base.display())).arg(format!("of={}", device.path().display()));
        time(dd.args(["bs=4M", "oflag=direct", "conv=fsync", "status=none"]))
    }

    fn xz_dd(&self, device: &Device) -> Result<Cost> {
        const SCRIPT: &str = r#"
            xz -dc -T0 "$1" | dd of="$2" bs=4M iflag=fullblock oflag=direct conv=fsync status=none
        "#;
        time(Command::new("sh").args(["-ec", SCRIPT, "sh"]).args([&self.packed, &device.path().to_owned()]))
    }

    fn bmaptool(&self, device: &Device) -> Result<Cost> {
        let mut bmaptool = Command::new("bmaptool");
        bmaptool.args(["--quiet", "copy", "--bmap"]).args([&self.map, &self.base]);
        time(bmaptool.arg(device.path()))
    }
}

fn median(mut costs: Vec<Cost>) -> Cost {
    costs.sort_by(|one, other| one.wall_s.total_cmp(&other.wall_s));
    costs.get(costs.len() / 2).copied().unwrap_or_default()
}

fn table(report: &Report) -> String {
    let mut text = costs(&[
        ("dd", report.dd),
        ("builder, not verified", report.builder),
        ("builder", report.builder_verified),
        ("bmaptool", report.bmaptool),
        ("xz into dd", report.xz_dd),
        ("builder, packed, not verified", report.builder_cold),
        ("builder, one slow card", report.one_slow),
        ("builder, four slow cards", report.four_slow),
    ]);
    text.push_str(&verdicts(&[
        ("four_vs_one_ratio", report.four_vs_one_ratio, 1.1),
        ("dd_ratio", report.dd_ratio, 1.05),
        ("dd_verify_ratio", report.dd_verify_ratio, 1.6),
        ("xz_dd_ratio", report.xz_dd_ratio, 1.0),
        ("peak_mib", report.peak_mib, 256.0),
    ]));
    text.push_str(&format!("{:<24}{:>9.2}\n", "bmaptool_ratio", report.bmaptool_ratio));
    text
}
