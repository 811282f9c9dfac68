//! Which releases cards are made from, one by one, with what was tried; and why not from the others.

use std::fmt;

/// Whether cards are made from a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Support {
    /// They are.
    Tried,
    /// They are, but nobody knows whether they work; what is not known.
    Untried(&'static str),
    /// They are not; the reason.
    Refused(&'static str),
}

/// A release of Ubuntu.
#[derive(Debug)]
pub(super) struct Ubuntu {
    pub(super) codename: &'static str,
    pub(super) version: &'static str,
    pub(super) support: Support,
}

/// Ubuntu ends the support of a release between two LTS releases after nine months.
const ENDED: Support = Support::Refused("Ubuntu has ended its support, and Docker makes no packages for it");

/// The releases of Ubuntu for the Pi. Any other is refused: nobody looked at it.
pub(super) const UBUNTU: [Ubuntu; 7] = [
    Ubuntu { codename: "focal", version: "20.04", support: ENDED },
    Ubuntu {
        codename: "jammy",
        version: "22.04",
        // flannel-io/flannel#1502: vxlan is in linux-modules-extra-raspi.
        support: Support::Refused(
            "its kernel has no vxlan, which the networks of a swarm need, without the package \
             linux-modules-extra-raspi, and its netplan does not know regulatory-domain",
        ),
    },
    // The tests boot a stand-in: Debian 13 in this release's layout.
    Ubuntu { codename: "noble", version: "24.04", support: Support::Tried },
    Ubuntu { codename: "oracular", version: "24.10", support: ENDED },
    Ubuntu { codename: "plucky", version: "25.04", support: ENDED },
    // docker/packaging a53b45d drops it.
    Ubuntu { codename: "questing", version: "25.10", support: ENDED },
    Ubuntu {
        codename: "resolute",
        version: "26.04",
        support: Support::Untried(
            "no card of Ubuntu 26.04 was ever booted: it keeps its kernels in folders that it swaps by itself",
        ),
    },
];

/// Debian 11. Its security archive's Release file expired on 2026-09-07, and the archive was moved nowhere: LinuxCNC/linuxcnc#4510
/// shows the message of apt-get. The 32-bit release takes its packages from raspbian.raspberrypi.org, which was not looked
/// at; it gets no security updates either, since Debian's ended on 2026-08-31.
pub(super) const BULLSEYE: &str = "its security updates ended on 2026-08-31, and on the 64-bit release apt-get update fails \
                                   since Debian's archive of them expired on 2026-09-07, so that Docker cannot be installed";

/// Why no card is made from Ubuntu Desktop.
pub(super) const DESKTOP: &str = "its first boot waits for a person at the screen";

/// Why no card is made from what rpi-image-gen makes.
pub(super) const IMAGE_GEN: &str = "such an image is built for one purpose and has no first boot that sets up name, user and disk, which is where \
     builder's part begins";

/// A release that its file name gives away, and why no card is made from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    name: String,
    reason: &'static str,
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not supported: {}", self.name, self.reason)
    }
}

/// Whether a published file is of a release that is refused, by its name alone: so that hundreds of megabytes are not
/// downloaded in vain. A name that tells nothing is no refusal.
pub fn refused_by_name(file: &str) -> Option<Named> {
    let name = file.rsplit('/').next().unwrap_or(file).to_ascii_lowercase();
    if name.contains("raspios-bullseye") {
        return Some(Named { name: "Raspberry Pi OS Bullseye".to_owned(), reason: BULLSEYE });
    }
    let version = name.strip_prefix("ubuntu-")?;
    if version.contains("desktop") {
        return Some(Named { name: "Ubuntu Desktop".to_owned(), reason: DESKTOP });
    }
    let ubuntu = UBUNTU.iter().find(|ubuntu| version.starts_with(ubuntu.version))?;
    match ubuntu.support {
        Support::Refused(reason) => Some(Named { name: format!("Ubuntu {}", ubuntu.version), reason }),
        Support::Tried | Support::Untried(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_by_name_only_what_is_refused() {
        let refused = |file: &str| refused_by_name(file).map(|named| named.name);
        for (file, name) in [
            ("https://x.org/2024-10-22-raspios-bullseye-arm64-lite.img.xz", "Raspberry Pi OS Bullseye"),
            ("2024-10-22-raspios-bullseye-armhf-lite.img.xz", "Raspberry Pi OS Bullseye"),
            ("ubuntu-22.04.5-preinstalled-server-arm64+raspi.img.xz", "Ubuntu 22.04"),
            ("ubuntu-24.04.1-preinstalled-desktop-arm64+raspi.img.xz", "Ubuntu Desktop"),
        ] {
            assert_eq!(refused(file).as_deref(), Some(name));
        }
        for file in [
            "2026-10-06-raspios-trixie-arm64-lite.img.xz",
            "ubuntu-24.04.1-preinstalled-server-arm64+raspi.img.xz",
            "ubuntu-26.04-preinstalled-server-arm64+raspi.img.xz",
            "ubuntu.img",
            "my-bullseye.img",
        ] {
            assert_eq!(refused(file), None, "{file}");
        }
    }
}
