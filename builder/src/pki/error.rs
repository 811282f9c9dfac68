//! What can be wrong with a secrets folder, and what to type then.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::error::{Failure, Kind};
use crate::typed::path as quoted;

/// A secrets folder that cannot be used. Never a reason to make a new CA: cards made with the old one would be orphans.
#[derive(Debug, Error)]
pub(crate) enum PkiError {
    #[error("cannot {verb} {path}")]
    File { verb: &'static str, path: PathBuf, source: io::Error },
    #[error("{path} is a symbolic link")]
    Link { path: PathBuf },
    #[error("{path} is not a {wanted}")]
    WrongType { path: PathBuf, wanted: &'static str },
    #[error("others than you may read {path} (its mode is {mode:03o})")]
    Exposed { path: PathBuf, mode: u32, folder: PathBuf },
    #[error("the secrets folder is not whole: {path} is missing")]
    Missing { path: PathBuf, whose: Whose },
    #[error("{path} is damaged")]
    Damaged { path: PathBuf, whose: Whose, source: Box<dyn Error + Send + Sync> },
    #[error("{path} was written by a newer builder (version {found}, this builder knows {known})")]
    TooNew { path: PathBuf, found: u32, known: u32 },
    #[error("{folder} belongs to cluster {found}, not to {wanted}")]
    Foreign { folder: PathBuf, found: String, wanted: String },
    #[error("the secrets folder {folder} does not exist")]
    Absent { folder: PathBuf },
    #[error("{node} has no identity in {folder} yet")]
    NoNode { folder: PathBuf, node: String },
    #[error("files of the nodes {node} and {node}-key would have the same name")]
    Clash { node: String },
    #[error("cannot make {what}")]
    Make { what: &'static str, source: Box<dyn Error + Send + Sync> },
}

/// What is lost with a file.
#[derive(Debug, Clone)]
pub(crate) enum Whose {
    /// The cluster's own identity.
    Cluster,
    /// One node's.
    Node(String),
    /// The memory of a node's former key.
    Former,
    /// Nothing that could not be found out again.
    Nobody,
}

impl From<PkiError> for Failure {
    fn from(error: PkiError) -> Self {
        let hints = error.hints();
        hints.into_iter().fold(Self::new(Kind::Failed, error), Self::hint)
    }
}

impl PkiError {
    fn hints(&self) -> Vec<String> {
        match self {
            Self::File { path, source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                let path = path.parent().unwrap_or(path);
                vec![format!("if it belongs to another user: sudo chown -R \"$(id -u)\" {}", quoted(path))]
            }
            Self::Link { path } => {
                let own = "put a real one in its place";
                vec![format!("{own}: cp -RL {0} {0}.real && rm {0} && mv {0}.real {0}", quoted(path))]
            }
            Self::WrongType { path, .. } => vec![format!("move it away: mv {0} {0}.old", quoted(path))],
            Self::Exposed { folder, .. } => vec![
                format!("chmod -R go= {}", quoted(folder)),
                "if that changes nothing (FAT, NTFS): move the cluster file to a disk that keeps modes"
                    .to_owned(),
            ],
            Self::Missing { path, whose } | Self::Damaged { path, whose, .. } => whose.hints(path),
            Self::TooNew { .. } => vec!["use the builder that made this folder, or a newer one".to_owned()],
            Self::Foreign { folder, found, .. } => {
                let home = folder.with_file_name(format!("{found}.secrets"));
                vec![
                    format!("move it away: mv {} {}", quoted(folder), quoted(&home)),
                    "or give the cluster file its old name back under `cluster:`".to_owned(),
                ]
            }
            Self::Absent { .. } => vec![
                "make the cards first: sudo builder flash, or their images: builder build".to_owned(),
                "for Pis that ran before: builder config".to_owned(),
            ],
            Self::NoNode { node, .. } => vec![
                format!("make its card first: sudo builder flash {node}, or its image: builder build {node}"),
                "if it is a Pi that ran before: builder config".to_owned(),
            ],
            Self::Clash { node } => vec![format!("call {node}-key something else in the cluster file")],
            Self::File { .. } | Self::Make { .. } => Vec::new(),
        }
    }
}

impl Whose {
    fn hints(&self, path: &Path) -> Vec<String> {
        let restore = format!("restore {} from a backup", quoted(path));
        match self {
            Self::Cluster => {
                let folder = path.parent().unwrap_or(path);
                let anew = format!(
                    "or begin anew, after which every card must be made again: mv {0} {0}.old",
                    quoted(folder)
                );
                let next = "then: sudo builder flash, or for images: builder build --force; for Pis that ran before: builder \
                            config --take-over";
                vec![restore, anew, next.to_owned()]
            }
            Self::Node(name) => {
                let stem = path.with_file_name(name);
                let anew = format!(
                    "or give {name} a new identity, after which its card must be made again: \
                     rm -f {0}.pem {0}-key.pem {0}-ssh-host-key {0}-ssh-host-key.pub",
                    quoted(&stem)
                );
                let next = format!(
                    "then: sudo builder flash {name}, or for its image: builder build --force {name}; for a Pi that ran \
                     before: builder config"
                );
                vec![restore, anew, next]
            }
            Self::Former => vec![
                restore,
                format!(
                    "or forget that this key was ever revoked, which the manager knows, too: rm {}",
                    quoted(path)
                ),
            ],
            Self::Nobody => vec![format!("it is only a memory of addresses: rm {}", quoted(path))],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_node_key_does_not_cost_the_whole_folder() {
        let path = PathBuf::from("red.secrets/nodes/red03-key.pem");
        let lost = PkiError::Missing { path, whose: Whose::Node("red03".to_owned()) };
        let text = Failure::from(lost).render();
        assert!(
            text.contains("rm -f red.secrets/nodes/red03.pem red.secrets/nodes/red03-key.pem "),
            "{text}"
        );
        assert!(!text.contains("red.secrets.old"), "{text}");
    }
}
