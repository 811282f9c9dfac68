//! What is wrong with a cluster file, where, and what to write instead.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::excerpt::{self, HIDDEN};

/// A stretch of the file. Lines and columns count from 1, columns in characters; the end is the first place after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Line it begins in.
    pub(super) line: usize,
    /// Column it begins at.
    pub(super) column: usize,
    /// Line it ends in.
    pub(super) end_line: usize,
    /// Column after its last character.
    pub(super) end_column: usize,
}

impl Place {
    /// One character.
    pub(super) const fn point(line: usize, column: usize) -> Self {
        Self { line, column, end_line: line, end_column: column + 1 }
    }

    /// The columns, from 0, that it takes in a line of `length` characters; the second is after the last.
    pub(super) fn columns_in(self, line: usize, length: usize) -> Option<(usize, usize)> {
        if line < self.line || line > self.end_line {
            return None;
        }
        let first = if line == self.line { self.column.saturating_sub(1) } else { 0 };
        let end = if line == self.end_line { self.end_column.saturating_sub(1) } else { length };
        (first < end).then_some((first, end))
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1, in characters.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub advice: String,
    /// The line as it is shown, secrets hidden.
    #[serde(rename = "text")]
    pub(super) shown: String,
    /// The columns of `shown`, from 0, that the caret marks; the second is after the last.
    #[serde(skip)]
    pub(super) marked: (usize, usize),
}

/// Most problems that are kept and printed of one file. Whoever has more reads the first ones, and a file of a million
/// mistakes must not become a page for each.
const LIMIT: usize = 50;
/// Longest message or advice, in characters. A value can have millions.
const LONGEST: usize = 500;

/// Everything that is wrong with a cluster file, in the file's order. Holds no secret of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    file: String,
    list: Vec<Problem>,
    left_out: usize,
}

impl Problems {
    /// Problems that were found after the file was read, in the file's order. `file` is what they call the file.
    pub fn new(file: &str, mut list: Vec<Problem>) -> Self {
        list.sort_by_key(|problem| (problem.line, problem.column));
        let left_out = list.len().saturating_sub(LIMIT);
        list.truncate(LIMIT);
        Self { file: escape(file), list, left_out }
    }

    /// The first problems, at most 50, in the file's order.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.list.iter()
    }

    /// How many problems the file has, including those that are not kept.
    pub const fn total(&self) -> usize {
        self.list.len() + self.left_out
    }
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.total() == 1 { "" } else { "s" };
        write!(f, "{} problem{plural} in {}", self.total(), self.file)?;
        for problem in &self.list {
            write!(f, "\n\n{}:{}:{}: {}", self.file, problem.line, problem.column, problem.message)?;
            let (first, end) = problem.marked;
            // A tab before the mark stays one, so that the mark stands under what it means.
            let before: String =
                problem.shown.chars().take(first).map(|c| if c == '\t' { c } else { ' ' }).collect();
            write!(f, "\n  | {}\n  | {before}{}", problem.shown, "^".repeat(end - first))?;
            write!(f, "\n  = {}", problem.advice)?;
        }
        if self.left_out > 0 {
            write!(f, "\n\nand {} more", self.left_out)?;
        }
        Ok(())
    }
}

/// Gathers problems while the file is read, and which parts of the file may be shown with them. Nothing of the file is
/// shown unless the reader recognised it as public, so a mistake in the file cannot turn a secret into something that is
/// shown. It holds the whole text, so it cannot be printed.
pub(super) struct Collector<'t> {
    lines: Vec<&'t str>,
    found: BTreeSet<(Place, String, String)>,
    left_out: usize,
    public: Vec<Place>,
    secret: Vec<Place>,
    /// Where keys and values stand, so that their own brackets and commas are told from YAML's.
    texts: Vec<Place>,
    /// Secret values as they are read, without YAML's quotes and escapes.
    secret_texts: Vec<String>,
    is_read: bool,
}

impl<'t> Collector<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self {
            lines: lines(text),
            found: BTreeSet::new(),
            left_out: 0,
            public: Vec::new(),
            secret: Vec::new(),
            texts: Vec::new(),
            secret_texts: Vec::new(),
            is_read: true,
        }
    }

    /// Adds a problem.
    pub(super) fn add(&mut self, place: Place, message: impl Into<String>, advice: impl Into<String>) {
        self.add_with(place, || (message.into(), advice.into()));
    }

    /// Adds a problem whose message and advice are only made if it is kept.
    pub(super) fn add_with(&mut self, place: Place, words: impl FnOnce() -> (String, String)) {
        let is_full = self.found.len() >= LIMIT;
        if is_full && self.found.last().is_some_and(|(last, ..)| place > *last) {
            self.left_out += 1;
            return;
        }
        let (message, advice) = words();
        if self.found.insert((place, message, advice)) && is_full {
            self.found.pop_last();
            self.left_out += 1;
        }
    }

    /// Allows a part of the file to be shown.
    pub(super) fn show(&mut self, place: Place) {
        self.public.push(place);
    }

    /// Hides a part of the file, whatever else allows it to be shown.
    pub(super) fn hide(&mut self, place: Place) {
        self.secret.push(place);
    }

    /// Notes where a key or value stands.
    pub(super) fn note_text(&mut self, place: Place) {
        self.texts.push(place);
    }

    /// Hides a text in messages.
    pub(super) fn hide_text(&mut self, text: &str) {
        // Shorter ones stand in any message by chance.
        if text.len() >= 4 {
            self.secret_texts.push(text.to_owned());
        }
    }

    /// Notes that the file is not read any further: nothing is known about what its words mean.
    pub(super) const fn stop_reading(&mut self) {
        self.is_read = false;
    }

    /// The lines of some places as messages show them, and the columns of each that the caret marks.
    pub(super) fn shown(&self, places: &[Place]) -> Vec<(String, (usize, usize))> {
        let wanted: BTreeSet<usize> = places.iter().map(|place| place.line).collect();
        let public = by_line(&self.public, &wanted);
        let secret = by_line(&self.secret, &wanted);
        let texts = by_line(&self.texts, &wanted);
        let show = |place: &Place| {
            let source = self.line(place.line);
            if !self.is_read {
                return excerpt::show_key_only(source, *place);
            }
            let parts = excerpt::Parts {
                public: of(&public, place.line),
                secret: of(&secret, place.line),
                texts: of(&texts, place.line),
            };
            excerpt::show(source, *place, &parts)
        };
        places.iter().map(show).collect()
    }

    /// Whether nothing is wrong so far.
    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// What stands in the file after a place, up to the end of its last line.
    pub(super) fn rest_of_line(&self, place: Place) -> &'t str {
        let line = self.line(place.end_line);
        line.char_indices().nth(place.end_column - 1).and_then(|(at, _)| line.get(at..)).unwrap_or_default()
    }

    /// A line of the file, counted from 1; empty if there is none.
    pub(super) fn line(&self, number: usize) -> &'t str {
        number.checked_sub(1).and_then(|index| self.lines.get(index)).copied().unwrap_or_default()
    }

    /// The problems in the file's order.
    pub(super) fn finish(self, file: &str) -> Problems {
        let clean = |text: &str| {
            let hidden = |text: String, secret: &String| text.replace(secret.as_str(), HIDDEN);
            shorten(&escape(&self.secret_texts.iter().fold(text.to_owned(), hidden)))
        };
        let places: Vec<Place> = self.found.iter().map(|(place, ..)| *place).collect();
        let list =
            self.found.iter().zip(self.shown(&places)).map(|((place, message, advice), (shown, marked))| {
                Problem {
                    line: place.line,
                    column: place.column,
                    message: clean(message),
                    advice: clean(advice),
                    shown,
                    marked,
                }
            });
        Problems { file: escape(file), list: list.collect(), left_out: self.left_out }
    }
}

/// The places that take a part of some lines, by line.
fn by_line(places: &[Place], wanted: &BTreeSet<usize>) -> BTreeMap<usize, Vec<Place>> {
    let mut found: BTreeMap<usize, Vec<Place>> = BTreeMap::new();
    for place in places {
        for line in wanted.range(place.line..=place.end_line.max(place.line)) {
            found.entry(*line).or_default().push(*place);
        }
    }
    found
}

/// The places of a line.
fn of(places: &BTreeMap<usize, Vec<Place>>, line: usize) -> &[Place] {
    places.get(&line).map(Vec::as_slice).unwrap_or_default()
}

/// Splits a text where the parser counts lines: at CR LF, LF and CR (YAML 1.2.2 §5.4).
pub(super) fn lines(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = Vec::new();
    for line in text.split('\n') {
        lines.extend(line.strip_suffix('\r').unwrap_or(line).split('\r'));
    }
    lines
}

/// A text with the characters escaped that a terminal would act on rather than show.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if excerpt::is_unseen(c) {
            escaped.extend(c.escape_unicode());
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// A text of at most [`LONGEST`] characters: the middle of a longer one is left out.
fn shorten(text: &str) -> String {
    const TAIL: usize = 150;
    let length = text.chars().count();
    if length <= LONGEST {
        return text.to_owned();
    }
    let head: String = text.chars().take(LONGEST - TAIL).collect();
    let tail: String = text.chars().skip(length - TAIL).collect();
    format!("{head} … {tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(line: usize, column: usize, end_line: usize, end_column: usize) -> Place {
        Place { line, column, end_line, end_column }
    }

    /// What is shown of a file of which some lines are public, and some places secret.
    fn rendered(text: &str, place: Place, secrets: &[Place]) -> String {
        let mut collector = Collector::new(text);
        for (number, line) in (1..).zip(lines(text)) {
            collector.show(span(number, 1, number, line.chars().count() + 1));
        }
        secrets.iter().for_each(|secret| collector.hide(*secret));
        collector.add(place, "is wrong", "write it right");
        collector.finish("cluster.yaml").to_string()
    }

    #[test]
    fn marks_the_place_under_its_line() {
        insta::assert_snapshot!(rendered("a: 1\n\tcolour: blue\n", span(2, 2, 2, 8), &[]), @r"
        1 problem in cluster.yaml

        cluster.yaml:2:2: is wrong
          | 	colour: blue
          | 	^^^^^^
          = write it right
        ");
    }

    #[test]
    fn hides_secrets_and_keeps_the_mark_in_place() {
        let text = "wifi: {psk: correct-horse, country: de}\n";
        let secret = span(1, 13, 1, 26);
        insta::assert_snapshot!(rendered(text, span(1, 37, 1, 39), &[secret]), @r"
        1 problem in cluster.yaml

        cluster.yaml:1:37: is wrong
          | wifi: {psk: (hidden), country: de}
          |                                ^^
          = write it right
        ");
        insta::assert_snapshot!(rendered(text, secret, &[secret]), @r"
        1 problem in cluster.yaml

        cluster.yaml:1:13: is wrong
          | wifi: {psk: (hidden), country: de}
          |             ^^^^^^^^
          = write it right
        ");
    }

    #[test]
    fn hides_every_line_of_a_secret() {
        let text = "psk: >-\n  correct-horse\n";
        let shown = rendered(text, span(2, 3, 2, 10), &[span(1, 6, 3, 1)]);
        assert!(shown.contains("(hidden)") && !shown.contains("horse"), "{shown}");
    }

    #[test]
    fn shows_nothing_that_is_not_public() {
        let mut collector = Collector::new("wifi: {psk: &a hunter2, ssid: Lab} # hunter2\n");
        collector.show(span(1, 1, 1, 5));
        collector.show(span(1, 8, 1, 11));
        collector.show(span(1, 25, 1, 29));
        collector.add(Place::point(1, 25), "`hunter2` is wrong", "remove hunter2");
        collector.hide_text("hunter2");
        insta::assert_snapshot!(collector.finish("cluster.yaml"), @r"
        1 problem in cluster.yaml

        cluster.yaml:1:25: `(hidden)` is wrong
          | wifi: {psk: (hidden), ssid: (hidden)
          |                       ^
          = remove (hidden)
        ");
    }

    #[test]
    fn shows_only_the_key_of_a_line_that_was_not_read() {
        let text = "  psk: \"hunter2: name\n  - image= hunter2\nhunter2: x\nimages: x\n  name\n";
        let shown: Vec<String> = (1..=5)
            .map(|line| {
                let mut collector = Collector::new(text);
                collector.stop_reading();
                collector.add(Place::point(line, 9), "x", "y");
                collector.finish("f").list[0].shown.clone()
            })
            .collect();
        assert_eq!(shown, ["  psk: (hidden)", "  - image(hidden)", "(hidden)", "(hidden)", "  name"]);
    }

    #[test]
    fn cuts_long_lines_around_the_mark() {
        for (before, after) in [("a", "b"), ("ä", "b")] {
            let text = format!("- {}X{}", before.repeat(30_000), after.repeat(30_000));
            let shown = rendered(&text, Place::point(1, 30_003), &[]);
            let lines: Vec<&str> = shown.lines().collect();
            let at = lines[4].chars().position(|c| c == '^').unwrap();
            assert_eq!(lines[3].chars().nth(at), Some('X'));
            assert!(lines.iter().all(|line| line.chars().count() < 120));
        }
    }

    #[test]
    fn a_place_after_the_last_line_is_shown_too() {
        insta::assert_snapshot!(rendered("a: 1\n", Place::point(9, 1), &[]), @r"
        1 problem in cluster.yaml

        cluster.yaml:9:1: is wrong
          | 
          | ^
          = write it right
        ");
    }

    #[test]
    fn escapes_what_a_terminal_would_act_on() {
        let text = "\u{202e}a\u{1b}[31m: X\n";
        let mut collector = Collector::new(text);
        collector.show(span(1, 1, 1, 11));
        collector.add(Place::point(1, 10), format!("`{text}`"), "\u{2066}");
        let shown = collector.finish("\u{7}.yaml").to_string();
        let codes: Vec<char> = shown.chars().filter(|c| excerpt::is_unseen(*c) && *c != '\n').collect();
        assert!(codes.is_empty(), "{shown:?}");
        assert!(shown.contains("| \\u{202e}a\\u{1b}[31m: X\n"), "{shown}");
        assert_eq!(shown.lines().nth(4).unwrap().find('^'), shown.lines().nth(3).unwrap().find('X'));
    }

    #[test]
    fn keeps_the_first_fifty_and_counts_the_rest() {
        let text = "a\n".repeat(1000);
        let mut collector = Collector::new(&text);
        let mut made = 0;
        for line in (500..1000).chain(1..500) {
            collector.add_with(Place::point(line, 1), || {
                made += 1;
                (format!("problem {line}"), String::new())
            });
        }
        // The same once more is not another one.
        collector.add(Place::point(7, 1), "problem 7", "");
        let problems = collector.finish("cluster.yaml");
        assert_eq!(
            problems.iter().map(|problem| problem.line).collect::<Vec<_>>(),
            (1..=50).collect::<Vec<_>>()
        );
        assert_eq!((problems.total(), made), (999, 100));
        assert!(problems.to_string().ends_with("\n\nand 949 more"), "{problems}");
        assert!(problems.to_string().starts_with("999 problems in cluster.yaml\n"));
    }

    #[test]
    fn messages_have_a_bound() {
        let mut collector = Collector::new("a\n");
        collector.add(Place::point(1, 1), format!("`{}` is wrong", "x".repeat(1 << 20)), "y".repeat(1 << 20));
        let shown = collector.finish("f").to_string();
        assert!(shown.len() < 1200 && shown.contains("` is wrong"), "{}", shown.len());
    }

    #[test]
    fn counts_lines_as_the_parser_does() {
        assert_eq!(lines("a\r\nb\rc\n\nd"), ["a", "b", "c", "", "d"]);
    }
}
