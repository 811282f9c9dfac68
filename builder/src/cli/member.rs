//! Which members of the swarm the command line means: by name, by range, or by Swarm node id. Decided before anything
//! is changed, so that a word that is wrong changes nothing.

use std::io;

use cluster::range::{self, RangeError};
use cluster::text::printable;
use cluster::wire::{DetailNode, SwarmDetail, SwarmEntry};
use thiserror::Error;

use crate::error::{Failure, Kind, builder, hint};

/// A member that is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    /// Its host name, fit for a terminal.
    pub(super) name: String,
    /// Its Swarm node id.
    pub(super) id: String,
}

/// Why a word means none, or why nothing could be said of it.
#[derive(Debug, Error)]
pub(super) enum MemberError {
    #[error("`{text}` {reason}")]
    Range { text: String, reason: RangeError },
    #[error("the swarm has no node {0}")]
    Unknown(String),
    #[error("{0} is not a member of the swarm")]
    Absent(String),
    #[error("the swarm has {} entries named {name}: {}", ids.len(), ids.join(", "))]
    Twice { name: String, ids: Vec<String> },
    #[error("cannot print the result")]
    Print(#[source] io::Error),
    #[error("cannot make JSON of the result")]
    Json(#[source] serde_json::Error),
}

impl From<MemberError> for Failure {
    fn from(error: MemberError) -> Self {
        let (kind, hint) = match &error {
            MemberError::Range { reason, .. } => (Kind::Usage, reason.advice().into()),
            MemberError::Unknown(_) => (Kind::Usage, hint![builder(["ls"]), " shows the nodes"]),
            MemberError::Absent(_) => (Kind::NotAsWanted, hint![builder(["status"]), " shows what it is at"]),
            MemberError::Twice { .. } => (Kind::Usage, "name one of them by its id".into()),
            MemberError::Print(_) | MemberError::Json(_) => return Self::new(Kind::Failed, error),
        };
        Self::new(kind, error).hint(hint)
    }
}

/// The members that the words mean, each once, in the words' order.
pub(super) fn find(words: &[String], swarm: &SwarmDetail) -> Result<Vec<Member>, MemberError> {
    let mut members = Vec::new();
    for word in words {
        let names =
            range::expand(word).map_err(|reason| MemberError::Range { text: printable(word), reason })?;
        for name in names {
            let member = find_one(&name, swarm)?;
            if !members.contains(&member) {
                members.push(member);
            }
        }
    }
    Ok(members)
}

fn find_one(name: &str, swarm: &SwarmDetail) -> Result<Member, MemberError> {
    let member =
        |node: &DetailNode, entry: &SwarmEntry| Member { name: printable(&node.name), id: entry.id.clone() };
    let is_planned = swarm.nodes.iter().any(|node| node.name == name);
    let entries = swarm.nodes.iter().filter_map(|node| Some((node, node.swarm.as_ref()?)));
    let by_id = entries.clone().find(|(_, entry)| entry.id == name);
    let entries: Vec<_> = entries.filter(|(node, _)| node.name == name).collect();
    match (by_id, &entries[..]) {
        (Some((node, entry)), _) | (None, &[(node, entry)]) => Ok(member(node, entry)),
        (None, []) if !is_planned => Err(MemberError::Unknown(printable(name))),
        (None, []) => Err(MemberError::Absent(printable(name))),
        (None, _) => {
            let told = entries.iter().map(|(_, entry)| printable(&format!("{} ({})", entry.id, entry.state)));
            Err(MemberError::Twice { name: printable(name), ids: told.collect() })
        }
    }
}
