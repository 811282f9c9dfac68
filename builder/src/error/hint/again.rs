//! The command line of this process, for hints to repeat it.

use std::ffi::OsString;
use std::sync::OnceLock;

use super::{Command, builder};

/// How this process was started.
#[derive(Debug)]
struct Typed {
    /// The command line without the program's name.
    words: Vec<String>,
    is_sudo: bool,
}

static TYPED: OnceLock<Typed> = OnceLock::new();

/// Keeps the command line, without the program's name, for [`again`]. `is_sudo`: a user runs it with `sudo`.
pub(crate) fn remember_typed(words: impl IntoIterator<Item = OsString>, is_sudo: bool) {
    let words = words.into_iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let _set_before = TYPED.set(Typed { words, is_sudo });
}

/// Returns the command of this process as it was typed, with all its options. `otherwise` stands for it where no command line was
/// remembered, as in tests.
pub(crate) fn again<W: Into<String>>(otherwise: impl IntoIterator<Item = W>) -> Command {
    match TYPED.get() {
        Some(typed) => again_as(&typed.words, typed.is_sudo),
        None => builder(otherwise),
    }
}

fn again_as(typed: &[String], is_sudo: bool) -> Command {
    let command = Command { words: typed.to_vec(), is_builder: true, is_typed: true, starter: Vec::new() };
    if is_sudo || command.has_word("flash") { command.sudo() } else { command }
}

impl Command {
    /// Adds an option, with its value if it has one, unless it is there already.
    #[must_use]
    pub(crate) fn with<W: Into<String>>(mut self, option: impl IntoIterator<Item = W>) -> Self {
        let option: Vec<String> = option.into_iter().map(Into::into).collect();
        let end = self.end_of_options();
        let options = self.words.get(..end).unwrap_or_default();
        if !options.windows(option.len().max(1)).any(|words| words == option) {
            self.words.splice(end..end, option);
        }
        self
    }

    /// Gives an option this value, in place of the one that it has.
    #[must_use]
    pub(crate) fn with_value(mut self, option: &str, value: &str) -> Self {
        let (mut kept, mut skips) = (Vec::new(), false);
        let rest = self.words.split_off(self.end_of_options());
        for word in std::mem::take(&mut self.words) {
            let is_value = std::mem::take(&mut skips);
            skips = !is_value && word == option;
            let is_both = word.strip_prefix(option).is_some_and(|rest| rest.starts_with('='));
            if !is_value && !skips && !is_both {
                kept.push(word);
            }
        }
        kept.extend([option.to_owned(), value.to_owned()]);
        kept.extend(rest);
        self.words = kept;
        self
    }

    /// Whether one of its words, values of options among them, is this one.
    pub(crate) fn has_word(&self, word: &str) -> bool {
        self.words.iter().any(|own| own == word)
    }

    /// What follows `--` are words of another command.
    fn end_of_options(&self) -> usize {
        self.words.iter().position(|word| word == "--").unwrap_or(self.words.len())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::text;
    use super::*;

    #[test]
    fn a_repeated_command_keeps_what_was_typed() {
        let again = |line: &str| {
            let typed: Vec<_> = line.split(' ').map(str::to_owned).collect();
            again_as(&typed, false)
        };
        let typed = text(again("kill --file=other.yaml --purge -F conf").with(["--yes"]));
        assert_eq!(typed, "builder kill '--file=other.yaml' --purge -F conf --yes", "no second file");
        assert_eq!(text(again("config --ask-sudo").with(["--ask-sudo"])), "builder config --ask-sudo");
        let replace = ["--replace", "red03"];
        assert_eq!(
            text(again("config --replace red02").with(replace).with(replace)),
            "builder config --replace red02 --replace red03"
        );
        for line in ["drain --timeout 9s red01", "drain --timeout=9s red01", "drain red01"] {
            let longer = again(line).with_value("--timeout", "1h");
            assert_eq!(text(longer), "builder drain red01 --timeout 1h", "{line}");
        }
        assert_eq!(text(again("exec -- id --yes").with(["--yes"])), "builder exec --yes -- id --yes");
        assert_eq!(text(again("--json flash red03")), "sudo builder --json flash red03");
    }
}
