//! What the seed stage tells a person who puts the card into a computer.

use std::fmt::Write as _;

use cluster::card::Card;

/// The text of `status.txt`. Plain ASCII with LF: every computer shows it.
pub(super) fn text(card: Option<&Card>, hook_is_out: bool, problems: &[(&str, String)]) -> String {
    let mut text = String::new();
    let mut say = |line: &str| {
        text.push_str(line);
        text.push('\n');
    };
    match card {
        Some(card) => {
            let role = card.role.as_str();
            say(&format!("This card belongs to {}, a {role} of the cluster {}.", card.node, card.cluster));
            say(
                "Its first start is over. From now on the Pi starts normally, installs Docker and takes its place",
            );
            say("in the swarm by itself; `builder status` on your computer shows how far it is.");
        }
        None => {
            say(
                "The files that builder put on this card cannot be used, so this Pi starts as its image alone would.",
            );
            say("Write the card again with builder.");
        }
    }
    if !hook_is_out {
        say(
            "The card could not be written: the first start is repeated at every start. The card may be worn out.",
        );
    }
    if !problems.is_empty() {
        say("\nNot done:");
        for (part, reason) in problems {
            writeln!(text, "- {part}: {reason}").unwrap_or_default();
        }
    }
    text
}
