//! Finds QEMU, and knows what it can do here.

use std::fs::File;
use std::io;
use std::process::Command;

use super::error::RehearseError;

/// The program for 64-bit Arm machines.
const PROGRAM: &str = "qemu-system-aarch64";

/// The first version with `-netdev stream`.
pub(super) const NEEDED: (u32, u32) = (7, 2);

/// A QEMU that is new enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qemu {
    pub(super) program: &'static str,
    /// Major and minor version.
    pub version: (u32, u32),
    /// What runs the guests' code.
    pub accelerator: Accelerator,
}

/// What runs a guest's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// Translation, on any computer.
    Tcg,
    /// Linux on a 64-bit Arm computer.
    Kvm,
    /// macOS on a 64-bit Arm computer.
    Hvf,
}

impl Qemu {
    /// Finds it in the path.
    ///
    /// # Errors
    /// When it is missing or too old; the hint names the package.
    pub fn find() -> Result<Self, RehearseError> {
        let output = match Command::new(PROGRAM).arg("--version").output() {
            Ok(output) => output,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(RehearseError::QemuMissing(PROGRAM));
            }
            Err(source) => return Err(RehearseError::Start { program: PROGRAM.to_owned(), source }),
        };
        let said = String::from_utf8_lossy(&output.stdout);
        let found = version(&said).ok_or(RehearseError::QemuUnknown { program: PROGRAM })?;
        if found < NEEDED {
            return Err(RehearseError::QemuTooOld { program: PROGRAM, found });
        }
        Ok(Self { program: PROGRAM, version: found, accelerator: Accelerator::of_this_computer() })
    }
}

impl Accelerator {
    fn of_this_computer() -> Self {
        if !cfg!(target_arch = "aarch64") {
            return Self::Tcg;
        }
        if cfg!(target_os = "macos") {
            return Self::Hvf;
        }
        let usable = File::options().read(true).write(true).open("/dev/kvm").is_ok();
        if usable { Self::Kvm } else { Self::Tcg }
    }

    /// QEMU's words for it, the processor included. Translation does best with the Pi 4's own.
    pub(super) const fn arguments(self) -> [&'static str; 4] {
        match self {
            Self::Tcg => ["-accel", "tcg,thread=multi", "-cpu", "cortex-a72"],
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            Self::Hvf => ["-accel", "hvf", "-cpu", "host"],
        }
    }

    /// The machine, with the interrupt controller that the accelerator has.
    pub(super) const fn machine(self) -> &'static str {
        match self {
            Self::Kvm => "virt,gic-version=host",
            Self::Tcg | Self::Hvf => "virt",
        }
    }
}

/// Major and minor out of `QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)`.
fn version(said: &str) -> Option<(u32, u32)> {
    let (_, rest) = said.lines().next()?.split_once("version ")?;
    let number = rest.split_whitespace().next()?;
    let mut parts = number.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// What to type where QEMU is missing.
pub(super) fn install_hint() -> String {
    let system = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    install_command(cfg!(target_os = "macos"), &system)
}

fn install_command(macos: bool, os_release: &str) -> String {
    let families = [
        (&["debian", "ubuntu", "raspbian"][..], "sudo apt-get install qemu-system-arm"),
        (&["fedora", "rhel", "centos"], "sudo dnf install qemu-system-aarch64"),
        (&["arch"], "sudo pacman -S qemu-system-aarch64"),
    ];
    if macos {
        return "install it: brew install qemu".to_owned();
    }
    let ids: Vec<_> = os_release
        .lines()
        .filter_map(|line| line.strip_prefix("ID=").or_else(|| line.strip_prefix("ID_LIKE=")))
        .flat_map(|value| value.trim_matches('"').split_whitespace())
        .collect();
    let own = families.iter().find(|(names, _)| names.iter().any(|name| ids.contains(name)));
    match own {
        Some((_, command)) => format!("install it: {command}"),
        None => format!(
            "install QEMU {}.{} or newer: the package is qemu-system-arm on Debian and Ubuntu, qemu-system-aarch64 on Fedora and \
             Arch, qemu in Homebrew",
            NEEDED.0, NEEDED.1
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_version_whoever_built_it() {
        let debian = "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2+deb13u1)\nCopyright (c) 2003-2025\n";
        assert_eq!(version(debian), Some((10, 0)));
        assert_eq!(version("QEMU emulator version 7.2\n"), Some((7, 2)));
        assert_eq!(version("QEMU emulator version 9.1.50-dirty (v9.1.0-1-g4a)\n"), Some((9, 1)));
        assert_eq!(version("qemu-system-aarch64: error while loading shared libraries"), None);
        assert_eq!(version(""), None);
        assert!([(6, 2), (7, 1)].iter().all(|old| *old < NEEDED) && (10, 0) > NEEDED);
    }

    #[test]
    fn names_the_package_of_the_users_own_system() {
        let hint = |os_release: &str| install_command(false, os_release);
        assert_eq!(
            hint("NAME=x\nID=ubuntu\nID_LIKE=debian\n"),
            "install it: sudo apt-get install qemu-system-arm"
        );
        assert_eq!(hint("ID=debian\n"), "install it: sudo apt-get install qemu-system-arm");
        assert_eq!(
            hint("ID=rocky\nID_LIKE=\"rhel centos fedora\"\n"),
            "install it: sudo dnf install qemu-system-aarch64"
        );
        assert_eq!(hint("ID=manjaro\nID_LIKE=arch\n"), "install it: sudo pacman -S qemu-system-aarch64");
        assert!(hint("ID=void\n").contains("qemu-system-arm on Debian"));
        assert_eq!(install_command(true, ""), "install it: brew install qemu");
    }
}
