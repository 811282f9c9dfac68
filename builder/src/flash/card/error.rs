//! Why a card is not as wanted.

use std::io;

use thiserror::Error;

use crate::device::Medium;
use crate::device::presence::is_absent;

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

    pub(super) fn while_writing(medium: &dyn Medium, offset: u64, source: io::Error) -> Self {
        match source.kind() {
            _ if is_gone(medium, &source) => Self::Gone(source),
            io::ErrorKind::StorageFull | io::ErrorKind::WriteZero => Self::Ends { offset },
            _ => Self::Write { offset, source },
        }
    }

    pub(in crate::flash) fn while_reading(medium: &dyn Medium, offset: u64, source: io::Error) -> Self {
        match source.kind() {
            _ if is_gone(medium, &source) => Self::Gone(source),
            io::ErrorKind::UnexpectedEof => Self::Ends { offset },
            _ => Self::Read { offset, source },
        }
    }

    pub(super) fn while_flushing(medium: &dyn Medium, source: io::Error) -> Self {
        match is_gone(medium, &source) {
            true => Self::Gone(source),
            false => Self::Flush(source),
        }
    }
}

/// The error alone does not tell: of a card that is not there, drivers say what they say of a broken one.
fn is_gone(medium: &dyn Medium, error: &io::Error) -> bool {
    is_absent(error) || !medium.is_there()
}
