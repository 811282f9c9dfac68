//! `-h` and `--help` of every command.

use crate::bench::{builder, commands, text};

#[test]
fn no_line_is_wider_than_80_columns() {
    let folder = tempfile::tempdir().unwrap();
    for shown in commands() {
        for help in ["-h", "--help"] {
            let mut words: Vec<_> = shown.words.iter().map(String::as_str).collect();
            words.push(help);
            let output = builder(folder.path(), &words);
            assert!(output.status.success(), "{words:?}");
            let text = text(&output.stdout);
            assert!(text.contains("Usage: builder"), "{words:?}");
            for line in text.lines() {
                assert!(line.chars().count() <= 80, "builder {}: {line}", words.join(" "));
            }
        }
    }
}

#[test]
fn every_command_and_argument_says_what_it_is() {
    for shown in commands() {
        let about = shown.command.get_about().unwrap_or_else(|| panic!("{:?} says nothing", shown.words));
        let about = about.to_string();
        assert!(!about.is_empty() && !about.ends_with('.'), "{:?}: {about:?}", shown.words);
        for argument in shown.command.get_arguments() {
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            assert!(!help.is_empty() && !help.ends_with('.'), "{:?} {argument}: {help:?}", shown.words);
        }
    }
}
