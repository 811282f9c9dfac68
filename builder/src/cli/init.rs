//! `builder init`.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use thiserror::Error;

use crate::cli::Globals;
use crate::error::{Failure, Kind, builder, hint};
use crate::project;

/// Write a commented starter cluster file
#[derive(Debug, Args)]
pub struct InitArgs {}

/// The starter. The key file is put in when it is written.
const STARTER: &str = include_str!("init/starter.yaml");
/// What stands in the starter for the user's public key.
const KEY: &str = "~/.ssh/id_ed25519.pub";

#[derive(Debug, Error)]
enum InitError {
    #[error("{0} is there already and is not overwritten")]
    Exists(PathBuf),
    #[error("cannot write {path}")]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

#[derive(Debug, Error)]
#[error("cannot print the result")]
struct PrintError(#[source] io::Error);

/// Runs the command.
pub fn run(globals: &Globals, _args: &InitArgs) -> Result<(), Failure> {
    let file = &globals.file;
    let found = project::own_public_keys().into_iter().next();
    let text = starter(found.as_deref());
    create(file, &text).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => {
            Failure::new(Kind::Usage, InitError::Exists(file.clone())).hint(hint![
                "name another file with `-f FILE`, or check this one with `",
                builder(["check"]),
                "`"
            ])
        }
        _ => Failure::new(Kind::Failed, InitError::Write { path: file.clone(), source }),
    })?;
    if globals.json {
        let made = json!({ "file": file, "public_key": found });
        return writeln!(io::stdout(), "{}", crate::json::value_line(&made))
            .map_err(|error| Failure::new(Kind::Failed, PrintError(error)));
    }
    if !globals.quiet {
        talk(file, found.as_deref());
    }
    Ok(())
}

fn starter(key: Option<&str>) -> String {
    STARTER.replace(KEY, key.unwrap_or(KEY))
}

/// Writes a file that was not there. Pass phrases and hashes will be written into it, so it is the user's alone.
fn create(file: &Path, text: &str) -> io::Result<()> {
    let mut made = File::options().write(true).create_new(true).mode(0o600).open(file)?;
    made.write_all(text.as_bytes())
}

/// Says on standard error what was done and what comes next.
fn talk(file: &Path, key: Option<&str>) {
    let mut words = format!("wrote {}\n", file.display());
    words.push_str(&match key {
        Some(key) => format!("your public key: {key}\n"),
        None => "you have no SSH key yet: make one with `ssh-keygen -t ed25519`\n".to_owned(),
    });
    let next = hint!["next: edit the file, then run `", builder(["check"]), "`\n"];
    words.push_str(&next.text(file));
    // Nobody reads a closed standard error.
    let _unread = io::stderr().lock().write_all(words.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_starter_is_a_cluster_file_and_shows_every_key() {
        let cluster = cluster::spec::read(STARTER, "starter.yaml").unwrap();
        assert_eq!(cluster.nodes.len(), 5);
        assert_eq!(cluster.user.authorized_keys, [KEY]);
        for key in cluster::spec::keys() {
            let last = key.rsplit('.').next().unwrap();
            assert!(STARTER.contains(&format!("{last}:")), "{key} is missing in the starter");
        }
    }

    #[test]
    fn every_example_in_the_starter_can_be_switched_on() {
        let on: String = STARTER
            .lines()
            .map(|line| {
                let example = line.trim_start().strip_prefix('#').filter(|rest| !rest.starts_with(' '));
                let indent = line.len() - line.trim_start().len();
                example.map_or_else(|| line.to_owned(), |example| format!("{:indent$}{example}", "")) + "\n"
            })
            .collect();
        let cluster =
            cluster::spec::read(&on, "starter.yaml").unwrap_or_else(|problems| panic!("{problems}"));
        assert!(cluster.wifi.is_some() && cluster.nodes.iter().all(|node| node.address.is_some()));
    }
}
