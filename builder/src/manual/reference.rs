//! `docs/reference.md`: every command with its usage, arguments and options, as Markdown. `cargo xtask reference` writes it.

use clap::builder::PossibleValue;
use clap::{Arg, Command};

use super::{FILES, Paragraph, paragraphs, shown, story, usage};
use crate::error::EXIT_CODES;

const HEAD: &str = "\
# Reference

Every command of `builder`, with what `--help` says of it. Made by `cargo xtask reference`, which is what to type after a
command has changed.
";

const FAILURES: &str = "
## Failures for programs

With `--json`, the last line of output of a command that fails is a JSON object: `error`, `causes` (a list), `hints` and
`code` (the exit code). A hint has a `text` and `commands`, each a list of words. An object that the command prints anyway
has these keys, too.
";

/// The whole file for a program. Hidden commands and options are left out, and options that every command takes stand
/// there once.
pub fn render(program: Command) -> String {
    let mut program = program.disable_help_subcommand(true);
    program.build();
    let mut text = HEAD.to_owned();
    text.push_str("\n## Exit codes\n\n");
    for (code, meaning) in EXIT_CODES {
        text.push_str(&format!("* {code}: {meaning}\n"));
    }
    text.push_str(FAILURES);
    text.push_str("\n## Files\n\n");
    for (name, purpose) in FILES {
        text.push_str(&format!("* `{name}`: {}\n", prose(purpose)));
    }
    section(&program, &mut text);
    options(
        "Options of every command",
        program.get_arguments().filter(|option| is_everywhere(option)),
        &mut text,
    );
    for command in shown(&program) {
        sections(command, &mut text);
    }
    text
}

fn sections(command: &Command, text: &mut String) {
    section(command, text);
    for command in shown(command) {
        sections(command, text);
    }
}

/// A command: what it does, how it is typed, and what belongs to it alone.
fn section(command: &Command, text: &mut String) {
    let (story, usage) = (story(command), usage(command));
    text.push_str(&format!("\n## {}\n\n{}\n\n```text\n{usage}\n```\n", name(command), markdown(&story)));
    if shown(command).next().is_some() {
        text.push_str("\nCommands:\n\n");
    }
    for command in shown(command) {
        let about = command.get_about().map(|about| prose(&about.to_string())).unwrap_or_default();
        let name = name(command);
        text.push_str(&format!("* [`{name}`](#{}): {about}\n", name.replace(' ', "-")));
    }
    let own = || command.get_arguments().filter(|option| !is_everywhere(option));
    options("Arguments", own().filter(|argument| argument.is_positional()), text);
    options("Options", own().filter(|argument| !argument.is_positional()), text);
}

/// As it is typed, from the program on.
fn name(command: &Command) -> &str {
    command.get_bin_name().unwrap_or_else(|| command.get_name())
}

/// `--help` is no global option, and yet clap gives it to every command.
fn is_everywhere(option: &Arg) -> bool {
    option.is_global_set() || option.get_id() == "help"
}

fn options<'a>(heading: &str, options: impl Iterator<Item = &'a Arg>, text: &mut String) {
    let mut options = options.filter(|option| !option.is_hide_set()).peekable();
    if options.peek().is_some() {
        text.push_str(&format!("\n{heading}:\n\n"));
    }
    options.for_each(|one| option(one, text));
}

/// A list item: how it is typed, what is taken without it, its help, its values.
fn option(option: &Arg, text: &mut String) {
    let short = option.get_short().filter(|_| option.get_long().is_some());
    let short = short.map(|short| format!("`-{short}`, ")).unwrap_or_default();
    let aliases = option.get_visible_aliases().unwrap_or_default();
    let aliases: String = aliases.iter().map(|alias| format!(", `--{alias}`")).collect();
    text.push_str(&format!("* {short}`{option}`{aliases}"));
    let takes_values = option.get_action().takes_values();
    let defaults = option.get_default_values().iter().filter(|_| takes_values);
    for default in defaults {
        text.push_str(&format!(" (default: `{}`)", default.display()));
    }
    let help = option.get_long_help().or_else(|| option.get_help());
    let help = help.map(|help| markdown(&help.to_string())).unwrap_or_default();
    text.push_str(&format!(": {}\n", help.replace('\n', "\n  ").replace("\n  \n", "\n\n")));
    for value in option.get_possible_values().iter().filter(|value| takes_values && !value.is_hide_set()) {
        text.push_str(&format!("  * `{}`{}\n", value.get_name(), help_of(value)));
    }
}

fn help_of(value: &PossibleValue) -> String {
    value.get_help().map(|help| format!(": {}", prose(&help.to_string()))).unwrap_or_default()
}

/// Paragraphs of help.
fn markdown(help: &str) -> String {
    let blocks = paragraphs(help).map(|paragraph| match paragraph {
        Paragraph::Prose(text) => prose(text),
        Paragraph::Example(lines) => format!("```sh\n{}\n```", lines.join("\n")),
    });
    blocks.collect::<Vec<_>>().join("\n\n")
}

/// Text that is not code, with what Markdown would take for its own.
fn prose(text: &str) -> String {
    let escape = |text: &str| text.replace('*', r"\*").replace('<', r"\<").replace('~', r"\~");
    let parts = text.split('`').enumerate();
    let parts: Vec<_> =
        parts.map(|(at, part)| if at % 2 == 0 { escape(part) } else { part.to_owned() }).collect();
    parts.join("`")
}

#[cfg(test)]
mod tests {
    use clap::builder::PossibleValue;
    use clap::{Arg, ArgAction, Command};

    use super::render;

    fn program() -> Command {
        let global = Arg::new("json").long("json").global(true).action(ArgAction::SetTrue).help("Print JSON");
        let kind =
            Arg::new("kind").long("kind").short('k').visible_alias("sort").default_value("oak").help("Kind");
        let kind = kind.long_help("Which kind\n\nNot *all* grow <here>: see `a*b`.\n\n  tree grow -k oak");
        let kind =
            kind.value_parser([PossibleValue::new("oak").help("Slow"), PossibleValue::new("yew").hide(true)]);
        let inner = Arg::new("sap").long("sap").help("For us").hide(true);
        let place = Arg::new("place").required(true).num_args(1..).help("Where");
        let grow = Command::new("grow").about("Grow trees").after_help("Slowly").args([kind, inner, place]);
        let hidden = Command::new("fell").hide(true).about("For us");
        Command::new("tree").about("Care for trees").arg(global).subcommands([grow, hidden])
    }

    #[test]
    fn shows_names_defaults_values_and_long_help_as_markdown() {
        let text = render(program());
        let grow = text.split("\n## ").find(|section| section.starts_with("tree grow\n")).unwrap();
        insta::assert_snapshot!(grow, @r"
        tree grow

        Grow trees

        Slowly

        ```text
        tree grow [OPTIONS] <place>...
        ```

        Arguments:

        * `<place>...`: Where

        Options:

        * `-k`, `--kind <kind>`, `--sort` (default: `oak`): Which kind

          Not \*all\* grow \<here>: see `a*b`.

          ```sh
          tree grow -k oak
          ```
          * `oak`: Slow
        ");
    }

    #[test]
    fn leaves_out_what_is_hidden_and_says_once_what_every_command_takes() {
        let text = render(program());
        for hidden in ["fell", "--sap", "For us", "yew"] {
            assert!(!text.contains(hidden), "{hidden}");
        }
        assert_eq!(text.matches("* `--json`: Print JSON").count(), 1);
        assert_eq!(text.matches("`--help`").count(), 2, "in the head, and as an option");
    }
}
