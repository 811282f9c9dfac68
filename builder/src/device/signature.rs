//! The marks of file systems and volumes on a disk or partition, as `blkid` (util-linux) finds them: it knows them all.

use std::io;
use std::path::Path;
use std::process::Command;

use crate::{privilege, regular};

/// What `blkid` (util-linux) says of a disk or partition.
#[derive(Debug, Default)]
pub(super) struct Signature {
    pub(super) usage: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) label: Option<String>,
}

/// Looks for the marks of file systems and volumes. That `blkid` knows them all is why it is asked.
pub(super) fn signature(path: &Path) -> io::Result<Signature> {
    // It refuses without a word what it may not read.
    drop(regular::open_or_disk(path)?);
    let here = std::env::var_os("PATH").unwrap_or_default();
    // Not everybody has the folders of the system's programs in the search path.
    let search = [here.to_string_lossy().as_ref(), "/usr/sbin", "/sbin"].join(":");
    let mut blkid = Command::new("blkid");
    blkid.env("PATH", search).args(["--probe", "--output", "export"]).arg(path);
    let output = privilege::as_root(|| blkid.output())?;
    let mut found = Signature::default();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let text = |value: &str| Some(value.chars().filter(|c| !c.is_control()).collect());
        match line.split_once('=') {
            Some(("USAGE", value)) => found.usage = text(value),
            Some(("TYPE", value)) => found.kind = text(value),
            Some(("LABEL", value)) => found.label = text(value),
            _ => {}
        }
    }
    match output.status.code() {
        Some(0 | 2) => Ok(found),
        // Several marks at once: rather refuse than choose.
        Some(8) => {
            Ok(Signature { usage: Some("raid".into()), kind: Some("several marks".into()), label: None })
        }
        _ => Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
    }
}
