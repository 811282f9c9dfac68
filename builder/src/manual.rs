//! The manual: a man page per command, and `docs/reference.md`. Both come from the definitions that also read the command
//! line, so that they cannot say anything else than `--help`; what those do not know stands here. Pure: nothing is written.

use clap::Command;

use crate::lock;

pub mod pages;
pub mod reference;

/// The files that commands read and write, and what they are for.
pub const FILES: [(&str, &str); 9] = [
    ("cluster.yaml", "The cluster file, where no other is named with --file."),
    (
        "hostnames.yaml",
        "Instead of it, for Pis that already run: their addresses. Taken where no file is named and there is no \
         cluster.yaml. Its secrets folder is hostnames.secrets/.",
    ),
    (
        lock::NAME,
        "Beside the cluster file: the release that an image's name meant on the first day. Belongs into git.",
    ),
    (
        "CLUSTER.secrets/",
        "Beside it, and yours alone: the cluster's keys, each node's identity, known_hosts and ssh_config. Must not get \
         into git.",
    ),
    ("CLUSTER.rehearsal/", "Beside it: what the machines of the last rehearsal wrote."),
    ("cards/", "The card images that builder build makes, where no other folder is named with --output."),
    (
        "~/.cache/builder/",
        "Downloaded and decompressed images, where no other folder is named with --cache. On macOS \
         ~/Library/Caches/builder/.",
    ),
    (
        "~/.config/builder/trusted-hosts.json",
        "The hosts that you confirmed with builder images trust or at a question. Another folder with XDG_CONFIG_HOME. On \
         macOS ~/Library/Application Support/builder/.",
    ),
    (
        "firstboot-ARCH",
        "The agent's binaries for the Pis. Looked for beside builder, in ../share/builder and in ../lib/builder.",
    ),
];

/// A paragraph of help.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Paragraph<'t> {
    /// Text that may be broken anywhere.
    Prose(&'t str),
    /// Lines to be typed, which are indented in `--help`.
    Example(Vec<&'t str>),
}

fn paragraphs(text: &str) -> impl Iterator<Item = Paragraph<'_>> {
    let paragraphs = text.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty());
    paragraphs.map(|paragraph| match paragraph.lines().all(|line| line.starts_with("  ")) {
        true => Paragraph::Example(paragraph.lines().map(str::trim).collect()),
        false => Paragraph::Prose(paragraph),
    })
}

/// What a command does, in all words that `--help` has before and after the options.
fn story(command: &Command) -> String {
    let about = command.get_long_about().or_else(|| command.get_about());
    let after = command.get_after_long_help().or_else(|| command.get_after_help());
    let parts: Vec<_> = about.into_iter().chain(after).map(ToString::to_string).collect();
    parts.join("\n\n")
}

/// How a command is typed, as `--help` has it.
fn usage(command: &Command) -> String {
    let usage = command.clone().render_usage().to_string();
    usage.trim_start_matches("Usage: ").to_owned()
}

/// The commands of a command that are not hidden.
fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|command| !command.is_hide_set())
}
