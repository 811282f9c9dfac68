//! Commands in messages are about the cluster that the message is about, in a folder with two of them. The real binary.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests may panic")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use builder::cli::Cli;
use builder::pki::{self, Running, RunningHost};
use builder::project;
use clap::CommandFactory;
use cluster::card::DockerSource;
use cluster::identity::Role;
use cluster::name::Hostname;
use tempfile::TempDir;

#[path = "fixture/image.rs"]
#[expect(dead_code, reason = "other tests make more of it")]
mod fixture;
#[path = "hints/follow.rs"]
mod follow;

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti anna@laptop";

/// A cluster file of Pis with cards, and beside it two Pis that `builder config` made a swarm.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let cluster = "version: 1\ncluster: red\nimage: os.img\nnodes: red[00-01]\n";
    let keys = format!("user: {{name: pi, authorized_keys: ['{KEY}']}}\n");
    fs::write(folder.path().join("cluster.yaml"), format!("{cluster}{keys}")).unwrap();
    let hosts = folder.path().join("hostnames.yaml");
    fs::write(&hosts, "manager: 127.0.0.1\nworker: 127.0.0.2\n").unwrap();
    let host = |host: &str, name: &str, role| RunningHost {
        host: host.to_owned(),
        name: Hostname::try_from(name).unwrap(),
        role,
        address: None,
        host_key: None,
    };
    let list = vec![host("127.0.0.1", "old00", Role::Manager), host("127.0.0.2", "old01", Role::Worker)];
    let running = Running::new(None, DockerSource::Docker, list);
    let made = project::of_running(&hosts, &running);
    pki::open(&made).unwrap();
    pki::remember_running(&made, &running).unwrap();
    folder
}

/// Everything a run says.
fn said(folder: &Path, words: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_builder"));
    let output = command.args(words).current_dir(folder).env_clear().env("HOME", folder).output().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

#[test]
fn beside_a_cluster_file_every_hint_names_the_list_of_hosts() {
    let folder = folder();
    let kill = said(folder.path(), &["kill", "-f", "hostnames.yaml"]);
    assert!(kill.ends_with("hint: if you are sure: builder kill -f hostnames.yaml --yes\n"), "{kill}");
    let check = said(folder.path(), &["check", "-f", "hostnames.yaml"]);
    assert!(
        check.contains("a good list of hosts: builder config hostnames.yaml makes them a swarm"),
        "{check}"
    );
    // Of the library's own hints, too, where nothing is known of the file.
    fs::remove_file(folder.path().join("hostnames.secrets/operator-key.pem")).unwrap();
    let next = "hint: then: sudo builder flash -f hostnames.yaml, or for images: builder build -f hostnames.yaml --force; for Pis \
                that ran before: builder config hostnames.yaml --take-over\n";
    // A file that is the command's own argument is one, too.
    for words in [&["status", "-f", "hostnames.yaml"][..], &["config", "hostnames.yaml", "--dry-run"]] {
        let said = said(folder.path(), words);
        assert!(said.contains(next), "{words:?}: {said}");
    }
}

#[test]
fn a_file_that_would_be_taken_anyway_is_not_named() {
    let folder = folder();
    let kill = said(folder.path(), &["kill"]);
    assert!(kill.ends_with("hint: if you are sure: builder kill --yes\n"), "{kill}");
    fs::remove_file(folder.path().join("cluster.yaml")).unwrap();
    for words in ["kill", "kill -f hostnames.yaml", "kill --file=hostnames.yaml --timeout 9s"] {
        let kill = said(folder.path(), &words.split(' ').collect::<Vec<_>>());
        // As it was typed, but for the quotes.
        let again = format!("hint: if you are sure: builder {words} --yes\n");
        assert!(kill.replace('\'', "").ends_with(&again), "{kill}");
    }
    fs::rename(folder.path().join("hostnames.yaml"), folder.path().join("my hosts.yaml")).unwrap();
    let status = said(folder.path(), &["status", "-f", "my hosts.yaml"]);
    assert!(status.ends_with("hint: builder config 'my hosts.yaml'\n"), "{status}");
}

/// Only [`builder::error::Hint`] adds the file in use to a command. A command within a plain text would act on another
/// cluster wherever two files are in a folder.
#[test]
fn no_text_in_the_sources_names_a_command_of_ours() {
    // Pages about the commands, which are about no file.
    let about_commands = ["manual.rs"];
    let verbs: Vec<_> =
        Cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    assert!(files.len() > 100, "{} files", files.len());
    let mut found = Vec::new();
    for file in files {
        let name = file.strip_prefix(&src).unwrap().display().to_string();
        if about_commands.contains(&name.as_str()) || name.ends_with("tests.rs") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        found.extend(commands_in(text, &verbs).map(|line| format!("{name}: {line}")));
    }
    assert!(found.is_empty(), "make it `hint![\"text\", builder([\"verb\"])]`:\n{}", found.join("\n"));
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The statements, comments left out, in which a text has `builder <verb>`, or a verb that is filled in later.
fn commands_in<'t>(text: &'t str, verbs: &'t [String]) -> impl Iterator<Item = String> + use<'t> {
    let code = text.lines().map(str::trim).filter(|line| !line.starts_with("//"));
    // A text of several lines is one line.
    let code = code.collect::<Vec<_>>().join("\n").replace(" \\\n", " ").replace("\\\n", "");
    let lines: Vec<_> = code.lines().map(str::to_owned).collect();
    lines.into_iter().filter(move |line| {
        line.match_indices("builder ").any(|(at, word)| {
            let before = line[..at].chars().next_back().unwrap_or(' ');
            let after = &line[at + word.len()..];
            let verb = after.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap();
            let is_verb = after.starts_with('{') || verbs.iter().any(|known| known == verb);
            // Advice of `why` has its commands in braces.
            let is_marked = line[..at].rfind('{') > line[..at].rfind('}');
            is_verb && !is_marked && !before.is_ascii_alphanumeric() && !"-_/".contains(before)
        })
    })
}

/// The commands that hints are made of in the sources: the file, and the first word behind `builder`.
fn commands_in_hints(manifest: &Path) -> Vec<(String, String)> {
    let src = manifest.join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    let mut found = Vec::new();
    for file in files {
        let name = file.strip_prefix(&src).unwrap().display().to_string();
        let text = fs::read_to_string(&file).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for call in ["builder([\"", "Hint::run([\"", "again([\""] {
            let verbs = text.split(call).skip(1).map(|rest| rest.split('"').next().unwrap().to_owned());
            let verbs = verbs.filter(|verb| !name.starts_with("error/hint") && verb != "...");
            found.extend(verbs.map(|verb| (name.clone(), verb)));
        }
    }
    assert!(found.len() > 50, "{found:?}");
    found
}

#[test]
fn a_command_in_a_text_is_found() {
    let verbs = ["status".to_owned(), "images".to_owned()];
    let found = |text: &str| commands_in(text, &verbs).count();
    assert_eq!(found("let a = \"type builder status\";"), 1);
    assert_eq!(found("let a = \"type \\\n    builder \\\n    images list\";"), 1);
    assert_eq!(found("format!(\"builder {verb}\")"), 1);
    assert_eq!(found("\"to see it: {sudo builder status}\""), 0);
    assert_eq!(found("\"{name}: builder status\""), 1);
    assert_eq!(found("/// Run `builder status`.\nlet a = \"a builder updates the rebuilder status\";"), 0);
}
