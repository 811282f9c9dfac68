//! Commands in messages are about the cluster that the message is about, in a folder with two of them. The real binary.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

use std::fs;
use std::path::Path;
use std::process::Command;

use builder::pki::{self, Running, RunningHost};
use builder::project;
use cluster::card::DockerSource;
use cluster::identity::Role;
use cluster::name::Hostname;
use tempfile::TempDir;

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti anna@laptop";

/// A cluster file of Pis with cards, and beside it two Pis that `builder config` made a swarm.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let cluster = "version: 1\ncluster: red\nimage: os.img\nnodes: red[00-01]\n";
    let keys = format!("user: {{name: pi, authorized_keys: ['{KEY}']}}\n");
    fs::write(folder.path().join("cluster.yaml"), format!("{cluster}{keys}")).unwrap();
    let hosts = folder.path().join("hostnames.yaml");
    fs::write(&hosts, "manager: 127.0.0.1\nworker: 127.0.0.2\n").unwrap();
    let host = |host: &str, name: &str, role| RunningHost {
        host: host.to_owned(),
        name: Hostname::try_from(name).unwrap(),
        role,
        address: None,
    };
    let list = vec![host("127.0.0.1", "old00", Role::Manager), host("127.0.0.2", "old01", Role::Worker)];
    let running = Running::new(None, DockerSource::Docker, list);
    let made = project::of_running(&hosts, &running);
    pki::open(&made).unwrap();
    pki::remember_running(&made, &running).unwrap();
    folder
}

/// Everything a run says.
fn said(folder: &Path, words: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_builder"));
    let output = command.args(words).current_dir(folder).env_clear().env("HOME", folder).output().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

#[test]
fn beside_a_cluster_file_every_hint_names_the_list_of_hosts() {
    let folder = folder();
    let kill = said(folder.path(), &["kill", "-f", "hostnames.yaml"]);
    assert!(kill.ends_with("hint: if you are sure: builder kill -f hostnames.yaml --yes\n"), "{kill}");
    let check = said(folder.path(), &["check", "-f", "hostnames.yaml"]);
    assert!(
        check.contains("a good list of hosts: builder config hostnames.yaml makes them a swarm"),
        "{check}"
    );
    // Of the library's own hints, too, where nothing is known of the file.
    fs::remove_file(folder.path().join("hostnames.secrets/operator-key.pem")).unwrap();
    let next = "hint: then: sudo builder flash -f hostnames.yaml, or for images: builder build -f hostnames.yaml --force; for Pis \
                that ran before: builder config hostnames.yaml --take-over\n";
    // A file that is the command's own argument is one, too.
    for words in [&["status", "-f", "hostnames.yaml"][..], &["config", "hostnames.yaml", "--dry-run"]] {
        let said = said(folder.path(), words);
        assert!(said.contains(next), "{words:?}: {said}");
    }
}

#[test]
fn a_file_that_would_be_taken_anyway_is_not_named() {
    let folder = folder();
    let kill = said(folder.path(), &["kill"]);
    assert!(kill.ends_with("hint: if you are sure: builder kill --yes\n"), "{kill}");
    fs::remove_file(folder.path().join("cluster.yaml")).unwrap();
    for words in [&["kill"][..], &["kill", "-f", "hostnames.yaml"]] {
        let kill = said(folder.path(), words);
        assert!(kill.ends_with("hint: if you are sure: builder kill --yes\n"), "{kill}");
    }
    fs::rename(folder.path().join("hostnames.yaml"), folder.path().join("my hosts.yaml")).unwrap();
    let status = said(folder.path(), &["status", "-f", "my hosts.yaml"]);
    assert!(status.ends_with("hint: builder config 'my hosts.yaml'\n"), "{status}");
}
