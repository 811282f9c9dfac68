//! What `builder` sees and changes of a swarm, against a real Docker. A rack's nodes start no containers (their part of the
//! cgroup tree cannot be written), so a service is wanted there, and nothing of it runs.

use serde_json::Value;
use tests::running::Running;

use crate::bench::{builder, holds, members, says, swarm_state, text};

/// Of an image that no node has.
const SERVICE: &str = "docker service create --detach --no-resolve-image --name lazy --replicas 2 \
                       --publish 8080:80 sleeper /bin/sleep infinity";

/// `manager` and two workers of a formed swarm.
pub(crate) fn upkeep(pis: &Running, manager: &str, [first, second]: [&str; 2]) {
    assert!(holds(pis, manager, SERVICE));
    let seen: Value = serde_json::from_slice(&builder(pis, &["ls", "--json"], 0).stdout).unwrap();
    let service = &seen["services"][0];
    assert_eq!((service["name"].as_str(), service["mode"].as_str()), (Some("lazy"), Some("replicated")));
    assert_eq!((service["running"].as_u64(), service["desired"].as_u64()), (Some(0), Some(2)), "{seen}");
    assert_eq!(service["ports"][0]["published"].as_u64(), Some(8080), "{seen}");
    let shown = text(&builder(pis, &["ls"], 0).stdout);
    assert!(shown.contains("lazy") && shown.contains("0/2"), "{shown}");
    assert!(holds(pis, manager, "docker service rm lazy"));

    let availability = |node: &str| {
        says(pis, manager, &format!("docker node inspect --format '{{{{.Spec.Availability}}}}' {node}"))
    };
    builder(pis, &["drain", first, second], 0);
    assert_eq!([first, second].map(availability), ["drain", "drain"]);
    builder(pis, &["activate", first, second], 0);
    assert_eq!([first, second].map(availability), ["active", "active"]);

    builder(pis, &["label", first, "disk=ssd", "place=top"], 0);
    builder(pis, &["label", first, "place-"], 0);
    let labels = format!("docker node inspect --format '{{{{json .Spec.Labels}}}}' {first}");
    assert_eq!(says(pis, manager, &labels), r#"{"disk":"ssd"}"#);

    // Out and in again; the others notice nothing.
    let before = members(pis, manager);
    builder(pis, &["rm", "--yes", second], 0);
    assert_eq!(swarm_state(pis, second), "inactive");
    assert_eq!(members(pis, manager).len(), before.len() - 1);
    builder(pis, &["up"], 0);
    builder(pis, &["status", "--wait"], 0);
    let now = members(pis, manager);
    assert!(
        before.iter().all(|(node, id)| (now[node] == *id) == (node != second)),
        "{second}: {before:?} {now:?}"
    );
}
