//! `builder status` where another machine answers in the place of the manager.

use super::*;

/// What somebody has who knows the names of everything, but not the CA's key.
fn forged(bench: &Bench) -> NodeMaterial {
    let real = bench.identities.node(&hostname("red00")).unwrap();
    let ca_key = KeyPair::generate().unwrap();
    let ca = Issuer::from_ca_cert_pem(&real.ca_pem, ca_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let name = dns_name(&bench.identities.cluster_id, &hostname("red00"));
    let certificate = CertificateParams::new([name]).unwrap().signed_by(&key, &ca).unwrap();
    NodeMaterial { cert_pem: certificate.pem(), key_pem: Secret::new(key.serialize_pem()), ..real }
}

#[test]
fn an_impostor_without_the_cas_key_is_found_out() {
    let (bench, other) = (Bench::new(), Bench::new());
    let impostor = forged(&bench);
    let formed = (200, serde_json::to_string(&bench.formed()).unwrap());
    let other_id = &other.identities.cluster_id;
    for (address, cause) in [
        (
            serve(&impostor, &impostor.ca_pem, vec![formed]),
            "has a certificate that this cluster's CA did not sign\n".to_owned(),
        ),
        (other.manager(&[other.formed()]), format!("is red00, a manager of another cluster ({other_id})\n")),
    ] {
        let outcome = bench.run_at(address, "");
        assert_eq!((outcome.code(), outcome.out.as_str()), (5, ""));
        assert!(outcome.talk.contains(&cause), "{}", outcome.talk);
        assert!(outcome.talk.contains("an impostor"), "{}", outcome.talk);
    }
}

/// The fixed address belongs to another cluster's red00, the last good one to ours.
#[test]
fn another_clusters_manager_is_named_and_ours_is_found() {
    let (mut bench, other) = (Bench::new(), Bench::new());
    let at = |last| (Ipv4Addr::new(127, 78, 0, last), PORT);
    let serve_red00 = |bench: &Bench, last| {
        let node = bench.identities.node(&hostname("red00")).unwrap();
        let board = (200, serde_json::to_string(&bench.formed()).unwrap());
        serve_at(at(last).into(), &node, &node.ca_pem, vec![board])
    };
    let (theirs, ours) = (serve_red00(&other, 1), serve_red00(&bench, 2));
    assert_eq!((theirs, ours), (at(1).into(), at(2).into()));
    let last = BTreeMap::from([(hostname("red00"), at(2).0)]);
    let fixed = StaticAddress { ip: at(1).0, prefix: 24, gateway: None, dns: Vec::new() };
    bench.project.cluster.nodes.iter_mut().take(1).for_each(|node| node.address = Some(fixed.clone()));

    pki::remember_addresses(&bench.project, &last).unwrap();
    let outcome = bench.run("", Style::default());
    assert_eq!(outcome.code(), 0);
    let id = &other.identities.cluster_id;
    let line = format!(
        "another cluster on this network: 127.78.0.1 (from the cluster file) is red00, a manager of another \
         cluster ({id})\n"
    );
    assert!(outcome.out.contains(&line), "{}", outcome.out);
    // Loopback is not remembered.
    pki::remember_addresses(&bench.project, &last).unwrap();
    let outcome = bench.run("", Style { json: true, ..Style::default() });
    let json: serde_json::Value = serde_json::from_str(&outcome.out).unwrap();
    assert_eq!(
        json["other_clusters"],
        serde_json::json!([{"at": "127.78.0.1 (from the cluster file)", "cluster_id": id, "name": "red00"}])
    );
}

#[test]
fn a_replaced_managers_former_machine_is_refused() {
    let bench = Bench::new();
    let red00 = hostname("red00");
    let former = bench.identities.node(&red00).unwrap();
    let formed = (200, serde_json::to_string(&bench.formed()).unwrap());
    let nodes = bench.project.cluster.nodes.iter().map(|node| node.name.clone()).collect();
    let record = pki::Running::new(None, DockerSource::Docker, Vec::new());
    let present = pki::open_for(&bench.project, &nodes, &[red00.clone()].into(), &record).unwrap();

    let outcome = bench.run_at(serve(&former, &former.ca_pem, vec![formed.clone()]), "");
    assert_eq!((outcome.code(), outcome.out.as_str()), (5, ""));
    let why = "  127.0.0.1:PORT: has a key of this node that was revoked\n\
               hint: that machine is a former red00, or red00 itself with its former key: deliver the new key with a new card \
               (or, to a running machine, with config)\n";
    assert!(outcome.talk.contains(why), "{}", outcome.talk);

    let present = present.node(&red00).unwrap();
    assert_eq!(bench.run_at(serve(&present, &present.ca_pem, vec![formed]), "").code(), 0);
}

#[test]
fn a_worker_does_not_pass_for_the_manager() {
    let bench = Bench::new();
    let answers = vec![(200, serde_json::to_string(&bench.formed()).unwrap())];
    let outcome = bench.run_at(bench.answering("red01", answers), "");
    assert_eq!((outcome.code(), outcome.out.as_str()), (5, ""));
    assert!(
        outcome.talk.contains("has the certificate of another node of this cluster\n"),
        "{}",
        outcome.talk
    );
}
