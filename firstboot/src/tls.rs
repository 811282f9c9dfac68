//! TLS 1.3 between nodes of one cluster: both sides show a certificate of the cluster's CA, and nothing else is trusted.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cluster::identity::Identity;
use cluster::name::KeyId;
use cluster::wire::{Cause, ProblemCode};
use cluster::{card, peer};
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::host::{Host, HostError};

/// Why the node's identity cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file could not be read.
    #[error("cannot read the identity")]
    Read(#[source] HostError),
    /// A file is not there.
    #[error("{0} is missing")]
    Missing(PathBuf),
    /// A file is not PEM of the right kind.
    #[error("{path} is damaged")]
    Pem {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// Certificate and key do not make an identity.
    #[error("the node's certificate and key cannot be used")]
    Config(#[source] rustls::Error),
    /// The CA cannot be used to verify peers.
    #[error("the cluster's CA certificate cannot be used")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
}

impl TlsError {
    /// What a person can do something about.
    pub(crate) fn cause(&self) -> Option<Cause> {
        match self {
            Self::Read(source) => source.cause(),
            Self::Missing(_) | Self::Pem { .. } | Self::Config(_) | Self::Verifier(_) => {
                Some(ProblemCode::PayloadDamaged.into())
            }
        }
    }
}

/// This node's certificate and key, and the CA that all peers must have.
pub struct Credentials {
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    /// Keys that a manager must not have.
    revoked: BTreeSet<KeyId>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(..)")
    }
}

/// The holder that a certificate names and its key, unverified.
pub(crate) fn holder(der: &[u8]) -> Option<(Identity, KeyId)> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some((peer::holder(&certificate)?, key_id(certificate.public_key().raw)?))
}

/// The id of a public key (DER, SubjectPublicKeyInfo).
fn key_id(public_key: &[u8]) -> Option<KeyId> {
    let digest = ring::digest::digest(&ring::digest::SHA256, public_key);
    Some(KeyId::from_sha256(digest.as_ref().try_into().ok()?))
}

/// The holder that the first certificate of a PEM file names.
pub(crate) fn holder_of_pem(pem: &[u8]) -> Option<Identity> {
    holder(&CertificateDer::from_pem_slice(pem).ok()?).map(|(identity, _)| identity)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

impl Credentials {
    /// Reads the files the seed stage left in the state folder.
    pub fn load(host: &dyn Host, folder: &Path) -> Result<Self, TlsError> {
        let file = |name: &str| {
            let path = folder.join(name);
            match host.read(&path) {
                Ok(Some(bytes)) => Ok((path, bytes)),
                Ok(None) => Err(TlsError::Missing(path)),
                Err(error) => Err(TlsError::Read(error)),
            }
        };
        let certificates = |name: &str| {
            let (path, bytes) = file(name)?;
            match CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>() {
                Ok(found) if found.is_empty() => {
                    Err(TlsError::Pem { path, source: pem::Error::NoItemsFound })
                }
                found => found.map_err(|source| TlsError::Pem { path, source }),
            }
        };
        let mut roots = RootCertStore::empty();
        for certificate in certificates(card::CA)? {
            roots.add(certificate).map_err(TlsError::Config)?;
        }
        let (path, bytes) = file(card::NODE_KEY)?;
        let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|source| TlsError::Pem { path, source })?;
        let chain = certificates(card::NODE_CERT)?;
        Ok(Self { roots: Arc::new(roots), chain, key, revoked: BTreeSet::new() })
    }

    /// The same for a node that knows which keys were revoked: it takes no machine with one of them for a manager.
    #[must_use]
    pub fn refusing(self, revoked: BTreeSet<KeyId>) -> Self {
        Self { revoked, ..self }
    }

    /// The id of this node's key.
    ///
    /// # Errors
    /// When the certificate is not one of this product's.
    pub(crate) fn key_id(&self) -> Result<KeyId, TlsError> {
        let holder = self.chain.first().and_then(|own| holder(own));
        holder.map(|(_, key)| key).ok_or(TlsError::Config(rustls::Error::NoCertificatesPresented))
    }

    /// What the API accepts: TLS 1.3, a client certificate of this cluster's CA, no early data (it could be replayed).
    pub fn server(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let verifier: Arc<dyn ClientCertVerifier> =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&self.roots), provider())
                .build()
                .map_err(TlsError::Verifier)?;
        let config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(TlsError::Config)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .map_err(TlsError::Config)?;
        Ok(Arc::new(config))
    }

    /// What this node offers to a manager.
    pub fn client(&self) -> Result<ClientConfig, TlsError> {
        let revoked = self.revoked.clone();
        let is_revoked = move |key: &[u8]| key_id(key).is_none_or(|id| revoked.contains(&id));
        let verifier =
            peer::verifier(Arc::clone(&self.roots), provider(), is_revoked).map_err(TlsError::Verifier)?;
        ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(TlsError::Config)?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())
            .map_err(TlsError::Config)
    }
}

/// A configuration that trusts nobody, for a client that speaks plain HTTP only: without it reqwest would load the
/// machine's trust store.
pub(crate) fn nobody() -> Result<ClientConfig, TlsError> {
    Ok(ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Config)?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}
