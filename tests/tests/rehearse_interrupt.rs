//! Ctrl-C in the middle of a rehearsal of real arm64 cards: nothing runs on, and the cards are what they were.
#![expect(clippy::unwrap_used, reason = "these are tests: a panic is how they fail")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tests::product::Product;
use tests::wait;

/// What a kernel says first.
const BOOTED: &str = " Linux version ";
/// For a kernel on a busy machine without virtualisation.
const LIMIT: Duration = Duration::from_secs(300);

/// Ends with the test, whatever becomes of it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

fn builder(product: &Product, folder: &Path, line: &str) -> Command {
    let mut command = Command::new(&product.builder);
    command.current_dir(folder).env("HOME", folder).env("XDG_CACHE_HOME", &product.cache);
    command.args(line.split_whitespace()).stdout(Stdio::null());
    command
}

/// Programs that run in the folder or below it.
fn running(folder: &Path) -> Vec<PathBuf> {
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let inside =
        |process: &PathBuf| fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder));
    processes.filter(inside).collect()
}

#[test]
fn ctrl_c_leaves_no_process_and_no_altered_card() {
    let product = Product::from_env().unwrap();
    let image = images::bootable(images::Release::Trixie, product.image.parent().unwrap()).unwrap();
    let image = image.display();
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().canonicalize().unwrap();
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f ada@laptop";
    let text = format!(
        "version: 1\ncluster: red\nimage: {image}\nnodes: red[00-01]\nuser: {{name: pi, authorized_keys: ['{key}']}}\n"
    );
    fs::write(folder.join("cluster.yaml"), text).unwrap();
    assert!(builder(&product, &folder, "build").status().unwrap().success());
    let cards = ["red00", "red01"].map(|node| folder.join(format!("cards/{node}.img")));
    let before = cards.each_ref().map(|card| sha256(card));

    let mut rehearsal = Running(builder(&product, &folder, "rehearse").spawn().unwrap());
    let booted = |node: &str| {
        let log = fs::read_to_string(folder.join(format!("red.rehearsal/{node}.log"))).unwrap_or_default();
        log.contains(BOOTED)
    };
    wait::until("both kernels", LIMIT, || Ok((booted("red00") && booted("red01")).then_some(()))).unwrap();
    assert_eq!(running(&folder).len(), 7, "builder, two machines, their network, and a guard for each");

    kill_process(Pid::from_child(&rehearsal.0), Signal::INT).unwrap();
    assert_eq!(rehearsal.0.wait().unwrap().code(), Some(6));
    assert!(running(&folder).is_empty(), "{:?}", running(&folder));
    assert_eq!(cards.each_ref().map(|card| sha256(card)), before);
    let left = fs::read_dir(folder.join("red.rehearsal")).unwrap().flatten();
    let left: Vec<_> = left.map(|entry| entry.path()).filter(|path| !is_log(path)).collect();
    assert!(left.is_empty(), "{left:?}");
}

fn is_log(path: &Path) -> bool {
    path.extension().is_none_or(|extension| extension == "log")
}

fn sha256(path: &Path) -> Vec<u8> {
    let output = Command::new("sha256sum").arg("-b").arg(path).output().unwrap();
    assert!(output.status.success());
    output.stdout
}
