//! What the seed stage tells a person who puts the card into a computer, and the agent, which tells the board.

use std::fmt::Write as _;
use std::path::Path;

use cluster::card::{self, Card, STATUS_LENGTH};

use super::{PROBLEMS, STATE, Seed, SeedError};

/// The text of `status.txt`. Plain ASCII with LF: every computer shows it.
pub(super) fn text(card: &Card, is_whole: bool, hook_is_out: bool, problems: &[(&str, String)]) -> String {
    let mut text = String::new();
    let mut say = |line: &str| {
        text.push_str(line);
        text.push('\n');
    };
    if is_whole {
        let role = card.role.as_str();
        say(&format!("This card belongs to {}, a {role} of the cluster {}.", card.node, card.cluster));
        say(
            "Its first start is over. From now on the Pi starts normally, installs Docker and takes its place",
        );
        say("in the swarm by itself; `builder status` on your computer shows how far it is.");
    } else {
        say(
            "The files that builder put on this card cannot be used: this Pi starts as its image alone would,",
        );
        say(&format!(
            "with the name {} and the user {}, and takes no place in a swarm.",
            card.node, card.user.name
        ));
        say("Write the card again with builder.");
    }
    if !hook_is_out {
        say(
            "The card could not be written: the first start is repeated at every start. It may be worn out, or",
        );
        say("its adapter's lock is on. Write another card with builder.");
    }
    if !problems.is_empty() {
        say("\nNot done:");
        for (part, reason) in problems {
            writeln!(text, "- {part}: {reason}").unwrap_or_default();
        }
    }
    text
}

/// Writes `status.txt`. A FAT without room for a new file has room for this one in the place that the builder kept.
pub(super) fn write(seed: &Seed<'_>, text: &str) -> Result<(), SeedError> {
    let path = seed.folder.join(card::STATUS);
    let Err(error) = seed.fat.write(&path, text.as_bytes(), 0o644, None) else { return Ok(()) };
    let mut bytes: Vec<u8> = text.bytes().take(STATUS_LENGTH - 1).collect();
    bytes.resize(STATUS_LENGTH - 1, b' ');
    bytes.push(b'\n');
    // Where that fails as well, the first failure says why.
    seed.fat.overwrite(&path, &bytes).map_err(|_| error.into())
}

/// Leaves the problems where the agent finds them, or nothing where there are none any more.
pub(super) fn tell_agent(seed: &Seed<'_>, problems: &[(&str, String)]) -> Result<(), SeedError> {
    let path = Path::new(STATE).join(PROBLEMS);
    if problems.is_empty() {
        return if seed.root.read(&path)?.is_some() { Ok(seed.root.remove(&path)?) } else { Ok(()) };
    }
    if !seed.is_installed()? {
        return Ok(());
    }
    let lines: Vec<String> = problems.iter().map(|(part, reason)| format!("{part}: {reason}")).collect();
    // A list of strings always serialises.
    let json = serde_json::to_vec(&lines).unwrap_or_default();
    Ok(seed.root.write(&path, &json, 0o600, None)?)
}
