//! What can be wrong with a secrets folder, and what to type then.

use std::error::Error;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::dir::{self, Refusal};
use crate::error::{Command, Failure, Hint, Kind, builder, hint, program};
use crate::privilege;

/// A secrets folder that cannot be used. Never a reason to make a new CA: cards made with the old one would be orphans.
#[derive(Debug, Error)]
pub(crate) enum PkiError {
    #[error("cannot {verb} {path}")]
    File { verb: &'static str, path: PathBuf, source: io::Error },
    #[error("{path} is a symbolic link")]
    Link { path: PathBuf },
    #[error("{path} is not a {wanted}")]
    WrongType { path: PathBuf, wanted: &'static str },
    #[error("{path} belongs to {}, not to {}", dir::name_of(*.owner), dir::name_of(*.wanted))]
    OtherOwner { path: PathBuf, owner: u32, wanted: u32 },
    #[error("{path} was replaced by something else at this moment")]
    Replaced { path: PathBuf },
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
    /// The record of machines that were brought in over SSH.
    Running,
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
    /// What a failed call says of a file or folder.
    pub(super) fn of(verb: &'static str, path: PathBuf, source: io::Error) -> Self {
        match Refusal::of(&source) {
            Some(Refusal::Link) => Self::Link { path },
            Some(Refusal::NotAFolder) => Self::WrongType { path, wanted: "folder" },
            Some(Refusal::NotAFile) => Self::WrongType { path, wanted: "file" },
            Some(Refusal::Owner { found, wanted }) => {
                Self::OtherOwner { path, owner: *found, wanted: *wanted }
            }
            Some(Refusal::Replaced) => Self::Replaced { path },
            _ => Self::File { verb, path, source },
        }
    }

    fn hints(&self) -> Vec<Hint> {
        match self {
            Self::File { path, source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                let seen =
                    path.ancestors().find_map(|path| Some((path, path.symlink_metadata().ok()?.uid())));
                seen.map(|(path, owner)| owner_hints(path, owner)).unwrap_or_default()
            }
            Self::Link { path } => {
                let own = "put a real one in its place";
                let real = beside(path, "real");
                vec![hint![
                    format!("{own}: "),
                    program(["cp", "-RL"]).path(path).path(&real),
                    " && ",
                    program(["rm"]).path(path),
                    " && ",
                    program(["mv"]).path(&real).path(path)
                ]]
            }
            Self::OtherOwner { path, owner, .. } => owner_hints(path, *owner),
            Self::Replaced { .. } => {
                vec!["move the cluster file to a folder that nobody else can write to".into()]
            }
            Self::File { path, source, .. } if Refusal::of(source) == Some(&Refusal::NotOurs) => {
                let folder = path.parent().unwrap_or(path);
                vec![hint!["move the folder away: ", move_away(folder)]]
            }
            Self::WrongType { path, .. } => vec![hint!["move it away: ", move_away(path)]],
            Self::Exposed { folder, .. } => vec![
                program(["chmod", "-R", "go-rwx"]).path(folder).into(),
                "if that changes nothing (FAT, NTFS): move the cluster file to a disk that keeps modes"
                    .into(),
            ],
            Self::Missing { path, whose } | Self::Damaged { path, whose, .. } => whose.hints(path),
            Self::TooNew { .. } => vec!["use the builder that made this folder, or a newer one".into()],
            Self::Foreign { folder, found, .. } => {
                let home = folder.with_file_name(format!("{found}.secrets"));
                vec![
                    hint!["move it away: ", program(["mv"]).path(folder).path(&home)],
                    "or give the cluster file its old name back under `cluster:`".into(),
                ]
            }
            Self::Absent { .. } => vec![
                hint![
                    "make the cards first: ",
                    builder(["flash"]),
                    ", or their images: ",
                    builder(["build"])
                ],
                hint!["for Pis that ran before: ", builder(["config"])],
            ],
            Self::NoNode { node, .. } => vec![
                hint![
                    "make its card first: ",
                    builder(["flash", node]),
                    ", or its image: ",
                    builder(["build", node])
                ],
                hint!["if it is a Pi that ran before: ", builder(["config"])],
            ],
            Self::Clash { node } => {
                vec![format!("call {node}-key something else in the cluster file").into()]
            }
            Self::File { .. } | Self::Make { .. } => Vec::new(),
        }
    }
}

impl Whose {
    fn hints(&self, path: &Path) -> Vec<Hint> {
        let restore = Hint::from(format!("restore {} from a backup", path.display()));
        match self {
            Self::Cluster => {
                let folder = path.parent().unwrap_or(path);
                let anew =
                    hint!["or begin anew, after which every card must be made again: ", move_away(folder)];
                let next = hint![
                    "then: ",
                    builder(["flash"]),
                    ", or for images: ",
                    builder(["build", "--force"]),
                    "; for Pis that ran before: ",
                    builder(["config", "--take-over"])
                ];
                vec![restore, anew, next]
            }
            Self::Node(name) => {
                let files = [".pem", "-key.pem", "-ssh-host-key", "-ssh-host-key.pub"];
                let files = files.map(|end| path.with_file_name(format!("{name}{end}")));
                let anew = hint![
                    format!("or give {name} a new identity, after which its card must be made again: "),
                    files.iter().fold(program(["rm", "-f"]), |rm, file| rm.path(file))
                ];
                let next = hint![
                    "then: ",
                    builder(["flash", name]),
                    ", or for its image: ",
                    builder(["build", "--force", name]),
                    "; for a Pi that ran before: ",
                    builder(["config"])
                ];
                vec![restore, anew, next]
            }
            Self::Former => vec![
                restore,
                hint![
                    "or forget that this key was ever revoked, which the manager knows, too: ",
                    program(["rm"]).path(path)
                ],
            ],
            Self::Running => vec![
                restore,
                hint![
                    "or delete it. Then builder no longer knows which machine has which node's key: each machine gets a new key \
                     under the name that it has, or is asked about, and nodes that are no longer in the file stay in the swarm: ",
                    program(["rm"]).path(path)
                ],
                hint!["then: ", builder(["config"])],
            ],
            Self::Nobody => vec![hint!["it is only a memory of addresses: ", program(["rm"]).path(path)]],
        }
    }
}

/// What to type about a file or folder that may belong to another user.
fn owner_hints(path: &Path, owner: u32) -> Vec<Hint> {
    let me = rustix::process::geteuid().as_raw();
    let mut hints: Vec<_> = privilege::to_act_as(owner).into_iter().collect();
    // Root needs no file to be its own, and the owner would lose it.
    if owner == me || me == 0 {
        return hints;
    }
    if owner != 0 {
        let owner = dir::name_of(owner);
        hints.push(format!("do not use it unless you know who made it: {owner} can read its keys").into());
    }
    // By number: in a shell of root's, `id -u` would say 0.
    hints.push(hint!["if it is yours: ", program(["chown", "-R", &me.to_string()]).path(path).sudo()]);
    hints
}

/// The path with an ending added to its name.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{ending}"));
    name.into()
}

/// Renames a file or folder out of the way.
fn move_away(path: &Path) -> Command {
    program(["mv"]).path(path).path(&beside(path, "old"))
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
