//! How a command fails: what failed, why, what to type next, and the exit code. Only this module prints errors.

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use cluster::text::printable_lines;
use serde_json::{Map, Value, json};

mod hint;

pub use hint::{
    CLUSTER_FILE, Command, Hint, Part, Shown, builder, default_cluster_file, join, program, quote, quote_path,
};
pub(crate) use hint::{again, hint, remember_typed};

/// What kind of failure, which decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Something failed on the way.
    Failed,
    /// The command line or the cluster file is wrong.
    Usage,
    /// A device must not be written.
    DeviceRefused,
    /// What was written is not what was meant.
    VerificationFailed,
    /// Nobody answers.
    Unreachable,
    /// Not (yet) as wanted.
    NotAsWanted,
}

impl Kind {
    /// The documented exit code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::DeviceRefused => 3,
            Self::VerificationFailed => 4,
            Self::Unreachable => 5,
            Self::NotAsWanted => 6,
        }
    }
}

/// What every exit code means, for the manual.
pub const EXIT_CODES: [(u8, &str); 7] = [
    (0, "done"),
    (Kind::Failed.code(), "failed"),
    (Kind::Usage.code(), "usage or cluster file"),
    (Kind::DeviceRefused.code(), "device refused"),
    (Kind::VerificationFailed.code(), "verification failed"),
    (Kind::Unreachable.code(), "unreachable"),
    (Kind::NotAsWanted.code(), "not (yet) as wanted"),
];

/// An error and its causes in one line, for tables and lists.
pub(crate) fn one_line(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// A failed command. Shown as `error:`, `caused by:` lines and `hint:` lines on standard error.
#[derive(Debug)]
pub struct Failure {
    kind: Kind,
    source: Box<dyn Error + Send + Sync>,
    hints: Vec<Hint>,
    /// The cluster file that the commands in the hints act on.
    file: Option<PathBuf>,
    /// What the command found out before it failed, for programs.
    found: Map<String, Value>,
}

impl Failure {
    /// A failure of the given kind.
    pub fn new(kind: Kind, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind, source: source.into(), hints: Vec::new(), file: None, found: Map::new() }
    }

    /// Adds what to type next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Hint>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Makes the commands in its hints act on this file.
    #[must_use]
    pub fn about(mut self, file: &Path) -> Self {
        self.file = Some(file.to_owned());
        self
    }

    /// Adds what to type next, unless that is there already.
    #[must_use]
    pub(crate) fn hint_once(self, hint: Hint) -> Self {
        if self.hints.contains(&hint) { self } else { self.hint(hint) }
    }

    /// The error and its causes.
    pub(crate) fn causes(&self) -> impl Iterator<Item = &(dyn Error + 'static)> {
        let first: &(dyn Error + 'static) = self.source.as_ref();
        std::iter::successors(Some(first), |error| (*error).source())
    }

    /// Adds the JSON object that the command would have printed. Programs get it and the failure as one object.
    #[must_use]
    pub fn with(mut self, found: Value) -> Self {
        if let Value::Object(found) = found {
            self.found.extend(found);
        }
        self
    }

    /// Returns what [`Self::with`] added.
    pub fn found(self) -> Value {
        Value::Object(self.found)
    }

    /// Two that happened: the first decides, the other is told below it.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.hints.push(format!("besides: {}", one_line(other.source.as_ref())).into());
        self.hints.extend(other.hints);
        self.found.extend(other.found);
        self
    }

    /// The kind.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The text as a person sees it, with a line end after every line.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let mut line = |label: &str, message: &str| {
            // A message of several lines (a place in the cluster file) stands as it is.
            let message = message.trim_end();
            text.push_str(&format!("{label}: {message}\n"));
        };
        line("error", &self.source.to_string());
        let mut cause = self.source.source();
        while let Some(error) = cause {
            line("caused by", &error.to_string());
            cause = error.source();
        }
        for hint in &self.hints {
            line("hint", &hint.show(self.file.as_deref()).text);
        }
        // A message may quote a machine.
        printable_lines(&text)
    }

    /// Returns the failure for programs: `error`, `causes`, `hints` (each with `text` and `commands`), `code` (the exit
    /// code), and the keys of what was found out before.
    pub fn document(&self) -> Value {
        let causes = std::iter::successors(self.source.source(), |error| (*error).source());
        let mut document = self.found.clone();
        let failure = json!({
            "error": self.source.to_string().trim_end(),
            "causes": causes.map(ToString::to_string).collect::<Vec<_>>(),
            "hints": self.hints.iter().map(|hint| hint.show(self.file.as_deref())).collect::<Vec<_>>(),
            "code": self.kind.code(),
        });
        if let Value::Object(failure) = failure {
            document.extend(failure);
        }
        Value::Object(document)
    }

    /// Prints the failure on standard error, and with `json` as the last line of standard output. Returns the exit code.
    pub fn report(&self, json: bool) -> ExitCode {
        if json {
            print_document(&self.document());
        }
        // Nowhere is left to say that standard error is closed.
        let _unwritten = std::io::stderr().lock().write_all(self.render().as_bytes());
        ExitCode::from(self.kind.code())
    }
}

/// Prints what is wrong with a command line, or the help that it asks for.
pub fn report_usage(error: &clap::Error, json: bool) -> ExitCode {
    // Nowhere is left to say that standard error is closed.
    let _unwritten = error.print();
    if json && error.use_stderr() {
        let text = error.render().to_string();
        let text = text.strip_prefix("error: ").unwrap_or(&text);
        let (first, rest) = text.split_once("\n\n").unwrap_or((text, ""));
        let hints = rest.lines().map(str::trim).filter(|line| !line.is_empty());
        let hints = hints.map(|line| Hint::from(line).show(None)).collect::<Vec<_>>();
        let code = Kind::Usage.code();
        print_document(&json!({ "error": first.trim_end(), "causes": [], "hints": hints, "code": code }));
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Kind::Usage.code()))
}

fn print_document(document: &Value) {
    // The reader went away; the exit code still tells.
    let _unwritten = writeln!(std::io::stdout().lock(), "{}", crate::json::value_line(document));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_chain_and_then_what_to_type() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot read red.img")]
        struct Outer(#[source] std::io::Error);
        let inner = std::io::Error::other("it is a folder");
        let failure = Failure::new(Kind::Failed, Outer(inner)).hint("give a file");
        assert_eq!(
            failure.render(),
            "error: cannot read red.img\ncaused by: it is a folder\nhint: give a file\n"
        );
        assert_eq!(failure.kind().code(), 1);
    }

    #[test]
    fn commands_are_about_the_file_that_was_used() {
        let failure = Failure::new(Kind::NotAsWanted, "it is the last manager");
        let failure = failure.hint(hint!["to end it: ", builder(["kill"])]).about(Path::new("my hosts.yaml"));
        assert_eq!(
            failure.render(),
            "error: it is the last manager\nhint: to end it: builder kill -f 'my hosts.yaml'\n"
        );
    }

    #[test]
    fn programs_get_the_failure_with_what_was_found() {
        let failure = Failure::new(Kind::NotAsWanted, "red01 is not ready")
            .hint(hint!["see ", builder(["why", "red01"])])
            .about(Path::new("my hosts.yaml"))
            .with(json!({ "cluster": "red", "formed": false }));
        assert_eq!(
            failure.document(),
            json!({
                "cluster": "red", "formed": false,
                "error": "red01 is not ready", "causes": [], "code": 6,
                "hints": [{
                    "text": "see builder why -f 'my hosts.yaml' red01",
                    "commands": [["builder", "why", "-f", "my hosts.yaml", "red01"]],
                }],
            })
        );
    }

    #[test]
    fn a_quoted_machine_does_not_reach_the_terminal() {
        let failure =
            Failure::new(Kind::Failed, "red01: \u{1b}[2J\u{9b}x").hint("try \u{202e}again\nor\tnot");
        assert_eq!(
            failure.render(),
            "error: red01: \u{fffd}[2J\u{fffd}x\nhint: try \u{fffd}again\nor\tnot\n"
        );
    }

    #[test]
    fn of_two_failures_the_first_decides_and_both_are_told() {
        let first = Failure::new(Kind::Unreachable, "red00 is off").hint("power it on");
        let both =
            first.and(Failure::new(Kind::NotAsWanted, "red01 is not ready").hint(builder(["why", "red01"])));
        assert_eq!(
            both.render(),
            "error: red00 is off\nhint: power it on\nhint: besides: red01 is not ready\nhint: builder why red01\n"
        );
        assert_eq!(both.kind(), Kind::Unreachable);
    }
}
