//! What is refused, on real block devices: the reason, exit code 3, and not one byte changed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use builder::device::{Demand, Disk, Kernel, Refusal, claim};

use crate::bench::{Bench, Loop, Undo, succeeded};
use crate::fixture::run;

/// Refused with that reason, and nothing was written.
fn assert_refused(bench: &Bench, reader: &Loop, device: &str, reasons: &[&str]) {
    assert_refused_and_same(bench, device, reasons, || reader.content());
}

fn assert_refused_and_same(bench: &Bench, device: &str, reasons: &[&str], content: impl Fn() -> Vec<u8>) {
    let before = content();
    let (code, text) = bench.refusal(&["red00", "--device", device]);
    assert_eq!(code, 3, "{text}");
    for reason in reasons {
        assert!(text.contains(reason), "{reason:?} is not in {text}");
    }
    assert!(text.contains("hint: "), "{text}");
    assert!(content() == before, "{device} was written");
    assert!(!bench.path("red.secrets").exists(), "refused before anything is made");
}

fn partitioned(bench: &Bench, name: &str) -> Loop {
    let path = bench.path(name);
    fs::copy(bench.path("pios.img"), &path).unwrap();
    Loop::attach(&path)
}

#[test]
fn a_fixed_disk_is_refused_unless_it_is_named_twice() {
    let bench = Bench::new(0);
    let reader = bench.reader("card", bench.image_mib() + 4);
    let device = reader.device.display().to_string();
    let twice = format!("hint: if it really is to be erased, name it twice: --device '{}'", reader.named());
    assert_refused(&bench, &reader, &device, &["is not made to be taken out", &twice]);
    assert_refused(&bench, &reader, &format!("{device}=/other"), &["has the serial", "not /other"]);
}

#[test]
fn mounted_partitions_are_refused() {
    let bench = Bench::new(0);
    let reader = partitioned(&bench, "card");
    let at = bench.path("mnt");
    fs::create_dir(&at).unwrap();
    run(Command::new("mount").args(["-o", "ro"]).args([&reader.partition(2), &at]));
    let _undo = Undo::with(&["umount", at.to_str().unwrap()]);
    let umount = format!("umount {}", at.display());
    assert_refused(&bench, &reader, &reader.named(), &["p2 is mounted at", &umount]);
}

#[test]
fn swap_is_refused() {
    let bench = Bench::new(0);
    let reader = partitioned(&bench, "card");
    let swap = reader.partition(2);
    run(Command::new("mkswap").arg(&swap).arg("40"));
    run(Command::new("swapon").arg(&swap));
    let _undo = Undo::with(&["swapoff", swap.to_str().unwrap()]);
    let start =
        fs::read_to_string(Path::new("/sys/class/block").join(swap.file_name().unwrap()).join("start"));
    let start = start.unwrap().trim().parse::<usize>().unwrap() * 512;
    // Short of memory, the kernel writes to it. Ten pages are the fewest it takes; the first says what it is.
    let but_pages = || {
        let mut content = reader.content();
        content[start + 4096..start + 10 * 4096].fill(0);
        content
    };
    assert_refused_and_same(&bench, &reader.named(), &["p2 is used as swap", "swapoff"], but_pages);
}

#[test]
fn what_another_device_lies_on_is_refused() {
    let bench = Bench::new(0);
    let reader = partitioned(&bench, "card");
    let upper = Loop::attach(&reader.partition(2));
    let name = upper.device.file_name().unwrap().to_str().unwrap();
    assert_refused(&bench, &reader, &reader.named(), &["p2 is in use by", name]);
}

#[test]
fn the_second_disk_of_a_mounted_file_system_is_refused() {
    let bench = Bench::new(0);
    let (one, other) = (bench.reader("one", 256), bench.reader("other", 256));
    let mut mkfs = Command::new("mkfs.btrfs");
    run(mkfs.args(["--force", "--quiet"]).args([&one.device, &other.device]));
    let at = bench.path("mnt");
    fs::create_dir(&at).unwrap();
    run(Command::new("btrfs").args(["device", "scan"]).args([&one.device, &other.device]));
    run(&mut Command::new("sync"));
    run(Command::new("mount").args(["-o", "ro"]).args([&one.device, &at]));
    let _undo = Undo::with(&["umount", at.to_str().unwrap()]);
    // The list of mounts names the first only: here the kernel itself is the guard.
    assert_refused(&bench, &one, &one.named(), &["is mounted at"]);
    let before = other.content();
    let (code, text) = bench.refusal(&["red00", "--device", &other.named()]);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("for ourselves alone"), "{text}");
    assert!(other.content() == before);
}

#[test]
fn members_of_raids_and_volume_groups_are_refused_even_at_rest() {
    let bench = Bench::new(0);
    let reader = bench.reader("card", bench.image_mib() + 4);
    // The header of a physical volume (lvm2, lib/format_text/layout.h): label, sector, checksum, offset, type.
    let mut label = vec![0u8; 512];
    label[..8].copy_from_slice(b"LABELONE");
    label[8..16].copy_from_slice(&1u64.to_le_bytes());
    label[20..24].copy_from_slice(&32u32.to_le_bytes());
    label[24..32].copy_from_slice(b"LVM2 001");
    label[32..64].copy_from_slice(b"0123456789abcdefghijklmnopqrstuv");
    let crc = lvm_crc(&label[20..]);
    label[16..20].copy_from_slice(&crc.to_le_bytes());
    use std::os::unix::fs::FileExt;
    // To the device: what is written to the file behind it may not be what its cache has.
    let device = fs::File::options().write(true).open(&reader.device).unwrap();
    device.write_all_at(&label, 512).unwrap();
    device.sync_all().unwrap();
    drop(device);
    assert_refused(&bench, &reader, &reader.named(), &["LVM2_member", "wipefs"]);
}

/// LVM's CRC: the reversed polynomial of CRC-32 from another start, and not inverted.
fn lvm_crc(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0xf597_a6cf, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
    })
}

#[test]
fn the_disk_this_computer_runs_from_is_refused() {
    let bench = Bench::new(0);
    let source = run(Command::new("findmnt").args(["--noheadings", "--output", "SOURCE", "/"]));
    let source = String::from_utf8(source).unwrap();
    // Only looked at: nothing here could write to it.
    let disk = Kernel::default().disk_at(Path::new(source.trim())).or_else(|refusal| match refusal {
        Refusal::Partition { whole, .. } => Kernel::default().disk_at(&whole),
        refusal => Err(refusal),
    });
    let disk = disk.unwrap();
    let demand = Demand { serial: disk.serial.clone(), limit: u64::MAX, ..Demand::default() };
    let refusals = Kernel::default().refusals(&disk, &demand);
    let text = refusals[0].to_string();
    assert!(text.ends_with("is mounted at /"), "{text}");
    assert!(refusals[0].hint().show(None).text.contains("this computer runs from it"));
    assert!(claim::claim(&Kernel::default(), &disk.path, &disk, &demand).is_err());
    let (code, text) =
        bench.refusal(&["red00", "--device", disk.path.to_str().unwrap(), "--max-size", "1024GiB"]);
    assert_eq!(code, 3, "{text}");
}

#[test]
fn what_is_no_whole_disk_is_refused() {
    let bench = Bench::new(0);
    let reader = partitioned(&bench, "card");
    assert_refused(&bench, &reader, reader.file.to_str().unwrap(), &["is no disk", "builder build"]);
    let part = reader.partition(1);
    let whole = format!("name the whole disk: --device {}", reader.device.display());
    assert_refused(&bench, &reader, part.to_str().unwrap(), &["is a partition of", &whole]);
    assert_refused(&bench, &reader, "/dev/nothing", &["there is no /dev/nothing", "builder devices"]);
    assert_refused(&bench, &reader, "/dev/null", &["is no disk"]);
}

#[test]
fn sizes_and_the_image_itself_are_looked_at() {
    let bench = Bench::new(0);
    let small = bench.reader("small", 16);
    assert!(bench.refusal(&["red00", "--device", &small.named()]).1.contains("take a larger card"));
    assert!(small.content().iter().all(|byte| *byte == 0xa5));
    let reader = bench.reader("card", bench.image_mib() + 4);
    let (code, text) = bench.refusal(&["red00", "--device", &reader.named(), "--max-size", "32MiB"]);
    assert_eq!(code, 3);
    assert!(text.contains("more than a card usually has") && text.contains("--max-size"), "{text}");
    assert!(reader.content().iter().all(|byte| *byte == 0xa5));

    let before = fs::read(bench.path("pios.img")).unwrap();
    let image = Loop::attach(&bench.path("pios.img"));
    let (code, text) = bench.refusal(&["red00", "--device", &image.named()]);
    assert_eq!(code, 3);
    assert!(text.contains("is the image the card is made from"), "{text}");
    assert!(fs::read(bench.path("pios.img")).unwrap() == before);
}

/// Why a disk is not claimed. A program that another test's thread is just starting has our descriptors until it begins, so
/// for that moment a disk that was given back is not free yet.
fn refused(kernel: &Kernel, given: &Path, disk: &Disk, demand: &Demand) -> Refusal {
    let begun = Instant::now();
    loop {
        match claim::claim(kernel, given, disk, demand).unwrap_err() {
            Refusal::Open { .. } if begun.elapsed() < Duration::from_secs(20) => {}
            refusal => return refusal,
        }
    }
}

#[test]
fn a_link_that_leads_elsewhere_after_the_look_is_refused() {
    let bench = Bench::new(0);
    let (meant, other) = (bench.reader("meant", 16), bench.reader("other", 16));
    let link = bench.path("reader");
    symlink(&meant.device, &link).unwrap();
    let kernel = Kernel::default();
    let disk = kernel.disk_at(&link).unwrap();
    let serial = Some(meant.file.display().to_string());
    let demand = Demand { serial, limit: u64::MAX, ..Demand::default() };
    drop(claim::claim(&kernel, &link, &disk, &demand).unwrap());

    fs::remove_file(&link).unwrap();
    symlink(&other.device, &link).unwrap();
    let refusal = refused(&kernel, &link, &disk, &demand);
    assert!(matches!(refusal, Refusal::Changed(_)), "{refusal}");
    // The same when another card is in the reader by now.
    let mut earlier = disk;
    earlier.sequence = earlier.sequence.map(|sequence| sequence - 1);
    let refusal = refused(&kernel, &meant.device, &earlier, &demand);
    assert!(matches!(refusal, Refusal::Changed(_)), "{refusal}");
    for reader in [meant, other] {
        assert!(reader.content().iter().all(|byte| *byte == 0xa5));
    }
}

#[test]
fn one_reader_twice_and_one_bad_among_good_ones_write_nothing() {
    let bench = Bench::new(0);
    let reader = bench.reader("card", bench.image_mib() + 4);
    let (code, text) = bench.refusal(&["--device", &reader.named(), "--device", &reader.named()]);
    assert_eq!((code, text.contains("is named twice")), (3, true), "{text}");
    let (code, _) = bench.refusal(&["--device", &reader.named(), "--device", "/dev/nothing"]);
    assert_eq!(code, 3);
    let (code, text) = bench.refusal(&["red00", "--device", &reader.named(), "--device", "/dev/nothing"]);
    assert_eq!(code, 3, "{text}");
    assert!(reader.content().iter().all(|byte| *byte == 0xa5));
}

#[test]
fn nothing_is_erased_unasked() {
    let bench = Bench::new(0);
    let reader = bench.reader("card", bench.image_mib() + 4);
    let words = ["flash", "--firstboot", "firstboot-aarch64", "red00", "--device", &reader.named()];
    let output = bench.command(&words).stdin(std::process::Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("--yes"), "{text}");
    assert!(reader.content().iter().all(|byte| *byte == 0xa5));
}

#[test]
fn ctrl_c_at_the_question_erases_nothing() {
    use std::io::{BufReader, Read as _, Write as _};
    use std::process::Stdio;
    let bench = Bench::new(0);
    let reader = bench.reader("card", bench.image_mib() + 4);
    let builder = env!("CARGO_BIN_EXE_builder");
    let line = format!(
        "exec {builder} --cache cache flash --firstboot firstboot-aarch64 red00 --device '{}'",
        reader.named()
    );
    // A terminal of its own, to ask at.
    let mut script = Command::new("script");
    script.args(["--quiet", "--flush", "--return", "--command", &line, "/dev/null"]);
    // As root's own: the folder is root's.
    script.env_remove("SUDO_UID");
    script.current_dir(bench.path(".")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut script = script.spawn().unwrap();
    let (mut said, mut bytes) = (String::new(), BufReader::new(script.stdout.take().unwrap()).bytes());
    while !said.ends_with("Continue? [y/N] ") {
        said.push(char::from(bytes.next().expect(&said).unwrap()));
    }
    assert!(said.contains("becomes the card of red00"), "{said}");
    // Nobody mounts it between the question and the answer.
    let disk = Kernel::default().disk_at(&reader.device).unwrap();
    let demand = Demand { serial: disk.serial.clone(), limit: u64::MAX, ..Demand::default() };
    let refusal = claim::claim(&Kernel::default(), &reader.device, &disk, &demand).unwrap_err();
    assert!(matches!(refusal, Refusal::Open { .. }), "{refusal}");
    let mut keys = script.stdin.take().unwrap();
    keys.write_all(b"\x03").unwrap();
    let rest: Vec<u8> = bytes.map(Result::unwrap).collect();
    let rest = String::from_utf8_lossy(&rest).into_owned();
    assert_eq!(script.wait().unwrap().code(), Some(1), "{rest}");
    assert!(rest.contains("nothing was erased"), "{rest}");
    assert!(reader.content().iter().all(|byte| *byte == 0xa5));
}

#[test]
fn disks_are_listed_with_what_speaks_against_them() {
    let bench = Bench::new(0);
    let reader = bench.reader("card", bench.image_mib() + 4);
    succeeded(&bench.flash(&["red02", "--device", &reader.named()]));
    let output = bench.run(&["devices", "--all", "--json"]);
    succeeded(&output);
    let listed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let devices = listed["devices"].as_array().unwrap();
    let line = devices.iter().find(|line| line["disk"]["path"] == reader.device.to_str().unwrap()).unwrap();
    assert_eq!(line["node"], "red02");
    let contents = line["contents"].as_str().unwrap();
    let told =
        contents.starts_with("the card of red02 of red, flashed 20") && contents.ends_with(", verified");
    assert!(told, "{contents}");
    assert_eq!(line["usable"], false);
    let text = String::from_utf8(bench.run(&["devices", "--all"]).stdout).unwrap();
    assert!(text.contains("is mounted at /\n    this computer runs from it"), "{text}");
}
