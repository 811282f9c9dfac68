//! Spares systemd from reading all units again for every package.
//!
//! The scripts of Debian's containerd and docker.io call `systemctl daemon-reload` three times, the last two times right
//! before the engine starts, although no unit has changed since the first: all packages are unpacked by then. Each takes
//! half a second of a small computer's time. For the time of the installation maintainer scripts therefore find another
//! `systemctl` first (`DPkg::Path`, apt.conf(5)), which passes everything on but such repetitions.
//!
//! The enabled units' links are read when the node has joined the swarm: until then the processor has other work, and
//! nothing needs them before the next boot. Power lost before: that boot reads everything.

use std::path::Path;

use crate::host::{Host, HostError, Program};

/// Where the other `systemctl` is: not in `/run`, from which nothing may be executed on Debian.
const FOLDER: &str = "/var/lib/firstboot/dpkg";
const SCRIPT: &str = "/var/lib/firstboot/dpkg/systemctl";
/// Made by the script when systemd has read the units.
const DONE: &str = "/var/lib/firstboot/dpkg/systemctl.done";
const TEXT: &str = include_str!("systemctl.sh");

/// apt's option that makes maintainer scripts use it.
pub(super) const OPTION: &str =
    "DPkg::Path=/var/lib/firstboot/dpkg:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Begins to spare systemd.
pub(super) fn begin(host: &dyn Host) -> Result<(), HostError> {
    host.make_folder(Path::new(FOLDER), 0o700, None)?;
    host.write(Path::new(SCRIPT), TEXT.as_bytes(), 0o755, None)?;
    host.remove(Path::new(DONE))
}

/// Has systemd read what has changed since, if an installation has left that to do.
pub(super) fn end(host: &dyn Host) -> Result<(), HostError> {
    if host.read(Path::new(DONE))?.is_none() {
        return Ok(());
    }
    host.remove(Path::new(DONE))?;
    host.run(&Program::new("systemctl", ["daemon-reload"])).map(drop)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    use super::*;

    /// The script, with a program that only notes its arguments in the place of systemctl, and one folder of units.
    struct Bench(tempfile::TempDir);

    impl Bench {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let at = |name: &str| folder.path().join(name).display().to_string();
            let text = TEXT
                .replace("/usr/lib/systemd/system /etc/systemd/system", &at("units"))
                .replace("/usr/bin/systemctl", &at("real"));
            assert!(!text.contains("/usr/"), "{text}");
            fs::create_dir(folder.path().join("units")).unwrap();
            let real = format!("#!/bin/sh\necho \"$*\" >>'{}'\n", at("calls"));
            for (name, text) in [("systemctl", text), ("real", real)] {
                let path = folder.path().join(name);
                fs::write(&path, text).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            }
            Self(folder)
        }

        fn call(&self, words: &[&str]) {
            let status =
                Command::new("sh").arg(self.0.path().join("systemctl")).args(words).status().unwrap();
            assert!(status.success());
        }

        fn calls(&self) -> Vec<String> {
            let text = fs::read_to_string(self.0.path().join("calls")).unwrap_or_default();
            text.lines().map(str::to_owned).collect()
        }
    }

    #[test]
    fn passes_everything_on_but_repeated_reloads() {
        let bench = Bench::new();
        bench.call(&["--system", "daemon-reload"]);
        bench.call(&["daemon-reload"]);
        bench.call(&["--quiet", "--system", "start", "docker.service"]);
        bench.call(&["--system", "daemon-reload"]);
        assert_eq!(bench.calls(), ["--system daemon-reload", "--quiet --system start docker.service"]);
    }

    #[test]
    fn reloads_again_when_a_unit_file_changed() {
        let bench = Bench::new();
        bench.call(&["daemon-reload"]);
        let unit = bench.0.path().join("units/new.service");
        // The kernel's clock for files ticks every few milliseconds.
        loop {
            fs::write(&unit, "[Service]\n").unwrap();
            let changed = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
            if changed(&unit) > changed(&bench.0.path().join("systemctl.done")) {
                break;
            }
        }
        bench.call(&["daemon-reload"]);
        assert_eq!(bench.calls().len(), 2);
    }
}
