//! `docs/reference.md` is what the commands say, and the rest of the documents fits it.

use std::fs;

use builder::cli::Cli;
use builder::error::EXIT_CODES;
use builder::manual::{FILES, reference};
use clap::CommandFactory;

use crate::bench::{commands, project};

#[test]
fn the_reference_is_what_the_commands_say() {
    let wanted = reference::render(Cli::command());
    let found = fs::read_to_string(project("docs/reference.md")).unwrap_or_default();
    if wanted != found {
        let differs = wanted.lines().zip(found.lines()).find(|(wanted, found)| wanted != found);
        let (wanted, found) = differs.unwrap_or(("more or fewer lines", ""));
        panic!(
            "docs/reference.md is out of date. Type: cargo xtask reference\n\
             first difference:\n- {found}\n+ {wanted}"
        );
    }
}

#[test]
fn the_reference_has_every_command_and_option() {
    let text = reference::render(Cli::command());
    let sections: Vec<_> = text.split("\n## ").collect();
    for shown in commands() {
        let name = [&["builder".to_owned()], shown.words.as_slice()].concat().join(" ");
        let head = format!("{name}\n");
        let section = sections.iter().find(|section| section.starts_with(&head));
        let section = section.unwrap_or_else(|| panic!("there is no section {name}"));
        for argument in shown.command.get_arguments().filter(|argument| !argument.is_hide_set()) {
            let typed = format!("`{argument}`");
            // What every command takes stands in the program's own section.
            let everywhere = argument.is_global_set() || argument.get_id() == "help";
            let stands = section.lines().any(|line| line.starts_with("* ") && line.contains(&typed));
            assert_eq!(stands, !everywhere || shown.words.is_empty(), "{name}: {typed}");
        }
    }
}

#[test]
fn exit_codes_are_the_same_everywhere() {
    let reference = reference::render(Cli::command());
    for (place, (code, meaning)) in EXIT_CODES.iter().enumerate() {
        assert_eq!(usize::from(*code), place);
        assert!(reference.contains(&format!("\n* {code}: {meaning}\n")));
    }
    let line = EXIT_CODES.map(|(code, meaning)| format!("{code} {meaning}")).join(" · ");
    assert!(fs::read_to_string(project("README.md")).unwrap().contains(&line), "README.md: {line}");
}

#[test]
fn files_have_the_names_that_commands_give_them() {
    let default = |words: &[&str], option: &str| {
        let found = commands().into_iter().find(|shown| shown.words == words).unwrap();
        let option = found.command.get_arguments().find(|found| found.get_id() == option).unwrap();
        option.get_default_values().first().unwrap().to_str().unwrap().to_owned()
    };
    let named = |name: &str| FILES.iter().any(|(file, _)| *file == name);
    assert!(named(&default(&[], "file")));
    assert!(named(&format!("{}/", default(&["rehearse"], "cards"))));
    assert!(named(builder::lock::NAME));
}
