//! gzip: members one after the other, up to the end of the file.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

/// Reads all members (RFC 1952 §2.2). flate2 has such a reader, but from it bytes after the last member look like damage.
pub(super) struct Reader<R> {
    state: Option<GzDecoder<R>>,
}

impl<R: BufRead> Reader<R> {
    pub(super) fn new(input: R) -> Self {
        Self { state: Some(GzDecoder::new(input)) }
    }
}

impl<R: BufRead> Read for Reader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.state {
            let given = member.read(out)?;
            if given > 0 || out.is_empty() {
                return Ok(given);
            }
            // The member's checksum was right. Another one, or the end?
            let Some(member) = self.state.take() else { break };
            let mut input = member.into_inner();
            if super::at_end(&mut input)? {
                break;
            }
            if input.fill_buf()?.first() != Some(&0x1f) {
                return Err(super::trailing());
            }
            self.state = Some(GzDecoder::new(input));
        }
        Ok(0)
    }
}
