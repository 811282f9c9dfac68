//! What goes on each card: computed from cluster file, identities, agent and image. Nothing is written here; `plan`
//! shows the result, `build` lays it over a copy of the base.

use std::fmt;
use std::path::{Path, PathBuf};

use cluster::card::Start;
use cluster::identity::Role;
use cluster::name::Hostname;
use cluster::range;
use cluster::spec::{Cluster, Node, Problems};
use serde::Serialize;
use thiserror::Error;

pub use self::change::{Content, FileChange};
use self::cmdline::TooLong;
pub(crate) use self::payload::card;
use self::payload::{Common, File};
use crate::agent::{self, Agent};
use crate::cache::Cache;
use crate::error::{Failure, Kind};
use crate::image::fat::Stamp;
use crate::image::overlay::SECTOR;
pub use crate::image::overlay::Write;
use crate::image::{Image, ImageError};
use crate::pki::{self, Identities};
use crate::project::{Project, ProjectError};

mod change;
mod cloud_init;
mod cmdline;
mod names;
mod payload;

pub mod show;

/// What the user may choose about planning.
#[derive(Debug, Clone, Default)]
pub struct PlanOptions {
    /// The agent's binary; searched for without it.
    pub firstboot: Option<PathBuf>,
}

/// One node's card.
#[derive(Clone, Serialize)]
pub struct CardPlan {
    /// For which node.
    pub node: Hostname,
    /// What it does.
    pub role: Role,
    /// What changes in the image: sorted, not overlapping, within the boot partition.
    #[serde(skip)]
    pub writes: Vec<Write>,
    /// The same as files.
    pub files: Vec<FileChange>,
    /// Sectors of 512 bytes in [`Self::writes`].
    pub sectors_changed: u64,
    /// Bytes left free on the boot partition.
    pub free_bytes: u64,
}

impl fmt::Debug for CardPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CardPlan({}, {} files, {} sectors)", self.node, self.files.len(), self.sectors_changed)
    }
}

impl CardPlan {
    /// The plan without the bytes: for showing many, each has a whole agent in it.
    #[must_use]
    pub fn without_writes(self) -> Self {
        Self { writes: Vec::new(), ..self }
    }
}

/// Why there is no plan.
#[derive(Debug, Error)]
pub enum PlanError {
    /// No card can be made from the image.
    #[error("no card can be made from {image}")]
    Image {
        /// The image as the cluster file names it.
        image: String,
        /// Why not.
        #[source]
        source: ImageError,
    },
    /// Its kernel command line is too long already.
    #[error("cmdline.txt of {image} has no room for ours")]
    Cmdline {
        /// The image as the cluster file names it.
        image: String,
        /// How much too long.
        #[source]
        source: TooLong,
    },
    /// A node that was never planned.
    #[error("{node} is not a node of {cluster}")]
    UnknownNode {
        /// What was asked for.
        node: String,
        /// Whose node it is not.
        cluster: String,
    },
    /// A range that is none.
    #[error("{text} is not a range of nodes")]
    Range {
        /// What was asked for.
        text: String,
        /// Why not.
        #[source]
        source: range::RangeError,
    },
}

/// Plans one card after the other. Holds what all cards share.
#[derive(Debug)]
pub struct Planner {
    cluster: Cluster,
    identities: Identities,
    agent: Agent,
    image: Image,
    /// What becomes of the kernel command line, where it is ours to edit.
    cmdline: Option<String>,
    not_before: u64,
    stamp: &'static Stamp,
}

impl Planner {
    /// Looks at the image, finds the agent, and opens the cluster's identities, which are made on first use.
    pub fn open(project: &Project, base: &Path, options: &PlanOptions) -> Result<Self, Failure> {
        Self::with_identities(project, base, options, pki::open)
    }

    /// The same without writing anything: identities not made yet are made up for this run.
    pub fn preview(project: &Project, base: &Path, options: &PlanOptions) -> Result<Self, Failure> {
        Self::with_identities(project, base, options, pki::open_or_preview)
    }

    fn with_identities(
        project: &Project,
        base: &Path,
        options: &PlanOptions,
        identities: fn(&Project) -> Result<Identities, Failure>,
    ) -> Result<Self, Failure> {
        let cluster = project.cluster.clone();
        let image = Image::open(base).map_err(|source| image_failure(&cluster, source))?;
        check_names(project, &image)?;
        let agent =
            agent::find(image.arch, options.firstboot.as_deref()).map_err(agent::AgentError::into_failure)?;
        // What can be refused is, before identities are made.
        image
            .check_room(&[("swarm/agent", &agent.bytes)])
            .map_err(|source| image_failure(&cluster, source))?;
        let country = cluster.wifi.as_ref().map(|wifi| wifi.country.as_str());
        let edit = || cmdline::edit(&image.cmdline, image.release.mount(), country);
        let is_ours = image.release.start() == Start::Hook;
        let cmdline = is_ours.then(edit).transpose().map_err(|source| {
            let image = cluster.image.location.clone();
            Failure::new(Kind::Failed, PlanError::Cmdline { image, source })
                .hint("take the image as it was published")
        })?;
        let identities = identities(project)?;
        let not_before = identities.created.max(image.made_at());
        let stamp = Stamp::from_unix(identities.created);
        Ok(Self { cluster, identities, agent, image, cmdline, not_before, stamp })
    }

    /// Computes one node's card. The same project, secrets, agent and base give the same bytes.
    pub fn card(&self, node: &Hostname) -> Result<CardPlan, Failure> {
        let planned = find_node(&self.cluster, node.as_str()).map_err(|e| node_failure(&self.cluster, e))?;
        let material = self.identities.node(node)?;
        let files = payload::files(self.common(), planned, &material);
        let contents: Vec<(&str, &[u8])> =
            files.iter().map(|file| (file.path.as_str(), &*file.bytes)).collect();
        let edited = self.image.edit(&contents, self.stamp).map_err(|e| image_failure(&self.cluster, e))?;
        let bytes_changed: u64 = edited.writes.iter().map(|write| write.bytes.len() as u64).sum();
        Ok(CardPlan {
            node: node.clone(),
            role: planned.role,
            files: files.into_iter().map(|file| self.change(file)).collect(),
            sectors_changed: bytes_changed / SECTOR,
            free_bytes: edited.free_bytes,
            writes: edited.writes,
        })
    }

    /// The image the cards are made from.
    pub const fn image(&self) -> &Image {
        &self.image
    }

    /// The agent that goes on the cards.
    pub const fn agent(&self) -> &Agent {
        &self.agent
    }

    /// The cluster's identities.
    pub const fn identities(&self) -> &Identities {
        &self.identities
    }

    /// What tells this cluster from another of the same name.
    pub fn cluster_id(&self) -> String {
        self.identities.cluster_id.to_string()
    }

    fn common(&self) -> Common<'_> {
        Common {
            cluster: &self.cluster,
            identities: &self.identities,
            agent: &self.agent,
            image: &self.image,
            cmdline: self.cmdline.as_deref(),
            not_before: self.not_before,
        }
    }

    fn change(&self, file: File<'_>) -> FileChange {
        let before = self.image.original(&file.path);
        FileChange::new(&file.path, before.as_deref(), &file.bytes, file.showing)
    }
}

/// Refuses an image that no card can be made from. One that came out of an archive on this computer is taken out of the cache,
/// too: it is of no use there, and the archive is at hand. A download stays, so that it is made only once.
pub fn check_image(project: &Project, base: &Path, cache: &Cache) -> Result<(), Failure> {
    let Err(source) = Image::open(base) else { return Ok(()) };
    if !matches!(source, ImageError::Open { .. }) {
        // Only tidying up: why the image is refused matters more than a cache that cannot be written.
        let _kept = cache.discard_refused(base);
    }
    Err(image_failure(&project.cluster, source))
}

/// Refuses names in the cluster file that the image does not know: on the Pi they would cost a login or a setting.
fn check_names(project: &Project, image: &Image) -> Result<(), Failure> {
    let names = image.names().map_err(|source| image_failure(&project.cluster, source))?;
    let problems = names::problems(&project.cluster, &names);
    if problems.is_empty() {
        return Ok(());
    }
    let file = project.file.display().to_string();
    Err(ProjectError::Wrong(Problems::new(&file, problems)).into())
}

/// The nodes meant by the words of a command line, ranges among them, in the cluster file's order; all without any.
pub fn select(cluster: &Cluster, words: &[String]) -> Result<Vec<Hostname>, Failure> {
    if words.is_empty() {
        return Ok(cluster.nodes.iter().map(|node| node.name.clone()).collect());
    }
    let mut wanted = Vec::new();
    for word in words {
        let names = range::expand(word).map_err(|source| PlanError::Range { text: word.clone(), source });
        for name in names.map_err(|e| node_failure(cluster, e))? {
            wanted.push(find_node(cluster, &name).map_err(|e| node_failure(cluster, e))?.name.clone());
        }
    }
    let chosen = cluster.nodes.iter().map(|node| &node.name).filter(|name| wanted.contains(name));
    Ok(chosen.cloned().collect())
}

fn find_node<'a>(cluster: &'a Cluster, name: &str) -> Result<&'a Node, PlanError> {
    let unknown = || PlanError::UnknownNode { node: name.to_owned(), cluster: cluster.name.to_string() };
    cluster.nodes.iter().find(|node| node.name.as_str() == name).ok_or_else(unknown)
}

fn node_failure(cluster: &Cluster, error: PlanError) -> Failure {
    let names: Vec<_> = cluster.nodes.iter().map(|node| node.name.as_str()).collect();
    Failure::new(Kind::Usage, error).hint(format!("name some of {}", names.join(", ")))
}

fn image_failure(cluster: &Cluster, source: ImageError) -> Failure {
    let hint = source.hint();
    Failure::new(Kind::Failed, PlanError::Image { image: cluster.image.location.clone(), source }).hint(hint)
}
