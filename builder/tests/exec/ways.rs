//! How machines are reached: through one jump host, at a port, and as whom.

use std::fs;

use crate::bench::{Bench, Run, address};

/// An sshd with its defaults drops some of many logins that come at once (`MaxStartups 10:30:100`): of 50 machines behind one,
/// 15 to 19 were not reached (OpenSSH 10.0 and 9.2). No connection is begun that could be dropped.
#[test]
fn all_machines_behind_one_jump_host_are_reached() {
    let mut bench = Bench::without_server();
    bench.key("host");
    bench.serve("host", &(2..=41).map(address).collect::<Vec<_>>());
    let log = bench.serve_few("host", address(1));
    let known: Vec<_> = (1..=41).map(|last| bench.known(address(last), "host")).collect();
    fs::write(bench.path("known_hosts"), known.concat()).unwrap();
    bench.configure(&format!(
        "Host 127.0.0.? 127.0.0.?? !127.0.0.1\n    ProxyJump {}@127.0.0.1\n",
        bench.user
    ));
    let run = bench.run(&["--hosts", "127.0.0.[2-41]", "--timeout", "3m", "--", "echo ok; echo oh >&2"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert_eq!(run.out.len(), 40);
    assert_eq!(run.talk.lines().last(), Some("done on 40 of 40 hosts"), "{run:?}");
    assert_eq!(run.talk.lines().filter(|line| line.ends_with(": oh")).count(), 40, "{run:?}");
    // A login may have its own words.
    assert!(!["kex_exchange", "Connection "].iter().any(|words| run.talk.contains(words)), "{run:?}");
    let log = fs::read_to_string(log).unwrap();
    assert_eq!(log.matches("Accepted publickey").count(), 40, "{log}");
    assert!(!log.contains("drop connection") && !log.contains("throttling"), "{log}");
}

#[test]
fn a_port_may_stand_behind_the_name() {
    let bench = Bench::new(2);
    // The first value counts: without a port of its own, nobody answers.
    bench.configure("Host *\n    Port 1\n");
    let port = bench.port;
    let hosts = format!("127.0.0.[1-2]:{port}");
    let run = bench.run(&["--hosts", &hosts, "--", "echo", "ok"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert_eq!(run.out, [format!("127.0.0.1:{port}: ok"), format!("127.0.0.2:{port}: ok")]);

    fs::write(bench.path("hostnames.yaml"), format!("manager: 127.0.0.1:{port}\nworker: 127.0.0.2\n"))
        .unwrap();
    let run = bench.run(&["-f", "hostnames.yaml", "--", "echo", "ok"]);
    assert_eq!((run.code, run.out.len()), (Some(6), 1), "{run:?}");
    assert!(run.error().contains("  127.0.0.2: it cannot be reached: connection refused\n"), "{run:?}");
}

/// Nobody is named on the command line, so the user's own configuration decides, and hints say the same.
#[test]
fn hints_name_the_user_that_ssh_tried() {
    let bench = Bench::new(2);
    bench.configure("Host *\n    User nobody-of-this-name\n");
    for (command, words) in
        [("exec", &["--hosts", "127.0.0.1", "--", "true"][..]), ("config", &["hostnames.yaml"])]
    {
        fs::write(bench.path("hostnames.yaml"), "manager: 127.0.0.1\n").unwrap();
        let mut builder = bench.builder(&[command, "-F", "conf"]);
        let run = Run::new(&bench, &builder.args(words).output().unwrap());
        assert!(run.error().contains("ssh-copy-id nobody-of-this-name@127.0.0.1;"), "{run:?}");
    }
}

#[test]
fn another_tools_inventory_is_answered_with_the_file_to_write() {
    let bench = Bench::without_server();
    fs::write(bench.path("hosts.ini"), "[manager]\nred00 ansible_host=10.1.1.1\n\n[worker]\nred01\n")
        .unwrap();
    for words in [
        &["config", "hosts.ini"][..],
        &["-f", "hosts.ini", "exec", "--", "true"],
        &["-f", "hosts.ini", "check"],
    ] {
        let run = Run::new(&bench, &bench.builder(words).output().unwrap());
        assert_eq!(run.code, Some(2), "{run:?}");
        assert_eq!(
            run.talk,
            "error: hosts.ini is an Ansible inventory, and neither a cluster file nor a hostnames.yaml\n\
             hint: write these lines into a hostnames.yaml, and name that file instead:\n\nmanager: 10.1.1.1\nworker:\n- red01\n"
        );
    }
}
