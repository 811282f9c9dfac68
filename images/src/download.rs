//! Single packages of the release the images are made from, whatever release this machine runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::apt::{Mirror, PrivateApt};
use crate::recipe::KEYRING;
use crate::tools::check;

/// Downloads packages of Debian 13 for `architecture` into the new folder `folder` and returns their paths. Nothing
/// of this machine's apt changes: every file of the apt that does it is in that folder.
///
/// # Errors
/// When there is no mirror (saying what to type) or apt fails.
pub fn download(architecture: &str, packages: &[&str], folder: &Path) -> Result<Vec<PathBuf>> {
    let sources = Mirror::of_machine(Path::new("/"))?.sources("trixie", KEYRING);
    download_from(&sources, architecture, packages, folder)
}

/// The same from `sources`, whose keyring is on this machine.
pub(crate) fn download_from(
    sources: &str,
    architecture: &str,
    packages: &[&str],
    folder: &Path,
) -> Result<Vec<PathBuf>> {
    let apt = PrivateApt::new(&folder.join("apt"), sources)?;
    apt.write("status", "")?;
    let call = |words: &[&str]| {
        let mut command = Command::new("apt-get");
        command
            .args(apt.options())
            .arg(apt.option("Dir::State::status", "status"))
            .arg(format!("-oAPT::Architecture={architecture}"))
            .arg(format!("-oAPT::Architectures={architecture}"));
        command.args(words).current_dir(folder).env("LC_ALL", "C");
        let output = command.output().context("cannot start apt-get")?;
        check(&command, &output)
    };
    call(&["update"])?;
    call(&[&["download"], packages].concat())?;
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry.with_context(|| format!("cannot list {}", folder.display()))?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
