//! Which of several managers starts the swarm: agreed once, by a majority of them, so that two never do.
//!
//! One decree of Paxos (Lamport, "Paxos Made Simple", 2001), where every manager may propose and each keeps its
//! [`Ballots`] in the journal. Any minority may be off. Two things are beyond it: a manager whose card is written anew
//! forgets what it promised, so managers in a swarm answer that there is nothing left to agree on; and an agreement
//! binds even if the one agreed on is never seen again (its card written anew, it is). Where the operator has ended a swarm, the
//! next has an agreement of its own ([`Ballot::up`]), and who has not left the old one has no part in it.
//!
//! Pure: nobody is asked and nothing is written here.

use cluster::name::Hostname;
use cluster::wire::{Accepted, Ballot, Vote};
use serde::{Deserialize, Serialize};

/// What a manager has promised and accepted. It must be on disk before it is said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ballots {
    /// No lower number is heeded.
    pub promised: u64,
    /// Whom this manager accepted last.
    pub accepted: Option<Accepted>,
    /// Who is agreed on, once this manager knows.
    pub agreed: Option<Hostname>,
}

impl Ballots {
    /// Answers another manager, or this one itself.
    pub fn answer(&mut self, ballot: &Ballot, member: bool) -> Vote {
        let granted = match &ballot.founder {
            None => ballot.number > self.promised,
            Some(_) => ballot.number >= self.promised && ballot.number > 0,
        } && !member;
        if granted {
            self.promised = ballot.number;
            if let Some(founder) = &ballot.founder {
                self.accepted = Some(Accepted { number: ballot.number, founder: founder.clone() });
            }
        }
        Vote {
            granted,
            promised: self.promised,
            accepted: self.accepted.clone(),
            agreed: self.agreed.clone(),
            member,
        }
    }
}

/// Who is to be proposed after these promises: whoever may have been agreed on already, else this manager.
pub fn choose<'a>(promises: impl IntoIterator<Item = &'a Vote>, own: &Hostname) -> Hostname {
    let accepted = promises.into_iter().filter_map(|vote| vote.accepted.as_ref());
    accepted.max_by_key(|accepted| accepted.number).map_or_else(|| own.clone(), |last| last.founder.clone())
}

/// A number higher than any seen that no other manager uses: the manager's place among `managers` is in it. Who asks
/// promises it to itself first, so that it does not use it twice either.
pub fn next_number(seen: u64, place: u64, managers: u64) -> u64 {
    (seen / managers + 1) * managers + place
}

/// Whether so many of `managers` are more than half.
pub fn is_majority(votes: usize, managers: usize) -> bool {
    votes * 2 > managers
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(place: usize) -> Hostname {
        Hostname::try_from(format!("red{place:02}")).unwrap()
    }

    /// One manager's attempt: a promise of each it reaches, then the acceptance of each it still reaches.
    fn attempt(
        all: &mut [Ballots],
        place: usize,
        promising: &[usize],
        accepting: &[usize],
    ) -> Option<Hostname> {
        let managers = all.len();
        let seen = all[place].promised;
        let number = next_number(seen, place as u64, managers as u64);
        let ballot = Ballot { number, founder: None, up: 0 };
        let votes: Vec<Vote> = promising.iter().map(|&other| all[other].answer(&ballot, false)).collect();
        let granted: Vec<&Vote> = votes.iter().filter(|vote| vote.granted).collect();
        if !is_majority(granted.len(), managers) {
            return None;
        }
        let founder = choose(granted, &name(place));
        let ballot = Ballot { number, founder: Some(founder.clone()), up: 0 };
        let votes = accepting.iter().filter(|&&other| all[other].answer(&ballot, false).granted);
        is_majority(votes.count(), managers).then_some(founder)
    }

    proptest! {
        #[test]
        fn two_founders_are_never_agreed_on(
            managers in prop_oneof![Just(3_usize), Just(5)],
            attempts in prop::collection::vec((0_usize..5, any::<u8>(), any::<u8>()), 1..60),
        ) {
            let mut all = vec![Ballots::default(); managers];
            let mut agreed = None;
            for (place, promising, accepting) in attempts {
                let place = place % managers;
                // Who asks always reaches itself: that is what makes its numbers its own, even after a power cut.
                let reached = |mask: u8| {
                    (0..managers).filter(|&other| other == place || mask >> other & 1 == 1).collect::<Vec<_>>()
                };
                let founder = attempt(&mut all, place, &reached(promising), &reached(accepting));
                if let Some(founder) = founder {
                    prop_assert_eq!(agreed.get_or_insert(founder.clone()), &founder);
                }
            }
        }

        #[test]
        fn no_two_managers_use_one_number(seen in 0_u64..1000, other in 0_u64..1000) {
            let numbers = [next_number(seen, 0, 3), next_number(other, 1, 3)];
            prop_assert!(numbers[0] != numbers[1] && numbers[0] > seen && numbers[1] > other);
        }
    }

    #[test]
    fn attempts_that_cross_end_in_one_agreement() {
        // Both have promises; the first is overtaken, asks again, and has to take what may have been agreed on.
        let mut all = vec![Ballots::default(); 3];
        let first = next_number(0, 0, 3);
        all[0].answer(&Ballot { number: first, founder: None, up: 0 }, false);
        all[1].answer(&Ballot { number: first, founder: None, up: 0 }, false);
        assert_eq!(attempt(&mut all, 1, &[1, 2], &[1, 2]), Some(name(1)));
        let late = Ballot { number: first, founder: Some(name(0)), up: 0 };
        assert!(!all[1].answer(&late, false).granted);
        all[0].promised = all[1].promised;
        assert_eq!(attempt(&mut all, 0, &[0, 1], &[0, 1]), Some(name(1)));
    }

    #[test]
    fn one_that_is_off_does_not_stop_three_but_two_do() {
        let mut all = vec![Ballots::default(); 3];
        assert_eq!(attempt(&mut all, 1, &[1], &[1]), None);
        assert_eq!(attempt(&mut all, 1, &[1, 2], &[1, 2]), Some(name(1)));
    }

    #[test]
    fn a_member_of_a_swarm_agrees_to_nothing() {
        let mut ballots = Ballots::default();
        let vote = ballots.answer(&Ballot { number: 9, founder: Some(name(1)), up: 0 }, true);
        assert!(!vote.granted && vote.member && ballots == Ballots::default());
    }

    #[test]
    fn asking_how_things_stand_changes_nothing() {
        let mut ballots = Ballots::default();
        ballots.answer(&Ballot { number: 4, founder: Some(name(1)), up: 0 }, false);
        let before = ballots.clone();
        let vote = ballots.answer(&Ballot { number: 0, founder: None, up: 0 }, false);
        assert!(!vote.granted && vote.accepted.is_some() && ballots == before);
    }
}
