//! Making an image by its recipe, once: the cache, its locks, and the order of the work.
//!
//! Nothing is mounted where the rest of the machine could see it. What is being built lies in a folder of its own
//! in the cache; only the finished archive gets a name that a later run takes for whole.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::apt::Mirror;
use crate::recipe::{KEYRING, Recipe, Release};
use crate::tools::{capture, require, require_root, run};
use crate::{binfmt, bootstrap, firmware, layout, tools};

/// This machine's architecture in Debian's words, such as `amd64`.
///
/// # Errors
/// When `dpkg` cannot be asked.
pub fn host_architecture() -> Result<String> {
    let name = capture("dpkg", ["--print-architecture"])?;
    Ok(String::from_utf8(name).context("dpkg names no architecture")?.trim().to_owned())
}

/// Makes the Pi OS-like image for `architecture` (Debian's name for it), or finds the one made before by the same
/// recipe, and returns the path of its `.img.xz` in `cache`. Takes some minutes the first time; needs root. It has no
/// kernel: the rack, which runs it, brings one.
///
/// # Errors
/// When root, a program or a mirror is missing (saying what to type), or a program fails.
pub fn pios(architecture: &str, cache: &Path) -> Result<PathBuf> {
    make(&Recipe::rack(architecture), cache)
}

/// Makes the arm64 image of `release`, which starts itself from its own FAT partition, or finds the one made before by
/// the same recipe, and returns the path of its `.img.xz` in `cache`. Takes up to 25 minutes the first time; needs root.
///
/// # Errors
/// When root, a program or a mirror is missing (saying what to type), or a program fails.
pub fn bootable(release: Release, cache: &Path) -> Result<PathBuf> {
    make(&Recipe::bootable(release), cache)
}

/// A digest of what decides which packages are installed and which images are made on a machine with this `mirror`, in
/// hexadecimal digits. It changes when the list of packages, the way they are installed or a recipe changes.
pub fn set_up_digest(mirror: &Mirror) -> String {
    let mut hash = Sha256::new();
    hash.update(tools::SET_UP);
    for recipe in Release::ALL.map(Recipe::bootable).iter().chain([&Recipe::rack("amd64")]) {
        hash.update(recipe.digest(mirror));
    }
    hex(&hash.finalize())
}

fn make(recipe: &Recipe, cache: &Path) -> Result<PathBuf> {
    let programs = [&["dpkg", "dpkg-deb", "xz"], &bootstrap::PROGRAMS[..], &layout::PROGRAMS].concat();
    require(&programs)?;
    fs::create_dir_all(cache).with_context(|| format!("cannot create {}", cache.display()))?;
    let mirror = Mirror::of_machine(Path::new("/"))?;
    let digest = recipe.digest(&mirror);
    let finished = cache.join(format!("{}-{}.img.xz", recipe.name, hex(digest.get(..6).unwrap_or_default())));

    let lock = cache.join(format!("{}.lock", recipe.name));
    let lock = File::create(&lock).with_context(|| format!("cannot create {}", lock.display()))?;
    lock.lock().context("cannot wait for another run's image")?;
    if finished.exists() {
        return Ok(finished);
    }
    require_root("making the Pi OS-like image")?;
    if !Path::new(KEYRING).exists() {
        bail!("{KEYRING} is missing. Type: sudo apt-get install --yes debian-archive-keyring");
    }
    if recipe.architecture != host_architecture()? {
        binfmt::register(&recipe.architecture)?;
    }
    let prefix = format!(".{}.", recipe.name);
    sweep(cache, &prefix)?;
    let workshop =
        tempfile::Builder::new().prefix(&prefix).tempdir_in(cache).context("cannot create a folder")?;
    let disk = hex(digest.get(28..).unwrap_or_default());
    let log = cache.join(format!("{}.log", recipe.name));
    let packed = build(recipe, &mirror, &disk, workshop.path(), &log)?;
    File::open(&packed).and_then(|file| file.sync_all()).context("cannot write the image to disk")?;
    fs::rename(&packed, &finished).with_context(|| format!("cannot create {}", finished.display()))?;
    Ok(finished)
}

/// Removes what interrupted runs left. Nobody else is building: the lock is ours.
fn sweep(cache: &Path, prefix: &str) -> Result<()> {
    for entry in fs::read_dir(cache).with_context(|| format!("cannot list {}", cache.display()))? {
        let path = entry.context("cannot list the cache")?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)) {
            fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn build(recipe: &Recipe, mirror: &Mirror, disk: &str, workshop: &Path, log: &Path) -> Result<PathBuf> {
    let fat = workshop.join("fat");
    write_files(recipe, disk, workshop)?;
    if recipe.bootable {
        firmware::write_firmware(mirror, recipe.suite, workshop, &fat)?;
    } else {
        firmware::write_names(&fat)?;
    }
    bootstrap::bootstrap(recipe, mirror, disk, workshop, log)?;
    let image = workshop.join("card.img");
    recipe.layout.assemble(disk, &fat, &workshop.join("tree"), &image)?;
    // Many blocks, as pi-gen packs, so that they can be decoded at once; what starts itself is packed for speed.
    let level = if recipe.bootable { "-1" } else { "-6" };
    let words = ["--compress", "--threads=0", "--memlimit-compress=50%", level].map(Into::into);
    run("xz", words.into_iter().chain([image.clone().into_os_string()]))?;
    Ok(image.with_extension("img.xz"))
}

/// Lays out the recipe's files for its scripts, and the FAT partition's texts.
fn write_files(recipe: &Recipe, disk: &str, workshop: &Path) -> Result<()> {
    let write = |folder: &str, name: &str, text: &str| {
        let path = workshop.join(folder).join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    for (name, text) in recipe.files.iter().chain(&recipe.fat) {
        write("files", name, text)?;
    }
    for (name, text) in &recipe.fat {
        write("fat", name, &text.replace("@DISK@", disk))?;
    }
    if recipe.issue {
        let today = String::from_utf8(capture("date", ["--utc", "+%F"])?).context("date prints no text")?;
        let issue = format!(
            "Raspberry Pi reference {}\nGenerated using pi-gen, https://github.com/RPi-Distro/pi-gen, {}, stage2\n",
            today.trim(),
            "0".repeat(40)
        );
        write("files", "issue.txt", &issue)?;
        write("fat", "issue.txt", &issue)?;
    }
    Ok(())
}
