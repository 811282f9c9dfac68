//! Spares systemd from reading all units again for every package.
//!
//! The scripts of Debian's containerd and docker.io call `systemctl daemon-reload` three times, although systemd loads a
//! unit that is new when it is first named. Each call takes half a second of a small computer's time. For the time of the
//! installation maintainer scripts therefore find another `systemctl` first (`DPkg::Path`, apt.conf(5)), which passes
//! everything on but needless reloads.
//!
//! The enabled units' links are read when the node has joined the swarm: until then the processor has other work, and
//! nothing needs them before the next boot. Power lost before: that boot reads everything.

use std::path::Path;

use crate::host::{Host, HostError, Program};

/// Where the other `systemctl` is: not in `/run`, from which nothing may be executed on Debian.
const FOLDER: &str = "/var/lib/firstboot/dpkg";
const SCRIPT: &str = "/var/lib/firstboot/dpkg/systemctl";
/// Its modification time is the begin of the first installation since systemd has read everything.
const SINCE: &str = "/var/lib/firstboot/dpkg/systemctl.since";
const TEXT: &str = include_str!("systemctl.sh");

/// apt's option that makes maintainer scripts use it.
pub(super) const OPTION: &str =
    "DPkg::Path=/var/lib/firstboot/dpkg:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Begins to spare systemd.
pub(super) fn begin(host: &dyn Host) -> Result<(), HostError> {
    host.make_folder(Path::new(FOLDER), 0o700, None)?;
    host.write(Path::new(SCRIPT), TEXT.as_bytes(), 0o755, None)?;
    let since = Path::new(SINCE);
    // An attempt that failed may have changed units already.
    if host.read(since)?.is_none() { host.write(since, b"", 0o644, None) } else { Ok(()) }
}

/// Has systemd read what has changed since, if an installation has left that to do.
pub(super) fn end(host: &dyn Host) -> Result<(), HostError> {
    if host.read(Path::new(SINCE))?.is_none() {
        return Ok(());
    }
    host.remove(Path::new(SINCE))?;
    host.run(&Program::new("systemctl", ["daemon-reload"])).map(drop)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    use super::*;

    /// The script, with one folder of units, and in the place of systemctl a program that notes its arguments and has an answer
    /// for `show`.
    struct Bench(tempfile::TempDir);

    impl Bench {
        fn new(answer: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let at = |name: &str| folder.path().join(name).display().to_string();
            let text = TEXT
                .replace("/usr/lib/systemd/system /etc/systemd/system", &at("units"))
                .replace("/usr/bin/systemctl", &at("real"));
            assert!(!text.contains("/usr/"), "{text}");
            fs::create_dir(folder.path().join("units")).unwrap();
            let real = format!("#!/bin/sh\necho \"$*\" >>'{}'\necho {answer}\n", at("calls"));
            for (name, text) in [("systemctl", text), ("real", real), ("systemctl.since", String::new())] {
                let path = folder.path().join(name);
                fs::write(&path, text).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            }
            Self(folder)
        }

        /// Writes a file of units that is newer than the begin of the installation.
        fn unpack(&self, name: &str) {
            let unit = self.0.path().join("units").join(name);
            fs::create_dir_all(unit.parent().unwrap()).unwrap();
            let changed = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
            // The kernel's clock for files ticks every few milliseconds.
            loop {
                fs::write(&unit, "[Service]\n").unwrap();
                if changed(&unit) > changed(&self.0.path().join("systemctl.since")) {
                    break;
                }
            }
        }

        fn call(&self, words: &[&str]) {
            let script = self.0.path().join("systemctl");
            let output = Command::new("sh").arg(script).args(words).output().unwrap();
            assert!(output.status.success(), "{output:?}");
        }

        fn calls(&self) -> Vec<String> {
            let text = fs::read_to_string(self.0.path().join("calls")).unwrap_or_default();
            text.lines().map(str::to_owned).collect()
        }
    }

    const SHOW: &str = "show --property=LoadState,NeedDaemonReload --value";

    #[test]
    fn reloads_nothing_for_new_units() {
        let bench = Bench::new("loaded no");
        bench.call(&["--system", "daemon-reload"]);
        bench.unpack("new.service");
        bench.call(&["--system", "daemon-reload"]);
        bench.call(&["--quiet", "--system", "start", "new.service"]);
        let show = format!("{SHOW} new.service");
        assert_eq!(bench.calls(), [show.as_str(), "--quiet --system start new.service"]);
    }

    #[test]
    fn reloads_when_systemd_says_that_it_needs_to() {
        for answer in ["loaded yes", "not-found no"] {
            let bench = Bench::new(answer);
            bench.unpack("known.service");
            bench.call(&["daemon-reload"]);
            assert_eq!(bench.calls(), [&format!("{SHOW} known.service"), "daemon-reload"], "{answer}");
        }
    }

    #[test]
    fn reloads_for_drop_ins_and_templates() {
        for name in ["ssh.service.d/10-new.conf", "getty@.service"] {
            let bench = Bench::new("loaded no");
            bench.unpack(name);
            bench.call(&["daemon-reload"]);
            assert_eq!(bench.calls(), ["daemon-reload"], "{name}");
        }
    }
}
