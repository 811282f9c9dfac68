//! What becomes of each machine, from the first question to the end, and how it is told.

use std::fmt;

use cluster::host::Host;
use cluster::name::Hostname;
use serde_json::{Value, json};
use thiserror::Error;

use crate::cli::columns;
use crate::cli::exec::summary::{gather, names, reason};
use crate::error::{Failure, Kind};
use crate::pki::RunningHost;
use crate::remote::printable;
use crate::running::check::{Entry, Obstacle};
use crate::ssh::batch::End;
use crate::ssh::collect::Answer;
use crate::ssh::trouble::{Around, advise};

/// Why a machine is not brought in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// `ssh` did not get through, or not in time.
    Ssh(End),
    /// It cannot be a node.
    Unfit(Obstacle),
    /// Something failed on it; what it said.
    Failed(String),
    /// Nobody asked: Ctrl-C, or the manager is out.
    Skipped,
}

/// What is or was done with a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Work {
    /// It is as it should be.
    Nothing,
    /// It has a card of ours, which says all.
    Card,
    /// It becomes a node.
    Install {
        /// Docker is not there yet.
        docker: bool,
    },
    /// It gets what changed.
    Update,
}

/// A machine.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) host: Host,
    pub(super) role: &'static str,
    pub(super) name: Option<Hostname>,
    pub(super) system: String,
    pub(super) notes: Vec<String>,
    pub(super) state: Result<Work, Trouble>,
}

impl Line {
    pub(super) fn new(entry: &Entry) -> Self {
        Self {
            host: entry.host.clone(),
            role: entry.role.as_str(),
            name: entry.name.clone(),
            system: String::new(),
            notes: Vec::new(),
            state: Err(Trouble::Skipped),
        }
    }

    /// Notes that a job on it did not go well.
    pub(super) fn take(&mut self, answer: &Answer) {
        self.state = Err(match &answer.end {
            End::Exit(_) => Trouble::Failed(last_line(&answer.err)),
            end => Trouble::Ssh(end.clone()),
        });
    }

    fn will(&self) -> String {
        match &self.state {
            Ok(Work::Nothing) => "nothing: it is as wanted".to_owned(),
            Ok(Work::Card) => "nothing: it has a card of this cluster".to_owned(),
            Ok(Work::Install { docker: false }) => "install the agent; Docker is there".to_owned(),
            Ok(Work::Install { docker: true }) => "install the agent, and Docker".to_owned(),
            Ok(Work::Update) => "update the agent".to_owned(),
            Err(trouble) => format!("cannot be brought in: {}", trouble.reason()),
        }
    }

    fn result(&self) -> &'static str {
        match &self.state {
            Ok(Work::Nothing | Work::Card) => "unchanged",
            Ok(Work::Install { .. }) => "installed",
            Ok(Work::Update) => "updated",
            Err(Trouble::Unfit(_)) => "unfit",
            Err(Trouble::Ssh(_)) => "unreachable",
            Err(Trouble::Failed(_)) => "failed",
            Err(Trouble::Skipped) => "skipped",
        }
    }
}

/// What a program said last, which is why it ended.
fn last_line(text: &str) -> String {
    let line = text.lines().rev().find(|line| !line.trim().is_empty());
    line.map_or_else(|| "it did not say why".to_owned(), |line| printable(line.trim()))
}

impl Trouble {
    fn reason(&self) -> String {
        match self {
            Self::Ssh(end) => reason(end),
            Self::Unfit(obstacle) => obstacle.to_string(),
            Self::Failed(said) => format!("the agent was not installed: {said}"),
            Self::Skipped => "not done".to_owned(),
        }
    }
}

/// The machines and what there is to do with each; `gone` are nodes that the file has no more.
pub(super) fn table(lines: &[Line], gone: &[RunningHost]) -> String {
    const TITLES: [&str; 5] = ["HOST", "NODE", "ROLE", "SYSTEM", "TO DO"];
    let row = |line: &Line| {
        let name = line.name.as_ref().map_or("-".to_owned(), ToString::to_string);
        let system = if line.system.is_empty() { "-" } else { &line.system };
        let cells = [line.host.to_string(), name, line.role.to_owned(), system.to_owned(), line.will()];
        (cells, line.notes.clone())
    };
    let leaving = |host: &RunningHost| {
        let to_do = "take it out of the swarm: it is not in the file any more".to_owned();
        let cells =
            [host.host.clone(), host.name.to_string(), host.role.as_str().to_owned(), "-".to_owned(), to_do];
        (cells, Vec::new())
    };
    columns::table(TITLES, lines.iter().map(row).chain(gone.iter().map(leaving)).collect())
}

/// The end for programs; its keys stay. `formed` is not said where nobody looked.
pub(super) fn document(lines: &[Line], gone: &[RunningHost], formed: Option<bool>) -> Value {
    let hosts = lines.iter().map(|line| {
        let problem = line.state.as_ref().err().map(Trouble::reason);
        json!({
            "host": line.host.to_string(), "name": line.name, "role": line.role, "system": line.system,
            "result": line.result(), "problem": problem, "notes": line.notes,
        })
    });
    let gone: Vec<_> = gone.iter().map(|host| json!({ "host": host.host, "name": host.name })).collect();
    json!({ "hosts": hosts.collect::<Vec<_>>(), "not_in_file": gone, "formed": formed })
}

/// Not every machine could be brought in.
#[derive(Debug, Error)]
struct Left {
    done: usize,
    all: usize,
    lines: Vec<String>,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} hosts are in", self.done, self.all)?;
        self.lines.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

/// Who could not be brought in, why, and what to type; `None` if all could.
pub(super) fn judge(lines: &[Line], around: &Around) -> Option<Failure> {
    let bad: Vec<_> = lines.iter().filter_map(|line| Some((line, line.state.as_ref().err()?))).collect();
    if bad.is_empty() {
        return None;
    }
    let unreachable =
        |trouble: &Trouble| matches!(trouble, Trouble::Ssh(End::Trouble(ssh)) if ssh.kind.is_unreachable());
    let all = bad.len() == lines.len() && bad.iter().all(|(_, trouble)| unreachable(trouble));
    let kind = if all { Kind::Unreachable } else { Kind::NotAsWanted };
    let reasons = gather(bad.iter().map(|(line, trouble)| (trouble.reason(), &line.host)));
    let told = reasons.iter().map(|(reason, hosts)| format!("{}: {reason}", names(hosts))).collect();
    let left = Left { done: lines.len() - bad.len(), all: lines.len(), lines: told };
    let advice =
        gather(bad.iter().map(|(line, trouble)| (advise_on(trouble, &line.host, around), &line.host)));
    let failure = Failure::new(kind, left);
    let failure = advice
        .iter()
        .filter_map(|(advice, hosts)| Some(format!("{}: {}", names(hosts), advice.as_ref()?)))
        .fold(failure, Failure::hint);
    Some(failure.hint("then run the same command again: what is done stays done"))
}

fn advise_on(trouble: &Trouble, host: &Host, around: &Around) -> Option<String> {
    match trouble {
        Trouble::Ssh(End::Trouble(ssh)) => Some(advise(ssh, &[host], around)),
        Trouble::Ssh(End::TimedOut { .. }) => Some(format!(
            "see where it hangs: {} true; --ssh-timeout gives it more time",
            around.ssh("", host)
        )),
        Trouble::Unfit(obstacle) => Some(obstacle.advice(&around.ssh("", host))),
        Trouble::Failed(_) => Some(format!("see what is wrong there: {}", around.ssh("", host))),
        Trouble::Ssh(_) | Trouble::Skipped => None,
    }
}

#[cfg(test)]
mod tests {
    use cluster::identity::Role;

    use super::*;
    use crate::ssh::trouble;

    fn line(host: &str, name: Option<&str>, state: Result<Work, Trouble>) -> Line {
        let host = Host::try_from(host).unwrap();
        let entry = Entry { host, role: Role::Worker, name: None, address: None };
        let name = name.map(|name| Hostname::try_from(name).unwrap());
        Line { name, state, ..Line::new(&entry) }
    }

    fn ssh(kind: trouble::Kind) -> Trouble {
        let said = "ssh: some words".to_owned();
        Trouble::Ssh(End::Trouble(trouble::Trouble { kind, said, known_in: None }))
    }

    #[test]
    fn what_is_wrong_with_which_is_told_with_what_to_type() {
        let full = Obstacle::Full { free: 12, needed: 1024 };
        let late = End::TimedOut { after: std::time::Duration::from_secs(60), got_in: true };
        let mut lines = [
            line("10.1.1.1", Some("red00"), Ok(Work::Install { docker: true })),
            line("10.1.1.2", None, Err(ssh(trouble::Kind::Silent))),
            line("10.1.1.3", None, Err(ssh(trouble::Kind::Silent))),
            line("10.1.1.4", Some("red04"), Err(Trouble::Unfit(full))),
            line("10.1.1.5", None, Err(Trouble::Ssh(late))),
            line("10.1.1.6", Some("red06"), Err(Trouble::Failed("cat: No space left on device".to_owned()))),
            line("10.1.1.7", Some("red07"), Ok(Work::Nothing)),
        ];
        lines[0].notes = vec!["its clock is 2h behind this computer's".to_owned()];
        let gone = [RunningHost {
            host: "10.1.1.9".to_owned(),
            name: Hostname::try_from("red09").unwrap(),
            role: Role::Worker,
            address: None,
        }];
        let failure = judge(&lines, &Around::default()).unwrap();
        assert_eq!(failure.kind(), Kind::NotAsWanted);
        insta::assert_snapshot!(format!("{}\n{}", table(&lines, &gone), failure.render()));
    }

    #[test]
    fn the_exit_code_tells_how_bad_it_is() {
        let off = || line("a", None, Err(ssh(trouble::Kind::Silent)));
        let kind = |lines: &[Line]| judge(lines, &Around::default()).map(|failure| failure.kind());
        assert_eq!(kind(&[line("a", None, Ok(Work::Update))]), None);
        assert_eq!(kind(&[off(), off()]), Some(Kind::Unreachable));
        assert_eq!(kind(&[off(), line("b", None, Ok(Work::Nothing))]), Some(Kind::NotAsWanted));
    }
}
