//! Every hint is followed: the real program fails, and what its hints name is typed into a shell, in that situation.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
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

const CLUSTER: &str = "version: 1\ncluster: red\nimage: pios.img\nnodes: red[00-02]\n";

/// What is typed otherwise than the hint says, because the test knows more or has less time.
const FILLED_IN: [(&str, &str); 4] = [
    ("ADDRESS", "127.0.0.1:1"),
    ("HEX", DIGEST),
    ("--wait --timeout 1h", "--wait"),
    ("--wait", "--wait --timeout 1s"),
];
const DIGEST: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Exit codes.
const DONE: &[i32] = &[0];
const FAILED: &[i32] = &[1];
/// No card reader with a card is here; where one is, nobody is there to be asked.
const NO_READER: &[i32] = &[3];
const UNREACHABLE: &[i32] = &[5];
/// Nobody answers at any of the hosts, or not as builder asks.
const NO_HOST: &[i32] = &[5, 6];
const NOT_READY: &[i32] = &[6];

/// A failure, and the commands of its hints in their order, each with the exit codes that keep its promise.
struct Case {
    name: &'static str,
    prepare: fn(&Bench),
    words: &'static [&'static str],
    code: i32,
    hints: &'static [(&'static str, &'static [i32])],
    /// Exit code of the same command afterwards, where the hints are steps one after the other. Otherwise each of them
    /// is another way out.
    then: Option<i32>,
}

/// Other programs' commands that are not run, and why.
const NOT_RUN: [(&str, &str); 1] = [("git checkout", "the folder is no git repository")];

const CASES: &[Case] = &[
    Case {
        name: "no cluster file",
        prepare: |bench| bench.remove("cluster.yaml"),
        words: &["check"],
        code: 2,
        hints: &[("builder init", DONE)],
        then: Some(0),
    },
    Case {
        name: "no such cluster file",
        prepare: |_| {},
        words: &["check", "-f", "my lab.yaml"],
        code: 2,
        hints: &[("builder init -f 'my lab.yaml'", DONE)],
        then: Some(0),
    },
    Case {
        name: "a starter over a cluster file",
        prepare: |_| {},
        words: &["init"],
        code: 2,
        hints: &[("builder check", DONE)],
        then: None,
    },
    Case {
        name: "hosts that are no swarm yet",
        prepare: Bench::hosts,
        words: &["status"],
        code: 2,
        hints: &[("builder config", NO_HOST)],
        then: None,
    },
    Case {
        name: "cards for hosts",
        prepare: Bench::hosts,
        words: &["plan"],
        code: 2,
        hints: &[("builder init", DONE), ("builder config", NO_HOST)],
        then: None,
    },
    Case {
        name: "no cards yet",
        prepare: |_| {},
        words: &["status"],
        code: 1,
        hints: &[("sudo builder flash", NO_READER), ("builder build", DONE), ("builder config", NO_HOST)],
        then: None,
    },
    Case {
        name: "secrets that others may read",
        prepare: |bench| {
            bench.built();
            fs::set_permissions(bench.path("red.secrets"), fs::Permissions::from_mode(0o755)).unwrap();
        },
        words: &["status"],
        code: 1,
        hints: &[("chmod -R go-rwx ./red.secrets", DONE)],
        then: Some(5),
    },
    Case {
        name: "secrets behind a link",
        prepare: |bench| {
            bench.built();
            fs::rename(bench.path("red.secrets"), bench.path("elsewhere")).unwrap();
            symlink("elsewhere", bench.path("red.secrets")).unwrap();
        },
        words: &["status"],
        code: 1,
        hints: &[
            ("cp -RL ./red.secrets ./red.secrets.real", DONE),
            ("rm ./red.secrets", DONE),
            ("mv ./red.secrets.real ./red.secrets", DONE),
        ],
        then: Some(5),
    },
    Case {
        name: "secrets of another cluster",
        prepare: |bench| {
            bench.built();
            fs::rename(bench.path("red.secrets"), bench.path("blue.secrets")).unwrap();
            bench.cluster(&CLUSTER.replace("cluster: red", "cluster: blue"));
        },
        words: &["status"],
        code: 1,
        hints: &[("mv ./blue.secrets ./red.secrets", DONE)],
        then: Some(1),
    },
    Case {
        name: "a cluster key is lost",
        prepare: |bench| {
            bench.built();
            bench.remove("red.secrets/operator-key.pem");
        },
        words: &["status"],
        code: 1,
        hints: &[
            ("mv ./red.secrets ./red.secrets.old", DONE),
            ("sudo builder flash", NO_READER),
            ("builder build --force", DONE),
            ("builder config --take-over", NO_HOST),
        ],
        then: Some(5),
    },
    Case {
        name: "a node key is lost",
        prepare: |bench| {
            bench.built();
            bench.remove("red.secrets/nodes/red01-key.pem");
        },
        words: &["build", "--force"],
        code: 1,
        hints: &[
            (
                "rm -f ./red.secrets/nodes/red01.pem ./red.secrets/nodes/red01-key.pem ./red.secrets/nodes/red01-ssh-host-key \
                 ./red.secrets/nodes/red01-ssh-host-key.pub",
                DONE,
            ),
            ("sudo builder flash red01", NO_READER),
            ("builder build --force red01", DONE),
            ("builder config", NO_HOST),
        ],
        then: Some(0),
    },
    Case {
        name: "the end of the swarm, and nobody to ask",
        prepare: Bench::built,
        words: &["kill"],
        code: 2,
        hints: &[("builder kill --yes", UNREACHABLE)],
        then: None,
    },
    Case {
        name: "the end of the swarm and of our software, and nobody to ask",
        prepare: Bench::built,
        words: &["kill", "--purge"],
        code: 2,
        hints: &[("builder kill --purge --yes", UNREACHABLE)],
        then: None,
    },
    Case {
        name: "nodes are taken out, and nobody to ask",
        prepare: Bench::built,
        words: &["rm", "red[01-02]"],
        code: 2,
        hints: &[("builder rm --yes 'red[01-02]'", UNREACHABLE)],
        then: None,
    },
    Case {
        name: "nodes are revoked, and nobody to ask",
        prepare: Bench::built,
        words: &["revoke", "red[01-02]"],
        code: 2,
        hints: &[("builder revoke --yes red01 red02", UNREACHABLE)],
        then: None,
    },
    Case {
        name: "a node without an identity is revoked",
        prepare: |bench| {
            bench.built();
            bench.cluster(&CLUSTER.replace("02]", "03]"));
        },
        words: &["revoke", "--yes", "red03"],
        code: 1,
        hints: &[("builder build red03", DONE)],
        then: Some(5),
    },
    Case {
        name: "no manager answers",
        prepare: Bench::built,
        words: &["status"],
        code: 5,
        hints: &[("builder status --manager ADDRESS", UNREACHABLE)],
        then: None,
    },
    Case {
        name: "no manager answers for so long",
        prepare: Bench::built,
        words: &["status", "--wait", "--timeout", "1s"],
        code: 6,
        hints: &[("builder status --manager ADDRESS", UNREACHABLE)],
        then: None,
    },
    Case {
        name: "a manager that has only just started",
        prepare: Bench::built,
        words: &["status", "--manager", "127.0.0.1:1"],
        code: 5,
        hints: &[("builder status --wait", NOT_READY), ("builder status --manager ADDRESS", UNREACHABLE)],
        then: None,
    },
    Case {
        name: "no label",
        prepare: Bench::built,
        words: &["label", "red02", "disk"],
        code: 2,
        hints: &[("builder label red02 'disk=ssd' old-", UNREACHABLE)],
        then: None,
    },
    Case {
        name: "no name of a node",
        prepare: Bench::built,
        words: &["rm", "--yes", "red/1"],
        code: 2,
        hints: &[("builder status", UNREACHABLE)],
        then: None,
    },
    Case {
        name: "why for two nodes",
        prepare: Bench::built,
        words: &["why", "red[01-02]"],
        code: 2,
        hints: &[("builder why red01", UNREACHABLE)],
        then: None,
    },
    Case {
        name: "another node's card",
        prepare: Bench::built,
        words: &["why", "red01", "--card", "cards/red02.img"],
        code: 2,
        hints: &[("builder why red02 --card cards/red02.img", DONE)],
        then: None,
    },
    Case {
        name: "a damaged card",
        prepare: |bench| {
            bench.built();
            bench.overwrite("cards/red01.img", 8 << 20);
        },
        words: &["why", "red01", "--card", "cards/red01.img"],
        code: 1,
        hints: &[("sudo builder flash red01", NO_READER), ("builder build --force red01", DONE)],
        then: Some(0),
    },
    Case {
        name: "two nodes are compared with one card",
        prepare: Bench::built,
        words: &["verify", "red[00-01]", "--device", "cards/red00.img"],
        code: 2,
        hints: &[("builder verify red00 --device cards/red00.img", DONE)],
        then: None,
    },
    Case {
        name: "a card that is not there is compared",
        prepare: Bench::built,
        words: &["verify", "red00", "--device", "cards/red09.img"],
        code: 1,
        hints: &[("builder devices", DONE)],
        then: None,
    },
    Case {
        name: "a card that differs",
        prepare: |bench| {
            bench.built();
            let card = fs::OpenOptions::new().write(true).open(bench.path("cards/red00.img")).unwrap();
            let end = card.metadata().unwrap().len() - 512;
            std::os::unix::fs::FileExt::write_all_at(&card, &[7; 512], end).unwrap();
        },
        words: &["verify", "red00", "--device", "cards/red00.img"],
        code: 4,
        hints: &[("sudo builder flash red00", NO_READER)],
        then: None,
    },
    Case {
        name: "no card reader",
        prepare: |_| {},
        words: &["flash"],
        code: 3,
        hints: &[("builder devices", DONE)],
        then: None,
    },
    Case {
        name: "a device that is not there",
        prepare: |_| {},
        words: &["flash", "red00", "--device", "absent"],
        code: 3,
        hints: &[("builder devices", DONE)],
        then: None,
    },
    Case {
        name: "a file instead of a card",
        prepare: |bench| fs::write(bench.path("card.img"), "x").unwrap(),
        words: &["flash", "red00", "--device", "card.img"],
        code: 3,
        hints: &[("builder build", DONE)],
        then: None,
    },
    Case {
        name: "exec without a file",
        prepare: |bench| bench.remove("cluster.yaml"),
        words: &["exec", "--", "true"],
        code: 2,
        hints: &[("builder init", DONE), ("builder exec --hosts 'red[00-04]' -- uname -a", UNREACHABLE)],
        then: None,
    },
    Case {
        name: "pull without a file",
        prepare: |bench| bench.remove("cluster.yaml"),
        words: &["images", "pull"],
        code: 2,
        hints: &[("builder init", DONE), ("builder images list", DONE)],
        then: None,
    },
    Case {
        name: "pull without a digest",
        prepare: |_| {},
        words: &["images", "pull", "https://127.0.0.1:1/os.img.xz"],
        code: 2,
        hints: &[("builder images pull https://127.0.0.1:1/os.img.xz --sha256 HEX", FAILED)],
        then: None,
    },
    Case {
        name: "an image that is always the same",
        prepare: |_| {},
        words: &["images", "pull", "--update"],
        code: 2,
        hints: &[("builder images list", DONE)],
        then: None,
    },
    Case {
        name: "an image that nobody knows",
        prepare: |_| {},
        words: &["images", "verify", "nosuch"],
        code: 1,
        hints: &[("builder images list", DONE)],
        then: None,
    },
    Case {
        name: "an image that is not in the cache",
        prepare: |_| {},
        words: &["images", "verify", "raspios-lite-arm64"],
        code: 1,
        // There is no network here.
        hints: &[("builder images list", DONE), ("builder images pull raspios-lite-arm64", FAILED)],
        then: None,
    },
    Case {
        name: "a damaged lock",
        prepare: |bench| {
            bench.cluster(&CLUSTER.replace("pios.img", "raspios-lite-arm64"));
            fs::write(bench.path("cluster.lock"), "{").unwrap();
        },
        words: &["plan"],
        code: 2,
        // There is no network here.
        hints: &[
            ("git checkout ./cluster.lock", DONE),
            ("rm ./cluster.lock", DONE),
            ("builder images pull", FAILED),
        ],
        then: Some(1),
    },
    Case {
        name: "a rehearsal without the manager",
        prepare: |_| {},
        words: &["rehearse", "red01"],
        code: 2,
        // It needs the cards.
        hints: &[("builder rehearse red00 red01", FAILED)],
        then: None,
    },
    Case {
        name: "a rehearsal without cards",
        prepare: |_| {},
        words: &["rehearse", "red00", "--cards", "my cards"],
        code: 1,
        hints: &[("builder build -o 'my cards' red00", DONE)],
        then: None,
    },
    Case {
        name: "a folder for man pages that cannot be made",
        prepare: |_| {},
        words: &["man", "cluster.yaml/man1"],
        code: 1,
        hints: &[("builder man share/man/man1", DONE)],
        then: None,
    },
    Case {
        name: "an image of another release than promised",
        prepare: |bench| bench.cluster(&format!("{CLUSTER}image_sha256: {DIGEST}\n")),
        words: &["plan"],
        code: 4,
        hints: &[],
        then: None,
    },
];

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
        let output = self.run(&[&["--json"], case.words].concat());
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

/// Nobody answers, and a name is asked for on the network, which takes three seconds.
#[test]
fn the_time_limit_of_a_wait_is_kept() {
    let bench = Bench::new();
    bench.built();
    let started = Instant::now();
    let output = bench.run(&["status", "--wait", "--timeout", "1s", "--json"]);
    let took = started.elapsed();
    assert_eq!(output.status.code(), Some(6));
    assert!(took >= Duration::from_secs(1), "{took:?}");
    // One question by mDNS without the limit takes three seconds.
    assert!(took < Duration::from_secs(3), "{took:?}");
}
