//! `config` gives a node's key to the machine that it belongs to. Real `ssh` and `sshd`; what lies behind each sshd plays a machine
//! that can be a node, and keeps what it is given.

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;

use crate::bench::{self, Bench, address};

#[path = "../fixture/elf.rs"]
#[expect(dead_code, reason = "other tests make more of it")]
mod elf;

/// The number of x86-64 in an ELF header.
const X86_64: u16 = 62;

/// A machine: `$1` says which one it is, `name-$1` what it calls itself. With `asks` their `sudo` takes the password `secret`,
/// with `fail` they refuse what they are given, and after `after-$1` was answered, `turned` is there.
const MACHINE: &str = r#"
cd "$(dirname "$0")" || exit 1
case "$SSH_ORIGINAL_COMMAND" in
*"sh -s"*)
    echo
    cat >"heard-$1"
    [ ! -e "after-$1" ] || mv "after-$1" turned
    say() { printf "builder:%s %s\n" "$1" "$2"; }
    say name "$(cat "name-$1")"
    say machine x86_64
    say arch amd64
    say boot "boot of $1"
    say time "$(date +%s)"
    say systemd yes
    say system "Debian GNU/Linux 13 (trixie)"
    say free "/dev/mmcblk0p2 30000000 4000000 24500000 15% /"
    root=yes
    [ ! -e asks ] || root=no
    ! grep -q "^password='secret'" "heard-$1" || root=password
    say root $root
    say end yes
    ;;
*adopt*)
    echo
    cat >"part-$1"
    [ ! -s "part-$1" ] || mv "part-$1" "got-$1"
    [ ! -e fail ]
    ;;
*)
    echo
    cat >/dev/null
    ;;
esac
"#;

/// The machines by the last numbers of their addresses.
const MACHINES: [(u8, &str); 3] = [(1, "one"), (3, "three"), (9, "nine")];

/// The machine `one` at 127.0.0.1 calls itself red00, `three` at 127.0.0.3 red03, `nine` at 127.0.0.9 blue. Their host keys are
/// known; red00 and red03 were brought in.
fn bench() -> Bench {
    let mut bench = Bench::without_server();
    fs::write(bench.path("machine"), MACHINE).unwrap();
    fs::write(bench.path("agent-binary"), elf::tiny(X86_64, false)).unwrap();
    let mut known = String::new();
    for ((last, machine), name) in MACHINES.into_iter().zip(["red00", "red03", "blue"]) {
        bench.key(machine);
        call(&bench, machine, name);
        let command = format!("sh {} {machine}", bench.path("machine").display());
        bench.serve_command(machine, address(last), &command);
        known.push_str(&bench.known(address(last), machine));
    }
    fs::write(bench.path("known_hosts"), known).unwrap();
    hosts(&bench, 3);
    let run = config(&bench, &[]);
    assert_eq!(run.status.code(), Some(0), "{}", talk(&run));
    // From now on nobody waits for agents that are none.
    fs::write(bench.path("fail"), "").unwrap();
    bench
}

fn call(bench: &Bench, machine: &str, name: &str) {
    fs::write(bench.path(&format!("name-{machine}")), name).unwrap();
}

/// Writes the file: the manager, and one worker.
fn hosts(bench: &Bench, worker: u8) {
    let text = format!("manager: {}\nworker: {}\n", address(1), address(worker));
    fs::write(bench.path("hostnames.yaml"), text).unwrap();
}

fn command(bench: &Bench, words: &[&str]) -> Command {
    let mut command = bench.builder(&["config", "hostnames.yaml", "-F", "conf", "--user", &bench.user]);
    command.args(["--firstboot", "agent-binary", "--no-wait", "--json"]).args(words);
    command
}

fn config(bench: &Bench, words: &[&str]) -> Output {
    command(bench, words).output().unwrap()
}

fn talk(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What the worker of the file came to, and why.
fn worker(output: &Output) -> (String, String) {
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |key: &str| {
        let value = told.pointer(&format!("/hosts/1/{key}")).and_then(Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    (text("result"), text("problem"))
}

/// What a machine was given since the last look.
fn given(bench: &Bench, machine: &str) -> Option<Value> {
    let path = bench.path(&format!("got-{machine}"));
    let json = fs::read(&path).ok()?;
    fs::remove_file(path).unwrap();
    Some(serde_json::from_slice(&json).unwrap())
}

/// The type and the fingerprint of a machine's host key, by OpenSSH's own program.
fn fingerprint(bench: &Bench, machine: &str) -> String {
    let shown = Command::new("ssh-keygen").arg("-lf").arg(bench.path(&format!("{machine}.pub"))).output();
    let shown = String::from_utf8(shown.unwrap().stdout).unwrap();
    format!("ssh-ed25519 {}", shown.split(' ').nth(1).unwrap())
}

/// The host key that red03's key is bound to.
fn bound(bench: &Bench) -> Value {
    let record = fs::read(bench.path("hostnames.secrets/running.json")).unwrap();
    let record: Value = serde_json::from_slice(&record).unwrap();
    let hosts = record.get("hosts").and_then(Value::as_array).unwrap();
    hosts.iter().find(|host| host["name"] == "red03").unwrap()["host_key"].clone()
}

#[test]
fn a_machine_with_the_name_of_another_gets_no_key() {
    let bench = bench();
    assert_eq!(bound(&bench), fingerprint(&bench, "three"));
    let first = given(&bench, "three").unwrap();
    assert!(given(&bench, "one").is_some());

    // red03 is off, and another calls itself so.
    call(&bench, "nine", "red03");
    hosts(&bench, 9);
    let refused = config(&bench, &["--yes"]);
    let (result, problem) = worker(&refused);
    assert_eq!((refused.status.code(), result.as_str()), (Some(6), "unfit"), "{}", talk(&refused));
    assert!(problem.contains("red03 is another machine: 127.0.0.3"), "{problem}");
    assert!(talk(&refused).contains(" --replace 'red03=127.0.0.9'"), "{}", talk(&refused));
    assert_eq!(given(&bench, "nine"), None);
    assert!(given(&bench, "one").is_some(), "the others go on");
    assert_eq!(bound(&bench), fingerprint(&bench, "three"));

    // The operator says that it is red03 now.
    let replaced = config(&bench, &["--replace", "red03=127.0.0.9"]);
    let second = given(&bench, "nine").unwrap_or_else(|| panic!("{}", talk(&replaced)));
    assert_eq!(second["card"]["node"], "red03");
    assert_ne!(second["key_pem"], first["key_pem"]);
    assert_ne!(second["cert_pem"], first["cert_pem"]);
    assert_eq!(bound(&bench), fingerprint(&bench, "nine"));
    let manager = given(&bench, "one").unwrap();
    assert_eq!(manager["card"]["revoked"].as_array().unwrap().len(), 1, "the former key is revoked");

    // It has the key for good, and the former red03 is the stranger.
    config(&bench, &[]);
    assert_eq!(given(&bench, "nine").unwrap()["key_pem"], second["key_pem"]);
    hosts(&bench, 3);
    assert_eq!(worker(&config(&bench, &[])).0, "unfit");
    assert_eq!(given(&bench, "three"), None);
}

#[test]
fn a_node_keeps_its_key_at_another_address() {
    let mut bench = bench();
    let first = given(&bench, "three").unwrap();
    let command = format!("sh {} three", bench.path("machine").display());
    bench.serve_command("three", address(33), &command);
    let known = fs::read_to_string(bench.path("known_hosts")).unwrap();
    fs::write(bench.path("known_hosts"), known + &bench.known(address(33), "three")).unwrap();
    hosts(&bench, 33);
    let run = config(&bench, &[]);
    let second = given(&bench, "three").unwrap_or_else(|| panic!("{}", talk(&run)));
    assert_eq!(second["key_pem"], first["key_pem"]);
}

/// `ssh` chooses among the host keys of a machine by the user's `known_hosts` and settings, which change.
#[test]
fn another_host_key_of_the_same_machine_is_no_other_machine() {
    let mut bench = bench();
    let first = given(&bench, "three").unwrap();
    let mut make = Command::new("ssh-keygen");
    make.args(["-q", "-t", "ecdsa", "-N", "", "-f"]).arg(bench.path("second"));
    assert!(make.status().unwrap().success());
    let [machine, second] = ["machine", "second"].map(|name| bench.path(name).display().to_string());
    bench.serve_command("three", address(33), &format!("sh {machine} three\nHostKey {second}"));
    bench.configure("Host 127.0.0.33\n    HostKeyAlgorithms ecdsa-sha2-nistp256,ssh-ed25519\n");
    let known = fs::read_to_string(bench.path("known_hosts")).unwrap();
    let [of_record, other] = ["three", "second"].map(|key| bench.known(address(33), key));
    fs::write(bench.path("known_hosts"), format!("{known}{of_record}{other}")).unwrap();
    hosts(&bench, 33);
    let run = config(&bench, &[]);
    let again = given(&bench, "three").unwrap_or_else(|| panic!("{}", talk(&run)));
    assert_eq!(again["key_pem"], first["key_pem"]);
    assert_eq!(bound(&bench), fingerprint(&bench, "three"));

    // Only the other key is accepted any more.
    fs::write(bench.path("known_hosts"), format!("{known}{other}")).unwrap();
    let run = config(&bench, &["--ssh-timeout", "55s"]);
    let (result, problem) = worker(&run);
    assert_eq!((result.as_str(), given(&bench, "three")), ("unfit", None), "{}", talk(&run));
    assert!(problem.contains("host key ssh-ed25519 SHA256:"), "{problem}");
    assert!(problem.contains("host key ecdsa-sha2-nistp256 SHA256:"), "{problem}");
    let talk = talk(&run);
    let ssh = "ssh -o HostKeyAlgorithms=ssh-ed25519 -o StrictHostKeyChecking=ask -F conf ";
    assert!(talk.contains(ssh), "{talk}");
    // What is typed again is what was typed, with one word more.
    assert!(talk.contains("--ssh-timeout 55s --replace 'red03=127.0.0.33'"), "{talk}");
    assert!(talk.contains("builder config hostnames.yaml -F conf --user "), "{talk}");
}

/// Has `nine` answer at 127.0.0.3 once `three` has been looked at there.
fn exchange_after_first_look(bench: &Bench) {
    let turned = bench.path("turned");
    bench.configure(&format!(
        "Match host 127.0.0.3 exec \"test -e {}\"\n    HostName 127.0.0.9\n",
        turned.display()
    ));
    fs::write(bench.path("after-three"), "").unwrap();
}

/// Between the question and the answer the address changes hands: the next `ssh` leads to another machine, whose host key the
/// operator has accepted as well.
#[test]
fn another_machine_than_the_one_that_was_asked_gets_nothing() {
    let bench = bench();
    given(&bench, "three").unwrap();
    exchange_after_first_look(&bench);
    let run = config(&bench, &[]);
    assert!(bench.path("turned").exists(), "{}", talk(&run));
    let (result, problem) = worker(&run);
    assert_eq!(result, "unreachable", "{}", talk(&run));
    assert!(problem.contains("another machine answers there than a moment ago"), "{problem}");
    assert_eq!(given(&bench, "nine"), None);
    assert_eq!(given(&bench, "three"), None);
}

/// Whether a machine was given the password.
fn knows_password(bench: &Bench, machine: &str) -> bool {
    fs::read_to_string(bench.path(&format!("heard-{machine}"))).is_ok_and(|heard| heard.contains("secret"))
}

/// Runs `config`, whose standard input is the password for `sudo`.
fn config_with_password(bench: &Bench, words: &[&str]) -> Output {
    fs::write(bench.path("asks"), "").unwrap();
    fs::write(bench.path("password"), "secret\n").unwrap();
    let mut command = command(bench, &["--ask-sudo"]);
    command.args(words).stdin(fs::File::open(bench.path("password")).unwrap()).output().unwrap()
}

#[test]
fn the_password_goes_to_known_machines_only() {
    let bench = bench();
    let run = config_with_password(&bench, &[]);
    assert!(knows_password(&bench, "one") && knows_password(&bench, "three"), "{}", talk(&run));
    let got = fs::read_to_string(bench.path("got-three")).unwrap();
    assert!(got.starts_with("secret\n{"), "for sudo, and then what the node gets: {got}");
    // Not to one that has the name of another.
    call(&bench, "nine", "red03");
    hosts(&bench, 9);
    let run = config_with_password(&bench, &["--yes"]);
    assert_eq!(worker(&run).0, "unfit", "{}", talk(&run));
    assert!(bench.path("heard-nine").exists() && !knows_password(&bench, "nine"));
    // Nor to one that took over the address in between.
    hosts(&bench, 3);
    exchange_after_first_look(&bench);
    let run = config_with_password(&bench, &[]);
    assert_eq!(worker(&run).0, "unreachable", "{}", talk(&run));
    assert!(!knows_password(&bench, "nine"));
}

/// Runs `config` at a terminal, where somebody types this.
fn at_terminal(bench: &Bench, words: &[&str], typed: &str) {
    let shown = bench::at_terminal(bench, &command(bench, words), typed);
    assert!(shown.contains("Is it red03? [y/N]"), "{shown}");
}

#[test]
fn at_a_terminal_the_operator_is_asked() {
    let bench = bench();
    let first = given(&bench, "three").unwrap();
    call(&bench, "nine", "red03");
    hosts(&bench, 9);
    at_terminal(&bench, &[], "n\n");
    assert_eq!(given(&bench, "nine"), None);
    at_terminal(&bench, &[], "y\n");
    assert_ne!(given(&bench, "nine").unwrap()["key_pem"], first["key_pem"]);
}
