//! Running and timing commands.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

/// What a command took.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Cost {
    /// Seconds by the clock.
    pub(crate) wall_s: f64,
    /// Seconds of processor time in programs.
    pub(crate) user_s: f64,
    /// Seconds of processor time in the kernel on their behalf.
    pub(crate) system_s: f64,
    /// The most memory one process held, MiB.
    pub(crate) peak_mib: f64,
}

/// Runs a command that must succeed.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn();
    let output = output.and_then(std::process::Child::wait_with_output);
    let name = command.get_program().display().to_string();
    let output = output.with_context(|| missing(&name))?;
    ensure!(output.status.success(), "{name} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// The same with something to read.
pub(crate) fn run_with_input(command: &mut Command, input: &str) -> Result<()> {
    let name = command.get_program().display().to_string();
    let mut child = command.stdin(Stdio::piped()).spawn().with_context(|| missing(&name))?;
    child.stdin.take().context("its input")?.write_all(input.as_bytes())?;
    ensure!(child.wait()?.success(), "{name} failed");
    Ok(())
}

/// Runs a command under GNU time, which reports what it and its children took.
pub(crate) fn time(command: &Command) -> Result<Cost> {
    let report = tempfile::NamedTempFile::new()?;
    let mut timed = Command::new("/usr/bin/time");
    timed.args(["-f", "%e %U %S %M", "-o"]).arg(report.path());
    timed.arg(command.get_program()).args(command.get_args());
    // Under sudo, builder would act as the user, whom root's folders here are closed to.
    timed.env_remove("SUDO_UID");
    run(timed.stdout(Stdio::null()))?;
    let text = std::fs::read_to_string(report.path())?;
    let numbers = text.split_whitespace().map(str::parse::<f64>).collect::<Result<Vec<_>, _>>();
    match numbers.with_context(|| format!("time said {text:?}"))?.as_slice() {
        [wall_s, user_s, system_s, kib] => {
            Ok(Cost { wall_s: *wall_s, user_s: *user_s, system_s: *system_s, peak_mib: kib / 1024.0 })
        }
        _ => anyhow::bail!("time said {text:?}"),
    }
}

fn missing(program: &str) -> String {
    format!(
        "cannot run {program}; type: apt-get install xz-utils mtools dosfstools e2fsprogs fdisk xfsprogs mount time"
    )
}
