//! `builder devices`: card readers, what is in them, and why one cannot be used.

use std::io::{self, Write};
use std::path::Path;

use clap::Args;
use serde_json::json;
use thiserror::Error;

use crate::cache::Cache;
use crate::cli::Globals;
use crate::cli::flash::describe;
use crate::device::contents::{self, Contents};
use crate::device::guard::LIMIT;
use crate::device::{Demand, Disk, Kernel, Refusal};
use crate::error::{Failure, Kind, builder, hint};
use crate::flash::journal::Journal;
use crate::report::Bytes;

/// List card readers, what is in them, and why one cannot be used
#[derive(Debug, Args)]
pub struct DevicesArgs {
    /// Disks that are not made to be taken out, too
    #[arg(short, long)]
    all: bool,
}

#[derive(Debug, Error)]
enum DevicesError {
    #[error("cannot list the disks")]
    List(#[source] io::Error),
    #[error("cannot print the disks")]
    Print(#[source] io::Error),
}

impl From<DevicesError> for Failure {
    fn from(error: DevicesError) -> Self {
        Self::new(Kind::Failed, error)
    }
}

/// Runs the command.
pub fn run(globals: &Globals, args: &DevicesArgs) -> Result<(), Failure> {
    let kernel = Kernel::default();
    let journal = Journal::open(&Cache::open(globals.cache.as_deref())?)?;
    let disks = kernel.disks().map_err(DevicesError::List)?;
    let shown = disks.into_iter().filter(|disk| args.all || disk.removable);
    let lines: Vec<_> = shown.map(|disk| Line::of(disk, &kernel, &journal)).collect();
    let text = if globals.json {
        let lines: Vec<_> = lines.iter().map(Line::document).collect();
        crate::json::value_pretty(&json!({ "devices": lines }))
    } else if lines.is_empty() {
        hint!["no card reader; ", builder(["devices", "--all"]), " shows every disk\n"].text(&globals.file)
    } else {
        table(&lines, &globals.file)
    };
    io::stdout().lock().write_all(text.as_bytes()).map_err(DevicesError::Print)?;
    Ok(())
}

struct Line {
    disk: Disk,
    contents: Option<(Contents, String)>,
    refusals: Vec<Refusal>,
}

impl Line {
    fn of(disk: Disk, kernel: &Kernel, journal: &Journal) -> Self {
        let demand = Demand { limit: LIMIT, ..Demand::default() };
        let refusals = kernel.refusals(&disk, &demand);
        let contents = (disk.size > 0).then(|| contents::look(&disk));
        let contents = contents.map(|contents| {
            let text = describe(&contents, journal, "");
            (contents, text)
        });
        Self { disk, contents, refusals }
    }

    fn document(&self) -> serde_json::Value {
        let node = match &self.contents {
            Some((Contents::Card { node, .. }, _)) => Some(node),
            _ => None,
        };
        let refused: Vec<_> = self.refusals.iter().map(ToString::to_string).collect();
        json!({
            "disk": self.disk, "node": node, "contents": self.contents.as_ref().map(|(_, text)| text),
            "usable": refused.is_empty(), "refused": refused,
        })
    }
}

fn table(lines: &[Line], file: &Path) -> String {
    let mut text = String::new();
    for Line { disk, contents, refusals } in lines {
        let size = if disk.size > 0 { Bytes(disk.size).to_string() } else { "empty".to_owned() };
        let model = disk.model.as_deref().unwrap_or("-");
        let serial = disk.serial.as_deref().unwrap_or("-");
        text.push_str(&format!(
            "{:<14} {size:>10}  {:<6}  {model}  serial {serial}\n",
            disk.path.display(),
            disk.bus
        ));
        if let Some((_, contents)) = contents {
            text.push_str(&format!("  holds: {contents}\n"));
        }
        for refusal in refusals {
            text.push_str(&format!("  cannot be used: {refusal}\n    {}\n", refusal.hint().text(file)));
        }
    }
    text
}
