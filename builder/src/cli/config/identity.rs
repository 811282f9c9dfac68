//! Machines that have the name of another machine: what the operator says of them decides which key they get.

use std::collections::BTreeSet;
use std::io::IsTerminal;

use cluster::identity::Role;
use cluster::name::Hostname;
use cluster::wire::Revoke;
use thiserror::Error;

use super::ConfigError;
use super::bring::Way;
use super::field::Field;
use crate::cli::ask;
use crate::error::{Failure, Kind, one_line};
use crate::pki;
use crate::remote::Manager;
use crate::running::check::{Obstacle, Verdict};

/// Nodes that are other machines now, each with the machine as the file has it.
pub(super) type Replaced = BTreeSet<(Hostname, String)>;

/// A machine of `--replace` that is not in the file.
#[derive(Debug, Error)]
#[error("--replace names {0}, and the file has no such host")]
struct Absent(String);

/// Reads `NODE=HOST`, or `NODE` for a host that is called like its node.
pub(super) fn replacement(text: &str) -> Result<(Hostname, String), String> {
    let (node, host) = text.split_once('=').unwrap_or((text, text));
    let node = Hostname::try_from(node).map_err(|reason| format!("`{node}` {reason}"))?;
    Ok((node, host.to_owned()))
}

/// What the command line says.
///
/// # Errors
/// [`Kind::Usage`] when it names a host that the file does not have.
pub(super) fn given(field: &Field, words: &[(Hostname, String)]) -> Result<Replaced, Failure> {
    let is_in = |host: &String| field.entries.iter().any(|entry| entry.host.to_string() == *host);
    match words.iter().find(|(_, host)| !is_in(host)) {
        Some((_, host)) => Err(Failure::new(Kind::Usage, Absent(host.clone()))
            .hint("write the host as the file has it: --replace NODE=HOST")),
        None => Ok(words.iter().cloned().collect()),
    }
}

/// Asks about every machine that has the name of another, and adds those that the operator takes for that node. Does nothing where
/// standard input is not a terminal.
///
/// # Errors
/// When the terminal cannot be used, or Ctrl-C was pressed.
pub(super) fn ask(
    field: &Field,
    verdicts: &[Verdict],
    replaced: &mut Replaced,
    way: &Way<'_>,
) -> Result<(), Failure> {
    if !std::io::stdin().is_terminal() {
        return Ok(());
    }
    for (entry, verdict) in field.entries.iter().zip(verdicts) {
        let Verdict::Unfit(obstacle @ Obstacle::OtherMachine { name, .. }, _) = verdict else { continue };
        if replaced.iter().any(|(taken, _)| taken == name) {
            continue;
        }
        let host = entry.host.to_string();
        let what = format!(
            "{host}: {obstacle}.\nIf it is {name} ({}) from now on, it gets a new key, and the former one is revoked.",
            entry.role.as_str()
        );
        match ask::answer(&what, &format!("Is it {name}? [y/N] "), way.interrupt)? {
            Some(true) => {
                replaced.insert((name.clone(), host));
            }
            Some(false) => {}
            None => return Err(ConfigError::Interrupted.into()),
        }
    }
    Ok(())
}

/// Tells the managers which keys of nodes that are other machines now are revoked, so that the former machines lose their membership,
/// too. Managers that are not reached learn of the keys with what this run, or the next one, delivers to them.
///
/// # Errors
/// When the secrets folder cannot be used.
pub(super) fn revoke(field: &Field, renewed: &BTreeSet<Hostname>, way: &Way<'_>) -> Result<(), Failure> {
    let Some(project) = field.project_before() else { return Ok(()) };
    // A manager's key is in the payload of every other manager, and builder cannot tell them that it is revoked.
    let is_worker = |name: &&Hostname| {
        let mut nodes = project.cluster.nodes.iter();
        nodes.any(|node| node.name == **name && node.role == Role::Worker)
    };
    let names: Vec<_> = renewed.iter().filter(is_worker).collect();
    if names.is_empty() {
        return Ok(());
    }
    if !project.cluster.nodes.iter().any(|node| node.role == Role::Manager) {
        return Ok(());
    }
    let identities = pki::existing(&project)?;
    let mut manager = Manager::new(&project, &identities, None)?;
    for name in names {
        let pki::Keys { present, former } = pki::keys(&project, name)?;
        let keys: BTreeSet<_> = former.into_iter().chain(present).collect();
        if keys.is_empty() {
            continue;
        }
        let why = match manager.revoke(name, &Revoke { keys }) {
            Ok((_, untold)) if untold.is_empty() => continue,
            Ok((_, untold)) => {
                let managers: Vec<_> = untold.iter().map(|one| one.manager.as_str()).collect();
                format!("could not reach {}", managers.join(", "))
            }
            Err(error) => one_line(&error),
        };
        way.progress.say(&format!(
            "the former key of {name} is not revoked everywhere: {why}. Each manager refuses it once this command has updated \
             its agent"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replacement_names_node_and_host() {
        let read = |text: &str| replacement(text).map(|(node, host)| (node.to_string(), host));
        assert_eq!(read("red03=pi@10.1.1.9"), Ok(("red03".to_owned(), "pi@10.1.1.9".to_owned())));
        assert_eq!(read("red03"), Ok(("red03".to_owned(), "red03".to_owned())));
        assert!(read("../red03=10.1.1.9").unwrap_err().starts_with("`../red03` "));
    }
}
