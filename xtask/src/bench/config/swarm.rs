//! From Pis that only run to a swarm: by `builder config`, and by the lesson's loop.

use std::process::{Command, Stdio};
use std::time::Instant;

use ::tests::product::Product;
use ::tests::running::Running;
use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

use crate::setup::say;

const FIVE: [&str; 5] = ["plum00", "plum01", "plum02", "plum03", "plum04"];
/// What five Pis get of this machine's processor time; the rest is the laptop's.
const SHARE: f64 = 0.85;
const LESSON: &str = include_str!("lesson.sh");

/// What came out, in seconds.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Processor time that each Pi has, in cores of this machine.
    cores_each: f64,
    /// `builder config` on one Pi until it is a swarm of one.
    pub(super) config_one_s: f64,
    /// On five, until all are Ready.
    pub(super) config_five_s: f64,
    /// The lesson's loop on five, until all are Ready.
    pub(super) lesson_loop_s: f64,
    /// At most 1.5.
    pub(super) five_vs_one_ratio: f64,
    /// builder's time as a multiple of the loop's.
    pub(super) vs_lesson_loop_ratio: f64,
}

/// Measures the three, one after the other.
pub(super) fn measure(product: &Product) -> Result<Report> {
    let cores = std::thread::available_parallelism()?;
    let cores_each = f64::from(u32::try_from(cores.get())?) * SHARE / 5.0;
    let config_one_s = configure(product, &["plum00"], cores_each)?;
    let config_five_s = configure(product, &FIVE, cores_each)?;
    let lesson_loop_s = follow_lesson(product, cores_each)?;
    Ok(Report {
        cores_each,
        config_one_s,
        config_five_s,
        lesson_loop_s,
        five_vs_one_ratio: config_five_s / config_one_s,
        vs_lesson_loop_ratio: config_five_s / lesson_loop_s,
    })
}

fn configure(product: &Product, nodes: &[&str], cores: f64) -> Result<f64> {
    let pis = start(product, nodes, cores)?;
    let [manager, workers @ ..] = nodes else { return Ok(0.0) };
    pis.write_hostnames(manager, workers)?;
    say(&format!("builder config on {}", nodes.len()));
    let mut builder =
        pis.command(["config", "hostnames.yaml", "-F", "ssh_config", "--docker", "debian", "--yes"]);
    let begun = Instant::now();
    let ended = builder.output().context("cannot start builder")?;
    let seconds = begun.elapsed().as_secs_f64();
    let said = || format!("builder config: {}{}", String::from_utf8_lossy(&ended.stderr), pis.consoles());
    ensure!(ended.status.success(), "{}", said());
    check(&pis, nodes)?;
    Ok(seconds)
}

fn follow_lesson(product: &Product, cores: f64) -> Result<f64> {
    let pis = start(product, &FIVE, cores)?;
    say("the lesson's loop on 5");
    let mut lesson = Command::new("sh");
    lesson.args(["-c", LESSON, "lesson"]).arg(pis.ssh_config());
    for node in FIVE {
        lesson.arg(pis.address(node)?.to_string());
    }
    let begun = Instant::now();
    let ended = lesson.stdin(Stdio::null()).output().context("cannot start sh")?;
    let seconds = begun.elapsed().as_secs_f64();
    ensure!(ended.status.success(), "the lesson's loop: {}", String::from_utf8_lossy(&ended.stderr));
    check(&pis, &FIVE)?;
    Ok(seconds)
}

fn start(product: &Product, nodes: &[&str], cores: f64) -> Result<Running> {
    say(&format!("powering on {}", nodes.len()));
    Running::start_each_with(product, nodes, cores)
}

/// What was measured is a whole swarm, by the manager's own list.
fn check(pis: &Running, nodes: &[&str]) -> Result<()> {
    let manager = nodes.first().context("no Pis")?;
    let list = pis.shell(manager, "docker node ls --format '{{.Status}}'")?;
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    ensure!(list.lines().filter(|line| *line == "Ready").count() == nodes.len(), "no whole swarm: {list}");
    Ok(())
}
