//! Single packages of the release the images are made from, whatever release this machine runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::apt::Mirror;
use crate::pios::{KEYRING, SUITE};
use crate::tools::check;

/// Downloads packages of Debian 13 for `architecture` into the new folder `folder` and returns their paths. Nothing
/// of this machine's apt changes: every file of the apt that does it is in that folder.
///
/// # Errors
/// When there is no mirror (saying what to type) or apt fails.
pub fn download(architecture: &str, packages: &[&str], folder: &Path) -> Result<Vec<PathBuf>> {
    let mirror = Mirror::of_machine(Path::new("/"))?;
    for name in ["apt/lists/partial", "apt/cache/archives/partial", "apt/parts"] {
        let path = folder.join(name);
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
    }
    let apt = folder.join("apt");
    for (name, text) in [("debian.sources", mirror.sources(SUITE, KEYRING)), ("status", String::new())] {
        fs::write(apt.join(name), text)
            .with_context(|| format!("cannot write {name} in {}", apt.display()))?;
    }
    let call = |words: &[&str]| {
        let mut command = Command::new("apt-get");
        for (key, name) in [
            ("Dir::Etc::sourcelist", "debian.sources"),
            ("Dir::Etc::sourceparts", "parts"),
            ("Dir::State::lists", "lists"),
            ("Dir::State::status", "status"),
            ("Dir::Cache", "cache"),
        ] {
            command.arg(format!("-o{key}={}", apt.join(name).display()));
        }
        command.args([
            "-oAPT::Sandbox::User=root",
            "-oAPT::Update::Error-Mode=any",
            "-oAcquire::Languages=none",
        ]);
        command
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
