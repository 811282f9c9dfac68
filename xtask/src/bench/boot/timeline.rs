//! What a boot spent its time with, from its console and the node's own marks.

use anyhow::{Context, Result};
use cluster::wire::Stage;

use super::Boot;

/// A part of a boot.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Span {
    /// What happened.
    pub(super) name: &'static str,
    /// Seconds since power-on.
    pub(super) from: f64,
    /// Seconds since power-on.
    pub(super) to: f64,
    /// Whether it is builder's own part of the boot, and not the image's.
    pub(super) is_ours: bool,
}

/// What the console says first when a part begins, in the order of a boot.
const BEGINNINGS: [(&str, &str); 4] = [
    ("kernel", "Booting Linux on physical CPU"),
    ("initramfs", "Run /init as init process"),
    ("systemd, up to the seed stage", "systemd[1]: systemd "),
    ("seed stage", "Starting kernel-command-line"),
];
/// The parts that an image without us does not have.
const OURS: [&str; 3] = ["seed stage", "Docker: lists, packages, engine", "swarm init"];
/// What the seed stage says last.
const SEED_END: &str = "in the swarm by itself";

/// A boot of one node from power-on to its place in the swarm, without gaps.
pub(super) fn spans(boot: &Boot) -> Result<Vec<Span>> {
    let said = |text: &'static str| {
        let line = boot.console.lines().find(|line| line.contains(text));
        let at = line.and_then(|line| line.split_once(' ')?.0.parse::<f64>().ok());
        at.with_context(|| format!("the console has no line with {text:?}"))
    };
    let mark = |stage: Stage| {
        boot.stages
            .get(&stage)
            .copied()
            .with_context(|| format!("the node has no mark of {}", stage.as_str()))
    };
    let mut beginnings = vec![("QEMU", 0.0)];
    for (name, text) in BEGINNINGS {
        beginnings.push((name, said(text)?));
    }
    beginnings.push(("services and network", said(SEED_END)?));
    beginnings.push(("Docker: lists, packages, engine", mark(Stage::Clock)?));
    beginnings.push(("swarm init", mark(Stage::Docker)?));
    let ends = beginnings.iter().skip(1).map(|(_, at)| *at).chain([mark(Stage::Ready)?]);
    Ok(beginnings
        .iter()
        .zip(ends)
        .map(|(&(name, from), to)| Span { name, from, to, is_ours: OURS.contains(&name) })
        .collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_boot_has_no_gaps_and_a_missing_line_is_named() {
        let console = "0.001 power on\n0.9 [    0.0] Booting Linux on physical CPU 0x0\n\
                       12.5 Run /init as init process\n20.0 systemd[1]: systemd 257 running\n\
                       33.0          Starting kernel-command-line.service\n36.0 run[300]: in the swarm by itself;\n";
        let stages = BTreeMap::from([(Stage::Clock, 50.0), (Stage::Docker, 140.0), (Stage::Ready, 142.0)]);
        let boot = Boot { formed: 143.0, stages, console: console.to_owned() };
        let spans = spans(&boot).unwrap();
        assert_eq!(spans.first().map(|span| (span.from, span.to)), Some((0.0, 0.9)));
        assert!(spans.windows(2).all(|pair| pair[0].to == pair[1].from), "{spans:?}");
        assert_eq!(spans.last(), Some(&Span { name: "swarm init", from: 140.0, to: 142.0, is_ours: true }));
        let silent = Boot { console: String::new(), ..boot };
        assert!(super::spans(&silent).unwrap_err().to_string().contains("Booting Linux"));
    }
}
