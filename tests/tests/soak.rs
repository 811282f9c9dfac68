//! A short soak, always the same; a long one: `cargo xtask soak`.
//!
//! Real systemd, apt, Docker Engine and network, in the rack. Needs root and what `cargo xtask test` makes.

use std::time::Duration;

use tests::product::Product;
use tests::soak::{self, Racked};

#[test]
fn two_minutes_of_trouble_leave_everybody_in_the_swarm() {
    let product = Product::from_env().unwrap();
    let mut rack = Racked::form(&product, 3, 1).unwrap();
    let sum = soak::run(&mut rack, 7, Duration::from_secs(120), |line| println!("{line}")).unwrap();
    assert!(sum.bursts > 0 && sum.troubles >= sum.bursts);
}
