//! The names in certificates: who somebody is, as a URI, and which DNS name their certificate answers to.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::name::{ClusterId, Hostname};

/// What a node does in the swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Keeps the cluster's state and serves our API.
    Manager,
    /// Runs tasks.
    Worker,
}

impl Role {
    /// The word used in files, certificates and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Manager => "manager",
            Self::Worker => "worker",
        }
    }
}

/// Who holds a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// The person with the laptop.
    Operator,
    /// One Pi.
    Node {
        /// Its role, which decides what it may ask for.
        role: Role,
        /// Its planned name.
        name: Hostname,
    },
}

/// A certificate's holder within one cluster. Carried as a URI subject alternative name,
/// `builder://<cluster-id>/<role>/<node>` or `builder://<cluster-id>/operator`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Whose CA signed it.
    pub cluster: ClusterId,
    /// Who it is.
    pub holder: Holder,
}

/// The URI of a certificate is not one of ours.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the certificate's name {0:?} is not builder://<cluster-id>/<role>/<node>")]
pub struct IdentityError(pub String);

impl Identity {
    /// The URI subject alternative name.
    pub fn to_uri(&self) -> String {
        match &self.holder {
            Holder::Operator => format!("builder://{}/operator", self.cluster),
            Holder::Node { role, name } => format!("builder://{}/{}/{name}", self.cluster, role.as_str()),
        }
    }

    /// Reads a URI subject alternative name. Anything that [`Self::to_uri`] would not write is an error.
    pub fn from_uri(uri: &str) -> Result<Self, IdentityError> {
        let error = || IdentityError(uri.to_owned());
        let rest = uri.strip_prefix("builder://").ok_or_else(error)?;
        let mut parts = rest.split('/');
        let cluster = parts.next().and_then(|id| ClusterId::try_from(id).ok()).ok_or_else(error)?;
        let holder = match (parts.next(), parts.next(), parts.next()) {
            (Some("operator"), None, None) => Holder::Operator,
            (Some(role), Some(name), None) => {
                let role = match role {
                    "manager" => Role::Manager,
                    "worker" => Role::Worker,
                    _ => return Err(error()),
                };
                Holder::Node { role, name: Hostname::try_from(name).map_err(|_| error())? }
            }
            _ => return Err(error()),
        };
        Ok(Self { cluster, holder })
    }
}

/// The DNS name a node's certificate answers to, whatever address led there. `.internal` is reserved for
/// private use (ICANN, 2024), so no resolver can give it to somebody else.
pub fn dns_name(cluster: &ClusterId, node: &Hostname) -> String {
    format!("{node}.{cluster}.internal")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> ClusterId {
        ClusterId::try_from("0123456789abcdef").unwrap()
    }

    #[test]
    fn reads_back_what_it_writes() {
        let node = Holder::Node { role: Role::Worker, name: Hostname::try_from("red03").unwrap() };
        for holder in [Holder::Operator, node] {
            let identity = Identity { cluster: id(), holder };
            assert_eq!(Identity::from_uri(&identity.to_uri()), Ok(identity));
        }
    }

    #[test]
    fn refuses_everything_else() {
        for uri in [
            "",
            "https://0123456789abcdef/operator",
            "builder://0123456789abcdef",
            "builder://0123456789abcdef/operator/red00",
            "builder://0123456789abcdef/admin/red00",
            "builder://0123456789abcdef/worker/red00/x",
            "builder://0123456789abcdef/worker/Red00",
            "builder://short/worker/red00",
        ] {
            assert!(Identity::from_uri(uri).is_err(), "{uri}");
        }
    }
}
