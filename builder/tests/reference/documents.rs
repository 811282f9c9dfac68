//! What the documents tell to type is what the real command line takes.

use std::fs;
use std::path::PathBuf;

use builder::cli::Cli;
use clap::Parser;
use clap::error::ErrorKind;

use crate::bench::project;

/// A line that is to be typed, with where it stands.
struct Typed {
    place: String,
    line: String,
    /// A line of its own in a block; otherwise only mentioned, perhaps without the arguments it needs.
    whole: bool,
}

fn documents() -> Vec<PathBuf> {
    let listed = fs::read_dir(project("docs")).unwrap().map(|entry| entry.unwrap().path());
    let texts = listed.filter(|path| path.extension().is_some_and(|ending| ending == "md"));
    texts.chain([project("README.md")]).collect()
}

/// `builder …` in blocks, fenced or indented, and between backticks.
fn commands_in(place: &str, text: &str) -> Vec<Typed> {
    let mut found = Vec::new();
    let mut fence = None;
    for (number, line) in text.lines().enumerate() {
        let place = format!("{place}:{}", number + 1);
        let is_fence = line.trim_start().starts_with("```");
        if is_fence {
            fence = if fence.is_none() { Some(line.trim().trim_start_matches('`').to_owned()) } else { None };
            continue;
        }
        let mut add = |line: &str, whole| {
            let line = line.trim().trim_start_matches("$ ").trim_start_matches("sudo ");
            // "builder -> cluster" is how the crates hang together.
            if let Some(rest) = line.strip_prefix("builder ").filter(|rest| !rest.starts_with("->")) {
                found.push(Typed { place: place.clone(), line: rest.to_owned(), whole });
            }
        };
        match &fence {
            Some(language) if ["console", "sh"].contains(&language.as_str()) => add(line, true),
            // How commands are typed in general, output, drawings.
            Some(_) => {}
            None if line.starts_with("    ") => add(line, true),
            None => line.split('`').skip(1).step_by(2).for_each(|span| add(span, false)),
        }
    }
    found
}

/// The words that a shell makes of a line, up to a comment or another command. `None` where zsh would look for files: brackets
/// stand in quotes.
fn words(line: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (quote, c) {
            (Some(mark), _) if c == mark => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, '|' | ';' | '>' | '&') => break,
            (None, '[' | ']' | '*' | '?') => return None,
            (None, ' ') => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Some(words)
}

#[test]
fn every_command_in_the_documents_can_be_typed() {
    let mut wrong = Vec::new();
    let mut whole = 0;
    for path in documents() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        for Typed { place, line, whole: is_whole } in commands_in(&name, &fs::read_to_string(&path).unwrap())
        {
            whole += usize::from(is_whole);
            let Some(words) = words(&line) else {
                wrong.push(format!("{place}: builder {line}: brackets have to stand in quotes"));
                continue;
            };
            let tried = Cli::try_parse_from([&["builder".to_owned()], words.as_slice()].concat());
            let lacks = |kind| {
                use ErrorKind::{
                    DisplayHelpOnMissingArgumentOrSubcommand, MissingRequiredArgument, MissingSubcommand,
                };
                matches!(
                    kind,
                    MissingRequiredArgument | MissingSubcommand | DisplayHelpOnMissingArgumentOrSubcommand
                )
            };
            if let Err(error) = tried
                && (is_whole || !lacks(error.kind()))
            {
                wrong.push(format!("{place}: builder {line}: {}", error.to_string().lines().next().unwrap()));
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
    assert!(whole >= 12, "only {whole} lines were found");
}

#[test]
fn lines_are_read_as_a_shell_reads_them() {
    let text = "```console\n$ sudo builder flash 'red[00-01]' # all\n```\n\n    builder ls | less\n\nSee `builder up`, and builder kill.\n\
                ```text\nbuilder nothing\n```\n";
    let found = commands_in("x", text);
    let lines: Vec<_> =
        found.iter().map(|typed| (typed.place.as_str(), words(&typed.line).unwrap(), typed.whole)).collect();
    let word = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(
        lines,
        [("x:2", word("flash red[00-01]"), true), ("x:5", word("ls"), true), ("x:7", word("up"), false)]
    );
    assert_eq!(words("flash red[00-01]"), None);
    assert_eq!(words("exec -- 'a | b' \"\"").unwrap(), ["exec", "--", "a | b", ""]);
}
