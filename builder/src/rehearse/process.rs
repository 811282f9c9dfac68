//! A running QEMU that never outlives us.
//!
//! Beside each QEMU stands a guard: a shell that waits for the end of its standard input, of which only we have the
//! other end, and then kills QEMU. The kernel closes that end whatever we die of, on Linux as on macOS. Both run in
//! process groups of their own, so that a Ctrl-C in the terminal reaches only us, and we end them in order.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::fs::OFlags;
use serde_json::json;

use super::error::RehearseError;
use super::monitor::{Monitor, MonitorError, Stop};
use super::qemu::Qemu;

/// What the guard does. `$1` is QEMU's process id, which stays QEMU's until we have waited for it.
const GUARD: &str = "read -r _; kill -KILL \"$1\"";

/// How long QEMU may take to end by itself after the guest did.
const QUIT_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of QEMU's complaints that are shown.
const SAID_LIMIT: usize = 600;

/// How a QEMU is started.
#[derive(Debug)]
pub(super) struct Launch<'a> {
    /// What it is to the user.
    pub(super) name: &'a str,
    /// Where it runs: relative paths among its arguments start here.
    pub(super) folder: &'a Path,
    /// Where it complains.
    pub(super) complaints: PathBuf,
    /// Its arguments. Standard input is the monitor's, see [`COMMON`].
    pub(super) arguments: Vec<String>,
    /// Its standard output, a socket that the arguments call descriptor 1.
    pub(super) output: UnixStream,
}

/// Arguments of every QEMU: nothing from the user's configuration, no window, our line on standard input. It waits for
/// our word: what happens before we have greeted it, it tells nobody.
pub(super) const COMMON: [&str; 9] = [
    "-S",
    "-no-user-config",
    "-nodefaults",
    "-display",
    "none",
    "-chardev",
    "socket,id=monitor,fd=0",
    "-mon",
    "chardev=monitor,mode=control",
];

/// A QEMU, and its guard. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Process {
    name: String,
    monitor: Monitor,
    pair: Pair,
}

impl Process {
    /// Starts it and waits until it has taken its arguments.
    pub(super) fn start(qemu: &Qemu, launch: Launch<'_>) -> Result<Self, RehearseError> {
        let failed = |source| RehearseError::Start { program: qemu.program.to_owned(), source };
        let complaints = launch.complaints;
        let file = |source| RehearseError::File { what: "write", path: complaints.clone(), source };
        let stderr = File::options()
            .create(true)
            .append(true)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(&complaints)
            .map_err(file)?;
        let before = stderr.metadata().map_err(file)?.len();
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let mut command = Command::new(qemu.program);
        command
            .args(COMMON)
            .args(launch.arguments)
            .current_dir(launch.folder)
            .stdin(OwnedFd::from(theirs))
            .stdout(OwnedFd::from(launch.output))
            .stderr(stderr);
        let mut pair = Pair::start(&mut command).map_err(failed)?;
        // Our copy of its end of the line goes, or its end would never be seen.
        drop(command);
        let greeted = Monitor::open(ours).and_then(|monitor| {
            monitor.execute("cont", &json!({}))?;
            Ok(monitor)
        });
        match greeted {
            Ok(monitor) => Ok(Self { name: launch.name.to_owned(), monitor, pair }),
            Err(error) => {
                pair.end();
                let name = launch.name.to_owned();
                Err(match (error, complaint(&complaints, before)) {
                    (MonitorError::Ended, Some(said)) => RehearseError::Refused { name, said },
                    (error, _) => RehearseError::Disobeyed { name, said: error.to_string() },
                })
            }
        }
    }

    /// Runs a command of the monitor for people.
    pub(super) fn command(&self, line: &str) -> Result<(), RehearseError> {
        let error = |error: MonitorError| RehearseError::Disobeyed {
            name: self.name.clone(),
            said: error.to_string(),
        };
        self.monitor.command(line).map_err(error)
    }

    /// Why the guest stopped, if it did; waits for it at most so long.
    pub(super) fn stopped(&self, wait: Duration) -> Option<Stop> {
        self.monitor.stopped(wait)
    }

    /// Ends a QEMU whose guest has stopped; what the guest wrote is in the file afterwards.
    pub(super) fn quit(mut self) {
        // Where it does not take the order, it is killed.
        if self.monitor.execute("quit", &json!({})).is_ok() {
            let _ended = self.pair.wait(QUIT_TIMEOUT);
        }
    }
}

/// The end of what QEMU printed since `before`.
fn complaint(path: &Path, before: u64) -> Option<String> {
    let text = std::fs::read(path).ok()?;
    let text = text.get(usize::try_from(before).ok()?..)?;
    let text = text.get(text.len().saturating_sub(SAID_LIMIT)..)?;
    let text = String::from_utf8_lossy(text);
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    (!lines.is_empty()).then(|| cluster::text::printable(&lines.join("; ")))
}

/// A process and its guard.
#[derive(Debug)]
struct Pair {
    child: Child,
    guard: Child,
}

impl Pair {
    fn start(command: &mut Command) -> io::Result<Self> {
        let mut child = command.process_group(0).spawn()?;
        match guard(child.id()) {
            Ok(guard) => Ok(Self { child, guard }),
            Err(error) => {
                end(&mut child);
                Err(error)
            }
        }
    }

    /// Whether it ends within the time.
    fn wait(&mut self, limit: Duration) -> bool {
        let pause = Duration::from_millis(20);
        let mut left = limit;
        while !left.is_zero() {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return true;
            }
            std::thread::sleep(pause);
            left = left.saturating_sub(pause);
        }
        false
    }

    /// The guard goes first: once QEMU has been waited for, its process id may become another's.
    fn end(&mut self) {
        end(&mut self.guard);
        end(&mut self.child);
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.end();
    }
}

fn guard(process: u32) -> io::Result<Child> {
    Command::new("/bin/sh")
        .args(["-c", GUARD, "guard", &process.to_string()])
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

fn end(child: &mut Child) {
    // It may have ended before: then both calls say so, which is as well.
    let _killed = child.kill();
    let _status = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper() -> Command {
        let mut command = Command::new("sleep");
        command.arg("600");
        command
    }

    #[test]
    fn the_guard_kills_when_our_end_of_its_input_closes() {
        let mut pair = Pair::start(&mut sleeper()).unwrap();
        // What the kernel does when we are killed.
        drop(pair.guard.stdin.take());
        assert!(pair.wait(Duration::from_secs(10)), "it still runs");
    }

    #[test]
    fn nothing_is_left_when_a_process_is_dropped() {
        let pair = Pair::start(&mut sleeper()).unwrap();
        let ids = [pair.child.id(), pair.guard.id()];
        drop(pair);
        for id in ids {
            let id = rustix::process::Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
            assert!(rustix::process::test_kill_process(id).is_err(), "{id:?} still runs");
        }
    }

    #[test]
    fn shows_the_end_of_a_complaint_on_one_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "of an earlier run\nqemu: -netdev user: \x1b[31mno\n\nsecond\n").unwrap();
        let said = complaint(file.path(), 18).unwrap();
        assert_eq!(said, "qemu: -netdev user: \u{fffd}[31mno; second");
        assert_eq!(complaint(file.path(), 1000), None);
    }
}
