//! More nodes than readers: the next card, what is not taken for it, and going on where it ended.

use std::fs;
use std::io::{BufRead as _, BufReader, Bytes, Read, Write as _};
use std::os::unix::fs::FileExt as _;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::bench::{Bench, Loop, Undo, succeeded};
use crate::cards::{Running, assert_holds, assert_is};
use crate::fixture::run;

/// A card of so many MiB that is in no reader yet.
pub(crate) fn card(bench: &Bench, name: &str, mib: u64) {
    let file = fs::File::create(bench.path(name)).unwrap();
    (0..mib).for_each(|at| file.write_all_at(&[0xa5; 1 << 20], at << 20).unwrap());
}

/// Puts a card into the reader, and the one that is in it aside.
pub(crate) fn exchange(bench: &Bench, reader: &Loop, name: &str) {
    run(Command::new("losetup").arg("--detach").arg(&reader.device));
    fs::rename(&reader.file, bench.path("taken out")).unwrap();
    fs::rename(bench.path(name), &reader.file).unwrap();
    attach(reader, &reader.file);
}

/// Whoever looks at the device at this moment has it until it is closed.
fn attach(reader: &Loop, file: &std::path::Path) {
    let begun = Instant::now();
    while !Command::new("losetup").arg(&reader.device).arg(file).output().unwrap().status.success() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{} does not get free", reader.device.display());
    }
}

pub(crate) fn signal(flash: &Running, name: &str) {
    run(Command::new("kill").args([name, &flash.0.id().to_string()]));
}

/// The command that was printed for those who put that node's card in.
pub(crate) fn advised(said: &str, node: &str, reader: &Loop) -> String {
    let before = format!("hint: with the card for {node} in {}: ", reader.device.display());
    let line = said.lines().find_map(|line| line.trim_end().strip_prefix(&before));
    line.unwrap_or_else(|| panic!("no line begins with {before:?} in {said}")).to_owned()
}

/// Types it, as in a shell, without being asked. `sudo` would look for `builder` in its own folders; this is root's anyway.
pub(crate) fn typed(bench: &Bench, line: &str) -> Output {
    let line = line.strip_prefix("sudo ").unwrap();
    let folder = std::path::Path::new(env!("CARGO_BIN_EXE_builder")).parent().unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-ec", &format!("{line} --yes")]).current_dir(bench.path(".")).env_clear();
    shell
        .env("HOME", bench.path("."))
        .env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", folder.display()));
    shell.output().unwrap()
}

#[test]
fn with_one_reader_the_next_card_is_waited_for_and_nothing_else_is_taken_for_it() {
    let bench = Bench::new(0);
    let size = bench.image_mib() + 8;
    let reader = bench.reader("card", size);
    let device = reader.device.display().to_string();
    // Quiet is no reason to wait without a word.
    let words = ["--quiet", "flash", "--yes", "--firstboot", "firstboot-aarch64", "red[00-01]", "--device"];
    let mut command = bench.command(&[&words[..], &[&reader.named()]].concat());
    let mut flash = Running(command.stderr(Stdio::piped()).spawn().unwrap());
    let mut said = BufReader::new(flash.0.stderr.take().unwrap()).lines().map(Result::unwrap);
    let wanted = format!("put the card for red01 into {device}");
    assert!(said.any(|line| line == wanted));
    assert_is(&bench, &reader, "red00");

    // Another device gets the reader's name.
    card(&bench, "camera", size);
    run(Command::new("losetup").arg("--detach").arg(&reader.device));
    attach(&reader, &bench.path("camera"));
    assert!(said.any(|line| line.starts_with(&format!("{device} is another device now ("))));
    run(Command::new("losetup").arg("--detach").arg(&reader.device));
    assert!(fs::read(bench.path("camera")).unwrap().iter().all(|byte| *byte == 0xa5));

    // Out and in again, as somebody does who is not sure.
    attach(&reader, &reader.file);
    assert!(said.any(|line| line == format!("that is the card of red00, which is done: {wanted}")));
    assert_is(&bench, &reader, "red00");

    // The desktop was faster.
    card(&bench, "mounted", size);
    run(Command::new("mke2fs").args(["-q", "-F", "-b", "1024"]).arg(bench.path("mounted")).arg("8192"));
    let at = bench.path("mnt");
    fs::create_dir(&at).unwrap();
    signal(&flash, "-STOP");
    exchange(&bench, &reader, "mounted");
    run(Command::new("mount").args([&reader.device, &at]));
    let undo = Undo::with(&["umount", at.to_str().unwrap()]);
    signal(&flash, "-CONT");
    assert!(said.any(|line| line == format!("not taken: {device} is mounted at {}", at.display())));
    assert!(said.next().unwrap().contains("umount"));
    drop(undo);
    assert!(flash.0.wait().unwrap().success());
    assert_is(&bench, &reader, "red01");
    assert_holds(&bench, &bench.path("taken out"), "red00");
}

/// Reads until that was said, and gives what was.
fn until(bytes: &mut Bytes<impl Read>, text: &str) -> String {
    let mut said = Vec::new();
    while !said.ends_with(text.as_bytes()) {
        let byte = bytes.next().unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&said)));
        said.push(byte.unwrap());
    }
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn what_is_printed_at_a_no_in_the_second_round_makes_the_card_that_is_left() {
    let bench = Bench::new(0);
    let size = bench.image_mib() + 8;
    let reader = bench.reader("card", size);
    card(&bench, "next", size);
    let line = format!(
        "exec {} --cache cache --quiet flash --firstboot firstboot-aarch64 'red[00-01]' --device '{}'",
        env!("CARGO_BIN_EXE_builder"),
        reader.named()
    );
    // A terminal of its own, to ask at.
    let mut script = Command::new("script");
    script.args(["--quiet", "--flush", "--return", "--command", &line, "/dev/null"]);
    script.current_dir(bench.path(".")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut script = Running(script.spawn().unwrap());
    let mut keys = script.0.stdin.take().unwrap();
    let mut bytes = BufReader::new(script.0.stdout.take().unwrap()).bytes();
    let question = "Continue? [y/N] ";
    until(&mut bytes, question);
    keys.write_all(b"y\n").unwrap();
    until(&mut bytes, "put the card for red01 into ");
    exchange(&bench, &reader, "next");
    assert!(until(&mut bytes, question).contains("becomes the card of red01"));
    keys.write_all(b"no\n").unwrap();
    let rest: Vec<u8> = bytes.map(Result::unwrap).collect();
    let rest = String::from_utf8_lossy(&rest).into_owned();
    assert_eq!(script.0.wait().unwrap().code(), Some(1), "{rest}");
    assert!(rest.contains("nothing more was erased") && rest.contains("hint: not done: red01\r"), "{rest}");
    assert!(reader.content().iter().all(|byte| *byte == 0xa5));

    succeeded(&typed(&bench, &advised(&rest, "red01", &reader)));
    assert_is(&bench, &reader, "red01");
    assert_holds(&bench, &bench.path("taken out"), "red00");
}
