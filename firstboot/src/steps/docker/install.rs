//! Installs the packages. Blocking: runs on a thread of its own, through the [`Host`] port only.
//!
//! Speed without risk: no recommended packages, no man page index, and dpkg does not flush each file. What that
//! risks is made good by the journal: it says "completed" only after everything was flushed at once, and until then
//! a restart installs the same packages again.

use std::path::Path;

use cluster::card::Start;

use super::plan::{KEYRING, PREFERENCES, Plan, SOURCES, System, plan};
use super::proxy;
use super::settings::{DAEMON, DROP_IN, DROP_IN_TEXT, daemon_json};
use crate::agent::Pi;
use crate::agent::status::chain;
use crate::host::{Host, HostError, Program};
use crate::journal::Progress;
use crate::steps::StepError;
use crate::steps::network::Local;

/// While this file is there, installing a package rebuilds the index of man pages.
const MAN_DB: &str = "/var/lib/man-db/auto-update";
/// There if avahi is installed.
const AVAHI: &str = "/usr/lib/systemd/system/avahi-daemon.service";
/// There if man-db is installed.
const MAN_DB_INSTALLED: &str = "/var/lib/dpkg/info/man-db.list";

/// Where programs for root lie (FHS 3.0, and what systemd gives its services as PATH).
const PROGRAMS: [&str; 4] = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"];
/// Where units lie, the packages' and the administrator's (systemd.unit(5)).
const UNITS: [&str; 2] = ["/usr/lib/systemd/system", "/etc/systemd/system"];

/// Brings settings, repository and packages to the machine, if there is no Docker that was there before us.
pub(super) fn run(pi: &Pi, local: Local) -> Result<(), StepError> {
    let host = pi.host.as_ref();
    let again = match pi.journal.get().install {
        // Completed, and yet no engine: perhaps it is only stopped.
        Progress::Completed => {
            proxy::settle(pi, local)?;
            return start(pi);
        }
        // Somebody else's, which stays as it is.
        Progress::Never if is_there(host)? => return start(pi),
        // What was begun here began with the drop-in.
        Progress::Unknown if is_there(host)? && !has(host, DROP_IN)? => return start(pi),
        Progress::Started | Progress::Unknown => true,
        Progress::Never => false,
    };
    let system = read_system(host)?;
    let plan = plan(&pi.card.docker, &system);
    settings(host, local)?;
    proxy::settle(pi, local)?;
    if again {
        pi.status.say("finishing an interrupted installation");
        apt(
            host,
            "finish what dpkg had begun",
            Program::new("dpkg", ["--configure", "-a", "--force-confold"]),
        )?;
    }
    repository(host, &plan)?;
    pi.status.say("reading package lists");
    let update = ["update", "-q", "-o", "Acquire::Languages=none", "-o", "Acquire::Retries=2"];
    apt(host, "read package lists", Program::new("apt-get", update))?;
    let packages = packages(pi, &plan)?;
    pi.status.say(&format!("installing {}", packages.join(" ")));
    pi.journal.settle(|journal| journal.install = Progress::Started).map_err(StepError::Journal)?;
    let quiet = without_man_index(host, again)?;
    let installed = apt(host, "install Docker", install(&packages, again));
    with_man_index(host, quiet)?;
    installed?;
    host.sync();
    pi.journal.update(|journal| journal.install = Progress::Completed).map_err(StepError::Journal)?;
    start(pi)
}

/// Whether there is a Docker, running or not: its program, or a unit that has it elsewhere.
fn is_there(host: &dyn Host) -> Result<bool, StepError> {
    for (folders, name) in [(&PROGRAMS[..], "dockerd"), (&UNITS[..], "docker.service")] {
        for folder in folders {
            let names = host.list(Path::new(folder)).map_err(|source| failed("look for Docker", source))?;
            if names.iter().any(|there| there == name) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn read_system(host: &dyn Host) -> Result<System, StepError> {
    let text = |path: &str| -> Result<String, StepError> {
        let bytes =
            host.read(Path::new(path)).map_err(|source| failed("read what system this is", source))?;
        Ok(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
    };
    let arch = Program::new("dpkg", ["--print-architecture"]);
    let arch = host.run(&arch).map_err(|source| failed("read the architecture", source))?;
    System::read(&text("/etc/os-release")?, &String::from_utf8_lossy(&arch)).ok_or_else(|| {
        StepError::Never("/etc/os-release has no VERSION_CODENAME: this system is not supported".into())
    })
}

/// What the engine has to find at its first start. Settings that somebody made before are left alone.
fn settings(host: &dyn Host, local: Local) -> Result<(), StepError> {
    if host.read(Path::new(DAEMON)).map_err(|source| failed("read Docker's settings", source))?.is_none() {
        place(host, DAEMON, &daemon_json(local))?;
    }
    place(host, DROP_IN, DROP_IN_TEXT)
}

fn repository(host: &dyn Host, plan: &Plan) -> Result<(), StepError> {
    if let Some(repository) = &plan.repository {
        place(host, KEYRING, &repository.key)?;
        place(host, SOURCES, &repository.source)?;
    }
    match &plan.pin {
        Some(pin) => place(host, PREFERENCES, pin),
        None => Ok(()),
    }
}

fn has(host: &dyn Host, path: &str) -> Result<bool, StepError> {
    let read = host.read(Path::new(path)).map_err(|source| failed("look at what is there", source))?;
    Ok(read.is_some())
}

/// Writes a file, readable by all, if it is not there as wanted.
fn place(host: &dyn Host, path: &str, text: &str) -> Result<(), StepError> {
    let path = Path::new(path);
    let write = || {
        if host.read(path)?.as_deref() == Some(text.as_bytes()) {
            return Ok(());
        }
        if let Some(folder) = path.parent() {
            host.make_folder(folder, 0o755, None)?;
        }
        host.write(path, text.as_bytes(), 0o644, None)
    };
    write().map_err(|source| failed("write Docker's settings", source))
}

fn packages(pi: &Pi, plan: &Plan) -> Result<Vec<String>, StepError> {
    let host = pi.host.as_ref();
    let mut packages = plan.packages.clone();
    if let Some(optional) = plan.optional {
        let policy = host.run(&Program::new("apt-cache", ["policy", optional])).unwrap_or_default();
        let policy = String::from_utf8_lossy(&policy).into_owned();
        if policy.lines().any(|line| line.trim().starts_with("Candidate:") && !line.contains("(none)")) {
            packages.push(optional.to_owned());
        }
    }
    // Nodes and operator find the manager by its .local name. Raspberry Pi OS comes with avahi, Ubuntu without.
    let unit = host.read(Path::new(AVAHI)).map_err(|source| failed("look for avahi", source))?;
    if pi.card.start == Start::CloudInit && unit.is_none() {
        packages.push("avahi-daemon".to_owned());
    }
    Ok(packages)
}

fn install(packages: &[String], again: bool) -> Program {
    let mut program = Program::new(
        "apt-get",
        [
            "install",
            "-y",
            "-q",
            "--no-install-recommends",
            "--fix-broken",
            "-o",
            "DPkg::Lock::Timeout=300",
            "-o",
            "Dpkg::Use-Pty=0",
            "-o",
            "Acquire::Retries=3",
            "-o",
            "DPkg::Options::=--force-confdef",
            "-o",
            "DPkg::Options::=--force-confold",
            "-o",
            "DPkg::Options::=--force-unsafe-io",
        ],
    );
    if again {
        program.args.push("--reinstall".to_owned());
    }
    program.args.extend_from_slice(packages);
    program
}

fn apt(host: &dyn Host, doing: &'static str, mut program: Program) -> Result<(), StepError> {
    let env = [
        ("DEBIAN_FRONTEND", "noninteractive"),
        ("NEEDRESTART_MODE", "a"),
        ("NEEDRESTART_SUSPEND", "1"),
        ("LC_ALL", "C.UTF-8"),
    ];
    program.env = env.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    host.run(&program).map(|_| ()).map_err(|source| failed(doing, source))
}

/// Switches the rebuilding of the man page index off; says whether it is to be switched on again. An installation that
/// was cut short had switched it off, too.
fn without_man_index(host: &dyn Host, again: bool) -> Result<bool, StepError> {
    if has(host, MAN_DB)? {
        host.remove(Path::new(MAN_DB)).map_err(|source| failed("switch the man page index off", source))?;
        return Ok(true);
    }
    Ok(again && has(host, MAN_DB_INSTALLED)?)
}

fn with_man_index(host: &dyn Host, on: bool) -> Result<(), StepError> {
    if on && let Err(source) = host.write(Path::new(MAN_DB), b"", 0o644, None) {
        return Err(failed("switch the man page index on", source));
    }
    Ok(())
}

/// Starts the engine if it is not running. The package does that itself, unless somebody stopped or masked it.
fn start(pi: &Pi) -> Result<(), StepError> {
    let host = pi.host.as_ref();
    pi.status.say("starting Docker");
    // An earlier failure must not forbid this start; it is no error if there was none.
    if let Err(error) = host.run(&Program::new("systemctl", ["reset-failed", "docker.service"])) {
        tracing::debug!("{}", chain(&error));
    }
    host.run(&Program::new("systemctl", ["start", "docker.service"]))
        .map(|_| ())
        .map_err(|source| failed("start Docker", source))
}

pub(super) const fn failed(doing: &'static str, source: HostError) -> StepError {
    StepError::Host { doing, source }
}
