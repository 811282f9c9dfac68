//! `builder init` and `builder check` as a person runs them: the real binary, no environment but a home of its own.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti anna@laptop";

/// A home folder with a public key, in which the command runs.
fn home() -> TempDir {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join(".ssh")).unwrap();
    fs::write(home.path().join(".ssh/id_ecdsa.pub"), "not looked at by init").unwrap();
    fs::write(home.path().join(".ssh/id_ed25519.pub"), KEY).unwrap();
    home
}

fn builder(home: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_builder"))
        .args(args)
        .current_dir(home)
        .env_clear()
        .env("HOME", home)
        .output()
        .unwrap()
}

fn write(home: &Path, lines: &str) {
    let smallest = "version: 1\ncluster: red\nimage: raspios-lite-arm64\nnodes: red[00-01]\n";
    fs::write(home.join("cluster.yaml"), format!("{smallest}{lines}")).unwrap();
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn init_writes_a_file_that_check_accepts() {
    let home = home();
    let init = builder(home.path(), &["init"]);
    assert!(init.status.success(), "{}", text(&init.stderr));
    assert_eq!(text(&init.stdout), "");
    let mode = fs::metadata(home.path().join("cluster.yaml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "a file that will hold pass phrases");
    insta::assert_snapshot!(text(&init.stderr), @r"
    wrote cluster.yaml
    your public key: ~/.ssh/id_ed25519.pub
    next: edit the file, then run `builder check`
    ");

    let check = builder(home.path(), &["check"]);
    assert!(check.status.success(), "{}", text(&check.stderr));
    insta::assert_snapshot!(text(&check.stdout), @r"
    NODE   ROLE     ADDRESS
    red00  manager  DHCP
    red01  worker   DHCP
    red02  worker   DHCP
    red03  worker   DHCP
    red04  worker   DHCP
    ");
    insta::assert_snapshot!(text(&check.stderr), @r"cluster.yaml is a good cluster file");
}

#[test]
fn init_names_the_key_that_is_there() {
    let home = home();
    fs::rename(home.path().join(".ssh/id_ed25519.pub"), home.path().join(".ssh/id_rsa.pub")).unwrap();
    fs::remove_file(home.path().join(".ssh/id_ecdsa.pub")).unwrap();
    assert!(builder(home.path(), &["init", "-f", "blue.yaml"]).status.success());
    let written = fs::read_to_string(home.path().join("blue.yaml")).unwrap();
    assert!(written.contains("authorized_keys: [~/.ssh/id_rsa.pub]"), "{written}");

    let empty = tempfile::tempdir().unwrap();
    let init = builder(empty.path(), &["init"]);
    assert!(init.status.success());
    assert!(text(&init.stderr).contains("ssh-keygen -t ed25519"), "{}", text(&init.stderr));
}

#[test]
fn init_overwrites_nothing() {
    let home = home();
    fs::write(home.path().join("cluster.yaml"), "mine").unwrap();
    let init = builder(home.path(), &["init"]);
    assert_eq!(init.status.code(), Some(2));
    assert_eq!(fs::read_to_string(home.path().join("cluster.yaml")).unwrap(), "mine");
    insta::assert_snapshot!(text(&init.stderr), @r"
    error: cluster.yaml is there already and is not overwritten
    hint: name another file with `-f FILE`, or check this one with `builder check`
    ");
}

#[test]
fn a_missing_file_leads_to_init() {
    let home = home();
    let check = builder(home.path(), &["check"]);
    assert_eq!(check.status.code(), Some(2));
    insta::assert_snapshot!(text(&check.stderr), @r"
    error: there is no cluster file cluster.yaml
    hint: run `builder init` for a starter, or name a file with `-f FILE`
    ");
    let check = builder(home.path(), &["-f", "blue.yaml", "check"]);
    assert!(text(&check.stderr).contains("`builder init -f blue.yaml`"), "{}", text(&check.stderr));
}

#[test]
fn problems_of_the_text_and_of_key_files_come_together() {
    let home = home();
    fs::write(home.path().join(".ssh/id_ed25519"), "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNz\n")
        .unwrap();
    write(
        home.path(),
        "managers: [red02]\nuser:\n  name: pi\n  authorized_keys:\n    - ~/.ssh/id_ed25519\n    - anna.pub\n    - ssh-ed25519 AAAA\ndocker: {url: https://mirror.example/debian, key: mirror.asc}\n",
    );
    let check = builder(home.path(), &["check"]);
    assert_eq!(check.status.code(), Some(2));
    assert_eq!(text(&check.stdout), "");
    let home_text = home.path().display().to_string();
    insta::assert_snapshot!(text(&check.stderr).replace(&home_text, "HOME"), @r"
    error: 5 problems in cluster.yaml

    cluster.yaml:5:12: the manager `red02` is not a node
      | managers: [red02]
      |            ^^^^^
      = did you mean `red00`?

    cluster.yaml:9:7: ~/.ssh/id_ed25519 is a private key
      |     - ~/.ssh/id_ed25519
      |       ^^^^^^^^^^^^^^^^^
      = write `~/.ssh/id_ed25519.pub`, the public half

    cluster.yaml:10:7: there is no file anna.pub
      |     - anna.pub
      |       ^^^^^^^^
      = write `~/.ssh/id_ed25519.pub`, which is there, or a key line itself

    cluster.yaml:11:7: this is not a whole OpenSSH public key
      |     - ssh-ed25519 AAAA
      |       ^^^^^^^^^^^^^^^^
      = copy the one line of a .pub file, without line breaks, in quotes

    cluster.yaml:12:51: there is no file mirror.asc
      | docker: {url: https://mirror.example/debian, key: mirror.asc}
      |                                                   ^^^^^^^^^^
      = write the path of a file that is there, seen from the cluster file
    ");
}

#[test]
fn key_files_are_found_beside_the_cluster_file() {
    let home = home();
    let folder = home.path().join("lab");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("anna.pub"), KEY).unwrap();
    write(&folder, "user: {name: pi, authorized_keys: anna.pub}\n");
    let check = builder(home.path(), &["check", "-f", "lab/cluster.yaml", "--quiet"]);
    assert!(check.status.success(), "{}", text(&check.stderr));
    assert_eq!(text(&check.stderr), "");
}

#[test]
fn json_tells_programs_the_same() {
    let home = home();
    write(
        home.path(),
        "user: {name: pi, authorized_keys: [~/.ssh/id_ed25519.pub]}\nnetwork: {addresses: \"10.0.0.[1-2]/24\"}\n",
    );
    let check = builder(home.path(), &["check", "--json"]);
    assert!(check.status.success(), "{}", text(&check.stderr));
    insta::assert_snapshot!(text(&check.stdout), @r#"
    {
      "valid": true,
      "cluster": "red",
      "image": "raspios-lite-arm64",
      "nodes": [
        {
          "name": "red00",
          "role": "manager",
          "address": "10.0.0.1/24",
          "labels": {}
        },
        {
          "name": "red01",
          "role": "worker",
          "address": "10.0.0.2/24",
          "labels": {}
        }
      ],
      "problems": [],
      "problem_count": 0
    }
    "#);

    write(home.path(), "user: {name: pi, password_hash: hunter2}\n");
    let check = builder(home.path(), &["check", "--json"]);
    assert_eq!(check.status.code(), Some(2));
    assert!(!text(&check.stderr).contains("hunter2"));
    let told: serde_json::Value = serde_json::from_slice(&check.stdout).unwrap();
    assert_eq!((&told["valid"], &told["cluster"], &told["code"]), (&false.into(), &().into(), &2.into()));
    assert_eq!((&told["problem_count"], &told["nodes"]), (&1.into(), &serde_json::json!([])));
    insta::assert_snapshot!(format!("{:#}", told["problems"]), @r#"
    [
      {
        "advice": "run `openssl passwd -6` and write what it prints in single quotes",
        "column": 33,
        "line": 5,
        "message": "this looks like a password, not like its hash",
        "text": "user: {name: pi, password_hash: (hidden)}"
      }
    ]
    "#);
}

#[test]
fn files_that_are_no_text_are_refused() {
    let home = home();
    fs::write(home.path().join("cluster.yaml"), b"version: 1\ncluster: B\xe4r\n").unwrap();
    let check = builder(home.path(), &["check"]);
    assert_eq!(check.status.code(), Some(2));
    insta::assert_snapshot!(text(&check.stderr), @r"
    error: cluster.yaml is not UTF-8: see line 2
    hint: iconv -f ISO-8859-1 -t UTF-8 cluster.yaml > new.yaml
    ");
    fs::write(home.path().join("cluster.yaml"), b"\xff\xfev\0e\0r\0").unwrap();
    let check = builder(home.path(), &["check"]);
    assert_eq!(check.status.code(), Some(2));
    insta::assert_snapshot!(text(&check.stderr), @r"
    error: cluster.yaml is encoded in UTF-16
    hint: iconv -f UTF-16 -t UTF-8 cluster.yaml > new.yaml
    ");
    let check = builder(home.path(), &["check", "-f", ".ssh"]);
    assert_eq!(check.status.code(), Some(2));
    assert!(
        text(&check.stderr).starts_with("error: cannot read the cluster file .ssh\ncaused by: "),
        "{}",
        text(&check.stderr)
    );
}

#[test]
fn check_refuses_an_image_that_cannot_be() {
    let home = home();
    fs::create_dir(home.path().join("folder")).unwrap();
    fs::write(home.path().join("os.img.bz2"), b"BZh91AY&SY and more").unwrap();
    assert!(Command::new("mkfifo").arg(home.path().join("pipe.img")).status().unwrap().success());
    for (image, message, advice) in [
        ("nope.img", "there is no image ./nope.img", "`image` takes a path"),
        ("folder", "it is a folder, not a file", "write the path of the image file"),
        ("pipe.img", "it is a named pipe, not a file", "write the path of the image file"),
        ("/dev/zero", "it is a device, not a file", "write the path of the image file"),
        ("raspios-lite-amr64", "there is no image ./raspios-lite-amr64", "did you mean raspios-lite-arm64?"),
        ("ubuntu-24.04", "there is no image ./ubuntu-24.04", "or a name: raspios-lite-arm64"),
        ("os.img.bz2", "it is packed by bzip2", "bzip2 -dc"),
        (
            "https://x.org/2024-10-22-raspios-bullseye-arm64-lite.img.xz\nimage_sha256: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "Raspberry Pi OS Bullseye is not supported",
            "write `image: raspios-lite-arm64`",
        ),
    ] {
        write(home.path(), "user: {name: pi, authorized_keys: [~/.ssh/id_ed25519.pub]}\n");
        let file = home.path().join("cluster.yaml");
        let yaml = fs::read_to_string(&file)
            .unwrap()
            .replace("image: raspios-lite-arm64", &format!("image: {image}"));
        // Another mistake comes with it.
        fs::write(&file, format!("{yaml}timezon: Europe/Berlin\n")).unwrap();
        let check = builder(home.path(), &["check"]);
        let said = text(&check.stderr).replace(&home.path().display().to_string(), "HOME");
        assert_eq!(check.status.code(), Some(2), "{said}");
        assert!(
            said.contains("cluster.yaml:3:8: ") && said.contains(message) && said.contains(advice),
            "{said}"
        );
        assert!(said.contains("timezon"), "{said}");
    }
}

/// A good cluster file's text.
fn good() -> String {
    format!(
        "version: 1\ncluster: red\nimage: raspios-lite-arm64\nnodes: red[00-01]\nuser: {{name: pi, authorized_keys: {KEY}}}\n"
    )
}

#[test]
fn a_cluster_file_may_come_through_a_pipe() {
    let home = home();
    for (name, file) in [("-", "<stdin>"), ("/dev/stdin", "/dev/stdin")] {
        for (lines, says) in
            [("", String::new()), ("nodez: x\n", format!("{file}:6:1: `nodez` is not a key"))]
        {
            let mut child = Command::new(env!("CARGO_BIN_EXE_builder"))
                .args(["check", "-f", name])
                .current_dir(home.path())
                .env_clear()
                .env("HOME", home.path())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            child.stdin.take().unwrap().write_all(format!("{}{lines}", good()).as_bytes()).unwrap();
            let check = child.wait_with_output().unwrap();
            let told = text(&check.stderr);
            assert_eq!(check.status.success(), lines.is_empty(), "{told}");
            assert!(told.contains(&says) && !told.contains("is empty"), "{told}");
        }
    }
}

#[test]
fn a_cluster_without_its_image_is_still_watched() {
    let home = home();
    write(home.path(), "user: {name: pi, authorized_keys: [~/.ssh/id_ed25519.pub]}\n");
    let file = home.path().join("cluster.yaml");
    let yaml = fs::read_to_string(&file).unwrap().replace("raspios-lite-arm64", "deleted.img");
    fs::write(&file, yaml).unwrap();
    let status = builder(home.path(), &["status"]);
    assert!(!text(&status.stderr).contains("deleted.img"), "{}", text(&status.stderr));
}

#[test]
fn a_byte_order_mark_is_passed_over() {
    let home = home();
    fs::write(home.path().join("cluster.yaml"), format!("\u{feff}{}", good())).unwrap();
    let check = builder(home.path(), &["check"]);
    assert!(check.status.success(), "{}", text(&check.stderr));
}

#[test]
fn a_pass_phrase_is_hidden_from_people_and_programs() {
    let home = home();
    for lines in ["wifi:\n  psk: &S3cr3tHunter2pass\n", "wifi: {country: DE, psk: abc,S3cr3tHunter2pass}\n"] {
        fs::write(home.path().join("cluster.yaml"), format!("{}{lines}", good())).unwrap();
        for args in [&["check"][..], &["check", "--json"]] {
            let check = builder(home.path(), args);
            assert_eq!(check.status.code(), Some(2));
            let told = format!("{}{}", text(&check.stdout), text(&check.stderr));
            assert!(!told.contains("S3cr3t"), "{told}");
        }
    }
}

#[test]
fn a_key_that_yaml_folded_into_another_is_named() {
    let home = home();
    write(home.path(), &format!("user:\n  name: pi\n  authorized_keys:\n    - {KEY}\n      {KEY}\n"));
    let check = builder(home.path(), &["check"]);
    assert_eq!(check.status.code(), Some(2));
    let told = text(&check.stderr);
    assert!(
        told.contains("cluster.yaml:9:7: two keys stand in one line, and sshd reads only the first"),
        "{told}"
    );
}
