//! Six Pis of which only two are as they should be, and a file with one more that is off: what `config` says of each, and
//! that it brings in the others; then their owner mends them, and the laptop dies, and a cable is pulled.

use std::fs;
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::Duration;

use tests::product::Product;
use tests::running::Running;
use tests::wait;

use crate::bench::{builder, command, holds, members, text};

const MANAGER: &str = "lime00";
const WORKER: &str = "lime01";
const OTHER_KEY: &str = "lime02";
const NO_SUDO: &str = "lime03";
const FULL: &str = "lime04";
const HANGS: &str = "lime05";
const NODES: [&str; 6] = [MANAGER, WORKER, OTHER_KEY, NO_SUDO, FULL, HANGS];
/// Nothing takes longer on a machine that has more to do.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// All but 40 MiB is taken, for root, too; of these ext4 keeps 16 back.
const FILL: &str =
    "fallocate --length $(( $(stat --file-system --format='%f * %S' /) - (40 << 20) )) /filler";
/// Everybody is let in, and nothing ever happens.
const HANG: &str =
    "echo 'ForceCommand sleep infinity' >/etc/ssh/sshd_config.d/hang.conf && systemctl reload ssh";

/// An address at which nobody is.
fn nobody(pis: &Running) -> Ipv4Addr {
    let [a, b, c, _] = pis.rack.gateway().octets();
    Ipv4Addr::new(a, b, c, 40)
}

fn spoil(pis: &Running) {
    // Another machine's key where one's own was.
    let known = fs::read_to_string(pis.known_hosts()).unwrap();
    let [right, other] = [OTHER_KEY, MANAGER].map(|node| format!("{} ", pis.address(node).unwrap()));
    let keep = known.lines().filter(|line| !line.starts_with(&right));
    let wrong =
        known.lines().filter(|line| line.starts_with(&other)).map(|line| line.replacen(&other, &right, 1));
    let lines: Vec<_> = keep.map(str::to_owned).chain(wrong).collect();
    fs::write(pis.known_hosts(), lines.join("\n") + "\n").unwrap();
    // The user's group has to give a password, as Debian has it.
    for (node, line) in [(NO_SUDO, "rm /etc/sudoers.d/010_pi-nopasswd"), (FULL, FILL), (HANGS, HANG)] {
        assert!(holds(pis, node, line), "{node}: {line}");
    }
}

#[test]
fn one_pis_trouble_is_nobody_elses_and_the_job_is_finished_later() {
    let pis = Running::start(&Product::from_env().unwrap(), &NODES).unwrap();
    spoil(&pis);
    let mut workers: Vec<_> = NODES[1..].iter().map(|node| pis.address(node).unwrap()).collect();
    workers.push(nobody(&pis));
    pis.write_addresses(pis.address(MANAGER).unwrap(), &workers).unwrap();

    let talk = text(&builder(&pis, &["config", "--ssh-timeout", "30s"], 6).stderr);
    assert_eq!(members(&pis, MANAGER).keys().collect::<Vec<_>>(), [MANAGER, WORKER]);
    let summary = &talk[talk.find("error: ").unwrap()..];
    for (node, words) in [
        (OTHER_KEY, &["host key"][..]),
        (NO_SUDO, &["sudo"]),
        (FULL, &["disk", "room", "space", "full", "MiB"]),
        (HANGS, &["given up", "answer", "in time"]),
    ] {
        let at = pis.address(node).unwrap().to_string();
        let told =
            summary.lines().any(|line| line.contains(&at) && words.iter().any(|word| line.contains(word)));
        assert!(told, "{node}, {at}: {words:?}\n{summary}");
        assert!(!holds(&pis, node, "test -e /var/lib/firstboot"), "{node} was left alone");
    }
    let down = nobody(&pis).to_string();
    assert!(
        summary.lines().any(|line| line.contains(&down) && line.contains("cannot be reached")),
        "{summary}"
    );
    assert!(summary.contains("\nhint: ") && summary.contains("ssh-keygen "), "{summary}");

    // One is mended; the laptop dies when it has begun with it.
    let known = fs::read_to_string(pis.known_hosts()).unwrap();
    let right = format!("{} ", pis.address(OTHER_KEY).unwrap());
    let known: Vec<_> = known.lines().filter(|line| !line.starts_with(&right)).collect();
    fs::write(pis.known_hosts(), known.join("\n") + "\n").unwrap();
    pis.accept(OTHER_KEY).unwrap();
    let mut run = command(&pis, &["config"]);
    let mut run = run.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_begun(&pis, OTHER_KEY);
    run.kill().unwrap();
    run.wait().unwrap();

    // Two more are mended, two are given up; the cable of one is pulled when it is begun with.
    assert!(holds(&pis, NO_SUDO, "echo 'pi ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/010_pi-nopasswd"));
    assert!(holds(&pis, FULL, "rm /filler"));
    pis.write_hostnames(MANAGER, &[WORKER, OTHER_KEY, NO_SUDO, FULL]).unwrap();
    let mut run = command(&pis, &["config", "--timeout", "45s"]);
    let run = run.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_begun(&pis, FULL);
    let full = pis.address(FULL).unwrap().to_string();
    pis.rack.set_link(FULL, false).unwrap();
    let ended = run.wait_with_output().unwrap();
    let talk = text(&ended.stderr);
    assert_eq!(ended.status.code(), Some(6), "{talk}\n{}", pis.consoles());
    let summary = &talk[talk.find("error: ").unwrap()..];
    assert!(summary.contains(FULL) || summary.contains(&full), "{summary}");

    // It is finished by the next.
    pis.rack.set_link(FULL, true).unwrap();
    pis.wait_booted(FULL).unwrap();
    builder(&pis, &["config"], 0);
    assert_eq!(members(&pis, MANAGER).keys().collect::<Vec<_>>(), NODES[..5].iter().collect::<Vec<_>>());
}

/// Until the first of ours is on a Pi.
fn wait_begun(pis: &Running, node: &str) {
    wait::until("it is begun", PATIENCE, || Ok(holds(pis, node, "test -e /var/lib/firstboot").then_some(())))
        .unwrap();
}
