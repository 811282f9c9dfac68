//! The line of the file that a problem is shown with.
//!
//! A part of it is shown only if it is public. Between public parts, brackets, commas, colons and blanks are shown, and
//! everything else becomes one word, whatever its length.

use super::problem::Place;
use super::secrets;

/// Stands for hidden text of any length.
pub(super) const HIDDEN: &str = "(hidden)";
/// Characters of a line that are shown; lines can be longer than any terminal is wide.
const WIDTH: usize = 100;
/// Characters before and after the mark that are looked at: more than can be shown.
const WINDOW: usize = 400;

/// A line being made: its text, and where each column of the source went.
#[derive(Default)]
struct Shown {
    text: String,
    width: usize,
    /// For each column of the source the columns of `text` that stand for it; the second is after the last.
    columns: Vec<(usize, usize)>,
}

impl Shown {
    /// Shows a character of the source.
    fn push(&mut self, c: char) {
        let from = self.width;
        if is_unseen(c) && c != '\t' {
            for c in c.escape_unicode() {
                self.text.push(c);
                self.width += 1;
            }
        } else {
            self.text.push(c);
            self.width += 1;
        }
        self.columns.push((from, self.width));
    }

    /// Shows that some columns of the source are hidden.
    fn hide(&mut self, columns: usize) {
        let from = self.width;
        self.text.push_str(HIDDEN);
        self.width += HIDDEN.len();
        self.columns.extend(std::iter::repeat_n((from, self.width), columns));
    }

    /// The text, and the columns of it that stand for some of the source's.
    fn marked(self, (first, end): (usize, usize)) -> (String, (usize, usize)) {
        let from = self.columns.get(first).map_or(self.width, |(from, _)| *from);
        let last = self.columns.get(first..end.min(self.columns.len())).and_then(<[_]>::last);
        let to = last.map_or(from + 1, |(_, to)| *to);
        cut(&self.text, (from, to.max(from + 1)))
    }
}

/// What is known of a line.
pub(super) struct Parts<'p> {
    /// What may be shown.
    pub(super) public: &'p [Place],
    /// What must not be shown, even if it is public.
    pub(super) secret: &'p [Place],
    /// Keys and values.
    pub(super) texts: &'p [Place],
}

/// Shows the public parts of a line, and the columns of it that `place` takes.
pub(super) fn show(source: &str, place: Place, parts: &Parts<'_>) -> (String, (usize, usize)) {
    let (window, skipped) = window(source, place);
    let length = skipped + window.len();
    let mark = place.columns_in(place.line, length).unwrap_or((length, length));
    let flags = |places: &[Place]| {
        let mut flags = vec![false; window.len()];
        for part in places {
            let Some((first, end)) = part.columns_in(place.line, length) else { continue };
            let (first, end) = (first.saturating_sub(skipped), end.saturating_sub(skipped).min(flags.len()));
            flags.get_mut(first..end).into_iter().flatten().for_each(|flag| *flag = true);
        }
        flags
    };
    let flags = flags(parts.public).into_iter().zip(flags(parts.secret)).zip(flags(parts.texts));
    let kinds: Vec<(char, Kind)> = window
        .iter()
        .zip(flags)
        .map(|(c, ((is_public, is_secret), is_text))| {
            let kind = if is_public && !is_secret {
                Kind::Shown
            } else if !is_secret && !is_text && " \t:,-?{}[]".contains(*c) {
                Kind::Structure
            } else {
                Kind::Hidden
            };
            (*c, kind)
        })
        .collect();

    let mut shown = Shown::default();
    for run in kinds.chunk_by(|(_, a), (_, b)| (*a == Kind::Shown) == (*b == Kind::Shown)) {
        let is_hidden = |(_, kind): &(char, Kind)| *kind == Kind::Hidden;
        let (first, last) = (run.iter().position(is_hidden), run.iter().rposition(is_hidden));
        let (Some(first), Some(last)) = (first, last) else {
            run.iter().for_each(|(c, _)| shown.push(*c));
            continue;
        };
        run.iter().take(first).for_each(|(c, _)| shown.push(*c));
        shown.hide(last + 1 - first);
        run.iter().skip(last + 1).for_each(|(c, _)| shown.push(*c));
    }
    shown.marked((mark.0 - skipped, mark.1.saturating_sub(skipped)))
}

/// Shows the line of a file that could not be read: nothing but the key it begins with, if that is one of ours.
pub(super) fn show_key_only(source: &str, place: Place) -> (String, (usize, usize)) {
    let (window, skipped) = window(source, place);
    let length = skipped + window.len();
    let mark = place.columns_in(place.line, length).unwrap_or((length, length));
    let mut shown = Shown::default();
    let mut rest = window.as_slice();
    if window.iter().all(|c| " \t-.{}[],".contains(*c)) {
        rest.iter().for_each(|c| shown.push(*c));
        rest = &[];
    } else if skipped == 0 {
        let before = window.iter().take_while(|c| " \t-?{[\"'".contains(**c)).count();
        let key: String =
            window.iter().skip(before).take_while(|c| c.is_ascii_alphanumeric() || **c == '_').collect();
        let after = window.get(before + key.len());
        let ends = after.is_none_or(|c| " \t:=\"'".contains(*c));
        let known = ends && secrets::is_known_key(&key);
        let blanks = window.iter().take_while(|c| c.is_whitespace()).count();
        let mut until = if known { before + key.len() } else { blanks };
        if known && after == Some(&':') {
            until += 1;
            until += window.iter().skip(until).take_while(|c| **c == ' ').count();
        }
        let (head, tail) = window.split_at_checked(until).unwrap_or_default();
        head.iter().for_each(|c| shown.push(*c));
        rest = tail;
    }
    let blank = rest.iter().take_while(|c| c.is_whitespace()).count();
    rest.iter().take(blank).for_each(|c| shown.push(*c));
    if rest.len() > blank {
        shown.hide(rest.len() - blank);
    }
    shown.marked((mark.0 - skipped, mark.1.saturating_sub(skipped)))
}

/// The characters of a line around a place, and how many were left out before them.
fn window(source: &str, place: Place) -> (Vec<char>, usize) {
    let skipped = if source.len() > 2 * WINDOW { (place.column - 1).saturating_sub(WINDOW) } else { 0 };
    // A line can have millions of characters, and fifty problems.
    if source.is_ascii() {
        let skipped = skipped.min(source.len());
        let end = source.len().min(skipped + 2 * WINDOW);
        return (source.get(skipped..end).unwrap_or_default().chars().collect(), skipped);
    }
    let window: Vec<char> = source.chars().skip(skipped).take(2 * WINDOW).collect();
    let skipped = if window.is_empty() { source.chars().count() } else { skipped };
    (window, skipped)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Shown,
    Structure,
    Hidden,
}

/// Whether a character is not seen, or changes how others are seen: controls, formats such as the bidirectional overrides
/// (Unicode 16 general category Cf, as far as it is met in text), line separators, and byte order marks.
pub(super) fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
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
