//! `builder verify`: compares a card with what it should hold, before its first boot.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use thiserror::Error;

use crate::cache::Cache;
use crate::cli::Globals;
use crate::cli::flash::Show;
use crate::device::claim::ReadOnly;
use crate::error::{Failure, Kind};
use crate::fetch;
use crate::flash::card::{CardError, Done};
use crate::flash::content::Patches;
use crate::flash::{self, Manner, Order, Source};
use crate::interrupt::Interrupt;
use crate::pki;
use crate::plan::{self, PlanOptions, Planner};
use crate::project;
use crate::report::Progress;
use crate::why::FirstStart;
use crate::why::card as marks;

/// Compare a card with its plan, before its first boot
///
/// Reads everything and writes nothing. Exit code 4 if anything differs.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The node
    #[arg(value_name = "NODE")]
    node: String,
    /// The card in a reader, such as /dev/sdb, or its image
    #[arg(short, long, value_name = "DEVICE")]
    device: PathBuf,
    /// The agent's binary that the card was made with
    #[arg(long, value_name = "PATH")]
    firstboot: Option<PathBuf>,
}

#[derive(Debug, Error)]
enum VerifyError {
    #[error("name one node, not {0}")]
    NotOne(String),
    #[error("cannot open {}", path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is not the card of {node} as planned", path.display())]
    Differs {
        path: PathBuf,
        node: String,
        #[source]
        source: CardError,
    },
    #[error("cannot take signals")]
    Signals(#[source] io::Error),
    #[error("cannot print the result")]
    Print(#[source] io::Error),
}

impl From<VerifyError> for Failure {
    fn from(error: VerifyError) -> Self {
        match &error {
            VerifyError::NotOne(_) => {
                Self::new(Kind::Usage, error).hint("such as: builder verify red03 --device /dev/sdb")
            }
            VerifyError::Open { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Self::new(Kind::Failed, error)
                    .hint("reading a device takes root: put sudo before the command")
            }
            VerifyError::Open { .. } => {
                Self::new(Kind::Failed, error).hint("builder devices lists the card readers")
            }
            VerifyError::Differs { path, node, .. } => {
                let hint = hint(path, node);
                Self::new(Kind::VerificationFailed, error).hint(hint)
            }
            _ => Self::new(Kind::Failed, error),
        }
    }
}

/// What to do with a card that differs: that depends on what it is.
fn hint(path: &std::path::Path, node: &str) -> String {
    match marks::read(path) {
        Ok(evidence) if evidence.card.node.as_str() != node => {
            format!("it is the card of {}", evidence.card.node)
        }
        Ok(evidence) if evidence.first_start != FirstStart::NotBegun => {
            format!(
                "a Pi has started from it since; what became of it: builder why {node} --card {}",
                path.display()
            )
        }
        _ => format!("write it again: builder flash {node}"),
    }
}

/// Runs the command.
pub fn run(globals: &Globals, args: &VerifyArgs) -> Result<(), Failure> {
    let project = project::load_for_cards(&globals.file)?;
    let nodes = plan::select(&project.cluster, std::slice::from_ref(&args.node))?;
    let [node] = nodes.as_slice() else { return Err(VerifyError::NotOne(args.node.clone()).into()) };
    // Without them every card would differ.
    pki::existing(&project)?;
    let open = |source| VerifyError::Open { path: args.device.clone(), source };
    let medium = ReadOnly::open(&args.device).map_err(open)?;
    let progress = Progress::new(globals.quiet, globals.json);
    let cache = Cache::open(globals.cache.as_deref())?;
    let base = fetch::base(&project.cluster.image, &project.folder, &cache, &progress)?;
    let options = PlanOptions { firstboot: args.firstboot.clone() };
    let plan = Planner::preview(&project, &base.path, &options)?.card(node)?;
    let file = File::open(&base.path)
        .map_err(|source| fetch::FetchError::Open { path: base.path.clone(), source })?;
    let patches = Patches::new(&plan.writes);
    // Not before: until now, Ctrl-C ends the program at once, as it should.
    let interrupt = Interrupt::listen().map_err(VerifyError::Signals)?;
    let order = Order { medium: &medium, patches: &patches, resume: 0, note: Box::new(|_| ()) };
    let names = std::iter::once((node.to_string(), args.device.clone()));
    let show = Show::new(globals, names, base.size);
    let manner = Manner {
        verify: true,
        asked_to_end: &|| interrupt.asked(),
        step: &|card, phase, bytes| show.step(card, phase, bytes),
    };
    let mut results = flash::compare(&Source { file: &file, size: base.size }, &[order], &manner);
    drop(show);
    let result = results.pop().unwrap_or(Err(CardError::Interrupted));
    let Done { digest, .. } = match result {
        Ok(done) => done,
        Err(error @ CardError::Interrupted) => return Err(Failure::new(Kind::Failed, error)),
        Err(source) => {
            let (path, node) = (args.device.clone(), node.to_string());
            return Err(VerifyError::Differs { path, node, source }.into());
        }
    };
    let device = args.device.display();
    let text = match globals.json {
        true => format!(
            "{}\n",
            json!({ "event": "done", "node": node, "device": args.device, "sha256_of_blocks": digest })
        ),
        false => format!("{node}  {device}  as planned  {digest}\n"),
    };
    io::stdout().lock().write_all(text.as_bytes()).map_err(VerifyError::Print)?;
    Ok(())
}
