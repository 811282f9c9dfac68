//! `builder man`: the man pages as files.
//!
//! Order of effects: all pages are made in memory; the folder is made where it is missing; each page appears whole, in the
//! place of an older one. Stopped in between, some pages are new and some old.

use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory, ValueHint};
use serde_json::json;
use thiserror::Error;

use crate::cli::{Cli, Globals};
use crate::dir::{self, Dir};
use crate::error::{Failure, Kind, builder, hint};
use crate::manual::pages::{self, Page};
use crate::report::Progress;
use crate::scratch::{Existing, Scratch, ScratchError};

/// Write the man pages, one per command, and list them
///
/// For yourself: `builder man ~/.local/share/man/man1`, then `man builder`. For
/// everybody: /usr/local/share/man/man1. Pages that are there are replaced.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Where they go; the folder is made if it is missing
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    folder: PathBuf,
}

#[derive(Debug, Error)]
enum ManError {
    #[error("cannot make the man pages")]
    Render(#[source] io::Error),
    #[error("cannot make the folder {}", path.display())]
    Folder {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot write {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot put man pages into {}", folder.display())]
    Put {
        folder: PathBuf,
        #[source]
        source: ScratchError,
    },
    #[error("cannot print the list")]
    Print(#[source] io::Error),
}

impl From<ManError> for Failure {
    fn from(error: ManError) -> Self {
        let is_place = matches!(error, ManError::Folder { .. } | ManError::Put { .. });
        let failure = Self::new(Kind::Failed, error);
        if is_place {
            return failure
                .hint(hint!["name a folder of yours, as in: ", builder(["man", "share/man/man1"])]);
        }
        failure
    }
}

/// Runs the command.
///
/// # Errors
/// [`Kind::Failed`] when the folder cannot be written or the list not be printed.
pub fn run(globals: &Globals, args: &ManArgs) -> Result<(), Failure> {
    let pages = pages::render(Cli::command()).map_err(ManError::Render)?;
    let folder = &args.folder;
    let opened = Dir::make(folder, dir::FOLDER);
    let (opened, made) = opened.map_err(|source| ManError::Folder { path: folder.clone(), source })?;
    made.keep();
    let mut paths = Vec::new();
    for page in &pages {
        paths.push(put(page, &opened)?);
    }
    let text = if globals.json {
        crate::json::value_pretty(&json!({ "pages": paths }))
    } else {
        paths.iter().map(|path| format!("{}\n", path.display())).collect()
    };
    io::stdout().lock().write_all(text.as_bytes()).map_err(ManError::Print)?;
    // With a slash in it, which tells man a file from a page's name.
    let first = Path::new(".").join(folder).join("builder.1");
    Progress::new(globals.quiet, globals.json).say(&format!("next: man {}", first.display()));
    Ok(())
}

fn put(page: &Page, folder: &Dir) -> Result<PathBuf, ManError> {
    let path = folder.path().join(&page.name);
    let error = |source| ManError::Put { folder: folder.path().to_owned(), source };
    let scratch = Scratch::new_in(folder).map_err(error)?;
    // Everybody may read a manual.
    let written = scratch.file().write_all(page.text.as_bytes());
    let written = written.and_then(|()| scratch.file().set_permissions(Permissions::from_mode(0o644)));
    written.map_err(|source| ManError::Write { path: path.clone(), source })?;
    scratch.publish(&page.name, Existing::Replace).map_err(error)?;
    Ok(path)
}
