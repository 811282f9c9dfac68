//! The cluster file on disk and what lies beside it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cluster::card::StaticAddress;
use cluster::name::{ClusterName, UserName};
use cluster::spec::hostnames::{self, Hostnames};
use cluster::spec::inventory::{self, Inventory};
use cluster::spec::{self, Cluster, Node, Problems};
use thiserror::Error;

use crate::error::{CLUSTER_FILE, Failure, Hint, Kind, builder, hint, quote_path};
use crate::home;
use crate::pki::{self, Running, RunningHost};

mod input;
mod keys;

pub(crate) use input::name as name_in_messages;
use keys::Purpose;
pub(crate) use keys::own_public_keys;

/// A cluster file that was read and checked.
#[derive(Debug, Clone)]
pub struct Project {
    /// The checked content. `user.authorized_keys` holds key lines only and `docker.key` the key itself: paths have been read.
    pub cluster: Cluster,
    /// The file.
    pub file: PathBuf,
    /// The folder it lies in: relative paths in it start here.
    pub folder: PathBuf,
    /// What the file describes.
    pub kind: ProjectKind,
}

/// What a file describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProjectKind {
    /// A cluster, in a cluster file: an image, and settings for cards. Nodes of it may run already all the same.
    Planned,
    /// Hosts that already run, in a `hostnames.yaml`: the nodes are those that `builder config` adopted, and there is no image.
    Adopted,
}

impl Project {
    /// `<cluster>.secrets` beside the cluster file.
    pub fn secrets_folder(&self) -> PathBuf {
        self.folder.join(format!("{}.secrets", self.cluster.name))
    }

    /// The file that a path in the cluster file means: `~/` is the home folder, anything relative starts beside
    /// the cluster file.
    pub fn path(&self, written: &str) -> PathBuf {
        resolve(&self.folder, written)
    }
}

/// Why there is no [`Project`].
#[derive(Debug, Error)]
pub enum ProjectError {
    /// No file of that name.
    #[error("there is no cluster file {0}")]
    Absent(PathBuf),
    /// The file cannot be read.
    #[error("cannot read the cluster file {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Longer than any cluster file.
    #[error("{0} is longer than 4 MiB")]
    TooLong(PathBuf),
    /// Text of another encoding, which some editors and PowerShell write.
    #[error("{0} is encoded in UTF-16")]
    Utf16(PathBuf),
    /// Text of another encoding, or no text.
    #[error("{path} is not UTF-8: see line {line}")]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The first line that is not, from 1.
        line: usize,
    },
    /// Read, and wrong.
    #[error(transparent)]
    Wrong(Problems),
    /// A `hostnames.yaml` of which no swarm was made.
    #[error("no swarm was made of the hosts in {0} yet")]
    NotConfigured(PathBuf),
    /// Another tool's list of hosts.
    #[error("{file} is {}, and neither a cluster file nor a hostnames.yaml", .inventory.tool)]
    Inventory {
        /// The file.
        file: PathBuf,
        /// What it names.
        inventory: Inventory,
    },
    /// A `hostnames.yaml` where cards are to be made.
    #[error("{0} names Pis that already run: there is no image to make cards of")]
    NoImage(PathBuf),
}

impl From<ProjectError> for Failure {
    fn from(error: ProjectError) -> Self {
        let hint = match &error {
            ProjectError::Absent(path) if path.as_os_str() == CLUSTER_FILE => {
                Some(hint!["run `", builder(["init"]), "` for a starter, or name a file with `-f FILE`"])
            }
            ProjectError::Absent(path) => {
                let init = builder(["init", "-f"]).path(path);
                Some(hint!["run `", init, "` for a starter, or name another file"])
            }
            ProjectError::Read { .. } | ProjectError::TooLong(_) => {
                Some("name another file with `-f FILE`".into())
            }
            ProjectError::Utf16(path) => Some(convert("UTF-16", path)),
            ProjectError::NotUtf8 { path, .. } => Some(convert("ISO-8859-1", path)),
            ProjectError::Wrong(_) => None,
            ProjectError::Inventory { inventory, .. } => Some(
                format!(
                    "write these lines into a hostnames.yaml, and name that file instead:\n\n{}",
                    inventory.hostnames()
                )
                .into(),
            ),
            ProjectError::NotConfigured(_) => Some(Hint::run(["config"])),
            ProjectError::NoImage(_) => Some(hint![
                "for cards, write a cluster file: ",
                builder(["init"]),
                "; for Pis that run: ",
                builder(["config"])
            ]),
        };
        let failure = Self::new(Kind::Usage, error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

/// The command that makes a cluster file from a text of another encoding.
fn convert(encoding: &str, path: &Path) -> Hint {
    format!("iconv -f {encoding} -t UTF-8 {} > new.yaml", quote_path(path)).into()
}

/// Reads and checks a cluster file, reporting every problem at once (exit code 2). Of a `hostnames.yaml` the nodes that
/// were brought in last.
pub fn load(file: &Path) -> Result<Project, Failure> {
    match hosts(file) {
        Some(_) => {
            let running = pki::running(&secrets_folder(file))?;
            // Whoever was purged is no node any more.
            let running = running.filter(|running| !running.hosts.is_empty());
            let running = running.ok_or_else(|| ProjectError::NotConfigured(file.to_owned()))?;
            Ok(of_running(file, &running))
        }
        None => Ok(read(file)?),
    }
}

/// As [`load`], for commands that need an image.
pub fn load_for_cards(file: &Path) -> Result<Project, Failure> {
    match hosts(file) {
        Some(_) => Err(ProjectError::NoImage(file.to_owned()).into()),
        None => Ok(read_with(file, Purpose::Cards)?),
    }
}

/// The machines of a `hostnames.yaml`; `None` where a file is none, or cannot be read.
pub fn hosts(file: &Path) -> Option<Result<Hostnames, ProjectError>> {
    let is_meant = |text: &String| hostnames::is_meant(text) && inventory::recognise(text).is_none();
    let text = input::text(file).ok().filter(is_meant)?;
    Some(hostnames::read(&text, &input::name(file)).map_err(ProjectError::Wrong))
}

/// The secrets folder of a `hostnames.yaml`, which names no cluster: it has the file's own name.
pub fn secrets_folder(file: &Path) -> PathBuf {
    folder_of(file).join(format!("{}.secrets", name_of(file)))
}

fn name_of(file: &Path) -> ClusterName {
    // The number of a pipe is another every time.
    if input::is_stream(file) {
        return ClusterName::like("");
    }
    ClusterName::like(&file.file_stem().unwrap_or_default().to_string_lossy())
}

/// The project of machines that are named in a `hostnames.yaml`.
pub fn of_running(file: &Path, running: &Running) -> Project {
    let node = |host: &RunningHost| {
        // Of a machine that runs, only the address is planned; how it has it is its own affair.
        let address = host.address.map(|ip| StaticAddress { ip, prefix: 32, gateway: None, dns: Vec::new() });
        Node { name: host.name.clone(), role: host.role, address, labels: BTreeMap::new() }
    };
    let nodes = running.hosts.iter().map(node).collect();
    let user = running.user.as_deref().and_then(|user| UserName::try_from(user).ok());
    let user = user.unwrap_or_else(UserName::of_image);
    Project {
        cluster: Cluster::of_running(name_of(file), user, nodes, running.docker),
        file: file.to_owned(),
        folder: folder_of(file),
        kind: ProjectKind::Adopted,
    }
}

/// As [`load`], for who wants to look at the problems.
pub fn read(file: &Path) -> Result<Project, ProjectError> {
    read_with(file, Purpose::Manage)
}

/// As [`read`], and an image that cannot be used is a problem as well.
pub fn check(file: &Path) -> Result<Project, ProjectError> {
    read_with(file, Purpose::Check)
}

fn read_with(file: &Path, purpose: Purpose) -> Result<Project, ProjectError> {
    let text = input::text(file)?;
    if let Some(inventory) = inventory::recognise(&text) {
        return Err(ProjectError::Inventory { file: file.to_owned(), inventory });
    }
    let folder = folder_of(file);
    let outside = keys::KeyFiles { folder: &folder, purpose };
    let cluster = spec::read_with(&text, &input::name(file), &outside).map_err(ProjectError::Wrong)?;
    Ok(Project { cluster, file: file.to_owned(), folder, kind: ProjectKind::Planned })
}

/// "cluster.yaml" has the parent "", which no system call takes. What comes through a pipe lies in the current folder.
fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if parent != Path::new("") && !input::is_stream(file) => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// See [`Project::path`].
fn resolve(folder: &Path, written: &str) -> PathBuf {
    match (written.strip_prefix("~/"), home::home()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => folder.join(written),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_start_beside_the_cluster_file_or_at_home() {
        let folder = Path::new("lab");
        assert_eq!(resolve(folder, "os.img"), Path::new("lab/os.img"));
        assert_eq!(resolve(folder, "/srv/os.img"), Path::new("/srv/os.img"));
        assert_eq!(resolve(folder, "~/os.img"), home::home().unwrap().join("os.img"));
        assert_eq!(resolve(folder, "~anna/os.img"), Path::new("lab/~anna/os.img"));
    }

    #[test]
    fn another_tools_inventory_is_answered_with_the_file_to_write() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("inventory");
        std::fs::write(&file, "[managers]\nred00 ansible_host=10.1.1.1\n[workers]\nred01\n").unwrap();
        assert!(hosts(&file).is_none());
        let told = load(&file).unwrap_err().render();
        assert!(told.contains("is an Ansible inventory, and neither"), "{told}");
        assert!(told.ends_with("\n\nmanager: 10.1.1.1\nworker:\n- red01\n"), "{told}");
    }

    #[test]
    fn a_loaded_project_holds_keys_and_not_their_paths() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("lab.yaml");
        let text = "version: 1\ncluster: red\nimage: os.img\nnodes: red00\nuser: {name: pi, authorized_keys: k.pub}\n";
        std::fs::write(&file, text).unwrap();
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";
        std::fs::write(folder.path().join("k.pub"), format!("{key}\n")).unwrap();
        let project = load(&file).unwrap();
        assert_eq!(project.cluster.user.authorized_keys, [key]);
        assert_eq!(project.secrets_folder(), folder.path().join("red.secrets"));
        assert_eq!(project.path("os.img"), folder.path().join("os.img"));
    }
}
