//! The card that all of them have: what an owner does to every Pi in the same way. Made once per process.

use std::fs::{self, File, Permissions};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};

use super::PI;
use crate::inspect::Root;
use crate::product::Product;

/// A file without a name, so that it goes with the process.
static CARD: Mutex<Option<File>> = Mutex::new(None);

/// The card. Its path leads there as long as this process runs.
pub(super) fn card(product: &Product) -> Result<PathBuf> {
    let mut card = CARD.lock().unwrap_or_else(PoisonError::into_inner);
    let file = match card.take() {
        Some(file) => file,
        None => make(product).context("cannot make the card of a Pi that already runs")?,
    };
    let path = path(&file);
    *card = Some(file);
    Ok(path)
}

fn path(file: &File) -> PathBuf {
    Path::new("/proc").join(std::process::id().to_string()).join("fd").join(file.as_raw_fd().to_string())
}

fn make(product: &Product) -> Result<File> {
    // Not a temporary file system: cards are large.
    let file = tempfile::tempfile_in("/var/tmp")?;
    let mut xz = Command::new("xz");
    xz.args(["-dc", "-T0"]).arg(&product.image).stdin(Stdio::null()).stdout(file.try_clone()?);
    let unpacked = xz.status().context("cannot start xz")?;
    ensure!(unpacked.success(), "xz ended with {unpacked}");
    set_up(&Root::mount(&path(&file))?)?;
    Ok(file)
}

/// What the imager's dialog and the first login do.
fn set_up(root: &Root) -> Result<()> {
    // As Pi OS has it for its first user.
    let sudoers = root.path("etc/sudoers.d/010_pi-nopasswd");
    fs::write(&sudoers, "pi ALL=(ALL) NOPASSWD: ALL\n")?;
    fs::set_permissions(&sudoers, Permissions::from_mode(0o440))?;
    // A password that nobody has: the account is one that may log in.
    let shadow = root.path("etc/shadow");
    fs::write(&shadow, root.text("etc/shadow")?.replace("\npi:!:", "\npi:*:"))?;
    // It had its first boot long ago: with an empty file systemd applies no presets, and gives each an id (machine-id(5)).
    fs::write(root.path("etc/machine-id"), "")?;
    // userconf gives the account a login shell (userconf-pi e58fd5ca) and ends with cancel-rename, which removes the banner.
    let line = |line: &str| match line.strip_suffix("/usr/sbin/nologin").filter(|_| line.starts_with("pi:")) {
        Some(account) => format!("{account}/bin/bash\n"),
        None => format!("{line}\n"),
    };
    let accounts: String = root.text("etc/passwd")?.lines().map(line).collect();
    fs::write(root.path("etc/passwd"), accounts)?;
    fs::remove_file(root.path("etc/ssh/sshd_config.d/rename_user.conf"))?;
    let ssh = root.path("home/pi/.ssh");
    fs::create_dir(&ssh)?;
    fs::set_permissions(&ssh, Permissions::from_mode(0o700))?;
    chown(&ssh, Some(PI), Some(PI))?;
    let tree = format!("--root={}", root.path("").display());
    images::run("systemctl", [&tree, "--quiet", "enable", "ssh.service"])?;
    let asked = ["userconfig.service", "regenerate_ssh_host_keys.service"];
    images::run("systemctl", [&*tree, "--quiet", "disable"].into_iter().chain(asked))
}
