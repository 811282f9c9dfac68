//! `builder rehearse`, the real program: how it ends, what it says then, and what it leaves.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::card;
use crate::fixture::{AARCH64, elf};
use crate::guest::{Then, kernel};

const CLUSTER: &str = "\
version: 1
cluster: red
image: pios.img
nodes: red[00-02]
user:
  name: ada
  authorized_keys: ['ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f ada@laptop']
";

/// How long anything here may take.
const SOON: Duration = Duration::from_secs(60);

/// A folder with a cluster file and the built cards of red00 and red01.
struct Bench(TempDir);

impl Bench {
    fn new(then: Then) -> Self {
        let bench = Self(tempfile::tempdir().unwrap());
        card(bench.folder(), "pios.img", kernel("the guest is up", then));
        fs::write(bench.path("cluster.yaml"), CLUSTER).unwrap();
        fs::write(bench.path("firstboot-aarch64"), elf::tiny(AARCH64, false)).unwrap();
        let built =
            bench.builder("--cache cache build --firstboot firstboot-aarch64 red[00-01]").output().unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        bench
    }

    fn folder(&self) -> &Path {
        self.0.path()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    fn builder(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_builder"));
        command.current_dir(self.folder()).env_clear().env("HOME", self.folder());
        // What a killed run leaves there goes with the test.
        command.env("TMPDIR", self.folder());
        command.env("PATH", std::env::var_os("PATH").unwrap()).args(line.split_whitespace());
        command
    }

    fn rehearse(&self, line: &str) -> (Option<i32>, String) {
        let output = self.builder(&format!("rehearse {line}")).output().unwrap();
        assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
        self.ended(&output)
    }

    fn ended(&self, output: &Output) -> (Option<i32>, String) {
        self.nothing_runs();
        let said = String::from_utf8_lossy(&output.stderr);
        let folder = self.folder().canonicalize().unwrap();
        (output.status.code(), said.replace(&format!("{}/", folder.display()), ""))
    }

    fn cards(&self) -> Vec<Vec<u8>> {
        ["red00", "red01"].map(|name| fs::read(self.path(&format!("cards/{name}.img"))).unwrap()).to_vec()
    }

    /// Machines run in the rehearsal's folder, their guards in ours.
    fn running(&self) -> Vec<(Pid, String)> {
        let folder = self.folder().canonicalize().unwrap();
        let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        let ours = processes
            .filter(|path| fs::read_link(path.join("cwd")).is_ok_and(|cwd| cwd.starts_with(&folder)));
        let described = ours.filter_map(|path| {
            let words = fs::read(path.join("cmdline")).ok()?;
            let id = path.file_name()?.to_str()?.parse().ok()?;
            Some((Pid::from_raw(id)?, String::from_utf8_lossy(&words).replace('\0', " ")))
        });
        described.collect()
    }

    fn nothing_runs(&self) {
        let running = self.running();
        assert!(running.is_empty(), "{running:#?}");
    }

    /// What the last rehearsal left beside its logs.
    fn left(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("red.rehearsal")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> =
            names.filter(|name| !name.starts_with('.') && !name.ends_with(".log")).collect();
        names.sort();
        names
    }
}

/// A rehearsal that goes on.
struct Live {
    child: Child,
    lines: Receiver<String>,
}

impl Live {
    fn start(bench: &Bench, line: &str) -> Self {
        let mut command = bench.builder(&format!("rehearse {line}"));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines }
    }

    /// Until the machine whose console is shown has booted.
    fn booted(&self) {
        let deadline = Instant::now() + SOON;
        let left = || deadline.saturating_duration_since(Instant::now());
        while !self.lines.recv_timeout(left()).unwrap().ends_with(" the guest is up") {}
    }

    /// All that it said, after its end.
    fn said(&mut self) -> String {
        std::io::read_to_string(self.child.stderr.take().unwrap()).unwrap()
    }

    fn signal(&mut self, signal: Signal) -> ExitStatus {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        self.child.wait().unwrap()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // Where a test failed it still runs.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

#[test]
fn without_qemu_it_says_what_to_install() {
    let bench = Bench::new(Then::Stay);
    let output =
        bench.builder("rehearse").env("PATH", bench.path("nowhere")).args(["red00"]).output().unwrap();
    let (code, said) = bench.ended(&output);
    assert_eq!(code, Some(1));
    assert!(
        said.starts_with("error: there is no qemu-system-aarch64 on this computer\nhint: install "),
        "{said}"
    );
    assert!(said.contains("qemu"), "{said}");
}

#[test]
fn an_old_qemu_is_told_from_none() {
    let bench = Bench::new(Then::Stay);
    let program = bench.path("bin/qemu-system-aarch64");
    fs::create_dir(bench.path("bin")).unwrap();
    fs::write(&program, "#!/bin/sh\necho 'QEMU emulator version 6.2.0 (Debian 1:6.2+dfsg-2ubuntu6)'\n")
        .unwrap();
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let output = bench.builder("rehearse red00").env("PATH", bench.path("bin")).output().unwrap();
    let (code, said) = bench.ended(&output);
    assert_eq!(code, Some(1));
    assert!(
        said.starts_with("error: qemu-system-aarch64 is version 6.2, and 7.2 or newer is needed\n"),
        "{said}"
    );
}

#[test]
fn what_cannot_form_a_swarm_is_refused_before_anything_starts() {
    let bench = Bench::new(Then::Stay);
    assert_eq!(
        bench.rehearse("--cards cards"),
        (Some(1), "error: there is no card for red02 in cards\nhint: make them first: builder build -o cards red02\n".to_owned())
    );
    assert_eq!(
        bench.rehearse("--cards none red00"),
        (
            Some(1),
            "error: there is no card for red00 in none\nhint: make them first: builder build -o none red00\n"
                .to_owned()
        )
    );
    assert_eq!(
        bench.rehearse("red01"),
        (
            Some(2),
            "error: red00 is not among the nodes to rehearse, and without its manager no swarm is formed\n\
             hint: builder rehearse red01 red00\n"
                .to_owned()
        )
    );
    assert_eq!(bench.rehearse("red00 --console red01").0, Some(2));
    assert_eq!(bench.rehearse("red00 --card-size 8").0, Some(2));
    let (code, said) = bench.rehearse("red00 --card-size 16MiB");
    assert_eq!(code, Some(1));
    assert!(said.contains("caused by: it has 161.0 MiB, and its copy is to have 16.0 MiB\n"), "{said}");
}

#[test]
fn a_manager_that_is_never_reached_is_exit_five() {
    let bench = Bench::new(Then::Stay);
    let (code, said) = bench.rehearse("red00 --timeout 1s");
    assert_eq!(code, Some(5));
    assert_eq!(
        said,
        "logs of the machines: red.rehearsal\n\
         red00: copying cards/red00.img\n\
         red00: power on\n\
         error: the manager red00 was not reached within 1s: it never had an address on the network\n\
         hint: what red00 wrote on its console: red.rehearsal/red00.log\n\
         hint: to wait longer: builder rehearse red00 --timeout 1h\n"
    );
    assert!(bench.left().is_empty(), "{:?}", bench.left());
}

#[test]
fn a_machine_that_reboots_is_switched_on_again_and_one_that_goes_off_ends_it() {
    let bench = Bench::new(Then::Reboot);
    let (code, said) = bench.rehearse("-q red00 --timeout 3s");
    assert_eq!(code, Some(5), "{said}");
    let log = fs::read_to_string(bench.path("red.rehearsal/red00.log")).unwrap();
    assert!(log.matches(" the guest is up\n").count() > 1, "{log}");

    let bench = Bench::new(Then::PowerOff);
    let (code, said) = bench.rehearse("-q red00");
    assert_eq!(code, Some(6));
    assert!(said.starts_with("error: red00 switched itself off, and a Pi would stay off\n"), "{said}");
}

#[test]
fn ctrl_c_leaves_no_process_no_copy_and_the_cards_as_they_were() {
    let bench = Bench::new(Then::Stay);
    let cards = bench.cards();
    for signal in [Signal::INT, Signal::TERM] {
        let mut live = Live::start(&bench, "red[00-01] --console red00");
        live.booted();
        // Network and two machines, each with its guard, and builder.
        assert_eq!(bench.running().len(), 7, "{:#?}", bench.running());
        assert_eq!(bench.left().iter().filter(|name| name.ends_with(".img")).count(), 2);
        let status = live.signal(signal);
        assert_eq!(status.code(), Some(6));
        bench.nothing_runs();
        assert!(bench.left().is_empty(), "{:?}", bench.left());
    }
    assert!(bench.cards() == cards, "a card was written");
}

#[test]
fn no_machine_outlives_a_killed_builder() {
    let bench = Bench::new(Then::Stay);
    let cards = bench.cards();
    let mut live = Live::start(&bench, "red[00-01] --console red01");
    live.booted();
    live.signal(Signal::KILL);
    let deadline = Instant::now() + SOON;
    while !bench.running().is_empty() {
        assert!(Instant::now() < deadline, "{:#?}", bench.running());
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(bench.cards() == cards, "a card was written");
    // What it left is gone after the next one.
    assert_eq!(bench.rehearse("red00 --timeout 1s").0, Some(5));
    assert!(bench.left().is_empty(), "{:?}", bench.left());
}

#[test]
fn a_qemu_that_dies_ends_the_rehearsal_and_is_named() {
    let bench = Bench::new(Then::Stay);
    for (word, named) in [("virtio-blk", "red00"), ("hubport", "the network")] {
        let mut live = Live::start(&bench, "red00 --console red00");
        live.booted();
        let running = bench.running();
        let (id, _) = running.iter().find(|(_, command)| command.contains(word)).unwrap();
        kill_process(*id, Signal::KILL).unwrap();
        assert_eq!(live.child.wait().unwrap().code(), Some(1));
        let said = live.said();
        assert!(said.contains(&format!("error: QEMU, which was {named}, has ended\nhint: ")), "{said}");
        bench.nothing_runs();
    }
}

#[test]
fn kept_copies_stay_and_a_second_rehearsal_waits() {
    let bench = Bench::new(Then::Stay);
    let mut live = Live::start(&bench, "red00 --keep --console red00");
    live.booted();
    let (code, said) = bench_refusal(&bench);
    assert_eq!(code, Some(1));
    assert!(said.starts_with("error: another rehearsal runs in ./red.rehearsal\n"), "{said}");
    assert_eq!(live.signal(Signal::INT).code(), Some(6));
    assert_eq!(bench.left(), ["red00.img"]);

    let (code, said) = bench.rehearse("red00 --cards red.rehearsal");
    assert_eq!(code, Some(2));
    assert!(
        said.starts_with("error: the cards lie in ./red.rehearsal, which a rehearsal clears\n"),
        "{said}"
    );
    assert_eq!(bench.left(), ["red00.img"]);
}

fn bench_refusal(bench: &Bench) -> (Option<i32>, String) {
    let output = bench.builder("rehearse red00").output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}
