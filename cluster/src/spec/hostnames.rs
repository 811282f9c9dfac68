//! The lesson's own file, `hostnames.yaml`: `manager: <IP>` and `worker: [<IP>…]`, of machines that already run.
//!
//! It has no version and three keys, of which `proxy` is that of a cluster file. Everything that is wrong with it is told at once, as with a cluster file.

use super::fields::{Fields, Keys};
use super::problem::{Collector, Place};
use super::tree::{self, Content, Entry};
use super::{Problems, proxy};
use crate::host::{self, Host};
use crate::proxy::Proxy;
use crate::range;

pub(super) static KEYS: Keys = Keys { of: "hostnames.yaml", names: &["manager", "worker", "proxy"] };

/// What people write for the two keys.
const MEANT: [&str; 5] = ["manager", "managers", "master", "worker", "workers"];
/// What only cluster files have.
const CLUSTER_KEYS: [&str; 5] = ["version", "cluster", "image", "nodes", "user"];

/// The machines of a file, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hostnames {
    /// Who manages: one, three or five.
    pub managers: Vec<Host>,
    /// Who works, in the file's order.
    pub workers: Vec<Host>,
    /// The way to the internet, where it leads through a proxy.
    pub proxy: Option<Proxy>,
}

impl Hostnames {
    /// All machines, managers first.
    pub fn all(&self) -> impl Iterator<Item = &Host> {
        self.managers.iter().chain(&self.workers)
    }
}

/// Whether a text is meant to be such a file, and no cluster file: it has one of its keys and none that only a cluster
/// file has. A text that is not YAML is none.
pub fn is_meant(text: &str) -> bool {
    let text = super::without_mark(text);
    let mut problems = Collector::new(text);
    let Some(tree) = tree::parse(text, &mut problems) else { return false };
    let Content::Mapping(entries) = &tree.content else { return false };
    let has = |keys: &[&str]| entries.iter().any(|entry: &Entry| keys.contains(&entry.key.as_str()));
    has(&MEANT) && !has(&CLUSTER_KEYS)
}

/// Reads such a file. `file_name` is what problems call it.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read(text: &str, file_name: &str) -> Result<Hostnames, Problems> {
    let text = super::without_mark(text);
    let mut problems = Collector::new(text);
    let found = document(text, &mut problems);
    match found {
        Some(found) if problems.is_empty() => Ok(found),
        _ => Err(problems.finish(file_name)),
    }
}

fn document(text: &str, problems: &mut Collector<'_>) -> Option<Hostnames> {
    let tree = tree::parse(text, problems);
    let Some(tree) = tree.filter(|_| problems.is_empty()) else {
        if problems.is_empty() {
            let advice = "write `manager: 10.1.1.1` and `worker: [\"10.1.1.[2-5]\"]`";
            problems.add(Place::point(1, 1), "the file is empty", advice);
        } else {
            problems.stop_reading();
        }
        return None;
    };
    super::secrets::hide(&tree, problems);
    let root = Fields::open(&KEYS, &tree, problems)?;
    let mut seen = Vec::new();
    // Its absence is reported; then there is nothing to expand.
    let managers = match root.need("manager", "10.1.1.1", problems) {
        Some(_) => hosts(&root, "manager", &mut seen, problems),
        None => Vec::new(),
    };
    if !managers.is_empty() && !matches!(managers.len(), 1 | 3 | 5) {
        let message = format!("a swarm has one, three or five managers, not {}", managers.len());
        problems.add(root.key_place("manager"), message, "name one, three or five");
    }
    let workers = hosts(&root, "worker", &mut seen, problems);
    let proxy = proxy::read(&root, problems);
    Some(Hostnames { managers, workers, proxy })
}

/// The machines of a key; `seen` has those of the whole file so far. Of a range, one thing of a kind is reported.
fn hosts(
    root: &Fields<'_>,
    key: &'static str,
    seen: &mut Vec<Host>,
    problems: &mut Collector<'_>,
) -> Vec<Host> {
    let mut hosts = Vec::new();
    for (text, place) in root.texts(key, problems) {
        let names = match host::expand(text) {
            Ok(names) => names,
            Err(error) => {
                problems.add(place, format!("`{text}` {error}"), error.advice());
                continue;
            }
        };
        if seen.len() + names.len() > range::LIMIT {
            problems.add(place, format!("these are more than {} hosts", range::LIMIT), "write fewer");
            return hosts;
        }
        let (mut refused, mut twice) = (false, false);
        for name in names {
            match Host::try_from(name.as_str()) {
                Err(error) if !refused => {
                    problems.add(place, format!("`{name}` {error}"), error.advice());
                    refused = true;
                }
                Err(_) => {}
                // Two users of one machine are one machine of a swarm.
                Ok(host) if seen.iter().any(|other| (&other.name, other.port) == (&host.name, host.port)) => {
                    if !twice {
                        let message = format!("the host {} is named twice", host.name);
                        problems.add(place, message, "name each host once");
                    }
                    twice = true;
                }
                Ok(host) => {
                    seen.push(host.clone());
                    hosts.push(host);
                }
            }
        }
    }
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<String> {
        read(text, "hostnames.yaml").unwrap().all().map(ToString::to_string).collect()
    }

    #[test]
    fn reads_the_lessons_file() {
        let text = "manager: 10.1.1.1\nworker:\n- 10.1.1.2\n- 10.1.1.3\n- 10.1.1.4\n";
        assert!(is_meant(text));
        let found = read(text, "hostnames.yaml").unwrap();
        assert_eq!(found.managers, [Host::try_from("10.1.1.1").unwrap()]);
        assert_eq!(all(text), ["10.1.1.1", "10.1.1.2", "10.1.1.3", "10.1.1.4"]);
    }

    #[test]
    fn takes_ranges_names_and_a_single_worker() {
        assert_eq!(all("manager: red00\nworker: red[01-02]\n"), ["red00", "red01", "red02"]);
        assert_eq!(all("manager: pi@red00.local\n"), ["pi@red00.local"]);
        assert_eq!(all("manager: [a, b, c]\nworker: [\"10.1.1.[2-3]\", d]\n").len(), 6);
    }

    #[test]
    fn takes_a_proxy() {
        let text = "manager: red00\nproxy: http://me:hunter2@proxy.example:3128\n";
        let proxy = read(text, "hostnames.yaml").unwrap().proxy.unwrap();
        assert_eq!(proxy.http, proxy.https);
        assert_eq!(proxy.http.unwrap().expose(), "http://me:hunter2@proxy.example:3128");
        let told = read(&text.replace(":3128", ""), "hostnames.yaml").unwrap_err().to_string();
        assert!(told.contains("names no port") && !told.contains("hunter2"), "{told}");
    }

    #[test]
    fn is_told_from_a_cluster_file() {
        assert!(is_meant("workers: a\n") && is_meant("master: a\nworker: b\n"));
        for other in
            ["version: 1\nmanagers: red00\n", "cluster: red\nmanagers: red00\n", "", "- a\n", "a: [\n"]
        {
            assert!(!is_meant(other), "{other}");
        }
    }

    #[test]
    fn tells_everything_that_is_wrong_at_once() {
        let text = "manager: <IP>\nworkers: [10.1.1.2, 10.1.1.300]\nworker:\n- 10.1.1.2\n- pi@10.1.1.2\n\
                    - \"red[04-00]\"\nuser_name: pi\n";
        insta::assert_snapshot!(read(text, "hostnames.yaml").unwrap_err(), @r#"
        5 problems in hostnames.yaml

        hostnames.yaml:1:10: `<IP>` has the character '<', which no host name has
          | manager: <IP>
          |          ^^^^
          = write the address itself, like 10.1.1.3, without < and >

        hostnames.yaml:2:1: `workers` is not a key of hostnames.yaml
          | workers: [(hidden)]
          | ^^^^^^^
          = did you mean `worker`?

        hostnames.yaml:5:3: the host 10.1.1.2 is named twice
          | - pi@10.1.1.2
          |   ^^^^^^^^^^^
          = name each host once

        hostnames.yaml:6:3: `red[04-00]` counts down from 04 to 00
          | - "red[04-00]"
          |   ^^^^^^^^^^^^
          = write [00-04]

        hostnames.yaml:7:1: `user_name` is not a key of hostnames.yaml
          | user_name: (hidden)
          | ^^^^^^^^^
          = write one of: manager, worker, proxy
        "#);
    }

    #[test]
    fn needs_a_manager() {
        let told = |text: &str| read(text, "hostnames.yaml").unwrap_err().to_string();
        assert!(told("worker: a\n").contains("`hostnames.yaml` lacks `manager`"));
        let two = told("manager: red[00-01]\nworker:\n");
        assert!(
            two.contains("one, three or five managers, not 2") && two.contains("`worker` has no value"),
            "{two}"
        );
        assert!(told("").contains("the file is empty"));
    }

    #[test]
    fn is_bounded() {
        let text = "manager: a\nworker: [\"b[1-600]\", \"c[1-600]\"]\n";
        assert!(read(text, "hostnames.yaml").unwrap_err().to_string().contains("more than 1000"));
    }
}
