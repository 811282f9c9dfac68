//! Swarm's own certificate of this node. Its engine renews it in time by a clock that only runs; a clock that leaps it does
//! not notice.

use std::path::Path;
use std::time::UNIX_EPOCH;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::host::Host;

/// Where the engine keeps it, the node's own first.
const FILE: &str = "/var/lib/docker/swarm/certificates/swarm-node.crt";

/// Whether it is past its time. One that is not there, or not to be read, is the engine's to complain of.
pub(super) fn has_expired(host: &dyn Host) -> bool {
    let now = host.now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let pem = host.read(Path::new(FILE)).ok().flatten();
    pem.and_then(|pem| expiry(&pem))
        .is_some_and(|expiry| u64::try_from(expiry).is_ok_and(|expiry| expiry < now))
}

/// The end of the first certificate's validity, in seconds since 1970.
fn expiry(pem: &[u8]) -> Option<i64> {
    let der = CertificateDer::from_pem_slice(pem).ok()?;
    let (_, certificate) = X509Certificate::from_der(&der).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;
    use crate::host::fake::{FakeHost, Files, Node};

    #[test]
    fn only_a_certificate_that_can_be_read_and_is_past_its_time_has_expired() {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.not_after = date_time_ymd(2026, 1, 1);
        let pem = params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
        let expiry: SystemTime = date_time_ymd(2026, 1, 1).into();
        let day = Duration::from_secs(86_400);
        for (text, now, expired) in [
            (Some(pem.as_str()), expiry - day, false),
            (Some(pem.as_str()), expiry + day, true),
            (Some("-----BEGIN CERTIFICATE-----"), expiry + day, false),
            (None, expiry + day, false),
        ] {
            let file = |text: &str| Node::File { bytes: text.into(), mode: 0o644, owner: None };
            let files: Files = text.map(|text| (FILE.into(), file(text))).into_iter().collect();
            assert_eq!(has_expired(&FakeHost::new(Arc::default(), files, now)), expired, "{text:?}");
        }
    }
}
