//! The question before something is done that cannot be taken back.

use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use cluster::text::printable_lines;
use thiserror::Error;

use crate::cli::revoke::Desk;
use crate::error::{Command, Failure, Kind, hint};
use crate::interrupt::Interrupt;

/// How often it is asked whether Ctrl-C was pressed meanwhile.
const LOOK: Duration = Duration::from_millis(100);

/// Why a question has no answer, or nothing could be said.
#[derive(Debug, Error)]
pub(super) enum AskError {
    #[error("nobody is here to be asked")]
    NobodyToAsk(Command),
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
            AskError::NobodyToAsk(ref command) => {
                let hint = hint!["if you are sure: ", command.clone()];
                Self::new(Kind::Usage, error).hint(hint)
            }
            AskError::Declined | AskError::Talk(_) | AskError::Json(_) => Self::new(Kind::Failed, error),
        }
    }
}

/// Asks for a yes; anything else is a no.
pub(super) const QUESTION: &str = "Continue? [y/N] ";

/// Whether an answer is a yes.
pub(super) fn is_yes(answer: &str) -> bool {
    ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str())
}

/// Runs a command at the terminal, if that is one.
pub(super) fn at_desk<T>(run: impl FnOnce(&mut Desk<'_>) -> T) -> T {
    let mut stdin = io::stdin().lock();
    let input = if stdin.is_terminal() { Some(&mut stdin as &mut dyn BufRead) } else { None };
    run(&mut Desk { input, out: &mut io::stdout(), talk: &mut io::stderr() })
}

/// Says what is going to happen, and goes on only for a yes. `command` needs no answer.
pub(super) fn confirm(desk: &mut Desk<'_>, what: &str, command: Command) -> Result<(), AskError> {
    let Some(input) = desk.input.as_mut() else { return Err(AskError::NobodyToAsk(command)) };
    let question = format!("{what}\n{QUESTION}");
    desk.talk.write_all(question.as_bytes()).and_then(|()| desk.talk.flush()).map_err(AskError::Talk)?;
    let mut answer = String::new();
    input.read_line(&mut answer).map_err(AskError::Talk)?;
    if is_yes(&answer) { Ok(()) } else { Err(AskError::Declined) }
}

/// A line from the terminal; `None` after Ctrl-C. Reading goes on over signals, so it is a thread's, which nobody waits for then.
pub(super) fn read_line(interrupt: &Interrupt) -> io::Result<Option<String>> {
    let (told, answer) = channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        // Nobody wants it any more.
        let _unheard = told.send(io::stdin().lock().read_line(&mut line).map(|_| line));
    });
    loop {
        match answer.recv_timeout(LOOK) {
            Ok(line) => return line.map(Some),
            Err(RecvTimeoutError::Timeout) if interrupt.asked() => return Ok(None),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

/// As [`confirm`], where Ctrl-C does not end the process by itself.
pub(super) fn confirm_or_interrupt(
    what: &str,
    command: Command,
    interrupt: &Interrupt,
) -> Result<(), AskError> {
    if !io::stdin().is_terminal() {
        return Err(AskError::NobodyToAsk(command));
    }
    match answer(what, QUESTION, interrupt)? {
        Some(true) => Ok(()),
        _ => Err(AskError::Declined),
    }
}

/// Says something, asks, and waits for the answer: whether it is a yes; `None` after Ctrl-C.
pub(super) fn answer(what: &str, question: &str, interrupt: &Interrupt) -> Result<Option<bool>, AskError> {
    let mut talk = io::stderr().lock();
    let said = write!(talk, "{}\n{question}", printable_lines(what)).and_then(|()| talk.flush());
    said.map_err(AskError::Talk)?;
    drop(talk);
    Ok(read_line(interrupt).map_err(AskError::Talk)?.map(|answer| is_yes(&answer)))
}

/// Results, for people or for programs.
pub(super) fn print(desk: &mut Desk<'_>, text: &str) -> Result<(), AskError> {
    desk.out.write_all(text.as_bytes()).and_then(|()| desk.out.flush()).map_err(AskError::Talk)
}
