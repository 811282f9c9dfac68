//! Cards that come back.

use builder::why::card;

use crate::field::OnDisk;
use crate::{field, images, mutate};

const CASES: u32 = 1500;

#[test]
fn a_card_is_refused_or_tells_what_it_says() {
    let images = images("card");
    let [image] = &images[..] else { panic!("one card") };
    let disk = OnDisk::new(image);
    let good = card::read(disk.file.path()).unwrap();
    assert_eq!((good.events.len(), good.root_problem), (1, None));
    mutate::run("card", CASES, &field::damaged(&images), |(_, patches)| {
        disk.with(image, patches, |_| {
            let Ok(evidence) = card::read(disk.file.path()) else { return };
            let case = evidence.case();
            assert_eq!(case.node, evidence.card.node.to_string());
            // The card's owner is told of no other node's events than those in its log.
            let text = evidence.status.unwrap_or_default();
            assert!(text.len() + evidence.events.len() < 4 << 20);
            let json = serde_json::to_vec(&evidence.card).unwrap();
            assert_eq!(cluster::card::Card::from_json(&json).unwrap(), evidence.card);
        });
    });
}
