//! Cards on real block devices: byte for byte what `build` makes, also after an interruption.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::bench::{Bench, Loop, Undo, succeeded};
use crate::walk::{advised, card, exchange, signal, typed};

/// Whether a card holds what `build` makes for that node.
pub(crate) fn assert_is(bench: &Bench, reader: &Loop, node: &str) {
    assert_holds(bench, &reader.file, node);
}

/// The same of a card that is in no reader.
pub(crate) fn assert_holds(bench: &Bench, card: &Path, node: &str) {
    let (name, built) = (card.display(), fs::read(bench.built(node)).unwrap());
    let card = fs::read(card).unwrap();
    assert!(card[..built.len()] == built, "{name} is not the card of {node}");
    let (end, tail) = (card.len(), 1 << 20);
    assert!(card[end - tail..].iter().all(|byte| *byte == 0), "old data at the end");
    assert!(card[built.len()..end - tail].iter().all(|byte| *byte == 0xa5), "wrote behind the image");
}

#[test]
fn several_cards_at_once_are_what_build_makes_and_verify_says_so() {
    let bench = Bench::new(0);
    let size = bench.image_mib() + 8;
    let readers = ["one", "two", "three"].map(|name| bench.reader(name, size));
    let nodes = ["red00", "red01", "red02"];
    let mut words = vec!["red[00-02]".to_owned()];
    for reader in &readers {
        words.extend(["--device".to_owned(), reader.named()]);
    }
    let output = bench.flash(&words.iter().map(String::as_str).collect::<Vec<_>>());
    succeeded(&output);
    let table = String::from_utf8(output.stdout).unwrap();
    for ((reader, node), line) in readers.iter().zip(nodes).zip(table.lines()) {
        let device = reader.device.display();
        assert!(line.starts_with(&format!("{node}  {device}  written and verified")), "{table}");
        assert!(line.contains("empty blocks by the drive"), "a loop device can: {table}");
        assert_is(&bench, reader, node);
    }
    let verify = |node: &str, reader: &Loop| {
        let device = reader.device.display().to_string();
        bench.run(&["verify", node, "--device", &device, "--firstboot", "firstboot-aarch64"])
    };
    let output = verify("red01", &readers[1]);
    succeeded(&output);
    let digest = |text: &str| text.split_whitespace().last().unwrap().to_owned();
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(digest(&told), digest(table.lines().nth(1).unwrap()));

    // Another node's card, and one with a byte changed.
    let output = verify("red00", &readers[1]);
    assert_eq!(output.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&output.stderr).contains("it is the card of red01"));
    use std::os::unix::fs::FileExt;
    let at = 20 << 20;
    let file = fs::File::options().read(true).write(true).open(&readers[2].file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at + 700).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at + 700).unwrap();
    file.sync_all().unwrap();
    let output = verify("red02", &readers[2]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(4), "{text}");
    assert!(text.contains(&format!("differs from its plan at byte {}", at + 512)), "{text}");
}

#[test]
fn a_card_s_image_can_be_verified_too_and_no_identities_are_made_up_for_it() {
    let bench = Bench::new(0);
    let verify = || bench.run(&["verify", "red00", "-d", "pios.img", "--firstboot", "firstboot-aarch64"]);
    let output = verify();
    assert!(!output.status.success());
    assert!(!bench.path("red.secrets").exists());
    let built = bench.built("red00");
    let words =
        ["verify", "red00", "--firstboot", "firstboot-aarch64", "--json", "-d", built.to_str().unwrap()];
    let output = bench.run(&words);
    succeeded(&output);
    let last = String::from_utf8(output.stdout).unwrap().lines().last().unwrap().to_owned();
    let last: serde_json::Value = serde_json::from_str(&last).unwrap();
    assert_eq!((&last["event"], &last["node"]), (&"done".into(), &"red00".into()));
}

#[test]
fn a_note_that_cannot_be_written_costs_no_card() {
    let bench = Bench::new(0);
    let reader = bench.reader("card", bench.image_mib() + 8);
    let words = ["red00", "--device", &reader.named()];
    succeeded(&bench.flash(&words));
    let notes: Vec<_> =
        fs::read_dir(bench.path("cache/cards")).unwrap().map(|note| note.unwrap().path()).collect();
    assert_eq!(notes.len(), 1, "{notes:?}");
    // What cannot be replaced by a file, not even by root.
    fs::remove_file(&notes[0]).unwrap();
    fs::create_dir(&notes[0]).unwrap();
    let output = bench.flash(&words);
    succeeded(&output);
    let (table, said) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(table.contains("written and verified"), "{table}");
    assert!(said.contains("cannot note that red00 is done: "), "{said}");
    assert_is(&bench, &reader, "red00");
}

/// Ends with the test, whatever becomes of it.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended by itself where the test went well.
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

/// A group whose members write and read so many bytes a second of a device, as an SD card would.
struct Throttle(PathBuf);

impl Throttle {
    fn new(name: &str, reader: &Loop, bytes: u64) -> Self {
        let number = crate::fixture::run(Command::new("lsblk").args(["-dno", "MAJ:MIN"]).arg(&reader.device));
        let number = String::from_utf8(number).unwrap().trim().to_owned();
        let base = Path::new("/sys/fs/cgroup");
        // The second version of control groups (cgroup-v2.rst, "io.max"), or the first (blkio-controller.rst).
        let (hierarchy, file, rule) = if base.join("cgroup.controllers").exists() {
            fs::write(base.join("cgroup.subtree_control"), "+io").unwrap();
            (base.to_owned(), "io.max", format!("{number} wbps={bytes}"))
        } else {
            (base.join("blkio"), "blkio.throttle.write_bps_device", format!("{number} {bytes}"))
        };
        let throttle = Self(hierarchy.join(format!("{name}-{}", std::process::id())));
        fs::create_dir(&throttle.0).unwrap();
        fs::write(throttle.0.join(file), rule).unwrap();
        throttle
    }

    /// The command, started in the group.
    fn start(&self, command: &Command) -> Command {
        let line = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", self.0.display());
        let mut inside = Command::new("sh");
        inside.args(["-ec", &line, "sh"]).arg(command.get_program()).args(command.get_args());
        inside.current_dir(command.get_current_dir().unwrap());
        inside
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        let _busy = fs::remove_dir(&self.0);
    }
}

#[test]
fn a_card_whose_writer_was_killed_boots_nothing_and_is_gone_on_with() {
    let bench = Bench::new(192);
    let reader = bench.reader("card", bench.image_mib() + 8);
    // The reader of another disk has nothing to do with it.
    let throttle = Throttle::new("builder-flash", &reader, 64 << 20);
    let _undo = Undo::with(&["rmdir", throttle.0.to_str().unwrap()]);
    let named = reader.named();
    let words =
        ["flash", "--yes", "--json", "--firstboot", "firstboot-aarch64", "red01", "--device", named.as_str()];
    let mut command = throttle.start(&bench.command(&words));
    let mut flash = Running(command.stdout(Stdio::piped()).spawn().unwrap());
    let lines = BufReader::new(flash.0.stdout.take().unwrap()).lines();
    // What is written there is safe as far as 64 MiB before it.
    let far = lines.map(Result::unwrap).find(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["phase"] == "write" && line["done_bytes"].as_u64().unwrap() >= 288 << 20
    });
    assert!(far.is_some(), "it was finished before it could be killed");
    flash.0.kill().unwrap();
    flash.0.wait().unwrap();
    assert!(reader.content()[..4 << 20].iter().all(|byte| *byte == 0), "it could boot half-written");

    let output = bench.flash(&["--json", "red01", "--device", &named]);
    succeeded(&output);
    let last = String::from_utf8(output.stdout).unwrap().lines().last().unwrap().to_owned();
    let last: serde_json::Value = serde_json::from_str(&last).unwrap();
    let resumed = last["cards"][0]["resumed_bytes"].as_u64().unwrap();
    assert!(resumed >= 128 << 20, "begun anew: {last}");
    assert_is(&bench, &reader, "red01");
}

#[test]
fn a_card_of_the_second_round_whose_writer_was_killed_stays_its_node_s() {
    let bench = Bench::new(192);
    let size = bench.image_mib() + 8;
    let reader = bench.reader("card", size);
    card(&bench, "next", size);
    let throttle = Throttle::new("builder-walk", &reader, 64 << 20);
    let _undo = Undo::with(&["rmdir", throttle.0.to_str().unwrap()]);
    let named = reader.named();
    let words =
        ["flash", "--yes", "--json", "--firstboot", "firstboot-aarch64", "red[00-01]", "--device", &named];
    let mut command = throttle.start(&bench.command(&words));
    let mut flash = Running(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let mut said = BufReader::new(flash.0.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(said.any(|line| line.starts_with("put the card for red01 into ")));
    exchange(&bench, &reader, "next");
    let mut lines = BufReader::new(flash.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let far = lines.any(|line| {
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        line["node"] == "red01"
            && line["phase"] == "write"
            && line["done_bytes"].as_u64().unwrap() >= 288 << 20
    });
    assert!(far, "it was finished before it could be killed");
    flash.0.kill().unwrap();
    flash.0.wait().unwrap();

    // Nobody was told what was left, so the same command is typed.
    let mut command = bench.command(&words);
    let mut flash = Running(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let mut said = BufReader::new(flash.0.stderr.take().unwrap()).lines().map(Result::unwrap);
    let first = format!("the card in {} was begun for red01: that one comes first", reader.device.display());
    assert!(said.any(|line| line == first));
    assert!(said.any(|line| line.starts_with("put the card for red00 into ")));
    assert_is(&bench, &reader, "red01");
    signal(&flash, "-INT");
    let rest = said.collect::<Vec<_>>().join("\n");
    assert_eq!(flash.0.wait().unwrap().code(), Some(1), "{rest}");
    assert!(rest.starts_with("error: interrupted\nhint: not done: red00\n"), "{rest}");
    let lines: Vec<_> = BufReader::new(flash.0.stdout.take().unwrap()).lines().map(Result::unwrap).collect();
    let last: serde_json::Value = serde_json::from_str(lines.last().unwrap()).unwrap();
    assert!(last["cards"][0]["resumed_bytes"].as_u64().unwrap() >= 128 << 20, "begun anew: {last}");
    assert_eq!(last["left"], serde_json::json!(["red00"]));

    fs::rename(bench.path("taken out"), bench.path("first")).unwrap();
    exchange(&bench, &reader, "first");
    succeeded(&typed(&bench, &advised(&rest, "red00", &reader)));
    assert_is(&bench, &reader, "red00");
    assert_holds(&bench, &bench.path("taken out"), "red01");
}
