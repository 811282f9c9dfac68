//! Nodes whose role changes, or that are other machines now, get new keys.

use builder::pki::Running;
use cluster::card::DockerSource;

use super::*;

/// What a run changes in the folder: red01's role, and what a killed run leaves of that, if any.
fn change_role(bench: &mut Bench) -> (BTreeMap<PathBuf, String>, BTreeMap<PathBuf, String>) {
    let before = bench.all();
    bench.project.cluster.nodes.last_mut().unwrap().role = Role::Manager;
    pki::open(&bench.project).unwrap();
    (before, bench.all())
}

/// The certificates in `revoked`, by their text.
fn revoked(bench: &Bench) -> Vec<String> {
    let Ok(entries) = fs::read_dir(bench.path("revoked")) else { return Vec::new() };
    entries.map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap()).collect()
}

#[test]
fn a_changed_role_gives_a_new_key_and_revokes_the_former() {
    let mut bench = Bench::opened();
    let host_key = bench.read("nodes/red01-ssh-host-key");
    let former = pki::keys(&bench.project, &hostname("red01")).unwrap().present.unwrap();
    let (before, after) = change_role(&mut bench);
    for name in ["nodes/red01.pem", "nodes/red01-key.pem"] {
        assert_ne!(before[&bench.path(name)], after[&bench.path(name)], "{name}");
    }
    let keys = pki::keys(&bench.project, &hostname("red01")).unwrap();
    assert_eq!(keys.former, [former.clone()].into());
    assert_ne!(keys.present, Some(former.clone()));
    // Managers' cards name it.
    let identities = pki::open(&bench.project).unwrap();
    assert_eq!(identities.revoked, [former].into());
    let id = &identities.cluster_id;
    with_certificate(&bench.read("nodes/red01.pem"), |certificate| {
        assert_eq!(names(certificate)[0], format!("builder://{id}/manager/red01"));
    });
    assert_eq!(revoked(&bench), [before[&bench.path("nodes/red01.pem")].clone()]);
    assert_eq!((mode(&bench.path("revoked")), host_key), (0o700, bench.read("nodes/red01-ssh-host-key")));
    let now = bench.all();
    pki::open(&bench.project).unwrap();
    assert_eq!(bench.all(), now, "once is enough");
}

#[test]
fn a_role_that_changes_back_does_not_bring_the_former_key_back() {
    let mut bench = Bench::opened();
    let (before, _) = change_role(&mut bench);
    bench.project.cluster.nodes[1].role = Role::Worker;
    let identities = pki::open(&bench.project).unwrap();
    assert_ne!(bench.read("nodes/red01-key.pem"), before[&bench.path("nodes/red01-key.pem")]);
    assert_eq!(identities.revoked.len(), 2);
}

#[test]
fn a_key_that_is_revoked_is_never_given_again() {
    let mut bench = Bench::opened();
    let (before, _) = change_role(&mut bench);
    // From a backup, say.
    for name in ["nodes/red01.pem", "nodes/red01-key.pem"] {
        fs::write(bench.path(name), &before[&bench.path(name)]).unwrap();
    }
    bench.project.cluster.nodes[1].role = Role::Worker;
    let material = pki::open(&bench.project).unwrap().node(&hostname("red01")).unwrap();
    assert_ne!(*material.key_pem.expose(), before[&bench.path("nodes/red01-key.pem")]);
    assert_eq!(revoked(&bench).len(), 1);
}

/// The former certificate is set aside first, then the new key is written, then its certificate.
#[test]
fn a_renewal_that_was_cut_short_is_finished() {
    let files = ["nodes/red01-key.pem", "nodes/red01.pem"];
    for written in 0..files.len() {
        let mut bench = Bench::opened();
        let (before, after) = change_role(&mut bench);
        for name in &files[written..] {
            fs::write(bench.path(name), &before[&bench.path(name)]).unwrap();
        }
        let identities = pki::open(&bench.project).unwrap();
        let key = bench.read("nodes/red01-key.pem");
        assert_ne!(key, before[&bench.path("nodes/red01-key.pem")], "{written}");
        if written == 1 {
            assert_eq!(key, after[&bench.path("nodes/red01-key.pem")], "it was never given to anybody");
        }
        assert_eq!((identities.revoked.len(), revoked(&bench).len()), (1, 1), "{written}");
        pki::existing(&bench.project).unwrap().node(&hostname("red01")).unwrap();
    }
}

#[test]
fn another_machine_gets_a_new_key_and_nobody_else_does() {
    let mut bench = Bench::opened();
    bench.project.cluster.nodes.push(node("red02", Role::Worker));
    bench.project.cluster.nodes[0].role = Role::Worker;
    let before = bench.all();
    let (nodes, renewed) = ([hostname("red01")].into(), [hostname("red01")].into());
    let preview = pki::preview_for(&bench.project, &nodes, &renewed).unwrap();
    assert_eq!((preview.revoked.len(), bench.all()), (1, before.clone()), "a preview writes nothing");
    let record = Running::new(None, DockerSource::Docker, Vec::new());
    let identities = pki::open_for(&bench.project, &nodes, &renewed, &record).unwrap();
    assert_eq!(identities.revoked, preview.revoked);
    let changed: Vec<_> =
        bench.all().into_iter().filter(|(path, text)| before.get(path) != Some(text)).collect();
    let changed: Vec<_> = changed
        .iter()
        .map(|(path, _)| path.strip_prefix(bench.path("")).unwrap().to_str().unwrap())
        .collect();
    assert_eq!(
        changed,
        ["nodes/red01-key.pem", "nodes/red01.pem", "running.json"],
        "red02 is not brought in, red00 stays"
    );
    // Without need nothing is new.
    let now = bench.all();
    pki::open_for(&bench.project, &nodes, &BTreeSet::new(), &record).unwrap();
    assert_eq!(bench.all(), now);
}
