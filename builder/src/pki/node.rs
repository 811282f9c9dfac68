//! One node's four files, and what is made when some of them are not there.

use cluster::identity::{Holder, Identity};
use cluster::name::{Hostname, KeyId};
use cluster::secret::Secret;

use super::authority::{self, Authority};
use super::error::{PkiError, Whose};
use super::folder::{Folder, NODES, NewFile};
use super::{NodeMaterial, cannot_make, other_name, ssh};

/// What the folder has of a node.
pub(super) struct Files<'a> {
    folder: Option<&'a Folder>,
    node: &'a Hostname,
    cert: Option<String>,
    key: Option<String>,
    host_key: Option<String>,
    host_key_public: Option<String>,
}

impl<'a> Files<'a> {
    /// Reads them; a folder that does not exist yet has none.
    pub(super) fn read(folder: Option<&'a Folder>, node: &'a Hostname) -> Result<Self, PkiError> {
        let read = |what: &str| match folder {
            Some(folder) => folder.read(&file_name(node, what)),
            None => Ok(None),
        };
        Ok(Self {
            folder,
            node,
            cert: read(".pem")?,
            key: read("-key.pem")?,
            host_key: read("-ssh-host-key")?,
            host_key_public: read("-ssh-host-key.pub")?,
        })
    }

    /// The id of its key; `None` when it has none.
    pub(super) fn key_id(&self) -> Result<Option<KeyId>, PkiError> {
        // A revocation that was cut short has moved the key and left the certificate.
        let id = match (&self.cert, &self.key) {
            (Some(cert), _) => {
                authority::certificate_key_id(cert).map_err(|error| self.damaged(".pem", error))
            }
            (None, Some(key)) => {
                authority::private_key_id(key).map_err(|error| self.damaged("-key.pem", error))
            }
            (None, None) => return Ok(None),
        };
        id.map(Some)
    }

    /// Whether nothing has to be made.
    pub(super) fn is_complete(&self) -> bool {
        self.cert.is_some() && self.key.is_some() && self.host_key.is_some() && self.host_key_public.is_some()
    }

    /// Checks what is there, makes what is not, and appends what was made to `new`: private halves first, because
    /// a public half alone cannot be completed.
    pub(super) fn complete(
        self,
        authority: &Authority,
        identity: &Identity,
        new: &mut Vec<NewFile>,
    ) -> Result<NodeMaterial, PkiError> {
        let (key_pem, cert_pem) = self.certificate(authority, identity, new)?;
        let (host_key, host_key_public) = self.host_key(new)?;
        Ok(NodeMaterial {
            ca_pem: authority.pem().to_owned(),
            cert_pem,
            key_pem: Secret::new(key_pem),
            host_key: Secret::new(host_key),
            host_key_public,
        })
    }

    fn certificate(
        &self,
        authority: &Authority,
        identity: &Identity,
        new: &mut Vec<NewFile>,
    ) -> Result<(String, String), PkiError> {
        let key = match (&self.key, &self.cert) {
            (Some(pem), _) => authority::read_key(pem).map_err(|error| self.damaged("-key.pem", error))?,
            (None, Some(_)) => return Err(self.missing("-key.pem")),
            (None, None) => {
                let key = authority::make_key().map_err(cannot_make("a node's key"))?;
                new.push(NewFile::new(file_name(self.node, "-key.pem"), key.serialize_pem()));
                key
            }
        };
        let issue = || authority.issue(identity, &key).map_err(cannot_make("a node's certificate"));
        let name = file_name(self.node, ".pem");
        let cert = match &self.cert {
            None => {
                let cert = issue()?;
                new.push(NewFile::new(name, cert.clone()));
                cert
            }
            Some(cert) => {
                let found = authority.check(cert, &key).map_err(|error| self.damaged(".pem", error))?;
                if found == *identity {
                    cert.clone()
                } else if is_other_role(&found, identity) {
                    let cert = issue()?;
                    new.push(NewFile { replaces: true, ..NewFile::new(name, cert.clone()) });
                    cert
                } else {
                    return Err(self.damaged(".pem", other_name(&found, identity)));
                }
            }
        };
        Ok((self.key.clone().unwrap_or_else(|| key.serialize_pem()), cert))
    }

    fn host_key(&self, new: &mut Vec<NewFile>) -> Result<(String, String), PkiError> {
        let public_name = file_name(self.node, "-ssh-host-key.pub");
        match (&self.host_key, &self.host_key_public) {
            (Some(private), Some(public)) => {
                ssh::public_half(private).map_err(|error| self.damaged("-ssh-host-key", error))?;
                ssh::check_public_half(private, public)
                    .map_err(|error| self.damaged("-ssh-host-key.pub", error))?;
                Ok((private.clone(), public.clone()))
            }
            (Some(private), None) => {
                let public =
                    ssh::public_half(private).map_err(|error| self.damaged("-ssh-host-key", error))?;
                new.push(NewFile::new(public_name, public.clone()));
                Ok((private.clone(), public))
            }
            (None, Some(_)) => Err(self.missing("-ssh-host-key")),
            (None, None) => {
                let (private, public) =
                    ssh::make_host_key(self.node).map_err(cannot_make("a node's SSH host key"))?;
                new.push(NewFile::new(file_name(self.node, "-ssh-host-key"), private.clone()));
                new.push(NewFile::new(public_name, public.clone()));
                Ok((private, public))
            }
        }
    }

    fn missing(&self, what: &str) -> PkiError {
        PkiError::Missing { path: self.path(what), whose: Whose::Node(self.node.to_string()) }
    }

    fn damaged(&self, what: &str, error: impl std::error::Error + Send + Sync + 'static) -> PkiError {
        let whose = Whose::Node(self.node.to_string());
        PkiError::Damaged { path: self.path(what), whose, source: error.into() }
    }

    fn path(&self, what: &str) -> std::path::PathBuf {
        let name = file_name(self.node, what);
        self.folder.map_or_else(|| name.clone().into(), |folder| folder.path(&name))
    }
}

fn file_name(node: &Hostname, what: &str) -> String {
    format!("{NODES}/{node}{what}")
}

/// Whether it is the same node, in another role than the cluster file gives it now.
fn is_other_role(found: &Identity, wanted: &Identity) -> bool {
    let node = |identity: &Identity| match &identity.holder {
        Holder::Node { name, .. } => Some(name.clone()),
        Holder::Operator => None,
    };
    found.cluster == wanted.cluster && node(found).is_some() && node(found) == node(wanted)
}
