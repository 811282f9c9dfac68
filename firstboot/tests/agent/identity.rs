//! Certificates as the builder makes them, and wrong ones.

use cluster::name::KeyId;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    PublicKeyData as _, SanType, date_time_ymd,
};

/// The test cluster's id.
pub(crate) const CLUSTER: &str = "0123456789abcdef";

/// A cluster's CA.
pub(crate) struct Ca(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, PEM.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Pair {
    /// As the builder computes it from a certificate, here from the key.
    pub(crate) fn key_id(&self) -> KeyId {
        let key = KeyPair::from_pem(&self.key).unwrap();
        let digest = ring::digest::digest(&ring::digest::SHA256, &key.subject_public_key_info());
        KeyId::from_sha256(digest.as_ref().try_into().unwrap())
    }
}

impl Ca {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        validity(&mut params);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn node(&self, role: &str, name: &str) -> Pair {
        self.issue(&format!("builder://{CLUSTER}/{role}/{name}"), &format!("{name}.{CLUSTER}.internal"))
    }

    pub(crate) fn operator(&self) -> Pair {
        self.issue(&format!("builder://{CLUSTER}/operator"), "operator.internal")
    }

    /// A node's certificate that ended before anybody's clock can be.
    pub(crate) fn expired(&self, role: &str, name: &str) -> Pair {
        let uri = format!("builder://{CLUSTER}/{role}/{name}");
        self.sign_until(&[&uri], vec![format!("{name}.{CLUSTER}.internal")], 1976)
    }

    pub(crate) fn issue(&self, uri: &str, dns: &str) -> Pair {
        self.sign(&[uri], vec![dns.to_owned()])
    }

    /// A certificate with several names of ours, which no builder issues.
    pub(crate) fn issue_all(&self, uris: &[&str]) -> Pair {
        self.sign(uris, Vec::new())
    }

    fn sign(&self, uris: &[&str], dns: Vec<String>) -> Pair {
        self.sign_until(uris, dns, 4096)
    }

    fn sign_until(&self, uris: &[&str], dns: Vec<String>, year: i32) -> Pair {
        let mut params = CertificateParams::new(dns).unwrap();
        params.subject_alt_names.extend(uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())));
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        validity(&mut params);
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

/// A Pi may think it is 1970.
fn validity(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(1975, 1, 1);
    params.not_after = date_time_ymd(4096, 1, 1);
}
