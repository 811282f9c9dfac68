//! Whole cluster files: what is read from good ones, and everything that is said about bad ones.

use std::net::Ipv4Addr;

use cluster::card::DockerSource;
use cluster::identity::Role;
use cluster::spec;

const SMALLEST: &str = "\
version: 1
cluster: red
image: raspios-lite-arm64
nodes: red[00-04]
user:
  name: pi
  authorized_keys: [~/.ssh/id_ed25519.pub]
";

/// Every key there is.
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
fn the_smallest_file_says_enough() {
    let cluster = spec::read(SMALLEST, "cluster.yaml").unwrap();
    let roles: Vec<(&str, Role)> = cluster.nodes.iter().map(|n| (n.name.as_str(), n.role)).collect();
    let worker = |name| (name, Role::Worker);
    assert_eq!(
        roles,
        [("red00", Role::Manager), worker("red01"), worker("red02"), worker("red03"), worker("red04")]
    );
    assert_eq!(cluster.user.authorized_keys, ["~/.ssh/id_ed25519.pub"]);
    assert_eq!(cluster.docker.source, DockerSource::Docker);
    assert_eq!(cluster.swarm.cert_expiry_seconds, 63_072_000);
    assert_eq!(cluster.swarm.join_window_seconds, 86_400);
    assert!(!cluster.swarm.managers_run_tasks);
    assert!(cluster.nodes.iter().all(|node| node.address.is_none()));
}

#[test]
fn every_key_is_read() {
    let cluster = spec::read(EVERYTHING, "cluster.yaml").unwrap();
    assert_eq!(cluster.name.as_str(), "9");
    assert_eq!(
        cluster.image.sha256.unwrap(),
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
    );
    let roles: Vec<&str> = cluster.nodes.iter().map(|node| node.role.as_str()).collect();
    assert_eq!(roles, ["worker", "worker", "worker", "manager"]);
    let addresses: Vec<String> =
        cluster.nodes.iter().flat_map(|n| &n.address).map(|a| format!("{}/{}", a.ip, a.prefix)).collect();
    assert_eq!(addresses, ["192.168.1.10/24", "10.0.0.7/16", "192.168.1.12/24", "192.168.1.13/24"]);
    let own = cluster.nodes[1].address.as_ref().unwrap();
    assert_eq!(
        (own.gateway, &own.dns[..]),
        (Some(Ipv4Addr::new(10, 0, 0, 1)), &[Ipv4Addr::new(10, 0, 0, 2)][..])
    );
    assert_eq!(cluster.nodes[0].address.as_ref().unwrap().dns.len(), 2);
    assert_eq!(cluster.nodes[1].labels["rack"], "7");
    assert_eq!(cluster.user.authorized_keys, ["ssh-ed25519 AAAA anna@laptop"]);
    assert!(cluster.user.password_hash.unwrap().expose().starts_with("$6$"));
    let wifi = cluster.wifi.unwrap();
    assert_eq!((wifi.ssid.as_str(), wifi.hidden), ("Lab: 2", true));
    assert_eq!(cluster.wifi_psk.unwrap().expose(), "correct horse");
    assert_eq!(cluster.timezone.as_deref(), Some("Europe/Berlin"));
    let proxy = cluster.proxy.unwrap();
    assert_eq!(proxy.http.unwrap().expose(), "http://me:correct%20horse@proxy.example:3128");
    assert_eq!(proxy.https.unwrap().expose(), "http://proxy.example:3128");
    assert_eq!(proxy.no_proxy, ["mirror.example", ".lab.example", "10.0.0.0/8"]);
    assert_eq!(cluster.docker.version.as_deref(), Some("5:29.*"));
    assert_eq!(cluster.docker.key.as_deref(), Some("mirror.asc"));
    assert_eq!(cluster.swarm.cert_expiry_seconds, 90 * 86_400);
    assert_eq!(cluster.swarm.join_window_seconds, 1800);
    assert!(cluster.swarm.managers_run_tasks);
}

#[test]
fn reports_every_problem_at_once() {
    let text = "\
version: 1
cluster: Red
image: ftp://example.org/os.img
nodes: [red[00-04], red02]
nodez: x
managers: [blue]
user:
  name: root
  colour: blue
network: {addresses: 192.168.1.0/24}
per_node:
  red9: {address: fe80::1}
timezone: Berlin!
swarm: {join_window: soon}
";
    insta::assert_snapshot!(problems(&text.replace("[red[00-04], red02]", "[\"red[00-02]\", red02]")), @r#"
    14 problems in cluster.yaml

    cluster.yaml:2:10: the cluster name `Red` has the character 'R'; use lower-case letters, digits and hyphens
      | cluster: Red
      |          ^^^
      = write a name like red

    cluster.yaml:3:8: `ftp://example.org/os.img` is not a URL that can be fetched
      | image: ftp://example.org/os.img
      |        ^^^^^^^^^^^^^^^^^^^^^^^^
      = write a URL that begins with https:// or http:// or file://

    cluster.yaml:4:23: the node red02 is named twice
      | nodes: ["red[00-02]", red02]
      |                       ^^^^^
      = name each node once

    cluster.yaml:5:1: `nodez` is not a key of a cluster file
      | nodez: (hidden)
      | ^^^^^
      = did you mean `nodes`?

    cluster.yaml:6:12: the manager `blue` is not a node
      | managers: [blue]
      |            ^^^^
      = write one of: red00, red01, red02

    cluster.yaml:8:3: nobody could log in: the user has neither a key nor a password
      |   name: root
      |   ^^^^
      = write `authorized_keys: [~/.ssh/id_ed25519.pub]`

    cluster.yaml:8:9: the user name `root` is root, which Pi OS does not rename its user to
      |   name: root
      |         ^^^^
      = write a name like pi

    cluster.yaml:9:3: `colour` is not a key of user
      |   colour: (hidden)
      |   ^^^^^^
      = write one of: name, authorized_keys, password_hash

    cluster.yaml:10:22: 1 address for 3 nodes
      | network: {addresses: 192.168.1.0/24}
      |                      ^^^^^^^^^^^^^^
      = write one address for each node, in the nodes' order

    cluster.yaml:10:22: 192.168.1.0 is the network 192.168.1.0/24 itself
      | network: {addresses: 192.168.1.0/24}
      |                      ^^^^^^^^^^^^^^
      = write an address from 192.168.1.1 to 192.168.1.254

    cluster.yaml:12:3: `red9` is not a node
      |   red9: {address: fe80::1}
      |   ^^^^
      = did you mean `red00`?

    cluster.yaml:12:19: fe80::1 is an IPv6 address
      |   red9: {address: fe80::1}
      |                   ^^^^^^^
      = write an IPv4 address: Swarm is formed over IPv4

    cluster.yaml:13:11: `Berlin!` is not the name of a time zone
      | timezone: Berlin!
      |           ^^^^^^^
      = write a name like Europe/Berlin or Etc/UTC

    cluster.yaml:14:22: `soon` is not a stretch of time
      | swarm: {join_window: soon}
      |                      ^^^^
      = write a number and s, m, h, d, w or y, like 24h
    "#);
}

#[test]
fn misspelt_keys_are_not_missed_a_second_time() {
    let text = SMALLEST.replace("nodes:", "node:").replace("authorized_keys:", "authorised_keys:");
    insta::assert_snapshot!(problems(&text), @r"
    2 problems in cluster.yaml

    cluster.yaml:4:1: `node` is not a key of a cluster file
      | node: (hidden)
      | ^^^^
      = did you mean `nodes`?

    cluster.yaml:7:3: `authorised_keys` is not a key of user
      |   authorised_keys: [(hidden)]
      |   ^^^^^^^^^^^^^^^
      = did you mean `authorized_keys`?
    ");
}

#[test]
fn says_what_is_missing_empty_or_of_the_wrong_kind() {
    insta::assert_snapshot!(problems("cluster: [red]\nimage:\nuser: pi\nwifi: {ssid: ''}\nmanagers_run_tasks: yes\n"), @r"
    8 problems in cluster.yaml

    cluster.yaml:1:1: `nodes` is missing
      | cluster: [(hidden)]
      | ^^^^^^^
      = write `nodes: red[00-04]`

    cluster.yaml:1:1: `version` is missing
      | cluster: [(hidden)]
      | ^^^^^^^
      = write `version: 1` in the first line

    cluster.yaml:1:10: `cluster` takes one text, not a list
      | cluster: [(hidden)]
      |          ^^^^^^^^^^
      = write `cluster: text`; quote a text that begins with [ or {

    cluster.yaml:2:1: `image` has no value
      | image:
      | ^^^^^
      = write `image: raspios-lite-arm64`

    cluster.yaml:3:7: a text stands where keys are wanted
      | user: (hidden)
      |       ^^^^^^^^
      = write `key: value` pairs with the keys name, authorized_keys, password_hash

    cluster.yaml:4:8: `wifi` lacks `country`
      | wifi: {ssid: ''}
      |        ^^^^
      = write `country: DE`

    cluster.yaml:4:14: `ssid` has an empty text
      | wifi: {ssid: ''}
      |              ^^
      = write a text, or remove it

    cluster.yaml:5:21: `managers_run_tasks` is a yes-or-no question
      | managers_run_tasks: yes
      |                     ^^^
      = write true or false
    ");
}

#[test]
fn one_three_or_five_managers_and_never_an_even_number() {
    for managers in ["[red03]", "red[00-02]", "[red04, red01, red00, red02, red03]"] {
        let spec = spec::read(&with(&format!("managers: {managers}\n")), "cluster.yaml").unwrap();
        assert!(matches!(spec.nodes.iter().filter(|node| node.role == Role::Manager).count(), 1 | 3 | 5));
    }
    insta::assert_snapshot!(problems(&with("managers: [red00, red01]\n")), @r"
    1 problem in cluster.yaml

    cluster.yaml:8:12: a swarm has one, three or five managers, not 2
      | managers: [red00, red01]
      |            ^^^^^
      = name one, three or five
    ");
    insta::assert_snapshot!(problems(&with("managers: []\n")), @r"
    1 problem in cluster.yaml

    cluster.yaml:8:11: `managers` is an empty list
      | managers: []
      |           ^^
      = write at least one text between the brackets, or remove the line
    ");
}

#[test]
fn another_version_is_the_only_problem() {
    insta::assert_snapshot!(problems("version: 2\ncolour: blue\n"), @r"
    1 problem in cluster.yaml

    cluster.yaml:1:10: this builder does not know version 2 of the cluster file
      | version: 2
      |          ^
      = write `version: 1`, or get a newer builder
    ");
    insta::assert_snapshot!(problems("version: one\ncolour: blue\n"), @r"
    1 problem in cluster.yaml

    cluster.yaml:1:10: this is not a version
      | version: (hidden)
      |          ^^^^^^^^
      = write `version: 1`
    ");
}

#[test]
fn addresses_are_compared_with_each_other() {
    let text = with(
        "network: {addresses: \"192.168.1.[10-14]/24\", gateway: 192.168.2.1, dns: [9.9.9.9.9]}
per_node:
  red01: {address: 192.168.1.10/24, gateway: 192.168.1.12}
swarm: {address_pool: 192.168.0.0/16}
",
    );
    insta::assert_snapshot!(problems(&text), @r#"
    5 problems in cluster.yaml

    cluster.yaml:8:55: 192.168.2.1 is outside the network 192.168.1.0/24
      | network: {addresses: "192.168.1.[10-14]/24", gateway: 192.168.2.1, dns: [9.9.9.9.9]}
      |                                                       ^^^^^^^^^^^
      = write an address from 192.168.1.1 to 192.168.1.254

    cluster.yaml:8:74: 9.9.9.9.9 is not an IPv4 address
      | network: {addresses: "192.168.1.[10-14]/24", gateway: 192.168.2.1, dns: [9.9.9.9.9]}
      |                                                                          ^^^^^^^^^
      = write four numbers from 0 to 255 without zeros in front, like 192.168.1.10

    cluster.yaml:10:20: red00 and red01 both have the address 192.168.1.10
      |   red01: {address: 192.168.1.10/24, gateway: 192.168.1.12}
      |                    ^^^^^^^^^^^^^^^
      = give each its own

    cluster.yaml:10:46: the gateway 192.168.1.12 is also the address of red02
      |   red01: {address: 192.168.1.10/24, gateway: 192.168.1.12}
      |                                              ^^^^^^^^^^^^
      = write your router's address, or give the node another

    cluster.yaml:11:23: the pool 192.168.0.0/16 overlaps the network of red00
      | swarm: {address_pool: 192.168.0.0/16}
      |                       ^^^^^^^^^^^^^^
      = write a private network your own does not use, like 10.201.0.0/16
    "#);
    insta::assert_snapshot!(problems(&with("network: {gateway: 192.168.1.1}\nper_node: {red00: {dns: 9.9.9.9}}\n")), @r"
    2 problems in cluster.yaml

    cluster.yaml:8:20: no node has a fixed address, so DHCP sets this
      | network: {gateway: 192.168.1.1}
      |                    ^^^^^^^^^^^
      = write `addresses` beside it, or remove it

    cluster.yaml:9:25: red00 has no fixed address, so DHCP sets this
      | per_node: {red00: {dns: 9.9.9.9}}
      |                         ^^^^^^^
      = write an `address` beside it, or remove it
    ");
    insta::assert_snapshot!(problems(&with("network: {dns: 192.168.1.1}\n")), @r"
    1 problem in cluster.yaml

    cluster.yaml:8:16: no node has a fixed address, so DHCP sets this
      | network: {dns: 192.168.1.1}
      |                ^^^^^^^^^^^
      = write `addresses` beside it, or remove it
    ");
}

#[test]
fn docker_and_swarm_settings_have_rules() {
    let text = with(
        "docker: {source: debian, url: https://me:pw@mirror.example, version: newest}
swarm: {interface: wifi/0, address_pool: 10.201.0.1/16, cert_expiry: 30m, join_window: 900y}
",
    );
    insta::assert_snapshot!(problems(&text), @r#"
    7 problems in cluster.yaml

    cluster.yaml:8:26: `url` is about Docker's own repository, and `source: debian` does not use it
      | docker: {source: debian, url: (hidden), version: newest}
      |                          ^^^
      = remove `url`, or write `source: docker`

    cluster.yaml:8:31: the URL holds a user name or password
      | docker: {source: debian, url: (hidden), version: newest}
      |                               ^^^^^^^^
      = remove the part before @: what is written here ends up on every card, readable for all

    cluster.yaml:8:70: `newest` is not an apt version
      | docker: {source: debian, url: (hidden), version: newest}
      |                                                  ^^^^^^
      = write a version or pattern like "5:29.*"

    cluster.yaml:9:20: `wifi/0` is not a network interface
      | swarm: {interface: wifi/0, address_pool: 10.201.0.1/16, cert_expiry: 30m, join_window: 900y}
      |                    ^^^^^^
      = write a name like eth0 or wlan0

    cluster.yaml:9:42: 10.201.0.1/16 is an address within a network, not the network
      | swarm: {interface: wifi/0, address_pool: 10.201.0.1/16, cert_expiry: 30m, join_window: 900y}
      |                                          ^^^^^^^^^^^^^
      = write 10.201.0.0/16

    cluster.yaml:9:70: 30m is too short
      | swarm: {interface: wifi/0, address_pool: 10.201.0.1/16, cert_expiry: 30m, join_window: 900y}
      |                                                                      ^^^
      = write at least 1h

    cluster.yaml:9:88: 900y is too long
      | swarm: {interface: wifi/0, address_pool: 10.201.0.1/16, cert_expiry: 30m, join_window: 900y}
      |                                                                                        ^^^^
      = write at most 100y
    "#);
    insta::assert_snapshot!(problems(&with("docker: {key: mirror.asc}\n")), @r"
    1 problem in cluster.yaml

    cluster.yaml:8:10: Docker's own repository is not signed with another key
      | docker: {key: mirror.asc}
      |          ^^^
      = write the `url` of the mirror this key signs, or remove `key`
    ");
}

#[test]
fn an_image_from_a_url_needs_its_digest() {
    let text = SMALLEST.replace("raspios-lite-arm64", "https://example.org/os.img.xz");
    insta::assert_snapshot!(problems(&text), @r"
    1 problem in cluster.yaml

    cluster.yaml:3:1: an image from a URL needs its SHA-256
      | image: https://example.org/os.img.xz
      | ^^^^^
      = write `image_sha256:` and the 64 hexadecimal digits published with the image
    ");
    for bad in ["https:/example.org/x", "file://home/x", "https://", "file:os.img", "https://e.org/a b"] {
        let text = SMALLEST.replace("raspios-lite-arm64", bad);
        assert!(problems(&text).contains(":3:8: "), "{bad}");
    }
    for good in ["os.img", "../images/my os.img.xz", "C:\\os.img", "raspios-lite-arm64"] {
        assert!(spec::read(&SMALLEST.replace("raspios-lite-arm64", good), "cluster.yaml").is_ok(), "{good}");
    }
}

#[test]
fn a_range_is_one_problem_and_not_a_thousand() {
    let text = SMALLEST.replace("red[00-04]", "[\"Red_[0-998]\", localhost]");
    insta::assert_snapshot!(problems(&text), @r#"
    2 problems in cluster.yaml

    cluster.yaml:4:9: the node name `Red_0` has the character 'R'; use lower-case letters, digits and hyphens
      | nodes: ["Red_[0-998]", localhost]
      |         ^^^^^^^^^^^^^
      = write names like red00

    cluster.yaml:4:24: `localhost` is every machine's name for itself
      | nodes: ["Red_[0-998]", localhost]
      |                        ^^^^^^^^^
      = write names like red00
    "#);
    let text = SMALLEST.replace("red[00-04]", "[\"red[0-9]\", \"red[0-9]\"]");
    insta::assert_snapshot!(problems(&text), @r#"
    1 problem in cluster.yaml

    cluster.yaml:4:21: the node red0 is named twice
      | nodes: ["red[0-9]", "red[0-9]"]
      |                     ^^^^^^^^^^
      = name each node once
    "#);
    let text = SMALLEST.replace("red[00-04]", "[\"red[0-999]\", \"blue[0-999]\"]");
    insta::assert_snapshot!(problems(&text), @r#"
    1 problem in cluster.yaml

    cluster.yaml:4:23: `nodes` stands for more than 1000 texts
      | nodes: ["red[0-999]", "blue[0-999]"]
      |                       ^^^^^^^^^^^^^
      = write fewer
    "#);
    insta::assert_snapshot!(problems(&SMALLEST.replace("red[00-04]", "red[04-00]")), @r"
    1 problem in cluster.yaml

    cluster.yaml:4:8: `red[04-00]` counts down from 04 to 00
      | nodes: red[04-00]
      |        ^^^^^^^^^^
      = write [00-04]
    ");
}
