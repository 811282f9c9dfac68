//! `builder images verify`: reads the cached images again, all of every one.
//!
//! What is no longer what it was is taken out of the cache before anything else is said: nobody makes a card from it.

use clap::Args;
use serde_json::json;
use thiserror::Error;

use super::known::{self, Known, PinnedBy};
use super::list::nickname;
use crate::cache::{Cache, Finding, Kept};
use crate::cli::Globals;
use crate::error::{Failure, Kind, builder, hint};
use crate::report::Progress;

/// Read the cached images again and compare them with their digests
///
/// An image that is not what it was is removed from the cache, so that no card
/// is made from it; exit code 4.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// A name from `builder images list`, or a digest's first digits; all without it
    #[arg(value_name = "NAME")]
    image: Option<String>,
}

#[derive(Debug, Error)]
enum VerifyError {
    #[error("the cache holds no image {0}")]
    Absent(String),
    #[error(
        "not what {} when unpacked, and removed from the cache: {}",
        if .0.len() == 1 { "it was" } else { "they were" },
        .0.join(", ")
    )]
    Damaged(Vec<String>),
}

pub(super) fn run(globals: &Globals, args: &VerifyArgs) -> Result<(), Failure> {
    let project = super::project_if_any(&globals.file)?;
    let known = known::all(project.as_ref())?;
    let cache = Cache::open(globals.cache.as_deref())?;
    let progress = Progress::new(globals.quiet, globals.json);
    let mut chosen = cache.inventory()?;
    if let Some(name) = &args.image {
        chosen.retain(|kept| is_meant(name, kept, &known));
        if chosen.is_empty() {
            let failure = Failure::new(Kind::Failed, VerifyError::Absent(name.clone()));
            let list = hint!["`", builder(["images", "list"]), "` shows what it holds"];
            // Only a name that means an image can be pulled.
            return Err(failure.hint(match known.iter().any(|known| known.name == *name) {
                true => list.and("; `").and(builder(["images", "pull", name])).and("` brings it"),
                false => list,
            }));
        }
    }
    let (mut lines, mut results, mut damaged) = (String::new(), Vec::new(), Vec::new());
    for kept in &chosen {
        let names: Vec<_> =
            known.iter().filter(|known| known.is(&kept.image)).map(|known| known.name.clone()).collect();
        let name = names.last().cloned().unwrap_or_else(|| nickname(kept));
        let task = progress.task("verify", Some(kept.image.size));
        let finding = cache.inspect(kept, promised(kept, &known), |count| task.advance(count))?;
        task.finish();
        let word = match finding {
            Finding::Whole => "whole",
            Finding::FirstLook => {
                "read; no digest of it was kept when it was unpacked, but this one is: it is compared the next time"
            }
            Finding::Damaged { .. } => {
                cache.discard(&kept.image.key)?;
                damaged.push(name.clone());
                "damaged: removed"
            }
        };
        lines.push_str(&format!("{name}  {word}\n"));
        results.push(json!({
            "name": names.last(),
            "path": kept.image.path,
            "result": match finding {
                Finding::Whole => "whole",
                Finding::FirstLook => "noted",
                Finding::Damaged { .. } => "damaged",
            },
            "sha256": match finding {
                Finding::Damaged { found, .. } => Some(found),
                Finding::Whole | Finding::FirstLook => kept.image.content,
            },
            "wanted_sha256": match finding {
                Finding::Damaged { wanted, .. } => wanted,
                Finding::Whole | Finding::FirstLook => kept.image.content,
            },
        }));
    }
    let found = json!({ "images": results });
    match globals.json {
        // The failure brings it.
        true if !damaged.is_empty() => {}
        true => super::print(&crate::json::value_pretty(&found))?,
        false => super::print(&lines)?,
    }
    if chosen.is_empty() {
        let next = hint!["the cache holds no image; next: ", builder(["images", "pull"])];
        progress.say(&next.text(&globals.file));
    }
    if damaged.is_empty() {
        return Ok(());
    }
    let again = hint!["the next `", builder(["images", "pull"]), "`, `plan` or `build` makes it anew"];
    let failure = Failure::new(Kind::VerificationFailed, VerifyError::Damaged(damaged));
    let failure = failure.with(found);
    Err(failure.hint(again).hint("if that happens again, test the disk and the memory of this computer"))
}

/// Whether somebody means this image by that word.
fn is_meant(name: &str, kept: &Kept, known: &[Known]) -> bool {
    const ENOUGH: usize = 8;
    let image = &kept.image;
    let digits = name.to_ascii_lowercase();
    let by_digest = digits.len() >= ENOUGH
        && [Some(image.key), image.published, image.content]
            .into_iter()
            .flatten()
            .any(|digest| digest.to_string().starts_with(&digits));
    let path = std::path::Path::new(name).canonicalize().ok();
    let by_source = image.source.as_ref().is_some_and(|source| {
        source == name || path.as_deref().is_some_and(|path| path == std::path::Path::new(source))
    });
    by_digest || by_source || known.iter().any(|known| known.name == name && known.is(image))
}

/// What the image is to be by the catalog, whatever the cache has noted. A lock is not believed: it may have come with
/// somebody's repository, and an image that is not what is promised is removed.
fn promised(kept: &Kept, known: &[Known]) -> Option<crate::digest::Digest> {
    let by_catalog = known.iter().filter(|known| known.pinned == PinnedBy::Catalog);
    by_catalog.filter(|known| known.is(&kept.image)).find_map(Known::content)
}
