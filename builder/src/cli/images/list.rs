//! `builder images list`. Asks nobody: what the catalog, the lock and the cache know.

use clap::Args;
use cluster::text::printable;
use reqwest::Url;
use serde_json::{Value, json};

use super::known::{self, Known};
use crate::cache::{Cache, Kept};
use crate::cli::Globals;
use crate::error::Failure;
use crate::report::Bytes;

/// Show the images that have a name, and those in the cache
///
/// A name without a date means the newest release on the day it is first
/// pulled; cluster.lock then keeps it. * is the cluster file's image.
#[derive(Debug, Args)]
pub(super) struct ListArgs {}

/// Digits of a digest that are shown.
pub(super) const SHORT: usize = 12;

pub(super) fn run(globals: &Globals, _args: &ListArgs) -> Result<(), Failure> {
    let project = super::project_if_any(&globals.file)?;
    let known = known::all(project.as_ref())?;
    let cache = Cache::open(globals.cache.as_deref())?;
    let kept = cache.inventory()?;
    let text = if globals.json {
        crate::json::value_pretty(&document(&known, &kept, &cache))
    } else {
        table(&rows(&known, &kept, &cache))
    };
    super::print(&text)
}

/// Images in the cache that no name stands for.
fn nameless<'a>(known: &'a [Known], kept: &'a [Kept]) -> impl Iterator<Item = &'a Kept> {
    kept.iter().filter(|kept| !known.iter().any(|known| known.is(&kept.image)))
}

/// Bytes of an unfinished download.
fn so_far(known: &Known, cache: &Cache) -> Option<u64> {
    let url = Url::parse(known.release.as_ref().map_or(known.name.as_str(), |release| &release.url)).ok()?;
    crate::fetch::partial_length(cache.downloads(), &url)
}

/// What a person calls an image that has no name.
pub(super) fn nickname(kept: &Kept) -> String {
    let key: String = kept.image.key.to_string().chars().take(SHORT).collect();
    match kept.image.source.as_deref().and_then(|source| source.rsplit('/').next()) {
        Some(file) => format!("{key} ({})", printable(file)),
        None => key,
    }
}

type Row = [String; 5];

fn rows(known: &[Known], kept: &[Kept], cache: &Cache) -> Vec<Row> {
    let mut rows = vec![["  NAME", "RELEASE", "DOWNLOAD", "IN CACHE", "PINNED BY"].map(str::to_owned)];
    let dash = || "-".to_owned();
    for known in known {
        let release = known.release.as_ref();
        let found = kept.iter().find(|kept| known.is(&kept.image));
        let cached = match (found, so_far(known, cache)) {
            (Some(kept), _) => state(kept),
            (None, Some(bytes)) => format!("{} so far", Bytes(bytes)),
            (None, None) => dash(),
        };
        rows.push([
            format!("{} {}", if known.wanted { "*" } else { " " }, printable(&known.name)),
            release.map_or_else(
                || if known.is_series() && known.given.is_none() { "newest".to_owned() } else { dash() },
                |release| release.release_date.clone(),
            ),
            release
                .and_then(|release| release.image_download_size)
                .map_or_else(dash, |size| Bytes(size).to_string()),
            cached,
            known.pinned.word().map_or_else(dash, str::to_owned),
        ]);
    }
    for kept in nameless(known, kept) {
        rows.push([format!("  {}", nickname(kept)), dash(), dash(), state(kept), dash()]);
    }
    rows
}

fn state(kept: &Kept) -> String {
    if kept.as_it_was { Bytes(kept.image.size).to_string() } else { "changed".to_owned() }
}

fn table(rows: &[Row]) -> String {
    let mut widths = [0; 5];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let [a, b, c, d, _] = widths;
    let line = |[name, release, download, cached, pinned]: &Row| {
        format!("{name:a$}  {release:b$}  {download:>c$}  {cached:>d$}  {pinned}\n")
    };
    rows.iter().map(line).collect()
}

fn document(known: &[Known], kept: &[Kept], cache: &Cache) -> Value {
    let images: Vec<_> = known
        .iter()
        .map(|known| {
            let found = kept.iter().find(|kept| known.is(&kept.image));
            json!({
                "name": known.name,
                "description": known.description,
                "release": known.release,
                "pinned_by": known.pinned.word(),
                "in_cluster_file": known.wanted,
                "cached": found.map(cached),
                "downloaded_bytes": so_far(known, cache),
            })
        })
        .collect();
    let others: Vec<_> = nameless(known, kept).map(cached).collect();
    json!({ "images": images, "others": others })
}

fn cached(kept: &Kept) -> Value {
    let image = &kept.image;
    json!({
        "path": image.path,
        "bytes": image.size,
        "sha256": image.content,
        "published_sha256": image.published,
        "source": image.source,
        "as_it_was": kept.as_it_was,
    })
}
