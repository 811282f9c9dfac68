//! The machines asked, and what they need brought to them: all at once, and none waits for another but between the steps.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cluster::host::Host;
use cluster::name::ClusterId;
use cluster::secret::Secret;

use super::ConfigError;
use super::field::Field;
use super::state::{Line, Trouble, Work};
use crate::agent::{self, Agent};
use crate::cli::password;
use crate::elf::Arch;
use crate::error::Failure;
use crate::interrupt::Interrupt;
use crate::pki::{Identities, RunningHost};
use crate::project::Project;
use crate::report::Progress;
use crate::running::check::{self, Candidate, Obstacle, Others, Verdict};
use crate::running::deliver::Parcel;
use crate::running::probe::{self, Root};
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

    /// Asks every machine, and judges it.
    pub(super) fn ask(
        &self,
        field: &Field,
        lines: &mut [Line],
        ours: Option<&ClusterId>,
        others: Others,
    ) -> Result<Vec<Verdict>, Failure> {
        let all: Vec<_> = (0..field.entries.len()).collect();
        let mut answers = self.probe(&all, None, "looking at").map_err(ConfigError::Run)?;
        let mut untried = Untried::default();
        if self.ask_sudo {
            untried = self.try_password(&mut answers)?;
        }
        let found: Vec<_> = (0..lines.len())
            .map(|index| {
                let answer = answers.remove(&index)?;
                let line = lines.get_mut(index)?;
                match &answer.end {
                    End::Exit(_) => Some(probe::read(&answer.out)),
                    end => {
                        line.state = Err(Trouble::Ssh(end.clone()));
                        None
                    }
                }
            })
            .collect();
        // A clock before 1970 says nothing.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let earlier = field.earlier.as_ref();
        let docker = field.docker();
        let mut verdicts = check::check(&field.entries, &found, earlier, ours, others, &docker, now);
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

    fn probe(
        &self,
        machines: &[usize],
        password: Option<&Secret<String>>,
        doing: &str,
    ) -> io::Result<BTreeMap<usize, Answer>> {
        let script = Arc::new(probe::script(password));
        let words = Arc::new(vec!["sh -s".to_owned()]);
        let job = |index: &usize| Job {
            index: *index,
            words: Arc::clone(&words),
            input: vec![Arc::clone(&script)],
        };
        self.collect(machines.iter().map(job).collect(), self.limits, doing)
    }

    /// Asks the machines again that want a password, with the one that the operator types now. One after the other until one
    /// takes it, then all others at once; after [`REFUSALS`] refusals no other is asked.
    fn try_password(&self, answers: &mut BTreeMap<usize, Answer>) -> Result<Untried, Failure> {
        let root = |answer: &Answer| Some(probe::read(&answer.out)?.root);
        let wants = |(_, answer): &(&usize, &Answer)| matches!(root(answer), Some(Root::No(_)));
        let wanting: Vec<usize> = answers.iter().filter(wants).map(|(index, _)| *index).collect();
        if wanting.is_empty() {
            return Ok(Untried::default());
        }
        let password = password::ask("password for sudo on the hosts", self.interrupt)?;
        let password = self.password.get_or_init(|| password);
        let (mut rest, mut refusals, mut refused_by) = (wanting.as_slice(), 0, None);
        while let Some((index, others)) = rest.split_first() {
            rest = others;
            let tried =
                self.probe(&[*index], Some(password), "trying the password on").map_err(ConfigError::Run)?;
            let outcome = tried.values().next().and_then(root);
            answers.extend(tried);
            match outcome {
                Some(Root::Password | Root::Sudo | Root::Yes) => {
                    let tried =
                        self.probe(rest, Some(password), "looking again at").map_err(ConfigError::Run)?;
                    answers.extend(tried);
                    return Ok(Untried::default());
                }
                Some(Root::Refused { wrong: true, .. }) => {
                    refusals += 1;
                    refused_by = refused_by.or_else(|| self.ssh.hosts().get(*index).cloned());
                }
                _ => {}
            }
            if refusals >= REFUSALS {
                break;
            }
        }
        Ok(Untried { machines: rest.to_vec(), refused_by })
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
