//! The machine itself, or a directory tree standing in for its root.
//!
//! With a root other than `/` files lie under it, programs run through `chroot`, and the clock is left alone: a tree
//! has none. A tree's absolute symbolic links among the *folders* of a path are not re-rooted.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{io, thread};

use rustix::time::{ClockId, Timespec};

use super::{Host, HostError, Output, Owner, Program};

/// Where programs are looked for. The boot that runs the seed stage sets PATH but not HOME; a person's shell may set anything.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The real host.
#[derive(Debug, Clone)]
pub struct RealHost {
    root: PathBuf,
}

impl RealHost {
    /// The host whose root file system is at `root`; `/` is the machine itself.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Whether this is the machine itself.
    pub fn is_machine(&self) -> bool {
        self.root == Path::new("/")
    }

    fn place(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    fn command(&self, program: &Program) -> Command {
        let mut command = if self.is_machine() {
            Command::new(&program.name)
        } else {
            let mut chroot = Command::new("chroot");
            chroot.arg(&self.root).arg(&program.name);
            chroot
        };
        command.args(&program.args);
        command.env("PATH", PATH).env("HOME", "/root").env("LC_ALL", "C");
        command.envs(program.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

impl Host for RealHost {
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, HostError> {
        match fs::read(self.place(path)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(file_error("read", path)(error)),
        }
    }

    fn list(&self, path: &Path) -> Result<Vec<String>, HostError> {
        let entries = match fs::read_dir(self.place(path)) {
            Ok(entries) => entries,
            Err(error) if is_absent(&error) => return Ok(Vec::new()),
            Err(error) => return Err(file_error("list", path)(error)),
        };
        let mut names = entries
            .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<Vec<_>>>()
            .map_err(file_error("list", path))?;
        names.sort();
        Ok(names)
    }

    fn write(&self, path: &Path, bytes: &[u8], mode: u32, owner: Option<Owner>) -> Result<(), HostError> {
        let place = self.place(path);
        let temporary = beside(&place);
        let written = write_new(&temporary, bytes, mode, owner)
            .and_then(|()| fs::rename(&temporary, &place))
            // A FAT brings a renamed file's entry to the disk with the file, not with the folder. Until then its name leads
            // to clusters that were freed.
            .and_then(|()| File::open(&place)?.sync_all())
            .and_then(|()| sync_folder_of(&place));
        if written.is_err() {
            // The first failure is the one to tell; a leftover is removed by the next write.
            fs::remove_file(&temporary).unwrap_or_default();
        }
        written.map_err(file_error("write", path))
    }

    fn overwrite(&self, path: &Path, bytes: &[u8]) -> Result<(), HostError> {
        let overwrite = || -> io::Result<()> {
            let mut file = OpenOptions::new().write(true).open(self.place(path))?;
            let length = file.metadata()?.len();
            if u64::try_from(bytes.len()).ok() != Some(length) {
                return Err(io::Error::new(ErrorKind::InvalidInput, "the length would change"));
            }
            file.write_all(bytes)?;
            file.sync_all()
        };
        overwrite().map_err(file_error("overwrite", path))
    }

    fn make_folder(&self, path: &Path, mode: u32, owner: Option<Owner>) -> Result<(), HostError> {
        let place = self.place(path);
        let make = || -> io::Result<()> {
            fs::create_dir_all(&place)?;
            let folder = File::open(&place)?;
            own(&folder, owner)?;
            folder.set_permissions(Permissions::from_mode(mode))?;
            sync_folder_of(&place)
        };
        make().map_err(file_error("make the folder", path))
    }

    fn link(&self, target: &Path, link: &Path) -> Result<(), HostError> {
        let place = self.place(link);
        let temporary = beside(&place);
        let make = || -> io::Result<()> {
            remove_if_there(&temporary)?;
            symlink(target, &temporary)?;
            fs::rename(&temporary, &place)?;
            sync_folder_of(&place)
        };
        make().map_err(file_error("link", link))
    }

    fn remove(&self, path: &Path) -> Result<(), HostError> {
        remove_if_there(&self.place(path)).map_err(file_error("remove", path))
    }

    fn output(&self, program: &Program) -> Result<Output, HostError> {
        let start = |source| HostError::Start { program: program.name.clone(), source };
        let mut child = self.command(program).spawn().map_err(start)?;
        let stdin = child.stdin.take();
        let output = thread::scope(|scope| {
            // Fed from a thread: a program may fill its output before it has read its input.
            scope.spawn(move || {
                if let Some(mut stdin) = stdin {
                    // A program need not read its input; whether that was wrong is for its exit status to say.
                    stdin.write_all(&program.stdin).unwrap_or_default();
                }
            });
            child.wait_with_output()
        })
        .map_err(start)?;
        Ok(Output {
            success: output.status.success(),
            status: output.status.to_string(),
            stdout: output.stdout,
            stderr: output.stderr,
        })
    }

    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn since_boot(&self) -> Duration {
        let time = rustix::time::clock_gettime(ClockId::Boottime);
        // It is never negative.
        Duration::new(
            u64::try_from(time.tv_sec).unwrap_or_default(),
            u32::try_from(time.tv_nsec).unwrap_or_default(),
        )
    }

    fn set_clock(&self, to: SystemTime) -> Result<(), HostError> {
        if !self.is_machine() {
            return Ok(());
        }
        let since =
            to.duration_since(UNIX_EPOCH).map_err(|error| HostError::Clock(io::Error::other(error)))?;
        let seconds =
            i64::try_from(since.as_secs()).map_err(|error| HostError::Clock(io::Error::other(error)))?;
        let timespec = Timespec { tv_sec: seconds, tv_nsec: since.subsec_nanos().into() };
        rustix::time::clock_settime(ClockId::Realtime, timespec)
            .map_err(|error| HostError::Clock(error.into()))
    }

    fn sync(&self) {
        // Every write has synced itself already, so there is nobody to tell if this fails.
        File::open(&self.root)
            .and_then(|root| rustix::fs::syncfs(root).map_err(io::Error::from))
            .unwrap_or_default();
    }
}

fn file_error(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> HostError {
    move |source| HostError::File { verb, path: path.to_owned(), source }
}

/// No such file, or a file where a folder would have to be.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// The temporary name: in the same folder, hidden, always the same so that leftovers do not pile up.
fn beside(place: &Path) -> PathBuf {
    let name = place.file_name().unwrap_or_default().to_string_lossy();
    place.with_file_name(format!(".{name}.new"))
}

/// Makes a file that nobody else can read before it has its owner and mode.
fn write_new(place: &Path, bytes: &[u8], mode: u32, owner: Option<Owner>) -> io::Result<()> {
    remove_if_there(place)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode & 0o600).open(place)?;
    own(&file, owner)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn own(file: &File, owner: Option<Owner>) -> io::Result<()> {
    owner.map_or(Ok(()), |owner| fchown(file, Some(owner.user), Some(owner.group)))
}

fn remove_if_there(place: &Path) -> io::Result<()> {
    match fs::remove_file(place) {
        Err(error) if is_absent(&error) => Ok(()),
        other => other,
    }
}

fn sync_folder_of(place: &Path) -> io::Result<()> {
    place.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn tree() -> (tempfile::TempDir, RealHost) {
        let folder = tempfile::tempdir().unwrap();
        let host = RealHost::new(folder.path().to_owned());
        (folder, host)
    }

    #[test]
    fn absent_is_none_but_unreadable_is_an_error() {
        let (_folder, host) = tree();
        host.make_folder(Path::new("/etc"), 0o755, None).unwrap();
        assert_eq!(host.read(Path::new("/etc/hostname")).unwrap(), None);
        assert!(host.read(Path::new("/etc")).is_err());
        assert!(host.list(Path::new("/nowhere")).unwrap().is_empty());
    }

    #[test]
    fn a_write_replaces_the_file_with_its_mode_and_leaves_nothing_beside_it() {
        let (folder, host) = tree();
        fs::write(folder.path().join(".key.new"), "left by a power cut").unwrap();
        host.write(Path::new("/key"), b"one", 0o600, None).unwrap();
        host.write(Path::new("/key"), b"two", 0o640, None).unwrap();
        assert_eq!(host.read(Path::new("/key")).unwrap().unwrap(), b"two");
        assert_eq!(fs::metadata(folder.path().join("key")).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(host.list(Path::new("/")).unwrap(), ["key"]);
    }

    #[test]
    fn a_secret_has_its_owner_and_mode() {
        let (folder, host) = tree();
        let us = fs::metadata(folder.path()).unwrap();
        let owner = Owner { user: us.uid(), group: us.gid() };
        host.make_folder(Path::new("/home/ann/.ssh"), 0o700, Some(owner)).unwrap();
        host.write(Path::new("/home/ann/.ssh/key"), b"secret", 0o600, Some(owner)).unwrap();
        let mode = |path: &str| fs::metadata(folder.path().join(path)).unwrap().mode() & 0o7777;
        assert_eq!(mode("home/ann/.ssh"), 0o700);
        assert_eq!(mode("home/ann/.ssh/key"), 0o600);
    }

    #[test]
    fn a_write_replaces_a_link_instead_of_following_it() {
        let (folder, host) = tree();
        fs::write(folder.path().join("target"), "precious").unwrap();
        host.link(Path::new("target"), Path::new("/name")).unwrap();
        host.write(Path::new("/name"), b"new", 0o644, None).unwrap();
        assert_eq!(host.read(Path::new("/target")).unwrap().unwrap(), b"precious");
        assert_eq!(host.read(Path::new("/name")).unwrap().unwrap(), b"new");
    }

    #[test]
    fn overwriting_keeps_the_inode_and_refuses_another_length() {
        let (folder, host) = tree();
        host.write(Path::new("/cmdline.txt"), b"abc", 0o644, None).unwrap();
        let before = fs::metadata(folder.path().join("cmdline.txt")).unwrap().ino();
        host.overwrite(Path::new("/cmdline.txt"), b"xyz").unwrap();
        assert!(host.overwrite(Path::new("/cmdline.txt"), b"longer").is_err());
        assert_eq!(host.read(Path::new("/cmdline.txt")).unwrap().unwrap(), b"xyz");
        assert_eq!(fs::metadata(folder.path().join("cmdline.txt")).unwrap().ino(), before);
        assert!(host.overwrite(Path::new("/absent"), b"").is_err());
    }

    #[test]
    fn links_are_replaced_and_removing_twice_is_fine() {
        let (folder, host) = tree();
        host.link(Path::new("/one"), Path::new("/l")).unwrap();
        host.link(Path::new("/two"), Path::new("/l")).unwrap();
        assert_eq!(fs::read_link(folder.path().join("l")).unwrap(), Path::new("/two"));
        host.remove(Path::new("/l")).unwrap();
        host.remove(Path::new("/l")).unwrap();
    }

    #[test]
    fn a_program_reads_its_input_and_its_failure_is_told() {
        let host = RealHost::new(PathBuf::from("/"));
        let mut cat = Program::new("cat", []);
        cat.stdin = vec![b'x'; 300_000];
        assert_eq!(host.run(&cat).unwrap(), cat.stdin);
        let error = host.run(&Program::new("ls", ["/there/is/no/such/file"])).unwrap_err();
        assert!(matches!(&error, HostError::Exit { stderr, .. } if stderr.contains("such/file")), "{error}");
        assert!(matches!(host.run(&Program::new("no-such-program", [])), Err(HostError::Start { .. })));
    }

    #[test]
    fn a_tree_leaves_the_machines_clock_alone() {
        let (_folder, host) = tree();
        let before = SystemTime::now();
        host.set_clock(UNIX_EPOCH + Duration::from_secs(4_000_000_000)).unwrap();
        assert!(SystemTime::now().duration_since(before).unwrap() < Duration::from_secs(3600));
    }
}
