//! How to go on with the cards that are left when the command ends early.
//!
//! The nodes that are done are not named again: in a walk through many nodes "the same command" would begin with the
//! first of them, on whichever card is in the reader.

use std::path::PathBuf;

use cluster::name::Hostname;
use cluster::range;

use super::FlashArgs;
use super::outcome::Outcomes;
use super::slots::Slot;
use crate::cli::Globals;
use crate::device::guard::LIMIT;
use crate::error::{Failure, Hint, builder, hint};

/// A node, and the reader its card is to be in.
pub(super) type Place = (Hostname, PathBuf);

/// The readers, and what else the user typed that the cards depend on.
#[derive(Debug)]
pub(super) struct Again {
    /// As given, and as it is to be typed.
    readers: Vec<(PathBuf, String)>,
    options: Vec<String>,
}

impl Again {
    /// Keeps what is needed of the command line. `--yes` is not: what is in which reader is worth another look.
    pub(super) fn new(globals: &Globals, args: &FlashArgs, slots: &[Slot]) -> Self {
        let readers = slots.iter().map(|slot| {
            let path = slot.given.display().to_string();
            let serial = slot.serial.as_ref().map(|serial| format!("={serial}")).unwrap_or_default();
            (slot.given.clone(), path + &serial)
        });
        let mut options = Vec::new();
        let mut keep = |option: &str, value: String| options.extend([option.to_owned(), value]);
        let paths = [("--cache", globals.cache.as_ref()), ("--firstboot", args.firstboot.as_ref())];
        for (option, path) in paths {
            if let Some(path) = path {
                keep(option, path.display().to_string());
            }
        }
        if args.max_size.bytes() != LIMIT {
            keep("--max-size", format!("{}MiB", args.max_size.bytes() >> 20));
        }
        if args.no_verify {
            options.push("--no-verify".to_owned());
        }
        Self { readers: readers.collect(), options }
    }

    /// Adds what to type, unless no card was begun: then the same command will do.
    pub(super) fn advise(&self, failure: Failure, nodes: &[Hostname], outcomes: &Outcomes) -> Failure {
        let left = outcomes.left(nodes);
        if left.is_empty() || !outcomes.are_any() {
            return failure;
        }
        self.advice(&left, &outcomes.begun()).into_iter().fold(failure, Failure::hint)
    }

    /// What to type for the nodes that are left, in the cluster file's order. `begun` are those of them whose cards were
    /// begun and are in their readers still.
    fn advice(&self, left: &[Hostname], begun: &[Place]) -> Vec<Hint> {
        let is_begun = |node: &Hostname| begun.iter().any(|(begun, _)| begun == node);
        let place = |node: &Hostname| begun.iter().find(|(begun, _)| begun == node).cloned();
        let (first, later): (Vec<_>, Vec<_>) = left.iter().cloned().partition(is_begun);
        let places: Vec<Place> = first.iter().filter_map(place).collect();
        if first.is_empty() {
            return vec![self.command("with ", left, &self.fresh(left))];
        }
        // Nodes and readers are paired in this order.
        if left.starts_with(&first) {
            return vec![self.command("with ", left, &places)];
        }
        vec![self.command("with ", &first, &places), self.command("then with ", &later, &self.fresh(&later))]
    }

    /// The first nodes, and the readers for their cards.
    fn fresh(&self, nodes: &[Hostname]) -> Vec<Place> {
        nodes.iter().zip(&self.readers).map(|(node, (path, _))| (node.clone(), path.clone())).collect()
    }

    fn command(&self, with: &str, nodes: &[Hostname], places: &[Place]) -> Hint {
        let cards: Vec<_> =
            places.iter().map(|(node, path)| format!("the card for {node} in {}", path.display())).collect();
        let mut flash = builder(["flash"]).args(split(&fold(nodes)));
        for (_, path) in places {
            let reader = self.readers.iter().find(|(given, _)| given == path);
            flash = flash.args(reader.into_iter().flat_map(|(_, device)| ["--device", device]));
        }
        hint![format!("{with}{}: ", cards.join(", ")), flash.args(self.options.iter().cloned())]
    }
}

/// Nodes as ranges.
pub(super) fn fold(nodes: &[Hostname]) -> String {
    range::fold(&nodes.iter().map(ToString::to_string).collect::<Vec<_>>())
}

/// At the commas between ranges, not at those in brackets.
fn split(ranges: &str) -> Vec<&str> {
    let mut inside = false;
    let between = |c| {
        inside = (inside || c == '[') && c != ']';
        c == ',' && !inside
    };
    ranges.split(between).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;

    use super::*;
    use crate::device::list::tests::kernel;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        globals: Globals,
        #[command(flatten)]
        args: FlashArgs,
    }

    fn again(words: &[&str], readers: &[&str]) -> Again {
        let line = Line::parse_from([&["flash"], words].concat());
        let root = tempfile::tempdir().unwrap();
        let disk = kernel(root.path()).disks().unwrap().remove(0);
        let slot = |path: &&str| Slot { given: path.into(), serial: None, disk: disk.clone() };
        Again::new(&line.globals, &line.args, &readers.iter().map(slot).collect::<Vec<_>>())
    }

    const MINE: &str = "my swarm.yaml";

    fn advice(again: &Again, left: &[&str], begun: &[(&str, &str)]) -> String {
        let node = |name: &str| Hostname::try_from(name).unwrap();
        let begun: Vec<_> = begun.iter().map(|(name, path)| (node(name), path.into())).collect();
        again
            .advice(&left.iter().map(|name| node(name)).collect::<Vec<_>>(), &begun)
            .iter()
            .map(|hint| hint.show(Some(Path::new(MINE))).text)
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn what_is_done_is_not_named_again() {
        let one = again(&[], &["/dev/sdb"]);
        assert_eq!(
            advice(&one, &["red02", "red03", "red04"], &[("red02", "/dev/sdb")]),
            "with the card for red02 in /dev/sdb: sudo builder flash -f 'my swarm.yaml' 'red[02-04]' --device /dev/sdb"
        );
        assert_eq!(
            advice(&one, &["desk", "red04"], &[]),
            "with the card for desk in /dev/sdb: sudo builder flash -f 'my swarm.yaml' desk red04 --device /dev/sdb"
        );
    }

    #[test]
    fn a_card_that_was_begun_is_gone_on_with_in_its_own_reader() {
        let two = again(&[], &["/dev/sdb", "/dev/sdc"]);
        assert_eq!(
            advice(&two, &["red03", "red04"], &[("red03", "/dev/sdc")]),
            "with the card for red03 in /dev/sdc: sudo builder flash -f 'my swarm.yaml' 'red[03-04]' --device /dev/sdc"
        );
        assert_eq!(
            advice(&two, &["red00", "red03", "red04"], &[("red03", "/dev/sdc")]),
            "with the card for red03 in /dev/sdc: sudo builder flash -f 'my swarm.yaml' red03 --device /dev/sdc\n\
             then with the card for red00 in /dev/sdb, the card for red04 in /dev/sdc: \
             sudo builder flash -f 'my swarm.yaml' 'red[00,04]' --device /dev/sdb --device /dev/sdc"
        );
    }

    #[test]
    fn what_the_cards_depend_on_is_typed_again_and_yes_is_not() {
        let words = [
            "--yes",
            "--no-verify",
            "--max-size",
            "512GiB",
            "--firstboot",
            "../firstboot-aarch64",
            "--cache",
            "cache",
        ];
        assert_eq!(
            advice(&again(&words, &["/dev/sdb"]), &["red01"], &[]),
            "with the card for red01 in /dev/sdb: sudo builder flash -f 'my swarm.yaml' red01 --device /dev/sdb \
             --cache cache --firstboot ../firstboot-aarch64 --max-size 524288MiB --no-verify"
        );
    }
}
