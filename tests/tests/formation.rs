//! The main claim: cards made by `builder` from one file become a swarm with nobody touching anything.
//!
//! Each test has node names of its own: two racks may run at once, and this machine asks both for `.local` names.
//!
//! Real systemd, apt, Docker Engine, sshd and network, in the rack. Needs root and what `cargo xtask test` makes.
use std::process::Command;
use std::time::Duration;

use cluster::identity::Role;
use cluster::wire::{Board, BoardNode};
use serde_json::Value;
use tests::desk::Desk;
use tests::inspect::Fat;
use tests::product::Product;
use tests::repo::Repo;
use tests::shelf::Shelf;
use tests::wait;

/// Several installations of Docker share two cores and one network; a formed swarm ends the wait.
const PATIENCE: Duration = Duration::from_secs(12 * 60);
const NODES: [&str; 5] = ["red00", "red01", "red02", "red03", "red04"];

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn assert_formed(board: &Board, nodes: &[&str]) {
    assert!(board.formed);
    let names: Vec<String> = board.nodes.iter().map(|node| node.name.to_string()).collect();
    assert_eq!(names, nodes);
    for node in &board.nodes {
        let entry = node.swarm.as_ref().unwrap_or_else(|| panic!("{} is not in the node list", node.name));
        assert_eq!(entry.state, "ready", "{}", node.name);
        let manages = node.role == Role::Manager;
        assert_eq!(entry.leader, manages, "{}", node.name);
        assert_eq!(entry.availability, if manages { "drain" } else { "active" }, "{}", node.name);
    }
}

#[test]
fn five_cards_become_a_swarm() {
    let product = Product::from_env().unwrap();
    let file = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/red.yaml")).unwrap();
    let mut shelf = Shelf::build(&product, &file).unwrap();

    // Nobody is there yet.
    let unreachable = shelf.builder(["status", "--json"]).unwrap();
    assert_eq!(unreachable.status.code(), Some(5), "{}", text(&unreachable.stderr));
    assert!(text(&unreachable.stderr).contains("hint:"), "{}", text(&unreachable.stderr));

    for node in NODES {
        let key =
            std::fs::read_to_string(shelf.secrets().unwrap().join(format!("nodes/{node}-key.pem"))).unwrap();
        // Else the search below would find nothing for the wrong reason.
        assert!(Fat::of(&shelf.card(node)).holds_anywhere(key.lines().nth(1).unwrap()).unwrap(), "{node}");
        shelf.power_on(node).unwrap();
    }
    // The manager answers from its first second on the network, long before there is a Docker.
    shelf.wait_board(PATIENCE, |_| true).unwrap();
    let waited = shelf.builder(["status", "--wait", "--timeout", "1s"]).unwrap();
    assert_eq!(waited.status.code(), Some(6), "{}", text(&waited.stderr));

    let board = shelf.wait_formed(PATIENCE, |_| ()).unwrap();
    assert_formed(&board, &NODES);

    let status = shelf.builder(["status", "--json"]).unwrap();
    assert_eq!(status.status.code(), Some(0), "{}", text(&status.stderr));
    let json: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(json["formed"], Value::Bool(true));
    assert_eq!(json["nodes"].as_array().map(Vec::len), Some(5));
    assert_eq!(json["nodes"][0]["swarm"]["leader"], Value::Bool(true));
    assert_eq!(json["nodes"][0]["swarm"]["availability"], "drain");
    let waited = shelf.builder(["status", "--wait"]).unwrap();
    assert_eq!(waited.status.code(), Some(0), "{}", text(&waited.stderr));

    for node in NODES {
        // The very first DHCP request, in the seed-staged system's first boot with a network, carried the final name.
        let told = shelf.rack.dhcp_names(node).unwrap();
        assert!(!told.is_empty() && told.iter().all(|name| name == node), "{node} told DHCP {told:?}");

        let who = shelf.ssh(node, "hostname; id -un; sudo -n id -u; sudo -n ls /var/lib/firstboot").unwrap();
        assert!(who.status.success(), "{node}: {}", text(&who.stderr));
        let said = text(&who.stdout);
        assert!(said.starts_with(&format!("{node}\npi\n0\n")), "{node}: {said}");
        let modes =
            shelf.ssh(node, "sudo -n stat -c %a /var/lib/firstboot /var/lib/firstboot/node-key.pem").unwrap();
        assert_eq!(text(&modes.stdout), "700\n600\n", "{node}");

        // The token is a bearer secret: it is in no log and no state of ours.
        let leak = "sudo -n sh -c 'journalctl -q --no-pager; cat /var/lib/firstboot/*' | grep -c SWMTKN";
        assert_eq!(text(&shelf.ssh(node, leak).unwrap().stdout), "0\n", "{node} has the token written down");
    }
    // Password logins are off, and another key is nobody.
    let stranger = Command::new("ssh")
        .arg("-F")
        .arg(shelf.secrets().unwrap().join("ssh_config"))
        .args([
            "-o",
            "BatchMode=yes",
            "-o",
            "IdentityFile=/dev/null",
            "-o",
            "IdentitiesOnly=yes",
            "red01",
            "true",
        ])
        .env_remove("SSH_AUTH_SOCK")
        .output()
        .unwrap();
    assert_eq!(stranger.status.code(), Some(255), "{}", text(&stranger.stderr));
    assert!(text(&stranger.stderr).contains("Permission denied (publickey)"), "{}", text(&stranger.stderr));

    for node in NODES {
        shelf.rack.power_off(node).unwrap();
        let fat = Fat::of(&shelf.rack.card(node).unwrap());
        let (files, cmdline) = (fat.files().unwrap(), fat.text("cmdline.txt").unwrap());
        for secret in ["node-key.pem", "ssh-host-key\n", "secrets.json", "userconf.txt"] {
            assert!(!files.contains(secret), "{node} still has {secret}:\n{files}");
        }
        let status = fat.text("swarm/status.txt").unwrap();
        assert!(status.starts_with(&format!("This card belongs to {node},")), "{status}");
        for key in [format!("{node}-key.pem"), format!("{node}-ssh-host-key")] {
            let key = std::fs::read_to_string(shelf.secrets().unwrap().join("nodes").join(key)).unwrap();
            let line = key.lines().nth(1).unwrap();
            assert!(!fat.holds_anywhere(line).unwrap(), "{node} still has a private key's bytes");
        }
        assert!(cmdline.split_whitespace().any(|word| word == "cgroup_enable=memory"), "{node}: {cmdline}");
        assert!(!cmdline.split_whitespace().any(cluster::hook::is_hook_token), "{node}: {cmdline}");
    }
}

#[test]
fn workers_wait_for_a_manager_that_comes_two_minutes_late() {
    let product = Product::from_env().unwrap();
    let mut shelf = Shelf::build(&product, &Desk::small_cluster("{source: debian}", "blue[00-02]")).unwrap();
    shelf.power_on("blue02").unwrap();
    shelf.power_on("blue01").unwrap();
    // The scenario itself, not a wait for something to become true.
    std::thread::sleep(Duration::from_secs(120));
    shelf.power_on("blue00").unwrap();
    let board = shelf.wait_formed(PATIENCE, |_| ()).unwrap();
    assert_formed(&board, &["blue00", "blue01", "blue02"]);
}

#[test]
fn docker_comes_from_a_signed_repository_and_only_from_the_right_key() {
    let product = Product::from_env().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let repo =
        Repo::new(&folder.path().join("repo"), "trixie", &images::host_architecture().unwrap()).unwrap();

    let mut shelf = Shelf::prepare(&product).unwrap();
    let server = repo.serve(shelf.rack.gateway()).unwrap();
    std::fs::write(shelf.folder().join("right.asc"), repo.key()).unwrap();
    let docker = format!("{{source: docker, url: \"{}\", key: right.asc}}", server.url());
    shelf.make_cards(&Desk::small_cluster(&docker, "green00")).unwrap();
    shelf.power_on("green00").unwrap();
    let board = shelf.wait_formed(PATIENCE, |_| ()).unwrap();
    assert_formed(&board, &["green00"]);
    let installed = shelf.rack.exec("green00", &["dpkg-query", "-W", "-f=${Version}", "docker-ce"]).unwrap();
    assert_eq!(text(&installed.stdout), repo.version());
    drop(shelf);

    // The same repository, but the card knows Docker's own key only: nothing of it may be installed.
    let mut shelf = Shelf::prepare(&product).unwrap();
    let server = repo.serve(shelf.rack.gateway()).unwrap();
    let docker = format!("{{source: docker, url: \"{}\"}}", server.url());
    shelf.make_cards(&Desk::small_cluster(&docker, "green00")).unwrap();
    shelf.power_on("green00").unwrap();
    let refused = |board: &Board| board.nodes.iter().any(|node| error_of(node).is_some());
    let board = shelf.wait_board(PATIENCE, refused).unwrap();
    let error = error_of(&board.nodes[0]).unwrap();
    assert!(error.contains("Missing key") && error.contains("needed to verify signature"), "{error}");
    let installed = shelf.rack.exec("green00", &["dpkg-query", "-W", "docker-ce"]).unwrap();
    assert!(!installed.status.success(), "{}", text(&installed.stdout));
}

fn error_of(node: &BoardNode) -> Option<&str> {
    Some(node.report.as_ref()?.error.as_ref()?.message.as_str())
}

/// The other cluster's manager is on first, so `pink00.local` is its, and avahi gives ours another name.
#[test]
fn two_clusters_with_the_same_names_share_a_network() {
    let product = Product::from_env().unwrap();
    let file = Desk::small_cluster("{source: debian}", "pink[00-01]");
    let other = Desk::build(&product, &file).unwrap();
    let mut shelf = Shelf::build(&product, &file).unwrap();
    shelf.rack.insert("other00", &other.card("pink00")).unwrap();
    shelf.rack.power_on("other00").unwrap();
    let theirs = wait::until("the other manager", PATIENCE, || other.board(None)).unwrap().cluster_id;

    for node in ["pink00", "pink01"] {
        shelf.power_on(node).unwrap();
    }
    // Who answers first for the name that both managers have is not known beforehand: `neighbours.rs` of the agent's tests and
    // `another_clusters_manager_is_named_and_ours_is_found` test that the other one is named.
    wait::until("our manager", PATIENCE, || {
        Ok((shelf.builder(["status"])?.status.code() == Some(0)).then_some(()))
    })
    .unwrap();
    let board = shelf.wait_formed(PATIENCE, |_| ()).unwrap();
    assert_formed(&board, &["pink00", "pink01"]);
    assert_ne!(board.cluster_id, theirs);
}
