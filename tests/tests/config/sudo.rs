//! `sudo` that wants a password, as Raspberry Pi OS has it since April 2026: Debian's `sudo`, and sudo-rs, which Ubuntu has.

use std::io::Write as _;
use std::process::{Output, Stdio};

use tests::product::Product;
use tests::running::Running;

use crate::bench::{command, holds, members, says, text};

const NODE: &str = "plum00";
/// With what a shell would read otherwise.
const PASSWORD: &str = "it's $HOME \"5\" \\ `x`";
/// Found before Debian's own.
const SUDO_RS: &str =
    "apt-get -qq update && apt-get -qq install --yes sudo-rs && ln -sf /usr/bin/sudo-rs /usr/local/bin/sudo";

/// Runs `config --ask-sudo` with a line on standard input.
fn config(pis: &Running, words: &[&str], password: &str) -> Output {
    let mut command = command(pis, &[&["config", "--ask-sudo"], words].concat());
    let mut run =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    run.stdin.take().unwrap().write_all(format!("{password}\n").as_bytes()).unwrap();
    run.wait_with_output().unwrap()
}

/// How many logins the machine has counted as failed (pam_unix(8), "authentication failure").
fn refused(pis: &Running) -> usize {
    let count = "journalctl -q --no-pager | grep -cE 'pam_unix\\(sudo(-i)?:auth\\): authentication failure'";
    says(pis, NODE, count).parse().unwrap()
}

#[test]
fn a_password_for_sudo_is_asked_for_once_and_left_nowhere() {
    let pis = Running::start(&Product::from_env().unwrap(), &[NODE]).unwrap();
    pis.write_hostnames(NODE, &[]).unwrap();
    let account = format!("printf '%s' 'pi:{}' | chpasswd", PASSWORD.replace('\'', r"'\''"));
    assert!(holds(&pis, NODE, &format!("rm /etc/sudoers.d/010_pi-nopasswd && {account}")));

    let unasked = command(&pis, &["config"]).stdin(Stdio::null()).output().unwrap();
    let talk = text(&unasked.stderr);
    assert_eq!(unasked.status.code(), Some(6), "{talk}");
    assert!(talk.contains("sudo wants a password there") && talk.contains("--ask-sudo"), "{talk}");

    for sudo in ["Debian's", "sudo-rs"] {
        if sudo == "sudo-rs" {
            assert!(holds(&pis, NODE, SUDO_RS), "{}", pis.consoles());
        }
        let before = refused(&pis);
        let wrong = config(&pis, &["--dry-run"], "wrong");
        let talk = text(&wrong.stderr);
        assert_eq!(wrong.status.code(), Some(6), "{sudo}: {talk}");
        assert!(talk.contains("sudo does not accept the password there"), "{sudo}: {talk}");
        assert_eq!(refused(&pis), before + 1, "{sudo}: it is tried once");
        let right = config(&pis, &["--dry-run"], PASSWORD);
        assert_eq!(right.status.code(), Some(0), "{sudo}: {}", text(&right.stderr));
        assert_eq!(refused(&pis), before + 1, "{sudo}");
    }

    let formed = config(&pis, &[], PASSWORD);
    assert_eq!(formed.status.code(), Some(0), "{}\n{}", text(&formed.stderr), pis.consoles());
    assert_eq!(members(&pis, NODE).into_keys().collect::<Vec<_>>(), [NODE]);
    let said = text(&formed.stderr) + &text(&formed.stdout);
    assert!(!said.contains(PASSWORD), "{said}");
    // Neither in a log, nor in a file.
    let left = format!(
        "journalctl -q --no-pager | grep -cF -- '{0}'; grep -rlF -- '{0}' /tmp /var/tmp /var/log /var/lib/firstboot /etc \
         /home /run/user 2>/dev/null | wc -l; ls -d /tmp/builder.* 2>/dev/null | wc -l",
        PASSWORD.replace('\'', r"'\''")
    );
    assert_eq!(says(&pis, NODE, &left), "0\n0\n0");

    // The agent is of this build, and all that is to be done again needs no root.
    let again = config(&pis, &[], PASSWORD);
    assert!(text(&again.stdout).contains("nothing: it is as wanted"), "{}", text(&again.stdout));
    let mut purge = command(&pis, &["kill", "--yes", "--purge", "--ask-sudo", "-F", "ssh_config"]);
    let mut run = purge.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    run.stdin.take().unwrap().write_all(format!("{PASSWORD}\n").as_bytes()).unwrap();
    let purged = run.wait_with_output().unwrap();
    assert_eq!(purged.status.code(), Some(0), "{}", text(&purged.stderr));
    assert!(!holds(&pis, NODE, "test -e /var/lib/firstboot"));
}
