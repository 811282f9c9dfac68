//! Machines that are down, strange, silent or slow hold up nobody, and the end says what to type.

use std::fs;
use std::net::TcpListener;

use crate::bench::{Bench, address};

#[test]
fn one_machines_trouble_is_nobody_elses() {
    let bench = Bench::new(7);
    // .2 is another machine than the one that was accepted, .3 was never accepted, .9 is off, .8 takes connections and
    // never says a word.
    bench.key("other");
    let known: Vec<_> = [1, 4, 5, 6, 7].map(|last| bench.known(address(last), "host")).to_vec();
    fs::write(bench.path("known_hosts"), known.concat() + &bench.known(address(2), "other")).unwrap();
    let silent = TcpListener::bind((address(8), bench.port)).unwrap();
    let command =
        "set -- $SSH_CONNECTION; case $3 in *.5) sleep 600;; *.6) exit 3;; *.7) exit 255; esac; echo ok";
    let run = bench.run(&["--hosts", "127.0.0.[1-9]", "--timeout", "45s", "--", command]);
    drop(silent);
    assert_eq!(run.out, ["127.0.0.1: ok", "127.0.0.4: ok"], "{run:?}");
    assert_eq!(run.code, Some(6));
    insta::assert_snapshot!(run.error(), @r"
    error: done on 2 of 9 hosts
      127.0.0.2: it shows another host key than the one that is known
      127.0.0.3: its host key is not known
      127.0.0.5: given up after 45s, while the command ran
      127.0.0.6: exit code 3
      127.0.0.7: exit code 255: the command's own, or a signal ended it
      127.0.0.8: given up after 45s, before it let us in
      127.0.0.9: it cannot be reached: connection refused
    hint: 127.0.0.2: if the machine was set up anew, forget its old key: ssh-keygen -f FOLDER/known_hosts -R '[127.0.0.2]:PORT'; if it was not, somebody may stand between you and it
    hint: 127.0.0.3: compare the fingerprint and accept it: ssh -F conf -o StrictHostKeyChecking=ask USER@127.0.0.3 true
    hint: 127.0.0.9: still booting? Otherwise, on the Pi itself: sudo systemctl enable --now ssh
    hint: 127.0.0.[5,8]: a longer --timeout gives it time; what was started there may go on
    ");
    // What is wrong is told at once, too.
    assert!(
        run.talk.contains("\n127.0.0.6: exit code 3\n") || run.talk.starts_with("127.0.0.6: exit code 3\n")
    );
}

#[test]
fn the_command_that_accepts_a_key_does() {
    let bench = Bench::new(2);
    fs::write(bench.path("known_hosts"), "").unwrap();
    let run = bench.run(&["--hosts", "127.0.0.1", "--", "true"]);
    assert_eq!(run.code, Some(6));
    let hint = run.error().lines().find_map(|line| line.split_once("accept it: ")).unwrap().1;
    assert_eq!(hint, "ssh -F conf -o StrictHostKeyChecking=ask USER@127.0.0.1 true");
    assert_eq!(fs::read_to_string(bench.path("known_hosts")).unwrap(), "", "nothing was accepted on the way");
    // As typed, but for the question, which has no terminal here.
    let typed = hint.replace("=ask", "=accept-new").replace("USER@", &format!("{}@", bench.user));
    let mut words = typed.split(' ');
    let mut ssh = std::process::Command::new(words.next().unwrap());
    assert!(ssh.args(words).current_dir(bench.path("")).output().unwrap().status.success());
    assert_eq!(bench.run(&["--hosts", "127.0.0.1", "--", "true"]).code, Some(0));
}

#[test]
fn nobody_there_is_its_own_exit_code() {
    let bench = Bench::without_server();
    let run = bench.run(&["--hosts", "127.0.0.[1-3]", "--", "true"]);
    assert_eq!(run.code, Some(5), "{run:?}");
    assert!(run.error().contains("  127.0.0.[1-3]: it cannot be reached: connection refused\n"), "{run:?}");
}

#[test]
fn a_key_that_is_not_let_in_is_told_with_what_to_do() {
    let bench = Bench::new(1);
    fs::remove_file(bench.path("id")).unwrap();
    fs::remove_file(bench.path("id.pub")).unwrap();
    bench.key("id2");
    fs::rename(bench.path("id2"), bench.path("id")).unwrap();
    fs::write(bench.path("id.pub"), fs::read(bench.path("host.pub")).unwrap()).unwrap();
    let run = bench.run(&["--hosts", "127.0.0.1", "--", "true"]);
    assert_eq!(run.code, Some(6));
    assert!(
        run.error().contains("permission denied") && run.error().contains("ssh-copy-id USER@127.0.0.1"),
        "{run:?}"
    );
}

#[test]
fn jump_hosts_of_the_users_configuration_are_used_and_checked() {
    let bench = Bench::new(4);
    let known: Vec<_> = [1, 2, 4].map(|last| bench.known(address(last), "host")).to_vec();
    fs::write(bench.path("known_hosts"), known.concat()).unwrap();
    let user = &bench.user;
    bench.configure(&format!(
        "Host 127.0.0.2\n    ProxyJump {user}@127.0.0.1\nHost 127.0.0.4\n    ProxyJump {user}@127.0.0.3\n"
    ));
    let run = bench.run(&["--hosts", "127.0.0.[2,4]", "--timeout", "2m", "--", "echo", "ok"]);
    assert_eq!(run.out, ["127.0.0.2: ok"], "{run:?}");
    assert!(run.error().contains("  127.0.0.4: its host key is not known\n"), "{run:?}");
}

#[test]
fn what_cannot_be_meant_is_refused_before_anything_is_done() {
    let bench = Bench::without_server();
    for (words, said) in [
        (&["--hosts", "-oProxyCommand=id", "--", "true"][..], "unexpected argument"),
        (&["--hosts=-oProxyCommand=id", "--", "true"], "begins with a hyphen"),
        (&["--hosts", "a,a", "--", "true"], "named twice"),
        (&["--hosts", "a"], "required arguments"),
        (&["--hosts", "a", "--group", "--json", "--", "true"], "cannot be used with"),
        (&["--", "true"], "there is no cluster file cluster.yaml"),
        (&["--hosts", "a b", "--", "true"], "which no host name has"),
    ] {
        let run = bench.run(words);
        assert_eq!(run.code, Some(2), "{run:?}");
        assert!(run.talk.contains(said), "{words:?}: {run:?}");
    }
    fs::remove_file(bench.path("conf")).unwrap();
    let run = bench.run(&["--hosts", "a", "--", "true"]);
    assert!(run.code == Some(2) && run.talk.starts_with("error: cannot read conf\n"), "{run:?}");
}
