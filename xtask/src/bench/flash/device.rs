//! Loop devices to write cards to, and making them as slow as cards.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// A loop device over a file that is written all through. Detached when dropped.
#[derive(Debug)]
pub(super) struct Device {
    path: PathBuf,
    file: PathBuf,
    size: u64,
}

impl Device {
    pub(super) fn make(file: &Path, size: u64) -> Result<Self> {
        write_through(file, size)?;
        let output = Command::new("losetup").args(["--find", "--show"]).arg(file).output()?;
        let path = PathBuf::from(String::from_utf8(output.stdout)?.trim());
        anyhow::ensure!(output.status.success(), "no loop device for {}", file.display());
        Ok(Self { path, file: file.to_owned(), size })
    }

    /// Writes the file all through again.
    pub(super) fn fill(&self) -> Result<()> {
        write_through(&self.file, self.size)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// How a fixed disk is named to builder: twice.
    pub(super) fn named(&self) -> String {
        format!("{}={}", self.path.display(), self.file.display())
    }
}

fn write_through(file: &Path, size: u64) -> Result<()> {
    let mut file = File::options().create(true).write(true).truncate(false).open(file)?;
    let block = vec![0xa5; 1 << 20];
    for _ in 0..size.div_ceil(1 << 20) {
        file.write_all(&block)?;
    }
    Ok(file.sync_all()?)
}

impl Drop for Device {
    fn drop(&mut self) {
        // What is busy stays, and the folder's removal says so.
        let _busy = Command::new("losetup").arg("--detach").arg(&self.path).status();
    }
}

/// A group of processes that write and read each of some devices only so fast.
#[derive(Debug)]
pub(super) struct Slow(PathBuf);

impl Slow {
    /// So many bytes a second are written, four times as many read.
    pub(super) fn make(devices: &[&Device], bytes: u64) -> Result<Self> {
        let base = Path::new("/sys/fs/cgroup");
        let is_second = base.join("cgroup.controllers").exists();
        let hierarchy = if is_second { base.to_owned() } else { base.join("blkio") };
        if is_second {
            fs::write(base.join("cgroup.subtree_control"), "+io").context("cannot ration what devices do")?;
        }
        let slow = Self(hierarchy.join(format!("bench-flash-{}", std::process::id())));
        fs::create_dir(&slow.0).with_context(|| format!("cannot create {}", slow.0.display()))?;
        for device in devices {
            let output = Command::new("lsblk").args(["-dno", "MAJ:MIN"]).arg(&device.path).output()?;
            let number = String::from_utf8(output.stdout)?.trim().to_owned();
            // The second version (cgroup-v2.rst, "io.max"), and the first (blkio-controller.rst).
            if is_second {
                fs::write(slow.0.join("io.max"), format!("{number} wbps={bytes} rbps={}", 4 * bytes))?;
                continue;
            }
            for (what, speed) in [("write", bytes), ("read", 4 * bytes)] {
                let rule = slow.0.join(format!("blkio.throttle.{what}_bps_device"));
                fs::write(rule, format!("{number} {speed}"))?;
            }
        }
        Ok(slow)
    }

    /// The command, run in the group.
    pub(super) fn inside(&self, command: &Command) -> Command {
        let line = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", self.0.display());
        let mut inside = Command::new("sh");
        inside.args(["-ec", &line, "sh"]).arg(command.get_program()).args(command.get_args());
        inside
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        let _still_running = fs::remove_dir(&self.0);
    }
}
