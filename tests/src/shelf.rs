//! A shelf: cards made by the real `builder` from a cluster file, in a rack, as a user would have it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use builder::error::Failure;
use builder::remote::Manager;
use cluster::wire::{Board, BoardNode, Stage};

use crate::product::Product;
use crate::rack::Rack;

/// Where the FAT partition of the Pi OS-like image begins, in bytes.
pub const FAT_OFFSET: u64 = 16384 * 512;

/// A folder with a cluster file, its cards, and the rack they are in. Everything goes when it is dropped.
#[derive(Debug)]
pub struct Shelf {
    /// The rack.
    pub rack: Rack,
    folder: tempfile::TempDir,
    product: Product,
    powered_on: Vec<String>,
}

impl Shelf {
    /// A folder with the operator's SSH key and the image in it, and an empty rack.
    pub fn prepare(product: &Product) -> Result<Self> {
        let shelf = Self {
            rack: Rack::new("shelf")?,
            folder: tempfile::tempdir()?,
            product: product.clone(),
            powered_on: Vec::new(),
        };
        let folder = shelf.folder();
        std::os::unix::fs::symlink(&product.image, folder.join("pios-like.img.xz"))?;
        std::fs::create_dir(folder.join(".ssh"))?;
        let key = folder.join(".ssh/id_ed25519");
        let made =
            Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status()?;
        ensure!(made.success(), "ssh-keygen ended with {made}");
        Ok(shelf)
    }

    /// Writes the cluster file and builds its cards.
    pub fn make_cards(&self, cluster_file: &str) -> Result<()> {
        // The shelf's folder is its user's home, for this process as well as for `builder`.
        let cluster_file = cluster_file.replace("~/", "./");
        std::fs::write(self.folder().join("cluster.yaml"), cluster_file)?;
        let built = self.builder(["build", "-o", "cards"])?;
        ensure!(built.status.success(), "builder build: {}", String::from_utf8_lossy(&built.stderr));
        Ok(())
    }

    /// [`Self::prepare`] and [`Self::make_cards`].
    pub fn build(product: &Product, cluster_file: &str) -> Result<Self> {
        let shelf = Self::prepare(product)?;
        shelf.make_cards(cluster_file)?;
        Ok(shelf)
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

    /// Runs `builder` as the user would, in the cluster file's folder.
    pub fn builder<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Result<Output> {
        Command::new(&self.product.builder)
            .current_dir(self.folder())
            .env("HOME", self.folder())
            .env("XDG_CACHE_HOME", &self.product.cache)
            .args(args)
            .output()
            .with_context(|| format!("cannot start {}", self.product.builder.display()))
    }

    /// Runs a command on a node by SSH, with nothing but what `builder` wrote: strict host keys, the user's key.
    pub fn ssh(&self, node: &str, command: &str) -> Result<Output> {
        let config = self.secrets()?.join("ssh_config");
        Command::new("ssh")
            .arg("-F")
            .arg(config)
            .args(["-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-i"])
            .arg(self.folder().join(".ssh/id_ed25519"))
            .args([node, command])
            .output()
            .context("cannot start ssh")
    }

    /// The secrets folder `builder` made.
    pub fn secrets(&self) -> Result<PathBuf> {
        let mut found = std::fs::read_dir(self.folder())?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "secrets"));
        found.next().context("builder made no secrets folder")
    }

    /// Puts a node's card in and powers it on.
    pub fn power_on(&mut self, node: &str) -> Result<()> {
        let card = self.card(node);
        self.rack.insert(node, &card)?;
        self.powered_on.push(node.to_owned());
        self.rack.power_on(node)
    }

    /// The manager's board, found as `builder status` finds it; `None` while nobody answers.
    pub fn board(&self) -> Result<Option<Board>> {
        let failed = |failure: Failure| anyhow::anyhow!("{}", failure.render());
        let project = builder::project::load(&self.folder().join("cluster.yaml")).map_err(failed)?;
        let identities = builder::pki::existing(&project).map_err(failed)?;
        let mut manager = Manager::new(&project, &identities, None).map_err(failed)?;
        match manager.board() {
            Ok(board) => Ok(Some(board)),
            Err(error) if error.is_transient() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until the swarm is formed and every node has said that it knows, telling `seen` of every board.
    pub fn wait_formed(&self, timeout: Duration, mut seen: impl FnMut(&Board)) -> Result<Board> {
        self.wait_board(timeout, |board| {
            seen(board);
            let knows =
                |node: &BoardNode| node.report.as_ref().is_some_and(|report| report.stage == Stage::Ready);
            board.formed && board.nodes.iter().all(knows)
        })
    }

    /// Waits for a board that is as wanted.
    pub fn wait_board(&self, timeout: Duration, mut wanted: impl FnMut(&Board) -> bool) -> Result<Board> {
        let deadline = Instant::now() + timeout;
        let mut last = None;
        while Instant::now() < deadline {
            if let Some(board) = self.board()? {
                if wanted(&board) {
                    return Ok(board);
                }
                last = Some(board);
            }
            // Between two looks at the board; the deadline above bounds it.
            std::thread::sleep(Duration::from_secs(1));
        }
        bail!("not as wanted within {timeout:?}: {last:#?}\n{}", self.consoles())
    }

    /// The end of every node's console, for a failure's message.
    fn consoles(&self) -> String {
        let mut text = String::new();
        for node in &self.powered_on {
            let log = self.rack.console(node).and_then(|path| Ok(std::fs::read(path)?)).unwrap_or_default();
            let tail = log.get(log.len().saturating_sub(4000)..).unwrap_or_default();
            text.push_str(&format!("--- {node}\n{}\n", String::from_utf8_lossy(tail)));
        }
        text
    }
}

/// When a node finished each stage, in seconds since it was powered on. All virtual Pis share this machine's clock.
pub fn times(node: &BoardNode, powered_on: std::time::SystemTime) -> BTreeMap<Stage, f64> {
    let start = powered_on.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let marks = node.report.iter().flat_map(|report| &report.marks);
    marks.map(|mark| (mark.stage, Duration::from_millis(mark.unix_ms).as_secs_f64() - start)).collect()
}

/// By how many seconds each worker was Ready after the later of its own Docker's start and the manager's init.
pub fn join_delays(board: &Board) -> BTreeMap<String, f64> {
    let mark = |node: &BoardNode, stage| {
        let marks = node.report.iter().flat_map(|report| &report.marks);
        marks.filter(|mark| mark.stage == stage).map(|mark| mark.unix_ms).next_back()
    };
    let manager = board.nodes.iter().find(|node| node.role == cluster::identity::Role::Manager);
    let Some(init) = manager.and_then(|node| mark(node, Stage::Swarm)) else {
        return BTreeMap::new();
    };
    let mut delays = BTreeMap::new();
    for node in board.nodes.iter().filter(|node| node.role == cluster::identity::Role::Worker) {
        if let (Some(docker), Some(ready)) = (mark(node, Stage::Docker), mark(node, Stage::Ready)) {
            let delay = Duration::from_millis(ready.saturating_sub(docker.max(init)));
            delays.insert(node.name.to_string(), delay.as_secs_f64());
        }
    }
    delays
}
