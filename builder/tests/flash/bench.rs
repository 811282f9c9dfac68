//! A cluster whose cards are written to loop devices by the real program. Needs root.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::fixture::{AARCH64, Recipe, elf, run};

const CLUSTER: &str = "\
version: 1
cluster: red
image: pios.img
nodes: red[00-03]
user:
  name: ada
  authorized_keys: ['ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f ada@laptop']
";

/// A folder with a cluster file, an image and an agent, where builder is run.
pub(crate) struct Bench(TempDir);

impl Bench {
    /// With so many MiB of data behind the partitions, for a card that takes its time.
    pub(crate) fn new(more: u64) -> Self {
        let bench = Self(tempfile::tempdir().unwrap());
        let image = Recipe::trixie().make(bench.0.path(), "pios.img");
        let file = File::options().write(true).open(image).unwrap();
        let end = file.metadata().unwrap().len();
        let mut state = 1u64;
        for mib in 0..more {
            let noise: Vec<u8> = (0..1 << 17)
                .flat_map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    state.to_be_bytes()
                })
                .collect();
            file.write_all_at(&noise, end + (mib << 20)).unwrap();
        }
        fs::write(bench.path("cluster.yaml"), CLUSTER).unwrap();
        fs::write(bench.path("firstboot-aarch64"), elf::tiny(AARCH64, false)).unwrap();
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_builder"));
        command.current_dir(self.0.path()).env_clear().env("HOME", self.0.path());
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").args(["--cache", "cache"]).args(words);
        command
    }

    pub(crate) fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Runs `flash` with an agent and without questions.
    pub(crate) fn flash(&self, words: &[&str]) -> Output {
        let mut all = vec!["flash", "--yes", "--firstboot", "firstboot-aarch64"];
        all.extend(words);
        self.run(&all)
    }

    /// What a refused command says; it prints no data.
    pub(crate) fn refusal(&self, words: &[&str]) -> (i32, String) {
        let output = self.flash(words);
        assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    /// The same node's card as a file, made by `build`.
    pub(crate) fn built(&self, node: &str) -> PathBuf {
        let folder = self.path("cards");
        let words = ["build", "--force", "--firstboot", "firstboot-aarch64", "-o", "cards", node];
        succeeded(&self.run(&words));
        folder.join(format!("{node}.img"))
    }

    /// A loop device of so many MiB, full of old data.
    pub(crate) fn reader(&self, name: &str, mib: u64) -> Loop {
        let path = self.path(name);
        let file = File::create(&path).unwrap();
        let old = vec![0xa5; 1 << 20];
        (0..mib).for_each(|at| file.write_all_at(&old, at << 20).unwrap());
        Loop::attach(&path)
    }

    pub(crate) fn image_mib(&self) -> u64 {
        fs::metadata(self.path("pios.img")).unwrap().len().div_ceil(1 << 20)
    }
}

pub(crate) fn succeeded(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A loop device. Detached when dropped.
pub(crate) struct Loop {
    pub(crate) device: PathBuf,
    pub(crate) file: PathBuf,
}

impl Loop {
    pub(crate) fn attach(file: &Path) -> Self {
        let output = run(Command::new("losetup").args(["--find", "--show", "--partscan"]).arg(file));
        let device = String::from_utf8(output).unwrap().trim().into();
        let reader = Self { device, file: file.to_owned() };
        reader.name_partitions();
        reader
    }

    /// A kernel may know no partition tables, and in a container nobody makes the partitions' names.
    fn name_partitions(&self) {
        // It fails where there are none, and where the kernel found them itself.
        let _known = Command::new("partx").arg("--add").arg(&self.device).output();
        let name = self.device.file_name().unwrap().to_str().unwrap();
        for number in 1..=2 {
            let numbers = format!("/sys/block/{name}/{name}p{number}/dev");
            if let Ok(numbers) = fs::read_to_string(numbers)
                && !self.partition(number).exists()
            {
                let (major, minor) = numbers.trim().split_once(':').unwrap();
                run(Command::new("mknod").arg(self.partition(number)).args(["b", major, minor]));
            }
        }
    }

    /// How a fixed disk is named: twice.
    pub(crate) fn named(&self) -> String {
        format!("{}={}", self.device.display(), self.file.display())
    }

    pub(crate) fn content(&self) -> Vec<u8> {
        fs::read(&self.file).unwrap()
    }

    /// The partition of that number.
    pub(crate) fn partition(&self, number: u32) -> PathBuf {
        PathBuf::from(format!("{}p{number}", self.device.display()))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        // Before the device is another test's: that has partitions of the same names.
        for number in 1..=2 {
            // Most have none.
            let _gone = fs::remove_file(self.partition(number));
        }
        // A test that failed may have left a mount; the device then goes with it.
        let _busy = Command::new("losetup").arg("--detach").arg(&self.device).status();
    }
}

/// Something to undo when the test is over, whatever becomes of it.
pub(crate) struct Undo(Vec<String>);

impl Undo {
    pub(crate) fn with(words: &[&str]) -> Self {
        Self(words.iter().map(ToString::to_string).collect())
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        let (program, words) = self.0.split_first().unwrap();
        let _done = Command::new(program).args(words).status();
    }
}
