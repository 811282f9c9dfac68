//! A cluster that commit 6bc94bb made keeps working: `fixture/6bc94bb/README.md` says what is in there.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use builder::project::ProjectKind;
use builder::{pki, project};
use cluster::card::Card;
use cluster::identity::{Role, dns_name};
use cluster::name::ClusterName;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::GeneralName;

use crate::fixture::{self, hostname};

fn made(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixture/6bc94bb").join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(made(path)).unwrap()
}

/// The names of all files below a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    fn walk(root: &Path, folder: &Path, names: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, names);
            } else {
                names.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    let mut names_of = Vec::new();
    walk(folder, folder, &mut names_of);
    names_of.sort();
    names_of
}

/// No private key is kept here, so the folder of that commit cannot be opened as a whole. Instead its list of files and the
/// keys of its cluster.json are compared with today's, and its certificates are read.
#[test]
fn its_secrets_folder_has_todays_files_and_format() {
    let folder = tempfile::tempdir().unwrap();
    let nodes = [("red00", Role::Manager), ("red01", Role::Worker), ("red02", Role::Worker)];
    let project = fixture::project(folder.path(), &nodes);
    let secrets = folder.path().join("red.secrets");
    pki::open(&project).unwrap();
    let listed: Vec<String> = read("cards/secrets.txt").lines().map(str::to_owned).collect();
    let mut today = names(&secrets);
    // Written again by every command, and not kept here; and the lock, which older builders take no notice of.
    today.retain(|name| ![".gitignore", ".lock", "ssh_config"].contains(&name.as_str()));
    assert_eq!(today, listed);

    let keys = |text: &str| {
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        let keys: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
        (keys, value["version"].clone())
    };
    let today = fs::read_to_string(secrets.join("cluster.json")).unwrap();
    assert_eq!(keys(&today), keys(&read("cards/secrets/cluster.json")));

    let card = Card::from_json(&fs::read(made("cards/swarm/card.json")).unwrap()).unwrap();
    let pem = read("cards/secrets/nodes/red01.pem");
    assert_eq!(pem, read("cards/swarm/node.pem"));
    let (_, pem) = parse_x509_pem(pem.as_bytes()).unwrap();
    let certificate = pem.parse_x509().unwrap();
    let subject = certificate.subject_alternative_name().unwrap().unwrap();
    let wanted = dns_name(&card.cluster_id, &hostname("red01"));
    assert!(subject.value.general_names.contains(&GeneralName::DNSName(&wanted)));
    let authority = read("cards/secrets/ca.pem");
    let (_, authority) = parse_x509_pem(authority.as_bytes()).unwrap();
    let authority = authority.parse_x509().unwrap();
    assert_eq!(certificate.issuer(), authority.subject());
}

#[test]
fn reads_its_cards() {
    let card = Card::from_json(&fs::read(made("cards/swarm/card.json")).unwrap()).unwrap();
    assert_eq!((card.node.as_str(), card.role, card.nodes.len()), ("red01", Role::Worker, 3));
    assert_eq!(card.swarm.address_pool.as_deref(), Some("10.99.0.0/16"));
    assert_eq!(card.wifi.unwrap().ssid, "lab");
}

#[test]
fn knows_the_nodes_that_it_brought_in() {
    let folder = tempfile::tempdir().unwrap();
    let mut project = fixture::project(folder.path(), &[("red00", Role::Manager)]);
    project.cluster.name = ClusterName::try_from("hostnames").unwrap();
    pki::open(&project).unwrap();
    let secrets = folder.path().join("hostnames.secrets");
    for name in ["running.json", "addresses.json"] {
        fs::copy(made("running/secrets").join(name), secrets.join(name)).unwrap();
        fs::set_permissions(secrets.join(name), Permissions::from_mode(0o600)).unwrap();
    }
    let file = folder.path().join("hostnames.yaml");
    fs::copy(made("running/hostnames.yaml"), &file).unwrap();
    let project = project::load(&file).unwrap();
    assert_eq!(project.kind, ProjectKind::Adopted);
    let names: Vec<_> = project.cluster.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["red00"]);
    let running = pki::running(&project.secrets_folder()).unwrap().unwrap();
    assert_eq!(running.host(&hostname("red00")).unwrap().to_string(), "pi@127.0.0.1");
    assert_eq!(running.hosts[0].role, Role::Manager);
    assert_eq!(running.hosts[0].host_key, None);
    assert!(pki::last_addresses(&project).unwrap().is_empty(), "no agent had answered yet");
}

/// What that commit's builder does not know, it must not take for damage.
#[test]
fn a_record_with_host_keys_has_a_version_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let mut project = fixture::project(folder.path(), &[("red00", Role::Manager)]);
    project.cluster.name = ClusterName::try_from("hostnames").unwrap();
    pki::open(&project).unwrap();
    let secrets = folder.path().join("hostnames.secrets");
    let record = secrets.join("running.json");
    fs::copy(made("running/secrets/running.json"), &record).unwrap();
    fs::set_permissions(&record, Permissions::from_mode(0o600)).unwrap();
    let before = pki::running(&secrets).unwrap().unwrap();
    pki::remember_running(&project, &before).unwrap();
    let parsed = || serde_json::from_str::<serde_json::Value>(&fs::read_to_string(&record).unwrap()).unwrap();
    assert_eq!(parsed()["version"], 1, "as that commit wrote it");
    assert!(parsed()["hosts"][0].get("host_key").is_none());

    let fingerprint = format!("SHA256:{}", "a".repeat(43));
    let mut hosts = before.hosts.clone();
    hosts[0].host_key = Some(fingerprint.clone().try_into().unwrap());
    pki::remember_running(&project, &pki::Running::new(before.user, before.docker, hosts.clone())).unwrap();
    assert_eq!((&parsed()["version"], &parsed()["hosts"][0]["host_key"]), (&2.into(), &fingerprint.into()));
    assert_eq!(pki::running(&secrets).unwrap().unwrap().hosts, hosts);
    // A fingerprint that is none binds to nothing.
    let text = fs::read_to_string(&record).unwrap().replace("SHA256:a", "SHA256:");
    fs::write(&record, text).unwrap();
    assert!(pki::running(&secrets).is_err());
}
