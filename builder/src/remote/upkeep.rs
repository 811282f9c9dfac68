//! What the operator asks of a swarm that runs: to be shown, a join token, small changes to its members.
//!
//! Every request may be repeated: each says how things are to be, not what to do to them.

use std::thread::sleep;
use std::time::Duration;

use cluster::identity::Role;
use cluster::wire::{
    Availability, JoinReply, Labels, NodeTasks, SetAvailability, SetLabels, SwarmDetail, SwarmEntry, TokenFor,
};
use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::{Manager, RemoteError};
use crate::error::{Failure, Kind, builder, hint};

/// Between two requests to a manager that was asked too much: it allows eight a second.
const PAUSE: Duration = Duration::from_millis(500);
/// How often such a request is made.
const TRIES: u32 = 20;

/// Why it was not done.
#[derive(Debug, Error)]
pub enum UpkeepError {
    /// There is nothing to manage, or nobody can at the moment; the manager's reason.
    #[error("the swarm cannot be managed now: {0}")]
    Unmanaged(String),
    /// The manager could, and does not; its reason.
    #[error("the manager does not do this: {0}")]
    Refused(String),
    /// It could not be asked.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl From<UpkeepError> for Failure {
    fn from(error: UpkeepError) -> Self {
        let hint = match error {
            UpkeepError::Remote(error) => return error.into(),
            UpkeepError::Unmanaged(_) => {
                hint![builder(["status"]), " shows what the managers are waiting for"]
            }
            UpkeepError::Refused(_) => hint![builder(["ls"]), " shows the nodes with their labels"],
        };
        Self::new(Kind::NotAsWanted, error).hint(hint)
    }
}

impl Manager<'_> {
    /// The swarm in detail.
    ///
    /// # Errors
    /// [`UpkeepError::Unmanaged`] when no manager that answers has a swarm to manage.
    pub fn swarm(&mut self) -> Result<SwarmDetail, UpkeepError> {
        self.ask(Method::GET, "/v1/swarm", None::<&()>)
    }

    /// The join token of a role, and where to join.
    ///
    /// # Errors
    /// As [`Self::swarm`]; [`UpkeepError::Refused`] when the swarm was dissolved.
    pub fn token(&mut self, role: Role) -> Result<JoinReply, UpkeepError> {
        self.ask(Method::POST, "/v1/token", Some(&TokenFor { role }))
    }

    /// Has both join tokens changed. Members are not affected.
    ///
    /// # Errors
    /// As [`Self::swarm`].
    pub fn rotate_tokens(&mut self) -> Result<(), UpkeepError> {
        self.ask(Method::POST, "/v1/tokens/rotate", None::<&()>)
    }

    /// What has not ended on the member with this Swarm id.
    ///
    /// # Errors
    /// As [`Self::swarm`]; [`UpkeepError::Refused`] when there is no such member.
    pub fn tasks(&mut self, id: &str) -> Result<NodeTasks, UpkeepError> {
        self.ask_about(Method::GET, &format!("/v1/nodes/{id}/tasks"), None::<&()>)
    }

    /// Has the member with this Swarm id take tasks, or none.
    ///
    /// # Errors
    /// As [`Self::tasks`].
    pub fn set_availability(
        &mut self,
        id: &str,
        availability: Availability,
    ) -> Result<SwarmEntry, UpkeepError> {
        let body = SetAvailability { availability };
        self.ask_about(Method::POST, &format!("/v1/nodes/{id}/availability"), Some(&body))
    }

    /// Changes labels of the member with this Swarm id.
    ///
    /// # Errors
    /// As [`Self::tasks`]; [`UpkeepError::Refused`] for a label that the cluster file plans otherwise.
    pub fn set_labels(&mut self, id: &str, labels: &SetLabels) -> Result<Labels, UpkeepError> {
        self.ask_about(Method::POST, &format!("/v1/nodes/{id}/labels"), Some(labels))
    }

    /// Asks about a member: who is not there is no older manager's ignorance.
    fn ask_about<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, UpkeepError> {
        self.ask(method, path, body).map_err(|error| match error {
            UpkeepError::Remote(RemoteError::Answer { status: 404, message }) => {
                UpkeepError::Refused(message)
            }
            error => error,
        })
    }

    /// Asks managers until one can manage: one that is no member of the swarm, or has lost it, can less than another.
    fn ask<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, UpkeepError> {
        let mut tries = 1;
        let mut answer = self.request(method.clone(), path, body);
        while matches!(answer, Err(RemoteError::Answer { status: 429, .. })) && tries < TRIES {
            sleep(PAUSE);
            tries += 1;
            answer = self.request(method.clone(), path, body);
        }
        let asked = self.reached.as_ref().map(|line| line.name.clone());
        for other in self.names.clone().iter().filter(|name| Some(*name) != asked.as_ref()) {
            if self.given.is_some() || !matches!(answer, Err(RemoteError::Answer { status: 503, .. })) {
                break;
            }
            let before = self.reached.take();
            match self.request_of(std::slice::from_ref(other), method.clone(), path, body) {
                Ok(other) => answer = Ok(other),
                Err(_) => self.reached = before,
            }
        }
        answer.map_err(|error| match error {
            RemoteError::Answer { status: 503, message } => UpkeepError::Unmanaged(message),
            RemoteError::Answer { status: 409 | 422, message } => UpkeepError::Refused(message),
            error => error.into(),
        })
    }
}
