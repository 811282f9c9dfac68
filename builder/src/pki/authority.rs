//! The cluster's CA: makes certificates, and checks those that lie in the secrets folder the way a manager would.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cluster::identity::{Holder, Identity, IdentityError, dns_name};
use cluster::name::{ClusterId, KeyId};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose as Usage, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::{CertificateDer, UnixTime, pem::PemObject};
use sha2::{Digest as _, Sha256};
use ssh_key::rand_core::{OsRng, RngCore};
use thiserror::Error;
use x509_parser::extensions::GeneralName;

/// Why a certificate or key is not what it should be.
#[derive(Debug, Error)]
pub(super) enum AuthorityError {
    #[error("it is not a certificate in PEM")]
    NotCertificate,
    #[error("it is not a private key in PEM")]
    NotKey(#[source] rcgen::Error),
    #[error("the private key beside it is another one's")]
    OtherKey,
    #[error("the CA of this folder did not sign it")]
    OtherCa(#[source] rustls::Error),
    #[error("it names nobody")]
    Nameless,
    #[error("it names somebody builder does not know")]
    Name(#[source] IdentityError),
    #[error("it is the certificate of {found}, not of {wanted}")]
    OtherName { found: String, wanted: String },
    #[error("it cannot be used as a CA")]
    NotCa(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("a certificate could not be made")]
    Make(#[source] rcgen::Error),
}

/// The CA with its key, ready to sign.
pub(super) struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
    verifier: Arc<dyn ClientCertVerifier>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authority")
    }
}

impl Authority {
    /// A new CA and its private key in PEM.
    pub(super) fn make(id: &ClusterId) -> Result<(Self, String), AuthorityError> {
        let mut params = params(&format!("builder cluster {id}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = make_key()?;
        let key_pem = key.serialize_pem();
        let ca = CertifiedIssuer::self_signed(params, key).map_err(AuthorityError::Make)?;
        Ok((Self::from_pem(&ca.pem(), &key_pem)?, key_pem))
    }

    /// The CA of an existing folder. Its key must be the certificate's.
    pub(super) fn from_pem(pem: &str, key_pem: &str) -> Result<Self, AuthorityError> {
        let key = read_key(key_pem)?;
        let der = read_certificate(pem)?;
        if public_key(&der)? != key.subject_public_key_info() {
            return Err(AuthorityError::OtherKey);
        }
        let issuer =
            Issuer::from_ca_cert_der(&der, key).map_err(|error| AuthorityError::NotCa(error.into()))?;
        let mut roots = RootCertStore::empty();
        roots.add(der).map_err(|error| AuthorityError::NotCa(error.into()))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| AuthorityError::NotCa(error.into()))?;
        Ok(Self { pem: pem.to_owned(), issuer, verifier })
    }

    pub(super) fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for a key, in PEM.
    pub(super) fn issue(&self, identity: &Identity, key: &KeyPair) -> Result<String, AuthorityError> {
        let text = |text: String| text.try_into().map_err(AuthorityError::Make);
        let (common_name, usages) = match &identity.holder {
            Holder::Operator => ("operator".to_owned(), vec![Usage::ClientAuth]),
            Holder::Node { name, .. } => (name.to_string(), vec![Usage::ClientAuth, Usage::ServerAuth]),
        };
        let mut params = params(&common_name);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = usages;
        params.use_authority_key_identifier_extension = true;
        params.subject_alt_names.push(SanType::URI(text(identity.to_uri())?));
        if let Holder::Node { name, .. } = &identity.holder {
            params.subject_alt_names.push(SanType::DnsName(text(dns_name(&identity.cluster, name))?));
        }
        params.signed_by(key, &self.issuer).map(|cert| cert.pem()).map_err(AuthorityError::Make)
    }

    /// Who a certificate names, once it is certain that this CA signed it and that the key is its own.
    pub(super) fn check(&self, pem: &str, key: &KeyPair) -> Result<Identity, AuthorityError> {
        let der = read_certificate(pem)?;
        let identity = read_identity(&der)?;
        if public_key(&der)? != key.subject_public_key_info() {
            return Err(AuthorityError::OtherKey);
        }
        self.verifier.verify_client_cert(&der, &[], UnixTime::now()).map_err(AuthorityError::OtherCa)?;
        Ok(identity)
    }
}

/// A new ECDSA P-256 key.
pub(super) fn make_key() -> Result<KeyPair, AuthorityError> {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(AuthorityError::Make)
}

/// A key in PKCS #8 PEM.
pub(super) fn read_key(pem: &str) -> Result<KeyPair, AuthorityError> {
    KeyPair::from_pem(pem).map_err(AuthorityError::NotKey)
}

/// A new cluster's identity.
pub(super) fn draw_id() -> Result<ClusterId, cluster::name::NameError> {
    ClusterId::try_from(format!("{:016x}", OsRng.next_u64()))
}

/// What every certificate has in common. A Pi boots with any clock, so they are valid from 1975 to the date that
/// RFC 5280 §4.1.2.5 gives to "no well-defined expiration".
fn params(common_name: &str) -> CertificateParams {
    let mut serial = [0; 16];
    OsRng.fill_bytes(&mut serial);
    // Positive and not zero, RFC 5280 §4.1.2.2.
    serial[0] = serial[0] & 0x7f | 0x40;
    let mut params = CertificateParams::default();
    params.not_before = date_time_ymd(1975, 1, 1);
    params.not_after = date_time_ymd(9999, 12, 31) + Duration::from_secs(24 * 60 * 60 - 1);
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

/// The id of the key in a certificate, PEM, which may have been tampered with: nothing is verified.
pub(super) fn certificate_key_id(pem: &str) -> Result<KeyId, AuthorityError> {
    Ok(key_id(&public_key(&read_certificate(pem)?)?))
}

/// The id of a private key's public half, PEM.
pub(super) fn private_key_id(pem: &str) -> Result<KeyId, AuthorityError> {
    Ok(key_id(&read_key(pem)?.subject_public_key_info()))
}

/// SHA-256 of a certificate, PEM, over its DER form.
pub(super) fn fingerprint(pem: &str) -> Result<[u8; 32], AuthorityError> {
    Ok(Sha256::digest(read_certificate(pem)?).into())
}

fn key_id(public_key: &[u8]) -> KeyId {
    KeyId::from_sha256(Sha256::digest(public_key).into())
}

fn read_certificate(pem: &str) -> Result<CertificateDer<'static>, AuthorityError> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| AuthorityError::NotCertificate)
}

fn public_key(der: &CertificateDer<'_>) -> Result<Vec<u8>, AuthorityError> {
    let (_, certificate) =
        x509_parser::parse_x509_certificate(der).map_err(|_| AuthorityError::NotCertificate)?;
    Ok(certificate.public_key().raw.to_owned())
}

fn read_identity(der: &CertificateDer<'_>) -> Result<Identity, AuthorityError> {
    let (_, certificate) =
        x509_parser::parse_x509_certificate(der).map_err(|_| AuthorityError::NotCertificate)?;
    let names = certificate.subject_alternative_name().map_err(|_| AuthorityError::Nameless)?;
    let names = names.ok_or(AuthorityError::Nameless)?;
    let uri = names.value.general_names.iter().find_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    Identity::from_uri(uri.ok_or(AuthorityError::Nameless)?).map_err(AuthorityError::Name)
}
