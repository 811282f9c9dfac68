//! The machines asked, and what they need brought to them: all at once, and none waits for another but between the steps.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cluster::host::Host;
use cluster::name::{ClusterId, Hostname};
use cluster::secret::Secret;

use super::ConfigError;
use super::field::Field;
use super::state::{Line, Trouble, Work};
use crate::agent::{self, Agent};
use crate::cli::password;
use crate::elf::Arch;
use crate::error::Failure;
use crate::host_key::HostKey;
use crate::interrupt::Interrupt;
use crate::pki::{Identities, RunningHost};
use crate::project::Project;
use crate::report::Progress;
use crate::running::check::machine::Known;
use crate::running::check::{self, Candidate, Entry, Obstacle, Others, Verdict};
use crate::running::deliver::Parcel;
use crate::running::probe::{self, Found, Root};
use crate::ssh::Ssh;
use crate::ssh::batch::{End, Job, Limits};
use crate::ssh::collect::{Answer, collect};

/// How many times longer sending the agent may take than asking: it has megabytes, and a Pi's Wi-Fi is slow.
const SENDING: u32 = 10;

/// How many machines may refuse a password before it is taken for a wrong one everywhere: where accounts are central, each try
/// counts against the same one.
const REFUSALS: usize = 2;

/// What leads to the machines.
pub(super) struct Way<'a> {
    pub(super) ssh: Arc<Ssh>,
    pub(super) limits: Limits,
    pub(super) interrupt: &'a Interrupt,
    pub(super) progress: Progress,
    /// Whether the operator wants to be asked for a password for `sudo`.
    pub(super) ask_sudo: bool,
    /// The password, once it was asked for.
    pub(super) password: OnceCell<Secret<String>>,
}

impl Way<'_> {
    /// What `sudo` may ask for.
    pub(super) fn password(&self) -> Option<&Secret<String>> {
        self.password.get()
    }

    fn collect(&self, jobs: Vec<Job>, limits: Limits, doing: &str) -> io::Result<BTreeMap<usize, Answer>> {
        let all = jobs.len();
        if all == 0 {
            return Ok(BTreeMap::new());
        }
        self.progress.say(&format!("{doing} {all} host{}", if all == 1 { "" } else { "s" }));
        // The summary says who failed.
        collect(&self.ssh, jobs, limits, self.interrupt, |_, _| {})
    }

    /// Asks every machine, and gives what it answered, each in its place.
    pub(super) fn look(&self, field: &Field, lines: &mut [Line]) -> Result<Vec<Seen>, Failure> {
        let all: Vec<_> = (0..field.entries.len()).collect();
        let mut answers = self.probe(&all, "looking at").map_err(ConfigError::Run)?;
        let lines = lines.iter_mut().enumerate();
        Ok(lines.map(|(index, line)| seen(&answers.remove(&index)?, line)).collect())
    }

    /// Judges every machine by its first answer.
    pub(super) fn first_look(
        field: &Field,
        found: &[Seen],
        known: &Known<'_>,
        (ours, others): (Option<&ClusterId>, Others),
    ) -> Vec<Verdict> {
        check::check(&field.entries, found, known, ours, others, &field.docker(), now())
    }

    /// Judges every machine. With `--ask-sudo`, asks for the password for `sudo` first and tries it on the machines whose identity is
    /// known.
    pub(super) fn judge(
        &self,
        field: &Field,
        lines: &mut [Line],
        mut found: Vec<Seen>,
        known: &Known<'_>,
        (ours, others): (Option<&ClusterId>, Others),
    ) -> Result<Vec<Verdict>, Failure> {
        let untried = match self.ask_sudo {
            true => {
                let is_known = |index, found: &Found| is_known(field, index, found, known, ours);
                self.try_password(&mut found, lines, is_known)?
            }
            false => Untried::default(),
        };
        let mut verdicts = Self::first_look(field, &found, known, (ours, others));
        untried.mark(&mut verdicts);
        for ((line, found), verdict) in lines.iter_mut().zip(found).zip(&verdicts) {
            line.system = found.flatten().map(|found| found.system).unwrap_or_default();
            match verdict {
                Verdict::Unfit(obstacle, _) => line.state = Err(Trouble::Unfit(obstacle.clone())),
                Verdict::Fit(candidate) => {
                    line.name = Some(candidate.name.clone());
                    line.notes.clone_from(&candidate.notes);
                }
                Verdict::Unasked => {}
            }
        }
        Ok(verdicts)
    }

    /// Asks machines again of which `ssh` has chosen another type of host key than the one by which they are known, for that type.
    /// One that does not prove the known key keeps its first answer.
    pub(super) fn look_again(&self, found: &mut [Seen], known: &Known<'_>) -> Result<(), Failure> {
        let other = found.iter().enumerate().filter_map(|(index, seen)| {
            let wanted = known.key_of_other_type(seen.as_ref()?.as_ref()?)?;
            Some((index, wanted.clone()))
        });
        let other: Vec<_> = other.collect();
        let answers = self.probe_with(&other, None, "asking for the known type of host key of");
        for (index, answer) in answers.map_err(ConfigError::Run)? {
            if let (End::Exit(_), Some(place)) = (&answer.end, found.get_mut(index)) {
                *place = Some(read(&answer));
            }
        }
        Ok(())
    }

    fn probe(&self, machines: &[usize], doing: &str) -> io::Result<BTreeMap<usize, Answer>> {
        let script = Arc::new(probe::script(None));
        let words = Arc::new(vec!["sh -s".to_owned()]);
        let job = |index: &usize| Job {
            index: *index,
            words: Arc::clone(&words),
            input: vec![Arc::clone(&script)],
            only_to: None,
        };
        self.collect(machines.iter().map(job).collect(), self.limits, doing)
    }

    /// As [`Self::probe`], for machines with these host keys only, and with a password.
    fn probe_with(
        &self,
        machines: &[(usize, HostKey)],
        password: Option<&Secret<String>>,
        doing: &str,
    ) -> io::Result<BTreeMap<usize, Answer>> {
        let script = Arc::new(probe::script(password));
        let words = Arc::new(vec!["sh -c 'echo; exec sh -s'".to_owned()]);
        let job = |(index, host_key): &(usize, HostKey)| Job {
            index: *index,
            words: Arc::clone(&words),
            input: vec![Arc::clone(&script)],
            only_to: Some(host_key.clone()),
        };
        self.collect(machines.iter().map(job).collect(), self.limits, doing)
    }

    /// Asks those machines again that want a password and that `is_known` accepts, with the one that the operator types now. One
    /// after the other until one takes it, then all others at once; after [`REFUSALS`] refusals no other is asked.
    fn try_password(
        &self,
        found: &mut [Seen],
        lines: &mut [Line],
        is_known: impl Fn(usize, &Found) -> bool,
    ) -> Result<Untried, Failure> {
        let wanting = found.iter().enumerate().filter_map(|(index, seen)| {
            let found = seen.as_ref()?.as_ref()?;
            let wants = matches!(found.root, Root::No(_)) && is_known(index, found);
            Some((index, found.host_key.clone().filter(|_| wants)?))
        });
        let wanting: Vec<_> = wanting.collect();
        if wanting.is_empty() {
            return Ok(Untried::default());
        }
        let password = password::ask("password for sudo on the hosts", self.interrupt)?;
        let password = password.ok_or(ConfigError::Interrupted)?;
        let password = self.password.get_or_init(|| password);
        let mut take = |tried: BTreeMap<usize, Answer>| {
            let mut roots = Vec::new();
            for (index, answer) in tried {
                let Some((place, line)) = found.get_mut(index).zip(lines.get_mut(index)) else { continue };
                *place = seen(&answer, line);
                roots.extend(place.iter().flatten().map(|found| found.root.clone()));
            }
            roots.pop()
        };
        let (mut rest, mut refusals, mut refused_by) = (wanting.as_slice(), 0, None);
        while let Some((first, others)) = rest.split_first() {
            rest = others;
            let one = std::slice::from_ref(first);
            let tried =
                self.probe_with(one, Some(password), "trying the password on").map_err(ConfigError::Run)?;
            match take(tried) {
                Some(Root::Password | Root::Sudo | Root::Yes) => {
                    let tried = self
                        .probe_with(rest, Some(password), "looking again at")
                        .map_err(ConfigError::Run)?;
                    take(tried);
                    return Ok(Untried::default());
                }
                Some(Root::Refused { wrong: true, .. }) => {
                    refusals += 1;
                    refused_by = refused_by.or_else(|| self.ssh.hosts().get(first.0).cloned());
                }
                _ => {}
            }
            if refusals >= REFUSALS {
                break;
            }
        }
        Ok(Untried { machines: rest.iter().map(|(index, _)| *index).collect(), refused_by })
    }

    /// Brings the parcels to their machines, and notes how that went.
    pub(super) fn deliver(&self, parcels: &[Parcel], agents: &Agents, lines: &mut [Line]) -> io::Result<()> {
        let long = Limits { timeout: self.limits.timeout.map(|timeout| timeout * SENDING), ..self.limits };
        let send = parcels.iter().filter(|parcel| parcel.agent);
        let send = send.filter_map(|parcel| {
            let (agent, bytes) = agents.0.get(parcel.arch.name())?;
            Some(parcel.send_agent(agent, bytes, self.password()))
        });
        let sent = self.collect(send.collect(), long, "sending the agent to")?;
        note(&sent, lines);
        let arrived =
            |parcel: &&Parcel| sent.get(&parcel.index).is_none_or(|answer| answer.end == End::Exit(0));
        let adopt = parcels.iter().filter(|parcel| parcel.payload).filter(arrived);
        let adopt = adopt.map(|parcel| parcel.send_payload(self.password()));
        let adopted = self.collect(adopt.collect(), long, "starting the agent on")?;
        note(&adopted, lines);
        Ok(())
    }
}

/// This computer's clock, seconds since 1970. One before that says nothing.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// What a machine answered: the outer `None` where it could not be asked, the inner where it did not answer as asked.
pub(super) type Seen = Option<Option<Found>>;

/// What a machine said, and the host key that it proved. One that could not be asked is noted.
fn seen(answer: &Answer, line: &mut Line) -> Seen {
    if !matches!(answer.end, End::Exit(_)) {
        line.state = Err(Trouble::Ssh(answer.end.clone()));
        return None;
    }
    Some(read(answer))
}

fn read(answer: &Answer) -> Option<Found> {
    let found = probe::read(&answer.out);
    found.map(|found| Found { host_key: answer.host_key.clone(), ..found })
}

/// Whether a machine may be given what its node gets.
fn is_known(field: &Field, index: usize, found: &Found, known: &Known<'_>, ours: Option<&ClusterId>) -> bool {
    let Ok(name) = Hostname::try_from(found.name.as_str()) else { return false };
    let is_planned = |entry: &&Entry| entry.name.as_ref().is_none_or(|planned| *planned == name);
    let entry = field.entries.get(index).filter(is_planned);
    entry.is_some_and(|entry| known.key(entry, found, &name, ours).is_ok())
}

/// Machines on which a password was not tried, for others have refused it.
#[derive(Debug, Default)]
struct Untried {
    machines: Vec<usize>,
    refused_by: Option<Host>,
}

impl Untried {
    fn mark(self, verdicts: &mut [Verdict]) {
        let Some(refused_by) = self.refused_by else { return };
        for index in self.machines {
            if let Some(Verdict::Unfit(obstacle @ Obstacle::NoSudo(_), _)) = verdicts.get_mut(index) {
                *obstacle = Obstacle::Untried(refused_by.clone());
            }
        }
    }
}

fn note(answers: &BTreeMap<usize, Answer>, lines: &mut [Line]) {
    for (index, answer) in answers.iter().filter(|(_, answer)| answer.end != End::Exit(0)) {
        if let Some(line) = lines.get_mut(*index) {
            line.take(answer);
        }
    }
}

/// The agents for these machines, each read once.
pub(super) struct Agents(BTreeMap<&'static str, (Agent, Input)>);

/// What a job sends.
type Input = Arc<Secret<Vec<u8>>>;

impl Agents {
    /// Finds the agents; `given` is taken for all.
    pub(super) fn find<'c>(
        candidates: impl Iterator<Item = &'c Candidate>,
        given: Option<&Path>,
    ) -> Result<Self, Failure> {
        let mut agents = BTreeMap::new();
        for arch in candidates.map(|candidate| candidate.arch) {
            if !agents.contains_key(arch.name()) {
                let agent = agent::find(arch, given).map_err(agent::AgentError::into_failure)?;
                let bytes = Arc::new(Secret::new(agent.bytes.clone()));
                agents.insert(arch.name(), (agent, bytes));
            }
        }
        Ok(Self(agents))
    }

    fn of(&self, arch: Arch) -> Option<&Agent> {
        self.0.get(arch.name()).map(|(agent, _)| agent)
    }
}

/// What the fit machines are to get, with `hosts` as the nodes from now on.
pub(super) fn pack(
    verdicts: &[Verdict],
    (project, hosts): (&Project, &[RunningHost]),
    (identities, agents): (&Identities, &Agents),
    others: Others,
    lines: &mut [Line],
) -> Result<Vec<Parcel>, Failure> {
    let mut parcels = Vec::new();
    for (index, (verdict, line)) in verdicts.iter().zip(lines).enumerate() {
        let Verdict::Fit(candidate) = verdict else { continue };
        let Some(agent) = agents.of(candidate.arch) else { continue };
        // What is no node from here has a card of ours.
        if hosts.iter().all(|host| host.name != candidate.name) {
            line.state = Ok(Work::Card);
            continue;
        }
        let ours = candidate.found.card.as_ref().is_some_and(|card| card.cluster_id == identities.cluster_id);
        let plan = (&project.cluster, hosts);
        let parcel = Parcel::pack(index, candidate, plan, (identities, agent), others)?;
        line.state = Ok(match (parcel.payload, ours) {
            (false, _) => Work::Nothing,
            (true, true) => Work::Update,
            (true, false) => Work::Install { docker: !candidate.found.docker },
        });
        if parcel.payload {
            parcels.push(parcel);
        }
    }
    Ok(parcels)
}

/// Time for one question to one machine.
pub(super) const fn limits(jobs: usize, timeout: Duration) -> Limits {
    Limits { jobs, timeout: Some(timeout) }
}
