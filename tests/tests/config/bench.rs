//! What the tests do and ask: `builder` on the lesson's file, and the nodes' own Docker, which is not ours.

use std::collections::BTreeMap;
use std::process::{Command, Output};

use tests::running::Running;

/// Puts the file, for the commands that log in the ssh configuration, and for `config` a Docker that the rack can reach.
pub(crate) fn command(pis: &Running, words: &[&str]) -> Command {
    let mut all = vec!["-f", "hostnames.yaml"];
    all.extend(words);
    match words.first() {
        Some(&"config") => all.extend(["-F", "ssh_config", "--docker", "debian", "--yes"]),
        Some(&"exec") => all.splice(3..3, ["-F", "ssh_config"]).for_each(drop),
        _ => (),
    }
    pis.command(all)
}

/// Runs `builder` to its end, which has to be this exit code.
pub(crate) fn builder(pis: &Running, words: &[&str], code: i32) -> Output {
    let output = command(pis, words).output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(code),
        "{words:?}\n{}\n{}\n{}",
        text(&output.stdout),
        text(&output.stderr),
        pis.consoles()
    );
    output
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a line of shell says in a node, as root and past `ssh`.
pub(crate) fn says(pis: &Running, node: &str, line: &str) -> String {
    text(&pis.shell(node, line).unwrap().stdout).trim().to_owned()
}

/// Whether a line of shell ends well in a node.
pub(crate) fn holds(pis: &Running, node: &str, line: &str) -> bool {
    pis.shell(node, line).unwrap().status.success()
}

/// The id in the swarm of everybody in the manager's list, by host name; all of them ready.
pub(crate) fn members(pis: &Running, manager: &str) -> BTreeMap<String, String> {
    let list = says(pis, manager, "docker node ls --format '{{.Hostname}} {{.ID}} {{.Status}}'");
    let member = |line: &str| {
        let words: Vec<_> = line.split(' ').collect();
        assert_eq!(words[2], "Ready", "{list}");
        (words[0].to_owned(), words[1].to_owned())
    };
    list.lines().map(member).collect()
}

/// What the nodes' own Docker says of being in a swarm: `active` or `inactive`.
pub(crate) fn swarm_state(pis: &Running, node: &str) -> String {
    says(pis, node, "docker info --format '{{.Swarm.LocalNodeState}}'")
}
