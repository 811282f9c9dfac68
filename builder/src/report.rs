//! Progress for people: a bar on a terminal, plain lines elsewhere, nothing when quiet. All of it goes to standard
//! error, so that standard output stays data.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use cluster::text::printable_lines;
use indicatif::{ProgressBar, ProgressStyle};

/// How to show that work goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    style: Style,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Silent,
    Lines,
    Bars,
}

impl Progress {
    /// Chooses from the command line and from where standard error leads. A program that asked for JSON gets lines.
    pub fn new(quiet: bool, json: bool) -> Self {
        let style = match (quiet, !json && std::io::stderr().is_terminal()) {
            (true, _) => Style::Silent,
            (false, true) => Style::Bars,
            (false, false) => Style::Lines,
        };
        Self { style }
    }

    /// Whether nobody wants to hear of it.
    pub fn is_silent(&self) -> bool {
        self.style == Style::Silent
    }

    /// Starts a piece of work of so many bytes; `None` where nobody knows.
    pub fn task(&self, label: &str, total: Option<u64>) -> Task {
        match self.style {
            Style::Silent => Task(Shown::Silent),
            Style::Lines => Task(Shown::Lines(Lines::new(label, total))),
            Style::Bars => Task(Shown::Bar(bar(label, total))),
        }
    }

    /// Says one line.
    pub fn say(&self, line: &str) {
        if self.style != Style::Silent {
            print_line(line);
        }
    }
}

/// One piece of work. May be advanced from any thread; the bar disappears when it is dropped.
#[derive(Debug)]
pub struct Task(Shown);

#[derive(Debug)]
enum Shown {
    Silent,
    Lines(Lines),
    Bar(ProgressBar),
}

impl Task {
    /// Counts `bytes` more as done.
    pub fn advance(&self, bytes: u64) {
        match &self.0 {
            Shown::Silent => {}
            Shown::Lines(lines) => {
                if let Some(line) = lines.advance(bytes) {
                    print_line(&line);
                }
            }
            Shown::Bar(bar) => bar.inc(bytes),
        }
    }

    /// Counts `bytes` as done before: they say nothing about how fast it goes.
    pub fn skip(&self, bytes: u64) {
        match &self.0 {
            Shown::Bar(bar) => {
                bar.set_position(bytes);
                bar.reset_eta();
            }
            Shown::Silent | Shown::Lines(_) => self.advance(bytes),
        }
    }

    /// Ends the work.
    pub fn finish(self) {
        if let Shown::Lines(lines) = &self.0 {
            print_line(&format!("{}: done", lines.label));
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if let Shown::Bar(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// Lines about every tenth of the work, or every 64 MiB where the whole is not known.
#[derive(Debug)]
struct Lines {
    label: String,
    total: Option<u64>,
    done: AtomicU64,
}

impl Lines {
    fn new(label: &str, total: Option<u64>) -> Self {
        Self { label: label.to_owned(), total: total.filter(|total| *total > 0), done: AtomicU64::new(0) }
    }

    /// Counts, and gives a line when another step is full.
    fn advance(&self, bytes: u64) -> Option<String> {
        const UNKNOWN_STEP: u64 = 64 << 20;
        let before = self.done.fetch_add(bytes, Ordering::Relaxed);
        let after = before + bytes;
        let Some(total) = self.total else {
            let full = after / UNKNOWN_STEP > before / UNKNOWN_STEP;
            return full.then(|| format!("{}: {}", self.label, Bytes(after)));
        };
        let tenth = |done: u64| done.min(total).saturating_mul(10) / total;
        (tenth(after) > tenth(before))
            .then(|| format!("{}: {} % of {}", self.label, tenth(after) * 10, Bytes(total)))
    }
}

fn bar(label: &str, total: Option<u64>) -> ProgressBar {
    let template = match total {
        Some(_) => "{msg:10} {wide_bar} {bytes}/{total_bytes} {eta}",
        None => "{msg:10} {spinner} {bytes} {bytes_per_sec}",
    };
    let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    // The templates are constants; a test draws them.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(label.to_owned());
    bar
}

/// Says one line, also when quiet: for waits that would look like a program that hangs.
pub(crate) fn notice(line: &str) {
    print_line(line);
}

/// Clears the line of a bar that nobody will finish. Does nothing where there are no bars.
pub(crate) fn clear_bar() {
    let mut stderr = std::io::stderr().lock();
    if stderr.is_terminal() {
        // Nowhere is left to say that standard error is closed.
        let _unwritten = stderr.write_all(b"\r\x1b[2K");
    }
}

fn print_line(line: &str) {
    // Nowhere is left to say that standard error is closed.
    let _unwritten = writeln!(std::io::stderr().lock(), "{}", printable_lines(line));
}

/// A number of bytes as people read it, in powers of 1024.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl std::fmt::Display for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        match UNITS.iter().find(|(size, _)| self.0 >= *size) {
            Some((size, unit)) => {
                let tenths = self.0 / (size / 10).max(1);
                write!(f, "{}.{} {unit}", tenths / 10, tenths % 10)
            }
            None => write!(f, "{} bytes", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_a_line_about_every_tenth() {
        let lines = Lines::new("decode", Some(1000));
        let said: Vec<_> = (0..1000).filter_map(|_| lines.advance(1)).collect();
        assert_eq!(said.len(), 10);
        assert_eq!(said.first().unwrap(), "decode: 10 % of 1000 bytes");
        assert_eq!(said.last().unwrap(), "decode: 100 % of 1000 bytes");
    }

    #[test]
    fn says_how_much_where_the_whole_is_unknown() {
        let lines = Lines::new("download", None);
        assert_eq!(lines.advance(63 << 20), None);
        assert_eq!(lines.advance(1 << 20).unwrap(), "download: 64.0 MiB");
    }

    #[test]
    fn more_bytes_than_announced_do_no_harm() {
        let lines = Lines::new("copy", Some(10));
        assert!(lines.advance(100).is_some());
        assert_eq!(lines.advance(100), None);
        assert_eq!(Lines::new("copy", Some(0)).advance(5), None);
    }

    #[test]
    fn both_templates_are_accepted() {
        assert!(ProgressStyle::with_template("{msg:10} {wide_bar} {bytes}/{total_bytes} {eta}").is_ok());
        for total in [Some(10), None] {
            bar("decode", total).finish_and_clear();
        }
    }

    #[test]
    fn bytes_read_well() {
        assert_eq!(Bytes(511).to_string(), "511 bytes");
        assert_eq!(Bytes(1536).to_string(), "1.5 KiB");
        assert_eq!(Bytes(3100 << 20).to_string(), "3.0 GiB");
    }
}
