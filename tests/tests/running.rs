//! Pis that were never made by us: the lesson's first try, on five of them.
//!
//! Real systemd, sshd and network, in the rack. Needs root and what `cargo xtask test` makes.

use tests::product::Product;
use tests::running::Running;

/// Not the lesson's own names: another rack with those may run at once, and this machine asks both for `.local` names.
const NODES: [&str; 5] = ["ruby00", "ruby01", "ruby02", "ruby03", "ruby04"];

#[test]
fn uname_runs_on_five_of_them_with_the_lessons_file() {
    let pis = Running::start(&Product::from_env().unwrap(), &NODES).unwrap();
    pis.write_hostnames(NODES[0], &NODES[1..]).unwrap();

    let words = ["-f", "hostnames.yaml", "exec", "-F", "ssh_config", "--", "uname", "-a"];
    let ran = pis.builder(words).unwrap();
    let (out, talk) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert_eq!(ran.status.code(), Some(0), "{talk}");
    let mut said: Vec<_> = out.lines().collect();
    said.sort_unstable();
    let mut wanted: Vec<_> =
        NODES.map(|node| format!("{}: Linux {node} ", pis.address(node).unwrap())).to_vec();
    wanted.sort();
    assert_eq!(said.len(), wanted.len(), "{out}");
    for (said, wanted) in said.iter().zip(&wanted) {
        assert!(said.starts_with(wanted), "{said} is not {wanted}");
    }

    // Each is a Pi of its own, on which nothing of ours is, before and after.
    for node in NODES {
        let found = pis.shell(node, "test -e /var/lib/firstboot || command -v docker").unwrap();
        assert_eq!(found.status.code(), Some(127), "{node}: {found:?}");
        let login = pis.ssh(node, "sudo -n id -un && systemctl is-system-running").unwrap().output().unwrap();
        assert_eq!(String::from_utf8_lossy(&login.stdout), "root\nrunning\n", "{node}: {login:?}");
    }
    let known = std::fs::read_to_string(pis.known_hosts()).unwrap();
    let mut keys: Vec<_> = known.lines().filter_map(|line| line.rsplit(' ').next()).collect();
    let all = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert!(all >= NODES.len() && keys.len() == all, "two show the same host key:\n{known}");
}

#[test]
fn a_pi_gets_no_more_of_the_processor_than_it_is_given() {
    let pis = Running::start_each_with(&Product::from_env().unwrap(), &["agate00"], 0.5).unwrap();
    let line = r#"bash -c 'TIMEFORMAT="%R %U %S"; time for ((i = 0; i < 3000000; i++)); do :; done'"#;
    let ran = pis.ssh("agate00", line).unwrap().output().unwrap();
    let told = String::from_utf8_lossy(&ran.stderr);
    let times: Vec<f64> = told.split_whitespace().map(|word| word.parse().unwrap()).collect();
    let [real, user, system] = times[..] else { panic!("{told}") };
    // A hundredth of slack for the clock, and the first period is whole.
    assert!(user + system > 1.0 && user + system < 0.5 * real + 0.1, "{told}");
}
