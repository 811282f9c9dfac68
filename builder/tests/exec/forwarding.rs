//! What a node gets of the operator: nothing but the command.

use std::process::{Child, Command, Stdio};

use crate::bench::{Bench, wait_until};

/// An SSH agent with nothing in it.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn no_node_gets_the_operators_agent() {
    let bench = Bench::new(1);
    let socket = bench.path("agent");
    let agent =
        Command::new("ssh-agent").arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).spawn().unwrap();
    let _agent = Agent(agent);
    wait_until("the agent listens", || socket.exists());
    let agent_of = |words: &[&str]| {
        let output = bench.command(words).env("SSH_AUTH_SOCK", &socket).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    bench.configure("Host *\n    IdentityAgent SSH_AUTH_SOCK\n    ForwardAgent yes\n    ForwardX11 yes\n");
    let ask = "echo \"agent:$SSH_AUTH_SOCK display:$DISPLAY\"";
    assert_eq!(
        agent_of(&["--hosts", "127.0.0.1", "--", ask]),
        (Some(0), "127.0.0.1: agent: display:\n".to_owned())
    );
    // That configuration does forward it.
    let mut plain = Command::new("ssh");
    plain.arg("-F").arg(bench.path("conf")).args(["127.0.0.1", ask]).env("SSH_AUTH_SOCK", &socket);
    let plain = String::from_utf8(plain.output().unwrap().stdout).unwrap();
    assert!(plain.starts_with("agent:/"), "{plain}");
}

/// What a machine says is data, and whole; a terminal that shows it does nothing.
#[test]
fn json_of_a_nodes_words_is_whole_and_harmless() {
    let bench = Bench::new(1);
    let said = "printf 'a\\302\\2332Jb\\342\\200\\256c\\177\\n'";
    let output = bench.command(&["--hosts", "127.0.0.1", "--json", "--", said]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(r"a\u009b2Jb\u202ec\u007f\n"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["stdout"], "a\u{9b}2Jb\u{202e}c\u{7f}\n");
}
