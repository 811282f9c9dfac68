//! Commands in messages, as they have to be typed. A command without `-f` is about another cluster than the one that says so
//! where two files are in a folder. Messages name commands as if there was one; here the file comes in.

use std::path::Path;

/// The cluster file's usual name.
pub const CLUSTER_FILE: &str = "cluster.yaml";
/// The usual name of a list of Pis that already run.
const HOSTS_FILE: &str = "hostnames.yaml";

/// The commands that are about the cluster of a file. `exec` is not among them: the hint that names it has `--hosts` instead.
const ABOUT_A_FILE: [&str; 19] = [
    "activate",
    "build",
    "check",
    "config",
    "drain",
    "flash",
    "images pull",
    "kill",
    "label",
    "ls",
    "plan",
    "rehearse",
    "revoke",
    "rm",
    "status",
    "token",
    "up",
    "verify",
    "why",
];

/// The file that a command in this folder is about if none is named: a list of hosts only where there is no cluster file.
pub fn usual_file() -> &'static Path {
    let [usual, other] = [CLUSTER_FILE, HOSTS_FILE].map(Path::new);
    if !usual.exists() && other.exists() { other } else { usual }
}

/// A text whose commands are about the cluster of `file`, wherever they would be about another without a word on it.
pub fn about(file: &Path, text: &str) -> String {
    if file == usual_file() { text.to_owned() } else { with_file(&path(file), text) }
}

fn with_file(file: &str, text: &str) -> String {
    const PROGRAM: &str = "builder ";
    let is_word = |c: char| c.is_ascii_alphanumeric() || "-_/".contains(c);
    let (mut done, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once(PROGRAM) {
        done.push_str(before);
        let is_program = !done.ends_with(is_word);
        done.push_str(PROGRAM);
        let ends =
            |command: &&&str| after.strip_prefix(**command).is_some_and(|after| !after.starts_with(is_word));
        let command = ABOUT_A_FILE.iter().find(ends).filter(|_| is_program).copied().unwrap_or_default();
        done.push_str(command);
        rest = after.get(command.len()..).unwrap_or_default();
        // `config` takes it as an argument. Some messages name it themselves.
        let own = rest.split(PROGRAM).next().unwrap_or_default();
        let is_named = rest.starts_with(&format!(" {file}"))
            || [" -f", " --file"].iter().any(|option| own.contains(&format!("{option} {file}")));
        if !command.is_empty() && !is_named {
            done.push_str(if command == "config" { " " } else { " -f " });
            done.push_str(file);
        }
    }
    done + rest
}

/// A path for a shell.
pub fn path(path: &Path) -> String {
    word(&path.display().to_string())
}

/// A word for a shell, in quotes where one would read something else.
pub fn word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@:,=".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Words for a shell, each after a blank.
pub fn words<W: AsRef<str>>(words: &[W]) -> String {
    words.iter().map(|one| format!(" {}", word(one.as_ref()))).collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn a_command_about_another_file_than_the_usual_one_names_it() {
        let text = "to end it: builder kill; `builder up`, sudo builder flash red03 --device /dev/sdb, builder config --yes";
        assert_eq!(about(usual_file(), text), text);
        assert_eq!(
            about(Path::new("hosts of the lab.yaml"), text),
            "to end it: builder kill -f 'hosts of the lab.yaml'; `builder up -f 'hosts of the lab.yaml'`, sudo builder flash -f \
             'hosts of the lab.yaml' red03 --device /dev/sdb, builder config 'hosts of the lab.yaml' --yes"
        );
        let elsewhere = [
            "builder config blue.yaml",
            "builder status -f blue.yaml --wait",
            "builder flash red03 --device /dev/sdb --file blue.yaml",
            "builder devices --all",
            "use the builder that made it",
            "a builder updates it",
            "the rebuilder kill",
        ];
        for text in elsewhere {
            assert_eq!(about(Path::new("blue.yaml"), text), text);
        }
    }

    #[test]
    fn every_command_is_known_to_be_about_a_file_or_not() {
        let others = ["completions", "devices", "exec", "help", "images", "init", "man"];
        for command in crate::cli::Cli::command().get_subcommands() {
            let name = command.get_name();
            assert!(ABOUT_A_FILE.contains(&name) != others.contains(&name), "{name}");
        }
    }

    #[test]
    fn words_are_quoted_for_the_shell() {
        assert_eq!(words(&["red03", "red[01-02]", "", "my Pi's"]), r" red03 'red[01-02]' '' 'my Pi'\''s'");
        assert_eq!(path(Path::new("a/b.secrets")), "a/b.secrets");
    }
}
