//! What to type next, as a value. The words of a command stay apart from the sentence around it until the hint is shown,
//! so that quoting, `sudo` and the cluster file are added in one place.

use std::fmt;
use std::path::Path;

use serde::Serialize;

mod again;

pub(crate) use again::{again, remember_typed};

/// The cluster file's usual name.
pub const CLUSTER_FILE: &str = "cluster.yaml";
/// The usual name of a list of Pis that already run.
const HOSTS_FILE: &str = "hostnames.yaml";

/// Commands that read the cluster file. Without `-f` they would act on the default file, which may be another cluster's.
/// `exec` reads it unless its command line has `--hosts`.
const READ_THE_FILE: [&[&str]; 20] = [
    &["activate"],
    &["build"],
    &["check"],
    &["config"],
    &["drain"],
    &["exec"],
    &["flash"],
    &["images", "pull"],
    &["kill"],
    &["label"],
    &["ls"],
    &["plan"],
    &["rehearse"],
    &["revoke"],
    &["rm"],
    &["status"],
    &["token"],
    &["up"],
    &["verify"],
    &["why"],
];

/// Returns the file that commands read when `-f` is missing: the list of hosts only where there is no cluster file.
pub fn default_cluster_file() -> &'static Path {
    let [usual, other] = [CLUSTER_FILE, HOSTS_FILE].map(Path::new);
    if !usual.exists() && other.exists() { other } else { usual }
}

/// A hint: text and commands in the order in which they are read.
#[derive(Clone, PartialEq, Eq)]
pub struct Hint(Vec<Part>);

/// A part of a [`Hint`].
#[derive(Clone, PartialEq, Eq)]
pub enum Part {
    /// Text without commands of this program.
    Text(String),
    /// A command line.
    Command(Command),
}

/// A command line, as words that are not quoted yet.
#[derive(Clone, PartialEq, Eq)]
pub struct Command {
    words: Vec<String>,
    is_builder: bool,
    /// Whether the words are those of this process, which name the file where it has to be named.
    is_typed: bool,
    /// What starts it, such as `sudo`.
    starter: Vec<String>,
}

/// A hint as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// The sentence. Its commands can be pasted into a POSIX shell.
    pub text: String,
    /// The words of each command in it, `sudo` and the cluster file included.
    pub commands: Vec<Vec<String>>,
}

/// Returns a command of this program, given without the program's name: `builder(["flash", "red03"])`.
pub fn builder<W: Into<String>>(words: impl IntoIterator<Item = W>) -> Command {
    let words: Vec<String> = words.into_iter().map(Into::into).collect();
    // It writes to block devices.
    let needs_root = words.first().is_some_and(|verb| verb == "flash");
    let command = Command { words, is_builder: true, is_typed: false, starter: Vec::new() };
    if needs_root { command.sudo() } else { command }
}

/// Returns a command of another program: `program(["mv", "a", "b"])`.
pub fn program<W: Into<String>>(words: impl IntoIterator<Item = W>) -> Command {
    let words = words.into_iter().map(Into::into).collect();
    Command { words, is_builder: false, is_typed: false, starter: Vec::new() }
}

/// Makes a [`Hint`] of texts and commands: `hint!["write it again: ", builder(["flash", "red03"])]`.
macro_rules! hint {
    ($($part:expr),+ $(,)?) => { $crate::error::Hint::new([$($crate::error::Part::from($part)),+]) };
}
pub(crate) use hint;

impl Hint {
    /// Makes a hint of its parts. [`hint!`] is shorter.
    pub fn new(parts: impl IntoIterator<Item = Part>) -> Self {
        Self(parts.into_iter().collect())
    }

    /// A command of this program and nothing else.
    pub fn run<W: Into<String>>(words: impl IntoIterator<Item = W>) -> Self {
        builder(words).into()
    }

    /// The place in a file that has to be changed. Lines count from 1.
    pub fn edit(file: &Path, line: Option<usize>) -> Self {
        let line = line.map(|line| format!(", line {line}")).unwrap_or_default();
        Self::from(format!("edit {}{line}", file.display()))
    }

    /// Puts a text in front.
    #[must_use]
    pub fn after(mut self, text: impl Into<String>) -> Self {
        self.0.insert(0, Part::Text(text.into()));
        self
    }

    /// Adds a part at the end.
    #[must_use]
    pub fn and(mut self, part: impl Into<Part>) -> Self {
        self.0.push(part.into());
        self
    }

    /// Adds another hint at the end.
    #[must_use]
    pub fn join(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Renders the hint. `file` is the cluster file in use, if any: commands that would read another one name it.
    pub fn show(&self, file: Option<&Path>) -> Shown {
        let file = file.filter(|file| *file != default_cluster_file());
        let mut shown = Shown { text: String::new(), commands: Vec::new() };
        for part in &self.0 {
            match part {
                Part::Text(text) => shown.text.push_str(text),
                Part::Command(command) => {
                    let argv = command.argv(file);
                    shown.text.push_str(&join(&argv));
                    shown.commands.push(argv);
                }
            }
        }
        shown
    }

    /// Renders the hint as text, with commands about the cluster of `file`.
    pub fn text(&self, file: &Path) -> String {
        self.show(Some(file)).text
    }
}

impl Command {
    /// Adds words at the end.
    #[must_use]
    pub fn args<W: Into<String>>(mut self, words: impl IntoIterator<Item = W>) -> Self {
        self.words.extend(words.into_iter().map(Into::into));
        self
    }

    /// Adds a path at the end.
    #[must_use]
    pub fn path(self, path: &Path) -> Self {
        self.args([path.display().to_string()])
    }

    /// Runs it as root.
    #[must_use]
    pub fn sudo(self) -> Self {
        self.started_by(["sudo"])
    }

    /// Runs it by another program, such as `sudo`, given with its options.
    #[must_use]
    pub(crate) fn started_by<W: Into<String>>(mut self, starter: impl IntoIterator<Item = W>) -> Self {
        self.starter = starter.into_iter().map(Into::into).collect();
        self
    }

    fn argv(&self, file: Option<&Path>) -> Vec<String> {
        let mut words = self.words.clone();
        if let Some(file) = file.filter(|_| self.is_builder && !self.is_typed) {
            let verb = READ_THE_FILE.iter().find(|verb| words.starts_with(&owned(verb)));
            let mut options = words.iter().take_while(|word| *word != "--");
            let is_named = options.any(|word| ["-f", "--file", "--hosts"].contains(&word.as_str()));
            if let Some(verb) = verb.filter(|_| !is_named) {
                let file = file.display().to_string();
                // `config` takes the file as an argument.
                let named = if *verb == ["config"] { vec![file] } else { vec!["-f".to_owned(), file] };
                words.splice(verb.len()..verb.len(), named);
            }
        }
        let starter = self.starter.iter().cloned();
        starter.chain(self.is_builder.then(|| "builder".to_owned())).chain(words).collect()
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Joins words to a line for a POSIX shell.
pub fn join<W: AsRef<str>>(words: &[W]) -> String {
    words.iter().map(|word| quote(word.as_ref())).collect::<Vec<_>>().join(" ")
}

/// Quotes a word for a POSIX shell, where it needs that.
pub fn quote(word: &str) -> String {
    // No argument of a program can contain NUL, so nobody can type it either way.
    shlex::Quoter::new().allow_nul(true).quote(word).map_or_else(|_| word.to_owned(), Into::into)
}

/// Quotes a path for a POSIX shell, where it needs that.
pub fn quote_path(path: &Path) -> String {
    quote(&path.display().to_string())
}

impl From<&str> for Hint {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<String> for Hint {
    fn from(text: String) -> Self {
        Self(vec![Part::Text(text)])
    }
}

impl From<Command> for Hint {
    fn from(command: Command) -> Self {
        Self(vec![Part::Command(command)])
    }
}

impl From<&str> for Part {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Part {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Command> for Part {
    fn from(command: Command) -> Self {
        Self::Command(command)
    }
}

impl fmt::Debug for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.show(None).text.fmt(f)
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hint(vec![self.clone()]).fmt(f)
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        join(&self.argv(None)).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    pub(super) fn text(hint: impl Into<Hint>) -> String {
        hint.into().text(Path::new("my hosts.yaml"))
    }

    #[test]
    fn commands_name_a_file_that_is_not_the_default() {
        assert_eq!(text(builder(["kill"])), "builder kill -f 'my hosts.yaml'");
        assert_eq!(text(builder(["kill"]).args(["--yes"])), "builder kill -f 'my hosts.yaml' --yes");
        assert_eq!(text(builder(["config", "--yes"])), "builder config 'my hosts.yaml' --yes");
        assert_eq!(
            text(builder(["images", "pull", "--update"])),
            "builder images pull -f 'my hosts.yaml' --update"
        );
        assert_eq!(Hint::run(["kill"]).text(default_cluster_file()), "builder kill");
        assert_eq!(Hint::run(["kill"]).show(None).text, "builder kill");
    }

    #[test]
    fn commands_that_do_not_read_the_file_do_not_name_it() {
        for words in [&["devices", "--all"][..], &["images", "list"], &["init", "-f", "blue.yaml"]] {
            assert_eq!(text(builder(words.iter().copied())), format!("builder {}", words.join(" ")));
        }
        assert_eq!(text(builder(["exec", "--hosts", "pi", "--", "id"])), "builder exec --hosts pi -- id");
        assert_eq!(text(program(["kill", "1"])), "kill 1");
    }

    #[test]
    fn writing_a_card_needs_root() {
        let both =
            hint!["a card: ", builder(["flash", "red03"]), ", an image: ", builder(["build", "red03"])];
        let shown = both.show(None);
        assert_eq!(shown.text, "a card: sudo builder flash red03, an image: builder build red03");
        assert_eq!(
            shown.commands,
            [&["sudo", "builder", "flash", "red03"][..], &["builder", "build", "red03"]]
        );
    }

    #[test]
    fn words_are_quoted_for_the_shell() {
        assert_eq!(
            text(program(["mv"]).args(["red[01-02]", "", "my Pi's", "$HOME"])),
            r#"mv 'red[01-02]' '' "my Pi's" '$HOME'"#
        );
        let words = ["red[01-02]", "", "my Pi's", "a\"b'c$d", "für.yaml", "disk=ssd"];
        assert_eq!(shlex::split(&join(&words)).unwrap(), words);
    }

    #[test]
    fn an_edit_names_file_and_line() {
        let file = Path::new("cluster.yaml");
        assert_eq!(Hint::edit(file, Some(12)).text(file), "edit cluster.yaml, line 12");
        assert_eq!(Hint::edit(file, None).text(file), "edit cluster.yaml");
    }

    #[test]
    fn every_command_reads_the_file_or_does_not() {
        let others = ["completions", "devices", "help", "images", "init", "man"];
        for command in crate::cli::Cli::command().get_subcommands() {
            let name = command.get_name();
            let reads = READ_THE_FILE.iter().any(|verb| *verb == [name]);
            assert!(reads != others.contains(&name), "{name}");
        }
    }
}
