//! `builder exec`: runs a command on every machine at once, over the system's `ssh`.
//!
//! Order of effects: the hosts are found and `ssh`'s settings written, whatever speaks against them ends it here; then
//! the command runs everywhere, and each machine's output is shown; last, who failed, why, and what to type. Ctrl-C ends
//! every `ssh`; what they started on the machines may go on there, as with `ssh` itself.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use cluster::spec::Node;
use serde_json::json;
use thiserror::Error;

use crate::cli::Globals;
use crate::error::{Failure, Kind};
use crate::hosts::{self, Hosts};
use crate::interrupt::Interrupt;
use crate::pki;
use crate::ssh::Ssh;
use crate::ssh::batch::{self, End, Event, Job, Limits};
use crate::ssh::trouble::Around;

mod keep;
mod show;
pub(in crate::cli) mod summary;

use show::{Manner, Show};
use summary::Summary;

/// Run a command on all nodes, or other machines, in parallel
///
/// Output comes line by line, each with its host's name in front; with --group
/// at the end, equal outputs only once.
///
/// The words of the command are joined by spaces and read by the shell of each
/// machine, as with ssh. So quote what that shell is to see: without quotes, a
/// pipe or a `;` is your own shell's:
///
///   builder exec -- 'curl -fsSL https://example.org/setup | sh'
///
/// Host keys are always checked: for nodes of the cluster file against
/// CLUSTER.secrets/known_hosts, for others against your own. Nobody is asked for
/// a password. Exit code 0 if the command ended with 0 everywhere, otherwise 6;
/// 5 if no machine could be reached.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct ExecArgs {
    /// Nodes or ranges such as 'red[00-02]', of the file; all without it
    #[arg(value_name = "HOST")]
    words: Vec<String>,
    /// Hosts or ranges such as 'red[00-04],pi@10.1.1.[2-5]', instead of a file
    #[arg(long, value_name = "HOSTS", conflicts_with = "words")]
    hosts: Vec<String>,
    /// Who logs in; a user@host says more
    ///
    /// Without it: for nodes the user of the cluster file, otherwise what your
    /// ssh configuration says, otherwise pi.
    #[arg(short, long, value_name = "NAME", value_parser = user)]
    user: Option<String>,
    /// Show output at the end, equal outputs only once
    #[arg(long, conflicts_with = "json")]
    group: bool,
    /// Give up on a machine after this long, such as 30s or 5m
    ///
    /// Without it: never, but that connecting takes 10 s at most, unless your ssh
    /// configuration says otherwise.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    /// Most machines at once
    #[arg(short, long, value_name = "N", default_value = "64", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: u16,
    /// An ssh configuration to read instead of ~/.ssh/config and the system's
    #[arg(short = 'F', long, value_name = "FILE")]
    ssh_config: Option<PathBuf>,
    /// The command
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// A login name.
pub(in crate::cli) fn user(text: &str) -> Result<String, String> {
    cluster::host::check_user(text).map_err(|error| format!("it {error}"))?;
    Ok(text.to_owned())
}

/// Why the command could not be run everywhere.
#[derive(Debug, Error)]
enum ExecError {
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
    #[error("cannot go on")]
    Run(#[source] io::Error),
    #[error("cannot print what the hosts say")]
    Print(#[source] io::Error),
}

impl From<ExecError> for Failure {
    fn from(error: ExecError) -> Self {
        Self::new(Kind::Failed, error)
    }
}

/// Host keys of machines that ran before us are the affair of the user's own ssh.
fn around(hosts: &Hosts, args: &ExecArgs) -> Around {
    let around = Around { own: args.ssh_config.clone(), user: args.user.clone(), ..Around::default() };
    let Some(project) = &hosts.project else { return around };
    let Ok(Some(running)) = pki::running(&project.secrets_folder()) else {
        return Around { ours: Some(project.secrets_folder().join("ssh_config")), ..around };
    };
    let place = |node: &Node| Some((node.name.to_string(), pki::own_host(project, &running, node)?));
    Around { at: project.cluster.nodes.iter().filter_map(place).collect(), ..around }
}

/// Runs the command.
pub fn run(globals: &Globals, args: &ExecArgs) -> Result<(), Failure> {
    let hosts = hosts::find(&globals.file, &args.hosts, &args.words)?;
    let ssh = Arc::new(Ssh::prepare(&hosts, args.user.clone(), args.ssh_config.as_deref())?);
    let jobs = Job::everywhere(&ssh, &args.command);
    let around = Around { ssh: Some(Arc::clone(&ssh)), ..around(&hosts, args) };
    let interrupt = Interrupt::listen().map_err(ExecError::Signals)?;
    let manner = match (globals.json, args.group) {
        (true, _) => Manner::Json,
        (false, true) => Manner::Group,
        (false, false) => Manner::Live,
    };
    let (out, talk) = (io::stdout(), io::stderr());
    let terminals = (out.is_terminal(), talk.is_terminal());
    let mut show = Show::new(manner, &hosts.list, terminals, out, talk);
    let mut summary = Summary::new(&hosts.list, around);
    let limits = Limits { jobs: usize::from(args.jobs), timeout: args.timeout };
    let mut unprinted = false;
    let ran = batch::run(&ssh, jobs, limits, &interrupt, &mut |event| {
        let note = match &event {
            Event::Ended { index, end, .. } => Some((*index, end.clone())),
            Event::Said { .. } => None,
        };
        let at_once =
            note.as_ref().is_some_and(|(_, end)| !matches!(end, End::Interrupted)) && !globals.quiet;
        let shown = show.take(event, at_once);
        if let Some((index, end)) = note {
            summary.note(index, end);
        }
        shown.inspect_err(|_| unprinted = true)
    });
    ran.map_err(if unprinted { ExecError::Print } else { ExecError::Run })?;
    show.finish().map_err(ExecError::Print)?;
    // Every line of a host names it.
    let told = summary.judge(interrupt.asked()).map_err(|failure| failure.with(json!({ "host": null })))?;
    if !globals.quiet {
        // Nowhere is left to say that standard error is closed.
        let _unwritten = writeln!(io::stderr().lock(), "{told}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use cluster::card::DockerSource;
    use cluster::identity::Role;

    use super::*;
    use crate::cli::{Cli, Command};
    use crate::pki::{Running, RunningHost};
    use crate::project;

    #[test]
    fn advice_names_the_user_and_the_machine_that_ssh_was_given() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("red.yaml");
        let text = "version: 1\ncluster: red\nimage: os.img\nnodes: red[00-01]\n\
                    user: {name: ada, authorized_keys: ['ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti']}\n\
                    per_node: {red01: {address: 10.1.1.3/24}}\n";
        std::fs::write(&file, text).unwrap();
        let project = project::load(&file).unwrap();
        pki::open(&project).unwrap();
        let hosts = hosts::find(&file, &[], &[]).unwrap();
        let ssh = |words: &[&str]| {
            let line = Cli::try_parse_from([&["builder", "exec"], words, &["--", "true"]].concat()).unwrap();
            let Command::Exec(args) = line.command else { panic!("{line:?}") };
            let around = around(&hosts, &args);
            [0, 1].map(|place| around.ssh("", &hosts.list[place]))
        };
        let config = folder.path().join("red.secrets/ssh_config");
        assert_eq!(ssh(&[]), ["red00", "red01"].map(|node| format!("ssh -F {} {node}", config.display())));

        let host = |node: &Node| RunningHost {
            host: node.name.to_string(),
            name: node.name.clone(),
            role: Role::Worker,
            address: None,
            host_key: None,
        };
        let list = project.cluster.nodes.iter().map(host).collect();
        let running = Running::new(Some("ada".to_owned()), DockerSource::Docker, list);
        pki::remember_running(&project, &running).unwrap();
        assert_eq!(ssh(&[]), ["ssh ada@red00", "ssh ada@10.1.1.3"]);
        assert_eq!(ssh(&["--user", "eve"]), ["ssh eve@red00", "ssh eve@10.1.1.3"]);
    }
}
