//! A folder with an sshd, its keys, and an ssh configuration that leads there. As root it gets `/run/sshd` in a mount
//! namespace of its own, so that nothing outside the folder changes; as another user it needs none.

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

const SSHD: &str = "/usr/sbin/sshd";
/// As root, sshd insists on this folder.
const AS_ROOT: &str = "mount -t tmpfs tmpfs /run && mkdir -m 0755 /run/sshd && exec \"$0\" \"$@\"";
/// For anything to happen on a machine that has more to do.
const PATIENCE: Duration = Duration::from_secs(120);

/// The machine whose last number this is.
pub(crate) const fn address(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, last)
}

/// See the module.
pub(crate) struct Bench {
    folder: TempDir,
    pub(crate) port: u16,
    servers: Vec<Child>,
    /// Who we are, and so who logs in.
    pub(crate) user: String,
}

impl Drop for Bench {
    fn drop(&mut self) {
        for server in &mut self.servers {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }
}

impl Bench {
    /// Machines 127.0.0.1 to 127.0.0.`last`, whose host key is known.
    pub(crate) fn new(last: u8) -> Self {
        let mut bench = Self::without_server();
        bench.key("host");
        bench.serve("host", &(1..=last).map(address).collect::<Vec<_>>());
        let known: Vec<_> = (1..=last).map(|last| bench.known(address(last), "host")).collect();
        fs::write(bench.path("known_hosts"), known.concat()).unwrap();
        bench
    }

    /// Keys and configuration only.
    pub(crate) fn without_server() -> Self {
        assert!(
            Path::new(SSHD).exists(),
            "there is no {SSHD}. Type: sudo apt-get install --yes openssh-server, or cargo xtask test"
        );
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind((address(1), 0)).unwrap().local_addr().unwrap().port();
        let id = Command::new("id").arg("-un").output().unwrap();
        let user = String::from_utf8(id.stdout).unwrap().trim().to_owned();
        let bench = Self { folder, port, servers: Vec::new(), user };
        bench.key("id");
        fs::create_dir(bench.path("at")).unwrap();
        bench.configure("");
        bench
    }

    /// Writes the configuration, with more in front.
    pub(crate) fn configure(&self, more: &str) {
        let folder = self.folder.path().display();
        let text = format!(
            "{more}Host *\n    Port {}\n    IdentityFile {folder}/id\n    IdentitiesOnly yes\n    IdentityAgent none\n    \
             UserKnownHostsFile {folder}/known_hosts\n    GlobalKnownHostsFile /dev/null\n    ConnectTimeout 60\n",
            self.port
        );
        fs::write(self.path("conf"), text).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes a key pair.
    pub(crate) fn key(&self, name: &str) {
        let mut make = Command::new("ssh-keygen");
        make.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(self.path(name));
        assert!(make.status().unwrap().success());
    }

    /// A line for `known_hosts`.
    pub(crate) fn known(&self, address: Ipv4Addr, key: &str) -> String {
        let key = fs::read_to_string(self.path(&format!("{key}.pub"))).unwrap();
        format!("[{address}]:{} {key}", self.port)
    }

    /// Starts sshds with a host key, and waits until they listen.
    pub(crate) fn serve(&mut self, key: &str, addresses: &[Ipv4Addr]) {
        // One takes 16 addresses.
        for addresses in addresses.chunks(16) {
            self.serve_some(key, addresses, "MaxStartups 500\nLoginGraceTime 0\n");
        }
    }

    /// [`Self::serve`], where no more log in at once than OpenSSH lets in for certain by default (sshd_config(5), `MaxStartups
    /// 10:30:100`): all others are dropped, which is in the log. Returns that.
    pub(crate) fn serve_few(&mut self, key: &str, address: Ipv4Addr) -> PathBuf {
        let log = self.path(&format!("sshd-{}.log", self.servers.len()));
        self.serve_some(key, &[address], "MaxStartups 10:100:10\nLogLevel VERBOSE\n");
        log
    }

    /// [`Self::serve`] for one machine, which does the same whatever is asked of it.
    pub(crate) fn serve_command(&mut self, key: &str, address: Ipv4Addr, command: &str) {
        self.serve_some(key, &[address], &format!("MaxStartups 500\nForceCommand {command}\n"));
    }

    fn serve_some(&mut self, key: &str, addresses: &[Ipv4Addr], limits: &str) {
        let folder = self.folder.path().display();
        let listen: String =
            addresses.iter().map(|at| format!("ListenAddress {at}:{}\n", self.port)).collect();
        // The invoking user's own shell start-up files must not run on the "machines": pyenv's, for one, fails when 20 shells
        // start at the same time.
        let text = format!(
            "{listen}HostKey {folder}/{key}\nAuthorizedKeysFile {folder}/id.pub\nStrictModes no\nUsePAM no\n\
             PidFile none\nPermitRootLogin yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             SetEnv HOME={folder}\n{limits}LogLevel ERROR\n"
        );
        let name = format!("sshd-{}", self.servers.len());
        let conf = self.path(&name);
        fs::write(&conf, text).unwrap();
        let mut command = if rustix::process::geteuid().is_root() {
            let mut command = Command::new("unshare");
            command.args(["--mount", "--", "sh", "-c", AS_ROOT, SSHD]);
            command
        } else {
            Command::new(SSHD)
        };
        let log = fs::File::create(self.path(&format!("{name}.log"))).unwrap();
        command.args(["-D", "-e", "-f"]).arg(conf).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.servers.push(command.spawn().unwrap());
        for at in addresses {
            wait_until("sshd listens", || TcpStream::connect((*at, self.port)).is_ok());
        }
    }

    /// `builder exec` in the real program, with no environment but a home of its own.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = self.builder(&["exec", "-F", "conf", "--user", &self.user]);
        command.args(words);
        command
    }

    /// The real program.
    pub(crate) fn builder(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_builder"));
        command.current_dir(self.folder.path()).env_clear().env("HOME", self.folder.path());
        // Its temporary folder is in the command lines of every ssh, by which they are found.
        command.env("TMPDIR", self.folder.path()).env("PATH", "/usr/bin:/bin");
        command.args(words).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, words: &[&str]) -> Run {
        Run::new(self, &self.command(words).output().unwrap())
    }

    /// How many machines have touched a file `at/…`, and so are running the command.
    pub(crate) fn begun(&self) -> usize {
        fs::read_dir(self.path("at")).unwrap().count()
    }

    /// The ids of the `ssh`s that were started here.
    pub(crate) fn clients(&self) -> Vec<String> {
        let folder = self.folder.path().display().to_string();
        let is_ours = |id: &String| {
            let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            line.starts_with("ssh\0") && line.contains(&folder)
        };
        let ids =
            fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        ids.filter(is_ours).collect()
    }
}

/// Runs a command at a terminal, as `script` makes one (util-linux), with that typed. Returns all that is shown there.
pub(crate) fn at_terminal(bench: &Bench, command: &Command, typed: &str) -> String {
    let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
    let line: Vec<_> = words.iter().map(|word| format!("'{}'", word.to_str().unwrap())).collect();
    let mut script = Command::new("script");
    script.args(["-qec", &line.join(" "), "/dev/null"]).current_dir(bench.path("")).env_clear();
    script.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let mut script = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    script.stdin.as_mut().unwrap().write_all(typed.as_bytes()).unwrap();
    String::from_utf8_lossy(&script.wait_with_output().unwrap().stdout).into_owned()
}

/// What a run printed and how it ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    /// Lines of standard output, sorted: hosts end in any order.
    pub(crate) out: Vec<String>,
    /// Standard error; folder and port, which differ each time, are FOLDER and PORT.
    pub(crate) talk: String,
}

impl Run {
    pub(crate) fn new(bench: &Bench, output: &Output) -> Self {
        let mut out: Vec<_> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
        out.sort();
        let talk = String::from_utf8_lossy(&output.stderr).replace(&bench.port.to_string(), "PORT");
        let talk = talk.replace(&bench.folder.path().display().to_string(), "FOLDER");
        Self { code: output.status.code(), out, talk: talk.replace(&format!("{}@", bench.user), "USER@") }
    }

    /// What stands on standard error from the error on.
    pub(crate) fn error(&self) -> &str {
        self.talk.find("error: ").map_or("", |at| &self.talk[at..])
    }
}

pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        sleep(Duration::from_millis(50));
    }
}
