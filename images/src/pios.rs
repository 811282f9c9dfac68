//! The image: a Debian tree, made to look like Pi OS's root, on a card of Pi OS's layout.
//!
//! Nothing is mounted where the rest of the machine could see it. What is being built lies in a folder of its own
//! in the cache; only the finished archive gets a name that a later run takes for whole.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::apt::Mirror;
use crate::tools::{capture, require, require_root, run};

/// Debian 13, which Raspberry Pi OS "Trixie" is made from.
pub(crate) const SUITE: &str = "trixie";
/// Debian's own keys, on this machine and, by the same package, in the image.
pub(crate) const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// To be raised when what this file itself does, such as a program's options, changes what comes out.
const VERSION: &str = "1";
const PACKAGES: &str = include_str!("../recipes/pios/packages");
const CUSTOMIZE: &str = include_str!("../recipes/pios/customize.sh");
const FILES: [(&str, &str); 11] = [
    ("cancel-rename", include_str!("../recipes/pios/tree/cancel-rename")),
    ("cmdline.txt", include_str!("../recipes/pios/tree/cmdline.txt")),
    ("config.txt", include_str!("../recipes/pios/tree/config.txt")),
    ("fstab", include_str!("../recipes/pios/tree/fstab")),
    ("pios.preset", include_str!("../recipes/pios/tree/pios.preset")),
    (
        "regenerate_ssh_host_keys.service",
        include_str!("../recipes/pios/tree/regenerate_ssh_host_keys.service"),
    ),
    ("sshswitch", include_str!("../recipes/pios/tree/sshswitch")),
    ("sshswitch.service", include_str!("../recipes/pios/tree/sshswitch.service")),
    ("userconf", include_str!("../recipes/pios/tree/userconf")),
    ("userconf-service", include_str!("../recipes/pios/tree/userconf-service")),
    ("userconfig.service", include_str!("../recipes/pios/tree/userconfig.service")),
];
/// What only the Pi's firmware reads: names as on a 64-bit image, no content.
const FIRMWARE: [&str; 12] = [
    "LICENCE.broadcom",
    "bcm2710-rpi-3-b.dtb",
    "bcm2711-rpi-4-b.dtb",
    "bcm2712-rpi-5-b.dtb",
    "bootcode.bin",
    "fixup4.dat",
    "initramfs8",
    "initramfs_2712",
    "kernel8.img",
    "kernel_2712.img",
    "overlays/vc4-kms-v3d.dtbo",
    "start4.elf",
];

// The layout of pi-gen's export-image/prerun.sh: 512 MiB FAT32 and the rest, each at a multiple of 8 MiB.
const MIB: u64 = 1 << 20;
const SECTOR: u64 = 512;
const ALIGNMENT: u64 = 8 * MIB;
const FAT_START: u64 = 8 * MIB;
const FAT_SIZE: u64 = 512 * MIB;
const ROOT_START: u64 = FAT_START + FAT_SIZE;
/// Free room on the root partition, so that Docker fits without growing it.
const ROOT_FREE: u64 = 1536 * MIB;

const PROGRAMS: [&str; 9] =
    ["mmdebstrap", "unshare", "du", "sfdisk", "mkfs.fat", "mcopy", "mke2fs", "xz", "dpkg"];

/// This machine's architecture in Debian's words, such as `amd64`.
///
/// # Errors
/// When `dpkg` cannot be asked.
pub fn host_architecture() -> Result<String> {
    let name = capture("dpkg", ["--print-architecture"])?;
    Ok(String::from_utf8(name).context("dpkg names no architecture")?.trim().to_owned())
}

/// Makes the Pi OS-like image for `architecture` (Debian's name for it), or finds the one made before by the same
/// recipe, and returns the path of its `.img.xz` in `cache`. Takes some minutes the first time; needs root.
///
/// # Errors
/// When root, a program or a mirror is missing (saying what to type), or a program fails.
pub fn pios(architecture: &str, cache: &Path) -> Result<PathBuf> {
    require(&PROGRAMS)?;
    fs::create_dir_all(cache).with_context(|| format!("cannot create {}", cache.display()))?;
    let mirror = Mirror::of_machine(Path::new("/"))?;
    let digest = recipe_digest(architecture, &mirror);
    let finished = cache
        .join(format!("pios-{SUITE}-{architecture}-{}.img.xz", hex(digest.get(..6).unwrap_or_default())));

    let lock = cache.join("pios.lock");
    let lock = File::create(&lock).with_context(|| format!("cannot create {}", lock.display()))?;
    lock.lock().context("cannot wait for another run's image")?;
    if finished.exists() {
        return Ok(finished);
    }
    require_root("making the Pi OS-like image")?;
    if !Path::new(KEYRING).exists() {
        bail!("{KEYRING} is missing. Type: sudo apt-get install --yes debian-archive-keyring");
    }
    sweep(cache)?;
    let workshop =
        tempfile::Builder::new().prefix(".pios-").tempdir_in(cache).context("cannot create a folder")?;
    let log = cache.join("pios.log");
    let disk = hex(digest.get(28..).unwrap_or_default());
    let build = Build { architecture, mirror: &mirror, disk: &disk, folder: workshop.path(), log: &log };
    build.write_files()?;
    build.bootstrap()?;
    let image = build.assemble()?;
    run(
        "xz",
        ["--compress", "--threads=0", "--memlimit-compress=50%", "-6"]
            .map(Into::into)
            .into_iter()
            .chain([image.clone().into_os_string()]),
    )?;
    let packed = image.with_extension("img.xz");
    File::open(&packed).and_then(|file| file.sync_all()).context("cannot write the image to disk")?;
    fs::rename(&packed, &finished).with_context(|| format!("cannot create {}", finished.display()))?;
    Ok(finished)
}

/// Removes what interrupted runs left. Nobody else is building: the lock is ours.
fn sweep(cache: &Path) -> Result<()> {
    for entry in fs::read_dir(cache).with_context(|| format!("cannot list {}", cache.display()))? {
        let path = entry.context("cannot list the cache")?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".pios-")) {
            fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// Everything that decides what comes out, apart from the state of the mirror.
fn recipe_digest(architecture: &str, mirror: &Mirror) -> [u8; 32] {
    let mut hash = Sha256::new();
    let sources = mirror.sources(SUITE, KEYRING);
    let layout = format!("{FAT_SIZE} {ROOT_FREE} {FIRMWARE:?}");
    for part in [VERSION, architecture, &sources, PACKAGES, CUSTOMIZE, &layout] {
        hash.update(part);
        hash.update([0]);
    }
    for (name, text) in FILES {
        hash.update(name);
        hash.update([0]);
        hash.update(text);
        hash.update([0]);
    }
    hash.finalize().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

struct Build<'a> {
    architecture: &'a str,
    mirror: &'a Mirror,
    /// The MBR's disk identifier, eight hexadecimal digits.
    disk: &'a str,
    folder: &'a Path,
    log: &'a Path,
}

impl Build<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Lays out the recipe's files for the programs, and the FAT partition's content in `fat/`.
    fn write_files(&self) -> Result<()> {
        for (name, text) in FILES {
            self.write(&format!("files/{name}"), text)?;
        }
        let today = String::from_utf8(capture("date", ["--utc", "+%F"])?).context("date prints no text")?;
        let issue = format!(
            "Raspberry Pi reference {}\nGenerated using pi-gen, https://github.com/RPi-Distro/pi-gen, {}, stage2\n",
            today.trim(),
            "0".repeat(40)
        );
        self.write("files/issue.txt", &issue)?;
        self.write("customize.sh", CUSTOMIZE)?;
        self.write("debian.sources", &self.mirror.sources(SUITE, KEYRING))?;
        for name in FIRMWARE {
            self.write(
                &format!("fat/{name}"),
                &format!("Stands for {name} of a real image; nothing reads it.\n"),
            )?;
        }
        self.write("fat/issue.txt", &issue)?;
        for (name, text) in FILES.iter().filter(|(name, _)| ["cmdline.txt", "config.txt"].contains(name)) {
            self.write(&format!("fat/{name}"), &text.replace("@DISK@", self.disk))?;
        }
        Ok(())
    }

    /// Makes the root partition's content in `tree/`.
    fn bootstrap(&self) -> Result<()> {
        let packages: Vec<&str> = PACKAGES.lines().filter(|line| !line.starts_with('#')).collect();
        let open_log = || File::options().create(true).append(true).open(self.log);
        fs::write(self.log, "").with_context(|| format!("cannot write {}", self.log.display()))?;
        // The mounts it makes die with their own namespace: an interrupted run leaves none in the tree.
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation=private", "mmdebstrap", "--mode=root", "--variant=minbase"])
            .arg(format!("--architectures={}", self.architecture))
            .arg(format!("--keyring={KEYRING}"))
            .arg(format!("--include={}", packages.join(",")))
            // Room and time, once: the image itself installs what it is asked to in full.
            .args(["man", "doc", "locale"].map(|name| format!("--dpkgopt=path-exclude=/usr/share/{name}/*")))
            .arg(format!("--customize-hook=sh '{}' \"$1\"", self.path("customize.sh").display()))
            .arg(SUITE)
            .args([self.path("tree"), self.path("debian.sources")])
            .env("FILES", self.path("files"))
            .env("SOURCES", self.path("debian.sources"))
            .env("DISK", self.disk)
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null())
            .stdout(open_log().context("cannot open the log")?)
            .stderr(open_log().context("cannot open the log")?);
        let status = command.status().context("cannot start unshare")?;
        if status.success() {
            return Ok(());
        }
        let log = fs::read_to_string(self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines.get(lines.len().saturating_sub(12)..).unwrap_or_default();
        bail!("mmdebstrap failed ({status}); its last words of {}:\n{}", self.log.display(), last.join("\n"))
    }

    /// Lays `fat/` and `tree/` out as a card.
    fn assemble(&self) -> Result<PathBuf> {
        let image = self.path("pios.img");
        let used = String::from_utf8(capture(
            "du",
            ["--summarize", "--block-size=1"]
                .map(Into::into)
                .into_iter()
                .chain([self.path("tree").into_os_string()]),
        )?)
        .context("du prints no text")?;
        let used: u64 =
            used.split_whitespace().next().unwrap_or_default().parse().context("du prints no number")?;
        let root_size = (used + ROOT_FREE).next_multiple_of(ALIGNMENT);
        let file = File::create(&image).with_context(|| format!("cannot create {}", image.display()))?;
        file.set_len(ROOT_START + root_size).context("cannot size the image")?;

        let table = format!(
            "label: dos\nlabel-id: 0x{}\nstart={}, size={}, type=c\nstart={}, size={}, type=83\n",
            self.disk,
            FAT_START / SECTOR,
            FAT_SIZE / SECTOR,
            ROOT_START / SECTOR,
            root_size / SECTOR,
        );
        self.write("table", &table)?;
        let sfdisk = Command::new("sfdisk")
            .args(["--quiet", "--no-reread", "--no-tell-kernel"])
            .arg(&image)
            .stdin(File::open(self.path("table")).context("cannot read the table")?)
            .output()
            .context("cannot start sfdisk")?;
        if !sfdisk.status.success() {
            bail!("sfdisk failed: {}", String::from_utf8_lossy(&sfdisk.stderr));
        }

        let image_name = image.to_string_lossy().into_owned();
        let sectors = (FAT_START / SECTOR).to_string();
        run(
            "mkfs.fat",
            [
                "-F",
                "32",
                "-s",
                "1",
                "-n",
                "bootfs",
                "-i",
                self.disk,
                "--offset",
                &sectors,
                &image_name,
                &(FAT_SIZE / 1024).to_string(),
            ],
        )?;
        let volume = format!("{image_name}@@{FAT_START}");
        let mut names = Vec::new();
        for entry in fs::read_dir(self.path("fat")).context("cannot list the FAT's files")? {
            names.push(entry.context("cannot list the FAT's files")?.path().into_os_string());
        }
        names.sort();
        run(
            "mcopy",
            ["-s", "-m", "-i", &volume].map(Into::into).into_iter().chain(names).chain(["::".into()]),
        )?;

        let tree = self.path("tree").to_string_lossy().into_owned();
        let offset = format!("offset={ROOT_START}");
        run(
            "mke2fs",
            [
                "-q",
                "-F",
                "-t",
                "ext4",
                "-L",
                "rootfs",
                "-O",
                "^64bit,^huge_file",
                "-d",
                &tree,
                "-E",
                &offset,
                &image_name,
                &format!("{}k", root_size / 1024),
            ],
        )?;
        Ok(image)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_recipe_or_mirror_is_another_image() {
        let mirror = |host: &str| Mirror { archive: format!("http://{host}.example/debian"), security: None };
        let digest = recipe_digest("amd64", &mirror("a"));
        assert_eq!(digest, recipe_digest("amd64", &mirror("a")));
        assert_ne!(digest, recipe_digest("arm64", &mirror("a")));
        assert_ne!(digest, recipe_digest("amd64", &mirror("b")));
    }

    #[test]
    fn the_command_line_is_that_of_an_image_never_booted() {
        let (_, line) = FILES.iter().find(|(name, _)| *name == "cmdline.txt").unwrap();
        assert!(line.ends_with(" rootwait resize\n"));
        assert_eq!(line.lines().count(), 1);
    }
}
