//! A cluster that commit 6bc94bb made keeps working: `fixture/6bc94bb/README.md` says what is in there.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use builder::{pki, project};
use cluster::card::Card;
use cluster::identity::Role;
use tempfile::TempDir;

use crate::fixture::hostname;

fn made(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixture/6bc94bb").join(path)
}

/// Copies one of its folders, with the secrets folder under the name it had, and as private as it was.
fn copy(folder: &str, secrets: &str) -> TempDir {
    let to = tempfile::tempdir().unwrap();
    place(&made(folder), to.path());
    fs::rename(to.path().join("secrets"), to.path().join(secrets)).unwrap();
    to
}

fn place(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let place_of = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&place_of).unwrap();
            fs::set_permissions(&place_of, Permissions::from_mode(0o700)).unwrap();
            place(&entry.path(), &place_of);
        } else {
            fs::copy(entry.path(), &place_of).unwrap();
            fs::set_permissions(&place_of, Permissions::from_mode(0o600)).unwrap();
        }
    }
}

#[test]
fn opens_the_secrets_that_its_cards_were_made_with() {
    let folder = copy("cards", "red.secrets");
    let project = project::load(&folder.path().join("cluster.yaml")).unwrap();
    let identities = pki::existing(&project).unwrap();
    let card = Card::from_json(&fs::read(made("cards/swarm/card.json")).unwrap()).unwrap();
    assert_eq!(identities.cluster_id, card.cluster_id);
    let certificate = fs::read_to_string(made("cards/swarm/node.pem")).unwrap();
    assert_eq!(identities.node(&hostname("red01")).unwrap().cert_pem, certificate);
    identities.operator().unwrap();
    // Nothing is made anew, and nothing is missing.
    let before = fs::read(folder.path().join("red.secrets/nodes/red01.pem")).unwrap();
    assert_eq!(pki::open(&project).unwrap().cluster_id, card.cluster_id);
    assert_eq!(fs::read(folder.path().join("red.secrets/nodes/red01.pem")).unwrap(), before);
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
    let folder = copy("running", "hostnames.secrets");
    let file = folder.path().join("hostnames.yaml");
    let project = project::load(&file).unwrap();
    assert!(project.runs_already);
    let names: Vec<_> = project.cluster.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["red00"]);
    let running = pki::running(&project.secrets_folder()).unwrap().unwrap();
    assert_eq!(running.host(&hostname("red00")).unwrap().to_string(), "pi@127.0.0.1");
    assert_eq!(running.hosts[0].role, Role::Manager);
    assert!(!pki::last_addresses(&project).unwrap().is_empty());
    pki::existing(&project).unwrap().operator().unwrap();
}
