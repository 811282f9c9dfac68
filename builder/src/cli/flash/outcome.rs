//! What became of the cards, for people and programs, and what that makes of the command.

use std::io::{self, Write};
use std::path::PathBuf;

use cluster::name::Hostname;
use serde_json::{Value, json};
use thiserror::Error;

use super::again::{Place, fold};
use crate::cli::Globals;
use crate::device::Refusal;
use crate::error::{Failure, Kind, builder, hint, one_line};
use crate::flash::card::{CardError, Done, Zeros};

/// Why cards were not written, or not all.
#[derive(Debug, Error)]
pub(super) enum FlashError {
    #[error("cannot list the disks")]
    Disks(#[source] io::Error),
    #[error("cannot take signals")]
    Signals(#[source] io::Error),
    #[error("there is no card reader with a card in it that may be used")]
    NoReader,
    #[error("{nodes} nodes, and cards in {}", list(readers))]
    WhichReader { readers: Vec<PathBuf>, nodes: usize },
    #[error("--yes without --device, and cards in {}", list(readers))]
    Unnamed { readers: Vec<PathBuf> },
    #[error("{devices} devices for {nodes} nodes")]
    MoreDevices { devices: usize, nodes: usize },
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Refused(Vec<Refusal>),
    #[error("there is no terminal to ask at whether cards may be erased")]
    NobodyToAsk,
    #[error("cannot ask whether cards may be erased")]
    Ask(#[source] io::Error),
    #[error("nothing {}was erased", if *more { "more " } else { "" })]
    Declined { more: bool },
    #[error("interrupted")]
    Interrupted,
    #[error("{left} of {all} cards are not done: {nodes}")]
    Unfinished { left: usize, all: usize, nodes: String },
    #[error("cannot print the result")]
    Print(#[source] io::Error),
}

impl From<FlashError> for Failure {
    fn from(error: FlashError) -> Self {
        let (kind, hint) = match &error {
            FlashError::NoReader => (
                Kind::DeviceRefused,
                hint!["put cards into their readers; ", builder(["devices"]), " says why one cannot be used"],
            ),
            FlashError::MoreDevices { .. } => (Kind::Usage, "name as many devices as nodes, or fewer".into()),
            FlashError::WhichReader { .. } => (Kind::Usage, "say which: --device DEVICE".into()),
            FlashError::Unnamed { readers } => {
                let named: Vec<_> =
                    readers.iter().map(|path| format!("--device {}", path.display())).collect();
                let hint = format!("name those that may be erased: {}", named.join(" "));
                return Self::new(Kind::Usage, error).hint(hint);
            }
            FlashError::Refused(_) => return Self::new(Kind::DeviceRefused, error),
            FlashError::NobodyToAsk => {
                (Kind::Usage, "if they may: --yes, and --device for each reader".into())
            }
            FlashError::Declined { .. } => {
                (Kind::Failed, hint![builder(["devices"]), " shows what is in which reader"])
            }
            _ => return Self::new(Kind::Failed, error),
        };
        Self::new(kind, error).hint(hint)
    }
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// What became of one card.
#[derive(Debug)]
pub(super) struct CardOutcome {
    pub(super) node: Hostname,
    pub(super) device: PathBuf,
    pub(super) result: Result<Done, CardError>,
}

/// What became of all.
#[derive(Debug, Default)]
pub(super) struct Outcomes(Vec<CardOutcome>);

impl Outcomes {
    pub(super) fn extend(&mut self, outcomes: Vec<CardOutcome>) {
        self.0.extend(outcomes);
    }

    /// Whether that node's card was written.
    pub(super) fn has_done(&self, node: &str) -> bool {
        self.0.iter().any(|card| card.result.is_ok() && card.node.as_str() == node)
    }

    /// Whether any card was begun.
    pub(super) fn are_any(&self) -> bool {
        !self.0.is_empty()
    }

    /// The nodes whose cards are not done, begun or not.
    pub(super) fn left(&self, nodes: &[Hostname]) -> Vec<Hostname> {
        nodes.iter().filter(|node| !self.has_done(node.as_str())).cloned().collect()
    }

    /// The cards that were begun, are not done, and are the last ones that were in their readers.
    pub(super) fn begun(&self) -> Vec<Place> {
        let later = |at: usize| self.0.iter().skip(at + 1);
        let begun =
            self.0.iter().enumerate().filter(|(at, card)| {
                card.result.is_err() && later(*at).all(|later| later.device != card.device)
            });
        begun.map(|(_, card)| (card.node.clone(), card.device.clone())).collect()
    }

    /// The last line of JSON.
    pub(super) fn document(&self, nodes: &[Hostname]) -> Value {
        let cards: Vec<_> = self.0.iter().map(CardOutcome::document).collect();
        json!({ "event": "done", "cards": cards, "left": self.left(nodes) })
    }

    /// Prints the table; nothing where no card was begun.
    pub(super) fn tell(&self, globals: &Globals) -> Result<(), Failure> {
        if self.0.is_empty() || globals.json {
            return Ok(());
        }
        let text: String = self.0.iter().map(CardOutcome::line).collect();
        Ok(io::stdout().lock().write_all(text.as_bytes()).map_err(FlashError::Print)?)
    }

    /// Says which nodes are left after something else ended it, if any card was begun.
    pub(super) fn name_left(&self, failure: Failure, nodes: &[Hostname]) -> Failure {
        let left = self.left(nodes);
        if left.is_empty() || self.0.is_empty() {
            return failure;
        }
        failure.hint(format!("not done: {}", fold(&left)))
    }

    /// A card that is not done is a failure, and so is one that was not begun.
    pub(super) fn judge(&self, nodes: &[Hostname]) -> Result<(), Failure> {
        let left = self.left(nodes);
        if left.is_empty() {
            return Ok(());
        }
        let bad = self.0.iter().any(|card| card.result.as_ref().is_err_and(CardError::is_bad_card));
        let kind = if bad { Kind::VerificationFailed } else { Kind::Failed };
        let unfinished = FlashError::Unfinished { left: left.len(), all: nodes.len(), nodes: fold(&left) };
        let failure = Failure::new(kind, unfinished);
        Err(if bad { failure.hint("take another card where one is bad") } else { failure })
    }
}

impl CardOutcome {
    fn line(&self) -> String {
        let (node, device) = (self.node.as_str(), self.device.display());
        match &self.result {
            Ok(done) => {
                let verified = if done.verified { "written and verified" } else { "written, not verified" };
                let zeros = match done.zeros {
                    Zeros::Drive => ", empty blocks by the drive",
                    Zeros::Written => ", empty blocks written",
                    Zeros::None => "",
                };
                let again = match done.rewritten.len() {
                    0 => String::new(),
                    count => format!(", {count} blocks only at the second attempt"),
                };
                format!("{node}  {device}  {verified}{zeros}{again}  {}\n", done.digest)
            }
            Err(error) => format!("{node}  {device}  failed: {}\n", one_line(error)),
        }
    }

    fn document(&self) -> Value {
        let (node, device) = (&self.node, &self.device);
        match &self.result {
            Ok(done) => json!({
                "node": node, "device": device, "result": if done.verified { "verified" } else { "written" },
                "sha256_of_blocks": done.digest, "zeros": done.zeros, "rewritten": done.rewritten,
                "resumed_bytes": done.resumed,
            }),
            Err(error) => {
                json!({ "node": node, "device": device, "result": "failed", "error": one_line(error) })
            }
        }
    }
}
