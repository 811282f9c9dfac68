//! Why a node is not (yet) a member, and what to do about it. Pure: what is known goes in, a sentence comes out.

use std::time::Duration;

use cluster::wire::Stage;

pub mod card;

/// What is known of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Its name.
    pub node: String,
    /// Its cluster's secrets folder, as it is typed.
    pub secrets: String,
    /// The manager's name, if that is another node.
    pub manager: Option<String>,
    /// Whether it ran before us, and so has no card of ours.
    pub runs_already: bool,
    /// Where it is known from.
    pub seen: Seen,
    /// What it was at last; `None` when its agent never said.
    pub stage: Option<Stage>,
    /// What kept it from going on, and whether it gave up.
    pub trouble: Option<(String, bool)>,
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

/// Trouble that a person can do something about: words of the message, and what to do. The first that fits counts.
const KNOWN: [(&str, &str); 18] = [
    ("was revoked", "Its certificate was revoked. Make it a new card: WRITE NODE"),
    (
        "join window is closed",
        "It came after the join window, so the manager gives it no token. Give it a new identity, which is let in at \
         any time: builder revoke NODE, and then make its card again: WRITE NODE",
    ),
    (
        "not planned in this cluster",
        "The manager's card was made before this node, or with this node in another role. Make the manager's card \
         again with the present cluster file: WRITE MANAGER",
    ),
    ("dissolved this swarm", "The swarm was dissolved on purpose. To form it again: builder up"),
    ("left the swarm as told", "It was told to: builder kill or builder rm. To have it back: builder up"),
    ("has removed this node", "It was removed on purpose. To have it back: builder up"),
    (
        "waiting for the node's old entry",
        "It was a member under another card until just now. Wait a minute; this passes by itself.",
    ),
    (
        "this node had started is gone",
        "This manager's swarm is gone, and it does not start a second one, which would leave every worker behind. \
         Restore /var/lib/docker/swarm from a backup, or make all cards again: sudo builder flash, or the images: \
         builder build --force",
    ),
    ("No space left", "Its card is full. Take a larger card: 8 GB at least, 16 GB are comfortable."),
    (
        "Read-only file system",
        "Its card can no longer be written: it is worn out or broken. Write a new one: WRITE NODE",
    ),
    ("Input/output error", "Its card has errors: it is worn out or broken. Write a new one: WRITE NODE"),
    (
        "certificate has expired or is not yet valid",
        "Its clock is wrong. Let it reach a time server (UDP port 123), or the manager, whose time it takes.",
    ),
    (
        "no address found for",
        "It does not find MANAGER. Is MANAGER on, and on the same network? Where `.local` names do not work, give \
         MANAGER a fixed `address` in the cluster file and build the cards again.",
    ),
    (
        "does not answer at",
        "It knows where MANAGER should be, but nobody of this cluster answers there. Is MANAGER on, and was its card \
         made with the same secrets folder? Type: builder why MANAGER",
    ),
    (
        "Could not resolve",
        "It has no name server, so nothing can be downloaded. Does its network lead into the Internet?",
    ),
    (
        "Temporary failure resolving",
        "It has no name server, so nothing can be downloaded. Does its network lead into the Internet?",
    ),
    (
        "Cannot initiate the connection",
        "It cannot reach the package server. Does its network lead into the Internet, or is there a proxy in between?",
    ),
    ("is locked", "The swarm waits for its key. On MANAGER, type: sudo docker swarm unlock"),
];

/// As [`KNOWN`], for nodes without a card of ours, where something else is to be done.
const KNOWN_OF_RUNNING: [(&str, &str); 7] = [
    ("was revoked", "Its certificate was revoked. For a new one: builder config"),
    (
        "join window is closed",
        "It came after the join window, so the manager gives it no token. Give it a new identity, which is let in at \
         any time: builder revoke NODE, then builder config",
    ),
    (
        "not planned in this cluster",
        "The manager was told before this node was in the file, or had another role there. Tell it again: builder config",
    ),
    (
        "this node had started is gone",
        "This manager's swarm is gone, and it does not start a second one, which would leave every worker behind. \
         Restore /var/lib/docker/swarm from a backup, or start another: ssh -t -F SECRETS/ssh_config NODE \
         'sudo rm /var/lib/firstboot/journal.json; sudo systemctl restart firstboot'",
    ),
    (
        "Read-only file system",
        "Its disk can no longer be written: it is worn out or broken. Set it up anew on another one, then: builder config",
    ),
    (
        "Input/output error",
        "Its disk has errors: it is worn out or broken. Set it up anew on another one, then: builder config",
    ),
    (
        "no address found for",
        "It does not find MANAGER. Is MANAGER on, and on the same network? If it has another address now, put that into \
         the file: builder config",
    ),
];

/// Longer than a few missed reports.
const SILENT: Duration = Duration::from_secs(120);

/// What to do, in plain sentences.
pub fn advice(case: &Case) -> String {
    let Case { node, .. } = case;
    let manager = case.manager.as_deref().unwrap_or(node);
    let text = match case.seen {
        Seen::Board { silent: None, .. } if case.runs_already => {
            format!("NODE never reported. {LOOK_AT_RUNNING}")
        }
        Seen::Board { silent: None, .. } => NEVER_HEARD.to_owned(),
        Seen::Card(FirstStart::NotBegun) => NOT_BEGUN.to_owned(),
        Seen::Card(FirstStart::CutShort) => CUT_SHORT.to_owned(),
        Seen::Card(FirstStart::NotInstalled) => NOT_INSTALLED.to_owned(),
        Seen::Board { silent: Some(_), .. } | Seen::Card(FirstStart::Done) => running(case),
    };
    let text = text.replace("WRITE NODE", &write(node)).replace("WRITE MANAGER", &write(manager));
    text.replace("NODE", node).replace("MANAGER", manager).replace("SECRETS", &case.secrets)
}

/// What makes a node's card again.
fn write(node: &str) -> String {
    format!("sudo builder flash {node}, or its image: builder build --force {node}")
}

const NEVER_HEARD: &str = "NODE never reported. Is it on, with its own card, on the same network as MANAGER? If it has \
    been on for ten minutes, put its card into this computer: builder why NODE --card DEVICE";
const LOOK_AT_RUNNING: &str = "Is it on, and on the same network as MANAGER? If it is, look at its agent: \
    ssh -F SECRETS/ssh_config NODE systemctl status firstboot; what it needs is brought again by: builder config";
const NOT_BEGUN: &str = "This card was never started, or only its firmware was. Put it into its Pi and power on; the green \
    light should flicker. If the card comes back like this, try another Pi or power supply, and check that the board \
    is one the image is for.";
const CUT_SHORT: &str = "The first start began and did not end: most likely the power went. Power on again, it is repeated \
    once. If that does not help, write the card again, and use a stronger power supply.";
const NOT_INSTALLED: &str = "The first start ended, but the agent is not on the root partition; status.txt above says why. \
    Write the card again: WRITE NODE";
const GAVE_UP: &str = "It has stopped trying. Put right what its last message names, then start it again: \
    ssh -t -F SECRETS/ssh_config NODE sudo systemctl restart firstboot";

fn running(case: &Case) -> String {
    if let Some((message, gave_up)) = &case.trouble {
        let own = KNOWN_OF_RUNNING.iter().filter(|_| case.runs_already);
        let known = own.chain(&KNOWN).find(|(words, _)| message.contains(words));
        return match known {
            Some((_, what)) if *gave_up => format!("{what} {GAVE_UP}"),
            Some((_, what)) => (*what).to_owned(),
            None if *gave_up => GAVE_UP.to_owned(),
            None => format!("It tries again by itself. {}", by_stage(case)),
        };
    }
    match case.seen {
        Seen::Board { ready: true, silent: Some(silent) } if silent < SILENT => {
            "Nothing is wrong: NODE is a member of the swarm.".to_owned()
        }
        Seen::Board { ready: true, .. } => "NODE is a member of the swarm, but its agent has fallen silent. Look at \
            it: ssh -F SECRETS/ssh_config NODE systemctl status firstboot"
            .to_owned(),
        Seen::Board { silent: Some(silent), .. } if silent >= SILENT && case.runs_already => {
            format!("NODE has fallen silent. {LOOK_AT_RUNNING}")
        }
        Seen::Board { silent: Some(silent), .. } if silent >= SILENT => {
            "NODE has fallen silent. Is it still on, and its cable in? If it is, put its card into this computer: \
             builder why NODE --card DEVICE"
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
        Some(Stage::Seed | Stage::Network) if case.runs_already => {
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
            "Docker is being installed, which takes minutes on slow cards and networks. If it stays like this for half \
             an hour: does its network lead into the Internet?"
        }
        Some(Stage::Swarm) if case.manager.is_none() => {
            "The manager is starting the swarm. If it stays like this, look at it: ssh -F SECRETS/ssh_config NODE journalctl -u docker"
        }
        Some(Stage::Swarm) => "It is on its way into the swarm. If it stays like this: builder why MANAGER",
        Some(Stage::Ready) => {
            "It was a member when this was written. If the manager says otherwise, power the Pi on and wait two \
             minutes: it finds its way back by itself."
        }
    };
    text.to_owned()
}

#[cfg(test)]
mod tests;
