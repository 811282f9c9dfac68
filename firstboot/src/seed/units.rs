//! What `systemctl enable` and `systemctl mask` do, as the links they make: there is no systemd to ask in a tree.

use std::path::{Path, PathBuf};

use super::{Seed, SeedError};

/// Where an administrator's units and links lie.
pub(super) const FOLDER: &str = "/etc/systemd/system";
/// Where packages put theirs; Bullseye still looks into the second.
const PACKAGED: [&str; 2] = ["/usr/lib/systemd/system", "/lib/systemd/system"];

/// The path of a packaged unit; `None` when the image has no such unit.
pub(super) fn find(seed: &Seed<'_>, unit: &str) -> Result<Option<PathBuf>, SeedError> {
    for folder in PACKAGED {
        let path = Path::new(folder).join(unit);
        if seed.root.read(&path)?.is_some() {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Has `target` pull in `unit`, whose file is at `file`.
pub(super) fn enable(seed: &Seed<'_>, target: &str, unit: &str, file: &Path) -> Result<(), SeedError> {
    let wants = Path::new(FOLDER).join(format!("{target}.wants"));
    seed.root.make_folder(&wants, 0o755, None)?;
    Ok(seed.root.link(file, &wants.join(unit))?)
}

/// Whether `target` pulls in `unit`.
pub(super) fn is_enabled(seed: &Seed<'_>, target: &str, unit: &str) -> Result<bool, SeedError> {
    let wants = Path::new(FOLDER).join(format!("{target}.wants"));
    Ok(seed.root.list(&wants)?.iter().any(|name| name == unit))
}

/// Has `target` no longer pull in `unit`.
pub(super) fn disable(seed: &Seed<'_>, target: &str, unit: &str) -> Result<(), SeedError> {
    Ok(seed.root.remove(&Path::new(FOLDER).join(format!("{target}.wants")).join(unit))?)
}

/// Keeps a unit from being started by anything.
pub(super) fn mask(seed: &Seed<'_>, unit: &str) -> Result<(), SeedError> {
    Ok(seed.root.link(Path::new("/dev/null"), &Path::new(FOLDER).join(unit))?)
}
