//! `builder why`: what a node went through and what to do about it, from its manager or from its card.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use cluster::history::Event;
use cluster::identity::Role;
use cluster::text::printable;
use cluster::wire::{BoardNode, Cause, ProblemCode, Report};
use serde::Serialize;
use thiserror::Error;

use crate::cli::Globals;
use crate::cli::status::table::NO_MEMORY_LIMITS;
use crate::cli::status::view::is_ready;
use crate::error::{Failure, Kind, builder, hint};
use crate::project::{self, Project, ProjectKind};
use crate::remote::{Address, Foreign, Manager};
use crate::why::card::{self, Evidence};
use crate::why::{Case, Seen, Trouble, advice};
use crate::{pki, plan};

/// Events that are shown to a person.
const SHOWN: usize = 20;

/// Tell why a node is not ready, and what to do
///
/// Asks the manager; with --card reads the node's own card, which also works
/// when the node never reached anybody.
#[derive(Debug, Args)]
pub struct WhyArgs {
    /// The node
    #[arg(value_name = "NODE")]
    node: String,
    /// The node's card in a reader, such as /dev/sdb, or its image; it is only read
    #[arg(long, value_name = "DEVICE", conflicts_with = "manager")]
    card: Option<PathBuf>,
    /// Where the manager is: an address or a name, and a port if not 8377
    ///
    /// Without it: the address in the cluster file, the last one that was good, mDNS, the name server.
    #[arg(long, value_name = "ADDRESS")]
    manager: Option<Address>,
}

/// Why there is no answer.
#[derive(Debug, Error)]
enum WhyError {
    #[error("name one node, not {given}")]
    NotOne { given: String, first: String },
    #[error("this is the card of {found}, not of {wanted}")]
    OtherCard { found: String, wanted: String, path: PathBuf },
    #[error("the manager does not plan {0}")]
    Unplanned(String),
    #[error("cannot print the answer")]
    Print(#[source] io::Error),
    #[error("cannot make JSON of the answer")]
    Json(#[source] serde_json::Error),
}

impl From<WhyError> for Failure {
    fn from(error: WhyError) -> Self {
        let (kind, hint) = match &error {
            WhyError::NotOne { first, .. } => (Kind::Usage, hint!["such as: ", builder(["why", first])]),
            WhyError::OtherCard { found, path, .. } => {
                (Kind::Usage, builder(["why", found, "--card"]).path(path).into())
            }
            WhyError::Unplanned(_) => {
                let what = "make the manager's card again with the present file, or, if it ran before: ";
                (Kind::Failed, hint![what, builder(["config"])])
            }
            WhyError::Print(_) | WhyError::Json(_) => return Self::new(Kind::Failed, error),
        };
        Self::new(kind, error).hint(hint)
    }
}

/// Runs the command.
pub fn run(globals: &Globals, args: &WhyArgs) -> Result<(), Failure> {
    let project = project::load(&globals.file)?;
    why(&project, args, globals.json, &mut io::stdout())
}

/// The answer, for programs.
#[derive(Serialize)]
struct Json<'a> {
    node: &'a str,
    stage: Option<cluster::wire::Stage>,
    trouble: Option<&'a str>,
    gave_up: bool,
    /// The trouble's code, where the agent knows one.
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'a Cause>,
    events: &'a [Event],
    advice: &'a str,
    /// The words of each command in the advice.
    commands: &'a [Vec<String>],
}

/// Looks, and tells.
///
/// # Errors
/// [`Kind::Usage`] for a node that is not planned or another's card, [`Kind::Unreachable`] when the manager does not
/// answer.
pub fn why(project: &Project, args: &WhyArgs, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let chosen = plan::select(&project.cluster, std::slice::from_ref(&args.node))?;
    let [node] = chosen.as_slice() else {
        let first = chosen.first().map(ToString::to_string).unwrap_or_default();
        return Err(WhyError::NotOne { given: args.node.clone(), first }.into());
    };
    let (case, events, seen) = match &args.card {
        Some(path) => {
            let evidence = card::read(path).map_err(|error| error.into_failure(node.as_str()))?;
            if evidence.card.node != *node {
                let (found, wanted) = (evidence.card.node.to_string(), node.to_string());
                return Err(WhyError::OtherCard { found, wanted, path: path.clone() }.into());
            }
            let secrets = project.secrets_folder();
            (Case { secrets, ..evidence.case() }, evidence.events.clone(), from_card(&evidence))
        }
        None => {
            let identities = pki::existing(project)?;
            let mut manager = Manager::new(project, &identities, args.manager.clone())?;
            let board = manager.board()?;
            let found = board.nodes.into_iter().find(|found| found.name == *node);
            let found = found.ok_or_else(|| WhyError::Unplanned(node.to_string()))?;
            let events = manager.history(node)?.events;
            let running = pki::running(&project.secrets_folder())?;
            let is_adopted = running.is_some_and(|running| running.host(node).is_some());
            let seen = from_board(&found, manager.foreign());
            (Case { is_adopted, ..case(&found, project) }, events, seen)
        }
    };
    let advice = advice(&case).show(Some(&project.file));
    let text = if json {
        let answer = Json {
            node: &case.node,
            stage: case.stage,
            trouble: case.trouble.as_ref().map(|trouble| trouble.message.as_str()),
            gave_up: case.trouble.as_ref().is_some_and(|trouble| trouble.gave_up),
            cause: case.trouble.as_ref().and_then(|trouble| trouble.cause.as_ref()),
            events: &events,
            advice: &advice.text,
            commands: &advice.commands,
        };
        crate::json::line(&answer).map_err(WhyError::Json)? + "\n"
    } else {
        let skipped = events.len().saturating_sub(SHOWN);
        let lines = events.iter().skip(skipped).map(|event| format!("  {}\n", printable(&event.to_string())));
        let log: String = lines.collect();
        let log = if log.is_empty() { log } else { format!("\nlast events:\n{log}") };
        format!("{seen}{log}\nwhat to do: {}\n", printable(&advice.text))
    };
    out.write_all(text.as_bytes()).map_err(|error| WhyError::Print(error).into())
}

fn case(node: &BoardNode, project: &Project) -> Case {
    let manager = project.cluster.nodes.iter().find(|planned| planned.role == Role::Manager);
    let manager = manager.filter(|manager| manager.name != node.name);
    let report = node.report.as_ref();
    Case {
        node: node.name.to_string(),
        secrets: project.secrets_folder(),
        manager: manager.map(|manager| manager.name.to_string()),
        is_adopted: project.kind == ProjectKind::Adopted,
        seen: Seen::Board { silent: node.last_heard_ms.map(Duration::from_millis), ready: is_ready(node) },
        stage: report.map(|report| report.stage),
        trouble: report.and_then(trouble),
    }
}

fn trouble(report: &Report) -> Option<Trouble> {
    if let Some(error) = &report.error {
        let (message, cause) = (error.message.clone(), error.cause.clone());
        return Some(Trouble { message, cause, gave_up: error.permanent });
    }
    let cause = Some(ProblemCode::LeftAsOrdered.into());
    report.left.map(|_| Trouble { message: report.word.clone(), cause, gave_up: false })
}

fn from_board(node: &BoardNode, foreign: &[Foreign]) -> String {
    let mut text = format!("{}, {}, as its manager knows it\n", node.name, node.role.as_str());
    for foreign in foreign {
        text.push_str(&format!("another cluster on this network: {foreign}\n"));
    }
    let Some(report) = &node.report else { return text + "it was never heard from\n" };
    let silent = node.last_heard_ms.unwrap_or_default() / 1000;
    text.push_str(&format!("stage {}: {}\n", report.stage.as_str(), printable(&report.word)));
    if let Some(error) = &report.error {
        let so = if error.permanent { "has given up" } else { "trying again" };
        text.push_str(&format!("{so}: {}\n", printable(&error.message)));
    }
    for warning in &report.warnings {
        text.push_str(&format!("warning: {}\n", printable(warning)));
    }
    if report.facts.memory_cgroup == Some(false) {
        text.push_str(&format!("{NO_MEMORY_LIMITS}\n"));
    }
    let swarm = node.swarm.as_ref().map_or("no entry", |entry| &entry.state);
    text.push_str(&format!("last heard {silent} s ago; in the manager's node list: {}\n", printable(swarm)));
    text
}

fn from_card(evidence: &Evidence) -> String {
    let mut text = format!("{}, {}, as its card has it\n", evidence.card.node, evidence.card.role.as_str());
    // Blanks keep room in the file for what the Pi will write.
    for line in evidence.status.iter().flat_map(|status| status.trim_end().lines()) {
        text.push_str(&format!("  {}\n", printable(line.trim_end())));
    }
    if let Some(problem) = &evidence.root_problem {
        text.push_str(&format!("the root partition tells nothing: {}\n", printable(problem)));
    }
    text
}
