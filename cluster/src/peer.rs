//! Being sure of a manager: its certificate is signed by this cluster's CA and names it, and its key was not revoked. If
//! another CA signed it, the error says whom it names, so that a person learns which cluster's machine answered.

use std::fmt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::server::VerifierBuilderError;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::identity::{Holder, Identity};
use crate::name::ClusterId;

/// A certificate that another CA signed. Nobody has proved anything: the name is what the certificate says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the certificate is of another CA{}", said(.holder.as_ref()))]
pub struct OtherCa {
    /// Whom it names, if that is a name of builder's.
    pub holder: Option<Identity>,
}

fn said(holder: Option<&Identity>) -> String {
    holder.map(|holder| format!(" and names {}", holder.to_uri())).unwrap_or_default()
}

impl OtherCa {
    /// What a failed handshake says of the certificate.
    pub fn of(error: &CertificateError) -> Option<&Self> {
        match error {
            CertificateError::Other(OtherError(other)) => other.downcast_ref(),
            _ => None,
        }
    }

    /// Whose certificate it is, if it names a node of another cluster than `own`.
    pub fn foreigner(&self, own: &ClusterId) -> Option<&Identity> {
        let is_node = |holder: &&Identity| matches!(holder.holder, Holder::Node { .. });
        self.holder.as_ref().filter(|holder| holder.cluster != *own).filter(is_node)
    }
}

/// The holder that a certificate names, unverified. `None` without a name of builder's, and with two: they would leave open
/// which one counts.
pub fn holder(certificate: &X509Certificate<'_>) -> Option<Identity> {
    let names = certificate.subject_alternative_name().ok()??;
    let mut uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let only = uris.next()?;
    uris.next().is_none().then(|| Identity::from_uri(only).ok()).flatten()
}

type IsRevoked = Box<dyn Fn(&[u8]) -> bool + Send + Sync>;

/// Verifies servers as rustls does, refuses revoked keys, and adds [`OtherCa`] to the error about an unknown CA.
struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
    is_revoked: IsRevoked,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier")
    }
}

/// The verifier of a client that trusts one CA. `is_revoked` gets the certificate's public key (DER, SubjectPublicKeyInfo).
///
/// # Errors
/// When the CA cannot be used.
pub fn verifier(
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
    is_revoked: impl Fn(&[u8]) -> bool + Send + Sync + 'static,
) -> Result<Arc<dyn ServerCertVerifier>, VerifierBuilderError> {
    let inner = WebPkiServerVerifier::builder_with_provider(roots, provider).build()?;
    Ok(Arc::new(Verifier { inner, is_revoked: Box::new(is_revoked) }))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified =
            self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        let verified = verified.map_err(|error| match error {
            Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
                let certificate = X509Certificate::from_der(end_entity).ok();
                let holder = certificate.and_then(|(_, certificate)| holder(&certificate));
                let other = OtherError(Arc::new(OtherCa { holder }));
                Error::InvalidCertificate(CertificateError::Other(other))
            }
            error => error,
        })?;
        let (_, certificate) = X509Certificate::from_der(end_entity)
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        if (self.is_revoked)(certificate.public_key().raw) {
            return Err(Error::InvalidCertificate(CertificateError::Revoked));
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }

    fn root_hint_subjects(&self) -> Option<&[rustls::DistinguishedName]> {
        self.inner.root_hint_subjects()
    }
}
