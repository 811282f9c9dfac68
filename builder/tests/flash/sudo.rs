//! The real program as `sudo` starts it: as root, with root's home folder, in a folder of somebody else's.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use builder::digest;
use tempfile::TempDir;

use crate::bench::{Bench, Loop, succeeded};
use crate::fixture::{read_boot_file, run};

const ADAS_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f ada@laptop";
const ROOTS_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti root@laptop";

/// What is in the folder of a user, whose home is in there, too; and root's home.
struct Laptop {
    bench: Bench,
    root: TempDir,
}

impl Laptop {
    fn new() -> Self {
        let laptop = Self { bench: Bench::new(0), root: tempfile::tempdir().unwrap() };
        let (bench, home) = (&laptop.bench, laptop.bench.path("home"));
        for (home, key) in [(home.as_path(), ADAS_KEY), (laptop.root.path(), ROOTS_KEY)] {
            fs::create_dir_all(home.join(".ssh")).unwrap();
            fs::write(home.join(".ssh/id_ed25519.pub"), format!("{key}\n")).unwrap();
        }
        let users = format!("root:x:0:0::/root:/bin/sh\nada:x:1234:1235::{}:/bin/sh\n", home.display());
        fs::write(bench.path("passwd"), users).unwrap();
        // An image that has to be unpacked, and a file that `init` writes.
        run(Command::new("xz").args(["-0", "--keep"]).arg(bench.path("pios.img")));
        fs::remove_file(bench.path("cluster.yaml")).unwrap();
        // Where this one lies, the user may not get to.
        fs::copy(env!("CARGO_BIN_EXE_builder"), bench.path("builder")).unwrap();
        run(Command::new("chown").args(["--recursive", "1234:1235"]).arg(bench.path(".")));
        laptop
    }

    /// What ada types after `sudo builder`. Nobody else on this machine sees her in the user database.
    fn sudo(&self, words: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "sh",
            "-ec",
            "mount --bind passwd /etc/passwd && exec \"$@\"",
            "sh",
            "./builder",
        ]);
        command.args(words).current_dir(self.bench.path(".")).env_clear();
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", self.root.path());
        command.env("SUDO_UID", "1234").env("SUDO_GID", "1235").env("SUDO_USER", "ada");
        command
    }

    /// What she types after `builder`.
    fn builder(&self, words: &[&str]) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=1234", "--regid=1235", "--clear-groups", "./builder"]).args(words);
        command.current_dir(self.bench.path(".")).env_clear();
        command.env("PATH", "/usr/bin:/bin").env("HOME", self.bench.path("home"));
        command
    }

    fn flash(&self, reader: &Loop) {
        let named = reader.named();
        let words = ["flash", "--yes", "--firstboot", "firstboot-aarch64", "red00", "--device", &named];
        succeeded(&self.sudo(&words).output().unwrap());
    }

    fn assert_all_is_hers(&self) {
        let listed = run(Command::new("find").arg(self.bench.path(".")));
        for path in String::from_utf8(listed).unwrap().lines() {
            let made = fs::symlink_metadata(path).unwrap();
            assert_eq!((made.uid(), made.gid()), (1234, 1235), "{path}");
        }
        let roots: Vec<_> =
            fs::read_dir(&self.root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(roots, [".ssh"], "something was put into root's home");
    }
}

/// Serves a file at an address: whoever asks first gets no answer, the next one does. Tells when somebody has asked.
fn serve(body: Vec<u8>) -> (String, Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/os.img.xz", listener.local_addr().unwrap());
    let (tell, asked) = channel();
    let next = move || {
        let stream = listener.accept().unwrap().0;
        assert!(BufReader::new(&stream).lines().any(|line| line.unwrap().is_empty()));
        tell.send(()).unwrap();
        stream
    };
    std::thread::spawn(move || {
        let _unanswered: TcpStream = next();
        let mut stream = next();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body)).unwrap();
    });
    (url, asked)
}

#[test]
fn sudo_puts_the_user_s_key_on_the_card_and_leaves_everything_to_the_user() {
    let laptop = Laptop::new();
    let reader = laptop.bench.reader("card", laptop.bench.image_mib() + 8);
    run(Command::new("chown").arg("1234:1235").arg(&reader.file));
    succeeded(&laptop.sudo(&["init"]).output().unwrap());
    let file = laptop.bench.path("cluster.yaml");
    let starter = fs::read_to_string(&file).unwrap();
    assert!(starter.contains("authorized_keys: [~/.ssh/id_ed25519.pub]"), "{starter}");
    fs::write(&file, starter.replace("\nimage: raspios-lite-arm64\n", "\nimage: ~/../pios.img.xz\n"))
        .unwrap();
    laptop.flash(&reader);
    let keys = String::from_utf8(read_boot_file(&reader.file, "swarm/authorized_keys")).unwrap();
    assert_eq!(keys.trim(), ADAS_KEY);
    let cache = laptop.bench.path("home/.cache/builder");
    assert!(cache.join("lock").is_file() && cache.join("cards").is_dir());
    assert!(laptop.bench.path("red.secrets/nodes").is_dir());
    laptop.assert_all_is_hers();
    // The other commands that open a device.
    let device = reader.device.to_str().unwrap();
    let agent = ["--firstboot", "firstboot-aarch64"];
    let verify = [&["verify", "red00", "--device", device], &agent[..]].concat();
    for words in [&verify[..], &["why", "red00", "--card", device], &["devices", "--all"]] {
        let output = laptop.sudo(words).output().unwrap();
        succeeded(&output);
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains("red00"), "{words:?}: {said}");
    }
    laptop.assert_all_is_hers();
    // And so the next command does without, and does not unpack again.
    let plan = ["plan", "--firstboot", "firstboot-aarch64", "red00"];
    let output = laptop.builder(&plan).output().unwrap();
    succeeded(&output);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!said.contains("unpack"), "{said}");
    assert!(said.ends_with("next: sudo builder flash red00\n"), "{said}");
    assert_eq!(fs::read_dir(cache.join("images")).unwrap().count(), 2, "one image and its record");
}

/// The lines of a thread's `status` that tell whose rights it has.
fn rights(status: &Path) -> Vec<String> {
    let names = ["Uid:", "Gid:", "Groups:", "CapEff:"];
    let text = fs::read_to_string(status).unwrap();
    let lines = text.lines().filter(|line| names.iter().any(|name| line.starts_with(name)));
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn under_sudo_every_thread_has_the_users_rights() {
    let laptop = Laptop::new();
    let (url, asked) = serve(Vec::new());
    succeeded(&laptop.sudo(&["init"]).output().unwrap());
    let file = laptop.bench.path("cluster.yaml");
    let image = format!("\nimage: {url}\nimage_sha256: {}\n", "0".repeat(64));
    let text = fs::read_to_string(&file).unwrap().replace("\nimage: raspios-lite-arm64\n", &image);
    fs::write(&file, text).unwrap();
    succeeded(&laptop.sudo(&["images", "trust", &url]).output().unwrap());
    let mut child = laptop.sudo(&["plan"]).stderr(Stdio::null()).spawn().unwrap();
    let began = asked.recv_timeout(Duration::from_secs(60));
    // Every program before it was replaced by it, so the number is its own.
    let threads = fs::read_dir(format!("/proc/{}/task", child.id())).unwrap();
    let rights: Vec<_> = threads.map(|thread| rights(&thread.unwrap().path().join("status"))).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    began.unwrap();
    // The saved number alone is root's: with it the device is opened.
    let hers =
        ["Uid: 1234 1234 0 1234", "Gid: 1235 1235 1235 1235", "Groups: 1235", "CapEff: 0000000000000000"];
    assert!(rights.len() > 1, "there is a thread for signals: {rights:?}");
    assert!(rights.iter().all(|thread| *thread == hers), "{rights:?}");
}

#[test]
fn under_sudo_nothing_is_read_that_the_user_may_not_read() {
    let laptop = Laptop::new();
    succeeded(&laptop.sudo(&["init"]).output().unwrap());
    let file = laptop.bench.path("cluster.yaml");
    let secret = laptop.root.path().join(".ssh/id_ed25519.pub");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("~/.ssh/id_ed25519.pub", secret.to_str().unwrap())).unwrap();
    let output = laptop.sudo(&["check"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("Permission denied"), "{said}");
}

#[test]
fn under_sudo_a_folder_of_roots_is_neither_used_nor_given_away() {
    let laptop = Laptop::new();
    fs::create_dir(laptop.bench.path("roots")).unwrap();
    let cache = laptop.bench.path("roots/cache");
    let output = laptop.sudo(&["--cache", cache.to_str().unwrap(), "images", "list"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("Permission denied"), "{said}");
    let hint = "hint: under sudo, builder acts as ada; to act as root: sudo env -u SUDO_UID builder --cache ";
    assert!(said.contains(hint), "{said}");
    assert_eq!(fs::read_dir(laptop.bench.path("roots")).unwrap().count(), 0);
    assert_eq!(fs::metadata(laptop.bench.path("roots")).unwrap().uid(), 0);
}

/// After `su` or `doas` nothing says who the user is. To give the folder to root would lock its owner out.
#[test]
fn in_a_shell_of_roots_the_owner_of_the_secrets_is_named() {
    let laptop = Laptop::new();
    succeeded(&laptop.builder(&["init"]).output().unwrap());
    let file = laptop.bench.path("cluster.yaml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("\nimage: raspios-lite-arm64\n", "\nimage: pios.img\n")).unwrap();
    succeeded(&laptop.builder(&["build", "--firstboot", "firstboot-aarch64", "red00"]).output().unwrap());
    let mut root = laptop.sudo(&["status"]);
    root.env_remove("SUDO_UID").env_remove("SUDO_GID").env_remove("SUDO_USER");
    let output = root.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains(": sudo -u ada builder status\n"), "{said}");
    assert!(!said.contains("chown"), "{said}");
    laptop.assert_all_is_hers();
}

#[test]
fn under_sudo_manuals_can_be_written_for_everybody() {
    let laptop = Laptop::new();
    let folder = laptop.root.path().join("man1");
    succeeded(&laptop.sudo(&["man", folder.to_str().unwrap()]).output().unwrap());
    assert_eq!(fs::metadata(folder.join("builder.1")).unwrap().uid(), 0);
}

#[test]
fn a_host_confirmed_under_sudo_is_kept_for_the_user() {
    let laptop = Laptop::new();
    succeeded(&laptop.sudo(&["images", "trust", "example.org"]).output().unwrap());
    let file = laptop.bench.path("home/.config/builder/trusted-hosts.json");
    assert_eq!(fs::metadata(file).unwrap().mode() & 0o777, 0o600);
    laptop.assert_all_is_hers();
    let listed = laptop.builder(&["images", "trust"]).output().unwrap();
    succeeded(&listed);
    assert_eq!(listed.stdout, b"example.org\n");
}

#[test]
fn a_download_that_ended_under_sudo_goes_on_without() {
    let laptop = Laptop::new();
    let mut image = vec![0; 1 << 20];
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    fs::write(laptop.bench.path("other.img"), image).unwrap();
    let body = run(Command::new("xz").arg("--stdout").arg(laptop.bench.path("other.img")));
    fs::remove_file(laptop.bench.path("other.img")).unwrap();
    let sum = digest::of_bytes(&body).to_string();
    let (url, asked) = serve(body);
    let pull = ["images", "pull", &url, "--sha256", &sum];
    let mut child = laptop.sudo(&pull).stderr(Stdio::null()).spawn().unwrap();
    let began = asked.recv_timeout(Duration::from_secs(60));
    child.kill().unwrap();
    child.wait().unwrap();
    began.unwrap();
    let cache = laptop.bench.path("home/.cache/builder");
    assert_eq!(fs::read_dir(cache.join("downloads")).unwrap().count(), 1, "it had not begun");
    laptop.assert_all_is_hers();
    succeeded(&laptop.builder(&pull).output().unwrap());
}
