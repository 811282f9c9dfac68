//! The board for people.

use cluster::identity::Role;
use cluster::text::printable;
use cluster::wire::{BoardNode, Report, Stranger};

use super::view::{View, has_left, is_as_wanted, is_ready};
use crate::cli::columns;
use crate::error::{builder, hint};
use crate::remote::address;

const TITLES: [&str; 9] =
    ["NAME", "ROLE", "STAGE", "STATUS", "AVAILABILITY", "MANAGER STATUS", "ENGINE", "ADDRESS", "LAST HEARD"];

/// A row per node, below it what keeps it from being ready, and the sum in the last line.
pub(super) fn render(view: &View) -> String {
    let nodes = &view.board.nodes;
    let rows = nodes.iter().map(|node| (cells(node), notes(node, view)));
    let mut text = columns::table(TITLES, rows.collect());
    if view.board.quorum_lost {
        text.push_str(&quorum_lost(view));
    }
    for foreign in &view.foreign {
        text.push_str(&format!("another cluster on this network: {foreign}\n"));
    }
    text.push_str(&strangers(view));
    text + &summary(view) + "\n"
}

/// Strangers that are named; `ls` shows all of them.
const STRANGERS: usize = 5;

/// Entries of the node list that belong to no planned node, in one line.
fn strangers(view: &View) -> String {
    let strangers = &view.board.strangers;
    let belong = match strangers.len() {
        0 => return String::new(),
        1 => "1 entry of Swarm's node list belongs".to_owned(),
        count => format!("{count} entries of Swarm's node list belong"),
    };
    let named =
        |stranger: &Stranger| format!("{} ({})", shortened(&stranger.name), shortened(&stranger.state));
    let mut names = strangers.iter().take(STRANGERS).map(named).collect::<Vec<_>>().join(", ");
    if strangers.len() > STRANGERS {
        names.push_str(&format!(" and {} more", strangers.len() - STRANGERS));
    }
    let see = hint![format!("{belong} to no planned node: {names}; to see more: "), builder(["ls"]), "\n"];
    see.text(&view.file)
}

/// An agent that was not heard for longer may be gone, in milliseconds. Agents report every few seconds.
const SILENT_MS: u64 = 120_000;

/// Running services go on; nothing can be changed, and no node can join.
fn quorum_lost(view: &View) -> String {
    let text = "\
The managers have lost their quorum: more than half of them have to be on and reachable. What runs goes on, but nothing
can be changed and no node can join. Power the missing managers on. If their cards are lost: write new ones for all but
one manager";
    let end = ", type `sudo docker swarm init --force-new-cluster` on that one, and power the
others on.
";
    let managers = view.board.nodes.iter().filter(|node| node.role == Role::Manager);
    let is_silent = |node: &&BoardNode| node.last_heard_ms.is_none_or(|age| age > SILENT_MS);
    let silent: Vec<_> = managers.filter(is_silent).map(|node| node.name.to_string()).collect();
    match silent.is_empty() {
        // Without a name it would be about all nodes.
        true => hint![text, end],
        false => hint![text, " (", builder(["flash"]).args(silent), ")", end],
    }
    .text(&view.file)
}

/// Of a node whose kernel has the memory cgroup off.
pub(in crate::cli) const NO_MEMORY_LIMITS: &str = "its memory cgroup is off, so memory limits do nothing: if its kernel command line has cgroup_enable=memory, reboot it";

/// The board in one sentence.
pub(super) fn summary(view: &View) -> String {
    let (ready, all) = view.count();
    if view.board.dissolved {
        let out = view.board.nodes.iter().filter(|node| has_left(node)).count();
        let all = view.board.nodes.len();
        let again = hint![builder(["up"]), " forms it again"].text(&view.file);
        return format!("{} is dissolved: {out} of {all} nodes have left; {again}", view.board.cluster);
    }
    let formed = if view.board.formed { "formed" } else { "not formed yet" };
    format!("{} is {formed}: {ready} of {all} nodes ready", view.board.cluster)
}

/// The nodes that are not ready, each with what it is at.
pub(in crate::cli) fn missing(view: &View) -> Vec<String> {
    let missing = view.board.nodes.iter().filter(|node| !is_as_wanted(node));
    missing.map(|node| format!("{} ({})", node.name, trouble(node, view))).collect()
}

/// The board in one sentence, with the nodes that are not ready.
pub(in crate::cli) fn waiting_for(view: &View) -> String {
    let missing = missing(view);
    let rest =
        if missing.is_empty() { String::new() } else { format!("; waiting for {}", missing.join(", ")) };
    summary(view) + &rest
}

fn trouble(node: &BoardNode, view: &View) -> String {
    if view.unplanned.contains(&node.name) {
        return "unknown to the manager".to_owned();
    }
    let Some(report) = &node.report else { return "never heard from".to_owned() };
    let said = report.error.as_ref().map_or(&report.word, |error| &error.message);
    format!("{}: {}", report.stage.as_str(), printable(said))
}

fn cells(node: &BoardNode) -> [String; TITLES.len()] {
    let none = || "-".to_owned();
    let report = node.report.as_ref();
    let swarm = node.swarm.as_ref();
    let engine = swarm.and_then(|entry| entry.engine.as_ref());
    let engine = engine.or_else(|| report.and_then(|report| report.facts.engine.as_ref()));
    let manager = swarm.and_then(|entry| match (entry.leader, &entry.reachability) {
        (true, _) => Some("Leader".to_owned()),
        (false, reachability) => reachability.as_deref().map(capitalised),
    });
    [
        node.name.to_string(),
        node.role.as_str().to_owned(),
        report.map_or_else(none, |report| report.stage.as_str().to_owned()),
        swarm.map_or_else(none, |entry| capitalised(&entry.state)),
        swarm.map_or_else(none, |entry| capitalised(&entry.availability)),
        manager.unwrap_or_else(none),
        engine.map_or_else(none, |engine| printable(engine)),
        address(node).map_or_else(none, |address| address.to_string()),
        node.last_heard_ms.map_or_else(|| "never heard from".to_owned(), ago),
    ]
}

fn notes(node: &BoardNode, view: &View) -> Vec<String> {
    if view.unplanned.contains(&node.name) {
        return vec![
            "the manager does not know it: its card was made before this node was planned".to_owned(),
        ];
    }
    let mut notes = Vec::new();
    if node.dismissed {
        let how = hint!["removed by `", builder(["rm"]), "`; `", builder(["up"]), "` has it back"];
        notes.push(how.text(&view.file));
    }
    let Some(Report { word, error, facts, seed_problems, warnings, .. }) = &node.report else { return notes };
    if !is_ready(node) && !word.is_empty() {
        notes.push(printable(word));
    }
    if let Some(error) = error {
        let label = if error.permanent { "has given up" } else { "trying again" };
        notes.push(format!("{label}: {}", printable(&error.message)));
    }
    notes.extend(seed_problems.iter().map(|problem| format!("at its first start: {}", printable(problem))));
    notes.extend(warnings.iter().map(|warning| format!("warning: {}", printable(warning))));
    if facts.clock_synced == Some(false) {
        notes.push("no network time: its clock may be wrong".to_owned());
    }
    if facts.memory_cgroup == Some(false) {
        notes.push(NO_MEMORY_LIMITS.to_owned());
    }
    notes
}

pub(in crate::cli) fn ago(millis: u64) -> String {
    let seconds = millis / 1000;
    match seconds {
        0..120 => format!("{seconds} s ago"),
        120..7200 => format!("{} min ago", seconds / 60),
        7200..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

/// Longest name that is shown whole, in characters: that of a host (RFC 1123 §2.1).
const NAME: usize = 63;

/// A word of another machine, of which no more is shown than a name may have.
pub(in crate::cli) fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(NAME).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    printable(&short)
}

/// As Docker's own node list writes it.
pub(in crate::cli) fn capitalised(word: &str) -> String {
    let word = printable(word);
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_whose_start_was_not_whole_is_noted_though_it_is_ready() {
        let board = serde_json::json!({
            "cluster": "red", "cluster_id": "0123456789abcdef", "unix_ms": 1, "formed": true,
            "nodes": [{"name": "red00", "role": "manager", "last_heard_ms": 1,
                "swarm": {"id": "a", "state": "ready", "availability": "drain", "leader": true,
                    "reachability": "reachable", "engine": null, "address": null},
                "report": {"stage": "ready", "word": "member a", "error": null, "address": null, "swarm_node": "a",
                    "facts": {"clock_synced": false, "memory_cgroup": false},
                    "seed_problems": ["keyboard: cannot write /etc/default/keyboard"],
                    "warnings": ["a package source could not be read"]}}]
        });
        let view = View {
            board: serde_json::from_value(board).unwrap(),
            unplanned: Default::default(),
            file: "cluster.yaml".into(),
            foreign: Vec::new(),
        };
        let text = render(&view);
        assert!(
            text.contains("\n       at its first start: keyboard: cannot write /etc/default/keyboard\n"),
            "{text}"
        );
        assert!(text.contains("\n       warning: a package source could not be read\n"), "{text}");
        assert!(text.contains("\n       no network time: its clock may be wrong\n"), "{text}");
        assert!(text.contains("\n       its memory cgroup is off, so memory limits do nothing"), "{text}");
    }

    #[test]
    fn long_words_of_machines_are_shortened() {
        assert_eq!(shortened("red01"), "red01");
        assert_eq!(shortened(&"a".repeat(500)).chars().count(), NAME + 1);
    }

    #[test]
    fn the_age_is_told_in_the_unit_a_person_would_use() {
        let told = [999, 119_000, 121_000, 7_200_000, 200_000_000].map(ago);
        assert_eq!(told, ["0 s ago", "119 s ago", "2 min ago", "2 h ago", "2 days ago"]);
    }
}
