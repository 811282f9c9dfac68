//! What a card is written to and read back from.

use std::io;

/// A card's bytes, past every cache. Offsets and lengths are multiples of 512; memory is aligned to pages.
///
/// The real one is [`super::Claimed`]; tests put faulty ones in its place.
pub trait Medium: Send + Sync {
    /// Bytes.
    fn size(&self) -> u64;

    /// Writes some of `bytes`, and says how many.
    ///
    /// # Errors
    /// What the system says.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Reads into some of `buffer`, and says how much; nothing at the end.
    ///
    /// # Errors
    /// What the system says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Has the drive itself make so many bytes read as zeros, without sending them.
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`] where it cannot: then nothing happened.
    fn zero(&self, offset: u64, length: u64) -> io::Result<()>;

    /// Waits until everything written is on the medium, the drive's own memory included.
    ///
    /// # Errors
    /// What the system says; what was written before may be lost then.
    fn flush(&self) -> io::Result<()>;

    /// Whether the card is still in its reader, for who has got an error and wants to know whom to blame. May take a moment.
    fn is_there(&self) -> bool;
}

/// Writes all of `bytes`.
///
/// # Errors
/// What the medium says; an end before the last byte is [`io::ErrorKind::WriteZero`].
pub fn write_all(medium: &dyn Medium, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match medium.write_at(bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                bytes = bytes.get(count..).unwrap_or_default();
                offset += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Fills `buffer`.
///
/// # Errors
/// What the medium says; an end before the last byte is [`io::ErrorKind::UnexpectedEof`].
pub fn read_exact(medium: &dyn Medium, buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match medium.read_at(rest, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                filled += count;
                offset += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
