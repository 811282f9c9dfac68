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

fn problems(text: &str) -> String {
    spec::read(text, "cluster.yaml").expect_err("no problem was found").to_string()
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
    let text = r#"
version: "1"
cluster: 9
image: https://example.org/os.img.xz
image_sha256: 0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef
nodes: ["red[00-02]", blue]
managers: [blue]
managers_run_tasks: true
user:
  name: anna
  authorized_keys: ssh-ed25519 AAAA anna@laptop
  password_hash: '$6$saltsalt$abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcd'
network:
  addresses: 192.168.1.[10-13]/24
  gateway: 192.168.1.1
  dns: [192.168.1.1, 9.9.9.9]
per_node:
  red01:
    address: 10.0.0.7/16
    gateway: 10.0.0.1
    dns: 10.0.0.2
    labels: {disk: ssd, rack: 7}
wifi: {country: DE, ssid: "Lab: 2", psk: correct horse}
timezone: Europe/Berlin
locale: de_DE.UTF-8
keymap: de
docker: {source: docker, version: "5:29.*", url: http://mirror.example:8080/linux/debian, key: mirror.asc}
swarm: {interface: eth0, address_pool: 10.201.0.0/16, cert_expiry: 90d, join_window: 30m}
"#;
    let cluster = spec::read(text, "cluster.yaml").unwrap();
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
    assert_eq!(cluster.wifi.unwrap().ssid, "Lab: 2");
    assert_eq!(cluster.wifi_psk.unwrap().expose(), "correct horse");
    assert_eq!(cluster.timezone.as_deref(), Some("Europe/Berlin"));
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
      | nodez: x
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
      |   colour: blue
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
