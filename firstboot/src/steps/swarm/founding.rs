//! One of several managers, before there is a swarm: finds out who starts it, and proposes itself when its turn comes.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use cluster::name::Hostname;
use cluster::wire::{Ballot, Vote};
use reqwest::Method;

use super::table::Founder;
use crate::agent::Pi;
use crate::election::{choose, is_majority, next_number};
use crate::journal::{JournalError, Progress};
use crate::steps::StepError;

/// How long each manager before this one in the cluster file has the first word, once a majority is there. Two that
/// propose at the same time only cost each other an attempt.
const TURN: Duration = Duration::from_secs(10);

/// What is known so far.
#[derive(Debug, Default)]
pub(super) struct Founding {
    /// Since when a majority answers.
    majority: Mutex<Option<Instant>>,
}

impl Founding {
    /// Asks the other managers, and proposes this one if it is its turn.
    pub(super) async fn ask(&self, pi: &Pi) -> Result<Founder, StepError> {
        let managers: Vec<&Hostname> = pi.card.managers().map(|manager| &manager.name).collect();
        let place = managers.iter().position(|name| **name == pi.card.node).unwrap_or_default();
        let journal = pi.journal.get();
        let up = journal.orders.up;
        let votes = ask_all(pi, &Ballot { number: 0, founder: None, up }).await;
        if votes.iter().any(|vote| vote.member) {
            return Ok(Founder::Another);
        }
        // With this one, of which the votes know nothing.
        let there = votes.len() + 1;
        // A swarm was started here, and this engine is in none: only the others know whether it lives on with them.
        if matches!(journal.init, Progress::Completed | Progress::Unknown) {
            if there == managers.len() {
                return Ok(Founder::Us);
            }
            let why =
                "waiting for the other managers, to hear whether the swarm that was started here lives on";
            return Ok(Founder::Open(format!("{why}: {there} of {} are there", managers.len())));
        }
        let agreed = journal.ballots.agreed.or_else(|| votes.iter().find_map(|vote| vote.agreed.clone()));
        if let Some(founder) = agreed {
            return settle(pi, founder);
        }
        let since = {
            let mut since = self.majority.lock().unwrap_or_else(PoisonError::into_inner);
            if is_majority(there, managers.len()) {
                *since.get_or_insert_with(Instant::now)
            } else {
                *since = None;
                let why = format!(
                    "waiting for other managers: {there} of {} are there, more than half are needed",
                    managers.len()
                );
                return Ok(Founder::Open(why));
            }
        };
        if since.elapsed() < TURN * u32::try_from(place).unwrap_or(u32::MAX) {
            return Ok(Founder::Open("waiting for the managers to agree on who starts the swarm".to_owned()));
        }
        let seen = votes.iter().map(|vote| vote.promised).max().unwrap_or_default();
        let number = next_number(seen.max(journal.ballots.promised), place as u64, managers.len() as u64);
        propose(pi, Ballot { number, founder: None, up }, managers.len()).await
    }
}

async fn propose(pi: &Pi, ballot: Ballot, managers: usize) -> Result<Founder, StepError> {
    let lost = || Ok(Founder::Open("the managers are agreeing on who starts the swarm".to_owned()));
    let Some(promises) = majority(pi, &ballot, managers).await? else {
        return lost();
    };
    let founder = choose(&promises, &pi.card.node);
    let ballot = Ballot { founder: Some(founder.clone()), ..ballot };
    if majority(pi, &ballot, managers).await?.is_none() {
        return lost();
    }
    settle(pi, founder)
}

/// Remembers who is agreed on.
fn settle(pi: &Pi, founder: Hostname) -> Result<Founder, StepError> {
    let agreed = founder.clone();
    let noted = pi.journal.settle(|journal| journal.ballots.agreed = Some(agreed));
    noted.map_err(StepError::Journal)?;
    Ok(if founder == pi.card.node { Founder::Us } else { Founder::Another })
}

/// The votes that grant a ballot, this node's own first, if they are more than half.
async fn majority(pi: &Pi, ballot: &Ballot, managers: usize) -> Result<Option<Vec<Vote>>, StepError> {
    let Some(own) = vote(pi, ballot, false).map_err(StepError::Journal)?.filter(|own| own.granted) else {
        return Ok(None);
    };
    let mut votes = ask_all(pi, ballot).await;
    votes.push(own);
    votes.retain(|vote| vote.granted);
    Ok(is_majority(votes.len(), managers).then_some(votes))
}

async fn ask_all(pi: &Pi, ballot: &Ballot) -> Vec<Vote> {
    let answers = pi.link.ask_each::<Vote>(Method::POST, "/v1/founder", Some(ballot)).await;
    answers.into_iter().filter_map(|(_, answer)| answer.ok()).collect()
}

/// This manager's own vote, on disk before it is given. None for an agreement of other orders than it follows: of a
/// swarm that has ended since, or of one it does not know of yet.
pub(crate) fn vote(pi: &Pi, ballot: &Ballot, member: bool) -> Result<Option<Vote>, JournalError> {
    pi.journal.settle(|journal| {
        let is_ours = journal.orders.up == ballot.up && !journal.has_to_leave(&pi.card.node);
        is_ours.then(|| journal.ballots.answer(ballot, member))
    })
}
