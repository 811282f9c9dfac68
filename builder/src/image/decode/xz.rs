//! xz: the blocks of one stream are decoded on all cores (liblzma's threaded decoder), streams one after the other.

use std::io::{self, BufRead, Read};

use liblzma::stream::{Action, Error, MtStreamBuilder, Status, Stream};

/// Above this the decoder uses fewer threads. A thread holds a block, packed and unpacked: 24 MiB and a little for
/// `xz -6`, which is what pi-gen uses.
const MEMORY_FOR_THREADS: u64 = 144 << 20;
/// Above this the decoder refuses: `xz -9` takes 65 MiB.
pub(super) const MEMORY_AT_MOST: u64 = 1 << 30;

/// The first byte of every stream.
const MAGIC: u8 = 0xfd;

/// Reads all streams of an xz file, padding between them included, up to the end of the file.
///
/// liblzma's threaded decoder cannot be told to continue with the next stream through the binding, so that
/// is done here, as the file format (xz-file-format.txt §2) describes it.
pub(super) struct Reader<R> {
    input: R,
    state: State,
    decoder: fn() -> io::Result<Stream>,
}

/// Reads what comes out of the beginning of a file. The threaded decoder may keep what it unpacked of a block that is cut
/// off.
pub(super) const fn beginning(first: &[u8]) -> Reader<&[u8]> {
    fn plain() -> io::Result<Stream> {
        Ok(Stream::new_stream_decoder(MEMORY_AT_MOST, 0)?)
    }
    Reader { input: first, state: State::Between, decoder: plain }
}

enum State {
    Inside(Stream),
    Between,
    End,
}

impl<R: BufRead> Reader<R> {
    pub(super) const fn new(input: R) -> Self {
        Self { input, state: State::Between, decoder }
    }

    /// Skips padding and starts the next stream, or finds the end.
    fn next(&mut self) -> io::Result<State> {
        let mut padding = 0;
        loop {
            let bytes = self.input.fill_buf()?;
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            let (next, ended) = (bytes.get(zeros).copied(), bytes.is_empty());
            self.input.consume(zeros);
            padding += zeros;
            // Padding comes in multiples of four bytes.
            match next {
                Some(MAGIC) if padding % 4 == 0 => return Ok(State::Inside((self.decoder)()?)),
                None if ended && padding % 4 == 0 => return Ok(State::End),
                None if !ended => {}
                _ => return Err(super::trailing()),
            }
        }
    }
}

impl<R: BufRead> Read for Reader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        loop {
            let stream = match &mut self.state {
                State::End => return Ok(0),
                State::Between => {
                    self.state = self.next()?;
                    continue;
                }
                State::Inside(stream) => stream,
            };
            let input = self.input.fill_buf()?;
            let ended = input.is_empty();
            let action = if ended { Action::Finish } else { Action::Run };
            let (taken, given) = (stream.total_in(), stream.total_out());
            let status = stream.process(input, out, action);
            let beginning = taken == 0;
            let taken = progress(taken, stream.total_in());
            let given = progress(given, stream.total_out());
            self.input.consume(taken);
            match status {
                // The first stream was recognised by its whole magic, the others by its first byte.
                Err(Error::Format) if beginning => return Err(super::trailing()),
                Err(error) => return Err(error.into()),
                Ok(Status::StreamEnd) => self.state = State::Between,
                // LZMA_BUF_ERROR: no progress is possible without more input.
                Ok(Status::MemNeeded) if ended => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(Status::MemNeeded) if taken + given == 0 => return Err(io::ErrorKind::InvalidData.into()),
                Ok(_) => {}
            }
            if given > 0 {
                return Ok(given);
            }
        }
    }
}

/// What one call moved, which is never more than a slice's length.
fn progress(before: u64, after: u64) -> usize {
    usize::try_from(after - before).unwrap_or(usize::MAX)
}

fn decoder() -> io::Result<Stream> {
    let threads =
        std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1));
    Ok(MtStreamBuilder::new()
        .threads(threads)
        .memlimit_threading(MEMORY_FOR_THREADS)
        .memlimit_stop(MEMORY_AT_MOST)
        .decoder()?)
}
