//! `builder man`: what is in the pages, what programs that show them say, and folders that take none.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use builder::error::EXIT_CODES;
use tempfile::TempDir;

use crate::bench::{builder, commands, run, text};

/// A folder, and the pages that were written into a folder in it that was not there.
fn pages() -> (TempDir, BTreeMap<String, String>) {
    let folder = tempfile::tempdir().unwrap();
    let output = builder(folder.path(), &["man", "share/man1"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "next: man ./share/man1/builder.1\n");
    let pages = read(&folder.path().join("share/man1"));
    let listed: BTreeSet<_> = text(&output.stdout).lines().map(str::to_owned).collect();
    assert_eq!(listed, pages.keys().map(|name| format!("share/man1/{name}")).collect());
    (folder, pages)
}

fn read(folder: &Path) -> BTreeMap<String, String> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    files
        .map(|file| (file.file_name().into_string().unwrap(), fs::read_to_string(file.path()).unwrap()))
        .collect()
}

#[test]
fn every_command_has_a_page_with_all_its_options() {
    let (_folder, mut pages) = pages();
    for shown in commands() {
        let title = [&["builder".to_owned()], shown.words.as_slice()].concat().join("-");
        let page = pages.remove(&format!("{title}.1")).unwrap_or_else(|| panic!("{title} has no page"));
        let version = env!("CARGO_PKG_VERSION");
        let head = format!(".TH {} 1 \"\" \"builder {version}\" ", title.to_uppercase());
        assert!(page.lines().any(|line| line.starts_with(&head)), "{page}");
        let last = if shown.words.is_empty() { "FILES" } else { "\"SEE ALSO\"" };
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "\"GLOBAL OPTIONS\"", last] {
            let head = format!(".SH {section}");
            assert_eq!(page.lines().filter(|line| *line == head).count(), 1, "{title}: {section}");
        }
        for option in shown.options() {
            let typed = format!("\\fB{}\\fR", option.replace('-', "\\-"));
            assert!(page.lines().any(|line| line.contains(&typed)), "{title}: {option}");
        }
        for name in shown.commands() {
            let page_of = format!("\n{}\\-{name}(1)\n", title.replace('-', "\\-"));
            assert!(page.contains(&page_of), "{title}: {name}");
        }
        for argument in shown.command.get_arguments().filter(|argument| !argument.is_hide_set()) {
            let help = argument.get_long_help().or_else(|| argument.get_help()).unwrap().to_string();
            let help = help
                .split('\n')
                .next()
                .unwrap()
                .replace('\\', r"\\")
                .replace('-', "\\-")
                .replace('\'', "\\*(Aq");
            assert!(page.contains(&help), "{title}: {argument}: {help}");
        }
    }
    assert!(pages.is_empty(), "{:?} belong to no command", pages.keys());
}

#[test]
fn exit_codes_and_files_are_in_the_first_page() {
    let (_folder, pages) = pages();
    let page = &pages["builder.1"];
    for (code, meaning) in EXIT_CODES {
        assert!(page.contains(&format!(".TP\n\\fB{code}\\fR\n{meaning}\n")), "{code}");
    }
    assert!(page.contains(".TP\n\\fIcluster.lock\\fR\n"));
}

/// Everything the programs know to complain about. mandoc's remarks on style are about how clap_mangen breaks lines.
#[test]
fn programs_that_show_man_pages_do_not_complain() {
    let (folder, pages) = pages();
    for name in pages.keys() {
        let path = folder.path().join("share/man1").join(name);
        for (program, words) in [
            ("groff", ["-man", "-ww", "-z", "-Tutf8"].as_slice()),
            ("mandoc", ["-T", "lint", "-W", "error"].as_slice()),
        ] {
            let output = run(Command::new(program).args(words).arg(&path));
            let said = [text(&output.stdout), text(&output.stderr)].concat();
            assert!(output.status.success() && said.is_empty(), "{program} {name}: {said}");
        }
    }
}

#[test]
fn the_synopsis_and_the_examples_can_be_typed_as_they_stand() {
    let (folder, _pages) = pages();
    let page = folder.path().join("share/man1/builder-exec.1");
    let mut groff = Command::new("groff");
    // Without the sequences that make letters bold.
    let groff = groff.env("GROFF_NO_SGR", "1").args(["-man", "-Tascii", "-P-cbou"]).arg(page);
    let output = run(groff);
    let shown = text(&output.stdout);
    for line in [
        "builder exec [OPTIONS] [HOST]... -- <COMMAND>...",
        "builder exec -- 'curl -fsSL https://example.org/setup | sh'",
    ] {
        assert!(shown.lines().any(|shown| shown.trim() == line), "{line} is not in:\n{shown}");
    }
}

#[test]
fn a_second_run_replaces_every_page_with_the_same_bytes_for_everybody_to_read() {
    let (folder, pages) = pages();
    let place = folder.path().join("share/man1");
    for name in pages.keys() {
        fs::write(place.join(name), "old").unwrap();
    }
    fs::write(place.join("other.1"), "of another program").unwrap();
    let output = builder(folder.path(), &["--json", "-q", "man", "share/man1"]);
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));
    let mut again = read(&place);
    assert_eq!(again.remove("other.1").unwrap(), "of another program");
    assert_eq!(again, pages, "and nothing lies beside them");
    let listed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(listed["pages"].as_array().unwrap().len(), pages.len());
    for name in pages.keys() {
        let mode = fs::metadata(place.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644, "{name}");
    }
}

#[test]
fn a_folder_that_cannot_be_is_refused_with_what_to_type() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "precious").unwrap();
    for place in ["file", "file/man1"] {
        let output = builder(folder.path(), &["man", place]);
        assert_eq!(output.status.code(), Some(1), "{place}");
        assert!(output.stdout.is_empty());
        let said = text(&output.stderr);
        assert!(said.starts_with("error: cannot make the folder file"), "{said}");
        assert!(
            said.ends_with("hint: name a folder of yours, as in: builder man share/man/man1\n"),
            "{said}"
        );
    }
    assert_eq!(read(folder.path()), BTreeMap::from([("file".to_owned(), "precious".to_owned())]));
}

#[test]
fn a_page_that_cannot_get_its_name_is_told_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("builder.1")).unwrap();
    let output = builder(folder.path(), &["man", "."]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.starts_with("error: cannot put man pages into .\ncaused by: "), "{said}");
    assert!(said.contains("builder.1\n") && said.contains("hint: "), "{said}");
    let left = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 1, "only the folder in the way");
}
