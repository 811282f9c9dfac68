//! Writes one stream of blocks to several files at once: the base and the cards made from it. Blocks that are all
//! zeros are not written, so every file ends up sparse.
//!
//! The disk is the bottleneck here, and on most file systems copying through the page cache costs more time than
//! decoding: cards are written past it (`O_DIRECT`) where that works. The base does go through the page cache,
//! because it is read soon after.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use thiserror::Error;

use crate::aligned::{Aligned, PAGE, is_zero};

/// How much is handed to a writing thread at once.
pub const BLOCK: usize = 4 << 20;
/// What is looked at for being zero, and the least that is written. Smaller ones save little and cost time.
const GRAIN: usize = 64 << 10;
/// Threads that write. More than cores: they wait for the disk.
const WRITERS: usize = 4;
/// Blocks in memory.
const BLOCKS: usize = WRITERS + 4;
/// After so many bytes the base is sent to the disk, so that its end does not come with a long wait.
const SYNC_EVERY: u64 = 128 << 20;

/// A file could not be written.
#[derive(Debug, Error)]
#[error("cannot write {}", path.display())]
pub struct SpreadError {
    /// The name it was to get.
    pub path: PathBuf,
    /// What the system says.
    #[source]
    pub source: io::Error,
}

impl SpreadError {
    /// Whether the disk is full.
    pub fn is_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

/// A file to write.
#[derive(Debug)]
pub struct Target {
    path: PathBuf,
    file: File,
    /// The same file, written past the page cache.
    direct: Option<File>,
    written: AtomicU64,
    /// The first error. Nothing is written after it.
    failed: Mutex<Option<io::Error>>,
}

impl Target {
    /// A file that will be read soon. `path` is for messages.
    pub fn kept_in_memory(file: &File, path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            file: file.try_clone()?,
            direct: None,
            written: AtomicU64::new(0),
            failed: Mutex::new(None),
        })
    }

    /// A file that will not be read soon.
    pub fn past_memory(file: &File, path: &Path) -> io::Result<Self> {
        Ok(Self { direct: open_direct(file), ..Self::kept_in_memory(file, path)? })
    }

    fn lock(&self) -> MutexGuard<'_, Option<io::Error>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, bytes: &[u8], offset: u64) {
        if self.lock().is_some() {
            return;
        }
        if let Err(error) = self.try_write(bytes, offset) {
            self.lock().get_or_insert(error);
        }
    }

    fn try_write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if let Some(direct) = self.direct.as_ref().filter(|_| bytes.len().is_multiple_of(PAGE)) {
            match direct.write_all_at(bytes, offset) {
                // Some file systems open a file for direct writing and then refuse, or want more alignment.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
                result => return result,
            }
        }
        self.file.write_all_at(bytes, offset)?;
        let before = self.written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if (before + bytes.len() as u64) / SYNC_EVERY > before / SYNC_EVERY {
            self.file.sync_data()?;
        }
        Ok(())
    }

    /// Sets the length, which the holes may need, and gives the first error.
    fn end(&self, size: u64) -> Result<(), SpreadError> {
        let result = match self.lock().take() {
            Some(error) => Err(error),
            None => self.file.set_len(size),
        };
        result.map_err(|source| SpreadError { path: self.path.clone(), source })
    }
}

#[cfg(target_os = "linux")]
fn open_direct(file: &File) -> Option<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::WRONLY | OFlags::DIRECT | OFlags::CLOEXEC;
    rustix::fs::open(crate::scratch::fd_path(file), flags, Mode::empty()).ok().map(File::from)
}

#[cfg(not(target_os = "linux"))]
fn open_direct(_file: &File) -> Option<File> {
    None
}

/// Memory for one block, aligned for direct writes.
#[derive(Debug)]
pub struct Block {
    memory: Aligned,
    length: usize,
    offset: u64,
}

impl Block {
    fn new() -> Self {
        Self { memory: Aligned::new(BLOCK), length: 0, offset: 0 }
    }

    /// All of the memory.
    pub fn memory(&mut self) -> &mut [u8] {
        &mut self.memory
    }

    /// The first `length` bytes, which are what the file has at `offset`.
    #[must_use]
    pub fn filled(mut self, offset: u64, length: usize) -> Self {
        (self.offset, self.length) = (offset, length);
        self
    }

    fn bytes(&self) -> &[u8] {
        self.memory.get(..self.length).unwrap_or_default()
    }
}

/// Threads that write blocks to all targets. Memory is bounded: [`Spread::block`] waits for a free block.
#[derive(Debug)]
pub struct Spread {
    targets: Arc<Vec<Target>>,
    filled: SyncSender<Block>,
    empty: Receiver<Block>,
    writers: Vec<JoinHandle<()>>,
}

impl Spread {
    /// Starts writing to `targets`.
    pub fn start(targets: Vec<Target>) -> Self {
        let targets = Arc::new(targets);
        let (filled, to_write) = sync_channel::<Block>(BLOCKS);
        let (back, empty) = channel();
        for _ in 0..BLOCKS {
            // The receiver is held right here.
            let _sent = back.send(Block::new());
        }
        let to_write = Arc::new(Mutex::new(to_write));
        let writers = (0..WRITERS)
            .map(|_| {
                let (targets, to_write, back) = (Arc::clone(&targets), Arc::clone(&to_write), back.clone());
                std::thread::spawn(move || write_blocks(&targets, &to_write, &back))
            })
            .collect();
        Self { targets, filled, empty, writers }
    }

    /// An empty block, as soon as one is free.
    pub fn block(&self) -> Block {
        // Only if every writer panicked there is nobody to wait for.
        self.empty.recv().unwrap_or_else(|_| Block::new())
    }

    /// Hands a filled block to the writers.
    pub fn push(&self, block: Block) {
        // Without writers the loss is reported by finish.
        let _lost = self.filled.send(block);
    }

    /// Whether the first target cannot be written any more.
    pub fn first_has_failed(&self) -> bool {
        self.targets.first().is_some_and(|target| target.lock().is_some())
    }

    /// Waits until everything is written and sets the files' length. One result per target, in the order given.
    pub fn finish(self, size: u64) -> Vec<Result<(), SpreadError>> {
        drop(self.filled);
        let panicked = self.writers.into_iter().map(JoinHandle::join).filter(Result::is_err).count() > 0;
        if panicked {
            for target in self.targets.iter() {
                target.lock().get_or_insert(io::Error::other("a writing thread stopped"));
            }
        }
        self.targets.iter().map(|target| target.end(size)).collect()
    }
}

fn write_blocks(targets: &[Target], to_write: &Mutex<Receiver<Block>>, back: &Sender<Block>) {
    loop {
        let next = to_write.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(block) = next else { return };
        for (start, run) in runs(block.bytes()) {
            for target in targets {
                target.write(run, block.offset + start as u64);
            }
        }
        // Nobody wants it back when the end is near.
        let _unwanted = back.send(block);
    }
}

/// The parts of a block that are not zero, with their offsets.
fn runs(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut grains = bytes.chunks(GRAIN).map(is_zero).enumerate().peekable();
    std::iter::from_fn(move || {
        let (first, _) = grains.find(|(_, zero)| !zero)?;
        let mut last = first;
        while let Some((index, _)) = grains.next_if(|(_, zero)| !zero) {
            last = index;
        }
        let end = ((last + 1) * GRAIN).min(bytes.len());
        Some((first * GRAIN, bytes.get(first * GRAIN..end)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(content: &[u8], targets: Vec<Target>) -> Vec<Result<(), SpreadError>> {
        let spread = Spread::start(targets);
        for (index, chunk) in content.chunks(BLOCK).enumerate() {
            let mut block = spread.block();
            block.memory()[..chunk.len()].copy_from_slice(chunk);
            spread.push(block.filled((index * BLOCK) as u64, chunk.len()));
        }
        spread.finish(content.len() as u64)
    }

    fn sample() -> Vec<u8> {
        let mut content = vec![0; 3 * BLOCK + GRAIN + 512];
        for at in [0, GRAIN - 1, BLOCK + 5 * GRAIN, 2 * BLOCK - 1, 2 * BLOCK] {
            content[at] = 1;
        }
        content
    }

    #[test]
    fn every_target_gets_the_same_bytes_and_stays_sparse() {
        use std::os::unix::fs::MetadataExt;
        let content = sample();
        let files: Vec<_> = (0..3).map(|_| tempfile::NamedTempFile::new().unwrap()).collect();
        let targets = files.iter().enumerate().map(|(index, file)| match index {
            0 => Target::kept_in_memory(file.as_file(), file.path()).unwrap(),
            _ => Target::past_memory(file.as_file(), file.path()).unwrap(),
        });
        for result in spread(&content, targets.collect()) {
            result.unwrap();
        }
        for file in &files {
            file.as_file().sync_all().unwrap();
            assert!(std::fs::read(file.path()).unwrap() == content);
            assert!(file.as_file().metadata().unwrap().blocks() * 512 <= 5 * GRAIN as u64);
        }
    }

    #[test]
    fn a_target_that_fails_does_not_stop_the_others() {
        let good = tempfile::NamedTempFile::new().unwrap();
        let read_only = File::open(good.path()).unwrap();
        let targets = vec![
            Target::kept_in_memory(&read_only, Path::new("bad")).unwrap(),
            Target::kept_in_memory(good.as_file(), good.path()).unwrap(),
        ];
        let results = spread(&sample(), targets);
        assert_eq!(results[0].as_ref().unwrap_err().to_string(), "cannot write bad");
        assert!(results[1].is_ok());
        assert!(std::fs::read(good.path()).unwrap() == sample());
    }

    #[test]
    fn nothing_at_all_is_an_empty_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let results = spread(&[], vec![Target::kept_in_memory(file.as_file(), file.path()).unwrap()]);
        assert!(results[0].is_ok());
        assert_eq!(file.as_file().metadata().unwrap().len(), 0);
    }
}
