//! What machines say, as it is shown: at once with names in front, at the end with equal outputs folded, or as JSON.

use std::io::{self, Write};
use std::time::Duration;

use cluster::host::Host;
use cluster::range::fold;
use cluster::text::printable_lines;
use serde::Serialize;

use super::keep::Kept;
use super::summary;
use crate::ssh::batch::{End, Event, Stream};
use crate::ssh::trouble::Kind;

/// How to show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    Live,
    Group,
    Json,
}

/// Where it goes: what machines write to standard output and error goes to ours.
#[derive(Debug)]
pub(super) struct Show<O, T> {
    manner: Manner,
    names: Vec<String>,
    kept: Vec<Kept>,
    ended: Vec<Option<End>>,
    /// Whether output and talk are terminals, which must not be written to at will.
    terminals: (bool, bool),
    out: O,
    talk: T,
}

/// One machine, for programs.
#[derive(Serialize)]
struct Line<'a> {
    host: &'a str,
    /// The command's exit code; null if it did not end by itself.
    exit: Option<i32>,
    /// Why it has none.
    trouble: Option<String>,
    timed_out: bool,
    stdout: &'a str,
    stderr: &'a str,
    /// Whether there was more than is kept.
    cut: bool,
    seconds: f64,
}

impl<O: Write, T: Write> Show<O, T> {
    pub(super) fn new(manner: Manner, hosts: &[Host], terminals: (bool, bool), out: O, talk: T) -> Self {
        let names: Vec<_> = hosts.iter().map(ToString::to_string).collect();
        let kept = vec![Kept::default(); names.len()];
        let ended = vec![None; names.len()];
        Self { manner, names, kept, ended, terminals, out, talk }
    }

    /// Shows or keeps what happened. `tell`: a machine that failed is told of at once.
    pub(super) fn take(&mut self, event: Event, tell: bool) -> io::Result<()> {
        match event {
            Event::Said { index, stream, bytes } if self.manner == Manner::Live => {
                self.lines(index, stream, &bytes)
            }
            Event::Said { index, stream, bytes } => {
                if let Some(kept) = self.kept.get_mut(index) {
                    kept.add(stream, &bytes);
                }
                Ok(())
            }
            Event::Ended { index, end, took, .. } => {
                // Of a machine that was not reached there is nothing more to say than what the summary does.
                let is_heard = !matches!(&end, End::Trouble(trouble) if trouble.kind != Kind::Lost);
                if tell && self.manner == Manner::Live && end != End::Exit(0) && is_heard {
                    let line = summary::reason(&end);
                    self.lines(index, Stream::Err, line.as_bytes())?;
                }
                if self.manner == Manner::Json {
                    self.json(index, &end, took)?;
                }
                if let Some(place) = self.ended.get_mut(index) {
                    *place = Some(end);
                }
                Ok(())
            }
        }
    }

    /// Lines with the machine's name in front, as one piece, so that others' do not get in between.
    fn lines(&mut self, index: usize, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        let Some(name) = self.names.get(index) else { return Ok(()) };
        let mut text = Vec::with_capacity(bytes.len() + 64);
        for line in bytes.strip_suffix(b"\n").unwrap_or(bytes).split(|byte| *byte == b'\n') {
            text.extend_from_slice(name.as_bytes());
            text.extend_from_slice(b": ");
            text.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
            text.push(b'\n');
        }
        self.write(stream, &text)
    }

    fn write(&mut self, stream: Stream, text: &[u8]) -> io::Result<()> {
        let (to, terminal): (&mut dyn Write, bool) = match stream {
            Stream::Out => (&mut self.out, self.terminals.0),
            Stream::Err => (&mut self.talk, self.terminals.1),
        };
        match terminal {
            true => to.write_all(printable_lines(&String::from_utf8_lossy(text)).as_bytes())?,
            false => to.write_all(text)?,
        }
        to.flush()
    }

    fn json(&mut self, index: usize, end: &End, took: Duration) -> io::Result<()> {
        let Some((host, kept)) = self.names.get(index).zip(self.kept.get_mut(index)) else { return Ok(()) };
        // Shown, it need not be kept any more.
        let kept = std::mem::take(kept);
        let exit = if let End::Exit(code) = end { Some(*code) } else { None };
        let line = Line {
            host,
            exit,
            trouble: exit.is_none().then(|| summary::reason(end)),
            timed_out: matches!(end, End::TimedOut { .. }),
            stdout: &String::from_utf8_lossy(&kept.out),
            stderr: &String::from_utf8_lossy(&kept.err),
            cut: kept.cut,
            seconds: (took.as_secs_f64() * 1000.0).round() / 1000.0,
        };
        let text = crate::json::line(&line)? + "\n";
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    /// Shows what was kept.
    pub(super) fn finish(mut self) -> io::Result<()> {
        if self.manner != Manner::Group {
            return Ok(());
        }
        for (names, kept, end) in self.groups() {
            let end = match end {
                End::Exit(0) => String::new(),
                end => format!(", {}", summary::reason(&end)),
            };
            let head = format!("{} ({}){end}", fold(&names), names.len());
            if kept.out.is_empty() {
                let nothing = if kept.is_empty() { "no output" } else { "nothing on standard output" };
                self.write(Stream::Out, format!("{head}: {nothing}\n").as_bytes())?;
            } else {
                self.write(Stream::Out, &block(&head, &kept.out, kept.cut))?;
            }
            if !kept.err.is_empty() {
                let head = format!("{} ({}), standard error", fold(&names), names.len());
                self.write(Stream::Err, &block(&head, &kept.err, kept.cut))?;
            }
        }
        Ok(())
    }

    /// Machines that said the same and ended the same way; those that never said anything for trouble are left to the
    /// summary.
    fn groups(&mut self) -> Vec<(Vec<String>, Kept, End)> {
        let mut groups: Vec<(Vec<String>, Kept, End)> = Vec::new();
        let kept = std::mem::take(&mut self.kept);
        let ended = std::mem::take(&mut self.ended);
        for ((name, kept), end) in self.names.iter().zip(kept).zip(ended) {
            let end = end.unwrap_or(End::Interrupted);
            if kept.is_empty() && !matches!(end, End::Exit(_)) {
                continue;
            }
            match groups.iter_mut().find(|group| group.2 == end && group.1 == kept) {
                Some(group) => group.0.push(name.clone()),
                None => groups.push((vec![name.clone()], kept, end)),
            }
        }
        groups
    }
}

fn block(head: &str, said: &[u8], cut: bool) -> Vec<u8> {
    let mut text = format!("{head}:\n").into_bytes();
    text.extend_from_slice(said);
    if !said.ends_with(b"\n") {
        text.push(b'\n');
    }
    if cut {
        text.extend_from_slice(b"(there was more)\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ssh::trouble::Trouble;

    type Said = (usize, Stream, &'static str);

    fn shown(manner: Manner, terminal: bool, said: &[Said], ends: &[End]) -> (String, String) {
        let hosts = ["red00", "red01", "red02", "red03"].map(|name| Host::try_from(name).unwrap());
        let (mut out, mut talk) = (Vec::new(), Vec::new());
        let mut show = Show::new(manner, &hosts, (terminal, terminal), &mut out, &mut talk);
        for (index, stream, text) in said {
            let bytes = text.as_bytes().to_vec();
            show.take(Event::Said { index: *index, stream: *stream, bytes }, true).unwrap();
        }
        for (index, end) in ends.iter().enumerate() {
            let took = Duration::from_millis(1500);
            show.take(Event::Ended { index, end: end.clone(), took, host_key: None }, true).unwrap();
        }
        show.finish().unwrap();
        (String::from_utf8(out).unwrap(), String::from_utf8(talk).unwrap())
    }

    fn down() -> End {
        let said = "ssh: connect to host".to_owned();
        End::Trouble(Trouble { kind: Kind::Refused, said, known_in: None, is_early: false })
    }

    #[test]
    fn live_lines_carry_their_hosts_name() {
        let said = [(0, Stream::Out, "a\r\nb\n"), (1, Stream::Err, "oh\n"), (0, Stream::Out, "no end")];
        let (out, talk) = shown(Manner::Live, false, &said, &[End::Exit(0), End::Exit(3), down()]);
        assert_eq!(out, "red00: a\nred00: b\nred00: no end\n");
        assert_eq!(talk, "red01: oh\nred01: exit code 3\n", "red02 is in the summary");
    }

    #[test]
    fn nothing_acts_on_a_terminal() {
        let said = [(0, Stream::Out, "a\tb\x1b[2Jc\rd\u{9b}\u{61c}\n")];
        assert_eq!(
            shown(Manner::Live, true, &said, &[]).0,
            "red00: a\tb\u{fffd}[2Jc\u{fffd}d\u{fffd}\u{fffd}\n"
        );
        assert_eq!(shown(Manner::Live, false, &said, &[]).0, "red00: a\tb\x1b[2Jc\rd\u{9b}\u{61c}\n");
    }

    #[test]
    fn equal_outputs_are_shown_once() {
        let said = [
            (0, Stream::Out, "Linux\n"),
            (1, Stream::Out, "Linux"),
            (2, Stream::Out, "Linux\n"),
            (1, Stream::Err, "oh\n"),
        ];
        let (out, talk) =
            shown(Manner::Group, false, &said, &[End::Exit(0), End::Exit(3), End::Exit(0), End::Exit(0)]);
        assert_eq!(out, "red[00,02] (2):\nLinux\nred01 (1), exit code 3:\nLinux\nred03 (1): no output\n");
        assert_eq!(talk, "red01 (1), standard error:\noh\n");
    }

    #[test]
    fn a_program_gets_a_line_of_json_per_host() {
        let said = [(0, Stream::Out, "a\x1b\u{9b}\u{202e}\n"), (0, Stream::Err, "b")];
        let (out, _) = shown(Manner::Json, true, &said, &[End::Exit(7), down()]);
        assert_eq!(
            out,
            "{\"host\":\"red00\",\"exit\":7,\"trouble\":null,\"timed_out\":false,\"stdout\":\"a\\u001b\\u009b\\u202e\\n\",\
             \"stderr\":\"b\",\"cut\":false,\"seconds\":1.5}\n\
             {\"host\":\"red01\",\"exit\":null,\"trouble\":\"it cannot be reached: connection refused\",\
             \"timed_out\":false,\"stdout\":\"\",\"stderr\":\"\",\"cut\":false,\"seconds\":1.5}\n"
        );
    }
}
