//! Which machines a command is for: the nodes of a cluster file, those of the lesson's `hostnames.yaml`, or what the
//! command line names. Nothing is asked of the network here.

use std::path::{Path, PathBuf};

use cluster::host::{self, Host, HostError};
use cluster::spec::hostnames::Hostnames;
use thiserror::Error;

use crate::error::{Failure, Hint, Kind, builder, hint};
use crate::plan;
use crate::project::{self, Project};

/// The machines, and whose they are.
#[derive(Debug)]
pub struct Hosts {
    /// In the order of the file or of the command line, each once.
    pub list: Vec<Host>,
    /// The cluster file they are nodes of: then their host keys are those of its secrets folder. `None` for machines
    /// that the user's own ssh knows.
    pub project: Option<Project>,
}

/// Why there are none.
#[derive(Debug, Error)]
pub enum HostsError {
    /// Words of the command line that name no machine.
    #[error("`{text}` {reason}")]
    Word {
        /// What was written.
        text: String,
        /// Why not.
        reason: HostError,
    },
    /// A machine that was named more than once.
    #[error("the host {0} is named twice")]
    Twice(String),
    /// A machine that is not in the file.
    #[error("{host} is not in {file}")]
    Unknown {
        /// What was asked for.
        host: String,
        /// Where it is not.
        file: PathBuf,
    },
}

impl From<HostsError> for Failure {
    fn from(error: HostsError) -> Self {
        let hint: Hint = match &error {
            HostsError::Word { reason, .. } => reason.advice().into(),
            HostsError::Twice(_) => "name each host once".into(),
            HostsError::Unknown { .. } => "name some of its hosts, or others with --hosts".into(),
        };
        Self::new(Kind::Usage, error).hint(hint)
    }
}

/// Finds the machines. `given` are lists such as `red[00-04],pi@blue`, which need no file; without any, those of the
/// file, of which `words` may choose some.
///
/// # Errors
/// [`Kind::Usage`]: a wrong file, with all that is wrong; a word that names no machine; a machine named twice.
pub fn find(file: &Path, given: &[String], words: &[String]) -> Result<Hosts, Failure> {
    if !given.is_empty() {
        return Ok(Hosts { list: named(given)?, project: None });
    }
    if let Some(found) = project::hosts(file) {
        return Ok(Hosts { list: choose(&found?, file, words)?, project: None });
    }
    let project = project::load(file).map_err(|failure| match file.exists() {
        true => failure,
        false => {
            let example = builder(["exec", "--hosts", "red[00-04]", "--", "uname", "-a"]);
            failure.hint(hint!["or name the hosts: ", example])
        }
    })?;
    let names = plan::select(&project.cluster, words)?;
    let list = names.iter().map(|name| Host::named(name.to_string())).collect();
    Ok(Hosts { list, project: Some(project) })
}

fn named(lists: &[String]) -> Result<Vec<Host>, HostsError> {
    let mut hosts: Vec<Host> = Vec::new();
    for list in lists {
        for host in host::expand_list(list).map_err(|(text, reason)| HostsError::Word { text, reason })? {
            // The same machine for two users is meant.
            if hosts.contains(&host) {
                return Err(HostsError::Twice(host.to_string()));
            }
            hosts.push(host);
        }
    }
    Ok(hosts)
}

/// The machines of the lesson's file that `words` mean, in its order; all without any.
fn choose(found: &Hostnames, file: &Path, words: &[String]) -> Result<Vec<Host>, HostsError> {
    let mut wanted = Vec::new();
    for word in words {
        let names = host::expand(word);
        let names = names.map_err(|error| HostsError::Word { text: word.clone(), reason: error.into() })?;
        for name in names {
            if !found.all().any(|host| is_called(host, &name)) {
                return Err(HostsError::Unknown { host: name, file: file.to_owned() });
            }
            wanted.push(name);
        }
    }
    let is_wanted = |host: &&Host| words.is_empty() || wanted.iter().any(|name| is_called(host, name));
    Ok(found.all().filter(is_wanted).cloned().collect())
}

/// Whether a word means this machine: its name, or all that the file has of it.
fn is_called(host: &Host, word: &str) -> bool {
    host.name == word || host.to_string() == word
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(hosts: &Hosts) -> Vec<String> {
        hosts.list.iter().map(ToString::to_string).collect()
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn the_command_line_needs_no_file() {
        let given = words(&["red[00-01],10.1.1.[2-3]", "pi@blue"]);
        let hosts = find(Path::new("no such file"), &given, &[]).unwrap();
        assert_eq!(names(&hosts), ["red00", "red01", "10.1.1.2", "10.1.1.3", "pi@blue"]);
        let twice = find(Path::new("-"), &words(&["red[00-02]", "red01"]), &[]).unwrap_err();
        assert_eq!(twice.render(), "error: the host red01 is named twice\nhint: name each host once\n");
        let option = find(Path::new("-"), &words(&["-oProxyCommand=id"]), &[]).unwrap_err();
        assert_eq!(option.kind(), Kind::Usage);
        assert!(option.render().starts_with("error: `-oProxyCommand=id` begins with a hyphen\n"));
    }

    #[test]
    fn the_lessons_file_is_read_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("hostnames.yaml");
        std::fs::write(&file, "manager: 10.1.1.1\nworker:\n- 10.1.1.2\n- 10.1.1.3\n- 10.1.1.4\n").unwrap();
        let all = find(&file, &[], &[]).unwrap();
        assert_eq!(names(&all), ["10.1.1.1", "10.1.1.2", "10.1.1.3", "10.1.1.4"]);
        assert!(all.project.is_none());
        let some = find(&file, &[], &words(&["10.1.1.[3-4]", "10.1.1.1"])).unwrap();
        assert_eq!(names(&some), ["10.1.1.1", "10.1.1.3", "10.1.1.4"]);
        std::fs::write(&file, "manager: gate:2200\nworker: \"pi@gate:[2201-2202]\"\n").unwrap();
        let ports = find(&file, &[], &words(&["pi@gate:2202"])).unwrap();
        assert_eq!(names(&ports), ["pi@gate:2202"]);
        assert_eq!(find(&file, &[], &words(&["gate"])).unwrap().list.len(), 3);
        let unknown = find(&file, &[], &words(&["10.1.1.9"])).unwrap_err().render();
        assert!(unknown.starts_with("error: 10.1.1.9 is not in "), "{unknown}");

        std::fs::write(&file, "manager: <IP>\nworker: <ip01>\n").unwrap();
        let wrong = find(&file, &[], &[]).unwrap_err();
        assert_eq!(wrong.kind(), Kind::Usage);
        assert!(wrong.render().contains("2 problems in "), "{}", wrong.render());
    }

    #[test]
    fn without_a_file_it_says_how_to_do_without() {
        let absent = find(Path::new("/nowhere/cluster.yaml"), &[], &[]).unwrap_err().render();
        assert!(absent.contains("--hosts 'red[00-04]' --"), "{absent}");
    }
}
