//! The commands as they are defined, and the real program.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use builder::cli::Cli;
use clap::{Arg, CommandFactory};

/// A command that is not hidden.
pub(crate) struct Shown {
    /// How it is typed after `builder`; nothing for `builder` itself.
    pub(crate) words: Vec<String>,
    pub(crate) command: clap::Command,
}

impl Shown {
    /// Its options, as `-f` and `--file`.
    pub(crate) fn options(&self) -> BTreeSet<String> {
        let names = |option: &Arg| {
            let short = option.get_short().map(|short| format!("-{short}"));
            short.into_iter().chain(option.get_long().map(|long| format!("--{long}")))
        };
        self.command.get_arguments().filter(|option| !option.is_hide_set()).flat_map(names).collect()
    }

    /// The names of its own commands.
    pub(crate) fn commands(&self) -> BTreeSet<String> {
        let shown = self.command.get_subcommands().filter(|command| !command.is_hide_set());
        shown.map(|command| command.get_name().to_owned()).filter(|name| name != "help").collect()
    }
}

/// All commands, with what clap adds; without the `help` commands.
pub(crate) fn commands() -> Vec<Shown> {
    fn add(words: &[String], command: &clap::Command, all: &mut Vec<Shown>) {
        let shown = Shown { words: words.to_owned(), command: command.clone() };
        for name in shown.commands() {
            let words = [words, std::slice::from_ref(&name)].concat();
            add(&words, command.find_subcommand(&name).unwrap(), all);
        }
        all.push(shown);
    }
    let mut program = Cli::command();
    program.build();
    let mut all = Vec::new();
    add(&[], &program, &mut all);
    assert!(all.len() > 15, "the commands were not found");
    all
}

pub(crate) fn builder(folder: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_builder"));
    command.args(words).current_dir(folder).env_clear().env("HOME", folder).output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Runs a program of the system.
pub(crate) fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| {
        panic!("{}: {error}; apt-get install zsh fish groff-base mandoc", command.get_program().display())
    })
}

/// A file of this project.
pub(crate) fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(path)
}
