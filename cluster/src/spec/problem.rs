//! What is wrong with a cluster file, where, and what to write instead.

use std::fmt;

use serde::Serialize;

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
    fn columns_in(self, line: usize, length: usize) -> Option<(usize, usize)> {
        if line < self.line || line > self.end_line {
            return None;
        }
        let first = if line == self.line { self.column - 1 } else { 0 };
        let end = if line == self.end_line { self.end_column - 1 } else { length };
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

/// Everything that is wrong with a cluster file, in the file's order. Holds no secret of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    file: String,
    list: Vec<Problem>,
}

impl Problems {
    /// Problems that were found after the file was read, in the file's order. `file` is what they call the file.
    pub fn new(file: &str, mut list: Vec<Problem>) -> Self {
        list.sort_by_key(|problem| (problem.line, problem.column));
        Self { file: file.to_owned(), list }
    }

    /// The problems, in the file's order.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.list.iter()
    }
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.list.len() == 1 { "" } else { "s" };
        write!(f, "{} problem{plural} in {}", self.list.len(), self.file)?;
        for problem in &self.list {
            write!(f, "\n\n{}:{}:{}: {}", self.file, problem.line, problem.column, problem.message)?;
            let (first, end) = problem.marked;
            // A tab before the mark stays one, so that the mark stands under what it means.
            let before: String =
                problem.shown.chars().take(first).map(|c| if c == '\t' { c } else { ' ' }).collect();
            write!(f, "\n  | {}\n  | {before}{}", problem.shown, "^".repeat(end - first))?;
            write!(f, "\n  = {}", problem.advice)?;
        }
        Ok(())
    }
}

/// Gathers problems while the file is read. It holds the whole text, so it cannot be printed.
pub(super) struct Collector<'t> {
    text: &'t str,
    found: Vec<(Place, String, String)>,
    secrets: Vec<Place>,
}

impl<'t> Collector<'t> {
    pub(super) const fn new(text: &'t str) -> Self {
        Self { text, found: Vec::new(), secrets: Vec::new() }
    }

    /// Adds a problem.
    pub(super) fn add(&mut self, place: Place, message: impl Into<String>, advice: impl Into<String>) {
        self.found.push((place, message.into(), advice.into()));
    }

    /// Hides a stretch of the file in every line that is shown.
    pub(super) fn hide(&mut self, place: Place) {
        self.secrets.push(place);
    }

    /// The line of a place as messages show it, and the columns of it that the caret marks.
    pub(super) fn shown(&self, place: Place) -> (String, (usize, usize)) {
        let source = self.text.lines().nth(place.line - 1).unwrap_or_default();
        show(source, place, &self.secrets)
    }

    /// Whether nothing is wrong so far.
    pub(super) const fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The problems in the file's order.
    pub(super) fn finish(mut self, file: &str) -> Problems {
        self.found.sort();
        self.found.dedup();
        let lines: Vec<&str> = self.text.lines().collect();
        let secrets: Vec<&str> = self.secrets.iter().flat_map(|place| words_at(&lines, *place)).collect();
        let clean = |text: &str| {
            let text = secrets.iter().fold(text.to_owned(), |text, word| text.replace(word, HIDDEN));
            text.replace(|c: char| c.is_control(), "\u{fffd}")
        };
        let list = self
            .found
            .iter()
            .map(|(place, message, advice)| {
                let source = lines.get(place.line - 1).copied().unwrap_or_default();
                let (shown, marked) = show(source, *place, &self.secrets);
                Problem {
                    line: place.line,
                    column: place.column,
                    message: clean(message),
                    advice: clean(advice),
                    shown,
                    marked,
                }
            })
            .collect();
        Problems { file: file.to_owned(), list }
    }
}

/// Stands for a secret of any length.
const HIDDEN: &str = "(hidden)";
/// Characters of a line that are shown; keys can be longer than any terminal is wide.
const WIDTH: usize = 100;

/// What stands at a place, line by line and without quotes, to be found again in messages.
fn words_at<'t>(lines: &[&'t str], place: Place) -> Vec<&'t str> {
    let at = |number: usize| {
        let line = lines.get(number - 1)?;
        let (first, end) = place.columns_in(number, line.chars().count())?;
        let byte = |column: usize| line.char_indices().nth(column).map_or(line.len(), |(at, _)| at);
        let word = line.get(byte(first)..byte(end))?.trim_matches(['"', '\'', ' ']);
        // Shorter ones stand in any message by chance.
        (word.len() >= 4).then_some(word)
    };
    (place.line..=place.end_line).filter_map(at).collect()
}

/// The line with secrets hidden and control characters blanked, and the columns of it that `place` takes.
fn show(source: &str, place: Place, secrets: &[Place]) -> (String, (usize, usize)) {
    let length = source.chars().count();
    let mut hidden: Vec<(usize, usize)> =
        secrets.iter().filter_map(|secret| secret.columns_in(place.line, length)).collect();
    hidden.sort_unstable();
    let (first, end) = place.columns_in(place.line, length).unwrap_or((length, length));

    let mut shown = String::new();
    let mut width = 0;
    let mut marked = (None, 0);
    let mut until = 0;
    for (column, c) in source.chars().enumerate() {
        let secret = hidden.iter().find(|(from, to)| (*from..*to).contains(&column));
        let begins = column >= until;
        if secret.is_some() && !begins {
            if (first..end).contains(&column) {
                marked = (marked.0.or(Some(width - HIDDEN.len())), width);
            }
            continue;
        }
        let from = width;
        if let Some((_, to)) = secret {
            until = *to;
            shown.push_str(HIDDEN);
            width += HIDDEN.len();
        } else {
            shown.push(if c.is_control() && c != '\t' { '\u{fffd}' } else { c });
            width += 1;
        }
        if (first..end).contains(&column) {
            marked = (marked.0.or(Some(from)), width);
        }
    }
    let first = marked.0.unwrap_or(width);
    cut(&shown, (first, marked.1.max(first + 1)))
}

/// Shortens a line to [`WIDTH`] characters around the marked ones.
fn cut(shown: &str, (first, end): (usize, usize)) -> (String, (usize, usize)) {
    let length = shown.chars().count();
    let skip = if length > WIDTH && first > WIDTH - 20 { first - 20 } else { 0 };
    let mut text: String = shown.chars().skip(skip).take(WIDTH).collect();
    if length > skip + WIDTH {
        text.push('…');
    }
    let end = (end - skip).min(WIDTH);
    let first = first - skip;
    if skip == 0 {
        return (text, (first, end.max(first + 1)));
    }
    (format!("…{text}"), (first + 1, end.max(first + 1) + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(line: usize, column: usize, end_line: usize, end_column: usize) -> Place {
        Place { line, column, end_line, end_column }
    }

    fn rendered(text: &str, place: Place, secrets: &[Place]) -> String {
        let mut collector = Collector::new(text);
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
    fn cuts_long_lines_around_the_mark() {
        let text = format!("- {}X{}", "a".repeat(300), "b".repeat(300));
        let shown = rendered(&text, Place::point(1, 303), &[]);
        let lines: Vec<&str> = shown.lines().collect();
        let at = lines[4].chars().position(|c| c == '^').unwrap();
        assert_eq!(lines[3].chars().nth(at), Some('X'));
        assert!(lines.iter().all(|line| line.chars().count() < 120));
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
}
