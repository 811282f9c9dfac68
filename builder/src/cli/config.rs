//! `builder config`: running Pis become nodes, over SSH.
//!
//! Order of effects: every machine is asked, and what there is to do is shown; nothing has changed until here. Then identities
//! are made and the plan is kept, the agent and its payload go to the machines, and from there on the agents do the rest, with or
//! without us. Killed anywhere, the same command goes on: what is there already is not brought again.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use cluster::card::DockerSource;
use cluster::identity::Role;
use cluster::name::Hostname;
use thiserror::Error;

use crate::cache::Cache;
use crate::cli::status::{Screen, Style};
use crate::cli::{Globals, first_use};
use crate::error::{Failure, Kind, builder, hint};
use crate::interrupt::Interrupt;
use crate::pki::{self, Identities, Running, RunningHost};
use crate::project::Project;
use crate::report::Progress;
use crate::running::check::machine::{Key, Known};
use crate::running::check::{Others, Verdict};
use crate::running::deliver::Parcel;
use crate::running::plan::{Plan, plan};
use crate::ssh::Ssh;
use crate::ssh::trouble::Around;

mod bring;
mod field;
mod gone;
mod identity;
mod state;
mod wait;

use bring::{Agents, Way};
use field::Field;
use state::{Line, Outcome, Work};

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
/// an SSH server that knows your key, and sudo, with --ask-sudo also by password.
///
/// The same command again brings what is missing, and otherwise changes nothing.
/// Exit code 0 if all nodes are ready, otherwise 6; 5 if none can be reached.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct ConfigArgs {
    /// The hosts; without it, the cluster file
    #[arg(value_name = "FILE")]
    pub(super) hosts: Option<PathBuf>,
    /// Only look, and show what there is to do
    #[arg(long)]
    dry_run: bool,
    /// Do not ask before nodes are taken out, or over; machines that need --replace are refused
    #[arg(short, long)]
    yes: bool,
    /// Accept that a node is another machine now: it gets a new key, and the former one is revoked
    ///
    /// A node's key belongs to the machine that it was delivered to, known by its
    /// SSH host key. A machine with the name of another node is refused, unless
    /// this option names both, or the answer at the terminal is yes. HOST is
    /// written as in the file; without it, the host is called like the node.
    #[arg(long, value_name = "NODE=HOST", value_delimiter = ',', value_parser = identity::replacement)]
    replace: Vec<(Hostname, String)>,
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
    /// Ask once for the password that sudo wants on the hosts
    ///
    /// It is read from the terminal without an echo, or else is the first line of
    /// standard input. It goes to the hosts over standard input of ssh, and is
    /// written down nowhere: the next run asks again.
    #[arg(long)]
    ask_sudo: bool,
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
    let ssh = ssh.telling_host_keys();
    let limits = bring::limits(usize::from(args.jobs), args.ssh_timeout);
    let progress = Progress::new(globals.quiet, globals.json);
    let ssh = Arc::new(ssh);
    let around = Around {
        ours: None,
        own: args.ssh_config.clone(),
        user: field.user.clone(),
        at: field.places()?,
        ssh: Some(Arc::clone(&ssh)),
    };
    let (ask_sudo, password) = (args.ask_sudo, OnceCell::new());
    let way = Way { ssh, limits, interrupt: &interrupt, progress, ask_sudo, password };

    let mut outlook = Outlook::new(&field, &way, args)?;
    if !globals.json {
        print(&state::table(&outlook.lines, &outlook.gone, &outlook.held))?;
    }
    let mut outcome = Outcome::default();
    let mut failures = Vec::new();
    if args.dry_run {
        failures.extend(state::judge(&outlook.lines, &around, false));
    } else if let Some(why) = outlook.hindrance() {
        failures.extend(state::judge(&outlook.lines, &around, false).map(|failure| failure.hint(why)));
    } else {
        let brought = outlook.bring(&field, &way, globals, args)?;
        outcome.brought = true;
        failures.extend(state::judge(&outlook.lines, &around, true));
        if let Some(identities) = brought {
            let gone = (outlook.gone.as_slice(), &identities.cluster_id);
            match gone::clean(&field, &outlook.verdicts, gone, &way, own) {
                Ok(cleaned) => outcome.cleaned = cleaned,
                Err(failure) => failures.push(failure),
            }
            let waited = if args.no_wait {
                outlook.call_in(&field, &identities, &way)
            } else {
                let waited = outlook.wait(&identities, globals, args, &interrupt);
                outcome.formed = Some(waited.is_ok());
                waited
            };
            failures.extend(waited.err());
        }
    }
    let absent = (outlook.gone.as_slice(), outlook.held.as_slice());
    let document = state::document(&outlook.lines, absent, &outcome);
    let Some(failure) = failures.into_iter().reduce(Failure::and) else {
        return if globals.json { print(&crate::json::value_pretty(&document)) } else { Ok(()) };
    };
    let failure = failure.with(document);
    Err(state::advise_on_held(&outlook.held).into_iter().fold(failure, Failure::hint))
}

/// What was found, and what is to become of it.
struct Outlook {
    lines: Vec<Line>,
    verdicts: Vec<Verdict>,
    others: Others,
    /// Nodes that the file has no more.
    gone: Vec<RunningHost>,
    /// Nodes of which nobody can be sure that it has them no more.
    held: Vec<RunningHost>,
    /// The nodes from now on, as they are kept.
    record: Running,
    project: Project,
    /// How many managers the file has.
    managers: usize,
    agents: Agents,
}

impl Outlook {
    /// Asks every machine. Changes nothing.
    fn new(field: &Field, way: &Way<'_>, args: &ConfigArgs) -> Result<Self, Failure> {
        let mut lines: Vec<_> = field.entries.iter().map(Line::new).collect();
        let ours = field.project_before().map(|project| pki::existing(&project)).transpose()?;
        let ours = ours.map(|identities| identities.cluster_id);
        let others = if args.take_over { Others::TakeOver } else { Others::Keep };
        let mut found = way.look(field, &mut lines)?;
        let given = identity::given(field, &args.replace)?;
        let cards = pki::card_host_keys(&field.secrets_folder())?;
        let known = Known { earlier: field.earlier.as_ref(), cards: &cards, replaced: &given };
        way.look_again(&mut found, &known)?;
        let mut replaced = given.clone();
        if !args.yes && !args.dry_run && !way.interrupt.asked() {
            let first = Way::first_look(field, &found, &known, (ours.as_ref(), others));
            identity::ask(field, &first, &mut replaced, way)?;
        }
        let known = Known { replaced: &replaced, ..known };
        let verdicts = way.judge(field, &mut lines, found, &known, (ours.as_ref(), others))?;
        if way.interrupt.asked() {
            return Err(ConfigError::Interrupted.into());
        }
        let Plan { mut hosts, gone, held } = plan(&field.entries, &verdicts, field.earlier.as_ref());
        hosts.retain(|host| !field.has_card(host, &verdicts, ours.as_ref()));
        let record = field.record(hosts);
        let project = field.project(&record);
        let candidates = verdicts.iter().filter_map(Verdict::candidate);
        let agents = Agents::find(candidates, args.firstboot.as_deref())?;
        let managers = field.entries.iter().filter(|entry| entry.role == Role::Manager).count();
        let mut outlook = Self { lines, verdicts, others, gone, held, record, project, managers, agents };
        let preview = pki::preview_for(&outlook.project, &outlook.nodes(), &outlook.new_keys())?;
        outlook.pack(&preview)?;
        Ok(outlook)
    }

    /// The nodes that have a key from here, from now on.
    fn nodes(&self) -> BTreeSet<Hostname> {
        self.record.hosts.iter().map(|host| host.name.clone()).collect()
    }

    /// Those of them that get a new key.
    fn new_keys(&self) -> BTreeSet<Hostname> {
        let candidates = self.verdicts.iter().filter_map(Verdict::candidate);
        let new = candidates.filter(|candidate| candidate.key == Key::New);
        new.map(|candidate| candidate.name.clone()).collect()
    }

    /// Nodes of before that are other machines from now on.
    fn replaced_nodes(&self, field: &Field) -> BTreeSet<Hostname> {
        let before = field.earlier.iter().flat_map(|earlier| &earlier.hosts);
        let before: BTreeSet<_> = before.map(|host| host.name.clone()).collect();
        self.new_keys().intersection(&before).cloned().collect()
    }

    /// What keeps us from doing anything.
    fn hindrance(&self) -> Option<&'static str> {
        let nodes = self.project.cluster.nodes.iter();
        let managers = nodes.filter(|node| node.role == Role::Manager).count();
        if managers == 0 || self.lines.iter().all(|line| line.state.is_err()) {
            return Some("without a manager, and a machine to bring in, nothing was changed");
        }
        // Those that cannot go yet, and those that are to come.
        let is_more = managers > self.managers;
        is_more.then_some("there would be more managers than the file has: nothing was changed")
    }

    fn pack(&mut self, identities: &Identities) -> Result<Vec<Parcel>, Failure> {
        let meant = (&self.project, self.record.hosts.as_slice());
        bring::pack(&self.verdicts, meant, (identities, &self.agents), self.others, &mut self.lines)
    }

    /// Asks what has to be asked, takes out who is gone, and brings the machines what they need. The identities, unless no
    /// machine is in.
    fn bring(
        &mut self,
        field: &Field,
        way: &Way<'_>,
        globals: &Globals,
        args: &ConfigArgs,
    ) -> Result<Option<Identities>, Failure> {
        let cache = Cache::open(globals.cache.as_deref())?;
        if !args.yes {
            gone::confirm(&self.gone, &self.taken_over(), way)?;
        }
        gone::take_out(field, &self.gone, &self.verdicts, way)?;
        // A machine that comes back later is a new one, and gets a new key without a question.
        for gone in &self.gone {
            pki::set_aside(&self.project, &gone.name)?;
        }
        identity::revoke(field, &self.replaced_nodes(field), way)?;
        let identities = pki::open_for(&self.project, &self.nodes(), &self.new_keys(), &self.record)?;
        let name = self.project.cluster.name.as_str();
        first_use::show(&identities.ca_fingerprint()?, name, &cache, &way.progress)?;
        // Where only the user's ssh knew the way, the managers have to be found all the same.
        let candidates = self.verdicts.iter().filter_map(Verdict::candidate);
        let heard = candidates.filter_map(|one| Some((one.name.clone(), one.found.address?)));
        pki::remember_addresses(&self.project, &heard.collect())?;
        let parcels = self.pack(&identities)?;
        way.deliver(&parcels, &self.agents, &mut self.lines).map_err(ConfigError::Run)?;
        Ok(self.lines.iter().any(|line| line.state.is_ok()).then_some(identities))
    }

    /// Machines that leave another swarm for this one.
    fn taken_over(&self) -> Vec<String> {
        let mut taken = Vec::new();
        for (line, verdict) in self.lines.iter().zip(&self.verdicts) {
            let is_ours = matches!(line.state, Ok(Work::Nothing | Work::Update | Work::Card) | Err(_));
            if verdict.candidate().is_some_and(|candidate| candidate.found.swarm) && !is_ours {
                taken.push(line.host.to_string());
            }
        }
        taken
    }

    /// The machines that are in.
    fn names(&self) -> Vec<Hostname> {
        let lines = self.lines.iter().filter(|line| line.state.is_ok());
        lines.filter_map(|line| line.name.clone()).collect()
    }

    /// Has the machines come in again that were told to leave before; at first there are none.
    fn call_in(&self, field: &Field, identities: &Identities, way: &Way<'_>) -> Result<(), Failure> {
        let of = (&self.project, identities);
        if field.earlier.is_some() && !wait::call_in(of, &self.names(), way.interrupt)? {
            let text = "not all nodes have said yet whether they are out of the swarm; if one stays out: ";
            way.progress.say(&hint![text, builder(["up"])].text(&self.project.file));
        }
        Ok(())
    }

    /// Shows the board until the machines that are in are ready.
    fn wait(
        &self,
        identities: &Identities,
        globals: &Globals,
        args: &ConfigArgs,
        interrupt: &Interrupt,
    ) -> Result<(), Failure> {
        let names = self.names();
        let (mut out, mut talk, mut nowhere) = (io::stdout(), io::stderr(), io::sink());
        let terminal = out.is_terminal() && !globals.json;
        let style = Style { json: false, quiet: globals.quiet, terminal };
        let shown: &mut dyn Write = if globals.json { &mut nowhere } else { &mut out };
        let mut screen = Screen::new(style, true, shown, &mut talk);
        let of = (&self.project, identities);
        wait::until_ready(of, &names, args.timeout, interrupt, &mut screen)
    }
}

fn print(text: &str) -> Result<(), Failure> {
    Ok(io::stdout().lock().write_all(text.as_bytes()).map_err(ConfigError::Print)?)
}
