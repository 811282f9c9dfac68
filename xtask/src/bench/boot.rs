//! `bench boot`: one arm64 node from power-on to a swarm of one, by a card of builder's and by a plain shell script that
//! does apt, Docker and `swarm init`; one after the other in the same run, each alone on this machine. With
//! `--baseline`, a card of an earlier commit's builder takes the place of the script.
//!
//! Both boot the same image in QEMU, as `builder rehearse` does. Both are over when the node list says Ready, asked
//! once a second.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ::tests::desk::{Desk, FAT_OFFSET};
use ::tests::emulator::{Emulator, LOOK};
use ::tests::product::Product;
use ::tests::{shelf, wait};
use anyhow::{Context, Result};
use cluster::hook;
use cluster::wire::{Board, Stage};
use images::Release;
use serde::Serialize;

use crate::{agents, setup};

mod picture;
mod timeline;
mod versus;

/// What to measure with.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct BootOptions {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Pairs of boots, whose medians are printed [default: 1, with --baseline 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    runs: Option<u32>,
    /// Compare with the card of this commit instead of the script
    #[arg(long, value_name = "COMMIT", conflicts_with_all = ["with_reboot", "picture"])]
    baseline: Option<String>,
    /// Boot a third card, whose seed stage ends in a reboot
    #[arg(long)]
    with_reboot: bool,
    /// Draw the last boot of builder's card as an SVG file
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
    /// The builder to measure, agents beside it; without it, both are built
    #[arg(long, value_name = "PATH")]
    builder: Option<PathBuf>,
    /// Keep the consoles in this folder: of every boot with --baseline, otherwise of the last one
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
}

const NODE: &str = "red00";
/// Nobody has to wait longer than this to know that it failed.
const PATIENCE: Duration = Duration::from_secs(20 * 60);
/// As the lesson's Pis have more than one.
const CPUS: u32 = 2;
const SCRIPT: &str = include_str!("boot/script.sh");
/// What the script says last.
const SCRIPT_END: &str = "script: swarm formed";

/// What came out, in seconds since power-on.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Until the swarm was formed, by builder's card.
    builder_s: f64,
    /// By the script.
    script_s: f64,
    /// By builder's card, if its seed stage reboots.
    #[serde(skip_serializing_if = "Option::is_none")]
    with_reboot_s: Option<f64>,
    /// When builder's node had finished each stage, in its last boot.
    stages: BTreeMap<&'static str, f64>,
    /// When the script had, in its last boot.
    script_stages: BTreeMap<String, f64>,
    /// builder's time as a multiple of the script's. At most 1.1.
    vs_script_ratio: f64,
}

/// Runs the measurements and prints them.
pub(crate) fn boot(options: &BootOptions) -> Result<()> {
    setup::ensure_machine()?;
    let builder = match &options.builder {
        Some(path) => path.canonicalize().context("the builder to measure")?,
        None => agents::product()?,
    };
    setup::say("making the bootable image, if it is not in the cache");
    let cache = setup::cache()?;
    let image = images::bootable(Release::Trixie, &cache)?;
    let product = Product { builder, image, cache: cache.join("decompressed") };
    if let Some(revision) = &options.baseline {
        let report = versus::run(&product, revision, options.runs.unwrap_or(5), options.logs.as_deref())?;
        return print(&if options.json { serde_json::to_string_pretty(&report)? } else { report.table() });
    }
    let desk = Desk::build(&product, &Desk::small_cluster("{source: debian}", NODE))?;
    let plain = script_card(&desk)?;
    let (mut ours, mut theirs, mut rebooting) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.runs.unwrap_or(1) {
        setup::say("booting builder's card");
        ours.push(boot_ours(&desk, &desk.card(NODE))?);
        setup::say("booting the script's card");
        theirs.push(boot_script(&plain)?);
        if options.with_reboot {
            setup::say("booting builder's card with a reboot after the seed stage");
            rebooting.push(boot_ours(&desk, &rebooting_card(&desk)?)?);
        }
    }
    if let Some(folder) = &options.logs {
        fs::create_dir_all(folder)?;
        let rebooting = rebooting.last().map(|boot| ("reboot", boot));
        let boots = [("builder", ours.last()), ("script", theirs.last())];
        let boots = boots.into_iter().filter_map(|(name, boot)| Some((name, boot?)));
        for (name, boot) in boots.chain(rebooting) {
            keep_log(folder, name, boot)?;
        }
    }
    let last = ours.last().context("no boot")?;
    if let Some(path) = &options.picture {
        fs::write(path, picture::draw(&timeline::spans(last)?))?;
    }
    let (builder_s, script_s) = (median(&ours), median(&theirs));
    let report = Report {
        builder_s,
        script_s,
        with_reboot_s: (!rebooting.is_empty()).then(|| median(&rebooting)),
        stages: last.stages.iter().map(|(stage, at)| (stage.as_str(), *at)).collect(),
        script_stages: theirs.last().map(|boot| script_stages(&boot.console)).unwrap_or_default(),
        vs_script_ratio: builder_s / script_s,
    };
    print(&if options.json { serde_json::to_string_pretty(&report)? } else { table(&report) })
}

/// Keeps what a node said on the board and on its console, in seconds since power-on.
fn keep_log(folder: &Path, name: &str, boot: &Boot) -> Result<()> {
    let words = boot.words.iter().map(|(at, word)| format!("{at:.3} board: {word}\n"));
    Ok(fs::write(folder.join(format!("{name}.log")), words.collect::<String>() + &boot.console)?)
}

fn print(text: &str) -> Result<()> {
    use std::io::Write;
    writeln!(std::io::stdout().lock(), "{text}")?;
    Ok(())
}

/// One boot, from power-on to the swarm.
#[derive(Debug)]
struct Boot {
    /// Seconds until the swarm was formed.
    formed: f64,
    /// When each stage was finished, seconds since power-on.
    stages: BTreeMap<Stage, f64>,
    /// What the node said that it does, and since when, seconds since power-on.
    words: Vec<(f64, String)>,
    /// The console, each line after its time.
    console: String,
}

fn boot_ours(desk: &Desk, card: &Path) -> Result<Boot> {
    let mut emulator = Emulator::new(1, CPUS)?;
    emulator.insert(NODE, card)?;
    emulator.power_on(NODE)?;
    let powered_on = emulator.powered_on_at(NODE)?;
    let mut words: Vec<(f64, String)> = Vec::new();
    let formed = wait::every(LOOK, "a swarm", PATIENCE, || {
        let Some(board) = look(&mut emulator, desk)? else { return Ok(None) };
        let Some(report) = board.nodes.first().and_then(|node| node.report.as_ref()) else { return Ok(None) };
        if words.last().is_none_or(|(_, word)| *word != report.word) {
            words.push((since(powered_on), report.word.clone()));
        }
        let is_ready = board.formed && report.stage == Stage::Ready;
        Ok(is_ready.then_some(board))
    });
    let board = formed.with_context(|| emulator.consoles())?;
    let formed = since(powered_on);
    let node = board.nodes.first().context("an empty board")?;
    Ok(Boot { formed, stages: shelf::times(node, powered_on), words, console: emulator.console(NODE)? })
}

fn look(emulator: &mut Emulator, desk: &Desk) -> Result<Option<Board>> {
    emulator.attend()?;
    let Some(api) = emulator.api(NODE)? else { return Ok(None) };
    desk.board(Some(api))
}

fn boot_script(card: &Path) -> Result<Boot> {
    let mut emulator = Emulator::new(1, CPUS)?;
    emulator.insert(NODE, card)?;
    emulator.power_on(NODE)?;
    let ended = wait::every(LOOK, "the script's end", PATIENCE, || {
        emulator.attend()?;
        Ok(script_stages(&emulator.console(NODE)?).get(SCRIPT_END).copied())
    });
    let formed = ended.with_context(|| emulator.consoles())?;
    Ok(Boot { formed, stages: BTreeMap::new(), words: Vec::new(), console: emulator.console(NODE)? })
}

/// The image with a script instead of an agent, started inside the normal boot (W-mode: systemd starts the command
/// beside multi-user.target), and a user, so that no question holds the boot.
fn script_card(desk: &Desk) -> Result<PathBuf> {
    let card = desk.unpacked_image()?;
    let drive = format!("{}@@{FAT_OFFSET}", card.display());
    let line = String::from_utf8(images::capture("mtype", ["-i", &drive, "::cmdline.txt"])?)?;
    let line = format!(
        "{} systemd.run=/boot/firmware/script.sh systemd.run_success_action=none \
         systemd.run_failure_action=none systemd.unit=multi-user.target \
         systemd.wants=kernel-command-line.service\n",
        line.trim_end()
    );
    let files =
        [("cmdline.txt", line.as_str()), ("script.sh", SCRIPT), ("userconf.txt", "pi:!\n"), ("ssh", "")];
    put(desk, &drive, &files)?;
    Ok(card)
}

/// builder's card, but systemd reboots after the seed stage whatever that did to avoid it.
fn rebooting_card(desk: &Desk) -> Result<PathBuf> {
    let card = desk.folder().join("rebooting.img");
    images::run("cp", ["--sparse=always".as_ref(), desk.card(NODE).as_os_str(), card.as_os_str()])?;
    let drive = format!("{}@@{FAT_OFFSET}", card.display());
    let line = String::from_utf8(images::capture("mtype", ["-i", &drive, "::cmdline.txt"])?)?;
    let none = hook::tokens("").into_iter().find(|word| word.starts_with("systemd.run_success_action="));
    let none = none.context("the hook has no success action")?;
    let line = line.replace(&none, "systemd.run_success_action=reboot");
    put(desk, &drive, &[("cmdline.txt", &line)])?;
    Ok(card)
}

fn put(desk: &Desk, drive: &str, files: &[(&str, &str)]) -> Result<()> {
    for (name, text) in files {
        let path = desk.folder().join(name);
        fs::write(&path, text)?;
        let to = format!("::{name}");
        images::run("mcopy", ["-o".as_ref(), "-i".as_ref(), drive.as_ref(), path.as_os_str(), to.as_ref()])?;
    }
    Ok(())
}

/// What the script said, and when.
fn script_stages(console: &str) -> BTreeMap<String, f64> {
    let said = console.lines().filter_map(|line| {
        let (at, text) = line.split_once(' ')?;
        let text = text.get(text.find("script: ")?..)?;
        Some((text.trim().to_owned(), at.parse().ok()?))
    });
    said.collect()
}

fn since(start: SystemTime) -> f64 {
    start.elapsed().unwrap_or_default().as_secs_f64()
}

fn median(boots: &[Boot]) -> f64 {
    median_of(boots.iter().map(|boot| boot.formed))
}

/// The middle one, the upper of two; 0 of none.
fn median_of(times: impl Iterator<Item = f64>) -> f64 {
    let mut times: Vec<f64> = times.collect();
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn table(report: &Report) -> String {
    let mut text = String::from("seconds from power-on\n");
    let mut row = |name: &str, seconds: f64| text.push_str(&format!("{name:<36}{seconds:>7.1}\n"));
    for (stage, at) in &report.stages {
        row(&format!("builder: {stage}"), *at);
    }
    row("builder: swarm formed", report.builder_s);
    if let Some(seconds) = report.with_reboot_s {
        row("builder, with a reboot: swarm formed", seconds);
    }
    for (stage, at) in &report.script_stages {
        row(stage, *at);
    }
    let verdict = if report.vs_script_ratio <= 1.1 { "kept" } else { "NOT KEPT" };
    text + &format!("vs_script_ratio{:>28.2}   at most 1.1   {verdict}", report.vs_script_ratio)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scripts_words_are_found_with_their_times() {
        let console = "0.012 power on\n88.250 [   87.1] run[412]: script: package lists read\r\n151.5 script: swarm formed\n";
        let stages = script_stages(console);
        assert_eq!(stages.get("script: package lists read"), Some(&88.25));
        assert_eq!(stages.get(SCRIPT_END), Some(&151.5));
    }
}
