//! What is tested: the binaries and the image that `cargo xtask` made.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

/// Paths of the things under test.
#[derive(Debug, Clone)]
pub struct Product {
    /// The release build of `builder`; the agents lie beside it.
    pub builder: PathBuf,
    /// The Pi OS-like image, `.img.xz`.
    pub image: PathBuf,
    /// Where decompressed images are kept between tests.
    pub cache: PathBuf,
}

impl Product {
    /// From what `cargo xtask test` says in the environment.
    pub fn from_env() -> Result<Self> {
        const HINT: &str = "these tests need what xtask makes, type: cargo xtask test";
        let folder = PathBuf::from(std::env::var_os("BUILDER_PRODUCT").context(HINT)?);
        let image = PathBuf::from(std::env::var_os("BUILDER_TEST_IMAGE").context(HINT)?);
        let cache = image.parent().context("the image lies in no folder")?.join("decompressed");
        let product = Self { builder: folder.join("builder"), image, cache };
        ensure!(product.builder.is_file(), "{} is missing: {HINT}", product.builder.display());
        Ok(product)
    }

    /// The agent for an architecture.
    pub fn agent(&self, arch: &str) -> PathBuf {
        self.builder.with_file_name(format!("firstboot-{arch}"))
    }
}
