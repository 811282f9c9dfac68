//! Why cards cannot be rehearsed, and what to type next.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::boot::BootError;
use super::card::CopyError;
use super::network::NetworkError;
use super::qemu::{NEEDED, install_hint};
use crate::dir::Refusal;
use crate::error::{Failure, Hint, Kind, hint, program};

/// Why cards cannot be rehearsed.
#[derive(Debug, Error)]
pub enum RehearseError {
    /// It is not installed.
    #[error("there is no {0} on this computer")]
    QemuMissing(&'static str),
    /// It is installed, and too old.
    #[error("{program} is version {}.{}, and {}.{} or newer is needed", found.0, found.1, NEEDED.0, NEEDED.1)]
    QemuTooOld {
        /// Which program.
        program: &'static str,
        /// Major and minor.
        found: (u32, u32),
    },
    /// It does not say which version it is.
    #[error("{program} does not say its version")]
    QemuUnknown {
        /// Which program.
        program: &'static str,
    },
    /// A program did not start.
    #[error("cannot start {program}")]
    Start {
        /// Which program.
        program: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// QEMU ended as soon as it was started.
    #[error("QEMU refuses to be {name}: {said}")]
    Refused {
        /// The machine, or the network.
        name: String,
        /// The end of what it printed.
        said: String,
    },
    /// QEMU does not do what it is told.
    #[error("QEMU, which is {name}, does not obey: {said}")]
    Disobeyed {
        /// The machine, or the network.
        name: String,
        /// Its answer.
        said: String,
    },
    /// A file or folder of the rehearsal.
    #[error("cannot {what} {}", path.display())]
    File {
        /// What was to be done with it.
        what: &'static str,
        /// Which one.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The folder is in use.
    #[error("another rehearsal runs in {}", .0.display())]
    Busy(PathBuf),
    /// A card cannot be booted.
    #[error("the card {} cannot be booted", card.display())]
    Boot {
        /// Its file.
        card: PathBuf,
        /// Why not.
        #[source]
        source: BootError,
    },
    /// A card cannot be copied.
    #[error("cannot copy the card {}", card.display())]
    Copy {
        /// Its file.
        card: PathBuf,
        /// Why not.
        #[source]
        source: CopyError,
    },
    /// The network cannot be as the cluster file has it.
    #[error("the cluster's network cannot be rehearsed")]
    Network(#[source] NetworkError),
}

impl RehearseError {
    fn hint(&self) -> Option<Hint> {
        match self {
            Self::QemuMissing(_) | Self::QemuUnknown { .. } => Some(install_hint().into()),
            Self::QemuTooOld { .. } => {
                let releases = "Debian 12, Ubuntu 24.04 and Fedora 38 have one; on macOS: brew upgrade qemu";
                Some(format!("QEMU {}.{} or newer: {releases}", NEEDED.0, NEEDED.1).into())
            }
            Self::Boot { source, .. } => Some(source.hint()),
            Self::Copy { source, .. } => source.hint(),
            Self::File { path, source, .. }
                if matches!(Refusal::of(source), Some(Refusal::NotOurs | Refusal::Link | Refusal::Owner { .. })) =>
            {
                let mut old = path.clone().into_os_string();
                old.push(".old");
                Some(hint!["move it away: ", program(["mv"]).path(path).path(old.as_ref())])
            }
            Self::Busy(_) => Some("wait for its end, or end it with Ctrl-C".into()),
            Self::Network(error) => Some(error.hint().into()),
            Self::Refused { said, .. } if said.contains("not compiled") => {
                Some("this QEMU is built without user-mode networking (slirp): install the distribution's full one".into())
            }
            _ => None,
        }
    }
}

impl From<RehearseError> for Failure {
    fn from(error: RehearseError) -> Self {
        let hint = error.hint();
        let failure = Self::new(Kind::Failed, error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}
