//! An operator's desk: a folder with a cluster file, the image, a key, and the cards the real `builder` made of them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, Result, anyhow, ensure};
use builder::error::Failure;
use builder::remote::{Address, Manager};
use cluster::wire::Board;

use crate::product::Product;

/// Where the FAT partition of the Pi OS-like images begins, in bytes.
pub const FAT_OFFSET: u64 = 16384 * 512;

/// The folder. Everything goes when it is dropped.
#[derive(Debug)]
pub struct Desk {
    folder: tempfile::TempDir,
    product: Product,
}

impl Desk {
    /// A folder with the operator's SSH key and the image in it.
    pub fn prepare(product: &Product) -> Result<Self> {
        let desk = Self { folder: tempfile::tempdir()?, product: product.clone() };
        let folder = desk.folder();
        std::os::unix::fs::symlink(&product.image, folder.join("pios-like.img.xz"))?;
        std::fs::create_dir(folder.join(".ssh"))?;
        let key = folder.join(".ssh/id_ed25519");
        let made =
            Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status()?;
        ensure!(made.success(), "ssh-keygen ended with {made}");
        Ok(desk)
    }

    /// Writes the cluster file and builds its cards.
    pub fn make_cards(&self, cluster_file: &str) -> Result<()> {
        // The folder is its user's home, for this process as well as for `builder`.
        let cluster_file = cluster_file.replace("~/", "./");
        std::fs::write(self.folder().join("cluster.yaml"), cluster_file)?;
        let built = self.builder(["build", "-o", "cards"])?;
        ensure!(built.status.success(), "builder build: {}", String::from_utf8_lossy(&built.stderr));
        Ok(())
    }

    /// [`Self::prepare`] and [`Self::make_cards`].
    pub fn build(product: &Product, cluster_file: &str) -> Result<Self> {
        let desk = Self::prepare(product)?;
        desk.make_cards(cluster_file)?;
        Ok(desk)
    }

    /// The smallest useful cluster file for some nodes.
    pub fn small_cluster(docker: &str, nodes: &str) -> String {
        format!(
            "version: 1\ncluster: red\nimage: pios-like.img.xz\nnodes: {nodes}\n\
             user: {{name: pi, authorized_keys: [~/.ssh/id_ed25519.pub]}}\ndocker: {docker}\n"
        )
    }

    /// The image as `builder` unpacked it, but by `xz` itself.
    pub fn unpacked_image(&self) -> Result<PathBuf> {
        let path = self.folder().join("unpacked.img");
        let status = Command::new("xz")
            .args(["-dc", "-T0"])
            .arg(&self.product.image)
            .stdout(std::fs::File::create(&path)?)
            .status()?;
        ensure!(status.success(), "xz ended with {status}");
        Ok(path)
    }

    /// Copies files and folders from a built card's FAT with mtools; names begin with `::`.
    pub fn copy_fat(&self, node: &str, names: &[&str], to: &Path) -> Result<()> {
        let drive = format!("{}@@{FAT_OFFSET}", self.card(node).display());
        let mut words = vec!["-s", "-n", "-i", &drive];
        words.extend(names);
        let to = to.to_string_lossy();
        words.push(&to);
        images::run("mcopy", words)
    }

    /// Where the cluster file lies.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The card image of a node.
    pub fn card(&self, node: &str) -> PathBuf {
        self.folder().join("cards").join(format!("{node}.img"))
    }

    /// `builder` as the user would run it, in the cluster file's folder.
    pub fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut builder = Command::new(&self.product.builder);
        builder.current_dir(self.folder()).env("HOME", self.folder());
        builder.env("XDG_CACHE_HOME", &self.product.cache).args(args);
        // Under sudo, builder would act as the user, whom root's folders here are closed to.
        builder.env_remove("SUDO_UID");
        builder
    }

    /// Runs `builder` to its end.
    pub fn builder<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Result<Output> {
        self.command(args)
            .output()
            .with_context(|| format!("cannot start {}", self.product.builder.display()))
    }

    /// The secrets folder `builder` made.
    pub fn secrets(&self) -> Result<PathBuf> {
        let mut found = std::fs::read_dir(self.folder())?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "secrets"));
        found.next().context("builder made no secrets folder")
    }

    /// The manager's board, found as `builder status` finds it or at a given address; `None` while nobody answers.
    pub fn board(&self, manager: Option<Address>) -> Result<Option<Board>> {
        let failed = |failure: Failure| anyhow!("{}", failure.render());
        let project = builder::project::load(&self.folder().join("cluster.yaml")).map_err(failed)?;
        let identities = builder::pki::existing(&project).map_err(failed)?;
        let mut manager = Manager::new(&project, &identities, manager).map_err(failed)?;
        match manager.board() {
            Ok(board) => Ok(Some(board)),
            Err(error) if error.is_transient() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
