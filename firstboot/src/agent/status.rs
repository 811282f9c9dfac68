//! What this node says of itself, shared between the steps that change it and whoever reports it.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cluster::history::{Event, Kind};
use cluster::wire::{Cause, Facts, Mark, NodeError, Report, Stage};
use tokio::sync::Notify;

use super::log::Log;

/// What warnings are about: each topic's are replaced together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// The installation of Docker.
    Packages,
    /// The machine's clock.
    Clock,
    /// Other clusters on the network.
    Neighbours,
}

/// The report in the making.
#[derive(Debug)]
pub struct Status {
    report: Mutex<Report>,
    /// The warnings by what they are about.
    warnings: Mutex<BTreeMap<Topic, Vec<String>>>,
    /// What was said and met so far.
    log: Mutex<Log>,
    clock_synced: AtomicBool,
    /// Wakes the reporter when there is news that should not wait.
    pub(crate) news: Notify,
    /// Wakes whoever writes to the card: the stage changed, or the node gave up.
    pub(crate) turn: Notify,
    /// Wakes housekeeping: the operator wants something.
    pub(crate) orders: Notify,
    /// Somebody has been told the present state: the manager, or the operator who read the board.
    told: Notify,
}

impl Status {
    /// A node that has just started, with the marks of earlier runs and what its seed stage could not do.
    pub fn new(marks: Vec<Mark>, seed_problems: Vec<String>) -> Self {
        let report = Report {
            stage: Stage::Network,
            word: "starting".to_owned(),
            error: None,
            address: None,
            swarm_node: None,
            facts: Facts::default(),
            marks,
            seed_problems,
            left: None,
            warnings: Vec::new(),
            proves: true,
            proof: None,
        };
        Self {
            report: Mutex::new(report),
            warnings: Mutex::default(),
            log: Mutex::new(Log::new(super::log::OWN)),
            clock_synced: AtomicBool::new(false),
            news: Notify::new(),
            turn: Notify::new(),
            orders: Notify::new(),
            told: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The report as it is now.
    pub fn report(&self) -> Report {
        self.lock().clone()
    }

    /// The stage as it is now.
    pub fn stage(&self) -> Stage {
        self.lock().stage
    }

    /// Changes the report.
    pub fn change(&self, change: impl FnOnce(&mut Report)) {
        change(&mut self.lock());
    }

    /// Begins a stage.
    pub fn enter(&self, stage: Stage) {
        let mut report = self.lock();
        if report.stage != stage {
            tracing::info!("stage {}", stage.as_str());
            report.stage = stage;
            self.note(stage, Kind::Said, "this stage begins", None);
            self.news.notify_one();
            self.turn.notify_one();
        }
    }

    /// Says what is being done. What kept the node from going on does no more.
    pub fn say(&self, word: &str) {
        let word = without_tokens(word);
        let mut report = self.lock();
        report.error = None;
        if report.word != word {
            tracing::info!("{word}");
            self.note(report.stage, Kind::Said, &word, None);
            report.word = word;
        }
    }

    /// Says what keeps the node from going on.
    pub fn fail(&self, message: String, cause: Option<Cause>, permanent: bool) {
        let message = without_tokens(&message);
        let mut report = self.lock();
        let kind = if permanent { Kind::GaveUp } else { Kind::Trouble };
        self.note(report.stage, kind, &message, cause.as_ref());
        report.error = Some(NodeError { message, permanent, cause });
        if permanent {
            self.news.notify_one();
            self.turn.notify_one();
        }
    }

    /// Replaces the warnings about a topic, and records those that are new.
    pub fn warn(&self, topic: Topic, warnings: Vec<String>) {
        let mut all = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        let mut report = self.lock();
        for warning in warnings.iter().filter(|warning| !report.warnings.contains(warning)) {
            tracing::warn!("{warning}");
            self.note(report.stage, Kind::Said, &format!("warning: {warning}"), None);
        }
        all.insert(topic, warnings);
        report.warnings = all.values().flatten().cloned().collect();
    }

    fn note(&self, stage: Stage, kind: Kind, text: &str, cause: Option<&Cause>) {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).add(stage, kind, text, cause);
    }

    /// What was said and met so far, oldest first; `now` is the clock's time in milliseconds since 1970.
    pub fn events(&self, now: u64) -> Vec<Event> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).events(now)
    }

    /// The node's address, once known.
    pub fn address(&self) -> Option<Ipv4Addr> {
        self.lock().address
    }

    /// Adds a mark unless the stage has one; says whether it did.
    pub fn mark(&self, mark: Mark) -> bool {
        let mut report = self.lock();
        let new = report.marks.iter().all(|there| there.stage != mark.stage);
        if new {
            report.marks.push(mark);
        }
        new
    }

    /// Whether the clock is known to be right.
    pub fn is_clock_synced(&self) -> bool {
        self.clock_synced.load(Ordering::Relaxed)
    }

    /// Records whether the clock is known to be right.
    pub fn set_clock_synced(&self, synced: bool) {
        self.clock_synced.store(synced, Ordering::Relaxed);
    }

    /// Records that the present state has reached somebody.
    pub fn tell(&self) {
        self.told.notify_waiters();
    }

    /// Waits until a state as it is now, or later, has reached somebody.
    pub async fn wait_until_told(&self) {
        self.told.notified().await;
    }
}

/// A text without join tokens: what Docker says may quote what it was given.
pub(crate) fn without_tokens(text: &str) -> String {
    const START: &str = "SWMTKN-";
    let mut parts = text.split(START);
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        clean.push_str("(token)");
        clean.push_str(part.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '-'));
    }
    clean
}

/// An error with all its causes in one line, for the board and the log.
pub fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a String cannot fail.
        _ = write!(line, ": {error}");
        cause = error.source();
    }
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_about_one_topic_leave_those_about_another() {
        let status = Status::new(Vec::new(), Vec::new());
        let say = |topic, warnings: &[&str]| {
            status.warn(topic, warnings.iter().map(|&warning| warning.to_owned()).collect());
            status.report().warnings
        };
        say(Topic::Packages, &["a source is gone"]);
        assert_eq!(say(Topic::Neighbours, &["red00 is taken"]), ["a source is gone", "red00 is taken"]);
        assert_eq!(say(Topic::Packages, &[]), ["red00 is taken"]);
        say(Topic::Neighbours, &["red00 is taken"]);
        let events = status.events(0);
        let said: Vec<_> = events.iter().map(|event| (event.text.as_str(), event.times)).collect();
        assert_eq!(said, [("warning: a source is gone", 1), ("warning: red00 is taken", 1)]);
    }

    #[test]
    fn a_token_that_docker_quotes_is_not_passed_on() {
        let status = Status::new(Vec::new(), Vec::new());
        status.say("joining with SWMTKN-1-3pu6hszjas-1awxwuwd3z9j1, and \"SWMTKN-1-x\"");
        status.fail("invalid join token: SWMTKN-1-3pu6hszjas-1awxwuwd3z9j1".to_owned(), None, false);
        let report = status.report();
        assert_eq!(report.word, "joining with (token), and \"(token)\"");
        assert_eq!(report.error.unwrap().message, "invalid join token: (token)");
        assert!(status.events(0).iter().all(|event| !event.text.contains("SWMTKN")));
    }
}
