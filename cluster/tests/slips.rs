//! What people write by mistake, and what they are told. Each of these was accepted once, or got a message that led astray.

use cluster::spec;

const SMALLEST: &str = "\
version: 1
cluster: red
image: raspios-lite-arm64
nodes: red[00-04]
user: {name: pi, authorized_keys: [a.pub]}
";

/// Line, column, message and advice of each problem.
fn told(text: &str) -> String {
    let problems = match spec::read(text, "cluster.yaml") {
        Ok(cluster) => panic!("no problem was found: {cluster:?}"),
        Err(problems) => problems,
    };
    let lines: Vec<String> = problems
        .iter()
        .map(|problem| {
            format!("{}:{}: {}; {}", problem.line, problem.column, problem.message, problem.advice)
        })
        .collect();
    lines.join("\n")
}

/// What is told of a file with lines added.
fn of(lines: &str) -> String {
    told(&format!("{SMALLEST}{lines}\n"))
}

#[test]
fn a_comma_with_nothing_before_it() {
    insta::assert_snapshot!(
        [
            "managers: [red00,,red02]",
            "managers: [,red00]",
            "managers: [red00, , red01]",
            "per_node: {red00: {labels: {a: b,, c: d}}}",
            "network: {dns: [9.9.9.9,\n  ,1.1.1.1]}",
        ]
        .map(of).join("\n"),
        @r"
        6:18: this is not YAML: nothing stands before this comma; remove the comma
        6:12: this is not YAML: nothing stands before this comma; remove the comma
        6:19: this is not YAML: nothing stands before this comma; remove the comma
        6:34: this is not YAML: nothing stands before this comma; remove the comma
        7:3: this is not YAML: nothing stands before this comma; remove the comma
        "
    );
    // In quotes and behind # it is a comma like any other.
    for lines in ["keymap: \"[a,,b]\"", "managers: [red00] # [a,,b]", "keymap: [\"a,,b\"]"] {
        let text = format!("{SMALLEST}{lines}\n");
        if let Err(problems) = spec::read(&text, "cluster.yaml") {
            assert!(!problems.to_string().contains("comma"), "{problems}");
        }
    }
}

#[test]
fn a_text_that_yaml_cuts_short_or_goes_on_with() {
    insta::assert_snapshot!(
        [
            "wifi:\n  country: DE\n  ssid: Lab\n  psk: abcdefgh #rest",
            "wifi:\n  country: DE\n  ssid: Lab\n  psk: abcdefgh # a comment",
            "wifi:\n  country: DE\n  ssid: Room #5\n  psk: abcdefgh",
            "timezone: Europe/Berlin\n  keymap de",
            "keymap: 'd\n  e'",
            "timezone: >-\n  Europe/Berlin\n  keymap",
        ]
        .map(of).join("\n"),
        @r"
        9:8: YAML ends the text of `psk` before the #; put the whole text in quotes, or move the comment to a line of its own
        9:8: YAML ends the text of `psk` before the #; put the whole text in quotes, or move the comment to a line of its own
        8:9: YAML ends the text of `ssid` before the #; put the whole text in quotes, or move the comment to a line of its own
        6:11: the text of `timezone` goes on in the next line; write it in one line, and keys without blanks before them
        6:9: the text of `keymap` goes on in the next line; write it in one line, and keys without blanks before them
        7:3: the text of `timezone` goes on in the next line; write it in one line, and keys without blanks before them
        "
    );
    for lines in [
        "wifi:\n  country: DE\n  ssid: Lab # the lab's\n  psk: \"abcdefgh\" # a comment",
        "wifi:\n  country: DE\n  ssid: Lab#5\n  psk: abcdefgh#rest",
        "timezone: >-\n  Europe/Berlin\n\nkeymap: de",
    ] {
        assert!(spec::read(&format!("{SMALLEST}{lines}\n"), "cluster.yaml").is_ok(), "{lines}");
    }
}

#[test]
fn characters_that_are_not_seen() {
    insta::assert_snapshot!(
        ["timezone: \0Europe/Berlin", "timezone: Europe/\u{1b}Berlin", "timezone: \"Europe/\u{202e}Berlin\"", "nod\u{200b}ez: x"]
            .map(of).join("\n"),
        @r"
        6:11: a control character stands here; remove it: YAML takes none but tabs
        6:18: a control character stands here; remove it: YAML takes none but tabs
        6:11: `Europe/\u{202e}Berlin` is not the name of a time zone; write a name like Europe/Berlin or Etc/UTC
        6:1: `nod\u{200b}ez` is not a key of a cluster file; did you mean `nodes`?
        "
    );
    assert!(spec::read(&format!("\u{feff}{SMALLEST}"), "cluster.yaml").is_ok());
}

#[test]
fn values_that_only_fail_on_the_pi() {
    insta::assert_snapshot!(
        [
            "wifi: {country: UK, ssid: Lab}",
            "wifi: {country: XX, ssid: Lab}",
            "wifi: {country: KE, ssid: Lab}\nlocale: en_US",
            "timezone: UTC+2",
            "docker: {version: 29.*}",
            "docker: {source: debian, version: \"5:29.*\"}",
            "swarm: {address_pool: 8.8.0.0/16}",
            "swarm: {address_pool: 172.16.0.0/15}",
            "network: {addresses: \"10.201.4.[1-5]/24\"}\nswarm: {address_pool: 10.201.0.0/16}",
        ]
        .map(of).join("\n"),
        @r#"
        6:17: `UK` is not a country code; write GB
        6:17: `XX` is not a country code; write two capital letters, like DE, GB or US
        7:9: `en_US` is not a UTF-8 locale; write en_US.UTF-8
        6:11: `UTC+2` is not the name of a time zone; write a name like Europe/Berlin, or Etc/GMT-2, whose sign is turned round
        6:19: apt finds no `29.*`: the versions of Docker's packages begin with 5:; write "5:29.*"
        6:35: apt finds no `5:29.*`: the versions of Debian's docker.io have no epoch; write "29.*"
        6:23: 8.8.0.0/16 is not private: machines of the internet have such addresses; write a private network your own does not use, like 10.201.0.0/16
        6:23: the pool 172.16.0.0/15 overlaps 172.17.0.0/16, which Docker uses itself on every node; write a private network your own does not use, like 10.201.0.0/16
        7:23: the pool 10.201.0.0/16 overlaps the network of red00; write a private network your own does not use, like 10.201.0.0/16
        "#
    );
    insta::assert_snapshot!(
        [
            ("red[00-04]", "[1, 2]"),
            ("red[00-04]", "[Kitchen-Pi, red00.example.org]"),
            ("red[00-04]", "\"red[0-99999999999999999999999999]\""),
            ("name: pi", "name: backup"),
            ("name: pi", "name: users"),
        ]
        .map(|(from, to)| told(&SMALLEST.replace(from, to))).join("\n"),
        @r"
        4:9: the node name `1` is a number, which programs take for an address; put a letter before it, like red1
        4:12: the node name `2` is a number, which programs take for an address; put a letter before it, like red2
        4:9: the node name `Kitchen-Pi` has the character 'K'; use lower-case letters, digits and hyphens; write kitchen-pi
        4:21: the node name `red00.example.org` has the character '.'; use lower-case letters, digits and hyphens; write red00
        4:8: `red[0-99999999999999999999999999]` has a number of 26 digits between brackets; write numbers of at most nine digits
        5:14: `backup` is an account of Debian's own; write a name like pi
        5:14: `users` is a group of Debian's own; write a name like pi
        "
    );
}
