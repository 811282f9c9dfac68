//! TLS as the operator speaks it: 1.3 only, the cluster's CA and nobody else, always with a certificate.

use std::collections::BTreeSet;
use std::sync::Arc;

use cluster::name::KeyId;
use cluster::peer;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, Error, RootCertStore};
use sha2::{Digest as _, Sha256};

use crate::pki::OperatorMaterial;

/// The configuration for a connection to the manager, which must not have a revoked key.
pub(super) fn config(operator: &OperatorMaterial, revoked: BTreeSet<KeyId>) -> Result<ClientConfig, Error> {
    let pem = |error: PemError| Error::General(error.to_string());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(operator.ca_pem.as_bytes()).map_err(pem)?)?;
    let certificate = CertificateDer::from_pem_slice(operator.cert_pem.as_bytes()).map_err(pem)?;
    let key = PrivateKeyDer::from_pem_slice(operator.key_pem.expose().as_bytes()).map_err(pem)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let is_revoked = move |key: &[u8]| revoked.contains(&KeyId::from_sha256(Sha256::digest(key).into()));
    let verifier = peer::verifier(Arc::new(roots), Arc::clone(&provider), is_revoked)
        .map_err(|error| Error::General(error.to_string()))?;
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(vec![certificate], key)
}
