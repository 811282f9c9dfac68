//! `builder config`: running Pis become nodes, over SSH.
//!
//! Order of effects: every machine is asked, and what there is to do is shown; nothing has changed until here. Then identities
//! are made and the plan is kept, the agent and its payload go to the machines, and from there on the agents do the rest, with or
//! without us. Killed anywhere, the same command goes on: what is there already is not brought again.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use cluster::card::DockerSource;
use cluster::identity::Role;
use cluster::name::Hostname;
use thiserror::Error;

use crate::cli::Globals;
use crate::cli::status::{Screen, Style};
use crate::error::{Failure, Kind};
use crate::pki;
use crate::report::Progress;
use crate::running::check::{self, Others, Verdict};
use crate::ssh::Ssh;
use crate::ssh::trouble::Around;

mod bring;
mod field;
mod gone;
mod state;
mod wait;

use bring::{Agents, Way};
use field::Field;
use state::Line;

/// Make Pis that already run a swarm, over SSH
///
/// FILE is a hostnames.yaml:
///
///   manager: 10.1.1.1
///   worker:
///   - 10.1.1.2
///   - 10.1.1.3
///
/// or a cluster file. All machines are looked at first, and what there is to do
/// is shown; then the agent is brought to all of them at once, and does the
/// rest. Name, user, network and SSH of the machines stay as they are. They need
/// an SSH server that knows your key, and sudo without a password.
///
/// The same command again brings what is missing, and otherwise changes nothing.
/// Exit code 0 if all nodes are ready, otherwise 6; 5 if none can be reached.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// The hosts; without it, the cluster file
    #[arg(value_name = "FILE")]
    hosts: Option<PathBuf>,
    /// Only look, and show what there is to do
    #[arg(long)]
    dry_run: bool,
    /// Do not ask before nodes are taken out, or over
    #[arg(short, long)]
    yes: bool,
    /// Have hosts leave another swarm for this one
    #[arg(long)]
    take_over: bool,
    /// Where Docker comes from, where it is not installed: Docker's own packages, or Debian's
    ///
    /// Without it: as the last time, or as the cluster file says; otherwise docker.
    #[arg(long, value_name = "SOURCE")]
    docker: Option<Source>,
    /// Who logs in; a user@host says more
    ///
    /// Without it: as the last time; otherwise what your ssh configuration says,
    /// otherwise pi; of a cluster file, its user.
    #[arg(short, long, value_name = "NAME", value_parser = super::exec::user)]
    user: Option<String>,
    /// Most machines at once
    #[arg(short, long, value_name = "N", default_value = "64", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: u16,
    /// An ssh configuration to read instead of ~/.ssh/config and the system's
    #[arg(short = 'F', long, value_name = "FILE")]
    ssh_config: Option<PathBuf>,
    /// Give up on a machine that does not answer a question within this time
    ///
    /// Bringing the agent may take ten times as long.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    ssh_timeout: Duration,
    /// Do not wait until the nodes are ready
    #[arg(long)]
    no_wait: bool,
    /// How long to wait for them, such as 90s, 15m or 1h
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// The agent's binary for the machines' architecture
    ///
    /// Without it: firstboot-ARCH beside builder, in ../share/builder or in
    /// ../lib/builder.
    #[arg(long, value_name = "PATH")]
    firstboot: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Source {
    /// Docker's own repository
    Docker,
    /// The distribution's docker.io
    Debian,
}

impl From<Source> for DockerSource {
    fn from(source: Source) -> Self {
        match source {
            Source::Docker => Self::Docker,
            Source::Debian => Self::Debian,
        }
    }
}

/// Why the hosts could not be brought in at all.
#[derive(Debug, Error)]
enum ConfigError {
    #[error("cannot talk to the machines")]
    Run(#[source] io::Error),
    #[error("cannot print")]
    Print(#[source] io::Error),
    #[error("interrupted: nothing was changed")]
    Interrupted,
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(Kind::Failed, error)
    }
}

/// Runs the command.
pub fn run(globals: &Globals, args: &ConfigArgs) -> Result<(), Failure> {
    let file = args.hosts.as_deref().unwrap_or(&globals.file);
    let field = Field::read(file, args.user.as_ref(), args.docker.map(Into::into))?;
    let interrupt = wait::listen()?;
    let hosts = field.entries.iter().map(|entry| entry.host.clone()).collect();
    let own = args.ssh_config.as_deref();
    let ssh = Ssh::open(hosts, field.ssh_config()?.as_deref(), field.user.clone(), own)?;
    let limits = bring::limits(usize::from(args.jobs), args.ssh_timeout);
    let progress = Progress::new(globals.quiet, globals.json);
    let way = Way { ssh: Arc::new(ssh), limits, interrupt: &interrupt, progress };
    let around = Around { ours: None, own: args.ssh_config.clone(), user: field.user.clone() };

    let mut lines: Vec<_> = field.entries.iter().map(Line::new).collect();
    let ours = field.project_before().map(|project| pki::existing(&project)).transpose()?;
    let ours = ours.map(|identities| identities.cluster_id);
    let others = if args.take_over { Others::TakeOver } else { Others::Keep };
    let verdicts = way.ask(&field, &mut lines, ours.as_ref(), others).map_err(ConfigError::Run)?;
    if interrupt.asked() {
        return Err(ConfigError::Interrupted.into());
    }
    let mut plan = check::plan(&field.entries, &verdicts, field.earlier.as_ref());
    plan.retain(|host| !field.has_card(host, &verdicts, ours.as_ref()));
    let gone: Vec<_> = check::gone(field.earlier.as_ref(), &plan).into_iter().cloned().collect();
    let record = field.record(plan);
    let project = field.project(&record);
    let candidates = verdicts.iter().filter_map(|verdict| match verdict {
        Verdict::Fit(candidate) => Some(candidate.as_ref()),
        _ => None,
    });
    let agents = Agents::find(candidates, args.firstboot.as_deref())?;
    let has_manager = project.cluster.nodes.iter().any(|node| node.role == Role::Manager);
    let preview = pki::open_or_preview(&project)?;
    let meant = (&project, record.hosts.as_slice());
    bring::pack(&verdicts, meant, (&preview, &agents), others, &mut lines)?;
    if !globals.json {
        print(&state::table(&lines, &gone))?;
    }
    let end = |lines: &[Line], formed, failure: Option<Failure>| {
        if globals.json {
            print(&format!("{:#}\n", state::document(lines, &gone, formed)))?;
        }
        failure.map_or(Ok(()), Err)
    };
    if args.dry_run {
        return end(&lines, None, state::judge(&lines, &around));
    }
    if !has_manager {
        let failure = state::judge(&lines, &around);
        let why = "without a manager there is no swarm: nothing was changed";
        return end(&lines, None, failure.map(|failure| failure.hint(why)));
    }

    if !gone.is_empty() {
        if !args.yes {
            gone::confirm(&gone)?;
        }
        gone::take_out(&field, &gone, globals.quiet)?;
    }
    let identities = pki::open(&project)?;
    pki::remember_running(&project, &record)?;
    let parcels = bring::pack(&verdicts, meant, (&identities, &agents), others, &mut lines)?;
    way.deliver(&parcels, &agents, &mut lines).map_err(ConfigError::Run)?;
    let mut failure = state::judge(&lines, &around);
    if !gone.is_empty() {
        failure = failure.or(gone::clean(&field, &gone, own, progress).err());
    }
    let brought: Vec<Hostname> =
        lines.iter().filter(|line| line.state.is_ok()).filter_map(|line| line.name.clone()).collect();
    if args.no_wait || brought.is_empty() {
        return end(&lines, None, failure);
    }
    let (mut out, mut talk) = (io::stdout(), io::stderr());
    let terminal = out.is_terminal() && !globals.json;
    let style = Style { json: false, quiet: globals.quiet, terminal };
    let mut sink = io::sink();
    let shown: &mut dyn Write = if globals.json { &mut sink } else { &mut out };
    let mut screen = Screen::new(style, true, shown, &mut talk);
    let waited = wait::until_ready((&project, &identities), &brought, args.timeout, &interrupt, &mut screen);
    end(&lines, Some(waited.is_ok()), failure.or(waited.err()))
}

fn print(text: &str) -> Result<(), Failure> {
    Ok(io::stdout().lock().write_all(text.as_bytes()).map_err(ConfigError::Print)?)
}
