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
const BEGINNINGS: [(&str, &str); 7] = [
    ("kernel", "Booting Linux on physical CPU"),
    ("initramfs", "Run /init as init process"),
    ("systemd, disks", "systemd[1]: systemd "),
    ("first start of the image", "Reached target local-fs.target"),
    ("seed stage", "Starting kernel-command-line"),
    ("systemd reads its units anew", "in the swarm by itself"),
    ("services, network", "Reached target paths.target"),
];
/// The parts that an image without us does not have.
const OURS: [&str; 6] = [
    "seed stage",
    "systemd reads its units anew",
    "clock",
    "package lists",
    "Docker: packages, start",
    "swarm init",
];

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
    beginnings.push(("clock", mark(Stage::Network)?));
    beginnings.push(("package lists", mark(Stage::Clock)?));
    let installing = boot.words.iter().find(|(_, word)| word.starts_with("installing "));
    let (installing, _) = installing.context("the node did not say that it installs")?;
    beginnings.push(("Docker: packages, start", *installing));
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
                       28.0 [  OK  ] Reached target local-fs.target - Local File Systems.\n\
                       33.0          Starting kernel-command-line.service\n36.0 run[300]: in the swarm by itself;\n\
                       38.0 [  OK  ] Reached target paths.target - Path Units.\n";
        let stages = BTreeMap::from([
            (Stage::Network, 49.0),
            (Stage::Clock, 50.0),
            (Stage::Docker, 140.0),
            (Stage::Ready, 142.0),
        ]);
        let words = vec![(70.0, "installing docker.io".to_owned())];
        let boot = Boot { formed: 143.0, stages, words, console: console.to_owned() };
        let spans = spans(&boot).unwrap();
        assert_eq!(spans.first().map(|span| (span.from, span.to)), Some((0.0, 0.9)));
        assert!(spans.windows(2).all(|pair| pair[0].to == pair[1].from), "{spans:?}");
        assert_eq!(spans.last(), Some(&Span { name: "swarm init", from: 140.0, to: 142.0, is_ours: true }));
        let silent = Boot { console: String::new(), ..boot };
        assert!(super::spans(&silent).unwrap_err().to_string().contains("Booting Linux"));
    }
}
