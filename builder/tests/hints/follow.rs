//! Every hint is followed: the real program fails, and what its hints name is typed into a shell, in that situation.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use builder::cli::Cli;
use builder::error::join;
use clap::Parser;
use serde_json::Value;
use tempfile::TempDir;

use crate::fixture::{AARCH64, Recipe, elf};
use crate::{KEY, commands_in_hints};

mod cases;
use cases::{CASES, Case, DIGEST, NO_READER};

const CLUSTER: &str = "version: 1\ncluster: red\nimage: pios.img\nnodes: red[00-02]\n";

/// What is typed otherwise than the hint says, because the test knows more or has less time.
const FILLED_IN: [(&str, &str); 5] = [
    ("ADDRESS", "127.0.0.1:1"),
    ("HEX", DIGEST),
    ("URL", "http://127.0.0.1:1/list.json"),
    ("--wait --timeout 1h", "--wait"),
    ("--wait", "--wait --timeout 1s"),
];

/// Other programs' commands that are not run, and why.
const NOT_RUN: [(&str, &str); 1] = [("git checkout", "the folder is no git repository")];

/// A folder with a cluster file, an image, a program with its agent beside it, and a `sudo` that only runs the command.
struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        // On the file system of the program, which is linked.
        let bench = Self(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap());
        fs::create_dir_all(bench.path("bin")).unwrap();
        fs::create_dir_all(bench.path(".ssh")).unwrap();
        fs::write(bench.path(".ssh/id_ed25519.pub"), format!("{KEY}\n")).unwrap();
        fs::hard_link(env!("CARGO_BIN_EXE_builder"), bench.path("bin/builder")).unwrap();
        fs::write(bench.path("bin/firstboot-aarch64"), elf::tiny(AARCH64, false)).unwrap();
        let sudo = bench.path("bin/sudo");
        fs::write(&sudo, "#!/bin/sh\nexec \"$@\"\n").unwrap();
        fs::set_permissions(&sudo, fs::Permissions::from_mode(0o755)).unwrap();
        Recipe::trixie().make(bench.0.path(), "pios.img");
        bench.cluster(CLUSTER);
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    fn cluster(&self, text: &str) {
        let keys = format!("user: {{name: ada, authorized_keys: ['{KEY}']}}\n");
        fs::write(self.path("cluster.yaml"), format!("{text}{keys}")).unwrap();
    }

    /// A list of hosts instead of the cluster file.
    fn hosts(&self) {
        self.remove("cluster.yaml");
        fs::write(self.path("hostnames.yaml"), "manager: 127.0.0.1\nworker: 127.0.0.2\n").unwrap();
    }

    fn built(&self) {
        let output = self.run(&["build"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn overwrite(&self, name: &str, bytes: usize) {
        let file = fs::OpenOptions::new().write(true).open(self.path(name)).unwrap();
        // Behind the partition table.
        std::os::unix::fs::FileExt::write_all_at(&file, &vec![0; bytes], 1 << 20).unwrap();
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", self.path("bin").display());
        command.current_dir(self.0.path()).env_clear().env("HOME", self.0.path()).env("PATH", path);
        // Nothing is downloaded.
        command.env("https_proxy", "http://127.0.0.1:1").stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(self.path("bin/builder").to_str().unwrap()).args(words).output().unwrap()
    }

    /// Types a line into a shell.
    fn type_in(&self, line: &str) -> Output {
        self.command("sh").args(["-c", line]).output().unwrap()
    }

    /// The commands in the hints of a failure. Programs and people get the same hints.
    fn hints(&self, case: &Case) -> Vec<String> {
        // It is kept where the command is to be typed again.
        let (verb, rest) = case.words.split_at(1);
        let output = self.run(&[verb, &["--json"], rest].concat());
        let (out, said) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        let name = case.name;
        assert_eq!(output.status.code(), Some(case.code), "{name}: {out}{said}");
        let last = out.lines().last().unwrap_or_else(|| panic!("{name}: nothing for programs: {said}"));
        let failure: Value = serde_json::from_str(last).unwrap();
        assert_eq!(failure["code"], case.code, "{name}: {failure}");
        assert!(said.contains(&format!("error: {}", failure["error"].as_str().unwrap())), "{name}: {said}");
        let mut commands = Vec::new();
        for hint in failure["hints"].as_array().unwrap() {
            let text = hint["text"].as_str().unwrap();
            assert!(said.contains(&format!("hint: {text}\n")), "{name}: {text}: {said}");
            for argv in hint["commands"].as_array().unwrap() {
                let argv: Vec<_> =
                    argv.as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
                let line = join(&argv);
                assert!(text.contains(&line), "{name}: {line}: {text}");
                commands.push(line);
            }
        }
        commands
    }
}

fn follow(case: &Case) {
    let name = case.name;
    let new = || {
        let bench = Bench::new();
        (case.prepare)(&bench);
        bench
    };
    let mut bench = new();
    let commands = bench.hints(case);
    let wanted: Vec<_> = case.hints.iter().map(|(command, _)| *command).collect();
    assert_eq!(commands, wanted, "{name}");
    for (command, codes) in case.hints {
        if NOT_RUN.iter().any(|(line, _)| command.starts_with(line)) {
            continue;
        }
        if case.then.is_none() {
            bench = new();
        }
        let mut line = (*command).to_owned();
        for (words, filled_in) in FILLED_IN {
            line = line.replace(words, filled_in);
        }
        let output = bench.type_in(&line);
        let said = String::from_utf8_lossy(&output.stderr);
        let code = output.status.code().unwrap();
        let is_asking = *codes == NO_READER && said.contains("there is no terminal to ask at");
        assert!(codes.contains(&code) || is_asking, "{name}: {line}: {code}: {said}");
        assert!(!said.contains("Usage: builder"), "{name}: {line}: {said}");
    }
    if let Some(code) = case.then {
        let output = bench.run(case.words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{name}, afterwards: {said}");
    }
}

#[test]
fn every_hint_can_be_followed() {
    // Most of the time nobody answers, so that many can wait at once.
    let queue = Mutex::new(CASES.iter());
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Some(case) = { queue.lock().unwrap().next() } {
                    if std::panic::catch_unwind(|| follow(case)).is_err() {
                        failed.lock().unwrap().push(case.name);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{failed:#?}");
}

/// Commands that no case above runs: where they are named, as they are typed, and why. They are only read.
const ELSEWHERE: &[(&str, &[&str], &str)] = &[
    ("cli/config.rs", &["up"], "needs a node that left and says nothing"),
    ("cli/rm.rs", &["up"], "needs a swarm; builder/tests/life runs it against managers"),
    ("cli/status/table.rs", &["up"], "needs a swarm that ended; builder/tests/life runs it against managers"),
    ("cli/status/table.rs", &["ls"], "needs a swarm; builder/tests/upkeep runs it against managers"),
    ("cli/member.rs", &["ls"], "needs a swarm; builder/tests/upkeep runs it against managers"),
    ("remote/upkeep.rs", &["ls"], "needs a swarm; builder/tests/upkeep runs it against managers"),
    ("cli/token.rs", &["token --rotate"], "needs a swarm; builder/tests/upkeep runs it against managers"),
    (
        "cli/drain.rs",
        &["drain red01 --timeout 1h"],
        "needs a swarm; builder/tests/upkeep runs it against managers",
    ),
    ("cli/images/pull.rs", &["plan"], "needs a download; builder/tests/download pulls"),
];

/// A new hint needs a case, or a reason in [`ELSEWHERE`].
#[test]
fn every_command_in_the_sources_has_a_case_or_a_reason() {
    let is_run = |verb: &str| {
        let mut commands = CASES.iter().flat_map(|case| case.hints).map(|(command, _)| *command);
        commands.any(|line| line.trim_start_matches("sudo ").starts_with(&format!("builder {verb}")))
    };
    let hints = commands_in_hints(Path::new(env!("CARGO_MANIFEST_DIR")));
    let without: BTreeSet<_> = hints.iter().filter(|(_, verb)| !is_run(verb)).collect();
    let listed = |file: &str, verb: &str| {
        let mut entries = ELSEWHERE.iter().filter(|(name, ..)| *name == file);
        entries.any(|(_, lines, _)| lines.iter().any(|line| line.split(' ').next() == Some(verb)))
    };
    let missing: Vec<_> = without.iter().filter(|(file, verb)| !listed(file, verb)).collect();
    assert!(missing.is_empty(), "neither a case nor a reason: {missing:?}");
    for (file, lines, _) in ELSEWHERE {
        for line in *lines {
            let words = ["builder"].into_iter().chain(line.split(' '));
            Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{file}: {error}"));
            let verb = line.split(' ').next().unwrap();
            assert!(
                hints.iter().any(|(name, named)| name == file && named == verb),
                "{file} names no {verb}"
            );
        }
    }
}

/// A command line that cannot be read is a failure like any other, also for programs.
#[test]
fn programs_are_told_what_is_wrong_with_a_command_line() {
    let bench = Bench::new();
    let output = bench.run(&["status", "--json", "--wiat"]);
    assert_eq!(output.status.code(), Some(2));
    let failure: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(failure["error"], "unexpected argument '--wiat' found");
    assert_eq!((&failure["code"], &failure["causes"]), (&2.into(), &Value::Array(Vec::new())));
    assert!(
        String::from_utf8(output.stderr).unwrap().starts_with("error: unexpected argument '--wiat' found\n")
    );
    let help = bench.run(&["status", "--json", "--help"]);
    assert!(help.status.success() && help.stdout.starts_with(b"Show the manager's node list"));
}

#[test]
fn init_tells_programs_what_it_made() {
    let bench = Bench::new();
    let output = bench.run(&["init", "--json", "-f", "other.yaml"]);
    let made: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(made["file"], "other.yaml");
    assert!(made["public_key"].as_str().unwrap().ends_with(".ssh/id_ed25519.pub"), "{made}");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

/// Nobody answers. Asking for a name by mDNS takes three seconds, unless less time is left.
#[test]
fn the_time_limit_of_a_wait_is_kept() {
    let bench = Bench::new();
    bench.built();
    let timed = |words: &[&str]| {
        let started = Instant::now();
        let code = bench.run(words).status.code();
        (code, started.elapsed())
    };
    let (code, unlimited) = timed(&["status", "--json"]);
    assert_eq!(code, Some(5));
    let (code, took) = timed(&["status", "--wait", "--timeout", "1s", "--json"]);
    assert_eq!(code, Some(6));
    assert!(took >= Duration::from_secs(1) && took < unlimited, "{took:?}, without a limit {unlimited:?}");
}
