//! Where boards are shown: once or at every change, as a table or as JSON, on a terminal or elsewhere.

use std::io::{self, Write};

use cluster::text::printable_lines;
use thiserror::Error;

use super::table;
use super::view::View;
use crate::error::{Failure, Kind};

/// How the output looks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Style {
    /// JSON instead of a table; with `--watch` one object per line.
    pub json: bool,
    /// No talk.
    pub quiet: bool,
    /// `--watch` redraws instead of going on below.
    pub terminal: bool,
}

/// Why a board could not be shown.
#[derive(Debug, Error)]
enum ScreenError {
    #[error("cannot print the status")]
    Print(#[source] io::Error),
}

/// Where the board is shown, and what is already there.
pub(in crate::cli) struct Screen<'a> {
    style: Style,
    watch: bool,
    out: &'a mut dyn Write,
    talk: &'a mut dyn Write,
    /// What was shown last, without what changes by itself.
    shown: Option<View>,
    said: String,
}

impl<'a> Screen<'a> {
    /// Nothing is shown yet. `watch`: every change is shown, not only the end.
    pub(in crate::cli) fn new(
        style: Style,
        watch: bool,
        out: &'a mut dyn Write,
        talk: &'a mut dyn Write,
    ) -> Self {
        Self { style, watch, out, talk, shown: None, said: String::new() }
    }

    /// Shows the board if there is something new. A terminal is redrawn at every look, for the ages go on.
    pub(in crate::cli) fn show_change(&mut self, view: &View) -> Result<(), Failure> {
        let essence = view.essence();
        let redraw = self.style.terminal && !self.style.json;
        if self.shown.as_ref() == Some(&essence) && !redraw {
            return Ok(());
        }
        if redraw {
            // Cursor home, and the rest of the screen cleared: ECMA-48 CUP and ED.
            self.print("\x1b[H\x1b[J")?;
        } else if self.shown.is_some() && !self.style.json {
            self.print("\n")?;
        }
        self.print_board(view)?;
        self.shown = Some(essence);
        Ok(())
    }

    /// Shows the board unless it is what was shown last.
    pub(in crate::cli) fn finish(&mut self, view: &View) -> Result<(), Failure> {
        if self.watch { self.show_change(view) } else { self.print_board(view) }
    }

    fn print_board(&mut self, view: &View) -> Result<(), Failure> {
        let text = if self.style.json { format!("{}\n", view.to_json()?) } else { table::render(view) };
        self.print(&text)
    }

    pub(in crate::cli) fn print(&mut self, text: &str) -> Result<(), Failure> {
        let printed = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
        printed.map_err(|error| Failure::new(Kind::Failed, ScreenError::Print(error)))
    }

    /// Says something new to whoever waits.
    pub(in crate::cli) fn say(&mut self, text: &str) {
        if self.style.quiet || self.said == text {
            return;
        }
        text.clone_into(&mut self.said);
        // Nobody is left to be told that standard error is closed.
        let _unsaid = writeln!(self.talk, "{}", printable_lines(text));
    }
}
