//! Running a command on machines through the system's `ssh`, so that the user's own configuration, agent and jump
//! hosts hold.
//!
//! What a node could misuse is not handed on to it: no agent, no X server, no Kerberos ticket, no forwarded port or tunnel.
//!
//! All settings are in one configuration file in a private folder, since what is in there also holds for the `ssh`
//! that leads through a jump host. The first value that `ssh` finds wins: first stands what must hold (host keys are
//! checked, nobody is asked), then the cluster's own `ssh_config`, then the user's configuration, last what goes
//! without saying.
//!
//! `ssh` writes what it says itself to a file of its own (`-E`), away from what the command says, and in there notes
//! that it got in. So its exit code 255 can be told from the command's own. Killed while this works, it leaves that
//! folder, with no secret in it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use cluster::host::Host;
use tempfile::TempDir;
use thiserror::Error;
use tokio::process::Command;

use crate::error::{Failure, Kind};
use crate::hosts::Hosts;
use crate::pki;

pub mod batch;
pub mod collect;
mod host_key;
mod jump;
mod run;
pub mod trouble;

/// What must hold, whatever the user's configuration says.
const FIRST: &str = "\
Host *
    BatchMode yes
    StrictHostKeyChecking yes
    UpdateHostKeys no
    RequestTTY no
    RemoteCommand none
    ClearAllForwardings yes
    ForwardAgent no
    ForwardX11 no
    GSSAPIDelegateCredentials no
    FingerprintHash sha256
";
/// What holds where nobody said otherwise; seconds.
const LAST: &str = "    ConnectTimeout 10\n    ServerAliveInterval 15\n";
/// Who logs in where nobody said otherwise: the lesson's user. `ssh` would take the user's name on the laptop.
const USER: &str = "    User pi\n";
/// Largest file of `ssh`'s own words that is looked at, in bytes.
const LOG_LIMIT: usize = 64 * 1024;

/// Why `ssh` cannot be used.
#[derive(Debug, Error)]
enum SshError {
    #[error("there is no `ssh` program")]
    Absent,
    #[error("cannot start ssh")]
    Start(#[source] std::io::Error),
    #[error("cannot make a folder for ssh's settings")]
    Folder(#[source] std::io::Error),
    #[error("cannot read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

impl From<SshError> for Failure {
    fn from(error: SshError) -> Self {
        let (kind, hint) = match &error {
            SshError::Absent => (Kind::Failed, "install it: sudo apt-get install openssh-client"),
            SshError::Start(_) | SshError::Folder(_) => return Self::new(Kind::Failed, error),
            SshError::Read { .. } => (Kind::Usage, "name a file that can be read"),
        };
        Self::new(kind, error).hint(hint)
    }
}

/// How to reach some machines.
#[derive(Debug)]
pub struct Ssh {
    hosts: Vec<Host>,
    user: Option<String>,
    /// Holds the configuration and what each `ssh` says.
    folder: TempDir,
    /// See [`Self::telling_host_keys`].
    tells_host_keys: bool,
}

impl Ssh {
    /// Writes the configuration. `user` is who logs in where a host does not say so itself; `own` replaces the user's
    /// and the system's configuration files.
    ///
    /// # Errors
    /// When there is no `ssh`, a configuration cannot be read, or no cards were made of the cluster file yet.
    pub fn prepare(hosts: &Hosts, user: Option<String>, own: Option<&Path>) -> Result<Self, Failure> {
        let ours = hosts.project.as_ref().map(|project| {
            let identities = pki::existing(project)?;
            // Where some were brought in over SSH, the others may be machines that the user's own ssh knows.
            let is_adopted = pki::running(&project.secrets_folder())?.is_some();
            for host in &project.cluster.nodes {
                if !is_adopted && hosts.list.iter().any(|wanted| wanted.name == host.name.as_str()) {
                    identities.node(&host.name)?;
                }
            }
            pki::ssh_config(project, &identities)
        });
        Self::open(hosts.list.clone(), ours.transpose()?.as_deref(), user, own)
    }

    /// As [`Self::prepare`], for machines of which `ours`, text of ssh_config(5), says how to reach them; those that it does
    /// not name are the user's own.
    ///
    /// # Errors
    /// When there is no `ssh`, or a configuration cannot be read.
    pub fn open(
        hosts: Vec<Host>,
        ours: Option<&str>,
        user: Option<String>,
        own: Option<&Path>,
    ) -> Result<Self, Failure> {
        check_program()?;
        let own = own.map(absolute).transpose()?;
        let folder = tempfile::Builder::new().prefix("builder-ssh-").tempdir().map_err(SshError::Folder)?;
        let text = config(ours, own.as_deref());
        std::fs::write(folder.path().join("config"), text).map_err(SshError::Folder)?;
        Ok(Self { hosts, user, folder, tells_host_keys: false })
    }

    /// Has each run say which host key the machine has proved. No connection is shared with another `ssh` then: of that one
    /// nobody could say whose it is. Connections to jump hosts still may be.
    #[must_use]
    pub fn telling_host_keys(self) -> Self {
        Self { tells_host_keys: true, ..self }
    }

    /// The machines.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Which machine `ssh` is for, as the end of its options.
    fn target(&self, host: &Host) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["-F".into(), self.folder.path().join("config").into()];
        if let Some(user) = host.user.as_ref().or(self.user.as_ref()) {
            words.extend(["-l".into(), user.into()]);
        }
        if let Some(port) = host.port {
            words.extend(["-p".into(), port.to_string().into()]);
        }
        words.extend(["--".into(), OsString::from(&host.name)]);
        words
    }

    /// Who logs in on a machine, by all that `ssh` reads (ssh(1), `-G`); `None` if it does not say.
    pub fn user_of(&self, host: &Host) -> Option<String> {
        let mut command = std::process::Command::new("ssh");
        command.arg("-G").args(self.target(host)).stdin(Stdio::null()).stderr(Stdio::null());
        let settings = command.output().ok().filter(|output| output.status.success())?;
        let settings = String::from_utf8(settings.stdout).ok()?;
        let user = settings.lines().find_map(|line| line.strip_prefix("user "))?;
        cluster::host::check_user(user).is_ok().then(|| user.to_owned())
    }

    /// All settings for a machine, as `ssh -G` prints them; `None` if it does not.
    async fn settings(&self, index: usize) -> Option<String> {
        let mut command = Command::new("ssh");
        command
            .arg("-G")
            .args(self.target(self.hosts.get(index)?))
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        let settings =
            command.kill_on_drop(true).output().await.ok().filter(|output| output.status.success())?;
        String::from_utf8(settings.stdout).ok()
    }

    /// Where the `ssh` of a machine writes its own words.
    fn log(&self, index: usize) -> PathBuf {
        self.folder.path().join(format!("{index}.log"))
    }

    /// The command line for a machine. It gets a process group of its own, so that what it starts can be ended with it, and a
    /// Ctrl-C on the terminal comes to us alone.
    /// For a machine whose host key is known, `preferred` is [`HostKey::preferred`]: without it, `ssh` may choose another key of
    /// the same machine.
    ///
    /// With `is_detailed`, the log tells how far a connection is.
    fn command(
        &self,
        index: usize,
        words: &[String],
        preferred: Option<&str>,
        is_detailed: bool,
    ) -> Option<Command> {
        let host = self.hosts.get(index)?;
        let mut command = Command::new("ssh");
        command.arg("-T").arg("-E").arg(self.log(index));
        let level = if self.tells_host_keys || is_detailed { "DEBUG1" } else { "VERBOSE" };
        command.arg("-o").arg(format!("LogLevel={level}"));
        if self.tells_host_keys {
            command.args(["-o", "ControlPath=none"]);
        }
        if let Some(preferred) = preferred {
            command.arg("-o").arg(format!("HostKeyAlgorithms={preferred}"));
        }
        command.args(self.target(host)).args(words);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        Some(command)
    }
}

fn check_program() -> Result<(), SshError> {
    let mut command = std::process::Command::new("ssh");
    command.arg("-V").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match command.status() {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(SshError::Absent),
        Err(error) => Err(SshError::Start(error)),
    }
}

fn read(path: &Path) -> Result<String, SshError> {
    std::fs::read_to_string(path).map_err(|source| SshError::Read { path: path.to_owned(), source })
}

/// A configuration file that can be read. `ssh` passes over an absent one in silence.
fn absolute(path: &Path) -> Result<PathBuf, SshError> {
    read(path)?;
    std::path::absolute(path).map_err(|source| SshError::Read { path: path.to_owned(), source })
}

/// The text of the configuration (ssh_config(5)); `ours` is the text of the cluster's own.
fn config(ours: Option<&str>, own: Option<&Path>) -> String {
    let mut text = FIRST.to_owned();
    text.push_str(ours.unwrap_or_default());
    text.push_str("Host *\n");
    match own {
        Some(own) => text.push_str(&format!("    Include {}\n", include_path(own))),
        None => text.push_str("    Include ~/.ssh/config\n    Include /etc/ssh/ssh_config\n"),
    }
    if ours.is_none() {
        text.push_str(USER);
    }
    text.push_str(LAST);
    text
}

/// A path as `Include` takes it: in double quotes, and then as a pattern of glob(7), where nothing may stand for more.
fn include_path(path: &Path) -> String {
    let mut text = String::new();
    for c in path.display().to_string().chars() {
        match c {
            '*' | '?' | '[' | ']' => text.push_str(r"\\"),
            '\\' => text.push_str(r"\\\"),
            '"' => text.push('\\'),
            _ => {}
        }
        text.push(c);
    }
    format!("\"{text}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_hold_stands_first_and_defaults_last() {
        let ours = "Host red00\n    HostName 10.0.0.5\n    User ada\n";
        insta::assert_snapshot!(config(Some(ours), None), @r"
        Host *
            BatchMode yes
            StrictHostKeyChecking yes
            UpdateHostKeys no
            RequestTTY no
            RemoteCommand none
            ClearAllForwardings yes
            ForwardAgent no
            ForwardX11 no
            GSSAPIDelegateCredentials no
            FingerprintHash sha256
        Host red00
            HostName 10.0.0.5
            User ada
        Host *
            Include ~/.ssh/config
            Include /etc/ssh/ssh_config
            ConnectTimeout 10
            ServerAliveInterval 15
        ");
        let lesson = config(None, Some(Path::new("/home/ada/my [1] \"conf\"")));
        assert!(lesson.contains(r#"    Include "/home/ada/my \\[1\\] \"conf\"""#), "{lesson}");
        assert!(lesson.contains("    User pi\n") && !lesson.contains("~/.ssh/config"), "{lesson}");
    }
}
