//! `builder verify`: compares a card with what it should hold, before its first boot.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use thiserror::Error;

use crate::cache::Cache;
use crate::cli::flash::Show;
use crate::cli::{Globals, consent};
use crate::device::claim::ReadOnly;
use crate::device::{Kernel, Refusal};
use crate::error::{Failure, Hint, Kind, builder, hint, program};
use crate::fetch;
use crate::flash::card::{CardError, Done};
use crate::flash::content::Patches;
use crate::flash::{self, Manner, Order, Source};
use crate::image::partitions;
use crate::interrupt::{EndOnSignal, Interrupt};
use crate::pki;
use crate::plan::{self, PlanOptions, Planner};
use crate::privilege;
use crate::project;
use crate::regular;
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
    #[error("name one node, not {given}")]
    NotOne { given: String, first: String, device: PathBuf },
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
            VerifyError::NotOne { first, device, .. } => {
                let example = builder(["verify", first, "--device"]).path(device);
                Self::new(Kind::Usage, error).hint(hint!["such as: ", example])
            }
            VerifyError::Open { source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied && !privilege::has_root() =>
            {
                Self::new(Kind::Failed, error)
                    .hint("reading a device takes root: put sudo before the command")
            }
            VerifyError::Open { .. } => {
                Self::new(Kind::Failed, error).hint(hint![builder(["devices"]), " lists the card readers"])
            }
            _ => Self::new(Kind::Failed, error),
        }
    }
}

/// What a card that was not found to be as planned makes of the command.
fn not_as_planned(path: &Path, node: &str, base: &File, source: CardError) -> Failure {
    match source {
        CardError::Interrupted => Failure::new(Kind::Failed, source),
        CardError::Gone(_) => {
            Failure::new(Kind::Failed, source).hint("put it in again, and give the same command")
        }
        // The card may be as planned, or not.
        CardError::Base(_) => Failure::new(Kind::Failed, source).hint(hint![
            "it is this computer's: ",
            builder(["images", "verify"]),
            " shows which of the cache's images is damaged"
        ]),
        source => {
            let hint = advise(path, node, base);
            let (path, node) = (path.to_owned(), node.to_owned());
            Failure::new(Kind::VerificationFailed, VerifyError::Differs { path, node, source }).hint(hint)
        }
    }
}

/// What to do with a card that differs: that depends on what it is, and what was done with it.
fn advise(path: &Path, node: &str, base: &File) -> Hint {
    let again = hint!["write it again: ", builder(["flash", node])];
    match marks::read(path) {
        Ok(evidence) if evidence.card.node.as_str() != node => {
            format!("it is the card of {}", evidence.card.node).into()
        }
        Ok(evidence) if evidence.first_start != FirstStart::NotBegun => {
            let why = builder(["why", node, "--card"]).path(path);
            hint!["a Pi has started from it since; what became of it: ", why]
        }
        _ => match mounted_at(path) {
            Some(at) => hint![
                format!("it is mounted at {}, and what is mounted is written to; to be sure, ", at.display()),
                program(["umount"]).path(&at).sudo(),
                ", then "
            ]
            .join(again),
            None if was_mounted(path, base) == Some(true) => again.after(
                "its root file system was mounted since it was written, which changes it; to be sure, ",
            ),
            None => again,
        },
    }
}

/// Where a disk, or a partition of it, is mounted.
fn mounted_at(path: &Path) -> Option<PathBuf> {
    let kernel = Kernel::default();
    let disk = kernel.disk_at(path).ok()?;
    kernel.uses(&disk).into_iter().find_map(|reason| match reason {
        Refusal::Mounted { at, .. } => Some(at),
        _ => None,
    })
}

/// Whether the base's root file system was mounted to be written since it is on the card, as far as that can be read.
fn was_mounted(path: &Path, base: &File) -> Option<bool> {
    let card = regular::open_or_disk(path).ok()?;
    let root = partitions::find(base, base.metadata().ok()?.len()).ok()?.root;
    let superblock = |file: &File| {
        let mut bytes = [0; 1024];
        file.read_exact_at(&mut bytes, root.start + 1024).ok().map(|()| bytes)
    };
    let (now, then) = (superblock(&card)?, superblock(base)?);
    // Documentation/filesystems/ext4/super.rst: s_uuid; s_mtime, s_wtime and s_mnt_count.
    let (name, mounts) = (0x68..0x78, 0x2c..0x36);
    Some(now.get(name.clone()) == then.get(name) && now.get(mounts.clone()) != then.get(mounts))
}

/// Runs the command.
pub fn run(globals: &Globals, args: &VerifyArgs) -> Result<(), Failure> {
    let project = project::load_for_cards(&globals.file)?;
    let nodes = plan::select(&project.cluster, std::slice::from_ref(&args.node))?;
    let [node] = nodes.as_slice() else {
        let first = nodes.first().map(ToString::to_string).unwrap_or_default();
        return Err(
            VerifyError::NotOne { given: args.node.clone(), first, device: args.device.clone() }.into()
        );
    };
    // Without them every card would differ.
    pki::existing(&project)?;
    let open = |source| VerifyError::Open { path: args.device.clone(), source };
    let medium = ReadOnly::open(&args.device).map_err(open)?;
    let progress = Progress::new(globals.quiet, globals.json);
    let cache = Cache::open(globals.cache.as_deref())?;
    let hosts = consent::hosts(&project, &cache)?;
    let ending = EndOnSignal::listen(|| ()).map_err(VerifyError::Signals)?;
    let base = fetch::base(&project.cluster.image, &project.folder, &cache, &hosts, &progress)?;
    plan::check_image(&project, &base.path, &cache)?;
    let options = PlanOptions { firstboot: args.firstboot.clone() };
    let plan = Planner::preview(&project, &base.path, &options)?.card(node)?;
    let file = File::open(&base.path)
        .map_err(|source| fetch::FetchError::Open { path: base.path.clone(), source })?;
    let patches = Patches::new(&plan.writes);
    // Not before: until now, Ctrl-C ends the program at once, as it should.
    let interrupt = Interrupt::listen().map_err(VerifyError::Signals)?;
    ending.disarm();
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
        Err(source) => {
            let failure = not_as_planned(&args.device, node.as_str(), &file, source);
            return Err(failure.with(json!({ "event": "done", "node": node, "device": args.device })));
        }
    };
    let device = args.device.display();
    let text = match globals.json {
        true => {
            let done =
                json!({ "event": "done", "node": node, "device": args.device, "sha256_of_blocks": digest });
            crate::json::value_line(&done) + "\n"
        }
        false => format!("{node}  {device}  as planned  {digest}\n"),
    };
    io::stdout().lock().write_all(text.as_bytes()).map_err(VerifyError::Print)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_compared_differs() {
        let base = tempfile::tempfile().unwrap();
        let told = |source| {
            let failure = not_as_planned(Path::new("/dev/absent"), "red03", &base, source);
            (failure.kind(), failure.render())
        };
        let broken = || io::Error::from_raw_os_error(5);
        let (kind, text) = told(CardError::Gone(broken()));
        assert!(
            kind == Kind::Failed && text.contains("was taken out") && text.contains("put it in"),
            "{text}"
        );
        let (kind, text) = told(CardError::Base(broken()));
        assert!(kind == Kind::Failed && text.contains("the image cannot be read"), "{text}");
        assert!(!text.contains("write it again"), "{text}");
        assert_eq!(told(CardError::Interrupted).0, Kind::Failed);
        let (kind, text) = told(CardError::Differs { offset: 512 });
        assert_eq!(kind, Kind::VerificationFailed);
        assert!(text.contains("is not the card of red03 as planned"), "{text}");
        assert!(text.contains("hint: write it again: sudo builder flash red03"), "{text}");
    }
}
