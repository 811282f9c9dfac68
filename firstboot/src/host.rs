//! The machine as seed stage and agent see it. Real and fake are the only two: the fake fails or dies at a chosen effect.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use cluster::wire::{Cause, ProblemCode};
use rustix::io::Errno;
use thiserror::Error;

pub mod fake;
pub mod real;

/// An effect that failed. Paths are as the caller gave them.
#[derive(Debug, Error)]
pub enum HostError {
    /// A file or folder could not be used.
    #[error("cannot {verb} {path}")]
    File {
        /// What was tried, such as `write`.
        verb: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A program could not be started.
    #[error("cannot start {program}")]
    Start {
        /// Its name.
        program: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A program ended with an error.
    #[error("{line} ended with {status}: {stderr}")]
    Exit {
        /// Program and arguments.
        line: String,
        /// Exit status in words.
        status: String,
        /// The last kilobyte of its standard error.
        stderr: String,
    },
    /// The clock could not be set.
    #[error("cannot set the clock")]
    Clock(#[source] io::Error),
}

impl HostError {
    /// What a person can do something about: a disk that is full, read-only or broken.
    pub fn cause(&self) -> Option<Cause> {
        match self {
            Self::File { path, source, .. } => {
                Some(Cause::new(disk_problem(source)?).about(&path.to_string_lossy()))
            }
            Self::Start { source, .. } => disk_problem(source).map(Cause::new),
            Self::Exit { .. } | Self::Clock(_) => None,
        }
    }
}

/// By errno, because the words for it depend on the C library.
fn disk_problem(error: &io::Error) -> Option<ProblemCode> {
    Some(match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => ProblemCode::DiskFull,
        ErrorKind::ReadOnlyFilesystem => ProblemCode::DiskReadOnly,
        // The standard library has no kind for EIO.
        _ if Errno::from_io_error(error) == Some(Errno::IO) => ProblemCode::DiskBroken,
        _ => return None,
    })
}

/// A program to run. Secrets go to its standard input, never into arguments.
#[derive(Clone)]
pub struct Program {
    /// Name, found on PATH, or absolute path.
    pub name: String,
    /// Arguments.
    pub args: Vec<String>,
    /// Additional environment.
    pub env: Vec<(String, String)>,
    /// Standard input; empty without it.
    pub stdin: Vec<u8>,
}

impl Program {
    /// A program with arguments.
    pub fn new<const N: usize>(name: &str, args: [&str; N]) -> Self {
        Self {
            name: name.to_owned(),
            args: args.map(str::to_owned).into(),
            env: Vec::new(),
            stdin: Vec::new(),
        }
    }

    /// Program and arguments in one line, for messages.
    pub fn line(&self) -> String {
        let mut line = self.name.clone();
        for arg in &self.args {
            line.push(' ');
            line.push_str(arg);
        }
        line
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Program({})", self.line())
    }
}

/// What a program that was run to its end left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Whether it ended with 0.
    pub success: bool,
    /// Its exit status in words.
    pub status: String,
    /// Its whole standard output.
    pub stdout: Vec<u8>,
    /// Its whole standard error.
    pub stderr: Vec<u8>,
}

/// How much of a failed program's standard error an error quotes, in bytes.
const STDERR_KEPT: usize = 1024;

impl Output {
    /// The end of standard error, at most a kilobyte.
    pub fn last_words(&self) -> String {
        let kept = self.stderr.len().saturating_sub(STDERR_KEPT);
        String::from_utf8_lossy(self.stderr.get(kept..).unwrap_or_default()).trim().to_owned()
    }
}

/// Owner of a file; `None` leaves it to root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// User id.
    pub user: u32,
    /// Group id.
    pub group: u32,
}

/// The port. Every path is absolute and taken under the host's root.
pub trait Host: Send + Sync + fmt::Debug {
    /// The file's bytes; `None` when there is no such file. Unreadable is an error, never `None`.
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, HostError>;
    /// Names in a folder, sorted; empty when there is no such folder.
    fn list(&self, path: &Path) -> Result<Vec<String>, HostError>;
    /// Writes a file whole or not at all: temporary file in the same folder with the final mode, fsync, rename,
    /// fsync of the folder. Parent folders must exist.
    fn write(&self, path: &Path, bytes: &[u8], mode: u32, owner: Option<Owner>) -> Result<(), HostError>;
    /// Overwrites an existing file in place without changing its length, and fsyncs it: for single sectors and for shredding.
    fn overwrite(&self, path: &Path, bytes: &[u8]) -> Result<(), HostError>;
    /// Makes a folder and its parents; sets mode and owner of the last.
    fn make_folder(&self, path: &Path, mode: u32, owner: Option<Owner>) -> Result<(), HostError>;
    /// Makes or replaces a symbolic link.
    fn link(&self, target: &Path, link: &Path) -> Result<(), HostError>;
    /// Removes a file; not being there is success.
    fn remove(&self, path: &Path) -> Result<(), HostError>;
    /// Runs a program to its end, whatever its exit status. With a root other than `/` it runs inside that root.
    fn output(&self, program: &Program) -> Result<Output, HostError>;
    /// Runs a program to its end and returns its standard output; a non-zero exit is an error, and what a program that
    /// succeeded wrote to standard error is dropped.
    fn run(&self, program: &Program) -> Result<Vec<u8>, HostError> {
        let output = self.output(program)?;
        if output.success {
            return Ok(output.stdout);
        }
        let stderr = output.last_words();
        Err(HostError::Exit { line: program.line(), status: output.status, stderr })
    }
    /// The clock.
    fn now(&self) -> SystemTime;
    /// The time since the kernel started, a suspended machine's included (`CLOCK_BOOTTIME`). Setting the clock does not
    /// change it.
    fn since_boot(&self) -> Duration;
    /// Steps the clock.
    fn set_clock(&self, to: SystemTime) -> Result<(), HostError>;
    /// Flushes everything to disk.
    fn sync(&self);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::fake::{FakeHost, Files, Node};
    use super::real::RealHost;
    use super::*;

    /// What every host promises; the fake is worth nothing where it promises something else.
    fn keeps_the_contract(host: &dyn Host) {
        let path = Path::new;
        assert_eq!(host.read(path("/a/file")).unwrap(), None);
        assert!(host.write(path("/a/file"), b"x", 0o644, None).is_err(), "parents are not made");
        host.make_folder(path("/a/b"), 0o700, None).unwrap();
        host.make_folder(path("/a/b"), 0o755, None).unwrap();
        host.write(path("/a/file"), b"one", 0o600, None).unwrap();
        host.write(path("/a/file"), b"three", 0o644, None).unwrap();
        assert_eq!(host.read(path("/a/file")).unwrap().unwrap(), b"three");
        assert!(host.overwrite(path("/a/file"), b"four").is_err(), "the length stays");
        assert!(host.overwrite(path("/a/absent"), b"").is_err());
        host.overwrite(path("/a/file"), b"seven").unwrap();
        assert_eq!(host.read(path("/a/file")).unwrap().unwrap(), b"seven");
        assert!(host.read(path("/a/b")).is_err(), "a folder is not a file");
        host.link(path("/nowhere"), path("/a/c")).unwrap();
        host.link(path("/nowhere/else"), path("/a/c")).unwrap();
        assert_eq!(host.read(path("/a/c")).unwrap(), None);
        assert_eq!(host.list(path("/a")).unwrap(), ["b", "c", "file"]);
        assert!(host.list(path("/nowhere")).unwrap().is_empty());
        host.remove(path("/a/file")).unwrap();
        host.remove(path("/a/file")).unwrap();
        assert_eq!(host.read(path("/a/file")).unwrap(), None);
        assert!(host.run(&Program::new("no-such-program", [])).is_err());
    }

    #[test]
    fn the_real_host_and_the_fake_keep_one_contract() {
        let folder = tempfile::tempdir().unwrap();
        keeps_the_contract(&RealHost::new(folder.path().to_owned()));
        let root = (PathBuf::from("/"), Node::Folder { mode: 0o755, owner: None });
        keeps_the_contract(&FakeHost::new(Arc::default(), Files::from([root]), SystemTime::UNIX_EPOCH));
    }

    #[test]
    fn the_time_since_boot_is_no_matter_of_the_clock() {
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        let since_boot = RealHost::new("/".into()).since_boot().as_secs_f64();
        // A container may be told another uptime, but never a longer one.
        assert!(since_boot + 0.02 >= uptime, "{since_boot} {uptime}");
        let fake = FakeHost::new(Arc::default(), Files::new(), SystemTime::UNIX_EPOCH);
        fake.set_clock(SystemTime::UNIX_EPOCH + Duration::from_secs(500)).unwrap();
        fake.pass(Duration::from_secs(7));
        assert_eq!(fake.since_boot(), Duration::from_secs(7));
        assert_eq!(fake.now(), SystemTime::UNIX_EPOCH + Duration::from_secs(507));
    }

    #[test]
    fn errors_of_a_disk_have_a_cause() {
        let path = Path::new("/var/lib/x").to_owned();
        for (errno, code) in [
            (Errno::NOSPC, Some(ProblemCode::DiskFull)),
            (Errno::DQUOT, Some(ProblemCode::DiskFull)),
            (Errno::ROFS, Some(ProblemCode::DiskReadOnly)),
            (Errno::IO, Some(ProblemCode::DiskBroken)),
            (Errno::ACCESS, None),
        ] {
            let error = HostError::File { verb: "write", path: path.clone(), source: errno.into() };
            assert_eq!(error.cause(), code.map(|code| Cause::new(code).about("/var/lib/x")), "{errno}");
            let error = HostError::Start { program: "apt-get".to_owned(), source: errno.into() };
            assert_eq!(error.cause(), code.map(Cause::new), "{errno}");
        }
    }

    #[test]
    fn a_programs_input_is_not_in_its_debug_text() {
        let mut program = Program::new("chpasswd", ["--encrypted"]);
        program.stdin = b"ann:secret".to_vec();
        assert_eq!(format!("{program:?}"), "Program(chpasswd --encrypted)");
    }
}
