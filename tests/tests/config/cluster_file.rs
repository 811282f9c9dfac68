//! A cluster file instead of the lesson's, for Pis that already run: its names, labels and user, and the user's own ssh.

use std::fs;
use std::process::{Output, Stdio};
use std::time::Duration;

use tests::product::Product;
use tests::running::Running;
use tests::wait;

use crate::bench::{holds, members, says, swarm_state, text};

const NODES: [&str; 2] = ["teal00", "teal01"];

fn builder(pis: &Running, words: &[&str]) -> Output {
    let output = pis.builder(words).unwrap();
    assert!(
        output.status.success(),
        "{words:?}\n{}\n{}\n{}",
        text(&output.stdout),
        text(&output.stderr),
        pis.consoles()
    );
    output
}

#[test]
fn a_cluster_files_nodes_that_already_run_are_brought_in_under_their_names() {
    let pis = Running::start(&Product::from_env().unwrap(), &NODES).unwrap();
    let file = "version: 1\ncluster: teal\nimage: pios-like.img.xz\nnodes: teal[00-01]\n\
                user: {name: pi, authorized_keys: [.ssh/id_ed25519.pub]}\ndocker: {source: debian}\n\
                per_node:\n  teal01: {labels: {disk: ssd}}\n";
    fs::write(pis.folder().join("cluster.yaml"), file).unwrap();
    // Where the names lead, only the user's own ssh knows.
    let hosts: String = NODES
        .iter()
        .map(|node| format!("Host {node}\n    HostName {}\n", pis.address(node).unwrap()))
        .collect();
    let own = fs::read_to_string(pis.ssh_config()).unwrap();
    fs::write(pis.ssh_config(), hosts + &own).unwrap();

    builder(&pis, &["config", "-F", "ssh_config"]);
    let formed = members(&pis, NODES[0]);
    assert_eq!(formed.keys().collect::<Vec<_>>(), NODES);
    let labels = "docker node inspect --format '{{json .Spec.Labels}}' teal01";
    // The manager labels its nodes in its next round.
    wait::until("the label", Duration::from_secs(60), || {
        Ok((says(&pis, NODES[0], labels) == r#"{"disk":"ssd"}"#).then_some(()))
    })
    .unwrap();

    let again = text(&builder(&pis, &["config", "-F", "ssh_config"]).stdout);
    assert_eq!(again.matches("nothing: it is as wanted").count(), NODES.len(), "{again}");
    assert_eq!(members(&pis, NODES[0]), formed);
    // Their host keys are their own: those that a card would have are not asked for.
    let ran = text(&builder(&pis, &["exec", "-F", "ssh_config", "--group", "--", "uname", "-n"]).stdout);
    assert!(NODES.iter().all(|node| ran.contains(&format!("{node}\n"))), "{ran}");
    builder(&pis, &["status", "--wait"]);
    one_less_and_one_more(&pis, file);
    another_cluster(&pis, file);
}

/// A node that is no longer in the file leaves, and comes in again when it is back there.
fn one_less_and_one_more(pis: &Running, file: &str) {
    let before = members(pis, NODES[0]);
    let (all, _) = file.split_once("per_node:").unwrap();
    fs::write(pis.folder().join("cluster.yaml"), all.replace("teal[00-01]", "teal00")).unwrap();
    builder(pis, &["config", "-F", "ssh_config", "--yes"]);
    assert_eq!(members(pis, NODES[0]).keys().collect::<Vec<_>>(), NODES[..1].iter().collect::<Vec<_>>());
    assert_eq!(swarm_state(pis, NODES[1]), "inactive");
    assert!(!holds(pis, NODES[1], "test -e /var/lib/firstboot"), "our agent is off it");
    let again = text(&builder(pis, &["config", "-F", "ssh_config", "--yes"]).stdout);
    assert!(!again.contains(NODES[1]), "it is done with: {again}");

    fs::write(pis.folder().join("cluster.yaml"), file).unwrap();
    // Nobody waits, and it comes in all the same.
    builder(pis, &["config", "-F", "ssh_config", "--no-wait"]);
    builder(pis, &["status", "--wait"]);
    let now = members(pis, NODES[0]);
    assert_eq!(now.keys().collect::<Vec<_>>(), NODES);
    assert_eq!(now[NODES[0]], before[NODES[0]]);
    assert_ne!(now[NODES[1]], before[NODES[1]]);
}

/// Somebody else with a key of the Pis: they are left alone until told to come over, and then it is another swarm.
fn another_cluster(pis: &Running, file: &str) {
    let before = members(pis, NODES[0]);
    fs::write(pis.folder().join("other.yaml"), file.replace("cluster: teal", "cluster: other")).unwrap();
    let config = ["-f", "other.yaml", "config", "-F", "ssh_config"];
    let refused = pis.builder(config).unwrap();
    let talk = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(6), "{talk}");
    assert!(talk.contains("teal[00-01]: it belongs to the cluster teal\n"), "{talk}");
    assert!(talk.contains("--take-over"), "{talk}");
    assert_eq!(members(pis, NODES[0]), before);
    assert!(!pis.folder().join("other.secrets").exists());

    let mut unasked = pis.command([&config[..], &["--take-over"]].concat());
    let unasked = unasked.stdin(Stdio::null()).output().unwrap();
    assert_eq!(unasked.status.code(), Some(2), "{}", text(&unasked.stderr));
    assert_eq!(members(pis, NODES[0]), before);

    builder(pis, &[&config[..], &["--take-over", "--yes"]].concat());
    let after = members(pis, NODES[0]);
    assert!(after.keys().eq(before.keys()) && after.values().all(|id| before.values().all(|old| old != id)));
}
