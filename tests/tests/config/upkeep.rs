//! What `builder` sees and changes of a swarm that has work to do, against a real Docker.

use std::time::Duration;

use serde_json::Value;
use tests::running::Running;
use tests::wait;

use crate::bench::{builder, holds, members, says, swarm_state, text};

/// A program that does nothing, and what it needs, as an image: nothing can be fetched here.
const IMAGE: &str = "tar -chf - -C / bin/sleep $(ldd /bin/sleep | grep -o '/lib[^ ]*' | sed s,^/,,) | docker import - sleeper";
const SERVICE: &str =
    "docker service create --detach --no-resolve-image --name lazy --replicas 2 sleeper /bin/sleep infinity";
/// Containers are started in seconds; this is for a machine that has more to do.
const PATIENCE: Duration = Duration::from_secs(120);

fn seen(pis: &Running) -> Value {
    serde_json::from_slice(&builder(pis, &["ls", "--json"], 0).stdout).unwrap()
}

/// How many tasks each of these nodes has, and the whole service.
fn tasks(pis: &Running, nodes: &[&str]) -> (Vec<usize>, u64) {
    let seen = seen(pis);
    let count = |name: &&str| {
        let mut listed = seen["nodes"].as_array().unwrap().iter();
        let node = listed.find(|node| node["name"] == **name).unwrap();
        node["tasks"].as_array().unwrap().len()
    };
    (nodes.iter().map(count).collect(), seen["services"][0]["running"].as_u64().unwrap())
}

/// `manager` and three workers of a formed swarm.
pub(crate) fn upkeep(pis: &Running, manager: &str, [first, second, third]: [&str; 3]) {
    for node in [first, second] {
        assert!(holds(pis, node, IMAGE), "{node}");
    }
    builder(pis, &["drain", third], 0);
    assert!(holds(pis, manager, SERVICE));
    wait::until("two tasks run, one on each", PATIENCE, || {
        Ok((tasks(pis, &[manager, first, second, third]) == (vec![0, 1, 1, 0], 2)).then_some(()))
    })
    .unwrap();
    let shown = text(&builder(pis, &["ls"], 0).stdout);
    assert!(shown.contains("lazy") && shown.contains("2/2"), "{shown}");

    // It comes back when nothing of the service runs there any more.
    builder(pis, &["drain", first], 0);
    assert_eq!(says(pis, first, "docker ps --quiet"), "");
    wait::until("both run on the other", PATIENCE, || {
        Ok((tasks(pis, &[first, second]) == (vec![0, 2], 2)).then_some(()))
    })
    .unwrap();
    builder(pis, &["activate", first, third], 0);
    let availability = "docker node ls --format '{{.Hostname}} {{.Availability}}'";
    let list = says(pis, manager, availability);
    assert!([first, third].iter().all(|node| list.contains(&format!("{node} Active"))), "{list}");

    builder(pis, &["label", first, "disk=ssd", "place=top"], 0);
    builder(pis, &["label", first, "place-"], 0);
    let labels = format!("docker node inspect --format '{{{{json .Spec.Labels}}}}' {first}");
    assert_eq!(says(pis, manager, &labels), r#"{"disk":"ssd"}"#);
    assert!(holds(pis, manager, "docker service rm lazy"));

    // Out and in again; the others notice nothing.
    let before = members(pis, manager);
    builder(pis, &["rm", "--yes", third], 0);
    assert_eq!(swarm_state(pis, third), "inactive");
    assert_eq!(members(pis, manager).len(), before.len() - 1);
    builder(pis, &["up"], 0);
    builder(pis, &["status", "--wait"], 0);
    let now = members(pis, manager);
    assert!(before.iter().all(|(node, id)| (now[node] == *id) == (node != third)), "{before:?} {now:?}");
}
