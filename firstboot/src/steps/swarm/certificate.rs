//! Swarm's own certificate of this node. Its engine renews it in time by a clock that only runs; a clock that leaps it does
//! not notice.

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::UNIX_EPOCH;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::host::Host;

/// Where the engine keeps it, the node's own first.
const FILE: &str = "/var/lib/docker/swarm/certificates/swarm-node.crt";

/// Whether it is past its time, or before it: made while a clock was ahead that was put right since. One that is not there,
/// or not to be read, is the engine's to complain of.
pub(super) fn is_out_of_date(host: &dyn Host) -> bool {
    let now = host.now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let pem = host.read(Path::new(FILE)).ok().flatten();
    let validity = pem.and_then(|pem| validity(&pem));
    i64::try_from(now).is_ok_and(|now| validity.is_some_and(|validity| !validity.contains(&now)))
}

/// When the first certificate is valid, in seconds since 1970.
fn validity(pem: &[u8]) -> Option<RangeInclusive<i64>> {
    let der = CertificateDer::from_pem_slice(pem).ok()?;
    let (_, certificate) = X509Certificate::from_der(&der).ok()?;
    let validity = certificate.validity();
    Some(validity.not_before.timestamp()..=validity.not_after.timestamp())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;
    use crate::host::fake::{FakeHost, Files, Node};

    #[test]
    fn only_a_certificate_that_can_be_read_and_is_of_another_time_is_out_of_date() {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.not_before = date_time_ymd(2024, 1, 1);
        params.not_after = date_time_ymd(2026, 1, 1);
        let pem = params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
        let expiry: SystemTime = date_time_ymd(2026, 1, 1).into();
        let beginning: SystemTime = date_time_ymd(2024, 1, 1).into();
        let day = Duration::from_secs(86_400);
        for (text, now, out_of_date) in [
            (Some(pem.as_str()), expiry - day, false),
            (Some(pem.as_str()), expiry + day, true),
            (Some(pem.as_str()), beginning + day, false),
            (Some(pem.as_str()), beginning - day, true),
            (Some("-----BEGIN CERTIFICATE-----"), expiry + day, false),
            (None, expiry + day, false),
        ] {
            let file = |text: &str| Node::File { bytes: text.into(), mode: 0o644, owner: None };
            let files: Files = text.map(|text| (FILE.into(), file(text))).into_iter().collect();
            assert_eq!(is_out_of_date(&FakeHost::new(Arc::default(), files, now)), out_of_date, "{text:?}");
        }
    }
}
