//! Nodes of a cluster file: the host keys that their cards were made with are the ones that count.

use std::collections::BTreeMap;
use std::fs;

use builder::{pki, project};
use cluster::name::Hostname;

use crate::bench::{Bench, address};

const CLUSTER: &str = "\
version: 1
cluster: red
image: os.img
nodes: red[00-02]
user: {name: ada, authorized_keys: id.pub}
";

#[test]
fn a_nodes_host_key_is_the_one_on_its_card() {
    let mut bench = Bench::without_server();
    fs::write(bench.path("cluster.yaml"), CLUSTER).unwrap();
    let run = bench.run(&["--", "true"]);
    assert_ne!(run.code, Some(0), "no card was made yet: {run:?}");
    assert!(run.talk.contains("red.secrets"), "{run:?}");

    let project = project::load(&bench.path("cluster.yaml")).unwrap();
    let identities = pki::open(&project).unwrap();
    let node = |name: &str| Hostname::try_from(name).unwrap();
    // At red01's address is a machine that does not have red01's card; at red02's is none.
    let at = BTreeMap::from([1, 2, 3].map(|n| (node(&format!("red0{}", n - 1)), address(n))));
    pki::remember_addresses(&project, &at).unwrap();
    for name in ["red00", "red02"] {
        let material = identities.node(&node(name)).unwrap();
        let path = bench.path(name);
        fs::write(&path, material.host_key.expose()).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }
    bench.key("stranger");
    bench.serve("red00", &[address(1)]);
    bench.serve("stranger", &[address(2)]);
    // The user's own file knows the stranger, which does not count.
    fs::write(bench.path("known_hosts"), bench.known(address(2), "stranger")).unwrap();

    let run = bench.run(&["--", "echo", "ok"]);
    assert_eq!(run.out, ["red00: ok"], "{run:?}");
    assert_eq!(run.code, Some(6));
    insta::assert_snapshot!(run.error(), @r"
    error: done on 1 of 3 hosts
      red01: it shows another host key than the one that is known
      red02: it cannot be reached: connection refused
    hint: red01: the machine at that address was not made from this node's card: is it another Pi, or was its card made with other secrets? builder status tells addresses, sudo builder flash red01 makes the card anew
    hint: red02: still booting? Otherwise, on the Pi itself: sudo systemctl enable --now ssh
    ");
    let one = bench.run(&["red00", "--", "echo", "ok"]);
    assert_eq!((one.code, one.talk.as_str()), (Some(0), "done on 1 of 1 host\n"));
}

/// The file is for people. Somebody else may have put it there, with a program of theirs.
#[test]
fn an_ssh_config_in_the_folder_starts_no_program() {
    let bench = Bench::without_server();
    fs::write(bench.path("cluster.yaml"), CLUSTER).unwrap();
    let project = project::load(&bench.path("cluster.yaml")).unwrap();
    pki::open(&project).unwrap();
    let at = ["red00", "red01", "red02"].map(|name| (Hostname::try_from(name).unwrap(), address(1)));
    pki::remember_addresses(&project, &BTreeMap::from(at)).unwrap();
    let file = bench.path("red.secrets/ssh_config");
    let mark = bench.path("started");
    let text = fs::read_to_string(&file).unwrap();
    let theirs = format!("Host *\n    ProxyCommand touch {}\n{text}", mark.display());
    fs::write(&file, &theirs).unwrap();
    let run = bench.run(&["--", "true"]);
    assert!(run.error().contains("red[00-02]: it cannot be reached: connection refused"), "{run:?}");
    assert!(!mark.exists());
    // With that file ssh would have started it.
    let mut ssh = std::process::Command::new("ssh");
    ssh.arg("-F").arg(&file).args(["-o", "BatchMode=yes", "red00", "true"]);
    assert!(!ssh.output().unwrap().status.success());
    assert!(mark.exists());
}
