//! The question before something is done that cannot be taken back.

use std::io::{self, BufRead, IsTerminal};

use thiserror::Error;

use crate::cli::revoke::Desk;
use crate::error::{Failure, Kind};

/// Why nothing was done, or nothing could be said.
#[derive(Debug, Error)]
pub(super) enum AskError {
    #[error("nobody is here to be asked")]
    NobodyToAsk(&'static str),
    #[error("nothing was done")]
    Declined,
    #[error("cannot talk to you")]
    Talk(#[source] io::Error),
    #[error("cannot make JSON of the result")]
    Json(#[source] serde_json::Error),
}

impl From<AskError> for Failure {
    fn from(error: AskError) -> Self {
        match error {
            AskError::NobodyToAsk(command) => {
                Self::new(Kind::Usage, error).hint(format!("if you are sure: {command}"))
            }
            AskError::Declined | AskError::Talk(_) | AskError::Json(_) => Self::new(Kind::Failed, error),
        }
    }
}

/// Runs a command at the terminal, if that is one.
pub(super) fn at_desk<T>(run: impl FnOnce(&mut Desk<'_>) -> T) -> T {
    let mut stdin = io::stdin().lock();
    let input = if stdin.is_terminal() { Some(&mut stdin as &mut dyn BufRead) } else { None };
    run(&mut Desk { input, out: &mut io::stdout(), talk: &mut io::stderr() })
}

/// Says what is going to happen, and goes on only for a yes. `command` needs no answer.
pub(super) fn confirm(desk: &mut Desk<'_>, what: &str, command: &'static str) -> Result<(), AskError> {
    let Some(input) = desk.input.as_mut() else { return Err(AskError::NobodyToAsk(command)) };
    let question = format!("{what}\nType yes to go on: ");
    desk.talk.write_all(question.as_bytes()).and_then(|()| desk.talk.flush()).map_err(AskError::Talk)?;
    let mut answer = String::new();
    input.read_line(&mut answer).map_err(AskError::Talk)?;
    if answer.trim() == "yes" { Ok(()) } else { Err(AskError::Declined) }
}

/// Results, for people or for programs.
pub(super) fn print(desk: &mut Desk<'_>, text: &str) -> Result<(), AskError> {
    desk.out.write_all(text.as_bytes()).and_then(|()| desk.out.flush()).map_err(AskError::Talk)
}
