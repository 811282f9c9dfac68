//! Laptops and Pis whose clocks are years apart still know each other.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;
use std::time::Duration;

use builder::pki;
use cluster::identity::{Role, dns_name};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

#[path = "fixture/project.rs"]
mod fixture;

#[test]
fn whatever_the_clocks_say_operator_and_manager_verify_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let project = fixture::project(folder.path(), &[("red00", Role::Manager)]);
    let identities = pki::open(&project).unwrap();
    let manager = fixture::hostname("red00");
    let read = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().into_owned();
    let material = identities.node(&manager).unwrap();
    let (node, operator) = (read(&material.cert_pem), read(&identities.operator().unwrap().cert_pem));
    let mut roots = RootCertStore::empty();
    roots.add(read(&material.ca_pem)).unwrap();
    let (roots, provider) = (Arc::new(roots), Arc::new(rustls::crypto::ring::default_provider()));
    let laptop = WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider));
    let laptop = laptop.build().unwrap();
    let pi = WebPkiClientVerifier::builder_with_provider(roots, provider).build().unwrap();
    let name = ServerName::try_from(dns_name(&identities.cluster_id, &manager)).unwrap();

    let now = UnixTime::now().as_secs();
    let year = 365 * 86_400;
    for seconds in [6 * year, now - 2 * year, now, now + 2 * year, 8000 * year] {
        let clock = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        laptop.verify_server_cert(&node, &[], &name, &[], clock).unwrap();
        pi.verify_client_cert(&operator, &[], clock).unwrap();
    }
    // Else it would verify nothing at all.
    let before = UnixTime::since_unix_epoch(Duration::from_secs(year));
    assert!(laptop.verify_server_cert(&node, &[], &name, &[], before).is_err());
}
