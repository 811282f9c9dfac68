//! A node's proof that an entry of Swarm's node list is its own.
//!
//! Docker takes a node's host name from the machine itself, so a name in the list proves nothing. Swarm's own certificate of
//! the node does: its subject's common name is the id of the entry, chosen by the managers (SwarmKit, ca/certificates.go,
//! `RootCA.ParseValidateAndSignCSR`), and only the node has the key. The node signs a statement with that key; the manager
//! checks the signature, and that the certificate comes from the root of its own swarm.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use cluster::name::{ClusterId, Hostname, KeyId};
use cluster::wire::Proof;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use thiserror::Error;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::host::{Host, HostError};

/// Where the engine keeps the node's certificate and key, below its data folder.
const FOLDER: &str = "swarm/certificates";
/// Longest certificate file that is sent or read, in bytes. SwarmKit's have 700 to 1500.
const CERTIFICATE_LIMIT: usize = 8 * 1024;
/// Most certificates in it: the node's own, and intermediates of an external CA.
const CHAIN_LIMIT: usize = 4;
/// Longest signature, in characters: ECDSA P-256 in DER has at most 72 bytes.
const SIGNATURE_LIMIT: usize = 100;

/// Why there is no proof.
#[derive(Debug, Error)]
pub(crate) enum ProofError {
    /// The engine's files cannot be read.
    #[error("cannot read Swarm's certificate of this node")]
    Read(#[source] HostError),
    /// The engine has none, or in another form.
    #[error("the engine has no certificate and key of this node that can be used")]
    Unusable,
    /// A certificate or signature is not what it should be.
    #[error("the proof is malformed")]
    Malformed,
    /// The certificate is of another root.
    #[error("the certificate does not come from this swarm")]
    Foreign(#[source] rustls::Error),
    /// The certificate is of another entry.
    #[error("the certificate is for another entry of the node list")]
    OtherEntry,
    /// The signature is not of the certificate's key.
    #[error("the signature is wrong")]
    Signature,
}

/// What is proved: that the holder of a key of this cluster's is an entry of the node list. A statement for one node, key,
/// entry or request of a manager is worth nothing for another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Statement<'a> {
    pub(crate) cluster: &'a ClusterId,
    pub(crate) node: &'a Hostname,
    /// Of the certificate that the node's connection uses.
    pub(crate) key: &'a KeyId,
    /// The Swarm id.
    pub(crate) entry: &'a str,
    /// What the manager chose at random.
    pub(crate) nonce: &'a str,
}

impl Statement<'_> {
    fn bytes(&self) -> Vec<u8> {
        let Self { cluster, node, key, entry, nonce } = self;
        // No part contains a line end: names and ids have rules of their own, the manager made the nonce, and ids are compared
        // with the certificate's.
        format!("builder: Swarm entry of a node, version 1\n{cluster}\n{node}\n{key}\n{entry}\n{nonce}\n")
            .into_bytes()
    }

    /// Signs the statement with the key of the engine whose data folder is `root`.
    pub(crate) fn prove(&self, host: &dyn Host, root: &Path) -> Result<Proof, ProofError> {
        let read = |name: &str| match host.read(&root.join(FOLDER).join(name)) {
            Ok(Some(bytes)) if bytes.len() <= CERTIFICATE_LIMIT => {
                String::from_utf8(bytes).map_err(|_| ProofError::Unusable)
            }
            Ok(_) => Err(ProofError::Unusable),
            Err(error) => Err(ProofError::Read(error)),
        };
        let key = without_headers(&read("swarm-node.key")?);
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| ProofError::Unusable)?;
        let key = rustls::crypto::ring::sign::any_ecdsa_type(&key).map_err(|_| ProofError::Unusable)?;
        let signer =
            key.choose_scheme(&[SignatureScheme::ECDSA_NISTP256_SHA256]).ok_or(ProofError::Unusable)?;
        let signature = signer.sign(&self.bytes()).map_err(|_| ProofError::Unusable)?;
        Ok(Proof { certificate: read("swarm-node.crt")?, signature: BASE64_STANDARD.encode(signature) })
    }

    /// Checks a proof. `roots` is the swarm's own root in PEM; while Swarm changes it, there are several.
    ///
    /// Dates do not count: the engine itself refuses certificates that are out of date, and clocks are set while a swarm forms.
    pub(crate) fn check(&self, proof: &Proof, roots: &str) -> Result<(), ProofError> {
        if proof.certificate.len() > CERTIFICATE_LIMIT || proof.signature.len() > SIGNATURE_LIMIT {
            return Err(ProofError::Malformed);
        }
        let chain = CertificateDer::pem_slice_iter(proof.certificate.as_bytes());
        let chain: Vec<_> =
            chain.take(CHAIN_LIMIT).collect::<Result<_, _>>().map_err(|_| ProofError::Malformed)?;
        let (own, intermediates) = chain.split_first().ok_or(ProofError::Malformed)?;
        let (_, certificate) = X509Certificate::from_der(own).map_err(|_| ProofError::Malformed)?;
        let expiry = u64::try_from(certificate.validity().not_after.timestamp());
        let expiry =
            UnixTime::since_unix_epoch(Duration::from_secs(expiry.map_err(|_| ProofError::Malformed)?));
        verifier(roots)?.verify_client_cert(own, intermediates, expiry).map_err(ProofError::Foreign)?;
        let mut names = certificate.subject().iter_common_name().map(|name| name.as_str().ok());
        if names.next() != Some(Some(self.entry)) || names.next().is_some() {
            return Err(ProofError::OtherEntry);
        }
        let signature = BASE64_STANDARD.decode(&proof.signature).map_err(|_| ProofError::Malformed)?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &certificate.public_key().subject_public_key.data)
            .verify(&self.bytes(), &signature)
            .map_err(|_| ProofError::Signature)
    }
}

fn verifier(roots: &str) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, ProofError> {
    let mut store = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(roots.as_bytes()) {
        store.add(root.map_err(|_| ProofError::Unusable)?).map_err(ProofError::Foreign)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider)
        .build()
        .map_err(|_| ProofError::Unusable)
}

/// SwarmKit writes headers such as `kek-version: 0` into the PEM of the key (ca/keyreadwriter.go), which is RFC 1421 and not
/// RFC 7468.
fn without_headers(pem: &str) -> String {
    pem.lines().filter(|line| !line.contains(':') && !line.is_empty()).flat_map(|line| [line, "\n"]).collect()
}

#[cfg(test)]
pub(crate) mod tests;
