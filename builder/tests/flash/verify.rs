//! What is compared is what the disk has, and why it is not as planned is told.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;
use std::process::{Command, Output};

use builder::device::claim::ReadOnly;
use rustix::fs::OFlags;

use crate::bench::{Bench, Loop, Undo, succeeded};
use crate::fixture::run;

/// The flags that our descriptor of a file was opened with (proc(5), "fdinfo").
fn flags(opened: &Path) -> Vec<OFlags> {
    let ours = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let ours = ours.filter(|fd| fs::read_link(fd.path()).is_ok_and(|path| path == opened));
    ours.map(|fd| {
        let info = fs::read_to_string(Path::new("/proc/self/fdinfo").join(fd.file_name())).unwrap();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
        OFlags::from_bits_retain(u32::from_str_radix(flags.trim(), 8).unwrap())
    })
    .collect()
}

#[test]
fn a_disk_is_read_past_the_cache_by_whatever_name() {
    let bench = Bench::new(0);
    let reader = bench.reader("card", 4);
    let link = bench.path("by-id");
    symlink(&reader.device, &link).unwrap();
    let opened = ReadOnly::open(&link).unwrap();
    let [flags] = flags(&reader.device)[..] else { panic!("it is opened once") };
    assert!(flags.contains(OFlags::DIRECT), "{flags:?}");
    drop(opened);
}

fn verify(bench: &Bench, card: &Loop) -> Output {
    let device = card.device.display().to_string();
    bench.run(&["verify", "red00", "--device", &device, "--firstboot", "firstboot-aarch64"])
}

#[test]
fn a_card_that_a_desktop_has_mounted_differs_and_that_is_told() {
    let bench = Bench::new(0);
    let reader = bench.reader("card", bench.image_mib() + 4);
    succeeded(&bench.flash(&["red00", "--device", &reader.named()]));
    let file = reader.file.clone();
    drop(reader);
    // Out and in again: now the kernel knows its partitions.
    let card = Loop::attach(&file);
    succeeded(&verify(&bench, &card));
    let at = bench.path("mnt");
    fs::create_dir(&at).unwrap();
    run(Command::new("mount").args([&card.partition(2), &at]));
    let mounted = Undo::with(&["umount", at.to_str().unwrap()]);
    let told = |wanted: &str| {
        let output = verify(&bench, &card);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(4), "{text}");
        assert!(text.contains(wanted) && text.contains("builder flash red00"), "{text}");
    };
    told(&format!("it is mounted at {}", at.display()));
    drop(mounted);
    told("its root file system was mounted since it was written");
}

#[test]
fn images_are_compared_as_the_disk_has_them_and_not_as_they_were_written_a_moment_ago() {
    let bench = Bench::new(0);
    let disk = bench.path("disk");
    File::create(&disk).unwrap().set_len(64 << 20).unwrap();
    run(Command::new("mkfs.ext4").arg("-q").arg(&disk));
    let device = Loop::attach(&disk);
    let cache = bench.path("cache");
    fs::create_dir(&cache).unwrap();
    run(Command::new("mount").args([&device.device, &cache]));
    let _undo = Undo::with(&["umount", cache.to_str().unwrap()]);

    let mut state = 1u32;
    let mut image = vec![0; 4 << 20];
    image.fill_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    });
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    fs::write(bench.path("os.img"), &image).unwrap();
    run(Command::new("xz").args(["-0", "--keep"]).arg(bench.path("os.img")));
    let output = bench.run(&["--json", "images", "pull", "os.img.xz"]);
    succeeded(&output);
    let pulled: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let kept = bench.path(pulled["path"].as_str().unwrap());
    run(Command::new("sync").args(["--file-system"]).arg(&kept));
    let output = bench.run(&["images", "verify"]);
    succeeded(&output);

    // The disk itself loses a bit.
    let sector = &image[1 << 20..(1 << 20) + 512];
    let at = fs::read(&disk).unwrap().chunks(512).position(|found| found == sector).unwrap();
    let file = File::options().write(true).open(&disk).unwrap();
    file.write_all_at(&[sector[0] ^ 1], at as u64 * 512).unwrap();
    file.sync_all().unwrap();
    assert!(fs::read(&kept).unwrap() == image, "the system still has it in memory");
    let output = bench.run(&["images", "verify"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(4), "{text}");
}
