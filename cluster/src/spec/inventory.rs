//! Inventories of other tools, which people have of the same machines: recognised, so that they can be told the
//! `hostnames.yaml` to write. Formats: Ansible's guide "How to build your inventory" (INI and YAML), and cloudmesh-inventory
//! (README, `~/.cloudmesh/inventory.yaml`).

use std::fmt;

use super::problem::Collector;
use super::tree::{self, Content, Entry, Node};
use crate::host::{self, Host};

/// Words in a group's name that say that its hosts manage the others.
const MANAGING: [&str; 5] = ["manager", "master", "control", "leader", "server"];

/// Whose inventory it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// Ansible, in either format.
    Ansible,
    /// cloudmesh.
    Cloudmesh,
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ansible => "an Ansible inventory",
            Self::Cloudmesh => "a cloudmesh inventory",
        })
    }
}

/// An inventory, as far as a swarm needs it. Passwords and other variables are not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    /// Whose it is.
    pub tool: Tool,
    managers: Vec<String>,
    workers: Vec<String>,
}

impl Inventory {
    /// The text of a `hostnames.yaml` with these hosts.
    pub fn hostnames(&self) -> String {
        let mut text = match self.managers.as_slice() {
            [] => "manager: 10.1.1.1\n".to_owned(),
            [one] => format!("manager: {}\n", scalar(one)),
            several => {
                format!(
                    "manager:\n{}",
                    several.iter().map(|host| format!("- {}\n", scalar(host))).collect::<String>()
                )
            }
        };
        if !self.workers.is_empty() {
            text.push_str("worker:\n");
            text.extend(self.workers.iter().map(|host| format!("- {}\n", scalar(host))));
        }
        text
    }

    fn new(tool: Tool, found: Vec<Found>) -> Self {
        let (mut managers, mut workers) = (Vec::<String>::new(), Vec::<String>::new());
        // No shelf has more, and each is compared with all before it.
        for host in found.into_iter().take(crate::range::LIMIT) {
            let Some(text) = host.text() else { continue };
            if host.manages {
                workers.retain(|worker| *worker != text);
            }
            if managers.contains(&text) || workers.contains(&text) {
                continue;
            }
            if host.manages { managers.push(text) } else { workers.push(text) }
        }
        if managers.is_empty() && !workers.is_empty() {
            managers.push(workers.remove(0));
        }
        Self { tool, managers, workers }
    }
}

/// In quotes where YAML would read something else.
fn scalar(host: &str) -> String {
    if host.starts_with('[') || host.contains(['[', '%']) { format!("\"{host}\"") } else { host.to_owned() }
}

/// A host of an inventory.
#[derive(Debug, Default)]
struct Found {
    name: String,
    address: Option<String>,
    user: Option<String>,
    port: Option<String>,
    manages: bool,
}

impl Found {
    /// As a `hostnames.yaml` has it; `None` if that takes more than an inventory's words, such as a template.
    fn text(&self) -> Option<String> {
        // Ansible's ranges have a colon: red[01:04].
        let name = match self.name.split_once('[') {
            Some((head, tail)) if !tail.contains("::") => format!("{head}[{}", tail.replace(':', "-")),
            _ => self.name.clone(),
        };
        let name = self.address.clone().unwrap_or(name);
        let name = if self.port.is_some() && name.contains("::") { format!("[{name}]") } else { name };
        let user = self.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        let port = self.port.as_ref().map(|port| format!(":{port}")).unwrap_or_default();
        let text = format!("{user}{name}{port}");
        let is_good = host::expand(&text)
            .is_ok_and(|names| names.iter().all(|name| Host::try_from(name.as_str()).is_ok()));
        is_good.then_some(text)
    }

    fn set(&mut self, key: &str, value: &str) {
        let value = value.trim_matches(['"', '\'']).to_owned();
        match key {
            "ansible_host" | "ansible_ssh_host" | "ip" => {
                self.address = Some(value).filter(|value| !value.is_empty())
            }
            "ansible_user" | "ansible_ssh_user" => self.user = Some(value),
            "ansible_port" | "ansible_ssh_port" => self.port = Some(value).filter(|port| port != "22"),
            _ => {}
        }
    }
}

fn manages(group: &str) -> bool {
    let group = group.to_ascii_lowercase();
    MANAGING.iter().any(|word| group.contains(word))
}

/// The inventory that a text is, if it is one.
pub fn recognise(text: &str) -> Option<Inventory> {
    ini(text).or_else(|| yaml(text))
}

/// Sections of hosts, one a line, with variables behind it.
fn ini(text: &str) -> Option<Inventory> {
    let mut group = Some(String::new());
    let (mut has_section, mut found) = (false, Vec::new());
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            let is_name = |c: char| c.is_ascii_alphanumeric() || "_.-:".contains(c);
            if section.is_empty() || !section.chars().all(is_name) {
                return None;
            }
            has_section = true;
            // Variables and groups of groups name no hosts.
            group = (!section.contains(':')).then(|| section.to_owned());
            continue;
        }
        let Some(group) = &group else { continue };
        let mut words = line.split_whitespace().take_while(|word| !word.starts_with('#'));
        let name = words.next()?;
        // YAML, and nothing that could be a host.
        if name.ends_with(':') || name == "-" {
            return None;
        }
        let mut host = Found { name: name.to_owned(), manages: manages(group), ..Found::default() };
        for word in words {
            let (key, value) = word.split_once('=')?;
            host.set(key, value);
        }
        has_section |= line.contains("ansible_");
        found.push(host);
    }
    has_section.then(|| Inventory::new(Tool::Ansible, found))
}

fn yaml(text: &str) -> Option<Inventory> {
    let tree = tree::parse(text, &mut Collector::new(text))?;
    let Content::Mapping(entries) = &tree.content else { return None };
    if !entries.is_empty() && entries.iter().all(is_cloudmesh) {
        let host = |entry: &Entry| {
            let name = child(&entry.value, "host").and_then(scalar_of).unwrap_or(&entry.key);
            let service = child(&entry.value, "service").and_then(scalar_of).unwrap_or_default();
            let mut host = Found { name: name.to_owned(), manages: manages(service), ..Found::default() };
            host.set("ip", child(&entry.value, "ip").and_then(scalar_of).unwrap_or_default());
            host
        };
        return Some(Inventory::new(Tool::Cloudmesh, entries.iter().map(host).collect()));
    }
    let is_group = |entry: &Entry| {
        ["hosts", "children"].iter().any(|key| child(&entry.value, key).is_some_and(is_mapping))
    };
    if entries.is_empty() || !entries.iter().any(is_group) {
        return None;
    }
    let mut found = Vec::new();
    entries.iter().for_each(|entry| group(&entry.key, &entry.value, false, &mut found));
    Some(Inventory::new(Tool::Ansible, found))
}

/// The hosts of a group, and of the groups in it.
fn group(name: &str, node: &Node, above: bool, found: &mut Vec<Found>) {
    let manages = above || manages(name);
    for host in entries(child(node, "hosts")) {
        let mut new = Found { name: host.key.clone(), manages, ..Found::default() };
        for variable in entries(Some(&host.value)) {
            new.set(&variable.key, scalar_of(&variable.value).unwrap_or_default());
        }
        found.push(new);
    }
    for entry in entries(child(node, "children")) {
        group(&entry.key, &entry.value, manages, found);
    }
}

fn is_cloudmesh(entry: &Entry) -> bool {
    ["host", "service", "label"].iter().all(|key| child(&entry.value, key).is_some())
}

fn child<'n>(node: &'n Node, key: &str) -> Option<&'n Node> {
    entries(Some(node)).iter().find(|entry| entry.key == key).map(|entry| &entry.value)
}

fn entries(node: Option<&Node>) -> &[Entry] {
    match node.map(|node| &node.content) {
        Some(Content::Mapping(entries)) => entries,
        _ => &[],
    }
}

fn is_mapping(node: &Node) -> bool {
    matches!(node.content, Content::Mapping(_))
}

fn scalar_of(node: &Node) -> Option<&str> {
    match &node.content {
        Content::Text(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::hostnames;

    fn told(text: &str) -> (Tool, String) {
        let inventory = recognise(text).unwrap();
        let hosts = inventory.hostnames();
        assert!(hostnames::is_meant(&hosts), "{hosts}");
        hostnames::read(&hosts, "hostnames.yaml").unwrap();
        (inventory.tool, hosts)
    }

    #[test]
    fn an_ansible_inventory_in_ini() {
        let text = "# the lab\n[managers]\nred00 ansible_host=10.1.1.1 ansible_user=ada\n\n[workers]\nred[01:02]\n\
                    red03:2222\nred04 ansible_host=10.1.1.5 ansible_port=2201 ansible_password=S3cr3t # slow\n\
                    [swarm:children]\nmanagers\nworkers\n[all:vars]\nansible_password=S3cr3t\n";
        let (tool, hosts) = told(text);
        assert_eq!(tool, Tool::Ansible);
        assert_eq!(
            hosts,
            "manager: ada@10.1.1.1\nworker:\n- \"red[01-02]\"\n- red03:2222\n- 10.1.1.5:2201\n"
        );
        assert_eq!(told("red00 ansible_host=10.1.1.1\nred01\n").1, "manager: 10.1.1.1\nworker:\n- red01\n");
    }

    #[test]
    fn an_ansible_inventory_in_yaml() {
        let text = "all:\n  children:\n    swarm_managers:\n      hosts:\n        red00:\n          ansible_host: 10.1.1.1\n\
                    \x20   swarm_workers:\n      hosts:\n        red01:\n        red02: {ansible_user: ada}\n  vars:\n    x: y\n";
        assert_eq!(
            told(text),
            (Tool::Ansible, "manager: 10.1.1.1\nworker:\n- red01\n- ada@red02\n".to_owned())
        );
        let flat = "managers:\n  hosts:\n    a:\nworkers:\n  hosts:\n    b:\n    c:\n";
        assert_eq!(told(flat).1, "manager: a\nworker:\n- b\n- c\n");
    }

    #[test]
    fn a_cloudmesh_inventory() {
        let host = |name: &str, ip: &str, service: &str| {
            format!(
                "{name}:\n  cluster: red\n  host: {name}\n  ip: {ip}\n  label: {name}\n  name: {name}\n  service: {service}\n"
            )
        };
        let text = host("red01", "10.1.1.2", "worker")
            + &host("red00", "10.1.1.1", "manager")
            + &host("red02", "''", "");
        assert_eq!(
            told(&text),
            (Tool::Cloudmesh, "manager: 10.1.1.1\nworker:\n- 10.1.1.2\n- red02\n".to_owned())
        );
    }

    #[test]
    fn other_files_are_none() {
        for text in [
            "",
            "manager: 10.1.1.1\nworker:\n- 10.1.1.2\n",
            "manager:\n- a\n- b\n- c\n",
            "version: 1\ncluster: red\nimage: os.img\nnodes: red[00-04]\nuser: {name: pi}\n",
            "a: [\n",
            "hosts: red00\n",
            "[wifi]\nssid = lab\n",
        ] {
            assert_eq!(recognise(text), None, "{text}");
        }
    }
}
