//! What becomes of a formed swarm: programs that die, cards written anew, cards that were copied.
//!
//! Real systemd, apt, Docker Engine and network, in the rack. Needs root and what `cargo xtask test` makes.
#![expect(clippy::unwrap_used, reason = "these are tests: a panic is how they fail")]

use std::collections::BTreeMap;
use std::time::Duration;

use cluster::wire::Board;
use tests::desk::Desk;
use tests::product::Product;
use tests::shelf::{Shelf, is_well};
use tests::wait;

/// Docker is installed anew on a card that was written anew.
const PATIENCE: Duration = Duration::from_secs(12 * 60);

/// The nodes' ids in the swarm.
fn ids(board: &Board) -> BTreeMap<String, String> {
    let id = |node: &cluster::wire::BoardNode| Some((node.name.to_string(), node.swarm.as_ref()?.id.clone()));
    board.nodes.iter().filter_map(id).collect()
}

fn run(shelf: &Shelf, node: &str, line: &str) -> String {
    let output = shelf.rack.exec(node, &["sh", "-c", line]).unwrap();
    assert!(output.status.success(), "{node}: {line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Waits until a service runs as another process than `before`.
fn wait_for_another(shelf: &Shelf, node: &str, service: &str, before: &str) {
    wait::until("another process", PATIENCE, || {
        let shown =
            shelf.rack.exec(node, &["systemctl", "show", "--property=MainPID", "--value", service])?;
        let process = String::from_utf8_lossy(&shown.stdout).trim().to_owned();
        Ok((process != "0" && !process.is_empty() && process != before).then_some(()))
    })
    .unwrap();
}

fn write_anew(shelf: &Shelf, node: &str) {
    shelf.rack.pull_plug(node).unwrap();
    shelf.rack.exchange(node, &shelf.card(node)).unwrap();
    shelf.rack.power_on(node).unwrap();
}

/// A swarm of the same nodes in which the ids of exactly `changed` are others.
fn wait_changed(shelf: &Shelf, before: &BTreeMap<String, String>, changed: &[&str]) -> Board {
    let is_other = |node: &String, id: &String| before.get(node) != Some(id);
    shelf
        .wait_board(PATIENCE, |board| {
            let now = ids(board);
            board.formed
                && now.iter().all(|(node, id)| is_other(node, id) == changed.contains(&node.as_str()))
        })
        .unwrap()
}

#[test]
fn a_swarm_outlives_dead_programs_new_cards_and_a_copied_one() {
    let product = Product::from_env().unwrap();
    let mut shelf = Shelf::build(&product, &Desk::small_cluster("{source: debian}", "plum[00-02]")).unwrap();
    for node in ["plum00", "plum01", "plum02"] {
        shelf.power_on(node).unwrap();
    }
    let formed = ids(&shelf.wait_formed(PATIENCE, |_| ()).unwrap());

    // Swarm's certificates outlive a year in a drawer. Docker's first ones would have 90 days whatever it is told.
    for node in ["plum00", "plum01", "plum02"] {
        let certificate = "/var/lib/docker/swarm/certificates/swarm-node.crt";
        run(&shelf, node, &format!("openssl x509 -in {certificate} -noout -checkend $((729 * 86400))"));
    }

    // Programs that are killed come back, and everybody stays who they were.
    for (node, service) in
        [("plum01", "docker"), ("plum02", "firstboot"), ("plum00", "firstboot"), ("plum00", "docker")]
    {
        let process = run(&shelf, node, &format!("systemctl show --property=MainPID --value {service}"));
        run(&shelf, node, &format!("kill -KILL {process}"));
        wait_for_another(&shelf, node, service, &process);
    }
    wait_changed(&shelf, &formed, &[]);

    // Another address, for a worker and then for the manager.
    for node in ["plum01", "plum00"] {
        let before = shelf.rack.address(node).unwrap();
        shelf.rack.change_address(node).unwrap();
        let board = shelf.wait_board(PATIENCE, |board| {
            let named = board.nodes.iter().find(|planned| planned.name.as_str() == node);
            let report = named.and_then(|planned| planned.report.as_ref());
            let moved = report.is_some_and(|report| report.address.is_some_and(|now| now != before));
            moved && is_well(board)
        });
        assert_ne!(shelf.rack.address(node), Some(before), "{board:?}");
    }
    let formed = ids(&wait_until_well(&shelf));

    // A worker's card written anew joins under its name, and its dead entry goes.
    write_anew(&shelf, "plum01");
    let board = wait_changed(&shelf, &formed, &["plum01"]);
    let listed = run(&shelf, "plum00", "docker node ls --format '{{.Hostname}}'");
    assert_eq!(listed.lines().count(), 3, "{listed}");

    // A card that is copied after its node has joined is noticed.
    shelf.rack.power_off("plum02").unwrap();
    let copy = shelf.folder().join("copy.img");
    std::fs::copy(shelf.rack.card("plum02").unwrap(), &copy).unwrap();
    shelf.rack.insert("twin", &copy).unwrap();
    shelf.rack.power_on("plum02").unwrap();
    shelf.rack.power_on("twin").unwrap();
    shelf
        .wait_board(PATIENCE, |board| {
            let error = board.nodes[2].report.as_ref().and_then(|report| report.error.as_ref());
            error.is_some_and(|error| error.message.starts_with("two machines report under this name"))
        })
        .unwrap();
    shelf.rack.pull_plug("twin").unwrap();
    let formed = ids(&wait_until_well(&shelf));
    assert_eq!(ids(&board)["plum00"], formed["plum00"]);

    // The only manager's card written anew: a new swarm, to which the workers come over by themselves.
    write_anew(&shelf, "plum00");
    wait_changed(&shelf, &formed, &["plum00", "plum01", "plum02"]);
}

#[test]
#[ignore = "ten minutes without a network; cargo xtask test --all"]
fn a_worker_that_starts_without_a_network_for_ten_minutes_comes_back() {
    let product = Product::from_env().unwrap();
    let mut shelf = Shelf::build(&product, &Desk::small_cluster("{source: debian}", "lone[00-01]")).unwrap();
    for node in ["lone00", "lone01"] {
        shelf.power_on(node).unwrap();
    }
    let formed = ids(&shelf.wait_formed(PATIENCE, |_| ()).unwrap());
    shelf.rack.pull_plug("lone01").unwrap();
    shelf.rack.power_on("lone01").unwrap();
    // The cable comes with the power; nothing uses it for seconds.
    wait::until("the cable", PATIENCE, || Ok(shelf.rack.set_link("lone01", false).ok())).unwrap();
    // Not a wait for anything: so long is what is tested.
    std::thread::sleep(Duration::from_secs(600));
    let gone = shelf.board(None).unwrap().unwrap();
    assert!(!gone.formed, "it cannot be there");
    shelf.rack.set_link("lone01", true).unwrap();
    assert_eq!(ids(&wait_until_well(&shelf)), formed);
}

fn wait_until_well(shelf: &Shelf) -> Board {
    shelf.wait_board(PATIENCE, is_well).unwrap()
}
