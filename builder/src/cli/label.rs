//! `builder label`: labels of members, for placement constraints.

use std::io::{self, Write};

use clap::Args;
use cluster::label::{self, LabelError};
use cluster::text::printable;
use cluster::wire::{Labels, SetLabels};
use thiserror::Error;

use super::member::{self, Member, MemberError};
use crate::cli::Globals;
use crate::error::{Failure, Kind, builder, hint};
use crate::pki;
use crate::project::{self, Project};
use crate::remote::{Address, Manager};

/// Set labels of nodes, or take labels away
///
/// Labels that the cluster file plans are changed there: the managers put
/// them back. Others last until the node joins anew, with a new card say.
#[derive(Debug, Args)]
pub struct LabelArgs {
    /// A node, a range such as 'red[02-03]', or a Swarm node id
    #[arg(value_name = "NODE")]
    node: String,
    /// Labels to set; with a hyphen behind, labels to take away
    #[arg(value_name = "KEY=VALUE|KEY-", required = true)]
    labels: Vec<String>,
    /// Where the manager is: an address or a name, and a port if not 8377
    ///
    /// Without it: the address in the cluster file, the last one that was good, mDNS, the name server.
    #[arg(long, value_name = "ADDRESS")]
    manager: Option<Address>,
}

/// A word that is no change.
#[derive(Debug, Error, PartialEq, Eq)]
enum WordError {
    #[error("`{0}` neither sets a label nor takes one away")]
    Neither(String),
    #[error("`{word}` {reason}")]
    Rule { word: String, reason: LabelError },
    #[error("the label {0} is named twice")]
    Twice(String),
    #[error("more than {} labels are named", label::COUNT_LIMIT)]
    Many,
}

impl WordError {
    /// As shown to a user who wants labels for `node`.
    fn into_failure(self, node: &str) -> Failure {
        let hint = match self {
            Self::Twice(_) => "name each label once".into(),
            Self::Many => "change some of them first, and then the others".into(),
            Self::Neither(_) | Self::Rule { .. } => {
                let example = builder(["label", node, "disk=ssd", "old-"]);
                hint!["write disk=ssd to set a label, disk- to take it away: ", example]
            }
        };
        Failure::new(Kind::Usage, self).hint(hint)
    }
}

/// Runs the command.
pub fn run(globals: &Globals, args: &LabelArgs) -> Result<(), Failure> {
    label(&project::load(&globals.file)?, args, globals.json, &mut io::stdout())
}

/// Changes the labels; prints all that the members have then.
///
/// # Errors
/// [`Kind::Usage`] for a word that means no member or no change; nothing has changed then. [`Kind::NotAsWanted`] for
/// a label that the cluster file plans otherwise.
pub fn label(project: &Project, args: &LabelArgs, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let wanted = read(&args.labels).map_err(|error| error.into_failure(&args.node))?;
    let identities = pki::existing(project)?;
    let mut manager = Manager::new(project, &identities, args.manager.clone())?;
    let members = member::find(std::slice::from_ref(&args.node), &manager.swarm()?)?;
    let mut all = Vec::new();
    for Member { name, id } in &members {
        let labels = manager.set_labels(id, &wanted)?;
        if !json {
            writeln!(out, "{name}: {}", told(&labels)).map_err(MemberError::Print)?;
        }
        all.push(labels);
    }
    if json {
        let text = crate::json::line(&all).map_err(MemberError::Json)?;
        writeln!(out, "{text}").map_err(MemberError::Print)?;
    }
    Ok(())
}

fn told(Labels { labels, .. }: &Labels) -> String {
    if labels.is_empty() {
        return "no labels".to_owned();
    }
    let labels = labels.iter().map(|(label, value)| printable(&format!("{label}={value}")));
    labels.collect::<Vec<_>>().join(" ")
}

/// `KEY=VALUE` sets, `KEY-` takes away.
fn read(words: &[String]) -> Result<SetLabels, WordError> {
    let mut wanted = SetLabels::default();
    for word in words {
        let rule = |reason| WordError::Rule { word: printable(word), reason };
        let (name, value) = match (word.split_once('='), word.strip_suffix('-')) {
            (Some((name, value)), _) => (name, Some(value)),
            (None, Some(name)) => (name, None),
            (None, None) => return Err(WordError::Neither(printable(word))),
        };
        label::check_name(name).map_err(rule)?;
        if wanted.set.contains_key(name) || wanted.unset.contains(name) {
            return Err(WordError::Twice(name.to_owned()));
        }
        if let Some(value) = value {
            label::check_value(value).map_err(rule)?;
            wanted.set.insert(name.to_owned(), value.to_owned());
        } else {
            wanted.unset.insert(name.to_owned());
        }
    }
    if wanted.set.len().max(wanted.unset.len()) > label::COUNT_LIMIT {
        return Err(WordError::Many);
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn a_word_sets_a_label_or_takes_one_away() {
        let wanted = read(&words("disk=ssd zone= old- org.example/a-b=c-")).unwrap();
        let set: Vec<_> = wanted.set.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(set, [("disk", "ssd"), ("org.example/a-b", "c-"), ("zone", "")]);
        assert_eq!(wanted.unset.into_iter().collect::<Vec<_>>(), ["old"]);
    }

    #[test]
    fn other_words_are_refused_with_an_example() {
        let shown = |line: &str| read(&words(line)).unwrap_err().into_failure("red01").render();
        insta::assert_snapshot!(shown("disk"), @r"
        error: `disk` neither sets a label nor takes one away
        hint: write disk=ssd to set a label, disk- to take it away: builder label red01 'disk=ssd' old-
        ");
        assert!(shown("=ssd").starts_with("error: `=ssd` is not the name of a label: use letters, "));
        assert!(shown("-").starts_with("error: `-` is not the name of a label: "));
        assert!(shown("a=b=c").starts_with("error: `a=b=c` has a value with a line break, a tab or =\n"));
        assert!(shown("a=\u{1b}[2J").starts_with("error: `a=\u{fffd}[2J` has a value"));
        assert!(shown("a=1 a-").starts_with("error: the label a is named twice\n"));
    }
}
