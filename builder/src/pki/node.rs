//! One node's four files, and what is made when some of them are not there.
//!
//! A key belongs to one machine in one role. For another machine or role the former certificate goes to the revoked ones first,
//! then a new key replaces the former, then its certificate. A run that is killed in between leaves a key that counts as
//! revoked, or a certificate over it beside the new key, and the next run makes the rest.

use std::collections::BTreeSet;

use cluster::identity::{Holder, Identity};
use cluster::name::{Hostname, KeyId};
use cluster::secret::Secret;

use super::authority::{self, Authority};
use super::error::{PkiError, Whose};
use super::folder::{Folder, NODES, NewFile};
use super::{NodeMaterial, cannot_make, other_name, revoked, ssh};

/// Whether a node needs a new key.
pub(super) struct Renewal<'a> {
    /// All keys that are revoked; those that are replaced here are added.
    pub(super) revoked: &'a mut BTreeSet<KeyId>,
    /// Whether the node gets a new key in any case.
    pub(super) is_wanted: bool,
}

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
        (authority, identity): (&Authority, &Identity),
        renewal: Renewal<'_>,
        new: &mut Vec<NewFile>,
    ) -> Result<NodeMaterial, PkiError> {
        let (key_pem, cert_pem) = self.certificate((authority, identity), renewal, new)?;
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
        (authority, identity): (&Authority, &Identity),
        Renewal { revoked, is_wanted }: Renewal<'_>,
        new: &mut Vec<NewFile>,
    ) -> Result<(String, String), PkiError> {
        let (key_pem, key) = match (&self.key, &self.cert) {
            (Some(pem), _) => {
                (pem, authority::read_key(pem).map_err(|error| self.damaged("-key.pem", error))?)
            }
            (None, Some(_)) => return Err(self.missing("-key.pem")),
            (None, None) => return self.make(authority, identity, new),
        };
        let own = authority::private_key_id(key_pem).map_err(|error| self.damaged("-key.pem", error))?;
        let mut keep = |is_spent: bool| match is_spent {
            true => self.make(authority, identity, new),
            false => Ok((key_pem.clone(), self.issue(authority, identity, &key, new)?)),
        };
        let Some(cert) = &self.cert else {
            // Nobody was given a key without a certificate.
            return keep(is_wanted || revoked.contains(&own));
        };
        let certified = self.key_id()?;
        // What a killed run left, see the module.
        if certified.as_ref().is_some_and(|id| *id != own && revoked.contains(id)) {
            return keep(is_wanted || revoked.contains(&own));
        }
        let found = authority.check(cert, &key).map_err(|error| self.damaged(".pem", error))?;
        if found != *identity && !is_other_role(&found, identity) {
            return Err(self.damaged(".pem", other_name(&found, identity)));
        }
        if found == *identity && !is_wanted && !revoked.contains(&own) {
            return Ok((key_pem.clone(), cert.clone()));
        }
        if revoked.insert(own.clone()) {
            new.push(NewFile::new(revoked::certificate_name(self.node, &own), cert.clone()));
        }
        self.make(authority, identity, new)
    }

    /// Makes a key and a certificate, in place of those that are there.
    fn make(
        &self,
        authority: &Authority,
        identity: &Identity,
        new: &mut Vec<NewFile>,
    ) -> Result<(String, String), PkiError> {
        let key = authority::make_key().map_err(cannot_make("a node's key"))?;
        let pem = key.serialize_pem();
        let replaces = self.key.is_some();
        new.push(NewFile { replaces, ..NewFile::new(file_name(self.node, "-key.pem"), pem.clone()) });
        Ok((pem, self.issue(authority, identity, &key, new)?))
    }

    /// Makes a certificate, in place of the one that is there.
    fn issue(
        &self,
        authority: &Authority,
        identity: &Identity,
        key: &rcgen::KeyPair,
        new: &mut Vec<NewFile>,
    ) -> Result<String, PkiError> {
        let cert = authority.issue(identity, key).map_err(cannot_make("a node's certificate"))?;
        let replaces = self.cert.is_some();
        new.push(NewFile { replaces, ..NewFile::new(file_name(self.node, ".pem"), cert.clone()) });
        Ok(cert)
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
