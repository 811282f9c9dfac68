//! The swarm for people: a table of nodes, a table of services.

use std::path::Path;

use cluster::text::printable;
use cluster::wire::{DetailNode, DetailPort, DetailService, SwarmDetail};

use crate::cli::columns;
use crate::cli::status::table::{capitalised, shortened};
use crate::error::{builder, hint};
use crate::report::Bytes;

const NODES: [&str; 13] = [
    "NAME",
    "ROLE",
    "STATUS",
    "AVAILABILITY",
    "ADDRESS",
    "PLATFORM",
    "ENGINE",
    "CPUS",
    "MEMORY",
    "TEMP",
    "UPTIME",
    "TASKS",
    "LABELS",
];
const SERVICES: [&str; 5] = ["SERVICE", "MODE", "REPLICAS", "IMAGE", "PORTS"];

/// What an agent said longer ago is not how the node is now, in milliseconds. Members report every 15 s.
const RECENT_MS: u64 = 90_000;

/// Both tables.
pub(super) fn render(swarm: &SwarmDetail, file: &Path) -> String {
    let nodes = swarm.nodes.iter().map(|node| (cells(node), notes(node, swarm, file)));
    let mut text = columns::table(NODES, nodes.collect());
    text.push('\n');
    if swarm.services.is_empty() {
        text.push_str("no services\n");
    } else {
        let services = swarm.services.iter().map(|service| (service_cells(service), Vec::new()));
        text.push_str(&columns::table(SERVICES, services.collect()));
    }
    text
}

fn none() -> String {
    "-".to_owned()
}

fn cells(node: &DetailNode) -> [String; NODES.len()] {
    let entry = node.swarm.as_ref();
    let recent = node.last_heard_ms.is_some_and(|age| age < RECENT_MS);
    let platform = [&node.os, &node.architecture].into_iter().flatten().map(|part| printable(part));
    let platform = platform.collect::<Vec<_>>().join("/");
    let labels = node.labels.iter().map(|(label, value)| printable(&format!("{label}={value}")));
    let labels = labels.collect::<Vec<_>>().join(",");
    [
        shortened(&node.name),
        role(node),
        entry.map_or_else(none, |entry| capitalised(&entry.state)),
        entry.map_or_else(none, |entry| capitalised(&entry.availability)),
        node.address.map_or_else(none, |address| address.to_string()),
        if platform.is_empty() { none() } else { platform },
        entry.and_then(|entry| entry.engine.as_ref()).map_or_else(none, |engine| shortened(engine)),
        node.nano_cpus.map_or_else(none, cpus),
        node.memory_bytes.map_or_else(none, |bytes| Bytes(bytes).to_string()),
        node.temperature_millicelsius.filter(|_| recent).map_or_else(none, celsius),
        node.uptime_ms.filter(|_| recent).map_or_else(none, lasted),
        entry.map_or_else(none, |_| node.tasks.len().to_string()),
        if labels.is_empty() { none() } else { labels },
    ]
}

/// What a manager is among managers goes with its role: `manager (leader)`.
fn role(node: &DetailNode) -> String {
    let role = node.role.as_str();
    let entry = node.swarm.as_ref();
    match entry.map(|entry| (entry.leader, entry.reachability.as_deref())) {
        Some((true, _)) => format!("{role} (leader)"),
        Some((false, Some(reachability))) => format!("{role} ({})", printable(reachability)),
        _ => role.to_owned(),
    }
}

fn notes(node: &DetailNode, swarm: &SwarmDetail, file: &Path) -> Vec<String> {
    let Some(entry) = &node.swarm else {
        let see = hint!["not a member of the swarm; ", builder(["status"]), " shows what it is at"];
        return vec![see.text(file)];
    };
    let id = printable(&entry.id);
    let is_twin = |other: &&DetailNode| other.name == node.name && other.swarm != node.swarm;
    match (node.planned, swarm.nodes.iter().any(|other| is_twin(&other))) {
        (false, _) => vec![format!("not in the cluster file; its id is {id}")],
        (true, true) => vec![format!("one of several entries of this name; its id is {id}")],
        (true, false) => Vec::new(),
    }
}

fn service_cells(service: &DetailService) -> [String; SERVICES.len()] {
    let count = format!("{}/{}", service.running, service.desired);
    let ports = service.ports.iter().map(port).collect::<Vec<_>>().join(", ");
    [
        shortened(&service.name),
        printable(&service.mode),
        service.completed.map_or_else(|| count.clone(), |completed| format!("{count} ({completed} done)")),
        service.image.as_ref().map_or_else(none, |image| printable(image)),
        if ports.is_empty() { none() } else { ports },
    ]
}

/// As `docker service ls` writes it.
fn port(port: &DetailPort) -> String {
    let protocol = printable(&port.protocol);
    match port.published {
        Some(published) => format!("*:{published}->{}/{protocol}", port.target),
        None => format!("{}/{protocol}", port.target),
    }
}

fn cpus(nano: u64) -> String {
    let tenths = nano / 100_000_000;
    if tenths.is_multiple_of(10) {
        (tenths / 10).to_string()
    } else {
        format!("{}.{}", tenths / 10, tenths % 10)
    }
}

fn celsius(milli: i32) -> String {
    format!("{:.1} °C", f64::from(milli) / 1000.0)
}

/// In the unit a person would use.
fn lasted(millis: u64) -> String {
    let seconds = millis / 1000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_in_the_units_of_people() {
        assert_eq!([4_000_000_000, 500_000_000, 1_500_000_000].map(cpus), ["4", "0.5", "1.5"]);
        assert_eq!([48_312, -1500].map(celsius), ["48.3 °C", "-1.5 °C"]);
        let told = [71_050, 3_600_000, 86_400_000, 9 * 86_400_000].map(lasted);
        assert_eq!(told, ["71 s", "60 min", "24 h", "9 days"]);
    }
}
