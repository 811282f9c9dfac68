//! YAML as a tree whose every key and value knows its place.
//!
//! serde stops at the first error and forgets how a plain scalar was written (`00`, `1.10`), so the tree is made
//! from the parser's events. Anchors, aliases and tags are refused: a cluster file needs none, and without them
//! no file can be larger than it looks.

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span};

use super::problem::{Collector, Place};
use super::secrets;

/// Deepest nesting; the cluster file itself needs four.
const DEPTH: usize = 12;

/// A value and where it stands. Values may be secret, so trees cannot be printed.
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) content: Content,
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
}

/// The only document of a file, or `None` if there is none that could be read; then the problem says why.
pub(super) fn parse(text: &str, problems: &mut Collector<'_>) -> Option<Node> {
    let mut options = granit_parser::Options::default();
    options.set_emit_comments(false);
    options.emit_unresolved_aliases = true;
    let mut builder = Builder { events: Parser::new_from_str_with_options(text, options), problems };
    match builder.document() {
        Ok(root) => root,
        Err(Stop::Syntax(error)) => {
            syntax_problem(text, &error, problems);
            None
        }
        Err(Stop::Deep(place)) => {
            secrets::hide_in_text(text, place.line, problems);
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
        let plain_values_only = event.anchor_id().is_some_and(|id| id != 0) || event.tag().is_some();
        let (content, place) = match event {
            Event::Scalar(text, style, ..) => (scalar(&text, style), place),
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
                let mut entries = Vec::new();
                loop {
                    match self.next()? {
                        (Event::MappingEnd, end) => break (Content::Mapping(entries), through(place, end)),
                        (event, place) => entries.extend(self.entry(event, place, depth + 1)?),
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
        if plain_values_only {
            self.problems.add(
                first_line(place),
                "an anchor (&) or tag (!) is not read here",
                "write the value itself, or put it in quotes",
            );
        }
        Ok(Node { place, content })
    }

    /// A key with its value; `None` if the key is none.
    fn entry(&mut self, event: Event<'t>, place: Place, depth: usize) -> Result<Option<Entry>, Stop> {
        let key = self.node(event, place, depth)?;
        let (event, place) = self.next()?;
        let value = self.node(event, place, depth)?;
        if let Content::Text(text) = key.content {
            return Ok(Some(Entry { key: text, key_place: key.place, value }));
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

/// Turns the parser's error into a problem with advice for the mistakes people make.
fn syntax_problem(text: &str, error: &ScanError, problems: &mut Collector<'_>) {
    let place = Place::point(error.marker().line(), error.marker().col() + 1);
    let line = text.lines().nth(place.line - 1).unwrap_or_default();
    let advice = if *error.kind() == ErrorKind::UnclosedQuotedScalar {
        "write the same quote once more where the text ends"
    } else if line.trim_start_matches(' ').starts_with('\t') {
        "indent with spaces: YAML takes no tabs"
    } else if line.contains('[') || line.contains('{') {
        "put a text with [ ] or { } inside [...] or {...} in quotes, as in [\"red[00-04]\"]"
    } else {
        "write `key: value`, nested keys two spaces further in, and put texts with : or # in quotes"
    };
    secrets::hide_in_text(text, place.line, problems);
    problems.add(place, format!("this is not YAML: {}", error.info()), advice);
}
