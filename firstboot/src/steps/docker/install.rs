//! Installs the packages. Blocking: runs on a thread of its own, through the [`Host`] port only.
//!
//! Speed without risk: no recommended packages, no man page index, and dpkg does not flush each file. What that
//! risks is made good by the journal: it says "completed" only after everything was flushed at once, and until then
//! a restart installs the same packages again.

use std::path::Path;

use cluster::card::{CardDocker, Start};
use cluster::wire::ProblemCode;

use super::apt::{self, Complaints};
use super::owners;
use super::pins;
use super::plan::{System, plan};
use super::proxy;
use super::reload;
use super::repository::{self, place};
use super::settings::{DAEMON, DROP_IN, DROP_IN_TEXT, daemon_json};
use crate::agent::Pi;
use crate::agent::status::{Topic, chain};
use crate::host::{Host, HostError, Output, Program};
use crate::journal::Progress;
use crate::steps::StepError;
use crate::steps::network::Local;

/// While this file is there, installing a package rebuilds the index of man pages.
const MAN_DB: &str = "/var/lib/man-db/auto-update";
/// There if avahi is installed.
const AVAHI: &str = "/usr/lib/systemd/system/avahi-daemon.service";
/// What is tried, in messages.
const CONFIGURE: &str = "finish what dpkg had begun";
const INSTALL: &str = "install Docker";
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
    let before = owners::installed(host);
    owners::look(&before, pi.card.docker.source)?;
    // Before our settings, by which a removal knows that Docker is ours.
    if pi.journal.get().install == Progress::Never {
        pi.journal.settle(|journal| journal.owners_packages = before).map_err(StepError::Journal)?;
    }
    settings(host, local)?;
    proxy::settle(pi, local)?;
    pi.status.say(if again { "finishing an interrupted installation" } else { "reading package lists" });
    let prepared = prepare(host, &pi.card.docker, pi.card.start, again)?;
    pi.status.say(&format!("installing {}", prepared.names().join(" ")));
    pi.journal.settle(|journal| journal.install = Progress::Started).map_err(StepError::Journal)?;
    let quiet = without_man_index(host, again)?;
    let installed = install(host, &prepared, again);
    with_man_index(host, quiet)?;
    pi.status.warn(Topic::Packages, installed?);
    host.sync();
    pi.journal.update(|journal| journal.install = Progress::Completed).map_err(StepError::Journal)?;
    start(pi)
}

/// What is to be installed, and what kept package lists from being read.
#[derive(Debug)]
pub struct Prepared {
    packages: Vec<String>,
    complaints: Complaints,
}

impl Prepared {
    /// The packages that have to be there afterwards, without versions.
    pub fn names(&self) -> Vec<&str> {
        let named = self.packages.iter().filter(|package| !package.starts_with('?'));
        named.map(|package| package.split('=').next().unwrap_or(package)).collect()
    }
}

/// Adds Docker's repository if it is wanted, and refreshes the package lists. A source that cannot be read does not matter
/// before a package is missing: see [`install`].
///
/// # Errors
/// When the system is not supported, the repository conflicts with another entry of the same, apt cannot read its sources,
/// or somebody else refreshes the lists right now.
pub fn prepare(
    host: &dyn Host,
    docker: &CardDocker,
    start: Start,
    again: bool,
) -> Result<Prepared, StepError> {
    let system = read_system(host)?;
    let plan = plan(docker, &system);
    if again {
        // Packages that have nothing to do with Docker may fail here each time; if ours do, installing them fails, too.
        let configured = host.output(&apt::configure()).map_err(|source| failed(CONFIGURE, source))?;
        if !configured.success {
            tracing::warn!("dpkg could not finish what it had begun: {}", configured.last_words());
        }
    }
    let repository = repository::add(host, &plan, &system)?;
    if let Err(error) = host.run(&apt::delete_empty_lists()) {
        tracing::warn!("empty package lists may be left: {}", chain(&error));
    }
    let update = host
        .output(&apt::update(&system.arch, again))
        .map_err(|source| failed("read package lists", source))?;
    let complaints = Complaints::of(&update);
    if !update.success {
        if complaints.mention("Could not get lock") {
            return Err(StepError::Known {
                cause: ProblemCode::PackagesLocked.into(),
                message: format!("package lists are in use: {}", complaints.short()),
                permanent: false,
            });
        }
        repository.check(host, &complaints)?;
    }
    let mut packages = plan.packages;
    packages.extend(plan.optional.map(|package| apt::if_available(package, &system.arch)));
    // Nodes and operator find the manager by its .local name. Raspberry Pi OS comes with avahi, Ubuntu without.
    let unit = host.read(Path::new(AVAHI)).map_err(|source| failed("look for avahi", source))?;
    if start == Start::CloudInit && unit.is_none() {
        packages.push("avahi-daemon".to_owned());
    }
    Ok(Prepared { packages, complaints })
}

/// Installs the packages, and returns what is wrong with the machine's packages apart from that, a sentence each.
///
/// # Errors
/// When a package is missing afterwards. What kept package lists from being read is then the likely cause, and comes first.
pub fn install(host: &dyn Host, prepared: &Prepared, again: bool) -> Result<Vec<String>, StepError> {
    reload::begin(host).map_err(|source| failed(INSTALL, source))?;
    let output =
        host.output(&apt::install(&prepared.packages, again)).map_err(|source| failed(INSTALL, source))?;
    let mut warnings = prepared.complaints.warnings();
    if output.success {
        return Ok(warnings);
    }
    let others = apt::unconfigured(&output);
    if !others.is_empty() && is_done(host, prepared, &output, again)? {
        warnings.push(format!(
            "dpkg cannot configure {}, which Docker does not need; why is shown by: sudo dpkg --configure -a",
            others.join(", ")
        ));
        return Ok(warnings);
    }
    if apt::would_remove(&output) {
        return Err(owners::explain(host, &prepared.packages, &prepared.names())?);
    }
    let mut reasons = Vec::new();
    if !prepared.complaints.is_empty() {
        reasons.push(format!("package lists are incomplete: {}", prepared.complaints.short()));
    }
    reasons.push(apt::reason(&output));
    reasons.extend(pins::against(host, &prepared.names()).map_err(|source| failed(INSTALL, source))?);
    let line = format!("apt-get install {}", prepared.names().join(" "));
    Err(failed(INSTALL, HostError::Exit { line, status: output.status, stderr: reasons.join("; ") }))
}

/// Whether our packages are in place although dpkg failed. After a power cut dpkg's word is not enough, since it may not have
/// flushed what it had unpacked: then they must have been set up anew in this very run.
fn is_done(host: &dyn Host, prepared: &Prepared, output: &Output, again: bool) -> Result<bool, StepError> {
    let names = prepared.names();
    let installed = apt::are_installed(host, &names).map_err(|source| failed(INSTALL, source))?;
    Ok(installed && (!again || names.iter().all(|name| apt::was_set_up(output, name))))
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
        let message = "/etc/os-release has no VERSION_CODENAME: this system is not supported";
        StepError::stop(ProblemCode::SystemUnsupported, message.to_owned())
    })
}

/// What the engine has to find at its first start. Settings that somebody made before are left alone.
fn settings(host: &dyn Host, local: Local) -> Result<(), StepError> {
    if host.read(Path::new(DAEMON)).map_err(|source| failed("read Docker's settings", source))?.is_none() {
        place(host, DAEMON, &daemon_json(local))
            .map_err(|source| failed("write Docker's settings", source))?;
    }
    place(host, DROP_IN, DROP_IN_TEXT).map_err(|source| failed("write Docker's settings", source))
}

fn has(host: &dyn Host, path: &str) -> Result<bool, StepError> {
    let read = host.read(Path::new(path)).map_err(|source| failed("look at what is there", source))?;
    Ok(read.is_some())
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
