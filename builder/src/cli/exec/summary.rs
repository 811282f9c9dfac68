//! The end: how many did it, who did not, why, and what to type.

use std::fmt;

use cluster::host::Host;
use cluster::range::fold;
use thiserror::Error;

use crate::error::{Failure, Kind};
use crate::ssh::batch::End;
use crate::ssh::trouble::{self, Around, Trouble, advise};

/// In words, after the machine's name.
pub(in crate::cli) fn reason(end: &End) -> String {
    match end {
        End::Exit(255) => "exit code 255: the command's own, or a signal ended it".to_owned(),
        End::Exit(code) => format!("exit code {code}"),
        End::Trouble(Trouble { kind: trouble::Kind::Other | trouble::Kind::Settings, said, .. }) => {
            format!("ssh failed: {said}")
        }
        End::Trouble(trouble) => trouble.kind.reason().to_owned(),
        End::TimedOut { after, got_in } => {
            let when = if *got_in { "while the command ran" } else { "before it let us in" };
            format!("given up after {}, {when}", humantime::format_duration(*after))
        }
        End::Interrupted => "interrupted".to_owned(),
    }
}

/// How all machines ended.
#[derive(Debug)]
pub(in crate::cli) struct Summary<'a> {
    hosts: &'a [Host],
    ends: Vec<Option<End>>,
    around: Around,
}

/// What went wrong, a line for each way in which machines failed.
#[derive(Debug, Error)]
struct Failed {
    interrupted: bool,
    done: usize,
    all: usize,
    lines: Vec<String>,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.interrupted {
            f.write_str("interrupted: ")?;
        }
        write!(f, "{}", done(self.done, self.all))?;
        self.lines.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

fn done(done: usize, all: usize) -> String {
    let plural = if all == 1 { "" } else { "s" };
    format!("done on {done} of {all} host{plural}")
}

impl<'a> Summary<'a> {
    pub(in crate::cli) fn new(hosts: &'a [Host], around: Around) -> Self {
        Self { hosts, ends: vec![None; hosts.len()], around }
    }

    /// Notes how a machine ended.
    pub(in crate::cli) fn note(&mut self, index: usize, end: End) {
        if let Some(place) = self.ends.get_mut(index) {
            *place = Some(end);
        }
    }

    /// What to say when all went well.
    ///
    /// # Errors
    /// When one machine failed: [`Kind::NotAsWanted`], or [`Kind::Unreachable`] if none could be reached, or
    /// [`Kind::Failed`] if this was interrupted.
    pub(in crate::cli) fn judge(self, interrupted: bool) -> Result<String, Failure> {
        let all = self.hosts.len();
        let ends: Vec<(&Host, End)> = self
            .hosts
            .iter()
            .zip(self.ends)
            .map(|(host, end)| (host, end.unwrap_or(End::Interrupted)))
            .collect();
        let good = ends.iter().filter(|(_, end)| *end == End::Exit(0)).count();
        if good == all {
            return Ok(done(good, all));
        }
        let bad = || ends.iter().filter(|(_, end)| *end != End::Exit(0));
        let unreachable = |end: &End| matches!(end, End::Trouble(trouble) if trouble.kind.is_unreachable());
        let kind = if interrupted {
            Kind::Failed
        } else if ends.iter().all(|(_, end)| unreachable(end)) {
            Kind::Unreachable
        } else {
            Kind::NotAsWanted
        };
        let reasons = gather(bad().map(|(host, end)| (reason(end), *host)));
        let lines = reasons.iter().map(|(reason, hosts)| format!("{}: {reason}", names(hosts))).collect();
        let mut failure = Failure::new(kind, Failed { interrupted, done: good, all, lines });
        let troubles = gather(bad().filter_map(|(host, end)| match end {
            End::Trouble(trouble) => Some((trouble.kind, *host)),
            _ => None,
        }));
        for (kind, hosts) in troubles {
            let first = bad().find_map(|(_, end)| match end {
                End::Trouble(trouble) if trouble.kind == kind => Some(trouble),
                _ => None,
            });
            if let Some(first) = first {
                let advice = advise(first, &hosts, &self.around);
                failure = failure.hint(advice.after(format!("{}: ", names(&hosts))));
            }
        }
        let late: Vec<_> =
            bad().filter(|(_, end)| matches!(end, End::TimedOut { .. })).map(|(host, _)| *host).collect();
        if !late.is_empty() {
            let advice = "a longer --timeout gives it time; what was started there may go on";
            failure = failure.hint(format!("{}: {advice}", names(&late)));
        }
        Err(failure)
    }
}

/// Machines by what they share, in the order of the first of each.
pub(in crate::cli) fn gather<'h, K: PartialEq>(
    each: impl Iterator<Item = (K, &'h Host)>,
) -> Vec<(K, Vec<&'h Host>)> {
    let mut groups: Vec<(K, Vec<&Host>)> = Vec::new();
    for (key, host) in each {
        match groups.iter_mut().find(|(other, _)| *other == key) {
            Some((_, hosts)) => hosts.push(host),
            None => groups.push((key, vec![host])),
        }
    }
    groups
}

pub(in crate::cli) fn names(hosts: &[&Host]) -> String {
    fold(&hosts.iter().map(ToString::to_string).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn judged(ends: &[End], interrupted: bool) -> Result<String, Failure> {
        let hosts: Vec<Host> =
            (0..ends.len()).map(|n| Host::try_from(format!("red{n:02}").as_str()).unwrap()).collect();
        let mut summary = Summary::new(&hosts, Around::default());
        ends.iter().enumerate().for_each(|(index, end)| summary.note(index, end.clone()));
        summary.judge(interrupted)
    }

    fn trouble(kind: trouble::Kind) -> End {
        End::Trouble(Trouble { kind, said: "ssh: some words".to_owned(), known_in: None, is_early: false })
    }

    #[test]
    fn says_who_failed_why_and_what_to_type() {
        let late = End::TimedOut { after: Duration::from_secs(30), got_in: true };
        let ends = [
            End::Exit(0),
            trouble(trouble::Kind::Refused),
            End::Exit(3),
            trouble(trouble::Kind::Refused),
            late,
            trouble(trouble::Kind::Other),
            End::Exit(255),
        ];
        let failure = judged(&ends, false).unwrap_err();
        assert_eq!(failure.kind(), Kind::NotAsWanted);
        insta::assert_snapshot!(failure.render(), @r"
        error: done on 1 of 7 hosts
          red[01,03]: it cannot be reached: connection refused
          red02: exit code 3
          red04: given up after 30s, while the command ran
          red05: ssh failed: ssh: some words
          red06: exit code 255: the command's own, or a signal ended it
        hint: red[01,03]: still booting? Otherwise, on the Pi itself: sudo systemctl enable --now ssh
        hint: red05: see what ssh says: ssh -v pi@red05
        hint: red04: a longer --timeout gives it time; what was started there may go on
        ");
    }

    #[test]
    fn the_exit_code_tells_how_bad_it_is() {
        assert_eq!(judged(&[End::Exit(0), End::Exit(0)], false).unwrap(), "done on 2 of 2 hosts");
        let kind = |ends: &[End], interrupted| judged(ends, interrupted).unwrap_err().kind();
        let (down, key) = (trouble(trouble::Kind::Silent), trouble(trouble::Kind::UnknownKey));
        assert_eq!(kind(&[down.clone(), down.clone()], false), Kind::Unreachable);
        assert_eq!(kind(&[down.clone(), key], false), Kind::NotAsWanted);
        assert_eq!(kind(&[down.clone(), End::Exit(0)], false), Kind::NotAsWanted);
        assert_eq!(kind(&[down, End::Interrupted], true), Kind::Failed);
    }
}
