//! A Debian 13 tree with a Rust compiler and another architecture's standard library, for machines where
//! rustup cannot fetch a target.
//!
//! Debian 13 carries `rustc-web` and `cargo-web`, and the standard library of other architectures as
//! `libstd-rust-web-dev:ARCH` of the same version; linker and C compiler are Debian's cross set.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::agents::{self, Names};
use crate::setup::{self, Checkout};

/// Raise it when the making of the tree changes.
const RECIPE: &str = "1";

/// Builds `firstboot` of `checkout` for an architecture inside the tree and returns the binary's path.
pub(crate) fn build(checkout: &Checkout, arch: &str) -> Result<PathBuf> {
    let Names { musl, gnu: target, tools } = Names::of(arch);
    let debian = match arch {
        "aarch64" => "arm64",
        "armv7" => "armhf",
        _ => bail!("no cross set is known for {arch}; type: rustup target add {musl}"),
    };
    demand_root(images::require_root("the other way, to build in a Debian 13 tree,"), &musl, tools)?;
    // Two programs cannot be in one tree; the other run may even be making it.
    let lock = setup::cache()?.join(format!("cross-{debian}.lock"));
    let lock = File::create(&lock).with_context(|| format!("cannot create {}", lock.display()))?;
    lock.lock().context("cannot wait for another run's build")?;
    let tree = tree(debian, &target, tools)?;
    // The tree has no network of its own: what cargo needs is fetched here, by the same lock file.
    setup::run(Command::new("cargo").current_dir(&checkout.source).args(["fetch", "--quiet", "--locked"]))?;
    let folder = agents::folder(arch)?;
    std::fs::create_dir_all(&folder)?;
    forget_other_checkout(checkout, &folder, target_folder(&folder, &target).as_path())?;
    let gcc = format!("{tools}-gcc");
    let name = target.replace('-', "_");
    let status = Command::new("systemd-nspawn")
        .args(["--quiet", "--register=no", "--keep-unit", "--pipe", "--as-pid2", "--timezone=off"])
        .arg("--directory")
        .arg(&tree)
        .arg(format!("--bind-ro={}:/source", checkout.source.display()))
        .arg(format!("--bind={}:/cargo/registry", setup::cargo_home()?.join("registry").display()))
        .arg(format!("--bind={}:/target", folder.display()))
        .arg("--setenv=CARGO_HOME=/cargo")
        .arg(format!("--setenv=CC_{name}={gcc}"))
        .arg(format!("--setenv=CARGO_TARGET_{}_LINKER={gcc}", name.to_uppercase()))
        .arg("--setenv=RUSTFLAGS=-C target-feature=+crt-static")
        .args(["--chdir=/source", "cargo", "build", "--quiet", "--offline", "--locked", "--profile", "pi"])
        .args(["--package", "firstboot", "--target", &target, "--target-dir", "/target"])
        .stdin(std::process::Stdio::null())
        .status()
        .context("cannot start systemd-nspawn")?;
    if !status.success() {
        bail!("building for {arch} in {} ended with {status}", tree.display());
    }
    Ok(target_folder(&folder, &target).join("firstboot"))
}

fn target_folder(folder: &Path, target: &str) -> PathBuf {
    folder.join(target).join("pi")
}

/// Has cargo compile our own crates again when `folder` was last used for another checkout. In the tree every checkout
/// is `/source`, and cargo compares only modification times: it would take the other checkout's newer build for
/// this one's. The libraries stay.
fn forget_other_checkout(checkout: &Checkout, folder: &Path, built: &Path) -> Result<()> {
    const OWN: [&str; 2] = ["cluster-", "firstboot-"];
    let note = folder.join("checkout");
    let source = checkout.source.to_string_lossy();
    if std::fs::read_to_string(&note).is_ok_and(|last| last == source) {
        return Ok(());
    }
    let fingerprints = built.join(".fingerprint");
    if fingerprints.is_dir() {
        for entry in std::fs::read_dir(&fingerprints)? {
            let entry = entry?;
            let name = entry.file_name();
            if OWN.iter().any(|own| name.to_string_lossy().starts_with(own)) {
                std::fs::remove_dir_all(entry.path())?;
            }
        }
    }
    std::fs::write(&note, source.as_bytes()).with_context(|| format!("cannot write {}", note.display()))
}

/// Whoever is not root needs no tree: a rustup target does.
fn demand_root(root: Result<()>, musl: &str, tools: &str) -> Result<()> {
    root.with_context(|| {
        format!(
            "there is no rustup target {musl}. Type: rustup target add {musl} && sudo apt-get install --yes gcc-{tools}"
        )
    })
}

/// The tree, made on first use. A half-made one is never taken for whole: it gets its name at the end.
fn tree(arch: &str, target: &str, tools: &str) -> Result<PathBuf> {
    let tree = setup::cache()?.join(format!("cross-{arch}-{RECIPE}"));
    if tree.is_dir() {
        return Ok(tree);
    }
    setup::ensure_machine()?;
    setup::say(&format!(
        "making a Debian 13 tree with Rust and a compiler for {arch} (once, about two minutes)"
    ));
    let partial = tree.with_extension(format!("partial-{}", std::process::id()));
    make(arch, target, tools, &partial)
        .and_then(|()| Ok(std::fs::rename(&partial, &tree)?))
        .inspect_err(|_| drop(std::fs::remove_dir_all(&partial)))?;
    Ok(tree)
}

fn make(arch: &str, target: &str, tools: &str, tree: &Path) -> Result<()> {
    let packages = format!("cargo-web,rustc-web,ca-certificates,gcc-{tools},libc6-dev-{arch}-cross");
    setup::run(
        Command::new("mmdebstrap")
            .args(["--quiet", "--variant=apt", &format!("--include={packages}"), "trixie"])
            .arg(tree)
            .arg(images::apt::Mirror::of_machine(Path::new("/"))?.archive),
    )?;
    let fetch = format!(
        "dpkg --add-architecture {arch} && apt-get -qq update && cd /tmp \
         && apt-get -qq download libstd-rust-web-dev:{arch} && dpkg -x libstd-rust-web-dev_*.deb std \
         && cp -a std/usr/lib/rustlib/{target} /usr/lib/rustlib/ && rm -rf /tmp/*"
    );
    setup::run(
        Command::new("systemd-nspawn")
            .args(["--quiet", "--register=no", "--keep-unit", "--pipe"])
            .args(["--resolv-conf=copy-host", "--directory"])
            .arg(tree)
            .args(["sh", "-ec", &fetch])
            .stdin(std::process::Stdio::null()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_checkout_is_compiled_again() {
        let folder = tempfile::tempdir().unwrap();
        let built = folder.path().join("pi");
        let fingerprint = |name: &str| built.join(".fingerprint").join(name);
        let make = || {
            for name in ["cluster-1", "firstboot-2", "ring-3"] {
                std::fs::create_dir_all(fingerprint(name)).unwrap();
            }
        };
        let checkout = |source: &str| Checkout { source: source.into(), target: "target".into() };
        make();
        forget_other_checkout(&checkout("/a"), folder.path(), &built).unwrap();
        make();
        forget_other_checkout(&checkout("/a"), folder.path(), &built).unwrap();
        assert!(fingerprint("firstboot-2").exists());
        forget_other_checkout(&checkout("/b"), folder.path(), &built).unwrap();
        assert!(!fingerprint("firstboot-2").exists() && !fingerprint("cluster-1").exists());
        assert!(fingerprint("ring-3").exists());
    }

    #[test]
    fn without_root_both_ways_are_told() {
        let names = Names::of("aarch64");
        let told =
            demand_root(Err(anyhow::anyhow!("root. Type: sudo")), &names.musl, names.tools).unwrap_err();
        assert_eq!(
            format!("{told:#}"),
            "there is no rustup target aarch64-unknown-linux-musl. Type: rustup target add aarch64-unknown-linux-musl \
             && sudo apt-get install --yes gcc-aarch64-linux-gnu: root. Type: sudo"
        );
        assert!(demand_root(Ok(()), &names.musl, names.tools).is_ok());
    }
}
