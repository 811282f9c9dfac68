//! The system's programs: which are there, what to type when one is not, and running them.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context as _, Result, bail};

use crate::apt::{Mirror, PrivateApt};
use crate::recipe::KEYRING;

/// Programs this workspace's recipes, rack and tests call, with the Debian package that brings each.
const PACKAGES: [(&str, &str); 45] = [
    ("apt-ftparchive", "apt-utils"),
    // mmdebstrap runs it for a foreign architecture, and only recommends it.
    ("arch-test", "arch-test"),
    ("blkid", "util-linux"),
    ("bmaptool", "bmap-tools"),
    ("bzip2", "bzip2"),
    ("depmod", "kmod"),
    ("dnsmasq", "dnsmasq-base"),
    ("dpkg-deb", "dpkg"),
    ("findmnt", "util-linux"),
    ("fish", "fish"),
    ("fsck.fat", "dosfstools"),
    ("gpg", "gpg"),
    ("groff", "groff-base"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("losetup", "mount"),
    ("lsblk", "util-linux"),
    ("mandoc", "mandoc"),
    ("mattrib", "mtools"),
    ("mcopy", "mtools"),
    ("mdel", "mtools"),
    ("mdir", "mtools"),
    ("mke2fs", "e2fsprogs"),
    ("mkfs.btrfs", "btrfs-progs"),
    ("mkfs.fat", "dosfstools"),
    ("mkfs.xfs", "xfsprogs"),
    ("mmdebstrap", "mmdebstrap"),
    ("nsenter", "util-linux"),
    ("partx", "util-linux"),
    ("qemu-aarch64-static", "qemu-user-static"),
    ("qemu-system-aarch64", "qemu-system-arm"),
    ("resize2fs", "e2fsprogs"),
    ("setpriv", "util-linux"),
    ("sfdisk", "fdisk"),
    ("ssh", "openssh-client"),
    ("ssh-keygen", "openssh-client"),
    ("sshd", SERVER),
    ("swapon", "mount"),
    ("systemd-nspawn", "systemd-container"),
    ("unshare", "util-linux"),
    ("unzip", "unzip"),
    ("xz", "xz-utils"),
    ("zip", "zip"),
    ("zsh", "zsh"),
    ("zstd", "zstd"),
];

/// What decides which packages are installed and how: this file itself, and what makes a tree.
pub(crate) const SET_UP: &str = concat!(include_str!("tools.rs"), include_str!("bootstrap.rs"));

/// Where programs are: root's own folders too, which a plain user's search path may lack.
pub(crate) const FOLDERS: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Checks that every program is installed.
///
/// # Errors
/// Names the missing ones and the `apt-get install` that brings them.
pub fn require(programs: &[&str]) -> Result<()> {
    let missing: Vec<&str> = programs.iter().copied().filter(|program| !is_installed(program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut packages: Vec<&str> = missing.iter().map(|program| package_of(program)).collect();
    packages.sort_unstable();
    packages.dedup();
    bail!("not installed: {}. Type: sudo apt-get install --yes {}", missing.join(", "), packages.join(" "))
}

/// Installs everything this workspace calls and does not find, with apt.
///
/// # Errors
/// Without root or apt, or when apt fails: names the packages and what to type.
pub fn install_missing() -> Result<()> {
    let programs = PACKAGES.map(|(program, _)| program);
    let Err(missing) = require(&programs) else { return Ok(()) };
    if !is_installed("apt-get") || require_root("installing packages").is_err() {
        return Err(missing);
    }
    let mut packages: Vec<&str> =
        PACKAGES.iter().filter(|(program, _)| !is_installed(program)).map(|(_, package)| *package).collect();
    packages.dedup();
    run("apt-get", ["-qq", "update"])?;
    let serves = packages.contains(&SERVER);
    let installed = install(packages, missing);
    if serves && is_installed("sshd") && Path::new("/run/systemd/system").is_dir() {
        // Tests start their own: the door of whoever runs them stays as it was.
        run("systemctl", ["disable", "--now", "ssh.service"])?;
    }
    installed
}

/// Installs packages, or else those that can be.
fn install(mut packages: Vec<&str>, missing: anyhow::Error) -> Result<()> {
    if run("apt-get", INSTALL.into_iter().chain(packages.iter().copied())).is_ok() {
        return Ok(());
    }
    // One that cannot be satisfied must not keep the others away.
    packages.retain(|package| run("apt-get", INSTALL.into_iter().chain([*package])).is_err());
    if packages.is_empty() {
        return Ok(());
    }
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let Some(suite) = backported(&release) else { return Err(missing) };
    install_backports(suite, &packages).context(missing)
}

/// A package that starts a server, where it is new.
const SERVER: &str = "openssh-server";

const INSTALL: [&str; 6] =
    ["-qq", "install", "--yes", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300"];

/// The release whose backports bring what it lacks itself: Debian 12's QEMU does not go with newer tools of QEMU.
fn backported(os_release: &str) -> Option<&str> {
    let name = os_release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    Some(name.trim_matches('"')).filter(|name| *name == "bookworm")
}

/// Installs `packages` from the backports of `suite`. Nothing in `/etc/apt` changes: the extra source is an option.
fn install_backports(suite: &str, packages: &[&str]) -> Result<()> {
    let mirror = Mirror::of_machine(Path::new("/"))?;
    let folder = tempfile::tempdir().context("cannot create a folder")?;
    let sources = format!("{}\n{}", mirror.sources(suite, KEYRING), mirror.backports(suite, KEYRING));
    let apt = PrivateApt::new(folder.path(), &sources)?;
    let options = apt.options();
    let options = || options.iter().map(String::as_str);
    run("apt-get", options().chain(["-qq", "update"]))?;
    let release = format!("{suite}-backports");
    let words = INSTALL.into_iter().chain(["--target-release", &release]).chain(packages.iter().copied());
    run("apt-get", options().chain(words))
}

fn is_installed(program: &str) -> bool {
    FOLDERS.iter().any(|folder| Path::new(folder).join(program).exists())
}

fn package_of(program: &str) -> &str {
    PACKAGES.iter().find(|(name, _)| *name == program).map_or(program, |(_, package)| package)
}

/// Checks that this process is root; `what` says what needs it, such as `the rack`.
///
/// # Errors
/// Says how to become root.
pub fn require_root(what: &str) -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    bail!("{what} needs root. Type: sudo --preserve-env=HOME,PATH {}", command_line())
}

fn command_line() -> String {
    // The build's own binary says nothing to a person: what was typed is cargo.
    let words: Vec<String> = std::env::args().skip(1).collect();
    format!("cargo xtask {}", words.join(" ")).trim_end().to_owned()
}

/// Runs a program to its end.
///
/// # Errors
/// When it cannot be started or fails; the message ends with the last lines of its standard error.
pub fn run<I>(program: &str, arguments: I) -> Result<()>
where
    I: IntoIterator,
    I::Item: AsRef<OsStr>,
{
    capture(program, arguments).map(drop)
}

/// Runs a program to its end and returns what it wrote to standard output.
///
/// # Errors
/// When it cannot be started or fails; the message ends with the last lines of its standard error.
pub fn capture<I>(program: &str, arguments: I) -> Result<Vec<u8>>
where
    I: IntoIterator,
    I::Item: AsRef<OsStr>,
{
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("LC_ALL", "C")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("PATH", FOLDERS.join(":"));
    let output = command.output().with_context(|| format!("cannot start {program}"))?;
    check(&command, &output)?;
    Ok(output.stdout)
}

pub(crate) fn check(command: &Command, output: &Output) -> Result<()> {
    if output.status.success() {
        return Ok(());
    }
    let talk = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = talk.lines().collect();
    let last = lines.get(lines.len().saturating_sub(12)..).unwrap_or_default();
    bail!("{command:?} failed ({}):\n{}", output.status, last.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named_with_the_package_to_install() {
        require(&["sh"]).unwrap();
        let error = require(&["sh", "no-such-program", "also-missing"]).unwrap_err().to_string();
        assert_eq!(
            error,
            "not installed: no-such-program, also-missing. Type: sudo apt-get install --yes also-missing no-such-program"
        );
        assert_eq!(package_of("mcopy"), "mtools");
    }

    #[test]
    fn only_bookworm_is_given_backports() {
        assert_eq!(backported("ID=debian\nVERSION_CODENAME=bookworm\n"), Some("bookworm"));
        assert_eq!(backported("ID=debian\nVERSION_CODENAME=trixie\n"), None);
        assert_eq!(backported("ID=arch\n"), None);
    }

    #[test]
    fn a_failing_program_is_quoted() {
        let error = run("sh", ["-c", "echo no room >&2; exit 3"]).unwrap_err().to_string();
        assert!(error.contains("no room") && error.contains('3'), "{error}");
    }
}
