//! Cluster files that are hardly YAML: they get words and advice, and no secret of theirs is shown.

use cluster::spec;
use proptest::prelude::*;

const SMALLEST: &str = "\
version: 1
cluster: red
image: raspios-lite-arm64
nodes: red[00-04]
user:
  name: pi
  authorized_keys: [~/.ssh/id_ed25519.pub]
";

const EVERYTHING: &str = include_str!("everything.yaml");

fn problems(text: &str) -> String {
    match spec::read(text, "cluster.yaml") {
        Ok(cluster) => panic!("no problem was found: {cluster:?}"),
        Err(problems) => problems.to_string(),
    }
}

/// The smallest file with lines added.
fn with(lines: &str) -> String {
    format!("{SMALLEST}{lines}")
}

#[test]
fn yaml_mistakes_get_advice() {
    let bracket = SMALLEST.replace("nodes: red[00-04]", "nodes: [red[00-04]]");
    insta::assert_snapshot!(problems(&bracket), @r#"
    1 problem in cluster.yaml

    cluster.yaml:4:12: this is not YAML: while parsing a flow sequence, expected ',' or ']'
      | nodes: (hidden)
      |        ^^^^^^^^
      = put a text with [ ] or { } inside [...] or {...} in quotes, as in ["red[00-04]"]
    "#);
    insta::assert_snapshot!(problems(&SMALLEST.replace("  name: pi", "\tname: pi")), @r"
    1 problem in cluster.yaml

    cluster.yaml:6:2: this is not YAML: tabs disallowed within this context (block indentation)
      | 	name: (hidden)
      | 	^
      = indent with spaces: YAML takes no tabs
    ");
    insta::assert_snapshot!(problems("version: 1\ncluster red\nimage: x\n"), @r"
    1 problem in cluster.yaml

    cluster.yaml:2:1: this is not YAML: simple key expected ':'
      | cluster (hidden)
      | ^
      = write `key: value`, nested keys two spaces further in, and put texts with : or # in quotes
    ");
    insta::assert_snapshot!(problems("version: 1\ncluster: 'red\nimage: x\n"), @r"
    1 problem in cluster.yaml

    cluster.yaml:2:10: this is not YAML: unclosed quote
      | cluster: (hidden)
      |          ^^^^^^^^
      = write the same quote once more where the text ends
    ");
    insta::assert_snapshot!(problems(""), @r"
    1 problem in cluster.yaml

    cluster.yaml:1:1: the file is empty
      | 
      | ^
      = run `builder init` for a starter with every key explained
    ");
    insta::assert_snapshot!(problems("- red00\n- red01\n"), @r"
    1 problem in cluster.yaml

    cluster.yaml:1:1: a list stands where keys are wanted
      | - (hidden)
      | ^^^^^^^^^^
      = write `key: value` pairs with the keys version, cluster, image, image_sha256, nodes, managers, managers_run_tasks, user, network, per_node, wifi, timezone, locale, keymap, docker, proxy, swarm
    ");
    insta::assert_snapshot!(problems(&with("---\nversion: 1\n")), @r"
    1 problem in cluster.yaml

    cluster.yaml:8:1: a second document begins here
      | ---
      | ^^^
      = write one cluster per file
    ");
    insta::assert_snapshot!(problems(&with("cluster: blue\n")), @r"
    1 problem in cluster.yaml

    cluster.yaml:8:1: `cluster` is here twice, first in line 2
      | cluster: (hidden)
      | ^^^^^^^
      = keep one of the two
    ");
}

#[test]
fn anchors_aliases_and_tags_are_refused() {
    let bomb = "version: 1\nnodes: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b, *z]\nwifi: !!map {}\n";
    insta::assert_snapshot!(problems(bomb), @r"
    8 problems in cluster.yaml

    cluster.yaml:2:8: an anchor (&) or tag (!) is not read here
      | nodes: (hidden)
      |        ^^^^^^^^
      = put a text that begins with & or ! in quotes

    cluster.yaml:3:4: an anchor (&) or tag (!) is not read here
      | (hidden)
      | ^^^^^^^^
      = put a text that begins with & or ! in quotes

    cluster.yaml:3:8: an alias (*) is not read here
      | (hidden)
      | ^^^^^^^^
      = write the value itself, or put it in quotes

    cluster.yaml:3:12: an alias (*) is not read here
      | (hidden)
      | ^^^^^^^^
      = write the value itself, or put it in quotes

    cluster.yaml:4:5: an alias (*) is not read here
      | (hidden)
      | ^^^^^^^^
      = write the value itself, or put it in quotes

    cluster.yaml:4:9: an alias (*) is not read here
      | (hidden)
      | ^^^^^^^^
      = write the value itself, or put it in quotes

    cluster.yaml:4:13: an alias (*) is not read here
      | (hidden)
      | ^^^^^^^^
      = write the value itself, or put it in quotes

    cluster.yaml:5:13: an anchor (&) or tag (!) is not read here
      | wifi: (hidden)
      |       ^^^^^^^^
      = put a text that begins with & or ! in quotes
    ");
}

#[test]
fn deep_nesting_is_refused() {
    let text = format!("a: {}{}", "[".repeat(200), "]".repeat(200));
    assert!(problems(&text).contains("nested too deep"));
    assert!(!problems(&"[".repeat(100_000)).is_empty());
}

#[test]
fn secrets_are_never_shown() {
    let hash =
        "$6$saltsalt$abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcd";
    let files = [
        format!("user: {{name: Pi, password_hash: '{hash}'}}"),
        format!("user: {{name: pi, pasword_hash: '{hash}'}}"),
        format!("user: {{name: pi, authorized_keys: '{hash}', x: 1}}"),
        format!("'{hash}': 1"),
        format!("user:\n  password_hash: '{hash}\n  name: pi"),
        format!("user: {{password_hash: >-\n  {hash}\n  name}}: pi"),
        format!("user: {{password_hash: [{hash}]}}"),
        format!("password_hash: {hash} # colon: here\n  broken: yes"),
        "wifi: {country: de, psk: hunter2hunter2}".to_owned(),
        "wifi: {country: de, pask: hunter2hunter2}".to_owned(),
        "wifi: {country: de, psk: hunter2hunter2, psk: hunter2hunter2}".to_owned(),
        "wifi: {psk: \"hunter2hunter2\nhunter2\n".to_owned(),
        "wifi: {psk: &x hunter2}".to_owned(),
        "wifi: {psk: |\n  hunter2\n  hunter2\n ,country: de}\n: x".to_owned(),
        "wifi:\n  psk: hunter2\n   hunter2: hunter2".to_owned(),
        "docker: {url: 'https://me:hunter2@mirror.example'}".to_owned(),
        "image: https://me:hunter2@mirror.example/x y".to_owned(),
        "image: ftp://me:hunter2@mirror.example/x".to_owned(),
        "proxy: http://me:hunter2@proxy.example".to_owned(),
        "proxy: me:hunter2@proxy.example:3128".to_owned(),
        "proxy: {http: me:hunter2, htps: 'http://me:hunter2@proxy.example:3128'}".to_owned(),
        "proxy:\n  http: me:hunter2@proxy.example:3128\n  no_proxy: [a b\n".to_owned(),
        "prxoy: http://me:hunter2@proxy.example:3128".to_owned(),
        format!("timezone: {hash}"),
        "user: {authorized_keys: [\"-----BEGIN OPENSSH PRIVATE KEY----- hunter2\"]}\ncolour: blue".to_owned(),
    ];
    for lines in files {
        let shown = problems(&format!("version: 1\n{lines}\n"));
        assert!(
            !shown.contains("hunter2") && !shown.contains("saltsalt") && !shown.contains("abcdef"),
            "{shown}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is cut out of or put into a file: it is read, or something is said, and nothing panics.
    #[test]
    fn damaged_files_get_words(from in 0usize..1000, length in 0usize..60, put in "[a-z0-9 \\n\\t\\[\\]{}:,'\"&*!|>#%@-]{0,6}") {
        let text = EVERYTHING;
        let at = |index: usize| text.char_indices().nth(index).map_or(text.len(), |(at, _)| at);
        let damaged = format!("{}{put}{}", &text[..at(from)], &text[at(from + length)..]);
        if let Err(problems) = spec::read(&damaged, "cluster.yaml") {
            prop_assert!(problems.iter().count() > 0, "{}", damaged);
            // A secret is one by its key: cut that off, and it is a word among others.
            if damaged.contains("psk: correct horse") {
                prop_assert!(!problems.to_string().contains("correct horse"), "{}\n{}", problems, damaged);
            }
        }
    }
}
