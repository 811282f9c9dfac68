//! No secret of a cluster file is shown, however the file is broken.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests may panic")]

use cluster::spec::{self, Problems, hostnames};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::RngSeed;

const SMALLEST: &str = "\
version: 1
cluster: red
image: raspios-lite-arm64
nodes: red[00-04]
user:
  name: pi
  authorized_keys: [~/.ssh/id_ed25519.pub]
";

/// What people and programs get to see.
fn shown(problems: &Problems) -> String {
    let list: Vec<_> = problems.iter().collect();
    format!("{problems}\n{}\n{problems:?}", serde_json::to_string(&list).unwrap())
}

fn shown_of(text: &str) -> String {
    match spec::read(text, "cluster.yaml") {
        Ok(cluster) => panic!("no problem was found: {cluster:?}\n{text}"),
        Err(problems) => shown(&problems),
    }
}

#[test]
fn a_pass_phrase_that_yaml_takes_apart_is_hidden() {
    // Each is what people write who do not know YAML's special characters. `hunter2` and `S3cr3t` are the secrets.
    for lines in [
        "wifi:\n  country: DE\n  ssid: Lab\n  psk: &S3cr3tHunter2pass\n",
        "wifi:\n  country: DE\n  ssid: Lab\n  psk: !S3cr3tHunter2pass\n",
        "wifi:\n  country: DE\n  ssid: Lab\n  psk: !!S3cr3tHunter2pass x\n",
        "wifi:\n  country: DE\n  ssid: Lab\n  psk: *S3cr3tHunter2pass\n",
        "wifi:\n  country: DE\n  ssid: Lab\n  psk: @S3cr3tHunter2pass\n",
        "wifi:\n  country: DE\n  ssid: Lab\n  psk: abcdefgh #S3cr3t\n",
        "wifi:\n  country: DE\n  ssid: Lab\n  psk= S3cr3tHunter2pass\n",
        "wifi:\n  country: DE\n  ssid: Lab\n  psk:S3cr3tHunter2pass\n",
        "wifi:\n  country: DE\n  ssid: Lab\n  key: S3cr3tHunter2pass\n",
        "wifi:\n  country: DE\n  ssid: Lab\n  psk S3cr3tHunter2pass\n",
        "wifi:\n  country: DE\n  ssid: Lab\n    psk S3cr3tHunter2pass\n",
        "wifi:\n  country: DE\n  ssid: Lab psk=S3cr3tHunter2pass\n",
        "wifi:\n  country: DE\n  ssid: Lab\n  psk:\n    S3cr3t: Hunter2\n",
        "wifi:\n  country: DE\n  ssid: Lab\n  psk: [S3cr3tHunter2]\n",
        "wifi:\n  country: DE\n  ssid: Lab\n  pks: S3cr3tHunter2\n",
        "wifi:\n  country: DE\n  ssid: Lab\n  psk: \"S3cr3tHunter2\n",
        "wifi:\n  country: DE\n  ssid: Lab\n  psk: S3cr3t: Hunter2\n",
        "wifi:\r  country: DE\r  ssid: Lab\r  pask: S3cr3tHunter2\r",
        "wifi: {country: DE, ssid: Lab, psk: abc,S3cr3t}\n",
        "wifi: {country: DE, ssid: Lab, psk: abc,hunter: hunter}\n",
        "wifi: {country: DE, ssid: Lab, psk: abc, S3cr3t: Hunter2}\n",
        "wifi: {country: DE, ssid: Lab, psk:S3cr3t}\n",
        "wifi: {country: DE, ssid: Lab, psk= S3cr3t}\n",
        "wifi: {country: DE, ssid: Lab, psk: a[S3cr3t]}\n",
        "wifi: {country: DE, ssid: Lab, psk: a{S3cr3t}}\n",
        "wifi: {country: DE, ssid: Lab, psk: a}S3cr3t}\n",
        "wifi: S3cr3tHunter2pass\n",
        "wifi: [S3cr3tHunter2pass]\n",
        "wifi S3cr3tHunter2pass\n",
        "timezone: >-\n  Europe\n  psk S3cr3tHunter2pass\n",
        "timezone: Europe\n  psk S3cr3tHunter2pass\n",
        "proxy: http://me:S3cr3tHunter2@proxy.example\n",
        "proxies: S3cr3tHunter2\n",
        "docker: {url: http://me:S3cr3t@mirror.example/, version: newest}\n",
        "docker: {url: 'ftp://me:S3cr3t@mirror.example/'}\n",
        "timezone: Berlin! # S3cr3tHunter2\n",
        "timezone: $6$S3cr3t$Hunter2\n",
        "network: {dns: [$6$S3cr3t$Hunter2]}\n",
        "per_node: {red00: S3cr3tHunter2, S3cr3t: Hunter2}\n",
        "? S3cr3tHunter2\n: x\n",
        "psk: S3cr3tHunter2\n---\npsk: S3cr3tHunter2\n",
        "psk: \u{7}S3cr3tHunter2\n",
    ] {
        let shown = shown_of(&format!("{SMALLEST}{lines}"));
        for secret in ["S3cr3t", "Hunter2", "hunter"] {
            assert!(!shown.contains(secret), "{lines}\n{shown}");
        }
    }
    for (hash, place) in [("&$6$S3cr3t$x", "password_hash"), ("!S3cr3tHunter2", "pasword_hash")] {
        let text = SMALLEST.replace("name: pi", &format!("name: pi\n  {place}: {hash}"));
        assert!(!shown_of(&text).contains("S3cr3t"), "{text}");
    }
}

#[test]
fn what_is_public_is_still_shown() {
    let shown = shown_of(&format!("{SMALLEST}wifi: {{country: de, ssid: Lab, psk: abcdefgh}}\nnodez: x\n"));
    assert!(
        shown.contains("  | wifi: {country: de, ssid: Lab, psk: (hidden)}\n  |                 ^^\n"),
        "{shown}"
    );
    assert!(shown.contains("`nodez` is not a key of a cluster file\n  | nodez: (hidden)\n"), "{shown}");
    let shown = shown_of(&format!("{SMALLEST}wifi:\n  psk: &abcdefgh\n"));
    assert!(
        shown.contains("cluster.yaml:9:8: an anchor (&) or tag (!) is not read here\n  |   psk: (hidden)\n"),
        "{shown}"
    );
}

/// Real files. `PSK`, `HASH` and `NOTE` stand for secrets.
const FILES: [&str; 3] = [
    "\
version: 1
cluster: red
image: https://example.org/os.img.xz
image_sha256: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
nodes: [\"red[00-02]\", blue]
managers: [blue]
user:
  name: anna
  authorized_keys: ssh-ed25519 AAAA anna@laptop
  password_hash: 'HASH'
network:
  addresses: 192.168.1.[10-13]/24
  gateway: 192.168.1.1
per_node:
  red01:
    address: 10.0.0.7/16
    gateway: 10.0.0.1
    labels: {disk: ssd, rack: 7}
wifi: {country: DE, ssid: \"Lab: 2\", psk: PSK}
timezone: Europe/Berlin
docker: {source: docker, version: \"5:29.*\"}
swarm: {interface: eth0, address_pool: 10.201.0.0/16}
",
    "\
# our class room, NOTE
version: 1
cluster: red
image: raspios-lite-arm64
nodes: red[00-04]
user:
  name: pi
  authorized_keys:
    - ~/.ssh/id_ed25519.pub
    - ~/.ssh/ben.pub
  password_hash: >-
    HASH
wifi:
  country: DE
  ssid: Lab
  psk: \"PSK\"  # was NOTE
locale: de_DE.UTF-8
keymap: de
",
    "\
version: 1
wifi:
  psk: PSK
  ssid: Lab
  country: DE
user: {password_hash: HASH, name: pi, authorized_keys: [a.pub]}
cluster: red
image: os.img
proxy: http://me:NOTE@proxy.example:3128
nodes:
- red00
- red01
",
];

/// What YAML and our reader look at.
const PIECES: [&str; 30] = [
    ":", ": ", ",", ", ", "{", "}", "[", "]", "&", "*", "!", "!!", "|", ">", "'", "\"", "#", " #", "%", "@",
    "`", "-", "- ", "? ", "=", "\n", "\r", "\t", "  ", "\u{feff}",
];

#[derive(Debug, Clone)]
enum Mutation {
    /// Changes bits of a byte.
    Flip(Index, u8),
    DeleteByte(Index),
    Insert(Index, &'static str),
    DeleteLine(Index),
    DoubleLine(Index),
    SwapLines(Index, Index),
    /// Appends a line to the one before it.
    JoinLine(Index),
    IndentLine(Index),
    DedentLine(Index),
    /// Takes the colon, the comment sign or a quote out of a line.
    Strip(Index, char),
    /// Ends the file here.
    End(Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<Index>;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, bits)| Mutation::Flip(at, bits)),
        at().prop_map(Mutation::DeleteByte),
        (at(), select(&PIECES)).prop_map(|(at, piece)| Mutation::Insert(at, piece)),
        at().prop_map(Mutation::DeleteLine),
        at().prop_map(Mutation::DoubleLine),
        (at(), at()).prop_map(|(one, other)| Mutation::SwapLines(one, other)),
        at().prop_map(Mutation::JoinLine),
        at().prop_map(Mutation::IndentLine),
        at().prop_map(Mutation::DedentLine),
        (at(), select(&[':', '#', '\'', '"', ',', '}', '{', '>'])).prop_map(|(at, c)| Mutation::Strip(at, c)),
        at().prop_map(Mutation::End),
    ]
}

fn apply(text: &str, mutations: &[Mutation]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for mutation in mutations {
        let mut lines: Vec<Vec<u8>> = bytes.split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
        if lines.is_empty() {
            return String::new();
        }
        let (length, count) = (bytes.len(), lines.len());
        match mutation {
            Mutation::Flip(at, bits) => bytes[at.index(length)] ^= bits,
            Mutation::DeleteByte(at) => drop(bytes.remove(at.index(length))),
            Mutation::Insert(at, piece) => {
                let at = at.index(length + 1);
                bytes.splice(at..at, piece.bytes());
            }
            Mutation::End(at) => bytes.truncate(at.index(length + 1)),
            Mutation::DeleteLine(at) => drop(lines.remove(at.index(count))),
            Mutation::DoubleLine(at) => lines.insert(at.index(count), lines[at.index(count)].clone()),
            Mutation::SwapLines(one, other) => lines.swap(one.index(count), other.index(count)),
            Mutation::JoinLine(at) => drop(lines[at.index(count)].pop()),
            Mutation::IndentLine(at) => drop(lines[at.index(count)].splice(0..0, *b"  ")),
            Mutation::DedentLine(at) => {
                let line = &mut lines[at.index(count)];
                let blanks = line.iter().take(2).take_while(|b| **b == b' ').count();
                drop(line.drain(..blanks));
            }
            Mutation::Strip(at, c) => {
                let line = &mut lines[at.index(count)];
                if let Some(at) = line.iter().position(|b| char::from(*b) == *c) {
                    line.remove(at);
                }
            }
        }
        let of_bytes = matches!(
            mutation,
            Mutation::Flip(..) | Mutation::DeleteByte(_) | Mutation::Insert(..) | Mutation::End(_)
        );
        if !of_bytes {
            bytes = lines.concat();
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether the mutations made a secret the value of a key that is not secret. Then it is public, by all that the file says.
fn is_public_now(text: &str, secret: &str) -> bool {
    let public =
        ["name", "ssid", "country", "image", "cluster", "timezone", "locale", "keymap", "authorized_keys"];
    text.match_indices(secret).any(|(at, _)| {
        let before = text[..at].trim_end_matches(|c: char| c.is_whitespace() || "\"'[>|-".contains(c));
        let before = before.strip_suffix(':').map(|before| before.trim_end_matches([' ', '"', '\'']));
        before.is_some_and(|before| public.iter().any(|key| before.ends_with(key)))
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1500,
        rng_seed: RngSeed::Fixed(20_261_201),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_mutation_of_a_real_file_shows_a_secret(
        file in select(&FILES),
        psk in "[A-Z][a-z0-9]{5}[ -~]{0,4}[a-z][A-Z0-9]{6}",
        salt in "[A-Z0-9][a-zA-Z0-9./]{11}",
        note in "[A-Z0-9][a-zA-Z0-9]{13}",
        mutations in prop::collection::vec(mutation(), 0..8),
    ) {
        let hash = format!("$6${salt}${}", "a".repeat(86));
        let text = file.replace("PSK", &psk).replace("HASH", &hash).replace("NOTE", &note);
        let text = apply(&text, &mutations);
        let secrets = [psk, salt, note];
        prop_assume!(!secrets.iter().any(|secret| is_public_now(&text, secret)));
        let found = [
            spec::read(&text, "cluster.yaml").err().map(|problems| shown(&problems)),
            hostnames::read(&text, "hostnames.yaml").err().map(|problems| shown(&problems)),
        ];
        for shown in found.into_iter().flatten() {
            for secret in &secrets {
                // Not even a part of it.
                let parts = secret.as_bytes().windows(6).filter_map(|part| std::str::from_utf8(part).ok());
                for part in parts.filter(|part| part.bytes().all(|b| b.is_ascii_alphanumeric())) {
                    prop_assert!(!shown.contains(part), "{}\nshown of\n{}\n{}", part, text, shown);
                }
            }
        }
    }
}
