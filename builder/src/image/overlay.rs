//! Copy-on-write sectors over a read-only base: file system code edits it as if it were the disk, and what
//! remains is the list of changed sectors. Nothing is ever written to the base.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

/// Bytes in a sector of every image and SD card.
pub const SECTOR: u64 = 512;
const SECTOR_BYTES: usize = 512;

/// What can be read at any place and has no position of its own.
pub trait ReadAt {
    /// Fills the buffer from `offset`; the end of the data within it is an error.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for File {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, buffer, offset)
    }
}

impl ReadAt for Vec<u8> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let part = start.checked_add(buffer.len()).and_then(|end| self.get(start..end));
        buffer.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_exact_at(buffer, offset)
    }
}

/// A part of an image, in bytes. Both numbers are multiples of [`SECTOR`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Where it begins.
    pub start: u64,
    /// How long it is.
    pub length: u64,
}

/// Bytes to put at a place of the image.
#[derive(Clone, PartialEq, Eq)]
pub struct Write {
    /// Bytes from the image's beginning, a multiple of [`SECTOR`].
    pub offset: u64,
    /// What to put there: whole sectors.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for Write {
    /// The bytes hold keys, so they are not printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Write({} bytes at {})", self.bytes.len(), self.offset)
    }
}

/// Sectors by their numbers in a window.
pub type Sectors = BTreeMap<u64, Box<[u8; SECTOR_BYTES]>>;

/// A window of the base with changed sectors over it.
#[derive(Clone)]
pub struct Overlay<B> {
    base: B,
    window: Window,
    position: u64,
    sectors: Sectors,
}

impl<B> fmt::Debug for Overlay<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Overlay({:?}, {} sectors written)", self.window, self.sectors.len())
    }
}

impl<B: ReadAt> Overlay<B> {
    /// Nothing changed yet.
    pub const fn new(base: B, window: Window) -> Self {
        Self::over(base, window, Sectors::new())
    }

    /// These sectors changed already.
    pub const fn over(base: B, window: Window, sectors: Sectors) -> Self {
        Self { base, window, position: 0, sectors }
    }

    /// Bytes of the window.
    pub const fn length(&self) -> u64 {
        self.window.length
    }

    /// The changed sectors.
    pub fn into_sectors(self) -> Sectors {
        self.sectors
    }

    /// Sectors that were written so far: where in the window, and what they hold now.
    pub fn changed(&self) -> impl Iterator<Item = (u64, &[u8; SECTOR_BYTES])> {
        self.sectors.iter().map(|(number, sector)| (number * SECTOR, &**sector))
    }

    /// What differs from the base: sorted, neighbours merged, sectors equal to the base left out.
    pub fn into_writes(self) -> io::Result<Vec<Write>> {
        let mut writes: Vec<Write> = Vec::new();
        let mut original = [0; SECTOR_BYTES];
        for (number, sector) in &self.sectors {
            let offset = self.window.start + number * SECTOR;
            self.base.read_exact_at(&mut original, offset)?;
            if **sector == original {
                continue;
            }
            match writes.last_mut() {
                Some(last) if last.offset + last.bytes.len() as u64 == offset => {
                    last.bytes.extend_from_slice(&**sector);
                }
                _ => writes.push(Write { offset, bytes: sector.to_vec() }),
            }
        }
        Ok(writes)
    }

    /// Sector and place in it of a position, and how many of `wanted` bytes lie in that sector and the window.
    fn locate(&self, position: u64, wanted: usize) -> (u64, usize, usize) {
        let within = position % SECTOR;
        let room = (SECTOR - within).min(self.window.length.saturating_sub(position));
        // Both are at most a sector, so neither is cut.
        let within = usize::try_from(within).unwrap_or(0);
        (position / SECTOR, within, usize::try_from(room).unwrap_or(0).min(wanted))
    }

    /// Reads from a position as far as its sector goes.
    fn read_sector(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let (number, within, count) = self.locate(position, buffer.len());
        let Some(target) = buffer.get_mut(..count) else { return Ok(0) };
        match self.sectors.get(&number).and_then(|sector| sector.get(within..within + count)) {
            Some(changed) => target.copy_from_slice(changed),
            None => self.base.read_exact_at(target, self.window.start + position)?,
        }
        Ok(count)
    }
}

/// The window as it is with what was changed; offsets are from its beginning.
impl<B: ReadAt> ReadAt for Overlay<B> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.read_sector(offset.saturating_add(done as u64), rest)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => done += count,
            }
        }
        Ok(())
    }
}

impl<B: ReadAt> Read for Overlay<B> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.read_sector(self.position, buffer)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl<B: ReadAt> io::Write for Overlay<B> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (number, within, count) = self.locate(self.position, bytes.len());
        if count == 0 {
            return Ok(0);
        }
        if !self.sectors.contains_key(&number) {
            let mut sector = Box::new([0; SECTOR_BYTES]);
            if count < SECTOR_BYTES {
                self.base.read_exact_at(&mut *sector, self.window.start + number * SECTOR)?;
            }
            self.sectors.insert(number, sector);
        }
        let target = self.sectors.get_mut(&number).and_then(|sector| sector.get_mut(within..within + count));
        if let (Some(target), Some(source)) = (target, bytes.get(..count)) {
            target.copy_from_slice(source);
        }
        self.position += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<B> Seek for Overlay<B> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.window.length.checked_add_signed(by),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    const BASE: usize = 16 * SECTOR_BYTES;

    fn base() -> Vec<u8> {
        (0..BASE).map(|i| u8::try_from(i % 251).unwrap()).collect()
    }

    proptest! {
        /// Whatever is written where, the overlay reads like a plain copy that was written, and laying its
        /// writes over the base gives that copy; nothing outside the window and no unchanged sector is in them.
        #[test]
        fn behaves_like_a_plain_copy(
            edits in prop::collection::vec((0u64..14 * SECTOR, prop::collection::vec(any::<u8>(), 0..1500)), 0..12)
        ) {
            let window = Window { start: SECTOR, length: 14 * SECTOR };
            let base = base();
            let mut model = base.clone();
            let mut overlay = Overlay::new(&base, window);
            for (offset, bytes) in &edits {
                overlay.seek(SeekFrom::Start(*offset)).unwrap();
                let room = usize::try_from(window.length - offset).unwrap().min(bytes.len());
                let start = usize::try_from(window.start + offset).unwrap();
                model[start..start + room].copy_from_slice(&bytes[..room]);
                prop_assert_eq!(overlay.write_all(bytes).is_ok(), room == bytes.len());
            }
            let mut read = Vec::new();
            overlay.rewind().unwrap();
            overlay.read_to_end(&mut read).unwrap();
            prop_assert_eq!(&read[..], &model[SECTOR_BYTES..15 * SECTOR_BYTES]);
            let mut part = vec![0; 3 * SECTOR_BYTES];
            overlay.read_exact_at(&mut part, 700).unwrap();
            prop_assert_eq!(&part[..], &read[700..700 + 3 * SECTOR_BYTES]);
            prop_assert!(overlay.read_exact_at(&mut part, 12 * SECTOR).is_err(), "it ends with the window");

            let writes = overlay.into_writes().unwrap();
            let mut laid = base.clone();
            let mut end = 0;
            for write in &writes {
                prop_assert!(write.offset >= window.start && (write.offset > end || end == 0), "sorted and merged");
                end = write.offset + write.bytes.len() as u64;
                prop_assert!(end <= window.start + window.length);
                let start = usize::try_from(write.offset).unwrap();
                for (old, new) in base[start..].chunks(SECTOR_BYTES).zip(write.bytes.chunks(SECTOR_BYTES)) {
                    prop_assert_ne!(old, new, "an unchanged sector is left out");
                }
                laid[start..start + write.bytes.len()].copy_from_slice(&write.bytes);
            }
            prop_assert_eq!(laid, model);
        }
    }

    #[test]
    fn what_is_put_back_is_no_change() {
        let base = base();
        let mut overlay = Overlay::new(&base, Window { start: 0, length: BASE as u64 });
        overlay.write_all(b"changed").unwrap();
        overlay.rewind().unwrap();
        overlay.write_all(&base[..7]).unwrap();
        assert_eq!(overlay.into_writes().unwrap(), []);
    }

    #[test]
    fn debug_prints_no_bytes() {
        let write = Write { offset: 512, bytes: b"secret".to_vec() };
        assert_eq!(format!("{write:?}"), "Write(6 bytes at 512)");
    }
}
