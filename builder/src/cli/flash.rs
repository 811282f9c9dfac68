//! `builder flash`: writes the nodes' cards, several at once, and reads them back.
//!
//! Order of effects: readers are looked at, and whatever speaks against one ends it here; the image is found; every card
//! is planned; the user is asked; readers are claimed, which is the last chance to refuse; cards are written.

use std::fs::File;
use std::path::PathBuf;

use clap::Args;
use cluster::name::Hostname;

use crate::cache::Cache;
use crate::cli::Globals;
use crate::cli::size::Size;
use crate::device::contents::{self, Contents};
use crate::device::{Claimed, Demand, Kernel, claim};
use crate::error::{Failure, Kind};
use crate::fetch::{self, Base};
use crate::flash::content::Patches;
use crate::flash::journal::Journal;
use crate::flash::{self, Manner, Order, Source};
use crate::interrupt::Interrupt;
use crate::plan::{self, PlanOptions, Planner};
use crate::project;
use crate::report::Progress;

mod ask;
mod outcome;
mod show;
mod slots;

use ask::Question;
pub(crate) use ask::describe;
use outcome::{CardOutcome, FlashError, Outcomes};
pub(crate) use show::Show;
use slots::{Given, Slot};

/// Write the nodes' SD cards, and read them back
///
/// Without --device, all card readers with a card in them are used, if there
/// are not more of them than nodes. With more nodes than readers, you are asked
/// for the next cards. A card that was interrupted is gone on with when the same
/// command is given again.
///
/// Refused, with exit code 3: disks that are in use, that are not made to be
/// taken out, or that are larger than a card usually is.
#[derive(Debug, Args)]
pub struct FlashArgs {
    /// Nodes or ranges such as red[00-02]; all without it
    #[arg(value_name = "NODE")]
    nodes: Vec<String>,
    /// A card reader such as /dev/sdb; a fixed disk is named twice: /dev/sda=SERIAL
    #[arg(short, long = "device", value_name = "DEVICE")]
    devices: Vec<Given>,
    /// Do not ask before erasing; what is refused stays refused
    #[arg(short, long)]
    yes: bool,
    /// Do not read the cards back
    #[arg(long)]
    no_verify: bool,
    /// Above this size a disk is no card
    #[arg(long, value_name = "SIZE", default_value = "256GiB")]
    max_size: Size,
    /// The agent's binary for the image's architecture
    ///
    /// Without it: firstboot-ARCH beside builder, in ../share/builder or in
    /// ../lib/builder.
    #[arg(long, value_name = "PATH")]
    firstboot: Option<PathBuf>,
}

/// Runs the command.
pub fn run(globals: &Globals, args: &FlashArgs) -> Result<(), Failure> {
    let project = project::load_for_cards(&globals.file)?;
    let nodes = plan::select(&project.cluster, &args.nodes)?;
    let kernel = Kernel::default();
    let mut demand = Demand { limit: args.max_size.bytes(), ..Demand::default() };
    // Before minutes are spent on the image.
    let slots = slots::find(&kernel, &args.devices, &nodes, &demand)?;
    let progress = Progress::new(globals.quiet, globals.json);
    let cache = Cache::open(globals.cache.as_deref())?;
    let base = fetch::base(&project.cluster.image, &project.folder, &cache, &progress)?;
    demand.needed = base.size;
    demand.image = Some(base.path.clone());
    let planner = Planner::open(&project, &base.path, &PlanOptions { firstboot: args.firstboot.clone() })?;
    // Not before: until now, Ctrl-C ends the program at once, as it should.
    let interrupt =
        Interrupt::listen().map_err(|source| Failure::new(Kind::Failed, FlashError::Signals(source)))?;
    let flashing = Flashing {
        kernel,
        demand,
        journal: Journal::open(&cache)?,
        file: open(&base)?,
        base,
        cluster_id: planner.cluster_id(),
        planner: &planner,
        question: Question::new(args.yes),
        verify: !args.no_verify,
        interrupt,
        globals,
        progress,
    };
    flashing.run(&nodes, slots)
}

fn open(base: &Base) -> Result<File, Failure> {
    File::open(&base.path).map_err(|source| {
        Failure::new(Kind::Failed, fetch::FetchError::Open { path: base.path.clone(), source })
    })
}

/// What stays the same for all cards.
struct Flashing<'a> {
    kernel: Kernel,
    demand: Demand,
    journal: Journal,
    base: Base,
    file: File,
    cluster_id: String,
    planner: &'a Planner,
    question: Question,
    verify: bool,
    interrupt: Interrupt,
    globals: &'a Globals,
    progress: Progress,
}

/// A card that is about to be written.
struct Draft {
    node: Hostname,
    given: PathBuf,
    claimed: Claimed,
    patches: Patches,
}

impl Flashing<'_> {
    /// Writes all cards, as many at once as there are readers, and tells what became of them, also if it ends early.
    fn run(&self, nodes: &[Hostname], slots: Vec<Slot>) -> Result<(), Failure> {
        let mut outcomes = Outcomes::default();
        let ended = self.rounds(nodes, slots, &mut outcomes);
        let told = outcomes.tell(self.globals);
        ended.and(told)?;
        outcomes.judge(nodes.len(), &self.progress)
    }

    fn rounds(
        &self,
        nodes: &[Hostname],
        mut slots: Vec<Slot>,
        outcomes: &mut Outcomes,
    ) -> Result<(), Failure> {
        for (round, nodes) in nodes.chunks(slots.len().max(1)).enumerate() {
            slots.truncate(nodes.len());
            if round > 0 {
                for (slot, node) in slots.iter_mut().zip(nodes) {
                    self.next_card(slot, node, outcomes)?;
                }
            }
            let known = (&self.journal, self.cluster_id.as_str());
            if !self.question.may_erase(nodes, &slots, known, &self.interrupt)? {
                return Err(FlashError::Declined.into());
            }
            let drafts = self.claim(nodes, &slots)?;
            outcomes.extend(self.write(&drafts)?);
            for draft in drafts {
                let disk = draft.claimed.disk().clone();
                // Closed first: a drive that is in use cannot be ejected.
                drop(draft);
                slots::eject(&disk);
            }
            if self.interrupt.asked() {
                break;
            }
        }
        Ok(())
    }

    /// Waits for another card, and for yet another if it is one of those that are done.
    fn next_card(&self, slot: &mut Slot, node: &Hostname, outcomes: &Outcomes) -> Result<(), Failure> {
        let reader = slot.given.display().to_string();
        self.progress.say(&format!("put the card for {node} into {reader}"));
        loop {
            slots::wait_for_next(&self.kernel, slot, &self.interrupt)?;
            match contents::look(&slot.disk) {
                Contents::Card { node: found, cluster_id, .. }
                    if cluster_id == self.cluster_id && outcomes.has_done(&found) =>
                {
                    let done = format!("that is the card of {found}, which is done");
                    self.progress.say(&format!("{done}: put the card for {node} into {reader}"));
                }
                _ => return Ok(()),
            }
        }
    }

    /// Claims all readers or none.
    fn claim(&self, nodes: &[Hostname], slots: &[Slot]) -> Result<Vec<Draft>, Failure> {
        let drafts = nodes.iter().zip(slots).map(|(node, slot)| {
            let plan = self.planner.card(node)?;
            let demand = Demand { serial: slot.serial.clone(), ..self.demand.clone() };
            let claimed = claim::claim(&self.kernel, &slot.given, &slot.disk, &demand)?;
            let patches = Patches::new(&plan.writes);
            Ok(Draft { node: node.clone(), given: slot.given.clone(), claimed, patches })
        });
        drafts.collect()
    }

    fn write(&self, drafts: &[Draft]) -> Result<Vec<CardOutcome>, Failure> {
        let orders: Vec<_> = drafts.iter().map(|draft| self.order(draft)).collect();
        let names = drafts.iter().map(|draft| (draft.node.to_string(), draft.given.clone()));
        let show = Show::new(self.globals, names, self.base.size);
        let manner = Manner {
            verify: self.verify,
            asked_to_end: &|| self.interrupt.asked(),
            step: &|card, phase, bytes| show.step(card, phase, bytes),
        };
        let results = flash::flash(&Source { file: &self.file, size: self.base.size }, &orders, &manner);
        drop(show);
        let mut outcomes = Vec::new();
        for (draft, result) in drafts.iter().zip(results) {
            if let Ok(done) = &result {
                let names = (self.cluster_id.clone(), draft.node.to_string());
                self.journal.finish(names, done.verified, done.digest)?;
            }
            outcomes.push(CardOutcome { node: draft.node.clone(), device: draft.given.clone(), result });
        }
        Ok(outcomes)
    }

    fn order<'a>(&'a self, draft: &'a Draft) -> Order<'a> {
        let content = Journal::content(&self.base.digest, &draft.patches);
        let disk = draft.claimed.disk();
        let note = move |blocks| {
            // Without the note, an interrupted card is written from its beginning: no reason to stop.
            let _forgotten = self.journal.note(disk, content, blocks);
        };
        Order {
            medium: &draft.claimed,
            patches: &draft.patches,
            resume: self.journal.safe_blocks(disk, content),
            note: Box::new(note),
        }
    }
}
