//! A machine's console as a log: each line after the seconds since the machine was first switched on, over all its
//! restarts. Escape sequences are taken out: the log is read by people and by programs.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::folder::new_file;

/// After so long without a byte an unfinished line is taken for whole: a prompt has no end.
const PROMPT_AFTER: Duration = Duration::from_millis(500);
/// Longest line.
const LINE_LIMIT: usize = 4096;

/// A log that several runs of a machine write to, one after the other.
#[derive(Debug, Clone)]
pub(super) struct Console(Arc<Mutex<Log>>);

#[derive(Debug)]
struct Log {
    file: File,
    since: Instant,
    follower: Option<Sender<String>>,
}

impl Console {
    /// Begins a new log. Its clock starts now. `follower` gets every line, too.
    pub(super) fn create(path: &Path, follower: Option<Sender<String>>) -> io::Result<Self> {
        let file = new_file(path)?;
        Ok(Self(Arc::new(Mutex::new(Log { file, since: Instant::now(), follower }))))
    }

    /// Writes a remark of ours.
    pub(super) fn remark(&self, text: &str) {
        self.lock().write(Instant::now(), &format!("[builder] {text}"));
    }

    /// Logs what comes, until the other end closes.
    pub(super) fn record(&self, stream: UnixStream) -> JoinHandle<()> {
        let console = self.clone();
        std::thread::spawn(move || console.read(stream))
    }

    fn read(&self, mut stream: UnixStream) {
        // Without it, prompts come late and nothing else.
        let _unset = stream.set_read_timeout(Some(PROMPT_AFTER));
        let mut line = Line::default();
        let mut buffer = [0; 4096];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => {
                    let now = Instant::now();
                    for byte in buffer.get(..length).unwrap_or_default() {
                        if let Some((began, text)) = line.push(*byte, now) {
                            self.lock().write(began, &text);
                        }
                    }
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    self.finish(&mut line);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        self.finish(&mut line);
    }

    fn finish(&self, line: &mut Line) {
        if let Some((began, text)) = line.finish() {
            self.lock().write(began, &text);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    fn write(&mut self, at: Instant, text: &str) {
        let seconds = at.saturating_duration_since(self.since).as_secs_f64();
        let line = format!("{seconds:.3} {text}\n");
        // A full disk must not stop the machine, whose console this is.
        let _lost = self.file.write_all(line.as_bytes());
        if self.follower.as_ref().is_some_and(|follower| follower.send(line).is_err()) {
            self.follower = None;
        }
    }
}

/// A line in the making.
#[derive(Debug, Default)]
struct Line {
    bytes: Vec<u8>,
    began: Option<Instant>,
    escape: Escape,
}

/// Where in an escape sequence (ECMA-48) the next byte is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Escape {
    #[default]
    Outside,
    Introduced,
    Control,
}

impl Line {
    /// Adds a byte, and gives the line it ends and when that began.
    fn push(&mut self, byte: u8, now: Instant) -> Option<(Instant, String)> {
        match (self.escape, byte) {
            (_, 0x1b) => self.escape = Escape::Introduced,
            (Escape::Introduced, b'[') => self.escape = Escape::Control,
            (Escape::Introduced, _) | (Escape::Control, 0x40..=0x7e) => self.escape = Escape::Outside,
            (Escape::Control, _) => {}
            (Escape::Outside, b'\n') => return self.end(now),
            (Escape::Outside, b'\r') => {}
            (Escape::Outside, byte) => {
                self.began.get_or_insert(now);
                self.bytes.push(byte);
                if self.bytes.len() >= LINE_LIMIT {
                    return self.end(now);
                }
            }
        }
        None
    }

    fn end(&mut self, now: Instant) -> Option<(Instant, String)> {
        let text = cluster::text::printable(&String::from_utf8_lossy(&self.bytes));
        self.bytes.clear();
        Some((self.began.take().unwrap_or(now), text))
    }

    /// What there is, unless there is nothing.
    fn finish(&mut self) -> Option<(Instant, String)> {
        let began = self.began?;
        self.end(began)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn every_line_has_its_time_and_no_escapes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("red00.log");
        let (sender, lines) = channel();
        let console = Console::create(&path, Some(sender)).unwrap();
        for run in [&b"[\x1b[0;32m  OK  \x1b[0m] one\r\n\r\n"[..], b"\xfftwo\x07\nred00 login: "] {
            let (mut guest, ours) = UnixStream::pair().unwrap();
            let recorder = console.record(ours);
            guest.write_all(run).unwrap();
            drop(guest);
            recorder.join().unwrap();
        }
        console.remark("off");
        let log = std::fs::read_to_string(&path).unwrap();
        let followed: String = lines.try_iter().collect();
        assert_eq!(log, followed);
        let texts: Vec<_> = log.lines().map(|line| line.split_once(' ').unwrap()).collect();
        let times: Vec<f64> = texts.iter().map(|(time, _)| time.parse().unwrap()).collect();
        assert!(times.is_sorted() && times.iter().all(|time| *time < 60.0), "{log}");
        let texts: Vec<_> = texts.iter().map(|(_, text)| *text).collect();
        assert_eq!(texts, ["[  OK  ] one", "", "\u{fffd}two\u{fffd}", "red00 login: ", "[builder] off"]);
    }

    #[test]
    fn a_prompt_appears_although_its_line_does_not_end() {
        let folder = tempfile::tempdir().unwrap();
        let (sender, lines) = channel();
        let console = Console::create(&folder.path().join("log"), Some(sender)).unwrap();
        let (mut guest, ours) = UnixStream::pair().unwrap();
        let _recorder = console.record(ours);
        guest.write_all(b"login: ").unwrap();
        let line = lines.recv_timeout(Duration::from_secs(10)).unwrap();
        assert!(line.ends_with(" login: \n"), "{line}");
    }
}
