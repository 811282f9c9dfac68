//! A short soak, always the same; a long one: `cargo xtask soak`.
//!
//! Real systemd, apt, Docker Engine and network, in the rack. Needs root and what `cargo xtask test` makes.

use std::time::Duration;

use tests::product::Product;
use tests::soak::{self, Soak};

#[test]
fn two_minutes_of_trouble_leave_everybody_in_the_swarm() {
    let product = Product::from_env().unwrap();
    let soak = Soak { nodes: 3, managers: 1, seed: 7, time: Duration::from_secs(120) };
    let sum = soak::run(&product, soak, |line| println!("{line}")).unwrap();
    assert!(sum.bursts > 0 && sum.troubles >= sum.bursts);
}
