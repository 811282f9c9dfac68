//! This checkout's card against an earlier commit's: the same image, one boot of each in turn.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ::tests::desk::Desk;
use ::tests::product::Product;
use anyhow::Result;
use cluster::wire::Stage;
use serde::Serialize;

use super::{Boot, NODE, boot_ours, keep_log, median, median_of};
use crate::{baseline, setup};

/// The architecture of the emulated Pi, as Rust names it.
const AGENT: [&str; 1] = ["aarch64"];

/// What came out. Times are seconds since power-on, ratios are this checkout's time divided by the baseline's.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// The commit that was compared with.
    baseline: String,
    /// Median time until the swarm was formed, by this checkout's card.
    builder_s: f64,
    /// Median time of the baseline's card.
    baseline_s: f64,
    /// Median of the pairs' ratios: the two boots of a pair share the machine's mood.
    baseline_ratio: f64,
    /// Every pair, this checkout's time first.
    pairs: Vec<(f64, f64)>,
    /// When this checkout's node had finished each stage, medians of all boots.
    stages: BTreeMap<&'static str, f64>,
    /// The same of the baseline's node.
    baseline_stages: BTreeMap<&'static str, f64>,
}

/// Boots `pairs` pairs of cards, and keeps the consoles in a folder, if one is given.
pub(super) fn run(product: &Product, revision: &str, pairs: u32, logs: Option<&Path>) -> Result<Report> {
    let old = Product { builder: baseline::product(revision, &AGENT)?, ..product.clone() };
    let file = Desk::small_cluster("{source: debian}", NODE);
    let (desk, old_desk) = (Desk::build(product, &file)?, Desk::build(&old, &file)?);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for pair in 1..=pairs {
        setup::say(&format!("pair {pair} of {pairs}: booting this checkout's card"));
        ours.push(boot_ours(&desk, &desk.card(NODE))?);
        setup::say(&format!("pair {pair} of {pairs}: booting the card of {revision}"));
        theirs.push(boot_ours(&old_desk, &old_desk.card(NODE))?);
        if let Some(folder) = logs {
            fs::create_dir_all(folder)?;
            for (name, boots) in [("this", &ours), ("baseline", &theirs)] {
                if let Some(boot) = boots.last() {
                    keep_log(folder, &format!("{name}-{pair}"), boot)?;
                }
            }
        }
    }
    Ok(Report::new(revision, &ours, &theirs))
}

impl Report {
    fn new(revision: &str, ours: &[Boot], theirs: &[Boot]) -> Self {
        let pairs: Vec<_> = ours.iter().zip(theirs).map(|(our, their)| (our.formed, their.formed)).collect();
        let stages = |boots: &[Boot]| {
            let times = |stage| boots.iter().filter_map(move |boot| boot.stages.get(&stage).copied());
            let all = Stage::ALL.into_iter().filter(|stage| times(*stage).next().is_some());
            all.map(|stage| (stage.as_str(), median_of(times(stage)))).collect()
        };
        Self {
            baseline: revision.to_owned(),
            builder_s: median(ours),
            baseline_s: median(theirs),
            baseline_ratio: median_of(pairs.iter().map(|(our, their)| our / their)),
            pairs,
            stages: stages(ours),
            baseline_stages: stages(theirs),
        }
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        let mut text = format!("seconds from power-on{:>22}{:>12}\n", "this", self.baseline);
        for stage in Stage::ALL.map(Stage::as_str) {
            if let (Some(our), Some(their)) = (self.stages.get(stage), self.baseline_stages.get(stage)) {
                text.push_str(&format!("{stage:<36}{our:>7.1}{their:>12.1}\n"));
            }
        }
        text.push_str(&format!("{:<36}{:>7.1}{:>12.1}\n", "swarm formed", self.builder_s, self.baseline_s));
        text + &format!("baseline_ratio{:>29.2}", self.baseline_ratio)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot(formed: f64) -> Boot {
        let stages = BTreeMap::from([(Stage::Ready, formed)]);
        Boot { formed, stages, words: Vec::new(), console: String::new() }
    }

    #[test]
    fn the_ratio_is_the_median_of_the_pairs() {
        // The machine was busy during the second pair: neither card's time alone says which is faster.
        let report = Report::new("abc", &[90.0, 180.0, 80.0].map(boot), &[100.0, 200.0, 100.0].map(boot));
        assert!((report.baseline_ratio - 0.9).abs() < 1e-9, "{report:?}");
        assert!((report.builder_s - 90.0).abs() < 1e-9 && (report.baseline_s - 100.0).abs() < 1e-9);
        assert_eq!(report.pairs.len(), 3);
        assert_eq!(report.stages, BTreeMap::from([("ready", 90.0)]));
    }
}
