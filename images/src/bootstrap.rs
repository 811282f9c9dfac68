//! The root partition's content: a Debian tree, finished by the recipe's script.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::apt::Mirror;
use crate::recipe::{KEYRING, Recipe};
use crate::tools::FOLDERS;

/// Programs that [`bootstrap`] calls.
pub(crate) const PROGRAMS: [&str; 3] = ["mmdebstrap", "setpriv", "unshare"];

/// Makes `workshop`'s `tree/` for `recipe`, whose files lie in `files/`. What its script takes out of the tree for the
/// FAT partition goes to `fat/`. `log` hears everything.
pub(crate) fn bootstrap(
    recipe: &Recipe,
    mirror: &Mirror,
    disk: &str,
    workshop: &Path,
    log: &Path,
) -> Result<()> {
    let write = |name: &str, text: &str| {
        let path = workshop.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok::<_, anyhow::Error>(path)
    };
    let sources = write("debian.sources", &mirror.sources(recipe.suite, KEYRING))?;
    let customize = write("customize.sh", &recipe.customize())?;
    let open_log = || File::options().create(true).append(true).open(log);
    fs::write(log, "").with_context(|| format!("cannot write {}", log.display()))?;

    // The mounts and processes it makes die with their own namespaces, and these with us: an interrupted run leaves
    // nothing in the tree and nobody at work.
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig=KILL", "unshare", "--mount", "--propagation=private", "--pid", "--mount-proc"])
        .args(["--fork", "--kill-child", "mmdebstrap", "--mode=root", "--variant=minbase"])
        .arg(format!("--architectures={}", recipe.architecture))
        .arg(format!("--keyring={KEYRING}"))
        .arg(format!("--include={}", recipe.packages().join(",")))
        // A tree that does not become whole is thrown away.
        .arg("--dpkgopt=force-unsafe-io")
        // Room and time, once: the image itself installs what it is asked to in full.
        .args(["man", "doc", "locale"].map(|name| format!("--dpkgopt=path-exclude=/usr/share/{name}/*")));
    if recipe.suite == "bookworm" {
        // Its packages can still be had in a tree with /bin and /lib of its own; Raspberry Pi OS is not such a one.
        command.arg("--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr");
    }
    if let Some(essential) = recipe.essential() {
        let script = write("essential.sh", &essential)?;
        command.arg(format!("--essential-hook=sh '{}' \"$1\"", script.display()));
    }
    if let Some(native) = recipe.native() {
        let script = write("native.sh", &format!("set -eu\n{native}"))?;
        for stage in ["extract", "essential"] {
            command.arg(format!("--{stage}-hook=sh '{}' \"$1\" {stage}", script.display()));
        }
        command.env("PATH", format!("/native:{}", FOLDERS.join(":")));
    }
    command
        .arg(format!("--customize-hook=sh '{}' \"$1\"", customize.display()))
        .arg(recipe.suite)
        .args([&workshop.join("tree"), &sources])
        .env("FILES", workshop.join("files"))
        .env("FAT", workshop.join("fat"))
        .env("SOURCES", &sources)
        .env("DISK", disk)
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .stdout(open_log().context("cannot open the log")?)
        .stderr(open_log().context("cannot open the log")?);
    let status = command.status().context("cannot start setpriv")?;
    if status.success() {
        // mmdebstrap leaves an empty file, whatever the scripts wrote; for systemd that is no first boot (machine-id(5)).
        let machine_id = workshop.join("tree/etc/machine-id");
        return fs::write(&machine_id, recipe.machine_id())
            .with_context(|| format!("cannot write {}", machine_id.display()));
    }
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = lines.get(lines.len().saturating_sub(12)..).unwrap_or_default();
    bail!("mmdebstrap failed ({status}); its last words of {}:\n{}", log.display(), last.join("\n"))
}
