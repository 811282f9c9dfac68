//! A password that is typed: read once, without an echo, and kept in memory only.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;

use cluster::secret::Secret;
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use thiserror::Error;

use super::ask;
use crate::error::{Failure, Kind};
use crate::interrupt::Interrupt;

/// Why there is no password.
#[derive(Debug, Error)]
enum PasswordError {
    #[error("cannot read the password")]
    Read(#[source] io::Error),
    #[error("standard input has no password")]
    None,
    #[error("standard input cannot have both the cluster file and the password")]
    Shared,
}

impl From<PasswordError> for Failure {
    fn from(error: PasswordError) -> Self {
        let hint = match error {
            PasswordError::None => "type it at the terminal, or give it as one line of standard input",
            PasswordError::Shared => "name the file with `-f FILE`",
            PasswordError::Read(_) => return Self::new(Kind::Failed, error),
        };
        Self::new(Kind::Usage, error).hint(hint)
    }
}

/// Asks for a password at the terminal; where standard input is none, its first line is the password. `None` after Ctrl-C.
///
/// # Errors
/// [`Kind::Usage`] without a password; when standard input cannot be read.
pub(super) fn ask(question: &str, interrupt: &Interrupt) -> Result<Option<Secret<String>>, Failure> {
    let is_terminal = io::stdin().is_terminal();
    let silence = if is_terminal { Some(Silence::new(question).map_err(PasswordError::Read)?) } else { None };
    let line = ask::read_line(interrupt).map_err(PasswordError::Read)?;
    drop(silence);
    let Some(line) = line else { return Ok(None) };
    Ok(Some(without_line_end(&Secret::new(line))?))
}

/// The password in the first line of standard input, which may be a pipe; `None` if it is a terminal, where [`ask`] asks.
/// `file` is the cluster file of the command.
///
/// # Errors
/// [`Kind::Usage`] without a password, or if standard input has the cluster file; when it cannot be read.
pub(super) fn piped(file: &Path) -> Result<Option<Secret<String>>, Failure> {
    if file == Path::new("-") {
        return Err(PasswordError::Shared.into());
    }
    if io::stdin().is_terminal() {
        return Ok(None);
    }
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(PasswordError::Read)?;
    Ok(Some(without_line_end(&Secret::new(line))?))
}

fn without_line_end(line: &Secret<String>) -> Result<Secret<String>, PasswordError> {
    let password = line.expose().trim_end_matches(['\n', '\r']);
    if password.is_empty() { Err(PasswordError::None) } else { Ok(Secret::new(password.to_owned())) }
}

/// The terminal without its echo, as long as this lives.
struct Silence(Termios);

impl Silence {
    fn new(question: &str) -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        // What was typed before the question is no answer to it.
        tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &silent)?;
        let silence = Self(before);
        let mut talk = io::stderr().lock();
        write!(talk, "{question}: ")?;
        talk.flush()?;
        Ok(silence)
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // Nothing more can be done about a terminal that is gone. The typed line end was not shown either.
        let _gone = tcsetattr(io::stdin(), SetArg::TCSANOW, &self.0);
        let _unwritten = writeln!(io::stderr().lock());
    }
}
