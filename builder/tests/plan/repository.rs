//! What `check` and `plan` do in a repository from somebody else: they write nothing into it and start no program.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use builder::fetch::Origin;
use builder::pki;
use builder::plan::show;
use tempfile::TempDir;

use crate::bench::{Bench, CLUSTER, bench_with, shown};
use crate::fixture::{Recipe, run};

/// A user with a home folder, and a folder of programs of which each notes that it was started.
struct User(TempDir);

impl User {
    fn new() -> Self {
        let user = Self(tempfile::tempdir().unwrap());
        fs::create_dir(user.path("home")).unwrap();
        fs::create_dir(user.path("bin")).unwrap();
        let script = format!("#!/bin/sh\necho \"$0\" >> {}\n", user.path("started").display());
        fs::write(user.path("bin/note"), script).unwrap();
        fs::set_permissions(user.path("bin/note"), fs::Permissions::from_mode(0o755)).unwrap();
        for folder in ["/usr/bin", "/usr/sbin", "/bin", "/sbin"] {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                // Most are in two of the folders.
                let _known = symlink("note", user.path("bin").join(entry.unwrap().file_name()));
            }
        }
        user
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn builder(&self, bench: &Bench, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_builder"));
        command.current_dir(&bench.folder).env_clear().env("HOME", self.path("home"));
        command.env("PATH", self.path("bin")).args(words).output().unwrap()
    }

    fn started(&self) -> String {
        fs::read_to_string(self.path("started")).unwrap_or_default()
    }
}

/// Everything in a folder: mode, time of the last change, and content.
fn tree(folder: &Path) -> BTreeMap<PathBuf, (u32, i64, i64, Vec<u8>)> {
    let entry = |path: &Path| {
        let seen = fs::symlink_metadata(path).unwrap();
        let content = if seen.is_file() { fs::read(path).unwrap() } else { Vec::new() };
        (seen.is_dir(), (seen.mode(), seen.ctime(), seen.ctime_nsec(), content))
    };
    let mut found = BTreeMap::from([(folder.to_owned(), entry(folder).1)]);
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for name in fs::read_dir(&folder).unwrap() {
            let path = name.unwrap().path();
            let (is_folder, seen) = entry(&path);
            if is_folder {
                folders.push(path.clone());
            }
            found.insert(path, seen);
        }
    }
    found
}

fn set_writable(folder: &Path, mode: &str) {
    run(Command::new("chmod").args(["-R", mode]).arg(folder));
}

#[test]
fn check_and_plan_write_nothing_into_a_repository_and_start_nothing() {
    let user = User::new();
    let bench = bench_with(&Recipe::trixie(), &CLUSTER.replace("pios.img", "pios.img.xz"));
    let folder = bench.folder.path();
    run(Command::new("xz").args(["-T1", "-0"]).arg(&bench.image));
    // Names that might mean something to a program.
    for name in ["ssh_config", ".envrc", "hostnames.yaml", "firstboot", "builder", "plan"] {
        fs::write(folder.join(name), "manager: 127.0.0.1\n").unwrap();
    }
    for has_secrets in [false, true] {
        if has_secrets {
            shown(pki::open(&bench.project));
            fs::write(folder.join("red.secrets/ssh_config"), "Host *\n    ProxyCommand id\n").unwrap();
        }
        set_writable(folder, "a-w");
        let before = tree(folder);
        for words in [
            &["check"][..],
            &["--json", "check"],
            &["plan", "--firstboot", "firstboot-aarch64"],
            &["--json", "plan", "--firstboot", "firstboot-aarch64", "red01"],
            &["images", "list"],
        ] {
            let output = user.builder(&bench, words);
            assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
            assert!(tree(folder) == before, "{words:?} changed the repository");
        }
        set_writable(folder, "u+w");
        // The cache, and nothing else.
        let made: Vec<_> = fs::read_dir(user.path("home")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(made, [".cache"]);
        assert_eq!(user.started(), "");
    }
    // A command that does start one is noticed.
    user.builder(&bench, &["exec", "--hosts", "127.0.0.1", "--", "true"]);
    assert!(user.started().ends_with("/ssh\n"), "{}", user.started());
}

#[test]
fn the_plan_names_the_server_that_is_not_the_publishers() {
    let bench = bench_with(&Recipe::trixie(), CLUSTER);
    let planner = bench.planner();
    let said = |host: &str, is_publisher| {
        let from = Origin { host: host.parse().unwrap(), is_publisher };
        let document = show::document(&bench.project.cluster, &planner, Some(&from), &[]);
        assert_eq!(document["image"]["host"], host);
        assert_eq!(document["image"]["host_is_publisher"], is_publisher);
        show::text(&bench.project.cluster, &planner, Some(&from), &[])
    };
    let theirs = said("images.example:8443", false);
    assert!(
        theirs.contains("\nfrom    images.example:8443, which is not the publisher's server\n"),
        "{theirs}"
    );
    let publishers = said("downloads.raspberrypi.com", true);
    assert!(publishers.contains("\nfrom    downloads.raspberrypi.com\n"), "{publishers}");
    assert!(!show::text(&bench.project.cluster, &planner, None, &[]).contains("\nfrom "));
}
