//! `builder images pull`: into the cache, now, so that plan and build find it there.

use std::path::Path;

use clap::Args;
use cluster::spec::ImageSource;
use reqwest::Url;
use serde_json::json;
use thiserror::Error;

use crate::cache::Cache;
use crate::catalog::Catalog;
use crate::cli::{Globals, consent};
use crate::error::{Failure, Kind, again, builder, hint, one_line};
use crate::fetch::{FetchError, Fetcher, LocateError, Names};
use crate::lock::{self, Lock};
use crate::project;
use crate::report::{Bytes, Progress};
use crate::trusted_hosts::TrustedHosts;

/// Download an image, check it and unpack it into the cache
///
/// A download that was interrupted goes on where it stopped. The cluster file's
/// image gets pinned in cluster.lock beside it, if its name has no date.
#[derive(Debug, Args)]
pub(super) struct PullArgs {
    /// A name from `builder images list`, a URL or a path; the cluster file's image without it
    #[arg(value_name = "NAME|URL")]
    image: Option<String>,
    /// What is published beside a URL: the SHA-256 of the file or of the image in it
    #[arg(long, value_name = "HEX", requires = "image")]
    sha256: Option<String>,
    /// Pin the newest release in cluster.lock, in place of the one that is
    #[arg(long)]
    update: bool,
    /// Ask another OS list than the official one, in Raspberry Pi Imager's format
    #[arg(long, value_name = "URL", value_parser = address, hide_short_help = true)]
    os_list: Option<Url>,
}

fn address(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    match url.scheme() {
        "https" | "http" => Ok(url),
        _ => Err("it is neither an https: nor an http: URL".to_owned()),
    }
}

#[derive(Debug, Error)]
enum PullError {
    #[error("{0} is not the cluster file's image, so that nothing of it is pinned")]
    NothingToUpdate(String),
    #[error("{0} means one image for ever: there is nothing to update")]
    Fixed(String),
    #[error("a user name or password in a URL would be kept in the cache")]
    Credentials,
}

impl From<PullError> for Failure {
    fn from(error: PullError) -> Self {
        let hint = match &error {
            PullError::NothingToUpdate(name) => {
                format!("leave --update out, or write `image: {name}` into the cluster file").into()
            }
            PullError::Fixed(_) => {
                hint![
                    "leave --update out, or name another release in the cluster file: ",
                    builder(["images", "list"])
                ]
            }
            PullError::Credentials => "download it yourself and name the file".into(),
        };
        Self::new(Kind::Usage, error).hint(hint)
    }
}

/// Keeps that a list is at a mirror of the user's: other commands go by the lock, which names that mirror from now on. The
/// image is there either way.
fn remember(hosts: &mut TrustedHosts, list: &Url, progress: &Progress) {
    if hosts.may_serve_named(list) {
        return;
    }
    let origin = list.origin().ascii_serialization();
    progress.say(&match hosts.confirm_mirror(list) {
        Ok(()) => format!("{origin} counts as a mirror of the publisher's server from now on"),
        Err(error) => format!("cannot remember {origin} as a mirror: {}", one_line(&error)),
    });
}

pub(super) fn run(globals: &Globals, args: &PullArgs) -> Result<(), Failure> {
    // Without a name there has to be a cluster file, and loading it says what to type.
    let project = match &args.image {
        None => Some(project::load_for_cards(&globals.file).map_err(|failure| {
            failure.hint(hint!["or name an image: `", builder(["images", "list"]), "` shows names"])
        })?),
        Some(_) => super::project_if_any(&globals.file)?,
    };
    let own = project.as_ref().filter(|project| {
        args.sha256.is_none()
            && args.image.as_ref().is_none_or(|name| *name == project.cluster.image.location)
    });
    let (source, folder, names) = match (own, &args.image) {
        (Some(project), _) => {
            let location = &project.cluster.image.location;
            let catalog =
                Catalog::built_in().map_err(|error| FetchError::Locate(LocateError::Catalog(error)))?;
            if args.update && catalog.series(location).is_none() {
                return Err(PullError::Fixed(location.clone()).into());
            }
            let names = if args.update { Names::Renewed } else { Names::Locked };
            (project.cluster.image.clone(), project.folder.as_path(), names)
        }
        (None, Some(name)) if args.update => return Err(PullError::NothingToUpdate(name.clone()).into()),
        (None, name) => {
            let location = name.clone().unwrap_or_default();
            if Url::parse(&location).is_ok_and(|url| !url.username().is_empty() || url.password().is_some()) {
                return Err(PullError::Credentials.into());
            }
            (ImageSource { location, sha256: args.sha256.clone() }, Path::new("."), Names::Newest)
        }
    };
    let progress = Progress::new(globals.quiet, globals.json);
    let cache = Cache::open(globals.cache.as_deref())?;
    let mut hosts = match &args.image {
        Some(_) => TrustedHosts::read()?,
        None => {
            project.as_ref().map_or_else(|| Ok(TrustedHosts::read()?), |own| consent::hosts(own, &cache))?
        }
    };
    let fetcher = Fetcher::new(&cache, &hosts, &progress)
        .with_os_list(args.os_list.clone())
        .with_names(names)
        .noting_content()
        .typed(args.image.as_deref().is_some_and(|image| image.contains("://")));
    let base = fetcher.base(&source, folder).map_err(|failure| match &args.image {
        Some(url) if url.contains("://") && args.sha256.is_none() && own.is_none() => {
            failure.hint(again(["images", "pull", url]).with_value("--sha256", "HEX"))
        }
        _ => failure,
    })?;
    if let Some(list) = &args.os_list {
        remember(&mut hosts, list, &progress);
    }
    let pinned = match own {
        Some(project) => Lock::read(&project.folder)?.find(&source.location).cloned(),
        None => None,
    };
    let text = if globals.json {
        let answer = json!({
            "image": source.location,
            "path": base.path,
            "bytes": base.size,
            "sha256": base.digest,
            "pinned": pinned,
        });
        crate::json::value_pretty(&answer)
    } else {
        format!("{}  {}  {}\n", source.location, Bytes(base.size), base.path.display())
    };
    super::print(&text)?;
    if let (Some(_), Some(release)) = (own, pinned) {
        progress.say(&format!(
            "pinned: the release of {}; keep {} with the cluster file",
            release.release_date,
            lock::NAME
        ));
    }
    let next = match own {
        Some(_) => hint!["next: ", builder(["plan"])],
        None => "next: name it in the cluster file".into(),
    };
    progress.say(&next.text(&globals.file));
    Ok(())
}
