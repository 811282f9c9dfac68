//! Why a node is not (yet) a member, and what to do about it. Pure: what is known goes in, a sentence comes out.
//!
//! The sentences are templates. A command stands in braces, so that it becomes a [`Command`].

use std::path::PathBuf;
use std::time::Duration;

use cluster::wire::{Cause, Stage};

use crate::error::{Command, Hint, Part, builder, program};

mod known;

pub mod card;

/// What is known of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Its name.
    pub node: String,
    /// Its cluster's secrets folder.
    pub secrets: PathBuf,
    /// The manager's name, if that is another node.
    pub manager: Option<String>,
    /// Whether it was adopted by `builder config`, and so has no card of ours.
    pub is_adopted: bool,
    /// Where it is known from.
    pub seen: Seen,
    /// What it was at last; `None` when its agent never said.
    pub stage: Option<Stage>,
    /// What kept it from going on.
    pub trouble: Option<Trouble>,
}

/// What kept a node from going on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The agent's own words.
    pub message: String,
    /// The same as a code; `None` if the agent is older than the codes, or knows none for it.
    pub cause: Option<Cause>,
    /// Whether the node has stopped trying.
    pub gave_up: bool,
}

/// Where something is known from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// The manager's board.
    Board {
        /// Time since the node's last report; `None` if there was none.
        silent: Option<Duration>,
        /// Whether the manager's node list calls it ready.
        ready: bool,
    },
    /// The node's card.
    Card(FirstStart),
}

/// How far a card's first start got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstStart {
    /// It was never started, or did not get as far as our words on the kernel command line.
    NotBegun,
    /// It began and did not end.
    CutShort,
    /// It ended, but the agent is not on the root partition.
    NotInstalled,
    /// It is over, and the agent is installed.
    Done,
}

/// Longer than a few missed reports.
const SILENT: Duration = Duration::from_secs(120);

/// What to do, in plain sentences with their commands.
pub fn advice(case: &Case) -> Hint {
    let template = match case.seen {
        Seen::Board { silent: None, .. } if case.is_adopted => {
            format!("NODE never reported. {LOOK_AT_RUNNING}")
        }
        Seen::Board { silent: None, .. } => NEVER_HEARD.to_owned(),
        Seen::Card(FirstStart::NotBegun) => NOT_BEGUN.to_owned(),
        Seen::Card(FirstStart::CutShort) => CUT_SHORT.to_owned(),
        Seen::Card(FirstStart::NotInstalled) => NOT_INSTALLED.to_owned(),
        Seen::Board { silent: Some(_), .. } | Seen::Card(FirstStart::Done) => running(case),
    };
    let template = template.replace("WRITE NODE", WRITE_NODE).replace("WRITE MANAGER", WRITE_MANAGER);
    // Texts and commands take turns, and a text comes first.
    let parts = template.split(['{', '}']).enumerate();
    Hint::new(parts.map(|(place, part)| match place % 2 {
        0 => Part::Text(text(part, case)),
        _ => Part::Command(command(part, case)),
    }))
}

const WRITE_NODE: &str = "{sudo builder flash NODE}, or its image: {builder build --force NODE}";
const WRITE_MANAGER: &str = "{sudo builder flash MANAGER}, or its image: {builder build --force MANAGER}";

/// Fills in a text.
fn text(template: &str, case: &Case) -> String {
    let cause = case.trouble.as_ref().and_then(|trouble| trouble.cause.as_ref());
    let subject = cause.map(|cause| match cause.subject() {
        Some(subject) => subject.to_owned(),
        None => fill(known::of(cause.code()).subject, case),
    });
    // The subject goes in last and as it is, because the node chose it.
    fill(template, case).replace("SUBJECT", &subject.unwrap_or_default())
}

/// Fills in the words of a command.
fn command(template: &str, case: &Case) -> Command {
    // Its quotes are ours; a test splits every template.
    let words = shlex::split(template).unwrap_or_default();
    let words: Vec<_> = words.iter().map(|word| fill(word, case)).collect();
    match words.as_slice() {
        [sudo, name, words @ ..] if sudo == "sudo" && name == "builder" => builder(words.to_vec()).sudo(),
        [name, words @ ..] if name == "builder" => builder(words.to_vec()),
        words => program(words.to_vec()),
    }
}

fn fill(template: &str, case: &Case) -> String {
    let manager = case.manager.as_deref().unwrap_or(&case.node);
    let text = template.replace("NODE", &case.node).replace("MANAGER", manager);
    text.replace("SECRETS", &case.secrets.display().to_string())
}

const NEVER_HEARD: &str = "NODE never reported. Is it on, with its own card, on the same network as MANAGER? If it has \
    been on for ten minutes, put its card into this computer: {builder why NODE --card DEVICE}";
const LOOK_AT_RUNNING: &str = "Is it on, and on the same network as MANAGER? If it is, look at its agent: \
    {ssh -F SECRETS/ssh_config NODE systemctl status firstboot}; what it needs is brought again by: {builder config}";
const NOT_BEGUN: &str = "This card was never started, or only its firmware was. Put it into its Pi and power on; the green \
    light should flicker. If the card comes back like this, try another Pi or power supply, and check that the board \
    is one the image is for.";
const CUT_SHORT: &str = "The first start began and did not end: most likely the power went. Power on again, it is repeated \
    once. If that does not help, write the card again, and use a stronger power supply.";
const NOT_INSTALLED: &str = "The first start ended, but the agent is not on the root partition; status.txt above says why. \
    Write the card again: WRITE NODE";
const GAVE_UP: &str = "It has stopped trying. Put right what its last message names, then start it again: \
    {ssh -t -F SECRETS/ssh_config NODE sudo systemctl restart firstboot}";

fn running(case: &Case) -> String {
    if let Some(trouble) = &case.trouble {
        let known = trouble.cause.as_ref().map(|cause| known::of(cause.code()));
        let known = known.map(|advice| if case.is_adopted { advice.running } else { advice.card });
        return match known {
            Some(what) if trouble.gave_up && what.ends_with(['.', '?']) => format!("{what} {GAVE_UP}"),
            Some(what) if trouble.gave_up => format!("{what}. {GAVE_UP}"),
            Some(what) => what.to_owned(),
            None if trouble.gave_up => GAVE_UP.to_owned(),
            None => format!("It tries again by itself. {}", by_stage(case)),
        };
    }
    match case.seen {
        Seen::Board { ready: true, silent: Some(silent) } if silent < SILENT => {
            "Nothing is wrong: NODE is a member of the swarm.".to_owned()
        }
        Seen::Board { ready: true, .. } => "NODE is a member of the swarm, but its agent has fallen silent. Look at \
            it: {ssh -F SECRETS/ssh_config NODE systemctl status firstboot}"
            .to_owned(),
        Seen::Board { silent: Some(silent), .. } if silent >= SILENT && case.is_adopted => {
            format!("NODE has fallen silent. {LOOK_AT_RUNNING}")
        }
        Seen::Board { silent: Some(silent), .. } if silent >= SILENT => {
            "NODE has fallen silent. Is it still on, and its cable in? If it is, put its card into this computer: \
             {builder why NODE --card DEVICE}"
                .to_owned()
        }
        Seen::Board { .. } | Seen::Card(_) => by_stage(case),
    }
}

fn by_stage(case: &Case) -> String {
    let text = match case.stage {
        None => {
            "Its agent never wrote a word. Let the Pi run for five minutes; if the card comes back like this, write \
             it again: WRITE NODE"
        }
        Some(Stage::Seed | Stage::Network) if case.is_adopted => {
            "It has no address. Is its cable in, or its Wi-Fi on, and does the network give addresses (DHCP)?"
        }
        Some(Stage::Seed | Stage::Network) => {
            "It has no address. By cable: is the cable in, and does the network give addresses (DHCP)? By Wi-Fi: are \
             `ssid`, `psk` and `country` in the cluster file right? Then make its card again: WRITE NODE"
        }
        Some(Stage::Clock) => {
            "It waits for the time. Let it reach a time server (UDP port 123), or the manager, whose time it takes."
        }
        Some(Stage::Docker) => {
            "Docker is being installed, which takes minutes where the network or the storage is slow. If it stays like \
             this for half an hour: does its network lead to the Internet?"
        }
        Some(Stage::Swarm) if case.manager.is_none() => {
            "The manager is starting the swarm. If it stays like this, look at it: {ssh -F SECRETS/ssh_config NODE journalctl -u docker}"
        }
        Some(Stage::Swarm) => "It is on its way into the swarm. If it stays like this: {builder why MANAGER}",
        Some(Stage::Ready) => {
            "It was a member when this was written. If the manager says otherwise, power the Pi on and wait two \
             minutes: it finds its way back by itself."
        }
    };
    text.to_owned()
}

#[cfg(test)]
mod tests;
