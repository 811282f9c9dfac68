//! `builder check`.

use std::io::{self, Write};

use clap::Args;
use cluster::host::Host;
use cluster::identity::Role;
use cluster::spec::hostnames::Hostnames;
use cluster::spec::{Cluster, Node, Problem, Problems};
use serde::Serialize;

use crate::cli::{Globals, columns};
use crate::error::{Failure, Kind, builder, hint};
use crate::project::{self, ProjectError};

/// Check the cluster file, or a hostnames.yaml, and show what it plans
#[derive(Debug, Args)]
pub struct CheckArgs {}

/// What programs get.
#[derive(Debug, Serialize)]
struct Checked<'c> {
    valid: bool,
    cluster: Option<&'c str>,
    image: Option<&'c str>,
    nodes: Vec<CheckedNode<'c>>,
    /// The first problems.
    problems: Vec<&'c Problem>,
    /// All problems, with those that are not listed.
    problem_count: usize,
}

#[derive(Debug, Serialize)]
struct CheckedNode<'c> {
    name: &'c str,
    role: &'static str,
    /// Address and prefix; null: from DHCP.
    address: Option<String>,
    labels: &'c std::collections::BTreeMap<String, String>,
}

impl<'c> Checked<'c> {
    fn good(cluster: &'c Cluster) -> Self {
        let nodes = cluster.nodes.iter().map(|node| CheckedNode {
            name: node.name.as_str(),
            role: node.role.as_str(),
            address: node.address.as_ref().map(|address| format!("{}/{}", address.ip, address.prefix)),
            labels: &node.labels,
        });
        Self {
            valid: true,
            cluster: Some(cluster.name.as_str()),
            image: Some(&cluster.image.location),
            nodes: nodes.collect(),
            problems: Vec::new(),
            problem_count: 0,
        }
    }

    fn bad(problems: &'c Problems) -> Self {
        Self {
            valid: false,
            cluster: None,
            image: None,
            nodes: Vec::new(),
            problems: problems.iter().collect(),
            problem_count: problems.total(),
        }
    }
}

/// Runs the command.
pub fn run(globals: &Globals, _args: &CheckArgs) -> Result<(), Failure> {
    match project::hosts(&globals.file) {
        Some(found) => {
            let found = told(globals, found)?;
            let shown = if globals.json { json(&CheckedHosts::good(&found))? } else { hosts(&found) };
            let said = hint!["a good list of hosts: ", builder(["config"]), " makes them a swarm"];
            tell(globals, &shown, &said.text(&globals.file))
        }
        None => {
            let project = told(globals, project::check(&globals.file))?;
            let cluster = &project.cluster;
            let shown = if globals.json { json(&Checked::good(cluster))? } else { table(cluster) };
            tell(globals, &shown, "a good cluster file")
        }
    }
}

/// What was read; what is wrong with it is told to programs, too.
fn told<T>(globals: &Globals, read: Result<T, ProjectError>) -> Result<T, Failure> {
    let bad = match &read {
        Err(ProjectError::Wrong(problems)) if globals.json => {
            serde_json::to_value(Checked::bad(problems)).unwrap_or_default()
        }
        _ => serde_json::Value::Null,
    };
    read.map_err(|error| Failure::from(error).with(bad))
}

fn tell(globals: &Globals, shown: &str, verdict: &str) -> Result<(), Failure> {
    print(shown)?;
    if !globals.json && !globals.quiet {
        // Nobody reads a closed standard error.
        let _unread = writeln!(io::stderr(), "{} is {verdict}", project::name_in_messages(&globals.file));
    }
    Ok(())
}

/// What programs get of a `hostnames.yaml`.
#[derive(Debug, Serialize)]
struct CheckedHosts {
    valid: bool,
    managers: Vec<String>,
    workers: Vec<String>,
}

impl CheckedHosts {
    fn good(found: &Hostnames) -> Self {
        let names = |hosts: &[Host]| hosts.iter().map(ToString::to_string).collect();
        Self { valid: true, managers: names(&found.managers), workers: names(&found.workers) }
    }
}

/// One line per host: as the file has it, role.
fn hosts(found: &Hostnames) -> String {
    let row = |role: &'static str| move |host: &Host| ([host.to_string(), role.to_owned()], Vec::new());
    let managers = found.managers.iter().map(row(Role::Manager.as_str()));
    let rows = managers.chain(found.workers.iter().map(row(Role::Worker.as_str())));
    columns::table(["HOST", "ROLE"], rows.collect())
}

fn json(checked: &impl Serialize) -> Result<String, Failure> {
    crate::json::pretty(checked).map_err(|error| Failure::new(Kind::Failed, error))
}

fn print(text: &str) -> Result<(), Failure> {
    io::stdout().write_all(text.as_bytes()).map_err(|error| Failure::new(Kind::Failed, error))
}

/// One line per node: name, role, address.
fn table(cluster: &Cluster) -> String {
    let row = |node: &Node| {
        let address = node.address.as_ref();
        let address = address.map_or_else(|| "DHCP".to_owned(), |a| format!("{}/{}", a.ip, a.prefix));
        ([node.name.to_string(), node.role.as_str().to_owned(), address], Vec::new())
    };
    columns::table(["NODE", "ROLE", "ADDRESS"], cluster.nodes.iter().map(row).collect())
}
