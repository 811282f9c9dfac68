//! `builder check`.

use std::io::{self, Write};

use clap::Args;
use cluster::spec::{Cluster, Problem};
use serde::Serialize;

use crate::cli::Globals;
use crate::error::{Failure, Kind};
use crate::project::{self, ProjectError};

/// Check the cluster file and show what it plans
#[derive(Debug, Args)]
pub struct CheckArgs {}

/// What programs get.
#[derive(Debug, Serialize)]
struct Checked<'c> {
    valid: bool,
    cluster: Option<&'c str>,
    image: Option<&'c str>,
    nodes: Vec<CheckedNode<'c>>,
    problems: Vec<&'c Problem>,
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
        }
    }

    fn bad(problems: impl Iterator<Item = &'c Problem>) -> Self {
        Self { valid: false, cluster: None, image: None, nodes: Vec::new(), problems: problems.collect() }
    }
}

/// Runs the command.
pub fn run(globals: &Globals, _args: &CheckArgs) -> Result<(), Failure> {
    let project = match project::read(&globals.file) {
        Ok(project) => project,
        Err(error) => {
            if let (true, ProjectError::Wrong(problems)) = (globals.json, &error) {
                print(&json(&Checked::bad(problems.iter()))?)?;
            }
            return Err(error.into());
        }
    };
    if globals.json {
        return print(&json(&Checked::good(&project.cluster))?);
    }
    print(&table(&project.cluster))?;
    if !globals.quiet {
        // Nobody reads a closed standard error.
        let _unread = writeln!(io::stderr(), "{} is a good cluster file", project.file.display());
    }
    Ok(())
}

fn json(checked: &Checked<'_>) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(checked).map_err(|error| Failure::new(Kind::Failed, error))?;
    Ok(text + "\n")
}

fn print(text: &str) -> Result<(), Failure> {
    io::stdout().write_all(text.as_bytes()).map_err(|error| Failure::new(Kind::Failed, error))
}

/// One line per node: name, role, address.
fn table(cluster: &Cluster) -> String {
    let width =
        cluster.nodes.iter().map(|node| node.name.as_str().len()).max().unwrap_or_default().max("NODE".len());
    let mut text = format!("{:width$}  {:7}  ADDRESS\n", "NODE", "ROLE");
    for node in &cluster.nodes {
        let address =
            node.address.as_ref().map_or_else(|| "DHCP".to_owned(), |a| format!("{}/{}", a.ip, a.prefix));
        text.push_str(&format!("{:width$}  {:7}  {address}\n", node.name.as_str(), node.role.as_str()));
    }
    text
}
