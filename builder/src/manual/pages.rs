//! Man pages, by `clap_mangen`: `builder(1)` with the exit codes and the files, and a page per command.

use std::io;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};

use super::{FILES, Paragraph, paragraphs, shown, story, usage};
use crate::error::EXIT_CODES;

/// A man page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The file's name, such as `builder-images-pull.1`.
    pub name: String,
    /// What is in the file: roff, with the macros of man(7).
    pub text: String,
}

/// The page of a program, then those of its commands, nested ones too. Hidden commands have none.
///
/// # Errors
/// What writing into memory can fail with, which is nothing.
pub fn render(program: Command) -> io::Result<Vec<Page>> {
    let mut program = prepare(program.disable_help_subcommand(true));
    program.build();
    // The pages have no date: the same program writes the same bytes.
    let version = format!("{} {}", program.get_name(), program.get_version().unwrap_or_default());
    let mut pages = Vec::new();
    add(&program, None, &version, &mut pages)?;
    Ok(pages)
}

/// What `clap_mangen` would show otherwise than `--help` does.
fn prepare(command: Command) -> Command {
    command
        .subcommand_help_heading("COMMANDS")
        .mut_args(|argument| argument.hide_short_help(false))
        .mut_subcommands(prepare)
}

/// The order is that of man-pages(7).
fn add(command: &Command, parent: Option<&str>, version: &str, pages: &mut Vec<Page>) -> io::Result<()> {
    let title = command.get_display_name().unwrap_or_else(|| command.get_name());
    // The crate's own synopsis leaves out `...` and `--`.
    let man = Man::new(command.clone().override_usage(usage(command)))
        .title(title.to_uppercase())
        // An empty word would vanish, and the next one take its place.
        .date("\"\"")
        .source(version)
        .manual("Docker Swarms of Raspberry Pis");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    description(command).to_writer(&mut text)?;
    if shown(command).next().is_some() {
        man.render_subcommands_section(&mut text)?;
    }
    man.render_options_section(&mut text)?;
    parent.map_or_else(common, see).to_writer(&mut text)?;
    let text = String::from_utf8(text).map_err(io::Error::other)?;
    pages.push(Page { name: man.get_filename(), text });
    for command in shown(command) {
        add(command, Some(title), version, pages)?;
    }
    Ok(())
}

/// The crate's own would break the lines of examples.
fn description(command: &Command) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["DESCRIPTION"]);
    for paragraph in paragraphs(&story(command)) {
        roff.control("PP", []);
        match paragraph {
            Paragraph::Prose(text) => {
                roff.text([roman(text)]);
            }
            Paragraph::Example(lines) => {
                roff.control("nf", []);
                for line in lines {
                    roff.text([roman(line)]);
                }
                roff.control("fi", []);
            }
        }
    }
    roff
}

/// What is said once, in the program's own page.
fn common() -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in EXIT_CODES {
        roff.control("TP", []).text([bold(code.to_string())]).text([roman(meaning)]);
    }
    roff.control("SH", ["FILES"]);
    for (name, purpose) in FILES {
        roff.control("TP", []).text([italic(name)]).text([roman(purpose)]);
    }
    roff
}

/// Where more stands.
fn see(parent: &str) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]).text([bold(parent), roman("(1)")]);
    roff
}
