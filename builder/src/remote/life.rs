//! The operator's orders to the managers: end the swarm, form it again, let a node go, turn one away.
//!
//! Every manager is told, with all orders that any of them knows: one that does not know would let nodes in, and one
//! that was off hears of it from the others. The number of an order is the laptop's clock, or one more than the highest
//! that is known, so a clock that is wrong does no harm.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cluster::name::Hostname;
use cluster::orders::{Order, Orders};
use cluster::wire::{Board, JoinWindow, Removal, Revoke, Revoked};
use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::{Attempt, Manager, RemoteError, names};
use crate::error::{Failure, Kind, builder, hint};
use crate::project::ProjectKind;

/// The highest number that a node's word counts for: a greater one would leave none for the orders to come.
const HIGHEST: u64 = u64::MAX / 2;

/// What each manager answered.
type Answers<T> = Vec<(Hostname, Result<T, RemoteError>)>;

/// A manager that could not be told.
#[derive(Debug)]
pub struct Untold {
    /// Which.
    pub manager: Hostname,
    /// Why not.
    pub error: RemoteError,
}

/// Why the join window was not opened again.
#[derive(Debug, Error)]
pub enum ReopenError {
    /// No agent that answered knows the request.
    #[error("the agent of {managers} is an older one, which cannot open the join window again")]
    Older {
        /// Whose.
        managers: String,
        /// Which nodes these are: agents of adopted ones can be renewed.
        kind: ProjectKind,
    },
    /// They could not be asked.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl From<ReopenError> for Failure {
    fn from(error: ReopenError) -> Self {
        let hint = match error {
            ReopenError::Remote(error) => return error.into(),
            ReopenError::Older { kind: ProjectKind::Adopted, .. } => {
                hint!["to give it a new agent: ", builder(["config"])]
            }
            ReopenError::Older { .. } => {
                let text = "give the node that is to join a new identity, which may join at any time: ";
                hint![text, builder(["revoke", "NODE"]), ", then: ", builder(["flash", "NODE"])]
            }
        };
        Self::new(Kind::Failed, error).hint(hint)
    }
}

/// An order that at least one manager has taken.
#[derive(Debug)]
pub struct Told {
    /// Its number.
    pub number: u64,
    /// Managers that do not know of it yet.
    pub untold: Vec<Untold>,
}

impl Manager<'_> {
    /// Asks all managers, one after the other.
    pub(super) fn each<T: DeserializeOwned>(
        &mut self,
        method: &Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Answers<T> {
        let names = self.names.clone();
        let ask = |name: Hostname| {
            if self.reached.as_ref().is_some_and(|line| line.name != name) {
                self.reached = None;
            }
            let one = std::slice::from_ref(&name);
            let mut answer = self.request_of(one, method.clone(), path, body);
            // An address that was given leads to one of several; the others are where they always are.
            if matches!(answer, Err(RemoteError::Unreachable { .. })) && self.names.len() > 1 {
                let given = self.given.take();
                answer = self.request_of(one, method.clone(), path, body);
                self.given = given;
            }
            (name, answer)
        };
        names.into_iter().map(ask).collect()
    }

    /// All orders that any manager knows.
    ///
    /// # Errors
    /// As [`Manager::board`], if no manager answers.
    pub fn orders(&mut self) -> Result<Orders, RemoteError> {
        let (known, _) = some(self.each::<Orders>(&Method::GET, "/v1/orders", None::<&()>))?;
        let mut all = Orders::default();
        known.iter().for_each(|orders| all.merge(orders));
        Ok(all)
    }

    /// Has everybody leave the swarm and stay out. May be repeated.
    ///
    /// # Errors
    /// As [`Self::orders`].
    pub fn kill(&mut self) -> Result<Told, RemoteError> {
        let known = self.orders()?;
        let number = if known.is_dissolved() { known.killed } else { next(&known) };
        self.tell("/v1/leave", &Order { number, known })
    }

    /// Has everybody come in again who is out. `None` if nobody is: nothing has changed then.
    ///
    /// # Errors
    /// As [`Self::orders`] and [`Manager::board`].
    pub fn up(&mut self) -> Result<Option<Told>, RemoteError> {
        let known = self.orders()?;
        // A manager with a new card knows nothing of former orders, but nodes that follow them may be there: they come for
        // a higher number only.
        let followed = followed(&self.board()?);
        if !known.is_dissolved() && known.dismissed().next().is_none() && followed.is_none() {
            return Ok(None);
        }
        let number = next(&known).max(followed.unwrap_or_default().saturating_add(1));
        self.tell("/v1/up", &Order { number, known }).map(Some)
    }

    /// Has a node leave for good and its entry go: a planned one by its name, another by its name or id in the node list.
    /// Returns at once; see [`Self::removal`]. May be repeated.
    ///
    /// # Errors
    /// As [`Self::orders`]; [`RemoteError::Answer`] with 404 for a node that nobody knows, and with 409 for a manager
    /// that the others cannot do without.
    pub fn remove_node(&mut self, name: &str) -> Result<Told, RemoteError> {
        let known = self.orders()?;
        let standing = Hostname::try_from(name).ok().filter(|name| known.is_dismissed(name));
        let number =
            standing.and_then(|name| known.removed.get(&name).copied()).unwrap_or_else(|| next(&known));
        let path = format!("/v1/nodes/{name}/remove");
        let answers = self.each::<Removal>(&Method::POST, &path, Some(&Order { number, known }));
        let refused = |error: &RemoteError| matches!(error, RemoteError::Answer { status: 404 | 409, .. });
        let (answers, refusals): (Vec<_>, Vec<_>) =
            answers.into_iter().partition(|(_, answer)| !answer.as_ref().is_err_and(refused));
        match refusals.into_iter().next() {
            Some((_, Err(refusal))) => Err(refusal),
            _ => some(answers).map(|(_, untold)| Told { number, untold }),
        }
    }

    /// Revokes keys of a node, at every manager. May be repeated: a manager that was not told lets the node in.
    ///
    /// # Errors
    /// As [`Self::orders`].
    pub fn revoke(&mut self, node: &Hostname, keys: &Revoke) -> Result<(Revoked, Vec<Untold>), RemoteError> {
        let path = format!("/v1/nodes/{node}/revoke");
        let (told, untold) = some(self.each::<Revoked>(&Method::POST, &path, Some(keys)))?;
        let members: BTreeSet<_> = told.iter().flat_map(|one| one.members.iter().cloned()).collect();
        let unfinished = told.iter().find_map(|one| one.unfinished.clone());
        let unsaved = told.into_iter().find_map(|one| one.unsaved);
        Ok((Revoked { members: members.into_iter().collect(), unfinished, unsaved }, untold))
    }

    /// Opens the join window again, at every manager: each counts its own. May be repeated. Returns how long the window is open.
    ///
    /// # Errors
    /// As [`Self::orders`]; [`ReopenError::Older`] if no manager knows how.
    pub fn reopen(&mut self) -> Result<(Duration, Vec<Untold>), ReopenError> {
        let answers = self.each::<JoinWindow>(&Method::POST, "/v1/window", None::<&()>);
        let older =
            |answer: &Result<_, RemoteError>| matches!(answer, Err(RemoteError::Answer { status: 404, .. }));
        let named: Vec<_> =
            answers.iter().filter(|(_, answer)| older(answer)).map(|(name, _)| name.clone()).collect();
        if !named.is_empty() && answers.iter().all(|(_, answer)| answer.is_err()) {
            return Err(ReopenError::Older { managers: names(&named), kind: self.project.kind });
        }
        let (windows, untold) = some(answers)?;
        let seconds = windows.iter().map(|window| window.seconds).max().unwrap_or_default();
        Ok((Duration::from_secs(seconds), untold))
    }

    /// How far the removal of a node that is not planned has come; `None` when its entry is gone.
    ///
    /// # Errors
    /// As [`Manager::board`].
    pub fn removal(&mut self, name: &str) -> Result<Option<Removal>, RemoteError> {
        let path = format!("/v1/nodes/{name}/remove");
        match self.request(Method::POST, &path, None::<&()>) {
            Err(RemoteError::Answer { status: 404, .. }) => Ok(None),
            answer => answer.map(Some),
        }
    }

    fn tell(&mut self, path: &str, order: &Order) -> Result<Told, RemoteError> {
        let (_, untold) = some(self.each::<Orders>(&Method::POST, path, Some(order)))?;
        Ok(Told { number: order.number, untold })
    }
}

/// The highest order to leave that any node says it has followed.
fn followed(board: &Board) -> Option<u64> {
    board.nodes.iter().filter_map(|node| node.report.as_ref()?.left).max().map(|number| number.min(HIGHEST))
}

fn next(known: &Orders) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    now.max(known.newest().saturating_add(1))
}

/// The answers, and who gave none; an error if nobody gave one.
fn some<T>(answers: Answers<T>) -> Result<(Vec<T>, Vec<Untold>), RemoteError> {
    let (mut given, mut untold) = (Vec::new(), Vec::new());
    for (manager, answer) in answers {
        match answer {
            Ok(answer) => given.push(answer),
            Err(error) => untold.push(Untold { manager, error }),
        }
    }
    if given.is_empty() { Err(why_nobody(untold)) } else { Ok((given, untold)) }
}

/// What a manager said counts for more than that others said nothing.
fn why_nobody(untold: Vec<Untold>) -> RemoteError {
    let (mut silent, mut tried) = (Vec::new(), Vec::<Attempt>::new());
    for Untold { manager, error } in untold {
        match error {
            RemoteError::Unreachable { attempts, .. } => {
                silent.push(manager);
                tried.extend(attempts);
            }
            error => return error,
        }
    }
    RemoteError::Unreachable { manager: names(&silent), attempts: tried }
}
