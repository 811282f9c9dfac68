//! `builder flash`: writes the nodes' cards, several at once, and reads them back.
//!
//! Order of effects: readers are looked at, and whatever speaks against one ends it here; the image is found; readers are
//! claimed, which writes nothing and is the last chance to refuse; the user is asked; cards are planned and written. In
//! later rounds the next cards are waited for, and none of them ends it.

use std::fs::File;
use std::path::PathBuf;

use clap::Args;
use cluster::name::Hostname;

use crate::cache::Cache;
use crate::cli::size::Size;
use crate::cli::{Globals, consent, first_use};
use crate::device::contents::{self, Contents};
use crate::device::{Claimed, Demand, Disk, Kernel, claim};
use crate::error::{Failure, Kind, builder, hint, one_line};
use crate::fetch::{self, Base};
use crate::flash::content::Patches;
use crate::flash::journal::Journal;
use crate::flash::{self, Manner, Order, Source};
use crate::interrupt::{EndOnSignal, Interrupt};
use crate::plan::{self, PlanOptions, Planner};
use crate::project;
use crate::report::Progress;

mod again;
mod ask;
mod begun;
mod next;
mod outcome;
mod show;
mod slots;

use again::Again;
use ask::Question;
pub(crate) use ask::describe;
use next::Waiter;
use outcome::{CardOutcome, FlashError, Outcomes};
pub(crate) use show::Show;
use show::say;
use slots::{Given, Slot};

/// Write the nodes' SD cards, and read them back
///
/// Without --device, all card readers with a card in them are used, if there
/// are not more of them than nodes. With more nodes than readers, you are asked
/// for the next cards. Where it ends early you are told what to type for the
/// nodes that are left; a card that was begun is gone on with.
///
/// Refused, with exit code 3: disks that are in use, that are not made to be
/// taken out, or that are larger than a card usually is.
#[derive(Debug, Args)]
pub struct FlashArgs {
    /// Nodes or ranges such as 'red[00-02]'; all without it
    #[arg(value_name = "NODE")]
    nodes: Vec<String>,
    /// A card reader such as /dev/sdb; a fixed disk is named twice: /dev/sda=SERIAL
    #[arg(short, long = "device", value_name = "DEVICE")]
    devices: Vec<Given>,
    /// Do not ask before erasing what --device names; what is refused stays so
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
    let slots = slots::find(&kernel, &args.devices, &nodes, (&demand, args.yes))?;
    let progress = Progress::new(globals.quiet, globals.json);
    let cache = Cache::open(globals.cache.as_deref())?;
    let hosts = consent::hosts(&project, &cache)?;
    let signals = |source| Failure::new(Kind::Failed, FlashError::Signals(source));
    let ending = EndOnSignal::listen(|| ()).map_err(signals)?;
    let base = fetch::base(&project.cluster.image, &project.folder, &cache, &hosts, &progress)?;
    demand.needed = base.size;
    demand.image = Some(base.path.clone());
    plan::check_image(&project, &base.path, &cache)?;
    let planner = Planner::open(&project, &base.path, &PlanOptions { firstboot: args.firstboot.clone() })?;
    let ca = planner.identities().ca_fingerprint()?;
    first_use::show(&ca, project.cluster.name.as_str(), &cache, &progress)?;
    // Not before: until now, Ctrl-C ends the program at once, as it should.
    let interrupt = Interrupt::listen().map_err(signals)?;
    ending.disarm();
    let file = File::open(&base.path)
        .map_err(|source| fetch::FetchError::Open { path: base.path.clone(), source })?;
    let flashing = Flashing {
        kernel,
        demand,
        journal: Journal::open(&cache)?,
        file,
        base,
        cluster_id: planner.cluster_id(),
        planner: &planner,
        again: Again::new(globals, args, &slots),
        question: Question::new(args.yes),
        verify: !args.no_verify,
        interrupt,
        globals,
        progress,
    };
    flashing.run(&nodes, slots)
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
    again: Again,
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
        let ended = match ended.and(told) {
            Ok(()) => outcomes.judge(nodes),
            Err(failure) => Err(outcomes.name_left(failure, nodes)),
        };
        if ended.is_ok() {
            let next = hint![
                "next: put the cards into the Pis, power them on, then: ",
                builder(["status", "--wait"])
            ];
            self.progress.say(&next.text(&self.globals.file));
        }
        let document = outcomes.document(nodes);
        ended.map_err(|failure| self.again.advise(failure, nodes, &outcomes).with(document.clone()))?;
        if self.globals.json {
            show::print(&document);
        }
        Ok(())
    }

    fn rounds(
        &self,
        nodes: &[Hostname],
        mut slots: Vec<Slot>,
        outcomes: &mut Outcomes,
    ) -> Result<(), Failure> {
        let claimed = self.claim(&slots)?;
        let nodes = self.begun_first(nodes, &slots, &claimed)?;
        let mut claimed = Some(claimed);
        for nodes in nodes.chunks(slots.len().max(1)) {
            slots.truncate(nodes.len());
            let claimed = match claimed.take() {
                Some(first) => first,
                None => self.next_cards(nodes, &mut slots, outcomes)?,
            };
            let known = (&self.journal, self.cluster_id.as_str());
            if !self.question.may_erase(nodes, &slots, known, &self.interrupt)? {
                return Err(FlashError::Declined { more: outcomes.are_any() }.into());
            }
            let drafts = self.draft(nodes, &slots, claimed)?;
            outcomes.extend(self.write(&drafts));
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

    /// Claims all readers or none.
    fn claim(&self, slots: &[Slot]) -> Result<Vec<Claimed>, Failure> {
        let claimed = slots
            .iter()
            .map(|slot| claim::claim(&self.kernel, &slot.given, &slot.disk, &slot.demand(&self.demand)));
        Ok(claimed.collect::<Result<_, _>>()?)
    }

    /// After a crash nobody was told what was left: a card that was begun then is not made another node's.
    fn begun_first(
        &self,
        nodes: &[Hostname],
        slots: &[Slot],
        claimed: &[Claimed],
    ) -> Result<Vec<Hostname>, Failure> {
        let unfinished: Vec<_> = claimed.iter().map(|card| begun::is_unfinished(card)).collect();
        begun::first(nodes, &unfinished, |place, node| {
            let patches = self.patches(node)?;
            let is_for = |card| begun::is_for(card, &patches, &self.journal, &self.base);
            let begun = claimed.get(place).is_some_and(is_for);
            if let Some(slot) = slots.get(place).filter(|_| begun && nodes.get(place) != Some(node)) {
                say(&format!(
                    "the card in {} was begun for {node}: that one comes first",
                    slot.given.display()
                ));
            }
            Ok(begun)
        })
    }

    /// Waits for the next cards, one reader after the other.
    fn next_cards(
        &self,
        nodes: &[Hostname],
        slots: &mut [Slot],
        outcomes: &Outcomes,
    ) -> Result<Vec<Claimed>, Failure> {
        let done = |disk: &Disk| match contents::look(disk) {
            Contents::Card { node, cluster_id, .. } => {
                (cluster_id == self.cluster_id && outcomes.has_done(&node)).then_some(node)
            }
            _ => None,
        };
        let (kernel, demand, interrupt) = (&self.kernel, &self.demand, &self.interrupt);
        let waiter = Waiter { kernel, demand, interrupt, done: &done };
        slots.iter_mut().zip(nodes).map(|(slot, node)| waiter.wait(slot, node)).collect()
    }

    fn patches(&self, node: &Hostname) -> Result<Patches, Failure> {
        Ok(Patches::new(&self.planner.card(node)?.writes))
    }

    fn draft(
        &self,
        nodes: &[Hostname],
        slots: &[Slot],
        claimed: Vec<Claimed>,
    ) -> Result<Vec<Draft>, Failure> {
        let drafts = nodes.iter().zip(slots).zip(claimed).map(|((node, slot), claimed)| {
            let patches = self.patches(node)?;
            Ok(Draft { node: node.clone(), given: slot.given.clone(), claimed, patches })
        });
        drafts.collect()
    }

    fn write(&self, drafts: &[Draft]) -> Vec<CardOutcome> {
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
        let outcomes = drafts.iter().zip(results).map(|(draft, result)| {
            if let Ok(done) = &result {
                let names = (self.cluster_id.clone(), draft.node.to_string());
                let content = Journal::content(&self.base.digest, &draft.patches);
                let card = (draft.claimed.disk(), content);
                // The card is done all the same.
                if let Err(error) = self.journal.finish(card, names, done.verified, done.digest) {
                    let error = one_line(&error);
                    self.progress.say(&format!("cannot note that {} is done: {error}", draft.node));
                }
            }
            CardOutcome { node: draft.node.clone(), device: draft.given.clone(), result }
        });
        outcomes.collect()
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
