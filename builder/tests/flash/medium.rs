//! A card in memory that fails the way cards do. It is for faults only: what works is shown on loop devices.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use builder::device::Medium;

/// How a card fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It does not.
    None,
    /// It takes a few sectors at a time.
    Short,
    /// A sector cannot be written.
    NoWrite(u64),
    /// A sector cannot be read.
    NoRead(u64),
    /// Nothing from here on can be read.
    NoReadFrom(u64),
    /// The first write to a sector is lost.
    LosesOnce(u64),
    /// A sector always keeps another byte.
    Corrupts(u64),
    /// Everything past here is out of room, whatever the size says.
    EndsAt(u64),
    /// It is pulled out of its reader after so many bytes, written or read: nothing but EIO from then on (sd.c).
    GoneAfter(u64),
    /// It goes with its reader after so many bytes: a disk of no size takes nothing and has nothing (block/fops.c).
    ReaderGoneAfter(u64),
    /// A sector cannot be read until it is written again.
    NoReadBeforeWrite(u64),
    /// What is behind here is silently written from the beginning again, as false cards do.
    WrapsAt(u64),
}

/// A card.
#[derive(Debug)]
pub(crate) struct Faulty {
    bytes: Mutex<Vec<u8>>,
    fault: Fault,
    written: AtomicU64,
    read: AtomicU64,
    /// Whether the sector that is at fault was written.
    touched: Mutex<bool>,
    zeroes: bool,
}

const SECTOR: u64 = 512;
/// EIO of Linux.
const BROKEN: i32 = 5;
/// ENOSPC.
const FULL: i32 = 28;

impl Faulty {
    /// A card full of old data.
    pub(crate) fn new(size: usize, fault: Fault) -> Self {
        let bytes = Mutex::new(vec![0xa5; size]);
        Self {
            bytes,
            fault,
            written: AtomicU64::new(0),
            read: AtomicU64::new(0),
            touched: Mutex::new(false),
            zeroes: false,
        }
    }

    /// One whose drive makes zeros by itself.
    pub(crate) fn that_zeroes(size: usize) -> Self {
        Self { zeroes: true, ..Self::new(size, Fault::None) }
    }

    /// The same card, put in again and whole.
    pub(crate) fn mended(self) -> Self {
        self.with(Fault::None)
    }

    /// The same card, put in again, with another fault.
    pub(crate) fn with(self, fault: Fault) -> Self {
        Self { fault, ..self }
    }

    /// What the kernel says of a card that is not there any more, if it is not.
    fn gone(&self) -> Option<Fault> {
        let moved = self.written() + self.read.load(Ordering::Relaxed);
        match self.fault {
            Fault::GoneAfter(limit) | Fault::ReaderGoneAfter(limit) => (moved >= limit).then_some(self.fault),
            _ => None,
        }
    }

    pub(crate) fn content(&self) -> Vec<u8> {
        self.bytes.lock().unwrap().clone()
    }

    /// Bytes written so far.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    pub(crate) fn change(&self, at: usize) {
        self.bytes.lock().unwrap()[at] ^= 1;
    }
}

fn os(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}

fn covers(at: u64, offset: u64, length: usize) -> bool {
    (offset..offset + length as u64).contains(&at)
}

impl Medium for Faulty {
    fn size(&self) -> u64 {
        self.bytes.lock().unwrap().len() as u64
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut bytes = bytes;
        match self.gone() {
            Some(Fault::ReaderGoneAfter(_)) => return Err(os(FULL)),
            Some(_) => return Err(os(BROKEN)),
            None => {}
        }
        match self.fault {
            Fault::Short => bytes = &bytes[..bytes.len().min(3 * 512)],
            Fault::NoWrite(at) if covers(at, offset, bytes.len()) => return Err(os(BROKEN)),
            Fault::EndsAt(end) if offset >= end => return Err(os(FULL)),
            Fault::EndsAt(end) => bytes = &bytes[..bytes.len().min(usize::try_from(end - offset).unwrap())],
            Fault::NoReadBeforeWrite(at) if covers(at, offset, bytes.len()) => {
                *self.touched.lock().unwrap() = true
            }
            _ => {}
        }
        self.written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let mut content = self.bytes.lock().unwrap();
        let mut put = |offset: u64, bytes: &[u8]| {
            let at = usize::try_from(offset).unwrap();
            content[at..at + bytes.len()].copy_from_slice(bytes);
        };
        match self.fault {
            Fault::WrapsAt(end) => {
                for (place, sector) in bytes.chunks(512).enumerate() {
                    put((offset + place as u64 * SECTOR) % end, sector);
                }
            }
            Fault::LosesOnce(at) if covers(at, offset, bytes.len()) => {
                let mut touched = self.touched.lock().unwrap();
                if *touched {
                    put(offset, bytes);
                }
                *touched = true;
            }
            Fault::Corrupts(at) if covers(at, offset, bytes.len()) => {
                put(offset, bytes);
                content[usize::try_from(at).unwrap()] ^= 0x10;
            }
            _ => put(offset, bytes),
        }
        Ok(bytes.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match self.gone() {
            Some(Fault::ReaderGoneAfter(_)) => return Ok(0),
            Some(_) => return Err(os(BROKEN)),
            None => {}
        }
        match self.fault {
            Fault::NoRead(at) if covers(at, offset, buffer.len()) => return Err(os(BROKEN)),
            Fault::NoReadFrom(at) if offset >= at => return Err(os(BROKEN)),
            Fault::NoReadBeforeWrite(at)
                if covers(at, offset, buffer.len()) && !*self.touched.lock().unwrap() =>
            {
                return Err(os(BROKEN));
            }
            _ => {}
        }
        let content = self.bytes.lock().unwrap();
        let at = usize::try_from(offset).unwrap();
        let mut count = buffer.len();
        if self.fault == Fault::Short {
            count = count.min(5 * 512);
        }
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        buffer[..count].copy_from_slice(&content[at..at + count]);
        Ok(count)
    }

    fn zero(&self, offset: u64, length: u64) -> io::Result<()> {
        if !self.zeroes {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let (from, to) = (usize::try_from(offset).unwrap(), usize::try_from(offset + length).unwrap());
        self.bytes.lock().unwrap()[from..to].fill(0);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        match self.gone() {
            Some(_) => Err(os(BROKEN)),
            None => Ok(()),
        }
    }

    fn is_there(&self) -> bool {
        self.gone().is_none()
    }
}
