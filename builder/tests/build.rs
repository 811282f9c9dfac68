//! `builder build`, the real program: what it makes, what it refuses, and what is left when it is killed.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its fixture has to stop")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use fixture::{AARCH64, Recipe, elf, run};
use indicatif::{InMemoryTerm, TermLike};
use tempfile::TempDir;

#[expect(dead_code, reason = "the fixture is shared; these tests need one release of it")]
#[path = "fixture/image.rs"]
mod fixture;

const CLUSTER: &str = "\
version: 1
cluster: red
image: pios.img.xz
nodes: red[00-02]
user:
  name: ada
  authorized_keys: ['ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f ada@laptop']
";

/// A folder with a cluster file, a packed image and an agent, where builder is run.
struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        let bench = Self(tempfile::tempdir().unwrap());
        Recipe::trixie().make(bench.0.path(), "pios.img");
        run(Command::new("xz").args(["-T1", "-0", "-k"]).arg(bench.path("pios.img")));
        fs::write(bench.path("cluster.yaml"), CLUSTER).unwrap();
        fs::write(bench.path("firstboot-aarch64"), elf::tiny(AARCH64, false)).unwrap();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn builder(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_builder"));
        command.current_dir(self.0.path()).env_clear().env("HOME", self.0.path());
        command
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.builder();
        command.args(["--cache", "cache", "build", "--firstboot", "firstboot-aarch64"]).args(words);
        command
    }

    fn build(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// What a failed run says on standard error, with its exit code.
    fn refusal(&self, words: &[&str]) -> (i32, String) {
        let output = self.build(words);
        assert!(output.stdout.is_empty(), "a failure prints no data");
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    /// Confirms a host, as its user would.
    fn trusts(&self, host: &str) {
        succeeded(&self.builder().args(["images", "trust", host]).output().unwrap());
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path(folder)) else { return Vec::new() };
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        // In every folder that builder makes for cards.
        names.retain(|name| name != ".gitignore");
        names.sort();
        names
    }
}

fn succeeded(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Sectors in which two files of one size differ.
fn differing(one: &Path, other: &Path) -> Vec<usize> {
    let (one, other) = (fs::read(one).unwrap(), fs::read(other).unwrap());
    assert_eq!(one.len(), other.len());
    let pairs = one.chunks(512).zip(other.chunks(512)).enumerate();
    pairs.filter(|(_, (one, other))| one != other).map(|(index, _)| index).collect()
}

#[test]
fn makes_the_same_cards_cold_and_warm_and_only_the_boot_partition_differs() {
    let bench = Bench::new();
    succeeded(&bench.build(&["-o", "cold"]));
    assert_eq!(bench.names("cold"), ["red00.img", "red01.img", "red02.img"]);
    succeeded(&bench.build(&["-o", "warm"]));
    let (start, end) = (Recipe::boot_offset(), Recipe::boot_offset() + Recipe::trixie().boot_bytes());
    for name in bench.names("cold") {
        let (cold, warm) = (bench.path("cold").join(&name), bench.path("warm").join(&name));
        assert!(fs::read(&cold).unwrap() == fs::read(&warm).unwrap(), "{name} differs from run to run");
        let changed = differing(&cold, &bench.path("pios.img"));
        assert!(!changed.is_empty());
        assert!(changed.iter().all(|sector| (start..end).contains(&(*sector as u64 * 512))), "{name}");
        let metadata = fs::metadata(&cold).unwrap();
        assert_eq!(metadata.mode() & 0o777, 0o600, "a card holds keys");
        assert!(metadata.blocks() * 512 < metadata.len() / 2, "{name} is not sparse");
    }
}

#[test]
fn builds_the_nodes_asked_for_and_says_so_to_programs() {
    let bench = Bench::new();
    let output = bench.build(&["red[01-02]", "--json"]);
    succeeded(&output);
    assert_eq!(bench.names("cards"), ["red01.img", "red02.img"]);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["cards"][1]["node"], "red02");
    assert_eq!(document["cards"][1]["path"], "cards/red02.img");
    assert_eq!(document["cards"][1]["bytes"], fs::metadata(bench.path("pios.img")).unwrap().len());
    assert_eq!(document["base"]["sha256"].as_str().unwrap().len(), 64);
    let (code, text) = bench.refusal(&["red09"]);
    assert_eq!(code, 2, "{text}");
}

#[test]
fn why_shows_a_fresh_card_without_its_padding() {
    let bench = Bench::new();
    succeeded(&bench.build(&["red00"]));
    let output = bench.builder().args(["why", "red00", "--card", "cards/red00.img"]).output().unwrap();
    succeeded(&output);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("  This card has not been started yet.\n\nwhat to do: This card was never started"),
        "{text}"
    );
    assert!(text.lines().all(|line| line.trim_end() == line && line.len() < 500), "{text}");
}

#[test]
fn existing_cards_are_all_named_before_any_work_and_replaced_only_by_force() {
    let bench = Bench::new();
    fs::create_dir(bench.path("cards")).unwrap();
    for name in ["red00.img", "red02.img"] {
        let card = bench.path("cards").join(name);
        fs::write(&card, "mine").unwrap();
        fs::set_permissions(card, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let (code, text) = bench.refusal(&[]);
    assert_eq!(code, 1);
    assert!(text.contains("cards/red00.img, cards/red02.img") && text.contains("--force"), "{text}");
    assert!(bench.names("cache/images").is_empty(), "refused before any work");
    assert_eq!(fs::read(bench.path("cards/red00.img")).unwrap(), b"mine");
    succeeded(&bench.build(&["--force"]));
    assert_eq!(bench.names("cards"), ["red00.img", "red01.img", "red02.img"]);
    assert_ne!(fs::read(bench.path("cards/red00.img")).unwrap(), b"mine");
}

#[test]
fn git_ignores_cards() {
    let bench = Bench::new();
    succeeded(&bench.build(&["red00"]));
    let text = fs::read_to_string(bench.path("cards/.gitignore")).unwrap();
    assert!(text.lines().any(|line| line == "*"), "{text}");
    let git = |words: &[&str]| {
        run(Command::new("git").arg("-C").arg(bench.path(".")).args(words).env("HOME", bench.path(".")))
    };
    git(&["init", "--quiet"]);
    let seen = String::from_utf8(git(&["status", "--porcelain"])).unwrap();
    assert!(seen.contains("cluster.yaml") && !seen.contains("cards"), "{seen}");
}

#[test]
fn a_folder_of_an_older_builder_gets_its_gitignore() {
    let bench = Bench::new();
    succeeded(&bench.build(&["red00"]));
    fs::remove_file(bench.path("cards/.gitignore")).unwrap();
    succeeded(&bench.build(&["red01"]));
    assert!(bench.path("cards/.gitignore").exists());
}

#[test]
fn a_folder_that_builder_did_not_make_is_used_only_if_it_is_named() {
    let bench = Bench::new();
    fs::create_dir(bench.path("cards")).unwrap();
    fs::write(bench.path("cards/hearts.txt"), "a game").unwrap();
    let (code, text) = bench.refusal(&["red00"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("cannot use the folder cards\n"), "{text}");
    assert!(text.contains(" build --firstboot firstboot-aarch64 red00 -o cards\n"), "{text}");
    assert_eq!(bench.names("cards"), ["hearts.txt"]);
    succeeded(&bench.build(&["red00", "-o", "cards"]));
    assert_eq!(bench.names("cards"), ["hearts.txt", "red00.img"]);
    assert!(!bench.path("cards/.gitignore").exists(), "what else is in it is not ours to hide");
}

#[test]
fn links_with_the_names_of_cards_or_their_folder_are_not_followed() {
    let bench = Bench::new();
    fs::create_dir(bench.path("elsewhere")).unwrap();
    symlink("elsewhere", bench.path("cards")).unwrap();
    let (code, text) = bench.refusal(&["red00"]);
    assert!(code == 1 && text.contains("it is a symbolic link"), "{text}");
    assert!(bench.names("elsewhere").is_empty());
    fs::write(bench.path("precious"), "text").unwrap();
    symlink("../precious", bench.path("elsewhere/red00.img")).unwrap();
    succeeded(&bench.build(&["red00", "--force", "-o", "cards"]));
    assert_eq!(fs::read(bench.path("precious")).unwrap(), b"text");
    assert!(!bench.path("elsewhere/red00.img").is_symlink());
}

#[test]
fn a_cache_is_not_made_of_another_folder() {
    let bench = Bench::new();
    fs::create_dir(bench.path("cache")).unwrap();
    fs::write(bench.path("cache/letter.txt"), "text").unwrap();
    let (code, text) = bench.refusal(&["red00"]);
    assert_eq!(code, 1, "{text}");
    assert!(
        text.contains("cannot use the cache at cache\n") && text.contains("an empty or a new folder"),
        "{text}"
    );
    assert_eq!(bench.names("cache"), ["letter.txt"]);
}

#[test]
fn links_in_the_cache_are_not_followed() {
    let bench = Bench::new();
    succeeded(&bench.build(&["red00"]));
    for name in ["images", "downloads", "sources"] {
        let (folder, moved) = (bench.path("cache").join(name), bench.path("moved"));
        fs::rename(&folder, &moved).unwrap();
        symlink(&moved, &folder).unwrap();
        let (code, text) = bench.refusal(&["red01"]);
        assert!(code == 1 && text.contains("it is a symbolic link"), "{name}: {text}");
        fs::remove_file(&folder).unwrap();
        fs::rename(&moved, &folder).unwrap();
    }
    symlink("../precious", bench.path("cache/lock.new")).unwrap();
    fs::rename(bench.path("cache/lock.new"), bench.path("cache/lock")).unwrap();
    fs::remove_dir_all(bench.path("cache/images")).unwrap();
    let (code, text) = bench.refusal(&["red01"]);
    assert!(code == 1 && text.contains("cannot use the cache at cache/lock"), "{text}");
    assert!(!bench.path("precious").exists());
}

#[test]
fn the_fingerprint_of_the_ca_is_shown_at_its_first_use_on_a_computer() {
    let bench = Bench::new();
    let said = |words: &[&str]| {
        let output = bench.build(words);
        succeeded(&output);
        String::from_utf8(output.stderr).unwrap()
    };
    let first = said(&["red00"]);
    let openssl = ["x509", "-in", "red.secrets/ca.pem", "-noout", "-fingerprint", "-sha256"];
    let wanted = run(Command::new("openssl").args(openssl).current_dir(bench.path(".")));
    let wanted = String::from_utf8(wanted).unwrap();
    let wanted = wanted.trim().split_once('=').unwrap().1;
    let line = format!("first use of the CA of red here; its certificate has SHA-256 {wanted}\n");
    assert!(first.contains(&line), "{first}");
    assert!(!said(&["red01"]).contains(wanted));
    // Another computer has another cache.
    fs::remove_dir_all(bench.path("cache")).unwrap();
    assert!(said(&["red02"]).contains(&line));
}

#[test]
fn a_run_that_waits_for_another_says_so() {
    let bench = Bench::new();
    succeeded(&bench.build(&["red00"]));
    for (lock, line) in [
        ("red.secrets/.lock", "waiting for another builder that changes ./red.secrets\n"),
        ("cache/lock", "waiting for another builder that changes cache\n"),
    ] {
        // The image has to be unpacked again, or nothing in the cache is changed.
        fs::remove_dir_all(bench.path("cache/images")).unwrap();
        let held = fs::File::options().write(true).open(bench.path(lock)).unwrap();
        held.lock().unwrap();
        let mut child = bench
            .command(&["red01", "--force", "--quiet"])
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = String::new();
        let mut stderr = std::io::BufReader::new(child.stderr.take().unwrap());
        std::io::BufRead::read_line(&mut stderr, &mut said).unwrap();
        assert_eq!(said, line);
        drop(held);
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn never_writes_over_the_image() {
    let bench = Bench::new();
    fs::rename(bench.path("pios.img"), bench.path("red01.img")).unwrap();
    let before = fs::read(bench.path("red01.img")).unwrap();
    fs::write(bench.path("cluster.yaml"), CLUSTER.replace("pios.img.xz", "red01.img")).unwrap();
    let (code, text) = bench.refusal(&["--force", "-o", "."]);
    assert_eq!(code, 1);
    assert!(text.contains("is the image the cards are made from"), "{text}");
    assert!(fs::read(bench.path("red01.img")).unwrap() == before);
    assert!(!bench.path("red00.img").exists());
}

#[test]
fn a_refused_image_leaves_no_card() {
    let bench = Bench::new();
    let mut booted = Recipe::trixie();
    booted.put("cmdline.txt", "console=tty1 root=PARTUUID=4f2c9ea0-02 rootwait\n");
    booted.make(bench.0.path(), "pios.img");
    run(Command::new("xz").args(["-f", "-0", "-k"]).arg(bench.path("pios.img")));
    let (code, text) = bench.refusal(&[]);
    assert_eq!(code, 1, "{text}");
    assert!(bench.names("cards").is_empty());
    assert!(!bench.path("red.secrets").exists());
}

#[test]
fn killed_at_any_time_it_leaves_nothing_that_looks_whole() {
    let bench = Bench::new();
    succeeded(&bench.build(&["-o", "whole"]));
    // However fast the machine, some of these are killed while unpacking and some while writing cards.
    for milliseconds in [5, 20, 50, 100, 200, 400] {
        fs::remove_dir_all(bench.path("cache")).unwrap();
        let mut child = bench.command(&[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(milliseconds));
        child.kill().unwrap();
        child.wait().unwrap();
        for name in bench.names("cards") {
            let (card, whole) = (bench.path("cards").join(&name), bench.path("whole").join(&name));
            assert!(fs::read(card).unwrap() == fs::read(whole).unwrap(), "{name} looks whole and is not");
        }
        succeeded(&bench.build(&["--force"]));
        for name in ["red00.img", "red01.img", "red02.img"] {
            let (card, whole) = (bench.path("cards").join(name), bench.path("whole").join(name));
            assert!(fs::read(card).unwrap() == fs::read(whole).unwrap(), "{name}");
        }
        assert_eq!(bench.names("cards").len(), 3, "leftovers: {:?}", bench.names("cards"));
        assert_eq!(bench.names("cache/images").len(), 2, "leftovers: {:?}", bench.names("cache/images"));
        fs::remove_dir_all(bench.path("cards")).unwrap();
    }
}

#[test]
fn a_refused_build_leaves_no_folder() {
    let bench = Bench::new();
    fs::write(bench.path("pios.img.xz"), "no archive").unwrap();
    let (code, text) = bench.refusal(&["-o", "made/cards"]);
    assert_eq!(code, 1, "{text}");
    assert!(!bench.path("made").exists());
    fs::create_dir(bench.path("cards")).unwrap();
    bench.refusal(&[]);
    assert!(bench.path("cards").exists(), "it was there before");
}

/// A server of images that takes a request and never answers it.
#[test]
fn an_interrupted_build_says_so_and_leaves_no_folder() {
    let bench = Bench::new();
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url =
        format!("http://{}/pios.img.xz\nimage_sha256: {}", server.local_addr().unwrap(), "0".repeat(64));
    fs::write(bench.path("cluster.yaml"), CLUSTER.replace("pios.img.xz", &url)).unwrap();
    bench.trusts(&server.local_addr().unwrap().to_string());
    let mut child = bench.command(&[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut request, _) = server.accept().unwrap();
    std::io::Read::read_exact(&mut request, &mut [0; 4]).unwrap();
    assert!(bench.path("cards").exists());
    run(Command::new("kill").args(["-s", "INT", &child.id().to_string()]));
    let status = child.wait().unwrap();
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
    assert_eq!((status.code(), said.as_str()), (Some(1), "error: interrupted\n"));
    assert!(!bench.path("cards").exists());
}

/// The laptop's own way out is the environment's: the cluster file's `proxy` is the nodes'.
#[test]
fn images_are_downloaded_through_the_proxy_of_the_environment() {
    let bench = Bench::new();
    bench.trusts("images.invalid");
    for (scheme, variable, wanted) in [
        ("http", "http_proxy", "GET http://images.invalid/os.img.xz HTTP/1.1\r\n"),
        ("https", "https_proxy", "CONNECT images.invalid:443 HTTP/1.1\r\n"),
    ] {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let image = format!("{scheme}://images.invalid/os.img.xz\nimage_sha256: {}", "0".repeat(64));
        fs::write(bench.path("cluster.yaml"), CLUSTER.replace("pios.img.xz", &image)).unwrap();
        let mut command = bench.command(&[]);
        command.env(variable, format!("http://{}", server.local_addr().unwrap()));
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let (request, _) = server.accept().unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(request), &mut line).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(line, wanted);
    }
}

/// In a terminal, as `script` makes one (util-linux).
#[test]
fn bars_leave_nothing_on_the_screen() {
    let bench = Bench::new();
    succeeded(&bench.build(&[]));
    let verify = bench.command(&[]);
    let words = "--cache cache verify red00 --device cards/red00.img --firstboot firstboot-aarch64";
    let command = format!("{} {words}", verify.get_program().to_str().unwrap());
    let mut script = Command::new("script");
    script.current_dir(bench.0.path()).env_clear().env("HOME", bench.0.path()).env("TERM", "xterm");
    script.env("PATH", "/usr/bin:/bin").args(["--quiet", "--return", "--command", &command, "/dev/null"]);
    let output = script.stdin(Stdio::null()).output().unwrap();
    succeeded(&output);
    let drawn = ["░", "█"].map(str::as_bytes);
    assert!(output.stdout.windows(3).any(|bytes| drawn.contains(&bytes)), "a bar was drawn");
    let screen = InMemoryTerm::new(24, 120);
    screen.write_str(std::str::from_utf8(&output.stdout).unwrap()).unwrap();
    let shown = screen.contents();
    assert!(shown.starts_with("red00  cards/red00.img  as planned"), "{shown}");
}

#[test]
fn two_runs_at_once_do_not_disturb_each_other() {
    let bench = Bench::new();
    // The secrets are made by one run; what two first runs do to them is not the matter here.
    succeeded(&bench.build(&["-o", "whole"]));
    fs::remove_dir_all(bench.path("cache")).unwrap();
    let runs = ["one", "two"].map(|folder| {
        bench.command(&["-o", folder]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    });
    for run in runs {
        succeeded(&run.wait_with_output().unwrap());
    }
    for name in ["red00.img", "red01.img", "red02.img"] {
        let whole = fs::read(bench.path("whole").join(name)).unwrap();
        for folder in ["one", "two"] {
            assert!(fs::read(bench.path(folder).join(name)).unwrap() == whole, "{folder}/{name}");
        }
    }
    assert_eq!(bench.names("cache/images").len(), 2);
}

#[test]
fn a_full_disk_is_named_with_what_is_needed() {
    let bench = Bench::new();
    for round in ["cold", "warm"] {
        // A file system of 1 MiB, seen by this process only and gone with it.
        let script = "mkdir -p small && mount -t tmpfs -o size=1m none small && exec \"$0\" --cache cache build \
             --firstboot firstboot-aarch64 -o small";
        let output = Command::new("unshare")
            .args(["--mount", "--map-root-user", "sh", "-c", script, env!("CARGO_BIN_EXE_builder")])
            .env_remove("SUDO_UID")
            .current_dir(bench.0.path())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{round}: {text}");
        assert!(
            text.contains("no space left in small: 3 cards need") && text.contains("hint: free"),
            "{round}: {text}"
        );
        // The image was unpacked all the same: the next run is fast.
        assert_eq!(bench.names("cache/images").len(), 2, "{round}");
    }
}

#[test]
fn a_refused_image_leaves_neither_cards_nor_an_unpacked_image() {
    let bench = Bench::new();
    let mut booted = Recipe::trixie();
    booted.put("cmdline.txt", "console=tty1 rootwait\n");
    booted.make(bench.0.path(), "booted.img");
    run(Command::new("xz").args(["-T1", "-0"]).arg(bench.path("booted.img")));
    fs::write(bench.path("cluster.yaml"), CLUSTER.replace("pios.img.xz", "booted.img.xz")).unwrap();
    let (code, said) = bench.refusal(&["-o", "new/cards"]);
    assert!(code == 1 && said.contains("it was booted before"), "{said}");
    assert!(!bench.path("new").exists(), "an empty folder is left");
    assert_eq!(bench.names("cache/images"), [""; 0]);
    // What was there before stays.
    fs::create_dir(bench.path("new")).unwrap();
    bench.refusal(&["-o", "new/cards"]);
    assert_eq!(bench.names("new"), [""; 0]);
    assert!(bench.path("new").exists());
}

#[test]
fn an_image_of_an_odd_size_gives_the_same_padded_cards_packed_or_not() {
    let bench = Bench::new();
    let image = fs::File::options().append(true).open(bench.path("pios.img")).unwrap();
    (&image).write_all(b"tail").unwrap();
    let size = fs::metadata(bench.path("pios.img")).unwrap().len();
    run(Command::new("xz").args(["-T1", "-0", "-k", "-f"]).arg(bench.path("pios.img")));
    succeeded(&bench.build(&["red00", "-o", "packed"]));
    fs::write(bench.path("cluster.yaml"), CLUSTER.replace("pios.img.xz", "pios.img")).unwrap();
    succeeded(&bench.build(&["red00", "-o", "plain"]));
    let card = |folder: &str| fs::read(bench.path(folder).join("red00.img")).unwrap();
    assert!(card("packed") == card("plain"));
    assert_eq!(card("plain").len() as u64, size.next_multiple_of(512));
    assert!(card("plain").ends_with(&[0; 508]));
}
