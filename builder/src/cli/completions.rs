//! `builder completions`: a script that has a shell complete builder's commands and options.

use std::io::{self, Write};

use clap::{Args, CommandFactory, ValueEnum};
use thiserror::Error;

use crate::cli::Cli;
use crate::error::{Failure, Kind};

/// Print a script that completes commands and options in your shell
///
/// Put it where your shell looks for such scripts; the folder has to be there.
/// From the next shell on, the Tab key completes.
///
/// bash, with the package bash-completion:
///
///   builder completions bash > ~/.local/share/bash-completion/completions/builder
///
/// zsh, with `fpath+=(~/.zfunc)` before compinit in ~/.zshrc:
///
///   builder completions zsh > ~/.zfunc/_builder
///
/// fish:
///
///   builder completions fish > ~/.config/fish/completions/builder.fish
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct CompletionsArgs {
    /// Whose script
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// The shells that people have where builder runs, which is Linux and macOS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

#[derive(Debug, Error)]
#[error("cannot print the script")]
struct PrintError(#[source] io::Error);

/// Runs the command.
///
/// # Errors
/// [`Kind::Failed`] when the script cannot be printed.
pub fn run(args: &CompletionsArgs) -> Result<(), Failure> {
    match io::stdout().lock().write_all(&script(args.shell)) {
        // Whoever reads it has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::new(Kind::Failed, PrintError(error))),
        Ok(()) => Ok(()),
    }
}

fn script(shell: Shell) -> Vec<u8> {
    let generator = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(generator, &mut Cli::command(), "builder", &mut script);
    script
}
