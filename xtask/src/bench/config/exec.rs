//! `sleep 1` on twenty Pis at once.
//!
//! Each is a whole system, and a login there is what it is on a Pi: sshd, PAM, and a session. The first also starts the
//! user's service manager, which stays for ten seconds after the last: twenty of those share this machine's cores, where
//! each Pi has its own. So what counts is a command after another, as somebody types them; the first is told beside it.
//!
//! What the laptop's side takes depends on its OpenSSH: before 9.9 an `ssh` spends about a tenth of a second of processor
//! time on a key exchange (sntrup761) that newer ones do not choose (mlkem768). So the OpenSSH of the Pis' own system is
//! measured, and this machine's, which may be older, beside it.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ::tests::inspect::Root;
use ::tests::product::Product;
use ::tests::running::Running;
use ::tests::wait;
use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

use crate::setup::say;

const PIS: u8 = 20;
/// systemd keeps a user's manager for ten seconds after the last session (`UserStopDelaySec=` of logind.conf(5)).
const LOGOUT: Duration = Duration::from_secs(120);
/// Runs a program of the tree `$ROOT` with that tree's libraries.
const WRAPPER: &str = r#"#!/bin/sh
exec "$ROOT"/usr/lib*/ld-linux-*.so.* --argv0 ssh --library-path "$(echo "$ROOT"/usr/lib/*-linux-gnu*)" "$ROOT/usr/bin/ssh" "$@"
"#;

/// What came out, in seconds.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// `builder exec -- sleep 1` after another, with the Pis' own OpenSSH. Under 3.
    pub(super) exec20_s: f64,
    /// The one before, with nobody logged in.
    pub(super) exec20_first_s: f64,
    /// Twenty plain `ssh` started at once, with nobody logged in: what there is to reach.
    pub(super) exec20_first_plain_ssh_s: f64,
    /// The second as a multiple of the third.
    pub(super) exec20_first_vs_plain_ratio: f64,
    /// Which OpenSSH it is.
    pub(super) ssh: String,
    /// The same four with this machine's.
    pub(super) own_exec20_s: f64,
    pub(super) own_exec20_first_s: f64,
    pub(super) own_exec20_first_plain_ssh_s: f64,
    pub(super) own_exec20_first_vs_plain_ratio: f64,
    pub(super) own_ssh: String,
}

/// One OpenSSH's times, a round each.
#[derive(Default)]
struct Times {
    first: Vec<f64>,
    again: Vec<f64>,
    plain: Vec<f64>,
}

/// Measures one after the other, `rounds` times.
pub(super) fn measure(product: &Product, rounds: u32) -> Result<Report> {
    say("powering on twenty Pis");
    let nodes: Vec<String> = (0..PIS).map(|number| format!("pear{number:02}")).collect();
    let pis = Running::start(product, &nodes)?;
    let root = Root::mount(&pis.unpacked_image()?)?;
    let own = std::env::var_os("PATH").unwrap_or_default();
    let current = wrap(pis.folder(), &root, &own)?;
    let mut times = [&current, &own].map(|path| (path, Times::default()));
    for round in 1..=rounds {
        say(&format!("sleep 1 on twenty Pis, round {round} of {rounds}"));
        for (path, times) in &mut times {
            wait_logged_out(&pis, &nodes)?;
            times.first.push(builder(&pis, &nodes, path)?);
            times.again.push(builder(&pis, &nodes, path)?);
            wait_logged_out(&pis, &nodes)?;
            times.plain.push(plain(&pis, &nodes, path)?);
        }
    }
    let versions = (version(&current)?, version(&own)?);
    let [current, own] = times.map(|(_, times)| [times.again, times.first, times.plain].map(median));
    let ([exec20_s, first, plain], [own_exec20_s, own_first, own_plain]) = (current, own);
    Ok(Report {
        exec20_s,
        exec20_first_s: first,
        exec20_first_plain_ssh_s: plain,
        exec20_first_vs_plain_ratio: first / plain,
        ssh: versions.0,
        own_exec20_s,
        own_exec20_first_s: own_first,
        own_exec20_first_plain_ssh_s: own_plain,
        own_exec20_first_vs_plain_ratio: own_first / own_plain,
        own_ssh: versions.1,
    })
}

/// A search path whose `ssh` is that of a tree.
fn wrap(folder: &Path, root: &Root, path: &OsString) -> Result<OsString> {
    let programs = folder.join("programs");
    fs::create_dir(&programs)?;
    let tree = root.path("");
    let text = WRAPPER.replacen(
        "exec",
        &format!("ROOT='{}'; exec", tree.display().to_string().trim_end_matches('/')),
        1,
    );
    fs::write(programs.join("ssh"), text)?;
    fs::set_permissions(programs.join("ssh"), Permissions::from_mode(0o755))?;
    let mut all = programs.into_os_string();
    all.push(":");
    all.push(path);
    Ok(all)
}

/// Until nothing of the user runs anywhere, as before a first login.
fn wait_logged_out(pis: &Running, nodes: &[String]) -> Result<()> {
    for node in nodes {
        wait::until(&format!("{node} has nobody logged in"), LOGOUT, || {
            Ok((!pis.shell(node, "pgrep -u pi")?.status.success()).then_some(()))
        })?;
    }
    Ok(())
}

fn builder(pis: &Running, nodes: &[String], path: &OsString) -> Result<f64> {
    let hosts: Result<Vec<String>> = nodes.iter().map(|node| Ok(pis.address(node)?.to_string())).collect();
    let mut builder =
        pis.command(["exec", "-F", "ssh_config", "--hosts", &hosts?.join(","), "--", "sleep", "1"]);
    let begun = Instant::now();
    let ended = builder.env("PATH", path).output()?;
    let seconds = begun.elapsed().as_secs_f64();
    ensure!(ended.status.success(), "builder exec: {}", String::from_utf8_lossy(&ended.stderr));
    Ok(seconds)
}

fn plain(pis: &Running, nodes: &[String], path: &OsString) -> Result<f64> {
    let begun = Instant::now();
    let started: Result<Vec<_>> = nodes
        .iter()
        .map(|node| {
            let mut ssh = pis.ssh(node, "sleep 1")?;
            ssh.env("PATH", path).stdin(Stdio::null()).spawn().context("cannot start ssh")
        })
        .collect();
    for mut ssh in started? {
        let ended = ssh.wait()?;
        ensure!(ended.success(), "ssh ended with {ended}");
    }
    Ok(begun.elapsed().as_secs_f64())
}

/// Its name and number, as it says.
fn version(path: &OsString) -> Result<String> {
    let said = Command::new("ssh").arg("-V").env("PATH", path).output().context("cannot start ssh")?.stderr;
    let said = String::from_utf8_lossy(&said);
    Ok(said.split([' ', ',']).next().unwrap_or_default().trim().to_owned())
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds.get(seconds.len() / 2).copied().unwrap_or_default()
}
