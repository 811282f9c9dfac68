use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};

use super::*;
use crate::host::fake::{FakeHost, Files, Node};

const DOCKER: &str = "/var/lib/docker";
const ID: &str = "c2hg6qfmf9xv0dq6zw8fh3k1m";

/// A swarm's root.
struct Root(CertifiedIssuer<'static, KeyPair>);

impl Root {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "swarm-ca");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A machine whose engine has the certificate of this entry, with the header that SwarmKit writes into the key.
    fn machine(&self, id: &str) -> FakeHost {
        let mut params = CertificateParams::new(vec!["swarm-worker".to_owned(), id.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, id);
        params.distinguished_name.push(DnType::OrganizationalUnitName, "swarm-worker");
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap().pem();
        let key = key.serialize_pem().replacen("KEY-----\n", "KEY-----\nkek-version: 0\n\n", 1);
        machine(&certificate, &key)
    }
}

fn machine(certificate: &str, key: &str) -> FakeHost {
    let folder = PathBuf::from(DOCKER).join(FOLDER);
    let file = |text: &str| Node::File { bytes: text.into(), mode: 0o600, owner: None };
    let files = Files::from([
        (folder.join("swarm-node.crt"), file(certificate)),
        (folder.join("swarm-node.key"), file(key)),
    ]);
    FakeHost::new(Arc::default(), files, std::time::UNIX_EPOCH)
}

/// Names and ids that statements are about.
struct Facts {
    cluster: ClusterId,
    node: Hostname,
    key: KeyId,
}

impl Facts {
    fn new() -> Self {
        Self {
            cluster: ClusterId::try_from("0123456789abcdef").unwrap(),
            node: Hostname::try_from("red01").unwrap(),
            key: KeyId::from_sha256([1; 32]),
        }
    }

    fn statement(&self) -> Statement<'_> {
        Statement { cluster: &self.cluster, node: &self.node, key: &self.key, entry: ID, nonce: "5eed" }
    }
}

#[test]
fn the_node_with_swarms_key_proves_its_entry_and_nothing_else() {
    let (root, facts) = (Root::new(), Facts::new());
    let said = facts.statement();
    let proof = said.prove(&root.machine(ID), Path::new(DOCKER)).unwrap();
    said.check(&proof, &root.0.pem()).unwrap();
    // While Swarm changes its root, the old one is there, too.
    said.check(&proof, &(Root::new().0.pem() + &root.0.pem())).unwrap();

    let other = Facts {
        cluster: ClusterId::try_from("fedcba9876543210").unwrap(),
        node: Hostname::try_from("red02").unwrap(),
        key: KeyId::from_sha256([2; 32]),
    };
    for replayed in [
        Statement { cluster: &other.cluster, ..said },
        Statement { node: &other.node, ..said },
        Statement { key: &other.key, ..said },
        Statement { nonce: "another", ..said },
    ] {
        assert!(matches!(replayed.check(&proof, &root.0.pem()), Err(ProofError::Signature)), "{replayed:?}");
    }
    let entry = Statement { entry: "another", ..said };
    assert!(matches!(entry.check(&proof, &root.0.pem()), Err(ProofError::OtherEntry)));
}

#[test]
fn another_swarms_certificate_proves_nothing() {
    let (root, facts) = (Root::new(), Facts::new());
    let said = facts.statement();
    let proof = said.prove(&Root::new().machine(ID), Path::new(DOCKER)).unwrap();
    assert!(matches!(said.check(&proof, &root.0.pem()), Err(ProofError::Foreign(_))));
    // A certificate is public among the members; the key is not.
    let others = said.prove(&root.machine("another"), Path::new(DOCKER)).unwrap();
    let own = said.prove(&root.machine(ID), Path::new(DOCKER)).unwrap();
    let mixed = Proof { certificate: own.certificate, signature: others.signature };
    assert!(matches!(said.check(&mixed, &root.0.pem()), Err(ProofError::Signature)));
    assert!(said.check(&mixed, "").is_err(), "a manager that does not know its root believes nobody");
}

#[test]
fn malformed_proofs_and_files_are_refused() {
    let (root, facts) = (Root::new(), Facts::new());
    let said = facts.statement();
    let good = said.prove(&root.machine(ID), Path::new(DOCKER)).unwrap();
    let bad = |certificate: &str, signature: &str| {
        let proof = Proof { certificate: certificate.to_owned(), signature: signature.to_owned() };
        said.check(&proof, &root.0.pem()).unwrap_err()
    };
    let long = "x".repeat(CERTIFICATE_LIMIT + 1);
    for (certificate, signature) in [
        ("", &*good.signature),
        (&long, &good.signature),
        (&good.certificate, &long),
        (&good.certificate, "not base64"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &good.signature),
    ] {
        assert!(matches!(bad(certificate, signature), ProofError::Malformed), "{certificate} {signature}");
    }
    for key in ["", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
        let error = said.prove(&machine(&good.certificate, key), Path::new(DOCKER)).unwrap_err();
        assert!(matches!(error, ProofError::Unusable), "{error}");
    }
}
