//! Packed images of every kind, made by the programs people use, whole and broken in every way that happens.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot set up has to stop")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use builder::cache::{Cache, Finding};
use builder::digest;
use builder::error::{Failure, Kind};
use builder::fetch::{self, Base};
use builder::report::Progress;
use builder::trusted_hosts::TrustedHosts;
use cluster::spec::ImageSource;
use tempfile::TempDir;

/// A folder with an image, and a cache.
struct Bench {
    folder: TempDir,
    image: Vec<u8>,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { folder: tempfile::tempdir().unwrap(), image: sample() };
        fs::write(bench.path("os.img"), &bench.image).unwrap();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a shell command in the folder.
    fn sh(&self, script: &str) {
        let output =
            Command::new("sh").args(["-ec", script]).current_dir(self.folder.path()).output().unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn cache(&self) -> Cache {
        Cache::open(Some(&self.path("cache"))).unwrap()
    }

    fn base(&self, location: &str, sha256: Option<&str>) -> Result<Base, Failure> {
        let source = ImageSource { location: location.to_owned(), sha256: sha256.map(str::to_owned) };
        fetch::base(
            &source,
            self.folder.path(),
            &self.cache(),
            &TrustedHosts::default(),
            &Progress::new(true, false),
        )
    }

    fn accepts(&self, name: &str) {
        let base = self.base(name, None).unwrap_or_else(|failure| panic!("{name}: {}", failure.render()));
        assert!(fs::read(&base.path).unwrap() == self.image, "{name}: other bytes than the image's");
        assert_eq!(base.size, self.image.len() as u64);
    }

    /// The refusal, after a look at what it left.
    fn refuses(&self, name: &str, sha256: Option<&str>) -> String {
        self.refuses_as(Kind::Failed, name, sha256)
    }

    fn refuses_as(&self, kind: Kind, name: &str, sha256: Option<&str>) -> String {
        let Err(failure) = self.base(name, sha256) else { panic!("{name} was accepted") };
        assert_eq!(failure.kind(), kind, "{name}");
        drop(self.cache());
        let left: Vec<_> = fs::read_dir(self.path("cache/images")).unwrap().collect();
        assert!(left.is_empty(), "{name} left {left:?}");
        failure.render()
    }
}

/// A small disk: a partition table, bytes that do not pack, a hole, and a last sector of data.
fn sample() -> Vec<u8> {
    let mut state = 1u32;
    let mut image = vec![0; 3 * 1024 * 1024 + 512];
    let end = image.len();
    for range in [0..600_000, 2_000_000..2_300_000, end - 512..end] {
        for byte in &mut image[range] {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = state.to_be_bytes()[0];
        }
    }
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    image
}

/// One archive of each kind, by the names the tests use.
const PACK: [(&str, &str); 5] = [
    ("os.img.xz", "xz -k --block-size=256KiB -T2 os.img"),
    ("one.img.xz", "xz -c -T1 os.img > one.img.xz"),
    ("os.img.gz", "gzip -k os.img"),
    ("os.img.zst", "zstd -q -k os.img"),
    ("os.zip", "echo read me > readme.txt; zip -q os.zip os.img readme.txt"),
];

#[test]
fn unpacks_every_kind() {
    let bench = Bench::new();
    bench.accepts("os.img");
    for (name, script) in PACK {
        bench.sh(script);
        bench.accepts(name);
    }
}

#[test]
fn unpacks_several_streams_members_and_frames() {
    let bench = Bench::new();
    bench.sh("split -b 1000000 os.img part.");
    bench.sh("for part in part.*; do xz -c --block-size=128KiB $part; head -c 8 /dev/zero; done > os.img.xz");
    bench.sh("for part in part.*; do gzip -c $part; done > os.img.gz");
    bench.sh("for part in part.*; do zstd -q -c $part; done > os.img.zst");
    for name in ["os.img.xz", "os.img.gz", "os.img.zst"] {
        bench.accepts(name);
    }
}

#[test]
fn the_name_does_not_matter() {
    let bench = Bench::new();
    bench.sh("xz -c os.img > os.img.gz; gzip -c os.img > other.img");
    bench.accepts("os.img.gz");
    bench.accepts("other.img");
}

#[test]
fn an_image_that_is_not_packed_is_used_where_it_is() {
    let bench = Bench::new();
    let base = bench.base("os.img", None).unwrap();
    assert_eq!(base.path, bench.path("os.img").canonicalize().unwrap());
    assert_eq!(fs::read_dir(bench.path("cache/images")).unwrap().count(), 0);
}

#[test]
fn refuses_what_is_cut_off_wherever() {
    let bench = Bench::new();
    for (name, script) in PACK {
        bench.sh(script);
        let whole = fs::read(bench.path(name)).unwrap();
        let length = whole.len();
        for keep in [13, 1000, length / 3, length / 2, length - 40, length - 9, length - 1] {
            fs::write(bench.path("cut"), &whole[..keep]).unwrap();
            let text = bench.refuses("cut", None);
            assert!(text.contains("cut off"), "{name} cut to {keep} of {length}: {text}");
        }
    }
}

#[test]
fn refuses_a_flipped_byte() {
    let bench = Bench::new();
    for (name, script) in PACK {
        bench.sh(script);
        let whole = fs::read(bench.path(name)).unwrap();
        for at in [whole.len() / 4, whole.len() / 2] {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x40;
            fs::write(bench.path("flipped"), &bytes).unwrap();
            let text = bench.refuses("flipped", None);
            assert!(text.contains("damaged") || text.contains("cut off"), "{name} at {at}: {text}");
        }
    }
}

#[test]
fn refuses_anything_after_the_end() {
    let bench = Bench::new();
    for (name, script) in PACK {
        bench.sh(script);
        let whole = fs::read(bench.path(name)).unwrap();
        for tail in [&b"x"[..], b"garbage that is longer than any header of any format", &[0; 3]] {
            fs::write(bench.path("tail"), [&whole[..], tail].concat()).unwrap();
            let text = bench.refuses("tail", None);
            assert!(text.contains("after the end"), "{name} and {} bytes: {text}", tail.len());
        }
    }
}

#[test]
fn refuses_a_zip_without_exactly_one_image() {
    let bench = Bench::new();
    bench.sh("cp os.img two.img; zip -q two.zip os.img two.img; echo x > x.txt; zip -q none.zip x.txt");
    assert!(bench.refuses("none.zip", None).contains("holds no .img file"));
    let text = bench.refuses("two.zip", None);
    assert!(text.contains("os.img") && text.contains("two.img"), "{text}");
}

#[test]
fn refuses_what_is_no_image() {
    let bench = Bench::new();
    bench.sh("echo '<!DOCTYPE html><title>Not found</title>' > os.img.xz; : > empty.img; mkdir folder.img");
    assert!(bench.refuses("os.img.xz", None).contains("neither a disk image nor"));
    assert!(bench.refuses("empty.img", None).contains("neither a disk image nor"));
    let usage = |name| bench.refuses_as(Kind::Usage, name, None);
    assert!(usage("folder.img").contains("it is a folder, not a file"));
    bench.sh("mkfifo pipe.img");
    assert!(usage("pipe.img").contains("it is a named pipe, not a file"), "and nobody waits for a writer");
}

#[test]
fn fills_the_last_sector_with_zeros() {
    let bench = Bench::new();
    bench.sh("head -c 1000000 os.img > odd.img; xz -k odd.img; gzip -k odd.img; zip -q odd.zip odd.img");
    let odd = &bench.image[..1_000_000];
    let padded = [odd, &[0; 1_000_448 - 1_000_000]].concat();
    let promised = digest::of_bytes(odd).to_string();
    for name in ["odd.img.xz", "odd.img.gz", "odd.zip", "odd.img"] {
        for sha256 in [Some(promised.as_str()), None] {
            let base = bench.base(name, sha256).unwrap_or_else(|failure| panic!("{}", failure.render()));
            assert_eq!(base.size, 1_000_448, "{name}");
            assert!(fs::read(&base.path).unwrap() == padded, "{name}");
        }
    }
    assert!(fs::read(bench.path("odd.img")).unwrap() == odd, "the user's own file is only read");
    // What the cache notes of it is what the file in the cache has.
    let kept = bench.cache().inventory().unwrap();
    let noted: Vec<_> = kept.iter().filter(|kept| kept.image.content.is_some()).collect();
    assert!(!noted.is_empty());
    for kept in noted {
        assert_eq!(kept.image.content, Some(digest::of_bytes(&padded)));
        assert_eq!(bench.cache().inspect(kept, None, |_| ()).unwrap(), Finding::Whole);
    }
}

/// The command in a hint.
fn command(text: &str) -> &str {
    let hint = text.split_once("hint: ").unwrap().1;
    hint.split('`').nth(1).unwrap_or_else(|| panic!("no command in {text}"))
}

#[test]
fn names_what_it_does_not_unpack_and_the_command_that_does() {
    let bench = Bench::new();
    bench.sh("mkdir out; echo read me > readme.txt");
    for (name, script, reason) in [
        ("os.img.bz2", "bzip2 -k os.img", "it is packed by bzip2"),
        ("os.tar", "tar -cf os.tar os.img", "it is a tar archive"),
        ("os.tar.gz", "tar -czf os.tar.gz os.img", "it is a tar archive"),
        ("os.tar.xz", "tar -cJf os.tar.xz os.img", "it is a tar archive"),
        ("os.tar.zst", "tar -cf - os.img | zstd -q > os.tar.zst", "it is a tar archive"),
        ("bz.zip", "zip -q -Z bzip2 bz.zip os.img", "packed by bzip2 (method 12)"),
        // The image is not the first file in it.
        ("late.zip", "zip -q -Z bzip2 late.zip readme.txt os.img", "packed by bzip2 (method 12)"),
        ("long.img.zst", "zstd -q --long=28 < os.img > long.img.zst", "larger than 128 MiB"),
        ("large.img.xz", "xz -c --format=xz os.img > large.img.xz", "more than 1024 MiB of memory"),
    ] {
        bench.sh(script);
        if name == "large.img.xz" {
            fs::write(bench.path(name), with_dictionary(&fs::read(bench.path(name)).unwrap(), 37)).unwrap();
        }
        let text = bench.refuses(name, None);
        assert!(text.contains(reason) && text.contains("which builder does not unpack"), "{name}: {text}");
        assert!(!text.contains("damaged") && !text.contains("download"), "{name}: {text}");
        bench.sh(&format!("rm -rf out; mkdir out; cd out; {}", command(&text)));
        let unpacked: Vec<_> = fs::read_dir(bench.path("out")).unwrap().map(|entry| entry.unwrap()).collect();
        let is_image = |path: PathBuf| fs::read(path).unwrap() == bench.image;
        assert!(unpacked.iter().any(|entry| is_image(entry.path())), "{name}: {text} gave {unpacked:?}");
    }
}

/// An xz file whose first block says that it needs another dictionary: by the LZMA2 filter's property (xz-file-format.txt
/// 5.3.1) 37 is 1.5 GiB. The block header (3.1) ends with its CRC-32.
fn with_dictionary(xz: &[u8], property: u8) -> Vec<u8> {
    const BLOCK: usize = 12;
    let mut xz = xz.to_vec();
    let length = (usize::from(xz[BLOCK]) + 1) * 4;
    let header = &mut xz[BLOCK..BLOCK + length];
    let filter = header.windows(2).position(|pair| pair == [0x21, 1]).unwrap();
    header[filter + 2] = property;
    let sum = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&header[..length - 4]);
    header[length - 4..].copy_from_slice(&sum.to_le_bytes());
    xz
}

#[test]
fn what_needs_a_person_or_another_program_is_named_as_well() {
    let bench = Bench::new();
    bench.sh("zip -q -P secret locked.zip os.img; zip -q os.zip os.img; xz -k os.img; gzip os.img.xz");
    let text = bench.refuses("locked.zip", None);
    assert!(text.contains("is encrypted") && command(&text).starts_with("unzip "), "{text}");
    // What Windows makes of files above 2 GiB (raspberry_ninja#24): method 9 in both places that say it.
    let mut zip = fs::read(bench.path("os.zip")).unwrap();
    let directory = zip.windows(4).position(|bytes| bytes == b"PK\x01\x02").unwrap();
    (zip[8], zip[directory + 10]) = (9, 9);
    fs::write(bench.path("windows.zip"), zip).unwrap();
    let text = bench.refuses("windows.zip", None);
    assert!(text.contains("Deflate64 (method 9)") && command(&text).starts_with("unzip "), "{text}");
    for (first, reason, program) in [
        (&b"7z\xbc\xaf\x27\x1c\0\x04"[..], "a 7z archive", "7z x "),
        (b"Rar!\x1a\x07\x01\0", "a RAR archive", "unrar x "),
        (b"\x04\x22\x4d\x18", "packed by lz4", "lz4 -dc "),
        (b"QFI\xfb\0\0\0\x03", "a virtual machine (qcow2)", "qemu-img convert "),
        (b"\x3a\xff\x26\xed\x01\0\0\0", "Android sparse image", "simg2img "),
    ] {
        fs::write(bench.path("other"), [first, &[0; 4096]].concat()).unwrap();
        let text = bench.refuses("other", None);
        assert!(text.contains(reason) && command(&text).starts_with(program), "{text}");
    }
    let text = bench.refuses("os.img.xz.gz", None);
    assert!(text.contains("packed twice: gzip holds xz"), "{text}");
    bench.sh(command(&text));
    bench.accepts("os.img.xz");
}

#[test]
fn is_told_by_the_first_bytes_of_a_long_archive() {
    let bench = Bench::new();
    for (name, script) in [
        ("tar.xz", "tar -cf - os.img | xz -0 > tar.xz"),
        ("tar.gz", "tar -czf tar.gz os.img"),
        ("tar.zst", "tar -cf - os.img | zstd -q > tar.zst"),
        ("bz.zip", "zip -q -Z bzip2 bz.zip os.img"),
        ("xz.gz", "xz -c os.img | gzip > xz.gz"),
    ] {
        bench.sh(script);
        // If more of it was looked at, it would be cut off.
        bench.sh(&format!("head -c 70000 {name} > cut"));
        let text = bench.refuses("cut", None);
        assert!(text.contains("which builder does not unpack"), "{name}: {text}");
    }
    bench.sh("head -c 200000 /dev/zero | xz > zeros.xz");
    assert!(bench.refuses("zeros.xz", None).contains("is not a disk image: it has no partition table"));
}

#[test]
fn an_image_changed_in_place_is_noticed_whatever_its_time() {
    let mut bench = Bench::new();
    let promised = digest::of_bytes(&bench.image).to_string();
    assert!(bench.base("os.img", Some(&promised)).is_ok());
    // The kernel's clock for the time of change moves in steps of some milliseconds.
    bench.sh(
        "touch -r os.img before; was=$(stat -c %z os.img); while [ \"$(stat -c %z os.img)\" = \"$was\" ]; do printf x | \
         dd of=os.img seek=1000 bs=1 conv=notrunc status=none; touch -r before os.img; done",
    );
    bench.image[1000] = b'x';
    bench.refuses_as(Kind::VerificationFailed, "os.img", Some(&promised));
    bench.accepts("os.img");
}

#[test]
fn a_digest_may_be_of_the_file_or_of_the_image_in_it() {
    let bench = Bench::new();
    bench.sh(PACK[0].1);
    let file = digest::of_bytes(&fs::read(bench.path("os.img.xz")).unwrap()).to_string();
    let image = digest::of_bytes(&bench.image).to_string();
    for sha256 in [&file, &image] {
        assert_eq!(bench.base("os.img.xz", Some(sha256)).unwrap().digest, **sha256);
    }
    let url = format!("file://{}", bench.path("os.img.xz").canonicalize().unwrap().display());
    assert!(bench.base(&url, Some(&file)).is_ok());
}

#[test]
fn refuses_a_wrong_digest() {
    let bench = Bench::new();
    let wrong = digest::of_bytes(b"something else").to_string();
    for (name, script) in PACK {
        bench.sh(script);
        let text = bench.refuses_as(Kind::VerificationFailed, name, Some(&wrong));
        assert!(
            text.contains(&wrong) && text.contains("is not the one its sha256 promises"),
            "{name}: {text}"
        );
    }
    let text = bench.refuses_as(Kind::VerificationFailed, "os.img", Some(&wrong));
    assert!(text.contains("is not the one its sha256 promises"));
}

#[test]
fn unpacks_once_and_again_when_the_cache_was_damaged() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let bench = Bench::new();
    bench.sh(PACK[0].1);
    let inode = |base: &Base| fs::metadata(&base.path).unwrap().ino();
    let first = bench.base("os.img.xz", None).unwrap();
    let second = bench.base("os.img.xz", None).unwrap();
    assert_eq!(inode(&first), inode(&second));
    fs::set_permissions(&first.path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::File::options().write(true).open(&first.path).unwrap().set_len(512).unwrap();
    bench.accepts("os.img.xz");
}

#[test]
fn the_cached_image_is_sparse() {
    use std::os::unix::fs::MetadataExt;
    let bench = Bench::new();
    bench.sh(PACK[0].1);
    let base = bench.base("os.img.xz", None).unwrap();
    assert!(fs::metadata(&base.path).unwrap().blocks() * 512 < 1_500_000);
}

#[test]
fn another_file_by_the_same_name_is_noticed() {
    let mut bench = Bench::new();
    bench.sh(PACK[0].1);
    bench.accepts("os.img.xz");
    bench.image[1000] ^= 1;
    fs::write(bench.path("os.img"), &bench.image).unwrap();
    bench.sh("rm os.img.xz; xz os.img");
    bench.accepts("os.img.xz");
}

#[test]
fn a_dead_runs_leftovers_are_removed_and_not_used() {
    let bench = Bench::new();
    bench.sh(PACK[0].1);
    drop(bench.cache());
    let left = bench.path("cache/images/.partial-dead");
    fs::write(&left, "half").unwrap();
    bench.accepts("os.img.xz");
    assert!(!Path::new(&left).exists());
}
