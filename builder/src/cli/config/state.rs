//! What becomes of each machine, from the first question to the end, and how it is told.

use std::fmt;

use cluster::host::Host;
use cluster::name::Hostname;
use cluster::text::printable;
use serde_json::{Value, json};
use thiserror::Error;

use crate::cli::columns;
use crate::cli::exec::summary::{gather, names, reason};
use crate::error::{Failure, Hint, Kind, builder, hint};
use crate::pki::RunningHost;
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
            // The error below says why.
            Err(_) => "nothing: it cannot be brought in".to_owned(),
        }
    }

    /// What became of it; where nothing was brought to anybody, what would.
    fn result(&self, brought: bool) -> &'static str {
        match &self.state {
            Ok(Work::Nothing | Work::Card) => "unchanged",
            Ok(Work::Install { .. }) if brought => "installed",
            Ok(Work::Install { .. }) => "would-install",
            Ok(Work::Update) if brought => "updated",
            Ok(Work::Update) => "would-update",
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

/// The machines and what there is to do with each, and with the nodes that the file has no more.
pub(super) fn table(lines: &[Line], gone: &[RunningHost], held: &[RunningHost]) -> String {
    const TITLES: [&str; 5] = ["HOST", "NODE", "ROLE", "SYSTEM", "TO DO"];
    let row = |line: &Line| {
        let name = line.name.as_ref().map_or("-".to_owned(), ToString::to_string);
        let system = if line.system.is_empty() { "-" } else { &line.system };
        let cells = [line.host.to_string(), name, line.role.to_owned(), system.to_owned(), line.will()];
        (cells, line.notes.clone())
    };
    let absent = |to_do: &'static str| {
        move |host: &RunningHost| {
            let (name, role) = (host.name.to_string(), host.role.as_str().to_owned());
            ([host.host.clone(), name, role, "-".to_owned(), to_do.to_owned()], Vec::new())
        }
    };
    let gone = gone.iter().map(absent("take it out of the swarm: it is not in the file any more"));
    let held = held.iter().map(absent("nothing yet: it may be one of those that could not be asked"));
    columns::table(TITLES, lines.iter().map(row).chain(gone).chain(held).collect())
}

/// What came of it all, beside the machines' own ends.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Whether anything was brought to anybody.
    pub(super) brought: bool,
    /// Whether the swarm is formed; `None` where nobody looked.
    pub(super) formed: Option<bool>,
    /// Nodes that the file has no more, and that are free of our software.
    pub(super) cleaned: Vec<Hostname>,
}

/// The end for programs; its keys stay.
pub(super) fn document(
    lines: &[Line],
    (gone, held): (&[RunningHost], &[RunningHost]),
    outcome: &Outcome,
) -> Value {
    let hosts = lines.iter().map(|line| {
        let problem = line.state.as_ref().err().map(Trouble::reason);
        json!({
            "host": line.host.to_string(), "name": line.name, "role": line.role, "system": line.system,
            "result": line.result(outcome.brought), "problem": problem, "notes": line.notes,
        })
    });
    let gone = gone.iter().map(|host| {
        json!({ "host": host.host, "name": host.name, "cleaned": outcome.cleaned.contains(&host.name) })
    });
    let held = held.iter().map(|host| json!({ "host": host.host, "name": host.name }));
    json!({
        "hosts": hosts.collect::<Vec<_>>(), "not_in_file": gone.collect::<Vec<_>>(),
        "held": held.collect::<Vec<_>>(), "formed": outcome.formed,
    })
}

/// What to do about nodes that nobody can be sure that the file has no more.
pub(super) fn advise_on_held(held: &[RunningHost]) -> Option<Hint> {
    let names: Vec<_> = held.iter().map(|host| format!("{} ({})", host.name, host.host)).collect();
    let first = &held.first()?.name;
    let text = format!(
        "{}: not in the file any more, or one of those that could not be asked: nobody was taken out. Run the same command \
         again when all can be asked; to take one out by hand: ",
        names.join(", ")
    );
    Some(hint![text, builder(["rm", first.as_str()])])
}

/// Not every machine could be brought in.
#[derive(Debug, Error)]
struct Left {
    brought: bool,
    done: usize,
    all: usize,
    lines: Vec<String>,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.brought { "are in" } else { "can be brought in" };
        write!(f, "{} of {} hosts {what}", self.done, self.all)?;
        self.lines.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

/// Who could not be brought in, why, and what to type; `None` if all could. `brought`: whether anything was brought to anybody.
pub(super) fn judge(lines: &[Line], around: &Around, brought: bool) -> Option<Failure> {
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
    let left = Left { brought, done: lines.len() - bad.len(), all: lines.len(), lines: told };
    let advice =
        gather(bad.iter().map(|(line, trouble)| (advise_on(trouble, &line.host, around), &line.host)));
    let failure = Failure::new(kind, left);
    let failure = advice
        .iter()
        .filter_map(|(advice, hosts)| Some(advice.clone()?.after(format!("{}: ", names(hosts)))))
        .fold(failure, Failure::hint);
    Some(failure.hint("then run the same command again: what is done stays done"))
}

fn advise_on(trouble: &Trouble, host: &Host, around: &Around) -> Option<Hint> {
    match trouble {
        Trouble::Ssh(End::Trouble(ssh)) => Some(advise(ssh, &[host], around)),
        Trouble::Ssh(End::TimedOut { .. }) => Some(
            format!("see where it hangs: {} true; --ssh-timeout gives it more time", around.ssh("", host))
                .into(),
        ),
        Trouble::Unfit(obstacle) => Some(obstacle.advice(&around.ssh("", host))),
        Trouble::Failed(_) => Some(format!("see what is wrong there: {}", around.ssh("", host)).into()),
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
        Trouble::Ssh(End::Trouble(trouble::Trouble { kind, said, known_in: None, is_early: false }))
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
        let [gone, held] = ["red09", "red08"].map(before);
        let failure = judge(&lines, &Around::default(), true).unwrap();
        assert_eq!(failure.kind(), Kind::NotAsWanted);
        insta::assert_snapshot!(format!("{}\n{}", table(&lines, &[gone], &[held]), failure.render()));
    }

    /// A node of before.
    fn before(name: &str) -> RunningHost {
        let host = format!("10.1.1.{}", name.trim_start_matches("red0"));
        RunningHost {
            host,
            name: Hostname::try_from(name).unwrap(),
            role: Role::Worker,
            address: None,
            host_key: None,
        }
    }

    #[test]
    fn programs_are_told_what_was_done_and_not_what_could_have_been() {
        let works = [Work::Nothing, Work::Card, Work::Install { docker: true }, Work::Update];
        let lines = works.map(|work| line("10.1.1.1", Some("red01"), Ok(work)));
        let gone = ["red02", "red03"].map(before);
        let told = |outcome: &Outcome| {
            let json = document(&lines, (gone.as_slice(), &[]), outcome);
            let results = json["hosts"].as_array().unwrap().iter().map(|host| host["result"].to_string());
            (results.collect::<Vec<_>>().join(" "), json["not_in_file"].to_string())
        };
        let (results, _) = told(&Outcome::default());
        assert_eq!(results, r#""unchanged" "unchanged" "would-install" "would-update""#);
        let cleaned = vec![gone[1].name.clone()];
        let (results, gone) = told(&Outcome { brought: true, cleaned, ..Outcome::default() });
        assert_eq!(results, r#""unchanged" "unchanged" "installed" "updated""#);
        insta::assert_snapshot!(gone, @r#"[{"cleaned":false,"host":"10.1.1.2","name":"red02"},{"cleaned":true,"host":"10.1.1.3","name":"red03"}]"#);
    }

    #[test]
    fn who_may_be_another_is_told_with_what_to_type() {
        assert_eq!(advise_on_held(&[]), None);
        let advice = advise_on_held(&["red03", "red04"].map(before)).unwrap();
        insta::assert_snapshot!(advice.show(None).text, @"red03 (10.1.1.3), red04 (10.1.1.4): not in the file any more, or one of those that could not be asked: nobody was taken out. Run the same command again when all can be asked; to take one out by hand: builder rm red03");
    }

    #[test]
    fn the_exit_code_tells_how_bad_it_is() {
        let off = || line("a", None, Err(ssh(trouble::Kind::Silent)));
        let kind = |lines: &[Line]| judge(lines, &Around::default(), true).map(|failure| failure.kind());
        assert_eq!(kind(&[line("a", None, Ok(Work::Update))]), None);
        assert_eq!(kind(&[off(), off()]), Some(Kind::Unreachable));
        assert_eq!(kind(&[off(), line("b", None, Ok(Work::Nothing))]), Some(Kind::NotAsWanted));
    }
}
