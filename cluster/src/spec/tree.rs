//! YAML as a tree whose every key and value knows its place.
//!
//! serde stops at the first error and forgets how a plain scalar was written (`00`, `1.10`), so the tree is made
//! from the parser's events. Anchors, aliases and tags are refused: a cluster file needs none, and without them
//! no file can be larger than it looks.

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span};

use super::problem::{self, Collector, Place};
use super::secrets;

/// Deepest nesting; the cluster file itself needs four.
const DEPTH: usize = 12;

/// A value and where it stands. Values may be secret, so trees cannot be printed.
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) content: Content,
    pub(super) style: Style,
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// A text without quotes: it ends before ` #`, and further lines are appended to it.
    Plain,
    /// A text in quotes: further lines are appended to it.
    Quoted,
    /// Anything else.
    Block,
}

/// What a value is.
pub(super) enum Content {
    /// Nothing after the colon or dash, or `null`.
    Nothing,
    /// Any scalar, as text: what it means is the key's business.
    Text(String),
    List(Vec<Node>),
    Mapping(Vec<Entry>),
    /// Already reported; to be passed over in silence.
    Unusable,
}

/// A key and its value.
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_place: Place,
    pub(super) value: Node,
    /// Whether a key before it in the same mapping is a secret's.
    pub(super) after_secret: bool,
}

/// The only document of a file, or `None` if there is none that could be read; then the problem says why.
pub(super) fn parse(text: &str, problems: &mut Collector<'_>) -> Option<Node> {
    if let Some(place) = first_control(text) {
        problems.add(place, "a control character stands here", "remove it: YAML takes none but tabs");
        return None;
    }
    let mut options = granit_parser::Options::default();
    options.set_emit_comments(false);
    options.emit_unresolved_aliases = true;
    options.emit_anchor_events = true;
    let mut builder = Builder { events: Parser::new_from_str_with_options(text, options), problems };
    match builder.document() {
        Ok(root) => root,
        Err(Stop::Syntax(error)) => {
            syntax_problem(text, &error, problems);
            None
        }
        Err(Stop::Deep(place)) => {
            problems.add(place, "is nested too deep", "write at most a list of texts here");
            None
        }
    }
}

/// Why no tree could be made.
enum Stop {
    Syntax(ScanError),
    Deep(Place),
}

struct Builder<'p, 't, 'c> {
    events: Parser<'t, granit_parser::StrInput<'t>>,
    problems: &'p mut Collector<'c>,
}

impl<'t> Builder<'_, 't, '_> {
    /// The next event; the end of the stream once there is none.
    fn next(&mut self) -> Result<(Event<'t>, Place), Stop> {
        match self.events.next_event() {
            Some(Ok((event, span))) => Ok((event, place(span))),
            Some(Err(error)) => Err(Stop::Syntax(error)),
            None => Ok((Event::StreamEnd, Place::point(1, 1))),
        }
    }

    fn document(&mut self) -> Result<Option<Node>, Stop> {
        let mut root = None;
        loop {
            let (event, place) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(root),
                Event::DocumentStart(..) if root.is_some() => {
                    self.problems.add(place, "a second document begins here", "write one cluster per file");
                    return Ok(root);
                }
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                event => root = Some(self.node(event, place, 0)?),
            }
        }
    }

    fn node(&mut self, event: Event<'t>, place: Place, depth: usize) -> Result<Node, Stop> {
        if depth > DEPTH {
            return Err(Stop::Deep(place));
        }
        // An anchor's own event follows that of its node.
        let anchor = event.anchor_id().filter(|id| *id != 0).map(|_| self.next()).transpose()?;
        let marked = anchor.map(|(_, place)| place).or_else(|| event.tag().map(|_| first_line(place)));
        let mut written = Style::Block;
        let (content, place) = match event {
            Event::Scalar(text, style, ..) => {
                written = match style {
                    ScalarStyle::Plain => Style::Plain,
                    ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => Style::Quoted,
                    _ => Style::Block,
                };
                (scalar(&text, style), place)
            }
            Event::SequenceStart(..) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, end) => break (Content::List(items), through(place, end)),
                        (event, place) => items.push(self.node(event, place, depth + 1)?),
                    }
                }
            }
            Event::MappingStart(..) => {
                let mut entries: Vec<Entry> = Vec::new();
                let mut after_secret = false;
                loop {
                    match self.next()? {
                        (Event::MappingEnd, end) => break (Content::Mapping(entries), through(place, end)),
                        (event, place) => {
                            if let Some(entry) = self.entry(event, place, depth + 1)? {
                                let is_secret = secrets::is_secret_key(&entry.key);
                                entries.push(Entry { after_secret, ..entry });
                                after_secret |= is_secret;
                            }
                        }
                    }
                }
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                self.problems.add(
                    place,
                    "an alias (*) is not read here",
                    "write the value itself, or put it in quotes",
                );
                (Content::Unusable, place)
            }
            _ => (Content::Unusable, place),
        };
        if let Some(place) = marked {
            self.problems.add(
                place,
                "an anchor (&) or tag (!) is not read here",
                "put a text that begins with & or ! in quotes",
            );
        }
        Ok(Node { place, content, style: written })
    }

    /// A key with its value; `None` if the key is none.
    fn entry(&mut self, event: Event<'t>, place: Place, depth: usize) -> Result<Option<Entry>, Stop> {
        let key = self.node(event, place, depth)?;
        let (event, place) = self.next()?;
        let value = self.node(event, place, depth)?;
        if let Content::Text(text) = key.content {
            return Ok(Some(Entry { key: text, key_place: key.place, value, after_secret: false }));
        }
        if !matches!(key.content, Content::Unusable) {
            self.problems.add(first_line(key.place), "this is not a key", "write a word before the colon");
        }
        Ok(None)
    }
}

fn scalar(text: &str, style: ScalarStyle) -> Content {
    if style == ScalarStyle::Plain && ["", "~", "null", "Null", "NULL"].contains(&text) {
        return Content::Nothing;
    }
    Content::Text(text.to_owned())
}

fn place(span: Span) -> Place {
    Place {
        line: span.start.line(),
        column: span.start.col() + 1,
        end_line: span.end.line(),
        end_column: span.end.col() + 1,
    }
}

const fn through(start: Place, end: Place) -> Place {
    Place { line: start.line, column: start.column, end_line: end.end_line, end_column: end.end_column }
}

/// The beginning of something long: enough to find it.
const fn first_line(place: Place) -> Place {
    if place.line == place.end_line { place } else { Place::point(place.line, place.column) }
}

/// The place of the first control character but tabs and line breaks. The parser takes NUL for the end of the file, so
/// that the rest would not be read.
fn first_control(text: &str) -> Option<Place> {
    let is_control = |c: char| c.is_control() && !"\t\n\r".contains(c);
    // Almost every file has none.
    if !text.contains(is_control) {
        return None;
    }
    (1..).zip(problem::lines(text)).find_map(|(number, line)| {
        line.chars().position(is_control).map(|column| Place::point(number, column + 1))
    })
}

/// Turns the parser's error into a problem with advice for the mistakes people make.
fn syntax_problem(text: &str, error: &ScanError, problems: &mut Collector<'_>) {
    let place = Place::point(error.marker().line(), error.marker().col() + 1);
    let line = problems.line(place.line);
    if let Some(comma) = doubled_comma(text, place) {
        problems.add(comma, "this is not YAML: nothing stands before this comma", "remove the comma");
        return;
    }
    let advice = if *error.kind() == ErrorKind::UnclosedQuotedScalar {
        "write the same quote once more where the text ends"
    } else if line.trim_start_matches(' ').starts_with('\t') {
        "indent with spaces: YAML takes no tabs"
    } else if line.contains('[') || line.contains('{') {
        "put a text with [ ] or { } inside [...] or {...} in quotes, as in [\"red[00-04]\"]"
    } else {
        "write `key: value`, nested keys two spaces further in, and put texts with : or # in quotes"
    };
    // This one quotes the file.
    let what = match error.kind() {
        ErrorKind::UnexpectedCharacter { .. } => "unexpected character".to_owned(),
        _ => error.info(),
    };
    problems.add(place, format!("this is not YAML: {what}"), advice);
}

/// The first comma of a list in brackets that has nothing before it, at an error's place or before it in the same list.
/// The parser reports it at the end of the list or later.
fn doubled_comma(text: &str, error: Place) -> Option<Place> {
    let mut found = None;
    // Open brackets, the last character that is no blank, and the quote that is open.
    let (mut open, mut last, mut quote) = (0_usize, ' ', None);
    for (number, line) in (1..=error.line).zip(problem::lines(text)) {
        let mut before = ' ';
        for (column, c) in (1..).zip(line.chars()) {
            let previous = std::mem::replace(&mut before, c);
            if quote.is_some() {
                quote = quote.filter(|quote| *quote != c);
                last = c;
                continue;
            }
            let begins_word = last == ' ' || "[{,:-".contains(last);
            match c {
                '#' if previous.is_whitespace() => break,
                '"' | '\'' if begins_word => quote = Some(c),
                '[' | '{' if open > 0 || begins_word => open += 1,
                ']' | '}' => {
                    open = open.saturating_sub(1);
                    if open == 0 && (number, column) < (error.line, error.column) {
                        found = None;
                    }
                }
                ',' if open > 0 && ",[{".contains(last) => {
                    found = found.or(Some(Place::point(number, column)))
                }
                _ => {}
            }
            if !c.is_whitespace() {
                last = c;
            }
        }
        if open == 0 {
            last = ' ';
        }
    }
    found
}
