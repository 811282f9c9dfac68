//! A lost card is turned away and its successor takes its place, with Docker's own Swarm; and what the lost card tells.
//!
//! Real systemd, apt, Docker Engine and network, in the rack. Needs root and what `cargo xtask test` makes.
#![expect(clippy::unwrap_used, reason = "these are tests: a panic is how they fail")]

use std::time::Duration;

use tests::desk::Desk;
use tests::product::Product;
use tests::shelf::Shelf;
use tests::wait;

/// Three installations of Docker share two cores and one network.
const PATIENCE: Duration = Duration::from_secs(12 * 60);

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Host names in the manager's own node list.
fn members(shelf: &Shelf) -> Vec<String> {
    let listed = shelf.rack.exec("grey00", &["docker", "node", "ls", "--format", "{{.Hostname}}"]).unwrap();
    let mut names: Vec<_> = text(&listed.stdout).lines().map(str::to_owned).collect();
    names.sort();
    names
}

fn token(shelf: &Shelf) -> String {
    let asked = shelf.rack.exec("grey00", &["docker", "swarm", "join-token", "-q", "worker"]).unwrap();
    text(&asked.stdout)
}

#[test]
fn a_lost_card_is_out_of_the_swarm_and_its_successor_is_in() {
    let product = Product::from_env().unwrap();
    let mut shelf = Shelf::build(&product, &Desk::small_cluster("{source: debian}", "grey[00-02]")).unwrap();
    for node in ["grey00", "grey01", "grey02"] {
        shelf.power_on(node).unwrap();
    }
    shelf.wait_formed(PATIENCE, |_| ()).unwrap();
    let before = token(&shelf);

    let revoked = shelf.builder(["revoke", "--yes", "grey01"]).unwrap();
    assert!(revoked.status.success(), "{}", text(&revoked.stderr));
    assert_eq!(
        text(&revoked.stdout),
        "grey01: the manager refuses its certificate from now on\n\
         grey01: it was removed from the swarm, and the join tokens were changed\n"
    );
    assert_eq!(members(&shelf), ["grey00", "grey02"]);
    assert_ne!(token(&shelf), before);
    // The lost Pi is still on, and asks in vain.
    let log = ["journalctl", "-q", "--no-pager", "-u", "firstboot"];
    wait::until("the refusal", PATIENCE, || {
        let said = text(&shelf.rack.exec("grey01", &log)?.stdout);
        Ok(said.contains("was revoked").then_some(()))
    })
    .unwrap();
    assert_eq!(members(&shelf), ["grey00", "grey02"]);

    // What its card says of it, once it had the time to write it down.
    let diary = ["grep", "-c", "was revoked", "/boot/firmware/swarm/log.txt"];
    wait::until("the diary", PATIENCE, || {
        Ok(shelf.rack.exec("grey01", &diary)?.status.success().then_some(()))
    })
    .unwrap();
    shelf.rack.power_off("grey01").unwrap();
    let card = shelf.rack.card("grey01").unwrap();
    let why = shelf.builder(["why", "grey01", "--card", &card.to_string_lossy()]).unwrap();
    let said = text(&why.stdout);
    assert!(why.status.success(), "{}", text(&why.stderr));
    assert!(said.contains("This card belongs to grey01, a worker of the cluster red."), "{said}");
    assert!(said.contains(" ready said this stage begins"), "{said}");
    assert!(!said.contains("the root partition tells nothing"), "{said}");
    assert!(
        said.ends_with(
            "what to do: Its certificate was revoked. Write a card with a new one: sudo builder flash grey01, or its image: builder build \
             --force grey01\n"
        ),
        "{said}"
    );

    // The lost card's own image is still there.
    let built = shelf.builder(["build", "--force", "grey01"]).unwrap();
    assert!(built.status.success(), "{}", text(&built.stderr));
    shelf.rack.insert("again01", &shelf.folder().join("cards/grey01.img")).unwrap();
    shelf.rack.power_on("again01").unwrap();
    shelf.wait_formed(PATIENCE, |_| ()).unwrap();
    assert_eq!(members(&shelf), ["grey00", "grey01", "grey02"]);
    let why = shelf.builder(["why", "grey01"]).unwrap();
    assert!(text(&why.stdout).ends_with("what to do: Nothing is wrong: grey01 is a member of the swarm.\n"));
}
