//! Plans as text for people and as JSON for programs. Neither has a secret in it.

use std::fmt::Write as _;

use cluster::spec::Cluster;
use serde_json::{Value, json};

use super::{CardPlan, FileChange, Planner};
use crate::fetch::Origin;

/// What all cards get comes first, then what each gets of its own. `from` is the server that the image comes from.
pub fn text(cluster: &Cluster, planner: &Planner, from: Option<&Origin>, cards: &[CardPlan]) -> String {
    let mut out = head(cluster, planner, from);
    let common = common(cards);
    if !common.is_empty() {
        out.push_str("\n# every card\n");
        common.iter().for_each(|file| out.push_str(&file.diff()));
    }
    for card in cards {
        let _ = writeln!(out, "\n# {} ({})", card.node, card.role.as_str());
        for file in card.files.iter().filter(|file| !common.contains(file)) {
            out.push_str(&own_diff(file, card, cards));
        }
        let (sectors, free) = (card.sectors_changed, card.free_bytes / 1024 / 1024);
        let _ = writeln!(out, "= {sectors} sectors change, {free} MiB stay free on the boot partition");
    }
    out
}

/// One document with everything [`text`] says.
pub fn document(cluster: &Cluster, planner: &Planner, from: Option<&Origin>, cards: &[CardPlan]) -> Value {
    let (image, agent) = (planner.image(), planner.agent());
    json!({
        "cluster": cluster.name,
        "image": {
            "source": cluster.image.location,
            "host": from.map(|from| &from.host),
            "host_is_publisher": from.map(|from| from.is_publisher),
            "release": image.codename,
            "cloud_init": image.release.has_cloud_init(),
            "made": image.date.map(|date| date.to_string()),
            "arch": image.arch.name(),
            "boot_mount": image.release.mount(),
            "remarks": image.remarks,
        },
        "agent": { "path": agent.path, "bytes": agent.bytes.len(), "sha256": agent.sha256 },
        "cards": cards,
    })
}

fn head(cluster: &Cluster, planner: &Planner, from: Option<&Origin>) -> String {
    let (image, agent) = (planner.image(), planner.agent());
    let made = image.date.map(|date| format!(" of {date}")).unwrap_or_default();
    let remarks: String = image.remarks.iter().map(|remark| format!("note    {remark}\n")).collect();
    let from = from.map_or_else(String::new, |Origin { host, is_publisher }| match is_publisher {
        true => format!("from    {host}\n"),
        false => format!("from    {host}, which is not the publisher's server\n"),
    });
    format!(
        "cluster {}\nimage   {}: {}{made}, {}\n{from}{remarks}agent   {}\n",
        cluster.name,
        cluster.image.location,
        image.name,
        image.arch,
        agent.path.display()
    )
}

/// Files that every card gets in the same form; with one card all of them are its own.
fn common(cards: &[CardPlan]) -> Vec<&FileChange> {
    let [first, rest @ ..] = cards else { return Vec::new() };
    if rest.is_empty() {
        return Vec::new();
    }
    first.files.iter().filter(|file| rest.iter().all(|card| card.files.contains(file))).collect()
}

/// A new text that the first card has in another form is compared with that: a few lines instead of all again.
fn own_diff(file: &FileChange, card: &CardPlan, cards: &[CardPlan]) -> String {
    let first = cards.first().filter(|first| first.node != card.node);
    let theirs =
        first.and_then(|first| Some((first, first.files.iter().find(|other| other.path == file.path)?)));
    theirs.map_or_else(|| file.diff(), |(first, other)| file.diff_from(other, first.node.as_str()))
}
