//! A Pi that calls itself like another: its name alone does not give it that node's key, at real Pis and with a swarm that runs.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tests::product::Product;
use tests::running::Running;
use tests::wait;

use crate::bench::{builder, command, holds, members, says, text};

const MANAGER: &str = "plum00";
const WORKER: &str = "plum01";
const OTHER: &str = "plum02";
/// For the managers to remove what a revoked node left in their list.
const PATIENCE: Duration = Duration::from_secs(5 * 60);

/// SHA-256 of the key that a Pi has, which stays there.
fn key(pis: &Running, node: &str) -> String {
    says(pis, node, "sha256sum /var/lib/firstboot/node-key.pem | cut -c -64")
}

#[test]
fn a_pi_under_the_name_of_another_gets_a_key_of_its_own_and_only_when_told() {
    let pis = Running::start(&Product::from_env().unwrap(), &[MANAGER, WORKER, OTHER]).unwrap();
    pis.write_hostnames(MANAGER, &[WORKER]).unwrap();
    builder(&pis, &["config"], 0);
    let before = members(&pis, MANAGER);
    let former = key(&pis, WORKER);

    // The other Pi takes the worker's name while that is off.
    assert!(holds(&pis, OTHER, &format!("hostnamectl set-hostname {WORKER}")));
    pis.rack.set_link(WORKER, false).unwrap();
    pis.write_hostnames(MANAGER, &[OTHER]).unwrap();
    let refused = command(&pis, &["config", "--json"]).stdin(Stdio::null()).output().unwrap();
    assert_eq!(refused.status.code(), Some(6), "{}", text(&refused.stderr));
    let told: Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!(told["hosts"][1]["result"], "unfit", "{told}");
    assert!(!holds(&pis, OTHER, "test -e /var/lib/firstboot"), "it was left alone");
    assert_eq!(members(&pis, MANAGER).get(MANAGER), before.get(MANAGER));

    let replacement = format!("{WORKER}={}", pis.address(OTHER).unwrap());
    builder(&pis, &["config", "--replace", &replacement], 0);
    assert_ne!(key(&pis, OTHER), former);
    let now = wait::until("the worker is another member", PATIENCE, || {
        let list = says(&pis, MANAGER, "docker node ls --format '{{.Hostname}} {{.ID}}'");
        let named: Vec<_> = list.lines().filter(|line| line.starts_with(WORKER)).collect();
        let is_other = named.len() == 1 && !named[0].ends_with(&before[WORKER]);
        Ok(is_other.then(|| named[0].to_owned()))
    });
    now.unwrap();
    let record = fs::read_to_string(pis.secrets().unwrap().join("running.json")).unwrap();
    let shown = says(&pis, OTHER, "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub | cut -d ' ' -f 2");
    assert!(record.contains(&shown), "{shown}: {record}");

    // The former worker is back, and gets nothing.
    pis.rack.set_link(WORKER, true).unwrap();
    pis.wait_booted(WORKER).unwrap();
    pis.write_hostnames(MANAGER, &[WORKER]).unwrap();
    let back = command(&pis, &["config", "--json"]).stdin(Stdio::null()).output().unwrap();
    assert_eq!(back.status.code(), Some(6), "{}", text(&back.stderr));
    assert_eq!(key(&pis, WORKER), former);
}
