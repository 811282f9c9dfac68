//! Builds `firstboot` as a static binary for each architecture and lays it beside `builder`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use tests::product::Product;

use crate::cross;
use crate::setup::{self, Checkout};

/// Arguments of `cargo xtask agent`.
#[derive(Debug, Args)]
pub(crate) struct AgentArgs {
    /// Only this architecture
    #[arg(long, value_parser = ["aarch64", "armv7", "x86_64"])]
    arch: Option<String>,
    /// Build for Pis in a Debian 13 tree even where a rustup target is installed
    #[arg(long)]
    debian: bool,
}

/// Builds the named architecture or all of them.
pub(crate) fn run(args: &AgentArgs) -> Result<()> {
    let wanted = match &args.arch {
        Some(arch) => vec![arch.as_str()],
        None => architectures(),
    };
    for arch in wanted {
        let path = build(&Checkout::own(), arch, args.debian)?;
        setup::say(&format!("{} ({} KiB)", path.display(), std::fs::metadata(&path)?.len() / 1024));
    }
    Ok(())
}

/// Those of 64-bit and 32-bit Pis, and this machine's for the rack.
fn architectures() -> Vec<&'static str> {
    let mut all = vec!["aarch64", "armv7"];
    let own = std::env::consts::ARCH;
    if !all.contains(&own) {
        all.push(own);
    }
    all
}

/// Names of an architecture in the worlds of Rust and of the cross compilers.
pub(crate) struct Names {
    /// Rust's target with the musl library.
    pub(crate) musl: String,
    /// Rust's target with the GNU library.
    pub(crate) gnu: String,
    /// What the names of the GNU tools begin with, and Debian's packages of them.
    pub(crate) tools: &'static str,
}

impl Names {
    pub(crate) fn of(arch: &str) -> Self {
        let (suffix, tools) = match arch {
            // Debian's and Raspberry Pi OS's 32-bit systems pass numbers in floating-point registers.
            "armv7" => ("eabihf", "arm-linux-gnueabihf"),
            "aarch64" => ("", "aarch64-linux-gnu"),
            _ => ("", "x86_64-linux-gnu"),
        };
        Self {
            musl: format!("{arch}-unknown-linux-musl{suffix}"),
            gnu: format!("{arch}-unknown-linux-gnu{suffix}"),
            tools,
        }
    }
}

/// Builds one architecture from `checkout` and copies the binary beside `builder` in `debug` and `release` of its target
/// folder.
pub(crate) fn build(checkout: &Checkout, arch: &str, debian: bool) -> Result<PathBuf> {
    let Names { musl, gnu, tools } = Names::of(arch);
    let built = if arch == std::env::consts::ARCH {
        setup::say(&format!("building firstboot for {arch} with a static glibc"));
        with_rustup(checkout, arch, &gnu, tools)?
    } else if !debian && rustup_targets().contains(&musl) {
        setup::say(&format!("building firstboot for {arch} with the rustup target {musl}"));
        with_rustup(checkout, arch, &musl, tools)?
    } else {
        setup::say(&format!(
            "building firstboot for {arch} in a Debian 13 tree: no rustup target {musl} is installed"
        ));
        cross::build(checkout, arch)?
    };
    let mut last = built.clone();
    for profile in ["debug", "release"] {
        last = place(&built, &checkout.target.join(profile), arch)?;
    }
    Ok(last)
}

/// Copies a binary into a folder under the name `builder` looks for, whole or not at all.
fn place(built: &Path, folder: &Path, arch: &str) -> Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    let path = folder.join(format!("firstboot-{arch}"));
    let partial = folder.join(format!(".firstboot-{arch}.partial"));
    std::fs::copy(built, &partial).with_context(|| format!("cannot copy {}", built.display()))?;
    std::fs::rename(&partial, &path)?;
    Ok(path)
}

fn with_rustup(checkout: &Checkout, arch: &str, target: &str, tools: &str) -> Result<PathBuf> {
    let folder = folder(arch)?;
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(&checkout.source)
        .args([
            "build",
            "--quiet",
            "--locked",
            "--profile",
            "pi",
            "--package",
            "firstboot",
            "--target",
            target,
        ])
        .arg("--target-dir")
        .arg(&folder)
        .env("RUSTFLAGS", "-C target-feature=+crt-static");
    if arch != std::env::consts::ARCH {
        // ring brings some C and assembler; the linker comes with the rustup target.
        let gcc = format!("{tools}-gcc");
        ensure!(
            Command::new(&gcc).arg("--version").output().is_ok(),
            "a C compiler for {arch} is missing. Type: sudo apt-get install gcc-{tools}"
        );
        let name = target.replace('-', "_");
        cargo
            .env(format!("CC_{name}"), gcc)
            .env(format!("CARGO_TARGET_{}_LINKER", name.to_uppercase()), "rust-lld");
    }
    setup::run(&mut cargo)?;
    Ok(folder.join(target).join("pi").join("firstboot"))
}

fn rustup_targets() -> Vec<String> {
    let listed = Command::new("rustup").args(["target", "list", "--installed"]).output();
    // A machine without rustup has no rustup targets.
    listed
        .map(|out| String::from_utf8_lossy(&out.stdout).lines().map(str::to_owned).collect())
        .unwrap_or_default()
}

/// Builds what demo and tests put on cards and run: every agent and the release `builder`. Gives `builder`'s path.
///
/// All at once: the end of each build is one long link on one core.
pub(crate) fn product() -> Result<PathBuf> {
    product_of(&Checkout::own(), &architectures())
}

/// The same from any checkout, with agents for `architectures` only.
pub(crate) fn product_of(checkout: &Checkout, architectures: &[&str]) -> Result<PathBuf> {
    let builder = checkout.target.join("release/builder");
    std::thread::scope(|scope| {
        let start = |arch| scope.spawn(move || build(checkout, arch, false));
        let agents: Vec<_> = architectures.iter().copied().map(start).collect();
        let mut cargo = Command::new("cargo");
        cargo.current_dir(&checkout.source).env("CARGO_TARGET_DIR", &checkout.target);
        cargo.args(["build", "--quiet", "--locked", "--release", "--package", "builder"]);
        setup::run(&mut cargo)?;
        for agent in agents {
            agent.join().map_err(|_| anyhow!("building an agent panicked"))??;
        }
        ensure!(builder.is_file(), "cargo made no {}", builder.display());
        Ok(builder)
    })
}

/// What runs in the rack: builder, agents, and the Pi OS-like image for this machine, made if it is not in the cache.
pub(crate) fn rack_product() -> Result<Product> {
    setup::ensure_machine()?;
    let builder = product()?;
    setup::say("making the Pi OS-like image, if it is not in the cache (some minutes the first time)");
    let cache = setup::cache()?;
    let image = images::pios(&images::host_architecture()?, &cache)?;
    Ok(Product { builder, image, cache: cache.join("decompressed") })
}

/// Where cargo builds an agent. Kept across clones: it is mostly libraries, which do not change. One folder per
/// architecture, since cargo locks it.
pub(crate) fn folder(arch: &str) -> Result<PathBuf> {
    Ok(setup::cache()?.join("agents").join(arch))
}
