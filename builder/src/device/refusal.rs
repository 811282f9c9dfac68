//! Why a disk is not erased, and what to type then.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use crate::error::{Failure, Hint, Kind, builder, hint, program};
use crate::privilege;
use crate::report::Bytes;

/// Why a disk is not erased.
#[derive(Debug, Clone, Error)]
pub enum Refusal {
    /// Nothing there.
    #[error("there is no {}", path.display())]
    Absent {
        /// The path.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: Arc<io::Error>,
    },
    /// A file, a folder, a terminal.
    #[error("{} is no disk", .0.display())]
    NoBlockDevice(PathBuf),
    /// A block device the kernel does not describe.
    #[error("the kernel tells nothing of {}", .0.display())]
    Unknown(PathBuf),
    /// A part of a disk.
    #[error("{} is a partition of {}", path.display(), whole.display())]
    Partition {
        /// The partition.
        path: PathBuf,
        /// Its disk.
        whole: PathBuf,
    },
    /// A fixed disk that was not named by its serial.
    #[error("{} is not made to be taken out", path.display())]
    Fixed {
        /// The disk.
        path: PathBuf,
        /// Its serial.
        serial: Option<String>,
    },
    /// The serial is another disk's.
    #[error("{} has the serial {}, not {given}", path.display(), serial.as_deref().unwrap_or("(none)"))]
    OtherSerial {
        /// The disk.
        path: PathBuf,
        /// Its serial.
        serial: Option<String>,
        /// What the user gave.
        given: String,
    },
    /// A lock on the card, or of the system.
    #[error("{} is write-protected", .0.display())]
    ReadOnly(PathBuf),
    /// A reader without a card.
    #[error("there is no card in {}", .0.display())]
    Empty(PathBuf),
    /// Part of the running system.
    #[error("{} is mounted at {}", path.display(), at.display())]
    Mounted {
        /// The disk or partition.
        path: PathBuf,
        /// Where.
        at: PathBuf,
    },
    /// Swapping.
    #[error("{} is used as swap", .0.display())]
    Swap(PathBuf),
    /// LVM, RAID, encryption or another loop device on top.
    #[error("{} is in use by {holder}", path.display())]
    Held {
        /// The disk or partition.
        path: PathBuf,
        /// By what.
        holder: String,
    },
    /// A part of a volume that is not in use at the moment.
    #[error("{} belongs to a volume of several disks ({kind})", path.display())]
    Member {
        /// The disk or partition.
        path: PathBuf,
        /// Such as `LVM2_member`.
        kind: String,
    },
    /// Its contents cannot be looked at.
    #[error("cannot tell what is on {}", path.display())]
    Opaque {
        /// The disk or partition.
        path: PathBuf,
        /// Why.
        #[source]
        source: Arc<io::Error>,
    },
    /// The card would be made from itself.
    #[error("{} is the image the card is made from", .0.display())]
    IsTheImage(PathBuf),
    /// The image does not fit.
    #[error("{} has {size}, the image needs {needed}", path.display())]
    TooSmall {
        /// The disk.
        path: PathBuf,
        /// What it has.
        size: Bytes,
        /// What is needed.
        needed: Bytes,
    },
    /// Rather a backup disk than a card.
    #[error("{} has {size}, more than a card usually has", path.display())]
    TooLarge {
        /// The disk.
        path: PathBuf,
        /// What it has.
        size: Bytes,
    },
    /// Somebody has it.
    #[error("cannot open {} for ourselves alone", path.display())]
    Open {
        /// The disk.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: Arc<io::Error>,
    },
    /// It is another disk now than the one that was looked at.
    #[error("{} changed while it was looked at", .0.display())]
    Changed(PathBuf),
    /// The same disk twice.
    #[error("{} is named twice", .0.display())]
    Twice(PathBuf),
}

impl Refusal {
    /// What to do about it.
    pub fn hint(&self) -> Hint {
        match self {
            Self::Absent { .. } | Self::Unknown(_) => hint![builder(["devices"]), " lists the card readers"],
            Self::NoBlockDevice(_) => {
                hint![
                    "name a card reader such as /dev/sdb; card images as files are made by: ",
                    builder(["build"])
                ]
            }
            Self::Partition { whole, .. } => {
                format!("name the whole disk: --device {}", whole.display()).into()
            }
            Self::Fixed { path, serial: Some(serial) } => {
                format!("if it really is to be erased, name it twice: --device '{}={serial}'", path.display())
                    .into()
            }
            Self::Fixed { serial: None, .. } => {
                hint!["take a card reader; ", builder(["devices"]), " lists them"]
            }
            Self::OtherSerial { .. } => hint![builder(["devices", "--all"]), " shows every disk's serial"],
            Self::ReadOnly(_) => "slide the lock at the card's side, or take another card".into(),
            Self::Empty(_) => "put a card in".into(),
            Self::Mounted { at, .. } if at == Path::new("/") => {
                hint!["this computer runs from it; take a card reader; ", builder(["devices"]), " lists them"]
            }
            Self::Mounted { at, .. } => {
                hint!["if nothing on it is needed any more: ", program(["umount"]).path(at).sudo()]
            }
            Self::Swap(path) => hint!["if it is the right one: ", program(["swapoff"]).path(path).sudo()],
            Self::Held { .. } => "stop what uses it, or take another card".into(),
            Self::Member { path, .. } => hint![
                "if it is the right one and nothing on it is needed any more: ",
                program(["wipefs", "--all"]).path(path).sudo()
            ],
            Self::Opaque { source, .. } | Self::Open { source, .. } if is_denied_to_root(source) => {
                "the system denies this even to root: a container or a virtual machine may lack the device"
                    .into()
            }
            Self::Opaque { path, source } if source.kind() == io::ErrorKind::PermissionDenied => {
                format!("reading and writing {} takes root: put sudo before the command", path.display())
                    .into()
            }
            Self::Opaque { .. } => "install util-linux, whose blkid tells".into(),
            Self::IsTheImage(_) => "take another card".into(),
            Self::TooSmall { .. } => "take a larger card".into(),
            Self::TooLarge { size, .. } => {
                format!("if it is the right one, say so: --max-size {}GiB", size.0.div_ceil(1 << 30)).into()
            }
            Self::Open { source, path } if source.kind() == io::ErrorKind::PermissionDenied => {
                format!("writing {} takes root: put sudo before the command", path.display()).into()
            }
            Self::Open { .. } => "close what uses it: lsblk shows what is mounted".into(),
            Self::Changed(_) => "run the command again".into(),
            Self::Twice(_) => "name each card reader once".into(),
        }
    }
}

/// Whether root could do what failed.
pub(super) fn needs_root(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied && !privilege::has_root()
}

fn is_denied_to_root(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied && privilege::has_root()
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let hint = refusal.hint();
        Self::new(Kind::DeviceRefused, refusal).hint(hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_says_what_to_type() {
        let fixed = Refusal::Fixed { path: "/dev/sda".into(), serial: Some("S1".into()) };
        assert!(Failure::from(fixed).render().contains("--device '/dev/sda=S1'"));
        let failure = Failure::from(Refusal::TooLarge { path: "/dev/sda".into(), size: Bytes(2 << 40) });
        assert_eq!(failure.kind(), Kind::DeviceRefused);
        assert!(failure.render().contains("--max-size 2048GiB"), "{}", failure.render());
    }

    #[test]
    fn root_is_not_told_to_use_sudo() {
        let denied = || Arc::new(io::Error::from(io::ErrorKind::PermissionDenied));
        let path = || PathBuf::from("/dev/sda");
        let is_root = rustix::process::geteuid().is_root();
        for refusal in [
            Refusal::Opaque { path: path(), source: denied() },
            Refusal::Open { path: path(), source: denied() },
        ] {
            let text = refusal.hint().show(None).text;
            assert_eq!(text.contains("put sudo before the command"), !is_root, "{text}");
            assert_eq!(text.contains("denies this even to root"), is_root, "{text}");
        }
        assert_eq!(needs_root(&denied()), !is_root);
    }
}
