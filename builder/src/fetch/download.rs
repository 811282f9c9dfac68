//! Downloading over http and https, from where the last attempt stopped.
//!
//! A dropped connection is taken up again while that brings anything; a server that never gave a byte in this run is
//! not asked twice. What a server says of lengths is believed only against it: where the promised digest is reached,
//! the file is whole, whatever was announced. What came stays in the [`Partial`] at every error but those that say
//! that it is worth nothing ([`DownloadError::spoils`]), and at any death.

use std::time::Duration;

use reqwest::header::{IF_RANGE, RANGE};
use reqwest::{Response, Url};

use super::answer::{self, Answer};
use super::client::Client;
use super::partial::Partial;
use super::redirect;
use crate::digest::Digest;
use crate::image::decode::{DecodeError, Format};
use crate::report::{Bytes, Progress, Task};

mod error;

pub use error::DownloadError;

/// Larger than any image for an SD card; a server that sends for ever ends here. Bytes.
const LIMIT: u64 = 64 << 30;
/// Attempts count as in vain if they bring less than this together. Bytes.
const STEP: u64 = 1 << 20;

/// What to download.
#[derive(Debug)]
pub(super) struct Order<'a> {
    pub(super) url: &'a Url,
    /// Bytes, where that is certain.
    pub(super) size: Option<u64>,
    /// The digest that ends the matter when it is reached.
    pub(super) promised: Option<Digest>,
    /// How long to wait before another attempt; after so many in vain no other is made.
    pub(super) pauses: &'a [Duration],
    pub(super) progress: &'a Progress,
}

impl Order<'_> {
    /// Fills `partial` with the file, and gives its digest.
    pub(super) fn run(&self, client: &Client, partial: &mut Partial) -> Result<Digest, DownloadError> {
        let mut patience = Patience { pauses: self.pauses, in_vain: 0, from: partial.length() };
        let first = partial.length();
        while !self.reached(partial) {
            let error = match client.run(self.attempt(client, partial)) {
                Ok(()) => break,
                Err(_) if self.reached(partial) => break,
                Err(error) => error,
            };
            // Nothing came in this run: that is no bad line but a wrong address, or a network that is off.
            if !error.is_transient() || partial.length() == first {
                return Err(error);
            }
            let Some(pause) = patience.pause(partial.length()) else { return Err(error) };
            let so_far = Bytes(partial.length());
            self.progress.say(&format!("download: the connection broke at {so_far}; trying again"));
            std::thread::sleep(pause);
        }
        Ok(partial.digest())
    }

    fn url(&self) -> Box<Url> {
        Box::new(self.url.clone())
    }

    fn reached(&self, partial: &Partial) -> bool {
        partial.length() > 0 && self.promised == Some(partial.digest())
    }

    async fn attempt(&self, client: &Client, partial: &mut Partial) -> Result<(), DownloadError> {
        let mut offset = partial.length();
        let said = partial.note().and_then(|note| note.total);
        if said == Some(offset) && self.size.is_none_or(|size| size == offset) {
            return Ok(());
        }
        // More than all of it, or all of it by another count: what is there is of no use.
        if self.size.or(said).is_some_and(|size| size <= offset) {
            offset = 0;
        }
        loop {
            let response = self.ask(client, partial, offset).await?;
            let note = partial.note().filter(|_| offset > 0);
            match answer::judge(response.status(), response.headers(), offset, note) {
                Answer::Complete => return Ok(()),
                Answer::AskForWhole => offset = 0,
                Answer::Refused => {
                    return Err(DownloadError::Status { url: self.url(), status: response.status() });
                }
                Answer::Continue { total } => {
                    self.check_size(total)?;
                    return self.receive(response, total, partial).await;
                }
                Answer::Whole(note) => {
                    let total = note.total;
                    self.check_size(total)?;
                    partial.start_over(note).map_err(DownloadError::Write)?;
                    return self.receive(response, total, partial).await;
                }
            }
        }
    }

    async fn ask(&self, client: &Client, partial: &Partial, offset: u64) -> Result<Response, DownloadError> {
        let mut request = client.http().get(self.url.clone());
        if offset > 0 {
            request = request.header(RANGE, format!("bytes={offset}-"));
            if let Some(validator) = partial.note().and_then(answer::if_range) {
                request = request.header(IF_RANGE, validator);
            }
        }
        request.send().await.map_err(|error| self.transfer(error))
    }

    /// Refuses a file that cannot be the promised one before it comes.
    fn check_size(&self, announced: Option<u64>) -> Result<(), DownloadError> {
        match (announced, self.size) {
            (Some(announced), Some(promised)) if announced != promised => {
                Err(DownloadError::OtherSize { url: self.url(), announced, promised })
            }
            (Some(announced), _) if announced > LIMIT => {
                Err(DownloadError::TooLong { url: self.url(), limit: Bytes(LIMIT) })
            }
            _ => Ok(()),
        }
    }

    async fn receive(
        &self,
        mut response: Response,
        total: Option<u64>,
        partial: &mut Partial,
    ) -> Result<(), DownloadError> {
        let total = self.size.or(total);
        let limit = total.unwrap_or(LIMIT);
        let task = self.progress.task("download", total);
        task.skip(partial.length());
        while let Some(chunk) = response.chunk().await.map_err(|error| self.transfer(error))? {
            if partial.length() + chunk.len() as u64 > limit {
                return Err(DownloadError::TooLong { url: self.url(), limit: Bytes(limit) });
            }
            let before = partial.length();
            partial.append(&chunk).map_err(DownloadError::Write)?;
            task.advance(chunk.len() as u64);
            // A page shows at once, what an archive holds a little later.
            let passed = |mark: usize| before < mark as u64 && partial.length() >= mark as u64;
            if passed(Format::DETECT) || passed(Format::PEEK) {
                self.look(partial)?;
            }
        }
        if partial.length() < Format::PEEK as u64 {
            self.look(partial)?;
        }
        self.end(task, total, partial.length())
    }

    fn end(&self, task: Task, total: Option<u64>, length: u64) -> Result<(), DownloadError> {
        match total {
            Some(total) if length < total => Err(DownloadError::Short { url: self.url(), length, total }),
            _ => {
                task.finish();
                Ok(())
            }
        }
    }

    /// Whether it begins as an image does. A page, such as a network's that wants one to sign in, does not.
    fn look(&self, partial: &Partial) -> Result<(), DownloadError> {
        let Err(error) = Format::of(partial.file()) else { return Ok(()) };
        Err(if matches!(error, DecodeError::UnknownFormat | DecodeError::Read(_)) {
            let mut first = [0; 512];
            let read = std::os::unix::fs::FileExt::read_at(partial.file(), &mut first, 0).unwrap_or(0);
            let text = first.get(..read).unwrap_or_default().trim_ascii_start();
            DownloadError::NoImage { url: self.url(), page: text.starts_with(b"<") }
        } else {
            DownloadError::Unsupported { url: self.url(), source: error }
        })
    }

    fn transfer(&self, error: reqwest::Error) -> DownloadError {
        let url = self.url();
        match redirect::found_in(&error) {
            Some(source) => DownloadError::Redirect { url, source },
            None => DownloadError::Transfer { url, source: error.without_url() },
        }
    }
}

/// How often a broken connection is taken up again.
#[derive(Debug)]
struct Patience<'a> {
    pauses: &'a [Duration],
    /// Attempts since the last that brought something.
    in_vain: usize,
    /// Bytes there were then.
    from: u64,
}

impl Patience<'_> {
    /// How long to wait before the next attempt, now that there are so many bytes; `None` to give up.
    fn pause(&mut self, length: u64) -> Option<Duration> {
        if length >= self.from + STEP {
            (self.in_vain, self.from) = (0, length);
        }
        let pause = self.pauses.get(self.in_vain).copied();
        self.in_vain += 1;
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_lasts_as_long_as_something_comes() {
        let pauses = [1, 2].map(Duration::from_secs);
        let mut patience = Patience { pauses: &pauses, in_vain: 0, from: 0 };
        for step in 1..=1000 {
            assert_eq!(patience.pause(step * STEP), Some(pauses[0]));
        }
        assert_eq!(patience.pause(1000 * STEP + 1), Some(pauses[1]));
        // One that begins anew each time, or gives a byte at a time, brings nothing.
        assert_eq!(patience.pause(999 * STEP), None);
        assert_eq!(patience.pause(1000 * STEP + 2), None);
    }
}
