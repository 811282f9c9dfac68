//! The cluster's secrets folder: CA, certificates, SSH host keys.
//! STUB on this branch: the identities part has the real one.

use cluster::name::{ClusterId, Hostname};
use cluster::secret::Secret;

use crate::error::{Failure, Kind};
use crate::project::Project;

#[derive(Debug)]
pub struct Identities {
    pub cluster_id: ClusterId,
    pub created: u64,
}

#[derive(Debug)]
pub struct NodeMaterial {
    pub ca_pem: String,
    pub cert_pem: String,
    pub key_pem: Secret<String>,
    pub host_key: Secret<String>,
    pub host_key_public: String,
}

pub fn open(_project: &Project) -> Result<Identities, Failure> {
    let cluster_id = ClusterId::try_from("0123456789abcdef").map_err(|e| Failure::new(Kind::Failed, e))?;
    Ok(Identities { cluster_id, created: 1_700_000_001 })
}

pub fn open_or_preview(project: &Project) -> Result<Identities, Failure> {
    open(project)
}

impl Identities {
    pub fn node(&self, name: &Hostname) -> Result<NodeMaterial, Failure> {
        Ok(NodeMaterial {
            ca_pem: "the CA\n".repeat(90),
            cert_pem: format!("certificate of {name}\n").repeat(30),
            key_pem: Secret::new(format!("private key of {name}\n").repeat(10)),
            host_key: Secret::new(format!("private host key of {name}\n").repeat(14)),
            host_key_public: format!("host key of {name}\n"),
        })
    }
}
