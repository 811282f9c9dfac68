//! Makes card images: copies of the base with each node's plan laid over.
//!
//! Order of effects: what can be refused is refused; the image is found, and if it has to be unpacked the cards are
//! written on the way; the rest is copied (by reference where the file system can); plans are laid over; everything is
//! made durable; the files get their names. Until then they have none: a run that fails, is interrupted or is killed leaves
//! nothing.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use cluster::name::Hostname;
use cluster::spec::ImageSource;
use thiserror::Error;

use crate::cache::Cache;
use crate::dir::{self, Dir, NewFolders, Refusal};
use crate::error::{Failure, Kind, again, hint};
use crate::fetch::{self, Base, Copies};
use crate::interrupt::EndOnSignal;
use crate::marker::{CARDS, Standing};
use crate::plan::Write;
use crate::report::{Bytes, Progress};
use crate::scratch::{self, Existing, Scratch, ScratchError};
use crate::spread::{SpreadError, Target};
use crate::trusted_hosts::TrustedHosts;

mod copy;

pub use copy::CopyError;
pub(crate) use copy::extents;

/// What to build.
#[derive(Debug)]
pub struct Order<'a> {
    /// The image, and the folder where relative paths in the cluster file start.
    pub source: (&'a ImageSource, &'a Path),
    /// The hosts that may be asked for the image.
    pub hosts: &'a TrustedHosts,
    /// For which nodes.
    pub nodes: Vec<Hostname>,
    /// Where the cards go. Made if absent.
    pub folder: &'a Path,
    /// Whether the user named that folder. Another one has to be ours: see [`crate::marker`].
    pub is_named: bool,
    /// Whether existing cards are replaced.
    pub force: bool,
}

/// A finished card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// Whose.
    pub node: Hostname,
    /// The file.
    pub path: PathBuf,
}

/// Why cards could not be made.
#[derive(Debug, Error)]
pub enum BuildError {
    /// They are there already.
    #[error("already there: {}", .0.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "))]
    Existing(Vec<PathBuf>),
    /// A card would take the place of the image it is made from.
    #[error("{} is the image the cards are made from", .0.display())]
    IsTheImage(PathBuf),
    /// The folder for the cards cannot be used.
    #[error("cannot use the folder {}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// Not enough room for the cards.
    #[error("no space left in {}: {cards} cards need {needed}, {free} are free", folder.display())]
    Full {
        /// The folder.
        folder: PathBuf,
        /// How many were to be made.
        cards: usize,
        /// What they need together.
        needed: Bytes,
        /// What there is.
        free: Bytes,
    },
    /// The base could not be copied.
    #[error("cannot copy the image")]
    Copy(#[source] CopyError),
    /// A card could not be written.
    #[error("cannot write the card {}", path.display())]
    Write {
        /// Its name to be.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// Ctrl-C would leave things behind.
    #[error("cannot take signals")]
    Signals(#[source] std::io::Error),
    /// A card could not be made or named.
    #[error("cannot finish the cards")]
    Scratch(#[source] ScratchError),
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        let hint = match &error {
            BuildError::Existing(_) => Some("--force replaces them, -o DIR puts the cards elsewhere"),
            BuildError::Folder { folder, source } if Refusal::of(source) == Some(&Refusal::NotOurs) => {
                let build = again(["build"]).with(["-o", &folder.display().to_string()]);
                return Self::new(Kind::Failed, error)
                    .hint(hint!["to put the cards there all the same: ", build]);
            }
            BuildError::IsTheImage(_) | BuildError::Folder { .. } => {
                Some("choose another folder with -o DIR")
            }
            BuildError::Full { .. } => {
                Some("free some space, build fewer nodes, or choose another folder with -o DIR")
            }
            _ => None,
        };
        let failure = Self::new(Kind::Failed, error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

/// A card in the making.
struct Draft {
    node: Hostname,
    path: PathBuf,
    scratch: Scratch,
}

/// Builds the cards. `open_planner` is given the unpacked image and gives what plans a node's card; if either fails,
/// nothing is left.
pub fn build<P>(
    order: &Order<'_>,
    cache: &Cache,
    progress: &Progress,
    open_planner: impl FnOnce(&Base) -> Result<P, Failure>,
) -> Result<(Vec<Card>, Base), Failure>
where
    P: Fn(&Hostname) -> Result<Vec<Write>, Failure>,
{
    let paths: Vec<_> = order.nodes.iter().map(|node| order.folder.join(card_name(node))).collect();
    refuse_existing(&paths, order.force)?;
    let Place { folder, marked, made } = prepare(order)?;
    let ending = EndOnSignal::listen(made.remover()).map_err(BuildError::Signals)?;
    let drafts = drafts(order, &folder, paths)?;

    let (source, beside) = order.source;
    refuse_the_image(&beside.join(&source.location), &drafts)?;
    let (base, copied) = base_and_copies(order, &folder, &drafts, cache, progress)?;
    refuse_the_image(&base.path, &drafts)?;
    let plan = open_planner(&base)?;
    if !copied {
        copy_base(order.folder, &base, &drafts, progress)?;
    }
    for draft in &drafts {
        lay_over(draft, &plan(&draft.node)?)?;
    }
    sync_all(&drafts)?;
    // From here on it is names only.
    ending.disarm();
    if marked == Some(Standing::Empty) || marked == Some(Standing::Older) {
        // First of all, so that no card is ever there for git to add.
        CARDS
            .put(&folder)
            .map_err(|source| BuildError::Folder { folder: order.folder.to_owned(), source })?;
    }
    let existing = if order.force { Existing::Replace } else { Existing::Keep };
    let mut cards = Vec::new();
    for Draft { node, path, scratch } in drafts {
        scratch.publish(card_name(&node), existing).map_err(BuildError::Scratch)?;
        cards.push(Card { node, path });
    }
    made.keep();
    Ok((cards, base))
}

fn refuse_existing(paths: &[PathBuf], force: bool) -> Result<(), BuildError> {
    let existing: Vec<_> = paths.iter().filter(|path| path.symlink_metadata().is_ok()).cloned().collect();
    if force || existing.is_empty() { Ok(()) } else { Err(BuildError::Existing(existing)) }
}

fn card_name(node: &Hostname) -> String {
    format!("{node}.img")
}

/// The folder for the cards.
struct Place {
    folder: Dir,
    /// How it is known to be ours; `None` for another one, which the user named.
    marked: Option<Standing>,
    /// Goes again if nothing comes into it.
    made: NewFolders,
}

/// Opens the folder for the cards, or makes it.
fn prepare(order: &Order<'_>) -> Result<Place, BuildError> {
    let error = |source| BuildError::Folder { folder: order.folder.to_owned(), source };
    let make = if order.is_named { Dir::make } else { Dir::make_own };
    let (folder, made) = make(order.folder, dir::FOLDER).map_err(error)?;
    let marked = match CARDS.check(&folder) {
        Err(refused) if order.is_named && Refusal::of(&refused) == Some(&Refusal::NotOurs) => None,
        standing => Some(standing.map_err(error)?),
    };
    if marked.is_some() {
        scratch::sweep(&folder);
    }
    Ok(Place { folder, marked, made })
}

fn drafts(order: &Order<'_>, folder: &Dir, paths: Vec<PathBuf>) -> Result<Vec<Draft>, BuildError> {
    let drafts = order.nodes.iter().zip(paths).map(|(node, path)| {
        let scratch = Scratch::new_in(folder).map_err(BuildError::Scratch)?;
        Ok(Draft { node: node.clone(), path, scratch })
    });
    drafts.collect()
}

/// Finds the base, and says whether the cards are copies of it already.
fn base_and_copies(
    order: &Order<'_>,
    cards: &Dir,
    drafts: &[Draft],
    cache: &Cache,
    progress: &Progress,
) -> Result<(Base, bool), Failure> {
    let (source, folder) = order.source;
    // Where copies by reference are possible, they cost nothing later.
    let targets = match copy::can_clone(cache.images_folder(), cards) {
        true => Vec::new(),
        false => targets(drafts)?,
    };
    let following = !targets.is_empty();
    let (base, copies) = fetch::base_with_copies(source, folder, cache, order.hosts, targets, progress)?;
    match copies {
        Copies::Made(results) if following => {
            results
                .into_iter()
                .collect::<Result<(), _>>()
                .map_err(|error| copy_failure(order, &base, drafts, error))?;
            Ok((base, true))
        }
        _ => Ok((base, false)),
    }
}

fn targets(drafts: &[Draft]) -> Result<Vec<Target>, BuildError> {
    let targets = drafts.iter().map(|draft| {
        Target::past_memory(draft.scratch.file(), &draft.path)
            .map_err(|source| BuildError::Write { path: draft.path.clone(), source })
    });
    targets.collect()
}

/// Neither the image nor the cached base may be replaced by a card, by whatever name.
fn refuse_the_image(base: &Path, drafts: &[Draft]) -> Result<(), BuildError> {
    let id = |path: &Path| path.metadata().map(|metadata| (metadata.dev(), metadata.ino())).ok();
    let image = id(base);
    match drafts.iter().find(|draft| image.is_some() && id(&draft.path) == image) {
        Some(draft) => Err(BuildError::IsTheImage(draft.path.clone())),
        None => Ok(()),
    }
}

fn copy_base(folder: &Path, base: &Base, drafts: &[Draft], progress: &Progress) -> Result<(), Failure> {
    let error = |source| BuildError::Copy(CopyError::Read { path: base.path.clone(), source });
    let file = File::open(&base.path).map_err(error)?;
    let files: Vec<_> = drafts.iter().map(|draft| draft.scratch.file()).collect();
    if copy::clone(&file, &files) {
        return Ok(());
    }
    let (needed, free) = room(folder, base, drafts.len());
    if needed > free {
        return Err(full(folder, drafts.len(), needed, free).into());
    }
    let copied = copy::copy(&file, base, targets(drafts)?, progress);
    copied.map_err(|error| match error {
        CopyError::Write(source) if source.is_full() => {
            full(folder, drafts.len(), needed, room(folder, base, 0).1).into()
        }
        other => BuildError::Copy(other).into(),
    })
}

fn copy_failure(order: &Order<'_>, base: &Base, drafts: &[Draft], error: SpreadError) -> BuildError {
    if !error.is_full() {
        return BuildError::Copy(CopyError::Write(error));
    }
    // What was written of the drafts counts as free: it will be.
    let (needed, free) = room(order.folder, base, drafts.len());
    let held: u64 = drafts.iter().filter_map(|draft| allocated(draft.scratch.file())).sum();
    full(order.folder, drafts.len(), needed, free + held)
}

fn full(folder: &Path, cards: usize, needed: u64, free: u64) -> BuildError {
    BuildError::Full { folder: folder.to_owned(), cards, needed: Bytes(needed), free: Bytes(free) }
}

/// What copies of the base need, and what is free, in bytes.
fn room(folder: &Path, base: &Base, cards: usize) -> (u64, u64) {
    let one = File::open(&base.path).ok().and_then(|file| allocated(&file)).unwrap_or(base.size);
    // A file system that does not say is tried.
    let free =
        rustix::fs::statvfs(folder).map_or(u64::MAX, |stat| stat.f_bavail.saturating_mul(stat.f_frsize));
    (one.saturating_mul(cards as u64), free)
}

fn allocated(file: &File) -> Option<u64> {
    // POSIX leaves the unit of st_blocks open; everywhere we run it is 512 bytes.
    file.metadata().ok().map(|metadata| metadata.blocks() * 512)
}

fn lay_over(draft: &Draft, writes: &[Write]) -> Result<(), BuildError> {
    writes
        .iter()
        .try_for_each(|write| draft.scratch.file().write_all_at(&write.bytes, write.offset))
        .map_err(|source| BuildError::Write { path: draft.path.clone(), source })
}

/// Makes all cards durable, at once: each waits for the disk.
fn sync_all(drafts: &[Draft]) -> Result<(), BuildError> {
    std::thread::scope(|scope| {
        let syncing: Vec<_> =
            drafts.iter().map(|draft| scope.spawn(|| draft.scratch.sync(&draft.path))).collect();
        syncing.into_iter().try_for_each(|thread| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                .map_err(BuildError::Scratch)
        })
    })
}
