//! Running another architecture's programs: the kernel is told which emulator starts them.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::tools::run;

const KERNEL: &str = "/proc/sys/fs/binfmt_misc";

/// Makes sure that this kernel starts programs of `architecture` (Debian's name), in a changed root too.
///
/// # Errors
/// When `qemu-user-static` is missing (saying what to type) or the kernel refuses.
pub(crate) fn register(architecture: &str) -> Result<()> {
    let name = match architecture {
        "arm64" => "qemu-aarch64",
        "armhf" => "qemu-arm",
        "amd64" => "qemu-x86_64",
        other => bail!("no emulator is known for {other}"),
    };
    let kernel = Path::new(KERNEL);
    if !kernel.join("register").exists() {
        run("mount", ["-t", "binfmt_misc", "binfmt_misc", KERNEL]).with_context(|| {
            format!("cannot mount {KERNEL}, through which programs of {architecture} run")
        })?;
    }
    if kernel.join(name).exists() {
        return Ok(());
    }
    let folder =
        ["/etc/binfmt.d", "/usr/lib/binfmt.d"].map(|folder| Path::new(folder).join(format!("{name}.conf")));
    let Some(path) = folder.iter().find(|path| path.exists()) else {
        bail!(
            "{name}.conf, which tells the kernel how programs of {architecture} run, is not there. \
             Type: sudo apt-get install --yes qemu-user-static"
        )
    };
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let Some(line) = text.lines().find(|line| line.starts_with(':')) else {
        bail!(
            "{} registers nothing. Type: sudo apt-get install --yes --reinstall qemu-user-static",
            path.display()
        )
    };
    fs::write(kernel.join("register"), line)
        .with_context(|| format!("the kernel does not take {} for its programs", path.display()))
}
