//! gzip and zstd: members or frames one after the other, up to the end of the file.
//!
//! The decoders' own readers do that too, but to them bytes after the last member look like damage or truncation.

use std::io::{self, BufRead, Read};
use std::marker::PhantomData;

use flate2::bufread::GzDecoder;

/// A decoder of one member, which stops at its end.
pub(super) trait Member<R>: Read + Sized {
    /// Starts with a member's first byte.
    fn start(input: R) -> io::Result<Self>;
    /// Gives the input back, right behind the member.
    fn into_input(self) -> R;
    /// Whether a member can begin with this byte.
    fn begins(byte: u8) -> bool;
}

impl<R: BufRead> Member<R> for GzDecoder<R> {
    fn start(input: R) -> io::Result<Self> {
        Ok(Self::new(input))
    }

    fn into_input(self) -> R {
        self.into_inner()
    }

    fn begins(byte: u8) -> bool {
        // RFC 1952 §2.3.1.
        byte == 0x1f
    }
}

impl<R: BufRead> Member<R> for zstd::Decoder<'static, R> {
    fn start(input: R) -> io::Result<Self> {
        Ok(Self::with_buffer(input)?.single_frame())
    }

    fn into_input(self) -> R {
        self.finish()
    }

    fn begins(byte: u8) -> bool {
        // RFC 8878 §3.1.1 and §3.1.2, a frame or one to be skipped.
        matches!(byte, 0x28 | 0x50..=0x5f)
    }
}

/// Reads all members.
pub(super) struct Reader<R, M> {
    member: Option<M>,
    input: PhantomData<R>,
}

impl<R, M: Member<R>> Reader<R, M> {
    pub(super) fn new(input: R) -> io::Result<Self> {
        Ok(Self { member: Some(M::start(input)?), input: PhantomData })
    }
}

impl<R: BufRead, M: Member<R>> Read for Reader<R, M> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let given = member.read(out)?;
            if given > 0 || out.is_empty() {
                return Ok(given);
            }
            // The member's checksum was right. Another one, or the end?
            let Some(mut input) = self.member.take().map(M::into_input) else { break };
            match first_byte(&mut input)? {
                None => break,
                Some(byte) if M::begins(byte) => self.member = Some(M::start(input)?),
                Some(_) => return Err(super::trailing()),
            }
        }
        Ok(0)
    }
}

fn first_byte(input: &mut impl BufRead) -> io::Result<Option<u8>> {
    loop {
        match input.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return Ok(other?.first().copied()),
        }
    }
}
