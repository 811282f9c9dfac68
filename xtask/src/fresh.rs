//! `cargo xtask fresh`: proves that the README's commands set up a machine on which nothing was installed by hand.
//!
//! A minimal Debian tree gets the host's Rust toolchain, what the README has people install, and nothing else. In it, the
//! set-up of `cargo xtask test` installs the missing packages and makes the images. What the kernel knows (loop
//! devices, the registered emulators) stays the machine's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use images::apt::Mirror;

use crate::setup::{self, Checkout};

/// Arguments of `cargo xtask fresh`.
#[derive(Debug, Args)]
pub(crate) struct FreshArgs {
    /// Only in a tree of this release
    #[arg(long)]
    suite: Option<Suite>,
    /// Make the image of every release, not only the two that `cargo xtask test` needs
    #[arg(long)]
    all: bool,
    /// Skip a set-up that passed before and has not changed since
    #[arg(long)]
    if_changed: bool,
}

/// A Debian release that people run the README's commands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Suite {
    /// Debian 12.
    Bookworm,
    /// Debian 13.
    Trixie,
}

impl Suite {
    const ALL: [Self; 2] = [Self::Bookworm, Self::Trixie];

    const fn name(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
        }
    }
}

/// What a Rust toolchain needs of the system to link a program: the README's own first package.
const FOR_RUST: &str = "build-essential,ca-certificates";
/// The archive keys' package brings them to this place on every Debian.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Sets up a machine in each tree.
pub(crate) fn run(args: &FreshArgs) -> Result<()> {
    setup::ensure_machine()?;
    for suite in args.suite.map_or_else(|| Suite::ALL.to_vec(), |suite| vec![suite]) {
        prove(suite, args.all, args.if_changed)?;
    }
    Ok(())
}

/// As [`run`], of what `cargo xtask test` needs, unless that passed before and nothing of it changed.
pub(crate) fn ensure_passed() -> Result<()> {
    run(&FreshArgs { suite: None, all: false, if_changed: true })
}

fn prove(suite: Suite, all: bool, if_changed: bool) -> Result<()> {
    let name = suite.name();
    let mirror = Mirror::of_machine(Path::new("/"))?;
    let cache = setup::cache()?;
    // The note is a digest of everything that decides what is installed and made.
    let note = cache.join(format!("fresh-{name}{}.passed", if all { "-all" } else { "" }));
    let digest = images::set_up_digest(&mirror);
    if if_changed && fs::read_to_string(&note).is_ok_and(|passed| passed == digest) {
        return Ok(());
    }
    setup::say(&format!("setting up a fresh {name} in a tree of its own (some minutes)"));
    let folder = tempfile::Builder::new().prefix(&format!(".fresh-{name}.")).tempdir_in(&cache)?;
    let tree = folder.path().join("tree");
    make(suite, &mirror, folder.path(), &tree)?;
    let words = if all { &["--images", "all"][..] } else { &["--images", "test"] };
    enter(folder.path(), &tree, words)
        .with_context(|| format!("`cargo xtask setup` fails on a fresh {name}"))?;
    keep_images(&tree.join("root/.cache/builder-xtask"), &cache)?;
    fs::write(&note, digest).with_context(|| format!("cannot write {}", note.display()))
}

fn make(suite: Suite, mirror: &Mirror, folder: &Path, tree: &Path) -> Result<()> {
    let sources = folder.join("debian.sources");
    fs::write(&sources, mirror.sources(suite.name(), KEYRING))?;
    let mut mmdebstrap = Command::new("mmdebstrap");
    mmdebstrap
        .args(["--quiet", "--mode=root", "--variant=apt", &format!("--include={FOR_RUST}")])
        .args(["--dpkgopt=force-unsafe-io", &format!("--keyring={KEYRING}")]);
    if suite == Suite::Bookworm {
        // A Debian 12 that somebody installed has its /bin and /lib below /usr.
        mmdebstrap.arg("--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr");
    }
    mmdebstrap.arg(suite.name()).arg(tree).arg(&sources);
    setup::run(&mut mmdebstrap)
}

/// Runs `cargo xtask setup` in the tree. The workspace and the toolchain are the host's, at the same paths, so that cargo
/// finds what is built; what it writes goes to an overlay. Mounts and processes end with their namespaces.
fn enter(folder: &Path, tree: &Path, words: &[&str]) -> Result<()> {
    let own = Checkout::own();
    // The developer's own `PATH` leads to it.
    let sysroot =
        Command::new("rustc").args(["--print", "sysroot"]).output().context("cannot start rustc")?;
    ensure!(sysroot.status.success(), "rustc does not print where it is");
    let toolchain = PathBuf::from(String::from_utf8(sysroot.stdout)?.trim());
    let cargo_home = setup::cargo_home()?;
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig=KILL", "unshare", "--mount", "--propagation=private", "--pid", "--fork"])
        .args(["--kill-child", "sh", "-euc", ENTER, "enter"])
        .args([tree, &folder.join("overlay"), &own.source, &toolchain, &own.target, &cargo_home])
        .args(words)
        .stdin(Stdio::null());
    setup::run(&mut command)
}

/// Arguments: the tree, a folder for overlays, then as on the host the workspace, the toolchain, cargo's target folder and
/// cargo's home; the rest goes to `cargo xtask setup`.
const ENTER: &str = r#"
tree=$1 overlays=$2 source=$3 toolchain=$4 target=$5 cargo_home=$6
shift 6
# The recipes change the propagation of mounts below /, which has to be a mount itself.
mount --bind "$tree" "$tree"
mount -t proc proc "$tree/proc"
mount --rbind /sys "$tree/sys"
mount --rbind /dev "$tree/dev"
cp /etc/resolv.conf "$tree/etc/resolv.conf"
for path in "$source" "$toolchain"; do
	mkdir -p "$tree$path"
	mount --bind "$path" "$tree$path"
	mount -o remount,bind,ro "$tree$path"
done
number=0
for path in "$target" "$cargo_home"; do
	number=$((number + 1))
	mkdir -p "$path" "$tree$path" "$overlays/$number/upper" "$overlays/$number/work"
	mount -t overlay -o "lowerdir=$path,upperdir=$overlays/$number/upper,workdir=$overlays/$number/work" overlay "$tree$path"
done
cd "$tree$source"
exec chroot "$tree" /usr/bin/env -i "PATH=$toolchain/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" \
	HOME=/root LC_ALL=C.UTF-8 "CARGO_HOME=$cargo_home" "CARGO_TARGET_DIR=$target" CARGO_NET_OFFLINE=true \
	sh -euc 'cd "$1"; shift; exec cargo xtask setup "$@"' setup "$source" "$@"
"#;

/// Moves the images that the tree's machine made to the host's cache: they are what the host would make.
fn keep_images(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("no images were made in {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_name().to_string_lossy().ends_with(".img.xz") && !target.exists() {
            fs::rename(entry.path(), &target)
                .with_context(|| format!("cannot create {}", target.display()))?;
        }
    }
    ensure!(from.is_dir(), "no images were made in {}", from.display());
    Ok(())
}
