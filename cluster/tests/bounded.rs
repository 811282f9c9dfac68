//! Files of millions of mistakes take linear time and get short answers.
//!
//! What took the square of the number of keys would take minutes here, and the test program has no end then.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

use std::fmt::Write;

use cluster::spec::{self, Problems};

const SMALLEST: &str = "\
version: 1
cluster: red
image: raspios-lite-arm64
nodes: red[00-04]
user: {name: pi, authorized_keys: [a.pub]}
";

fn problems(lines: &str) -> Problems {
    let found = spec::read(&format!("{SMALLEST}{lines}"), "cluster.yaml").unwrap_err();
    assert!(found.iter().count() <= 50);
    let text = found.to_string();
    assert!(text.len() < 50_000, "{} bytes", text.len());
    assert!(text.lines().all(|line| line.chars().count() < 600));
    found
}

/// As many as asked for, each with its number.
fn many(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).fold(String::new(), |mut lines, number| {
        write!(lines, "{}", line(number)).unwrap();
        lines
    })
}

#[test]
fn two_hundred_thousand_unknown_keys() {
    let found = problems(&many(200_000, |number| format!("colour{number}: x\n")));
    assert_eq!(found.total(), 200_000);
    assert!(found.to_string().ends_with("\n\nand 199950 more"));
    // Words that only differ in letters are compared with the known ones, too.
    assert_eq!(problems(&many(100_000, |_| "imagf: x\n".to_owned())).total(), 199_999);
}

#[test]
fn many_of_everything_else() {
    let aliases = format!("x: [{}]\n", many(16_000, |_| "*a,".to_owned()));
    assert_eq!(problems(&aliases).total(), 16_000);
    let anchors = format!("x: [{}]\n", many(16_000, |number| format!("&a{number} b,")));
    assert_eq!(problems(&anchors).total(), 16_000);
    let keys =
        format!("wifi: {{country: DE, ssid: Lab, {}}}\n", many(100_000, |number| format!("k{number}: v,")));
    assert_eq!(problems(&keys).total(), 100_000);
    let nodes = format!("per_node: {{{}}}\n", many(50_000, |number| format!("r{number}: {{}},")));
    assert_eq!(problems(&nodes).total(), 50_000);
    let servers = format!("network: {{dns: [{}]}}\n", many(100_000, |_| "x,".to_owned()));
    assert_eq!(problems(&servers).total(), 100_001);
    let managers = format!("managers: [{}]\n", many(100_000, |_| "\"a[\",".to_owned()));
    assert_eq!(problems(&managers).total(), 100_000);
    let secrets = many(100_000, |number| format!("psk{number}: hunter2\n"));
    assert_eq!(problems(&secrets).total(), 100_000);
}

#[test]
fn one_text_of_a_megabyte() {
    let long = "x".repeat(1 << 20);
    for line in [
        format!("timezone: {long}\n"),
        format!("timezone: Europe/Berlin {long}\n"),
        format!("docker: {{version: \"{long}\"}}\n"),
        format!("managers: \"red[{long}]\"\n"),
        format!("? {long}\n: x\n"),
        format!("\"{}\": x\n", &long[..1000]),
        format!("{long}\n"),
        format!("x: \"{long}\n"),
        format!("timezone: [{long}, {long}, &{long} x]\n"),
        format!("keymap: \"{}\"\n", "\u{202e}".repeat(1 << 18)),
    ] {
        problems(&line);
    }
}
