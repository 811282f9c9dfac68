//! Why a card is not as wanted.

use std::io;

use thiserror::Error;

/// Why a card is not as wanted.
#[derive(Debug, Error)]
pub enum CardError {
    /// The drive refuses to write there, twice.
    #[error("the card cannot be written at byte {offset}")]
    Write {
        /// Bytes from the card's beginning.
        offset: u64,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The drive cannot read there, after it was written twice.
    #[error("the card cannot be read at byte {offset}")]
    Read {
        /// Bytes from the card's beginning.
        offset: u64,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Other bytes than were written, twice.
    #[error("the card is bad: it does not keep what is written at byte {offset}")]
    Bad {
        /// Bytes from the card's beginning.
        offset: u64,
    },
    /// Something else than planned; nothing was written.
    #[error("it differs from its plan at byte {offset}")]
    Differs {
        /// Bytes from the card's beginning.
        offset: u64,
    },
    /// Less than it says.
    #[error("the card ends at byte {offset}, before its own size")]
    Ends {
        /// Bytes from the card's beginning.
        offset: u64,
    },
    /// The drive did not take what it had in its memory.
    #[error("the card did not finish writing")]
    Flush(#[source] io::Error),
    /// Nobody there any more.
    #[error("the card was taken out")]
    Gone(#[source] io::Error),
    /// The image.
    #[error("the image cannot be read")]
    Base(#[source] io::Error),
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

impl CardError {
    /// Whether the card itself is to blame and should not be used.
    pub const fn is_bad_card(&self) -> bool {
        matches!(self, Self::Write { .. } | Self::Read { .. } | Self::Bad { .. } | Self::Ends { .. })
    }

    pub(super) fn while_writing(offset: u64, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::WriteZero => Self::Ends { offset },
            _ if is_gone(&source) => Self::Gone(source),
            _ => Self::Write { offset, source },
        }
    }

    pub(in crate::flash) fn while_reading(offset: u64, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::UnexpectedEof => Self::Ends { offset },
            _ if is_gone(&source) => Self::Gone(source),
            _ => Self::Read { offset, source },
        }
    }
}

pub(super) fn is_gone(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let gone = [Errno::NODEV, Errno::NXIO, Errno::NOMEDIUM];
    error.raw_os_error().is_some_and(|code| gone.iter().any(|errno| errno.raw_os_error() == code))
}
